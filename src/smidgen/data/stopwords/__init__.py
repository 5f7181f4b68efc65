"""Stop words as data: one JSON file a language, and which language a text is in, judged by them."""

import functools
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from smidgen.kit.config import nearest
from smidgen.kit.errors import BadInput

_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class StopWords:
    """Closed-class words of a language. `negations` are those that turn a meaning round. Lower case."""

    language: str
    name: str
    source: str
    licence: str
    stop_words: frozenset[str]
    negations: frozenset[str]

    @property
    def all(self) -> frozenset[str]:
        return self.stop_words | self.negations


@functools.cache
def languages() -> tuple[str, ...]:
    """Codes of the languages that have a list: ("de", "en", ...)."""
    return tuple(sorted(p.stem for p in _FOLDER.glob("*.json")))


@functools.cache
def load(language: str) -> StopWords:
    """The list of one language. Raises BadInput for one that there is not."""
    if language not in languages():
        raise BadInput(f"There are no stop words for '{language}'. {nearest(language, languages())}")
    found = json.loads((_FOLDER / f"{language}.json").read_text("utf-8"))
    return StopWords(
        **{**found, "stop_words": frozenset(found["stop_words"]), "negations": frozenset(found["negations"])}
    )


def coverage(words: Iterable[str], stop: frozenset[str]) -> float:
    """The share of these lower-case words that the list holds; 0 where there are none."""
    words = list(words)
    return sum(w in stop for w in words) / len(words) if words else 0.0


def guess(words: Iterable[str]) -> tuple[str, float]:
    """The language whose list covers most of these lower-case words, and how much it covers."""
    words = list(words)
    shares = {code: coverage(words, load(code).all) for code in languages()}
    best = max(shares, key=lambda code: (shares[code], code == "en", code))
    return best, shares[best]
