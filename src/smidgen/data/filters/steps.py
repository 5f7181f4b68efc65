"""Filters one after the other, and their state in a folder: numbers, text and arrays, no code."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from smidgen.data.filters.joiner import Related, SentenceJoiner
from smidgen.data.filters.keywords import KeywordDensityFilter
from smidgen.data.filters.perplexity import PerplexityFilter, Scorer
from smidgen.data.filters.repeats import ConsecutiveDeduplicator
from smidgen.data.filters.rules import RuleCleaner
from smidgen.kit.errors import BadInput, bad
from smidgen.kit.files import new_folder, read_json, read_tensors, tensor_bytes, write_bytes, write_json
from smidgen.kit.state import pack, unpack

SCHEMA = 1
STATE, ARRAYS = "filters.json", "filters.safetensors"
KINDS: dict[str, Any] = {
    "rules": RuleCleaner,
    "join": SentenceJoiner,
    "repeats": ConsecutiveDeduplicator,
    "perplexity": PerplexityFilter,
    "keywords": KeywordDensityFilter,
}


class Step(Protocol):
    """What every filter is: texts in, texts out, and a state of plain data and arrays."""

    def apply(self, texts: Iterable[str]) -> list[str]: ...

    def state(self) -> dict[str, Any]: ...


class Count(NamedTuple):
    """What one step left."""

    step: str
    texts: int
    characters: int


def run(steps: Sequence[Step], texts: Iterable[str]) -> tuple[list[str], list[Count]]:
    """The texts after all steps, and what each of them left."""
    left, counts = list(texts), []
    for step in steps:
        left = step.apply(left)
        counts.append(Count(kind_of(step), len(left), sum(map(len, left))))
    return left, counts


def save(steps: Sequence[Step], folder: Path | str) -> None:
    """Writes filters.json and filters.safetensors, all or nothing; replaces a folder of that name."""
    arrays: dict[str, Any] = {}
    states = pack([{"kind": kind_of(s), **s.state()} for s in steps], arrays)
    with new_folder(Path(folder)) as made:
        write_json(made / STATE, {"schema": SCHEMA, "steps": states})
        write_bytes(made / ARRAYS, tensor_bytes(arrays))


def load(folder: Path | str, scorer: Scorer | None = None, related: Related | None = None) -> list[Step]:
    """The steps of a folder.

    Args:
        scorer, related: what a perplexity filter and a joiner were made with, where it was not of this room.
    Raises:
        BadInput: damaged, newer, or made with such a thing that is not given.
    """
    folder = Path(folder)
    found = read_json(folder / STATE)
    if not isinstance(found, dict) or found.get("schema") != SCHEMA:
        raise BadInput(f"{folder / STATE} is damaged or of another version of smidgen.")
    states = unpack(found["steps"], read_tensors(folder / ARRAYS))
    given = {"perplexity": (scorer,), "join": (related,)}
    try:
        parts = [(s.pop("kind"), s) for s in states]
        return [KINDS[kind].load(state, *given.get(kind, ())) for kind, state in parts]
    except (KeyError, TypeError, AttributeError) as error:
        raise BadInput(f"{folder / STATE} is damaged ({error!r}).") from None


def kind_of(step: Step) -> str:
    """Raises BadInput: it is none of ours."""
    for name, kind in KINDS.items():
        if type(step) is kind:
            return name
    raise bad("step", " or ".join(k.__name__ for k in KINDS.values()), type(step).__name__)
