"""What a run will do, before it does anything."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from smidgen.budget.budget import Budget
from smidgen.studies import summary
from smidgen.studies.candidates import Candidate, Skipped
from smidgen.studies.estimate import IntervalConfig
from smidgen.studies.race import Race
from smidgen.studies.slow import after_race, fewer_folds, race_trials, repeat_seconds, too_slow
from smidgen.tasks.task import Finding, Task

Progress = Callable[[dict[str, Any]], None]


@dataclass
class Plan:
    """What a run will do."""

    task: Task
    race: Race
    skipped: list[Skipped]
    budget: Budget
    workers: int
    seed: int
    out: Path | None
    name: str
    begun: float
    progress: Progress
    render: Callable[[dict[str, Any]], str] | None = None
    noticed: list[Finding] = field(default_factory=list)  # of the data, beside what its reader noticed
    named: bool = False  # whether the methods were named
    interval: IntervalConfig = field(default_factory=IntervalConfig)

    def __post_init__(self) -> None:
        self.race.set_folds = fewer_folds(self.race, self.budget, self.named)

    def slow(self) -> list[tuple[Candidate, str]]:
        """Candidates that the budget leaves out as they take too long, with the reason, see `slow.too_slow`."""
        left = None
        if self.budget.seconds is not None:
            left = self.begun + self.budget.seconds - after_race(self.race, self.budget.seconds) - time.monotonic()
        return too_slow(self.race, self.budget, self.named, left)

    def leave_out_the_slow(self) -> None:
        for c, why in self.slow():
            if c.key not in self.race.out:
                self.race.drop(c, why)

    def left_out(self) -> dict[tuple[str, str], str]:
        """Why candidates would not be tried, as far as can be told before anything is fitted."""
        why = {c.key: said for c, said in self.slow()}
        count = race_trials(self.task, self.budget)
        if count is not None:
            order = sorted(self.race.found, key=lambda c: c.once > 0)  # those that must learn first come last
            late = [c for c in order if c.key not in why][count:]
            why |= {c.key: f"not tried: {count} trials are for the {count} methods before it" for c in late}
        return why

    def forecast(self) -> tuple[float, list[dict[str, Any]]]:
        """(seconds of the whole run, what each candidate needs and whether it would be tried, those first)."""
        why, repeats = self.left_out(), self.race.repeats
        entries = [
            {
                "method": c.method,
                "view": c.view,
                "seconds": round(c.once + repeat_seconds(self.race, c), 2),
                "memory_bytes": c.memory,
                "tried": c.key not in why,
                "note": why.get(c.key)
                or f"{self.race.folds_of(c)} fits a repeat, up to {repeats} repeat(s)"
                + (f", after one pretraining of {c.once:.0f} s" if c.once else ""),
            }
            for c in sorted(self.race.found, key=lambda c: c.key in why)
        ]
        kept = [c for c in self.race.found if c.key not in why]
        once = [repeat_seconds(self.race, c) for c in kept]
        rounds = 1 + 0.6 * (repeats - 1)  # as candidates leave
        count = race_trials(self.task, self.budget)
        if count is not None:
            rounds = min(rounds, count / max(len(once), 1))
        whole = max(3.0, time.monotonic() - self.begun) + sum(c.once for c in kept) + sum(once) * rounds / self.workers
        return (whole if self.budget.seconds is None else min(whole, self.budget.seconds)), entries

    def sentence(self) -> str:
        """What will be tried, and how long it may take."""
        seconds, entries = self.forecast()
        out = sum(not e["tried"] for e in entries)
        more = f" ({out} more are beyond the budget)" if out else ""
        folds = f"{self.race.folds} folds, up to {self.race.repeats} repeats"
        return f"{len(entries) - out} candidates{more}, {folds}: about {seconds:.0f} s"

    def described(self) -> dict[str, Any]:
        task = replace(self.task, findings=(*self.task.findings, *self.noticed))
        return {**summary.described(task), "metric": self.task.metric, "seed": self.seed, "name": self.name}
