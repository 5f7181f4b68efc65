"""What teachers made, kept as JSON lines: each batch announced before it is asked, and written when it is done.

A batch that was announced and is not there was asked, as far as anyone knows: its calls are lost, and count as paid.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Self, TextIO

from smidgen.kit.errors import BadInput


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
        self.path, self.space = None if path is None else Path(path), space
        self.known: list[Outcome | int] = []
        self._file: TextIO | None = None

    def __enter__(self) -> Self:
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("a+", encoding="utf-8")
            try:
                _lock(self._file, self.path)
                self.known = self._read(self._file, self.path)
            except BaseException:
                self._file.close()
                raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def announce(self, first: int, items: int, calls: int) -> None:
        """Before a batch is asked: its first item, how many, and the calls that they may cost."""
        self._write([{"asking": first, "items": items, "calls": calls}])

    def write(self, outcomes: Sequence[Outcome]) -> None:
        """The outcomes of the batch that was announced."""
        self._write([asdict(outcome) for outcome in outcomes])

    def _write(self, lines: list[dict[str, Any]]) -> None:
        if self._file is not None:
            self._file.write("".join(json.dumps(line) + "\n" for line in lines))
            self._file.flush()
            os.fsync(self._file.fileno())

    def _read(self, file: TextIO, path: Path) -> list[Outcome | int]:
        """A last line without an end is cut off."""
        file.seek(0)
        text = file.read()
        whole = text[: text.rfind("\n") + 1]
        if whole != text:
            file.truncate(len(whole.encode()))
        if not whole:
            self._write([{"space": self.space, "schema": 1}])
            return []
        known: list[Outcome | int] = []
        items, calls, number = 0, 0, 0  # of the batch that is open: what is missing of it; the next item
        for at, line in enumerate(whole.split("\n")[:-1], 1):
            try:
                row = json.loads(line)
                if at == 1:
                    if row["space"] != self.space:
                        raise BadInput(
                            f"{path} holds rows of another strategy, other seeds, teachers or prompts: "
                            "give another file, or the same work."
                        )
                elif "asking" in row:
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
            except BadInput:
                raise
            except (ValueError, KeyError, TypeError):
                raise BadInput(f"{path}, line {at} is not a row: the file is damaged or was edited.") from None
        return [*known, calls] if items else known


def identity(value: Any) -> Any:
    """Settings as JSON that is equal in another process: functions by their name, dataclasses by their fields."""
    if is_dataclass(value) and not isinstance(value, type):
        return {"": type(value).__name__, **{f.name: identity(getattr(value, f.name)) for f in fields(value)}}
    if isinstance(value, list | tuple):
        return [identity(v) for v in value]
    if isinstance(value, dict):
        return {str(k): identity(v) for k, v in value.items()}
    if callable(value):
        return getattr(value, "__qualname__", type(value).__qualname__)
    return value


def _lock(file: TextIO, path: Path) -> None:
    try:
        import fcntl
    except ImportError:  # Windows: two runs on one file are the caller's care
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise BadInput(f"{path} is in use by another run: give another file, or wait.") from None
