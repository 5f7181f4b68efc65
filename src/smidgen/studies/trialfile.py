"""Trials kept in a file of JSON lines, each as soon as it is done.

Work may be stopped at any moment, killed even: it loses the trial that ran, and goes on there.
"""

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from smidgen.kit.linefile import LineFile

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
        self.names, self.clock = tuple(names), clock
        self._file = LineFile(
            path, space, other="the trials of another search space", same="space", user="search", line="trial"
        )
        self._until = math.inf if max_seconds is None else clock() + max_seconds
        self._most = math.inf if max_trials is None else max_trials
        self._known: dict[str, dict[str, float]] = {}

    def __len__(self) -> int:
        return len(self._known)

    def __enter__(self) -> Self:
        self._file.__enter__()
        try:
            self._known = dict(self._trial(number, row) for number, row in self._file.rows.items())
        except BaseException:
            self._file.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._file.__exit__()

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
        seconds = round(self.clock() - began, 4)
        self._file.add([{"config": config, "seed": seed, **shown, "seconds": seconds, **error}])
        return {name: v if math.isfinite(v) else math.nan for name, v in values.items()}

    def _trial(self, number: int, row: dict[str, Any]) -> tuple[str, dict[str, float]]:
        try:
            values = {name: math.nan if row[name] is None else float(row[name]) for name in self.names}
            return _key(row["config"], row["seed"]), values
        except (ValueError, KeyError, TypeError):
            raise self._file.damaged(number) from None


def content(values: Any) -> bytes:
    """What rows hold, to be hashed into a configuration; the bytes of an array of objects, texts say, are addresses."""
    array = np.asarray(values)
    if array.dtype.hasobject:
        held = json.dumps(array.tolist(), default=lambda v: v.tolist() if hasattr(v, "tolist") else str(v)).encode()
    else:
        held = array.tobytes()
    return f"{array.dtype.str} {array.shape} ".encode() + held


def _key(config: dict[str, Any], seed: int) -> str:
    return json.dumps([config, seed], sort_keys=True)
