"""A small language model of bytes, to tell how surprising a text is: counts of n-grams, no torch, fitted in seconds.

Probabilities of each order are mixed with those of the next shorter one (Witten and Bell, 1991): after a context seen n
times with d different bytes, P(c) = (count(c) + d P_shorter(c)) / (n + d); below order 1 all 256 bytes are equal.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from smidgen.kit.errors import BadInput, bad

LONGEST = 8  # bytes that a number of 64 bits holds
Table = tuple[np.ndarray, np.ndarray]  # sorted keys, uint64, and what belongs to each, int64


class ByteModel:
    """A scorer of texts: `model(text)` is in nats a byte. Made with `fit`, or with `load` from a `state`.

    Args:
        order: length of the n-grams in bytes.
        grams: those that were seen `[m]`, sorted, uint64: their bytes as one number. counts: of each `[m]`, int64.
    """

    def __init__(self, order: int, grams: np.ndarray, counts: np.ndarray) -> None:
        self.order, self.grams, self.counts = order, grams, counts
        self._counts: list[Table] = []  # by order, from 1: of n-grams,
        self._seen: list[Table] = []  # of their contexts,
        self._kinds: list[Table] = []  # and different bytes after those
        for k in range(1, order + 1):
            keys, n = _summed(_last(grams, k), counts)
            self._counts.append((keys, n))
            self._seen.append(_summed(keys >> np.uint64(8), n))
            self._kinds.append(_summed(keys >> np.uint64(8), np.ones_like(n)))

    @classmethod
    def fit(cls, texts: Iterable[str], order: int = 5) -> "ByteModel":
        """Counts n-grams; none reaches over the beginning of a text.

        Raises:
            BadInput: an order that is not 1 to 8, or no text.
        """
        if not 1 <= order <= LONGEST:
            raise bad("order", f"1 to {LONGEST}", order)
        lots = [np.unique(_grams(lot, order), return_counts=True) for lot in _lots(texts)]
        if not lots:
            raise BadInput("There is no text to learn a model of bytes from.")
        return cls(order, *_summed(*(np.concatenate(side) for side in zip(*lots, strict=True))))

    def __call__(self, text: str) -> float:
        """Nats a byte of a text; 0 for an empty one."""
        grams_N = _grams([text], self.order)
        if not len(grams_N):
            return 0.0
        p_N = np.full(len(grams_N), 1 / 256)
        for k in range(1, self.order + 1):
            keys_N = _last(grams_N, k)
            count_N = _found(keys_N, self._counts[k - 1])
            n_N, d_N = (_found(keys_N >> np.uint64(8), table[k - 1]) for table in (self._seen, self._kinds))
            p_N = np.where(n_N > 0, (count_N + d_N * p_N) / np.maximum(n_N + d_N, 1), p_N)
        return float(-np.log(p_N).mean())

    def state(self) -> dict[str, Any]:
        return {"order": self.order, "grams": self.grams, "counts": self.counts}

    @classmethod
    def load(cls, state: dict[str, Any]) -> "ByteModel":
        return cls(int(state["order"]), state["grams"], state["counts"])


def _lots(texts: Iterable[str], size: int = 1 << 20) -> Iterator[list[str]]:
    """Texts in lots of about a million characters, so that memory does not grow with the corpus."""
    lot, length = [], 0
    for text in texts:
        lot.append(text)
        length += len(text)
        if length > size:
            yield lot
            lot, length = [], 0
    if length:
        yield lot


def _grams(texts: list[str], order: int) -> np.ndarray:
    """The n-gram that ends at each byte of the texts `[bytes]`, as a number whose lowest byte is the last one.

    Before a text stand zeros.
    """
    before = b"\0" * (order - 1)
    bodies = [t.encode("utf-8", "replace") for t in texts]
    raw = np.frombuffer(b"".join(before + b for b in bodies), np.uint8).astype(np.uint64)
    own = np.concatenate([np.arange(len(b) + order - 1) >= order - 1 for b in bodies])
    ends = np.flatnonzero(own)
    out = np.zeros(len(ends), np.uint64)
    for k in range(order):
        out |= raw[ends - k] << np.uint64(8 * k)
    return out


def _last(grams: np.ndarray, k: int) -> np.ndarray:
    """The last k bytes of n-grams."""
    return grams if k == LONGEST else grams & np.uint64((1 << 8 * k) - 1)


def _summed(keys: np.ndarray, values: np.ndarray) -> Table:
    """Each key once, with the sum of its values."""
    unique, place = np.unique(keys, return_inverse=True)
    return unique, np.bincount(place, values, len(unique)).astype(np.int64)


def _found(keys: np.ndarray, table: Table) -> np.ndarray:
    """Values of the keys; 0 for one that is not there."""
    known, values = table
    place = np.minimum(np.searchsorted(known, keys), len(known) - 1)
    return np.where(known[place] == keys, values[place], 0)
