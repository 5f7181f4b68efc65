"""Watching the loss: a spike or a NaN must not spoil a run that took hours (GEB-1.3B, 2024, arXiv 2406.09900).

The guard only decides; the loop acts. `replace_batch` drops the batch and takes the next; `skip` does so for a span of
batches; `rollback` goes back to the newest checkpoint and leaves out the batches around the spike.
"""

import math
import statistics
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from smidgen.kit.errors import bad

if TYPE_CHECKING:
    from torch import nn

Action = Literal["replace_batch", "skip", "rollback"]
ACTIONS: tuple[Action, ...] = ("replace_batch", "skip", "rollback")


class Spike(NamedTuple):
    """One line of the guard's log: the update that was not made, its loss (NaN: not finite), the numbers of its
    micro-batches (None: not told), so that each can be looked at again: `replay`."""

    step: int
    loss: float
    batches: range | None = None


@dataclass(kw_only=True)
class SpikeGuard:
    """Calls a loss a spike when it is not finite, or above `factor` times the median of the last `window` good ones
    and by at least `least` above it: near 0, twice as much is nothing.

    Attributes:
        action: what the loop shall do. span: batches left out by "skip" and after a "rollback".
        rollback_after: spikes in a row after which it is "rollback" instead, and again after as many more; None: never.
        patience: spikes in a row after which the loss is taken as the new normal (data changed, not a spike).
        seen: the log, one `Spike` each.
    """

    factor: float = 1.5
    least: float = 0.0
    window: int = 50
    action: Action = "replace_batch"
    span: int = 100
    rollback_after: int | None = None
    patience: int = 10
    seen: list[Spike] = field(default_factory=list)
    _good: deque = field(default_factory=deque)
    _row: int = 0

    def __post_init__(self) -> None:
        if not self.factor > 1:
            raise bad("factor", "above 1", self.factor)
        if self.window < 2:
            raise bad("window", "at least 2 steps", self.window)
        if self.action not in ACTIONS:
            raise bad("action", " or ".join(ACTIONS), self.action)
        if self.rollback_after is not None and self.rollback_after < 1:
            raise bad("rollback_after", "at least 1 spike, or None", self.rollback_after)

    def check(self, step: int, loss: float, batches: range | None = None) -> Action | None:
        """What to do about this loss; None: it is good, and remembered.

        Args:
            batches: numbers of the micro-batches that it is of, for the log.
        """
        finite = math.isfinite(loss)
        known = len(self._good) >= min(self.window, 10)
        usual = statistics.median(self._good) if known else math.inf
        if finite and not loss > max(self.factor * usual, usual + self.least):
            self._remember(loss)
            return None
        self._row += 1
        self.seen.append(Spike(step, loss if finite else math.nan, batches))
        if finite and self._row > self.patience:
            self._good.clear()
            self._remember(loss)
            return None
        return "rollback" if self.rollback_after and self._row % self.rollback_after == 0 else self.action

    def rolled_back(self, before: "SpikeGuard") -> None:
        """Called when this guard was put back to a checkpoint: the spikes since then did happen."""
        self.seen, self._row = before.seen, before._row

    def _remember(self, loss: float) -> None:
        self._row = 0
        self._good.append(loss)
        if len(self._good) > self.window:
            self._good.popleft()

    def replay(self, batches: Callable[[int], Any]) -> Iterator[tuple[Spike, list[Any]]]:
        """Each spike with the very micro-batches that set it off, as the run's own source makes them anew."""
        for spike in self.seen:
            yield spike, [batches(number) for number in spike.batches or ()]

    def state_dict(self) -> dict[str, Any]:
        seen = [
            [s.step, None if math.isnan(s.loss) else s.loss, [s.batches.start, s.batches.stop] if s.batches else None]
            for s in self.seen
        ]
        return {"good": list(self._good), "row": self._row, "seen": seen}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._good, self._row = deque(state["good"]), state["row"]
        self.seen = []
        for step, loss, *rest in state["seen"]:  # without numbers of batches in early versions
            batches = range(*rest[0]) if rest and rest[0] else None
            self.seen.append(Spike(step, math.nan if loss is None else loss, batches))


def shrink_gradients(parameters: "Iterable[nn.Parameter]", alpha: float) -> None:
    """Multiplies gradients by `alpha` < 1, meant for the embedding: its gradients set off many spikes."""
    _check(alpha)
    for p in parameters:
        if p.grad is not None:
            p.grad.mul_(alpha)


def shrink_shallow_gradients(
    model: "nn.Module", alpha: float, layers: tuple[str, ...] = ("embed",)
) -> Callable[[], None]:
    """From now on each gradient of the parameters with one of these words in their name is multiplied by `alpha`.

    With Adam, which does not see the scale of a gradient, this acts through clipping alone: the shallow layers weigh
    less in the norm, and less of a spike that clipping lets through is theirs. A tied output matrix shrinks as well.

    Returns:
        A function that ends it.
    Raises:
        BadInput: alpha is not in (0, 1], or no parameter has such a name.
    """
    _check(alpha)
    found = [p for name, p in model.named_parameters() if any(word in name for word in layers)]
    if not found:
        raise bad("layers", "words in names of parameters", ", ".join(layers))
    hooks = [p.register_hook(lambda gradient: gradient * alpha) for p in found]

    def end() -> None:
        for hook in hooks:
            hook.remove()

    return end


def _check(alpha: float) -> None:
    if not 0 < alpha <= 1:
        raise bad("alpha", "above 0, at most 1", alpha)
