"""Gradual search: one setting after the other, in order of importance, keeping the best so far.

After arXiv 2403.12563. When the best value of a range lies at its edge the range is widened. Every trial is kept in
a file of JSON lines as soon as it is done, so a search may be stopped at any moment, killed even, and goes on there.
One at a time misses settings that depend on each other: give those as one, `("rate", "batch"): [(1e-3, 8), ...]`.
"""

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smidgen.kit.errors import BudgetSpent, bad
from smidgen.kit.files import digest
from smidgen.studies.trialfile import Spent, TrialFile

Evaluate = Callable[[dict[str, Any], int], float]
Name = str | tuple[str, ...]


@dataclass(frozen=True)
class BestConfig:
    """The best settings, their mean value over the repeats, how many trials there are in all, and whether the search
    came to its end (`finished`) or its budget did."""

    config: dict[str, Any]
    value: float
    trials: int
    finished: bool


class GradualSearch:
    """A search over lists of values.

    Args:
        space: values of each setting, in their order, the most important setting first. Numbers in rising or falling
            order may be widened. A tuple of names has tuples of values, searched together.
        evaluate: `evaluate(config, seed) -> value`; seeds are 0 .. repeats - 1. What fails is never best.
        store: the file of trials; made when absent.
        minimize: whether small values are good.
        repeats: evaluations of each configuration, averaged.
        start: where to begin; default: the middle of each list.
        widenings: how many values a range may gain at an edge.
        sweeps: how often all settings are gone through; it ends earlier when a sweep changes nothing.
        limits: by setting, the (least, greatest) value that widening may reach.
    Raises:
        BadInput: an empty space; a store that was made for another space, or that is in use, or damaged.
    """

    def __init__(
        self,
        space: Mapping[Name, list],
        evaluate: Evaluate,
        store: Path | str,
        *,
        minimize: bool = False,
        repeats: int = 1,
        start: Mapping[str, Any] | None = None,
        widenings: int = 3,
        sweeps: int = 1,
        limits: Mapping[str, tuple[float, float]] | None = None,
    ):
        if not space or any(len(values) == 0 for values in space.values()):
            raise bad("space", "at least one setting, each with at least one value", dict(space))
        for name, values in space.items():
            if isinstance(name, tuple) and any(len(v) != len(name) for v in values):
                raise bad(f"space[{name!r}]", f"tuples of {len(name)} values", values)
        self.space, self.evaluate, self.store = dict(space), evaluate, Path(store)
        self.minimize, self.repeats, self.widenings, self.sweeps = minimize, repeats, widenings, sweeps
        self.start, self.limits = dict(start or {}), dict(limits or {})
        self.hash = digest(
            json.dumps([[list(n) if isinstance(n, tuple) else n, list(v)] for n, v in space.items()]), str(minimize)
        )

    def run(
        self,
        max_seconds: float | None = None,
        max_trials: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> BestConfig:
        """Searches until the end or the budget, whichever is first; a trial that has begun is finished.

        Args:
            max_seconds: for this run. max_trials: in all, with those in the store.
        Raises:
            BudgetSpent: not one configuration was measured.
        """
        trials = TrialFile(
            self.store, self.hash, ("value",), max_seconds=max_seconds, max_trials=max_trials, clock=clock
        )
        with trials:

            def value(config: dict[str, Any]) -> float:
                values = [trials.trial(config, seed, self._trial)["value"] for seed in range(self.repeats)]
                return math.fsum(values) / len(values) if all(map(math.isfinite, values)) else self._worst

            best: tuple[dict[str, Any], float] | None = None
            finished = True
            try:
                for best in self._path(value):  # noqa: B007
                    pass
            except Spent:
                finished = False
            if best is None or not math.isfinite(best[1]):
                raise BudgetSpent(
                    "The search ended before any configuration was measured: allow more trials or time, "
                    f"or look into the errors in {self.store}."
                )
            return BestConfig(best[0], best[1], len(trials), finished)

    @property
    def _worst(self) -> float:
        return math.inf if self.minimize else -math.inf

    def _path(self, value: Callable[[dict[str, Any]], float]) -> Iterator[tuple[dict[str, Any], float]]:
        """The best so far, after each configuration. Equal values give an equal path: a stored one is walked again."""
        config: dict[str, Any] = {}
        for name, values in self.space.items():
            config.update(_named(name, values[(len(values) - 1) // 2]))
        config.update(self.start)
        score = value(config)
        yield config, score
        for _ in range(self.sweeps):
            before = dict(config)
            for name, given in self.space.items():
                values, gained = list(given), 0
                todo = list(values)
                while todo:
                    for option in todo:
                        trial = {**config, **_named(name, option)}
                        got = value(trial)
                        if got < score if self.minimize else got > score:
                            config, score = trial, got
                        yield config, score
                    todo = []
                    if gained < self.widenings and isinstance(name, str):
                        todo = self._wider(name, values, config[name])
                        gained += 1
            if config == before:
                return

    def _wider(self, name: str, values: list, best: Any) -> list:
        """One more value beyond the edge at which the best lies, put into `values`; none where it lies inside."""
        if len(values) < 2 or any(isinstance(v, bool) or not isinstance(v, int | float) for v in values):
            return []
        for edge, inner, at in ((values[-1], values[-2], len(values)), (values[0], values[1], 0)):
            if best == edge and edge != inner:
                even = edge * inner > 0 and max(abs(edge), abs(inner)) >= 1.9 * min(abs(edge), abs(inner))
                new = edge * (edge / inner) if even else edge + (edge - inner)
                new = round(new) if all(isinstance(v, int) for v in values) else float(f"{new:.6g}")
                low, high = self.limits.get(name, (-math.inf, math.inf))
                if new in values or not low <= new <= high:
                    return []
                values.insert(at, new)
                return [new]
        return []

    def _trial(self, config: dict[str, Any], seed: int) -> dict[str, float]:
        return {"value": self.evaluate(config, seed)}


def _named(name: Name, value: Any) -> dict[str, Any]:
    return dict(zip(name, value, strict=True)) if isinstance(name, tuple) else {name: value}
