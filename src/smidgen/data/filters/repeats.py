"""Text that is there already: the same sentence or paragraph twice in a row, or in a set that was read before."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from smidgen.data.filters.pieces import paragraphs, sentences


@dataclass(frozen=True)
class ConsecutiveDeduplicator:
    """Drops what repeats the sentence or paragraph just before it, and paragraphs of earlier sets; GEB-1.3B.

    Case and spaces do not count. A paragraph also repeats the last one of the text before.

    Attributes:
        known: hashes of the paragraphs of earlier sets, sorted, uint64 (`remember`).
        shortest: characters; shorter paragraphs, such as "Yes.", may be in several sets.
    """

    known: np.ndarray = field(default_factory=lambda: np.zeros(0, np.uint64))
    shortest: int = 32

    def remember(self, texts: Iterable[str]) -> "ConsecutiveDeduplicator":
        """One that knows a further set: go through the sets in turn, each with what is known of those before it."""
        new = {_hash(p) for t in texts for p in paragraphs(t) if len(p) >= self.shortest}
        return ConsecutiveDeduplicator(np.union1d(self.known, np.array(sorted(new), np.uint64)), self.shortest)

    def apply(self, texts: Iterable[str]) -> list[str]:
        """The texts, a line for each paragraph that stays; without texts of which nothing does."""
        out, known, last = [], set(self.known.tolist()), ""
        for text in texts:
            kept = []
            for paragraph in paragraphs(text):
                same, last = _plain(paragraph) == last, _plain(paragraph)
                if not same and not (len(paragraph) >= self.shortest and _hash(paragraph) in known):
                    kept.append(" ".join(_without_echo(sentences(paragraph))))
            if kept:
                out.append("\n".join(kept))
        return out

    def state(self) -> dict[str, Any]:
        return {"known": self.known, "shortest": self.shortest}

    @classmethod
    def load(cls, state: dict[str, Any]) -> "ConsecutiveDeduplicator":
        return cls(np.asarray(state["known"], np.uint64), state["shortest"])


def _without_echo(parts: list[str]) -> list[str]:
    return [s for i, s in enumerate(parts) if i == 0 or _plain(s) != _plain(parts[i - 1])]


def _plain(text: str) -> str:
    return " ".join(text.lower().split())


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(_plain(text).encode(), digest_size=8).digest(), "big")
