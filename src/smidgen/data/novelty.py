"""Which written questions are new: none kept that is like an earlier one, a seed, or a row of the test set.

Likeness is Rouge-L (longest common subsequence of words, F-measure), exact: an index of words finds the few texts that
could be alike at all. Or the cosine of any encoder's vectors. Equal texts, up to capitals and marks, are always alike.

Dims: N texts held, D width of a vector.
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from smidgen.kit.errors import bad
from smidgen.kit.files import digest

Encode = Callable[[list[str]], np.ndarray]
_UNSPACED = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"  # Chinese and Japanese signs: each counts as a word
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+")


def words(text: str) -> list[str]:
    """Words in lower case, without marks; single signs of scripts that set no spaces, and of texts without words."""
    text = text.casefold()
    return _WORD.findall(text) or list("".join(text.split()))


def common_subsequence(a: Sequence[str], b: Sequence[str]) -> int:
    """Length of the longest common subsequence: the columns of its table as bits of one number (Hyyro, 2004)."""
    if not a or not b:
        return 0
    places: dict[str, int] = {}
    for i, word in enumerate(a):
        places[word] = places.get(word, 0) | 1 << i
    whole = (1 << len(a)) - 1
    open_bits = whole
    for word in b:
        hit = open_bits & places.get(word, 0)
        open_bits = (open_bits + hit | open_bits - hit) & whole
    return len(a) - open_bits.bit_count()


def rouge_l(a: Sequence[str], b: Sequence[str]) -> float:
    """F-measure of Rouge-L, 0 to 1: 2 LCS / (len(a) + len(b)); 0 where one is empty."""
    return 2 * common_subsequence(a, b) / (len(a) + len(b)) if a and b else 0.0


@dataclass(frozen=True)
class NoveltyFilter:
    """What counts as new. Nothing is kept in it: `start` begins a `NoveltyIndex`.

    Attributes:
        test: texts that no training row may be like. They are only compared with.
        max_similarity: to a seed or an earlier question; what is above is a copy. max_test_similarity: to a test text.
        encode: makes vectors `[n, D]` of texts; their cosine is the similarity then. None: Rouge-L.
        encoder: the encoder's name, so that work filtered with another one is not carried on.
    """

    test: tuple[str, ...] = ()
    max_similarity: float = 0.95
    max_test_similarity: float = 0.8
    encode: Encode | None = field(default=None, compare=False)
    encoder: str = ""

    def __post_init__(self) -> None:
        if isinstance(self.test, str):
            raise bad("test", "a sequence of texts", self.test)
        for name in ("max_similarity", "max_test_similarity"):
            if not 0 < getattr(self, name) <= 1:
                raise bad(f"NoveltyFilter.{name}", "above 0, at most 1", getattr(self, name))

    @property
    def identity(self) -> str:
        """Equal where the same is let through."""
        kind = self.encoder or "cosine" if self.encode else "rouge_l"
        return digest(kind, str(self.max_similarity), str(self.max_test_similarity), *self.test)

    def start(self, seeds: Sequence[str] = ()) -> "NoveltyIndex":
        """An empty index beside these seeds."""
        return NoveltyIndex(self, seeds)


class NoveltyIndex:
    """What was let through so far."""

    def __init__(self, settings: NoveltyFilter, seeds: Sequence[str] = ()) -> None:
        self.settings = settings
        self._limits = {"test": settings.max_test_similarity, "seed": settings.max_similarity}
        self._limits["earlier"] = settings.max_similarity
        self._piles: dict[str, _Words | _Vectors] = {
            name: _Vectors() if settings.encode else _Words() for name in self._limits
        }
        self._same: dict[str, set[str]] = {name: set() for name in self._limits}
        for name, texts in (("test", settings.test), ("seed", seeds)):
            self._hold(name, list(texts))

    def admit(self, text: str) -> str:
        """Takes the text in and gives "", or says what it is like: "test", "seed" or "earlier"."""
        key = " ".join(words(text))
        for name, same in self._same.items():
            if key in same:
                return name
        seen = self._look([text])[0]
        for name, pile in self._piles.items():
            if pile.likest(seen, self._limits[name]) > self._limits[name]:
                return name
        self._same["earlier"].add(key)
        self._piles["earlier"].hold([seen])
        return ""

    def add(self, text: str) -> None:
        """Holds the text as an earlier one, whatever it is like."""
        self._hold("earlier", [text])

    def _hold(self, name: str, texts: list[str]) -> None:
        if texts:
            self._same[name].update(" ".join(words(t)) for t in texts)
            self._piles[name].hold(self._look(texts))

    def _look(self, texts: list[str]) -> list[Any]:
        """What texts are compared by: their words, or their unit vectors."""
        if self.settings.encode is None:
            return [words(t) for t in texts]
        x_ND = np.asarray(self.settings.encode(texts), float)
        if x_ND.ndim != 2 or len(x_ND) != len(texts) or not np.isfinite(x_ND).all():
            raise bad("encode", f"{len(texts)} finite vectors", f"an array of shape {x_ND.shape}")
        return list(x_ND / np.maximum(np.linalg.norm(x_ND, axis=1, keepdims=True), 1e-12))


class _Words:
    """Texts by their words: for each word, the texts that have it."""

    def __init__(self) -> None:
        self._texts: list[list[str]] = []
        self._having: dict[str, list[int]] = {}

    def hold(self, texts: list[list[str]]) -> None:
        for own in texts:
            for word in set(own):
                self._having.setdefault(word, []).append(len(self._texts))
            self._texts.append(own)

    def likest(self, own: list[str], limit: float) -> float:
        """Rouge-L to the most alike; 0 where none is above the limit.

        A text above the limit L shares at least L n / (2 - L) of the n words, so it has one of the rarest of them: only
        those that do are looked at.
        """
        needed, left = limit * len(own) / (2 - limit), len(own)
        near: set[int] = set()
        for word, count in sorted(Counter(own).items(), key=lambda w: len(self._having.get(w[0], ()))):
            if left < needed:
                break
            near.update(self._having.get(word, ()))
            left -= count
        best = 0.0
        for number in near:
            other = self._texts[number]
            if 2 * min(len(own), len(other)) / (len(own) + len(other)) > max(limit, best):
                best = max(best, rouge_l(own, other))
        return best if best > limit else 0.0


class _Vectors:
    """Texts by their unit vectors."""

    def __init__(self) -> None:
        self._held_ND: np.ndarray | None = None
        self._count = 0

    def hold(self, vectors: list[np.ndarray]) -> None:
        new_ND = np.stack(vectors)
        if self._held_ND is None:
            self._held_ND = np.empty((max(64, len(new_ND)), new_ND.shape[1]), new_ND.dtype)
        while self._count + len(new_ND) > len(self._held_ND):  # doubled, so that one more costs little
            self._held_ND = np.concatenate([self._held_ND, np.empty_like(self._held_ND)])
        self._held_ND[self._count : self._count + len(new_ND)] = new_ND
        self._count += len(new_ND)

    def likest(self, vector: np.ndarray, limit: float) -> float:
        """The highest cosine."""
        return 0.0 if self._held_ND is None else float((self._held_ND[: self._count] @ vector).max())


def unlike(
    texts: Sequence[str], settings: NoveltyFilter, seeds: Sequence[str] = ()
) -> tuple[list[int], dict[str, int]]:
    """Numbers of the texts that are new, in their order, and how many others were like a test text, seed or earlier."""
    index = settings.start(seeds)
    reasons = [index.admit(text) for text in texts]
    return [i for i, reason in enumerate(reasons) if not reason], dict(Counter(filter(None, reasons)))
