"""Watching the loss: a spike or a NaN must not spoil a run that took hours (GEB-1.3B, 2024, arXiv 2406.09900).

The guard only decides; the loop acts. `replace_batch` drops the batch and takes the next; `skip` does so for a span of
batches; `rollback` goes back to the newest checkpoint and leaves out the batches around the spike.
"""

import math
import statistics
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Literal

from smidgen.kit.errors import bad

Action = Literal["replace_batch", "skip", "rollback"]
ACTIONS: tuple[Action, ...] = ("replace_batch", "skip", "rollback")


@dataclass(kw_only=True)
class SpikeGuard:
    """Calls a loss a spike when it is not finite, or above `factor` times the median of the last `window` good ones
    and by at least `least` above it: near 0, twice as much is nothing.

    Attributes:
        action: what the loop shall do. span: batches left out by "skip" and after a "rollback".
        patience: spikes in a row after which the loss is taken as the new normal (data changed, not a spike).
        seen: (step, loss) of each spike, for the log.
    """

    factor: float = 1.5
    least: float = 0.0
    window: int = 50
    action: Action = "replace_batch"
    span: int = 100
    patience: int = 10
    seen: list[tuple[int, float]] = field(default_factory=list)
    _good: deque = field(default_factory=deque)
    _row: int = 0

    def __post_init__(self) -> None:
        if not self.factor > 1:
            raise bad("factor", "above 1", self.factor)
        if self.window < 2:
            raise bad("window", "at least 2 steps", self.window)
        if self.action not in ACTIONS:
            raise bad("action", " or ".join(ACTIONS), self.action)

    def check(self, step: int, loss: float) -> Action | None:
        """What to do about this loss; None: it is good, and remembered."""
        finite = math.isfinite(loss)
        known = len(self._good) >= min(self.window, 10)
        usual = statistics.median(self._good) if known else math.inf
        if finite and not loss > max(self.factor * usual, usual + self.least):
            self._remember(loss)
            return None
        self._row += 1
        self.seen.append((step, loss if finite else math.nan))
        if finite and self._row > self.patience:
            self._good.clear()
            self._remember(loss)
            return None
        return self.action

    def _remember(self, loss: float) -> None:
        self._row = 0
        self._good.append(loss)
        if len(self._good) > self.window:
            self._good.popleft()

    def state_dict(self) -> dict[str, Any]:
        seen = [[s, None if math.isnan(v) else v] for s, v in self.seen]
        return {"good": list(self._good), "row": self._row, "seen": seen}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._good, self._row = deque(state["good"]), state["row"]
        self.seen = [(s, math.nan if v is None else v) for s, v in state["seen"]]


def shrink_gradients(parameters, alpha: float) -> None:
    """Multiplies gradients by `alpha` < 1, meant for the embedding: its gradients set off many spikes."""
    if not 0 < alpha <= 1:
        raise bad("alpha", "above 0, at most 1", alpha)
    for p in parameters:
        if p.grad is not None:
            p.grad.mul_(alpha)
