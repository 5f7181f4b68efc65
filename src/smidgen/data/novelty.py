"""Which written questions are new: none kept that is like an earlier one, a seed, or a row of the test set.

Likeness is Rouge-L (longest common subsequence of words, F-measure), exact: an index of words finds the few texts that
could be alike at all. Or the cosine of any encoder's vectors. Equal texts, up to capitals and marks, are always alike.

Dims: N texts held, D width of a vector.
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

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
            name: _Vectors(settings.encode) if settings.encode else _Words() for name in self._limits
        }
        self._same: dict[str, dict[str, None]] = {name: {} for name in self._limits}
        for name, texts in (("test", settings.test), ("seed", seeds)):
            self._hold(name, list(texts))

    def admit(self, text: str) -> str:
        """Takes the text in and gives "", or says what it is like: "test", "seed" or "earlier"."""
        key = " ".join(words(text))
        for name, pile in self._piles.items():
            if key in self._same[name] or pile.likest(text, self._limits[name]) > self._limits[name]:
                return name
        self.add(text)
        return ""

    def add(self, text: str) -> None:
        """Holds the text as an earlier one, whatever it is like."""
        self._hold("earlier", [text])

    def _hold(self, name: str, texts: list[str]) -> None:
        self._same[name].update(dict.fromkeys(" ".join(words(t)) for t in texts))
        self._piles[name].hold(texts)


class _Words:
    """Texts by their words: for each word, the texts that have it and how often."""

    def __init__(self) -> None:
        self._texts: list[list[str]] = []
        self._having: dict[str, list[tuple[int, int]]] = {}

    def hold(self, texts: list[str]) -> None:
        for text in texts:
            own = words(text)
            for word, count in Counter(own).items():
                self._having.setdefault(word, []).append((len(self._texts), count))
            self._texts.append(own)

    def likest(self, text: str, limit: float) -> float:
        """Rouge-L to the most alike; 0 where none is above the limit."""
        own = words(text)
        shared: Counter[int] = Counter()
        for word, count in Counter(own).items():
            for number, other in self._having.get(word, ()):
                shared[number] += min(count, other)
        best = 0.0
        for number, bag in shared.items():
            other = self._texts[number]
            if 2 * bag / (len(own) + len(other)) > max(limit, best):  # a subsequence has no more words than the bag
                best = max(best, rouge_l(own, other))
        return best


class _Vectors:
    """Texts by their vectors."""

    def __init__(self, encode: Encode) -> None:
        self._encode = encode
        self._held_ND: np.ndarray | None = None
        self._count = 0

    def hold(self, texts: list[str]) -> None:
        if not texts:
            return
        new_ND = self._unit(texts)
        if self._held_ND is None:
            self._held_ND = np.empty((max(64, len(texts)), new_ND.shape[1]), new_ND.dtype)
        while self._count + len(texts) > len(self._held_ND):  # doubled, so that one more costs little
            self._held_ND = np.concatenate([self._held_ND, np.empty_like(self._held_ND)])
        self._held_ND[self._count : self._count + len(texts)] = new_ND
        self._count += len(texts)

    def likest(self, text: str, limit: float) -> float:
        """The highest cosine."""
        if self._held_ND is None:
            return 0.0
        return float((self._held_ND[: self._count] @ self._unit([text])[0]).max())

    def _unit(self, texts: list[str]) -> np.ndarray:
        x_ND = np.asarray(self._encode(texts), float)
        if x_ND.ndim != 2 or len(x_ND) != len(texts) or not np.isfinite(x_ND).all():
            raise bad("encode", f"{len(texts)} finite vectors", f"an array of shape {x_ND.shape}")
        return x_ND / np.maximum(np.linalg.norm(x_ND, axis=1, keepdims=True), 1e-12)


def unlike(
    texts: Sequence[str], settings: NoveltyFilter, seeds: Sequence[str] = ()
) -> tuple[list[int], dict[str, int]]:
    """Numbers of the texts that are new, in their order, and how many others were like a test text, seed or earlier."""
    index = settings.start(seeds)
    reasons = [index.admit(text) for text in texts]
    return [i for i, reason in enumerate(reasons) if not reason], dict(Counter(filter(None, reasons)))
