"""Texts in which too few words carry knowledge are left out."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from smidgen.data import stopwords
from smidgen.data.filters.perplexity import limit_of
from smidgen.data.filters.pieces import words
from smidgen.kit.errors import BadInput, bad


@dataclass(frozen=True)
class KeywordDensityFilter:
    """Keeps texts of which at least a share of the words are terms (what is *below* goes); GEB-1.3B, data cleaning.

    Words are runs of letters and digits: languages that write no spaces need texts with spaces put in.

    Attributes:
        terms: lower case, sorted. min_density: from 0 to 1.
    """

    terms: tuple[str, ...]
    min_density: float

    def __post_init__(self) -> None:
        if not self.terms:
            raise BadInput("The keyword filter has no terms: every text would go.")
        if not 0 <= self.min_density <= 1:
            raise bad("min_density", "a share from 0 to 1", self.min_density)
        object.__setattr__(self, "_known", frozenset(self.terms))

    @classmethod
    def fit(
        cls, good: Iterable[str], terms: Iterable[str] | None = None, loss: float = 0.02, least: int = 3
    ) -> "KeywordDensityFilter":
        """The density that at most a share `loss` of good texts lies below.

        Args:
            terms: words; by default those of at least `least` of these texts, without the stop words of their language.
        """
        good = list(good)
        if terms is None:
            read = [words(t) for t in good]
            language, _ = stopwords.guess(w for text in read for w in text)
            in_texts = Counter(w for text in read for w in set(text))
            terms = {w for w, n in in_texts.items() if n >= least} - stopwords.load(language).all
        made = cls(tuple(sorted({w for term in terms for w in words(term)})), 0.0)
        return cls(made.terms, -limit_of([-made.density(t) for t in good], loss))

    def density(self, text: str) -> float:
        """Share of the words that are terms; 0 where there are no words."""
        found, known = words(text), self.__dict__["_known"]
        return sum(w in known for w in found) / len(found) if found else 0.0

    def keep(self, texts: Iterable[str]) -> np.ndarray:
        """Which texts stay `[n]`, bool."""
        return np.array([self.density(t) >= self.min_density for t in texts], bool)

    def apply(self, texts: Iterable[str]) -> list[str]:
        texts = list(texts)
        return [t for t, stays in zip(texts, self.keep(texts), strict=True) if stays]

    def state(self) -> dict[str, Any]:
        return {"terms": list(self.terms), "min_density": self.min_density}

    @classmethod
    def load(cls, state: dict[str, Any]) -> "KeywordDensityFilter":
        return cls(tuple(state["terms"]), state["min_density"])
