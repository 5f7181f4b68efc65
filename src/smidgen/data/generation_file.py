"""What teachers made, kept as JSON lines: each batch announced before it is asked, and written when it is done.

A batch that was announced and is not there was asked, as far as anyone knows: its calls are lost, and count as paid.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np

from smidgen.kit.linefile import LineFile


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of an item: its number, the calls and tokens it cost, its question, answer and what a check said of it,
    or why it was dropped."""

    item: int
    calls: int
    tokens: int
    input: str = ""
    output: str = ""
    verified: bool | None = None
    dropped: str = ""


class GenerationFile:
    """The file, held while in a `with` block; without a path nothing is kept.

    Args:
        path: made when absent. space: a hash of the work; a file of other work is refused.

    Attributes:
        known: in their order, outcomes in the file, and numbers of calls that were lost.

    Raises:
        BadInput: on entry; the file was made by other work, is in use, or damaged.
    """

    def __init__(self, path: Path | str | None, space: str) -> None:
        self.known: list[Outcome | int] = []
        self._file: LineFile | None = None
        if path is not None:
            other = "rows of another strategy, other seeds, teachers or prompts"
            self._file = LineFile(path, space, other=other, same="work", user="run", line="row")

    def __enter__(self) -> Self:
        if self._file is not None:
            self._file.__enter__()
            try:
                self.known = _known(self._file)
            except BaseException:
                self._file.__exit__()
                raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.__exit__()

    def announce(self, first: int, items: int, calls: int) -> None:
        """Before a batch is asked: its first item, how many, and the calls that they may cost."""
        self._write([{"asking": first, "items": items, "calls": calls}])

    def write(self, outcomes: Sequence[Outcome]) -> None:
        """The outcomes of the batch that was announced."""
        self._write([asdict(outcome) for outcome in outcomes])

    def _write(self, lines: list[dict[str, Any]]) -> None:
        if self._file is not None:
            self._file.add(lines)


def _known(file: LineFile) -> list[Outcome | int]:
    known: list[Outcome | int] = []
    items, calls, number = 0, 0, 0  # of the batch that is open: what is missing of it; the next item
    for at, row in file.rows.items():
        try:
            if "asking" in row:
                if items:
                    known.append(calls)
                if row["asking"] != number:
                    raise ValueError
                items, calls = int(row["items"]), int(row["calls"])
            else:
                outcome = Outcome(**row)
                if outcome.item != number or not items:
                    raise ValueError
                known.append(outcome)
                items, calls, number = items - 1, calls - outcome.calls, number + 1
        except (ValueError, KeyError, TypeError):
            raise file.damaged(at) from None
    return [*known, calls] if items else known


def identity(value: Any) -> Any:
    """Settings as JSON that is equal in another process: functions by module and name (other code under one name is
    not noticed), partial ones with their arguments, dataclasses by their fields."""
    if isinstance(value, partial):
        return {"": "partial", "of": identity(value.func), "with": identity([value.args, value.keywords])}
    if isinstance(value, np.generic):
        return value.item()
    if is_dataclass(value) and not isinstance(value, type):
        return {"": type(value).__name__, **{f.name: identity(getattr(value, f.name)) for f in fields(value)}}
    if isinstance(value, list | tuple):
        return [identity(v) for v in value]
    if isinstance(value, dict):
        return {str(k): identity(v) for k, v in value.items()}
    if callable(value):
        named = value if hasattr(value, "__qualname__") else type(value)
        return f"{named.__module__}.{named.__qualname__}"
    return value
