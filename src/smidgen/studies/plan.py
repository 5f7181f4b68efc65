"""What a run will do, before it does anything."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from smidgen.budget.budget import Budget
from smidgen.studies import summary
from smidgen.studies.candidates import Skipped
from smidgen.studies.estimate import IntervalConfig
from smidgen.studies.race import Race
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

    def forecast(self) -> tuple[float, list[dict[str, Any]]]:
        """(seconds of the whole run, what each candidate needs)."""
        entries = [
            {
                "method": c.method,
                "view": c.view,
                "seconds": round(c.seconds * self.race.folds_of(c), 2),
                "memory_bytes": c.memory,
                "note": f"{self.race.folds_of(c)} fits a repeat, up to {self.race.repeats} repeat(s)",
            }
            for c in self.race.found
        ]
        once = sum(c.seconds * self.race.folds_of(c) for c in self.race.found)
        whole = 3 + once * (1 + 0.6 * (self.race.repeats - 1)) / self.workers
        return (whole if self.budget.seconds is None else min(whole, self.budget.seconds)), entries

    def described(self) -> dict[str, Any]:
        task = replace(self.task, findings=(*self.task.findings, *self.noticed))
        return {**summary.described(task), "metric": self.task.metric, "seed": self.seed, "name": self.name}
