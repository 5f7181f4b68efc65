"""When which stages are lost: one schedule, so that every way of recovery meets the same failures."""

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from smidgen.kit.errors import BadInput, bad
from smidgen.kit.files import write_json
from smidgen.train.recovery.stages import ENDS


def rate_per_iteration(p_hour: float, iter_seconds: float) -> float:
    """Chance of a failure in one iteration, from that in an hour (arXiv 2506.15461)."""
    if not 0 <= p_hour < 1:
        raise bad("p_hour", "a chance from 0, below 1", p_hour)
    if not iter_seconds > 0:
        raise bad("iter_seconds", "above 0", iter_seconds)
    return 1 - (1 - p_hour) ** (iter_seconds / 3600)


@dataclass(frozen=True)
class FailureSchedule:
    """Which stages are lost in which iteration.

    Attributes:
        n_stages, n_iters: what it is for. events: (iteration, stages lost together before its update), in order.
    """

    n_stages: int
    n_iters: int
    events: tuple[tuple[int, tuple[int, ...]], ...] = ()

    def __post_init__(self) -> None:
        for iteration, stages in self.events:
            if not 0 <= iteration < self.n_iters:
                raise bad("failure", f"in an iteration from 0 to {self.n_iters - 1}", iteration)
            if not stages or not all(ENDS <= k < self.n_stages for k in stages):
                raise bad("failure", f"of stages 0 to {self.n_stages - 1} (-1: embedding and head)", stages)
        if list(self.events) != sorted(self.events, key=lambda event: event[0]):
            raise BadInput("Failures come in the order of iterations.")

    def at(self, iteration: int) -> list[set[int]]:
        """What is lost before this iteration's update: one set an event."""
        return [set(stages) for when, stages in self.events if when == iteration]

    @staticmethod
    def bernoulli(
        p_hour: float,
        iter_seconds: float,
        n_stages: int,
        n_iters: int,
        seed: int,
        protected: Collection[int] = (),
    ) -> "FailureSchedule":
        """Every stage but the protected fails in every iteration with the same chance, on its own."""
        chance = rate_per_iteration(p_hour, iter_seconds)
        lost = np.random.default_rng(seed).random((n_iters, n_stages)) < chance
        lost[:, [k for k in protected if k >= 0]] = False
        events = tuple((t, tuple(map(int, np.flatnonzero(lost[t])))) for t in map(int, np.flatnonzero(lost.any(1))))
        return FailureSchedule(n_stages, n_iters, events)

    def to_json(self, path: Path | str) -> None:
        events = [{"iteration": t, "stages": list(stages)} for t, stages in self.events]
        write_json(Path(path), {"n_stages": self.n_stages, "n_iters": self.n_iters, "events": events})

    @staticmethod
    def from_json(path: Path | str) -> "FailureSchedule":
        """Raises BadInput: not what `to_json` writes."""
        try:
            found = json.loads(Path(path).read_text(encoding="utf-8"))
            events = tuple((int(e["iteration"]), tuple(map(int, e["stages"]))) for e in found["events"])
            sizes = int(found["n_stages"]), int(found["n_iters"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BadInput(f"{path}: expected a failure schedule, found {type(error).__name__}: {error}.") from None
        return FailureSchedule(*sizes, events)
