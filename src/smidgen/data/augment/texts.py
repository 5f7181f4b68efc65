"""More texts from the labelled ones: easy data augmentation, back-translation. Labels are kept.

Each copy knows its parent, the text that it was made from: folds must not split them (`parent` as groups), or a model
is validated on copies of what it has seen. How much of a text was altered is measured too, in words.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from smidgen.data import stopwords
from smidgen.data.augment.synonyms import SynonymSource
from smidgen.kit.errors import BadInput, bad
from smidgen.kit.seeds import derive_seed

Text = str | tuple[str, str]  # a sentence, or a pair of them
OPERATIONS = ("replace", "insert", "swap", "delete")
EDGES = (0.1, 0.2, 0.4)


class TextAugmenter(Protocol):
    """`name` says what it is and with which settings; `missing` why it cannot work here, None where it can."""

    @property
    def name(self) -> str: ...

    @property
    def missing(self) -> str | None: ...

    def copies(self, texts: Sequence[Text], seed: int) -> list[list[Text]]:
        """Of each text its copies, the same number of each."""
        ...


@dataclass(frozen=True)
class AugmentedTexts:
    """Texts and their copies.

    Attributes:
        texts: the given ones, in their order, then the copies. y: labels `[n]`. parent: `[n]`, place of the given text
            that each comes from, or the parents that were given: groups for folds. altered: `[n]`, 0 of given ones.
        given: how many there are.
    """

    texts: list[Text]
    y: np.ndarray
    parent: np.ndarray
    altered: np.ndarray
    given: int

    @property
    def original(self) -> np.ndarray:
        """Which are the given ones, `[n]`."""
        return np.arange(len(self.texts)) < self.given


def augment(
    texts: Sequence[Text], y: Any, augmenter: TextAugmenter | None, seed: int = 0, parent: Any = None
) -> AugmentedTexts:
    """The texts and the copies that an augmenter makes of them.

    Args:
        parent: groups that the texts have already. augmenter: None makes no copies.
    Raises:
        BadInput: numbers of texts and labels differ, or the augmenter cannot work here.
    """
    y = np.asarray(y)
    if len(y) != len(texts):
        raise bad("labels", f"one for each of {len(texts):,} texts", f"{len(y):,}")
    own = np.arange(len(texts)) if parent is None else np.asarray(parent)
    if augmenter is not None and augmenter.missing:
        raise BadInput(f"{augmenter.name} cannot be used: {augmenter.missing}")
    made = augmenter.copies(texts, seed) if augmenter else [[] for _ in texts]
    at = [i for i, copies in enumerate(made) for _ in copies]
    new = [copy for copies in made for copy in copies]
    altered = [0.0] * len(texts) + [alteration_ratio(texts[i], copy) for i, copy in zip(at, new, strict=True)]
    rows = np.array([*range(len(texts)), *at], dtype=np.int64)
    return AugmentedTexts([*texts, *new], y[rows], own[rows], np.array(altered), len(texts))


@dataclass(frozen=True, kw_only=True)
class EasyDataAugmentation:
    """Swapped, replaced, inserted and deleted words (EDA: Wei and Zou, 2019, arXiv 1901.11196, section 2).

    Each copy has one of the four; they take turns from copy to copy, starting with another one at each text. Of a text
    of l words max(1, alpha * l) are replaced by a synonym, or synonyms inserted, or pairs swapped; or each word is
    deleted with probability `p_rd`, and one is left. An operation whose strength is 0 is not used. Synonyms are of
    words that are no stop words; where there are none, the text stays as it is.

    Attributes:
        alpha_sr, alpha_ri, alpha_rs: shares of the words; replaced, inserted, swapped. p_rd: see above.
        n_aug: copies of a text. synonyms: where they come from; None: the first two operations are not used.
        language: of the stop words. protect: words that are neither replaced nor deleted, lower case. A deleted "not"
            turns a sentiment round: `stopwords.load("en").negations` keeps such. As published there are none.
    """

    alpha_sr: float = 0.1
    alpha_ri: float = 0.1
    alpha_rs: float = 0.1
    p_rd: float = 0.1
    n_aug: int = 4
    synonyms: SynonymSource | None = None
    language: str = "en"
    protect: frozenset[str] = frozenset()
    missing: None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        for name in ("alpha_sr", "alpha_ri", "alpha_rs", "p_rd"):
            if not 0 <= getattr(self, name) <= 1:
                raise bad(name, "0 to 1", getattr(self, name))
        if self.n_aug < 1:
            raise bad("n_aug", "at least 1", self.n_aug)
        if not self._operations:
            raise bad("EasyDataAugmentation", "an operation that is not 0", "none", "Or give synonyms.")

    @property
    def name(self) -> str:
        protected = f" protect {','.join(sorted(self.protect))}" if self.protect else ""
        source = self.synonyms.name if self.synonyms else "none"
        return (
            f"eda {self.alpha_sr:g} {self.alpha_ri:g} {self.alpha_rs:g} {self.p_rd:g} x{self.n_aug} {self.language} "
            f"({source}){protected}"
        )

    @property
    def _operations(self) -> list[str]:
        strength = dict(zip(OPERATIONS, (self.alpha_sr, self.alpha_ri, self.alpha_rs, self.p_rd), strict=True))
        return [o for o, s in strength.items() if s > 0 and (self.synonyms or o in ("swap", "delete"))]

    def copies(self, texts: Sequence[Text], seed: int) -> list[list[Text]]:
        """Depends on each text and the seed alone, not on the other texts or their order."""
        return [[self._copy(text, seed, k) for k in range(self.n_aug)] for text in texts]

    def _copy(self, text: Text, seed: int, k: int) -> Text:
        if not isinstance(text, str):
            return self._one(text[0], seed, k, "first"), self._one(text[1], seed, k, "second")
        return self._one(text, seed, k, "")

    def _one(self, text: str, seed: int, k: int, side: str) -> str:
        words, operations = text.split(), self._operations
        if not words:
            return text
        begin = derive_seed(seed, "operation", side, text)
        rng = np.random.default_rng(derive_seed(seed, "eda", side, k, text))
        return " ".join(self.apply(operations[(begin + k) % len(operations)], words, rng))

    def apply(self, operation: str, words: Sequence[str], rng: np.random.Generator) -> list[str]:
        """The words after one of `OPERATIONS`."""
        out = list(words)
        if operation == "delete":
            kept = [w for w in out if rng.random() >= self.p_rd or w.lower() in self.protect]
            return kept or [out[int(rng.integers(len(out)))]]
        if operation == "swap":
            for _ in range(self._number(self.alpha_rs, words) if len(out) > 1 else 0):
                i, j = rng.choice(len(out), 2, replace=False)
                out[i], out[j] = out[j], out[i]
            return out
        assert self.synonyms is not None
        known = {i: s for i, w in enumerate(words) if self._may(w) and (s := list(self.synonyms.of(w.lower())))}
        if not known:
            return out
        if operation == "replace":
            for i in rng.permutation(sorted(known))[: self._number(self.alpha_sr, words)]:
                out[i] = known[i][int(rng.integers(len(known[i])))]
            return out
        for _ in range(self._number(self.alpha_ri, words)):
            some = known[int(rng.choice(sorted(known)))]
            out.insert(int(rng.integers(len(out) + 1)), some[int(rng.integers(len(some)))])
        return out

    def _number(self, alpha: float, words: Sequence[str]) -> int:
        return max(1, int(alpha * len(words)))

    def _may(self, word: str) -> bool:
        low = word.lower()
        return low.isalpha() and low not in self.protect and low not in stopwords.load(self.language).all


def alteration_ratio(text: Text, other: Text) -> float:
    """Words inserted, deleted or replaced (the fewest) over the words of the longer of the two; 0 to 1."""
    a, b = (t.split() if isinstance(t, str) else [*t[0].split(), "\n", *t[1].split()] for t in (text, other))
    if not a and not b:
        return 0.0
    row = list(range(len(b) + 1))
    for i, word in enumerate(a, 1):
        before, row = row, [i]
        for j, own in enumerate(b, 1):
            row.append(min(before[j] + 1, row[-1] + 1, before[j - 1] + (word != own)))
    return row[-1] / max(len(a), len(b))


def alteration_buckets(ratios: Any, edges: Sequence[float] = EDGES) -> tuple[np.ndarray, list[str]]:
    """Of each ratio the bucket, `[n]`, and the names of the buckets: 0 is unaltered, then up to each edge, the rest."""
    if list(edges) != sorted(set(edges)) or not all(0 < e < 1 for e in edges):
        raise bad("edges", "rising, between 0 and 1", tuple(edges))
    ratios = np.asarray(ratios, np.float64)
    places = np.where(ratios > 0, 1 + np.searchsorted(np.asarray(edges), ratios, side="left"), 0)
    ends = [0.0, *edges, 1.0]
    return places, ["unaltered", *(f"{low:g}-{high:g}" for low, high in zip(ends[:-1], ends[1:], strict=True))]
