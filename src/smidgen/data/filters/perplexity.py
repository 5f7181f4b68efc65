"""Texts that a language model finds surprising are left out."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from smidgen.data.filters.ngrams import ByteModel
from smidgen.kit.errors import BadInput, bad

Scorer = Callable[[str], float]  # nats a byte of a text


@dataclass(frozen=True)
class PerplexityFilter:
    """Keeps texts whose perplexity is not above a limit; GEB-1.3B (arXiv 2406.09900), data cleaning.

    Perplexity here is that of a byte, exp(nats a byte), from 1 to 256 and a little more: it does not depend on a
    tokenizer, and a short text is not at a disadvantage.

    Attributes:
        scorer: any language model, as nats a byte of a text; `ngrams.ByteModel` is a small one.
        max_perplexity: of a byte.
    """

    scorer: Scorer
    max_perplexity: float

    def __post_init__(self) -> None:
        if not self.max_perplexity >= 1:
            raise bad("max_perplexity", "at least 1", self.max_perplexity)

    @classmethod
    def fit(cls, scorer: Scorer, good: Iterable[str], loss: float = 0.02) -> "PerplexityFilter":
        """The limit that leaves out at most this share of texts known to be good; give texts that the scorer has not
        learnt from, which it would find too easy."""
        found = [scorer(text) for text in good]
        return cls(scorer, math.exp(limit_of(found, loss)))

    def keep(self, texts: Iterable[str]) -> np.ndarray:
        """Which texts stay `[n]`, bool; of nothing but space none."""
        most = math.log(self.max_perplexity) + 1e-12
        return np.array([bool(t.strip()) and self.scorer(t) <= most for t in texts], bool)

    def apply(self, texts: Iterable[str]) -> list[str]:
        texts = list(texts)
        return [t for t, stays in zip(texts, self.keep(texts), strict=True) if stays]

    def state(self) -> dict[str, Any]:
        scorer = self.scorer.state() if isinstance(self.scorer, ByteModel) else None
        return {"max_perplexity": self.max_perplexity, "scorer": scorer}

    @classmethod
    def load(cls, state: dict[str, Any], scorer: Scorer | None = None) -> "PerplexityFilter":
        """Raises BadInput: its scorer is not ours and must be given."""
        own = ByteModel.load(state["scorer"]) if state["scorer"] is not None else scorer
        if own is None:
            raise BadInput("The perplexity filter was made with a language model of its own: give it as `scorer`.")
        return cls(own, state["max_perplexity"])


def limit_of(values: list[float], loss: float) -> float:
    """The smallest of the values that at most this share lies above. Raises BadInput: no values, or no share."""
    if not 0 <= loss < 1:
        raise bad("loss", "a share from 0 to below 1", loss)
    if not values:
        raise BadInput("There are no texts to fit the filter on.")
    return float(np.quantile(values, 1 - loss, method="higher"))
