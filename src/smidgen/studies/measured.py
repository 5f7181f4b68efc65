"""What trials of a plan gave: points of the learning curve, and mixtures of labels with other rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from smidgen.laws.curve import Point
from smidgen.laws.worth import Mix
from smidgen.learn.blend import tempered
from smidgen.studies.losses import Scale
from smidgen.tasks.task import Task

SMALL = 0.02  # a loss below it says little about its own spread


@dataclass
class Measured:
    """Losses of trainings, by what was trained on.

    Attributes:
        scale: of the metric. log_t: log temperature of the predictions.
        sizes: losses by number of labels; mixes: by (offer, right labels, other rows). predictions: with all labels,
            cross-validated, tempered; of classes.
    """

    task: Task
    scale: Scale
    log_t: float = 0.0
    sizes: dict[float, list[float]] = field(default_factory=dict)
    mixes: dict[tuple[str, int, int], list[float]] = field(default_factory=dict)
    predictions: np.ndarray | None = None

    def loss(self, predictions: np.ndarray) -> float:
        """Of all rows that were predicted."""
        rows = np.flatnonzero(np.isfinite(predictions.reshape(len(self.task), -1)).all(1))
        p = tempered(predictions[rows], self.log_t) if self.task.classes else predictions[rows]
        return self.scale.loss(self.scale.metric.score(self.task.target[rows], p))

    @property
    def baseline(self) -> float:
        """The loss of knowing the shares of the classes, or the mean, alone."""
        y, n = self.task.target, len(self.task)
        if self.task.classes:
            p = np.repeat((np.bincount(y, minlength=len(self.task.classes)) / n)[None], n, 0)
        else:
            p = np.full(n, y.mean())
        return self.scale.loss(self.scale.metric.score(y, p))

    def points(self) -> list[Point]:
        return [Point(n, *_told(losses, len(self.task))) for n, losses in sorted(self.sizes.items())]

    def mixes_of(self, offer: str) -> list[Mix]:
        return [
            Mix(right, other, float(np.mean(losses)), _spread(losses), len(losses))
            for (name, right, other), losses in self.mixes.items()
            if name == offer
        ]


def _told(losses: Sequence[float], rows: int) -> tuple[float, int, float, int]:
    return float(np.mean(losses)), rows, _spread(losses), len(losses)


def _spread(losses: Sequence[float]) -> float:
    if len(losses) < 2:
        return 0.15
    return float(np.std(np.log(np.maximum(losses, SMALL)), ddof=1))


def rough(points: Mapping[float, float] | Sequence[Point]) -> bool:
    """Whether the curve rises where it should fall, by more than its own scatter."""
    known = sorted((p for p in points if isinstance(p, Point)), key=lambda p: p.n)
    if len(known) < 3:
        return False
    first, last = known[len(known) // 2 - 1], known[-1]
    scatter = max(first.spread / first.repeats**0.5, last.spread / last.repeats**0.5, 0.02)
    return bool(np.log(max(last.loss, SMALL) / max(first.loss, SMALL)) > 2 * scatter)
