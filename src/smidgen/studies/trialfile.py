"""Trials kept in a file of JSON lines, each as soon as it is done.

Work may be stopped at any moment, killed even: it loses the trial that ran, and goes on there.
"""

import json
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, TextIO

from smidgen.kit.errors import BadInput

Evaluate = Callable[[dict[str, Any], int], Mapping[str, float]]


class Spent(Exception):
    """The budget of this run is used up."""


class TrialFile:
    """Trials by configuration and seed, each with the same named values. Used in a `with` block, which holds the file.

    Args:
        path: made when absent.
        space: a hash of what is searched; a file of another space is refused.
        names: of the values that a trial has. They are NaN where it failed.
        max_seconds: for this run; a trial that has begun is finished. max_trials: in all, with those in the file.

    Raises:
        BadInput: on entry; the file was made for another space, or is in use, or damaged.
    """

    def __init__(
        self,
        path: Path | str,
        space: str,
        names: Sequence[str],
        *,
        max_seconds: float | None = None,
        max_trials: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.path, self.space, self.names, self.clock = Path(path), space, tuple(names), clock
        self._until = math.inf if max_seconds is None else clock() + max_seconds
        self._most = math.inf if max_trials is None else max_trials
        self._known: dict[str, dict[str, float]] = {}

    def __len__(self) -> int:
        return len(self._known)

    def __enter__(self) -> Self:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self.path.open("a+", encoding="utf-8")
        try:
            _lock(self._file, self.path)
            self._known = self._read()
        except BaseException:
            self._file.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def trial(self, config: dict[str, Any], seed: int, evaluate: Evaluate) -> dict[str, float]:
        """The values of one trial: from the file, or by `evaluate(config, seed)` now.

        Raises:
            Spent: it is not in the file, and the budget is used up.
        """
        key = _key(config, seed)
        if key not in self._known:
            if self.clock() >= self._until or len(self._known) >= self._most:
                raise Spent
            self._known[key] = self._measure(config, seed, evaluate)
        return dict(self._known[key])

    def _measure(self, config: dict[str, Any], seed: int, evaluate: Evaluate) -> dict[str, float]:
        began, error = self.clock(), {}
        try:
            got = evaluate(dict(config), seed)
            values = {name: float(got[name]) for name in self.names}
        except Exception as failure:  # a configuration that cannot run is a result too
            values = dict.fromkeys(self.names, math.nan)
            error = {"error": f"{type(failure).__name__}: {failure}"[:300]}
        shown = {name: v if math.isfinite(v) else None for name, v in values.items()}
        self._write({"config": config, "seed": seed, **shown, "seconds": round(self.clock() - began, 4), **error})
        return {name: v if math.isfinite(v) else math.nan for name, v in values.items()}

    def _write(self, line: dict[str, Any]) -> None:
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def _read(self) -> dict[str, dict[str, float]]:
        """The trials in the file. A last line without an end is cut off."""
        self._file.seek(0)
        text = self._file.read()
        whole = text[: text.rfind("\n") + 1]
        if whole != text:
            self._file.truncate(len(whole.encode()))
        lines = whole.splitlines()
        if not lines:
            self._write({"space": self.space, "schema": 1})
        known = {}
        for number, line in enumerate(lines, 1):
            try:
                row = json.loads(line)
                if number == 1:
                    if row["space"] != self.space:
                        raise BadInput(
                            f"{self.path} holds the trials of another search space: "
                            "give another file, or the same space."
                        )
                    continue
                values = {name: math.nan if row[name] is None else float(row[name]) for name in self.names}
                known[_key(row["config"], row["seed"])] = values
            except BadInput:
                raise
            except (ValueError, KeyError, TypeError):
                raise BadInput(
                    f"{self.path}, line {number} is not a trial: the file is damaged or was edited."
                ) from None
        return known


def _key(config: dict[str, Any], seed: int) -> str:
    return json.dumps([config, seed], sort_keys=True)


def _lock(file: TextIO, path: Path) -> None:
    try:
        import fcntl
    except ImportError:  # Windows: two searches on one file are the caller's care
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise BadInput(f"{path} is in use by another search: give another file, or wait.") from None
