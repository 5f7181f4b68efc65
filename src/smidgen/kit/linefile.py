"""A file of JSON lines that work adds to as it goes on, held by one process: what a kill leaves is good up to the last
whole line. The first line says what the work is, and a file of other work is refused."""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self, TextIO

from smidgen.kit.errors import BadInput


class LineFile:
    """Used in a `with` block, which holds the file.

    Args:
        path: made when absent. space: a hash of what the work is.
        other, same, user, line: words for errors: "the trials of another search space", "space", "search", "trial".

    Attributes:
        rows: the objects in the file when it was opened, by their line number.

    Raises:
        BadInput: on entry; the file is of other work, in use, or damaged.
    """

    def __init__(self, path: Path | str, space: str, *, other: str, same: str, user: str, line: str) -> None:
        self.path, self.space = Path(path), space
        self._other, self._same, self._user, self._line = other, same, user, line
        self.rows: dict[int, dict[str, Any]] = {}

    def __enter__(self) -> Self:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self.path.open("a+", encoding="utf-8")
        try:
            self._lock(self._file)
            self.rows = self._read(self._file)
        except BaseException:
            self._file.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, rows: Iterable[dict[str, Any]]) -> None:
        """Writes the rows; they are on the disk when it returns."""
        self._file.write("".join(json.dumps(row) + "\n" for row in rows))
        self._file.flush()
        os.fsync(self._file.fileno())

    def damaged(self, number: int) -> BadInput:
        """The error of a line that cannot be."""
        return BadInput(f"{self.path}, line {number} is not a {self._line}: the file is damaged or was edited.")

    def _read(self, file: TextIO) -> dict[int, dict[str, Any]]:
        """A last line without an end is cut off."""
        file.seek(0)
        text = file.read()
        whole = text[: text.rfind("\n") + 1]
        if whole != text:
            file.truncate(len(whole.encode()))
        if not whole:
            self.add([{"space": self.space, "schema": 1}])
        rows: dict[int, dict[str, Any]] = {}
        for number, line in enumerate(whole.split("\n")[:-1], 1):
            try:
                rows[number] = dict(json.loads(line))
            except (ValueError, TypeError):
                raise self.damaged(number) from None
        head = rows.pop(1, {"space": self.space})
        if "space" not in head:
            raise self.damaged(1)
        if head["space"] != self.space:
            raise BadInput(f"{self.path} holds {self._other}: give another file, or the same {self._same}.")
        return rows

    def _lock(self, file: TextIO) -> None:
        try:
            import fcntl
        except ImportError:  # Windows: two users of one file are the caller's care
            return
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise BadInput(f"{self.path} is in use by another {self._user}: give another file, or wait.") from None
