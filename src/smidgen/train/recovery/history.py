"""What happened in a run with failures, and how long it would have taken on machines of given speed."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate

FREE = "ignored"  # a failure that never was


@dataclass(frozen=True)
class Step:
    """An iteration that was carried through. `number`: only ever grows, and so do the data; `update`: updates that
    the weights carry after it, fewer than `number` + 1 where training was rolled back; `loss`: before the update."""

    number: int
    update: int
    loss: float


@dataclass(frozen=True)
class Failure:
    """Stages lost before the update of iteration `number`. `how`: "rebuilt", "restored" (exactly), "rolled back",
    "ignored". `before`, `after`: a loss around the recovery, where one was asked for; `seconds`: that it took here."""

    number: int
    stages: tuple[int, ...]
    how: str
    before: float | None = None
    after: float | None = None
    seconds: float = 0.0

    @property
    def jump(self) -> float | None:
        return None if self.before is None or self.after is None else self.after - self.before


@dataclass
class History:
    steps: list[Step] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)


def wallclock(history: History, iter_seconds: float, recovery_seconds: float) -> list[float]:
    """Seconds from the start to the end of each iteration: each takes the same time, each failure halts all stages.

    What a roll-back costs is in the history itself: iterations whose updates were lost.
    """
    halts = [failure.number for failure in history.failures if failure.how != FREE]
    spent = [iter_seconds + recovery_seconds * halts.count(step.number) for step in history.steps]
    return list(accumulate(spent))


def first_at(values: Sequence[float], level: float) -> int | None:
    """The place of the first value at or below a level; None: it never came there."""
    return next((place for place, value in enumerate(values) if value <= level), None)
