"""The course of a training: its rate by step, when the fall begins, and when it ends, by count or by the clock."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from smidgen.lm.plan import Plan
from smidgen.train.loop import Update
from smidgen.train.schedules import WSD

LOOKS, WORSE = 3, 1.01  # so many looks in a row at a held-out loss this much above its best: the fall begins
EARLY_FALL = 0.25  # of the updates so far: how long a fall is that begins before its time


@dataclass
class Course:
    """Attributes:
    wsd: the schedule; its fall begins at `stable_until`, or where there is none, so that it ends with the time.
    until: when the time is up, on `clock`; infinite without one. total: seconds of the whole, for the fall's share.
    fall_share: of the time. held: losses seen so far on held-out text. most: updates at most, where the clock ends it.
    """

    wsd: WSD
    until: float
    total: float
    fall_share: float
    held: list[float]
    most: int | None = None
    clock: Callable[[], float] = time.monotonic
    update_seconds: float = 0.0  # of an update, a running mean

    @classmethod
    def of(cls, plan: Plan, until: float, held_out: bool = True) -> "Course":
        """Of a plan whose time, if it has one, ends at `until`; without held-out text, which could tell when to end,
        there are no more updates than it has."""
        decay = max(1, round(plan.decay * plan.steps))
        wsd = WSD(warmup=max(5, round(plan.warmup * plan.first)), decay=decay)
        if plan.seconds is None:
            wsd = replace(wsd, stable_until=max(wsd.warmup, plan.steps - decay))
        return cls(wsd, until, plan.seconds or 0.0, plan.decay, [], None if held_out else plan.steps)

    def __post_init__(self) -> None:
        self._planned = self.wsd

    def __call__(self, step: int) -> float:
        """The rate's factor for update number `step`."""
        left = self.until - self.clock()
        if self.wsd.stable_until is None and self.update_seconds and left <= self.fall_share * self.total:
            self.fall(step, math.ceil(left / self.update_seconds) - 1)  # as many as `go_on` still allows
        if self.wsd.stable_until is None and self.most is not None and step >= self.most - self.wsd.decay:
            self.fall(step, self.most - step)
        return self.wsd(step)

    def fall(self, step: int, updates: int) -> None:
        """The fall begins now; within the warm-up that ends it."""
        wsd = replace(self.wsd, stable_until=None, warmup=min(self.wsd.warmup, step))
        self.wsd = wsd.start_decay(step, max(1, updates))

    def falling(self, step: int) -> bool:
        return self.wsd.stable_until is not None and step >= self.wsd.stable_until

    def go_on(self, step: int) -> bool:
        """Whether there is another update: before the schedule's end and with time for it."""
        within = self.wsd.end is None or step < self.wsd.end
        return within and self.clock() + self.update_seconds < self.until

    def timed(self, update: Update) -> None:
        """Takes note of how long an update takes."""
        before = self.update_seconds
        self.update_seconds = update.seconds if not before else 0.9 * before + 0.1 * update.seconds

    def looked(self, step: int, loss: float) -> bool:
        """Takes note of a loss on held-out text; True: it has been rising, so that the fall began now."""
        self.held.append(loss)
        rising = len(self.held) > LOOKS and min(self.held[-LOOKS:]) > WORSE * min(self.held)
        if not rising or self.falling(step):
            return False
        self.fall(step, round(EARLY_FALL * step))
        return True

    def state(self, before_fall: bool = False) -> dict[str, Any]:
        """For a checkpoint. `before_fall`: as if none had begun, so that the training can be made longer."""
        wsd, held = self.wsd, list(self.held)
        return {"stable_until": None if before_fall else wsd.stable_until, "decay": wsd.decay, "warmup": wsd.warmup} | {
            "held": held
        }

    def load(self, state: dict[str, Any], step: int) -> None:
        """Goes on at update number `step`; a fall that had begun goes on, else it begins as is planned now."""
        self.held, self.wsd = list(state["held"]), self._planned
        if state["stable_until"] is not None and state["stable_until"] <= step:
            self.wsd = replace(self.wsd, **{k: state[k] for k in ("stable_until", "decay", "warmup")})
