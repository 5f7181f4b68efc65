"""Whether an answer is right, without asking anyone: by its number, by its words, or by what the user's own code says.

A check takes (question, answer, reference) and says True, False, or None where it cannot know. Nothing here runs what a
teacher wrote: `Executed` calls a function of the user's, which has to keep such code in its place.
"""

import math
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Protocol

from smidgen.kit.errors import bad

# A number that is no part of a longer one ("1.2.3", "1,5") or of a name ("x2"); a minus after a value subtracts.
_NUMBER = re.compile(
    r"""(?<![\w.^])(?<!\d,)
    (?P<sign>(?<![\w)\]])[-+])?[$€£]?
    (?P<size>(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|\.\d+)(?P<power>[eE][-+]?\d+)?
    (?![.,]?\d|\s*\^)
    (?:\s*/\s*(?P<under>\d+)(?![.,]?\d))?""",
    re.VERBOSE,
)
_THOUSANDS = re.compile(r"(?<=\d)[\u00a0\u202f](?=\d{3}(?!\d))")  # spaces that do not break
_MINUS = str.maketrans({"\u2212": "-", "\u2013": "-", "\u00a0": " ", "\u202f": " "})


class Check(Protocol):
    """Says whether an answer is right; `reference` is an answer known to be, where there is one."""

    def __call__(self, question: str, answer: str, reference: str | None) -> bool | None: ...


def last_number(text: str, marker: str = "####") -> Fraction | None:
    """The number after the last marker, or the last one of the text where there is no marker: -3, 1,250.5, 3/4, $7.

    Thousands are set off by commas or spaces that do not break, decimals by a point. None where there is none that can
    be read in one way.
    """
    text = _THOUSANDS.sub(",", text).translate(_MINUS)
    marked = text.rpartition(marker)[1] if marker else ""
    found = list(_NUMBER.finditer(text.rpartition(marker)[2] if marked else text))
    if not found:
        return None
    match = found[0 if marked else -1]
    if len(match["power"] or "") > 4 or len(match["size"]) > 60:  # nobody means it, and it is slow to make
        return None
    value = Fraction(match["size"].replace(",", "") + (match["power"] or ""))
    if match["under"]:
        if not int(match["under"]):
            return None
        value /= int(match["under"])
    return -value if match["sign"] == "-" else value


@dataclass(frozen=True)
class Numeric:
    """Right where the answer's number is the reference's, up to `tolerance` of its size, or of 1 below that. None
    without a reference, or where the reference holds no number; an answer without one is wrong."""

    tolerance: float = 1e-6
    marker: str = "####"

    def __post_init__(self) -> None:
        if not 0 <= self.tolerance < math.inf:
            raise bad("tolerance", "0 or more", self.tolerance)

    def __call__(self, question: str, answer: str, reference: str | None) -> bool | None:
        wanted = None if reference is None else last_number(reference, self.marker)
        if wanted is None:
            return None
        got = last_number(answer, self.marker)
        return got is not None and abs(got - wanted) <= Fraction(self.tolerance) * max(abs(wanted), 1)


@dataclass(frozen=True)
class Exact:
    """Right where the answer reads as the reference: capitals, spaces, brackets and a full stop do not count."""

    def __call__(self, question: str, answer: str, reference: str | None) -> bool | None:
        return None if reference is None else _plain(answer) == _plain(reference)


@dataclass(frozen=True)
class Executed:
    """Right where `run(question, answer)` gives what `run(question, reference)` gives (`same` says when).

    Args:
        run: the user's: executes an answer, a query say, where it can do no harm, and raises where it fails.
        same: of two results; equality by default.

    An answer that fails is wrong. Without a reference, or where that fails, one that runs is unknown: running shows
    nothing of being right.
    """

    run: Callable[[str, str], Any]
    same: Callable[[Any, Any], bool] | None = None

    def __call__(self, question: str, answer: str, reference: str | None) -> bool | None:
        try:
            got = self.run(question, answer)
        except Exception:  # whatever a wrong program does
            return False
        if reference is None:
            return None
        try:
            wanted = self.run(question, reference)
        except Exception:
            return None
        return bool(self.same(got, wanted) if self.same else got == wanted)


def _plain(text: str) -> str:
    text = " ".join(unicodedata.normalize("NFKC", text).translate(_MINUS).casefold().split())
    before = None
    while text != before:  # "(B)." in any order of wrapping
        before, text = text, text.strip(" \"'`()[]{}").removesuffix(".")
    return text
