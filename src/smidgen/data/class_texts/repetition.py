"""Texts that a language model got stuck in: the same words over and over, or hardly a word at all."""

from dataclasses import dataclass

from smidgen.data.novelty import words
from smidgen.kit.errors import bad


@dataclass(frozen=True, kw_only=True)
class RepetitionDetector:
    """Calling it with a text tells whether the text is stuck.

    Attributes:
        loops: so many times the same 1 to 4 words in a row are a loop.
        share: of a text's sequences of three words that have occurred in it before, at most; asked from 12 words on.
        letters: of a text's signs (spaces left out) that are letters or digits, at least. "????" has none.
    """

    loops: int = 3
    share: float = 0.3
    letters: float = 0.5

    def __post_init__(self) -> None:
        if self.loops < 2:
            raise bad("loops", "at least 2", self.loops)
        for name in ("share", "letters"):
            if not 0 <= getattr(self, name) <= 1:
                raise bad(name, "a share from 0 to 1", getattr(self, name))

    def __call__(self, text: str) -> bool:
        signs = "".join(text.split())
        if not signs or sum(map(str.isalnum, signs)) < self.letters * len(signs):
            return True
        own = words(text)
        return any(loops(own, n) >= self.loops for n in (1, 2, 3, 4)) or (
            len(own) >= 12 and repeated(own, 3) > self.share
        )


def loops(own: list[str], n: int) -> int:
    """How many times the same n words stand in a row, at most; 0 where there are fewer than n."""
    best = run = min(len(own), n)  # words that equal those n before them, and the first n
    for i in range(n, len(own)):
        run = run + 1 if own[i] == own[i - n] else n
        best = max(best, run)
    return best // n


def repeated(own: list[str], n: int) -> float:
    """The share of sequences of n words that have occurred before; 0 where there is none."""
    grams = [tuple(own[i : i + n]) for i in range(len(own) - n + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0
