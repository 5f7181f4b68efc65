"""What trials of a plan gave: points of the learning curve, and mixtures of labels with other rows.

Losses are those of the member as it is, not tempered: the curves of which the prior was made (`laws.curve`) were so,
and a temperature that is chosen on the rows that are scored makes the largest size look too good. The forecast is moved
to the study's own estimate, which is of tempered predictions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from smidgen.laws.curve import Point
from smidgen.laws.curve_points import pooled_spread
from smidgen.laws.worth import Mix
from smidgen.learn.blend import tempered
from smidgen.studies.choose import ChoiceConfig, OutOfFold, choose
from smidgen.studies.losses import Scale
from smidgen.studies.prices import Offer
from smidgen.studies.purchases import CURVE_REPEATS, MIX_REPEATS, curve_draws, mixed_draws
from smidgen.studies.ready import Ready
from smidgen.studies.trial import drawn
from smidgen.tasks.splits import units_of
from smidgen.tasks.task import Task

SMALL = 0.02  # a loss below it says little about its own spread


@dataclass
class Measured:
    """Losses of trainings, by what was trained on.

    Attributes:
        scale: of the metric.
        sizes: losses by number of labels; mixes: by (offer, right labels, other rows); both as they were drawn, on
            average where groups of rows stay whole. predictions: with all labels, cross-validated, tempered; of
            classes.
    """

    task: Task
    scale: Scale
    sizes: dict[float, list[float]] = field(default_factory=dict)
    mixes: dict[tuple[str, float, float], list[float]] = field(default_factory=dict)
    predictions: np.ndarray | None = None

    def loss(self, predictions: np.ndarray) -> float:
        """Of all rows that were predicted."""
        rows = np.flatnonzero(np.isfinite(predictions.reshape(len(self.task), -1)).all(1))
        return self.scale.loss(self.scale.metric.score(self.task.target[rows], predictions[rows]))

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
        """Rows that stay together are right or wrong together: they count as one."""
        units = int(units_of(self.task).max()) + 1
        return [Point(n, *_told(losses, units)) for n, losses in sorted(self.sizes.items())]

    def mixes_of(self, offer: str, luck: float) -> list[Mix]:
        """`luck`: sd of the log loss of one training on 50 labels: two trainings say little about their own spread."""
        out = []
        for (name, right, other), losses in self.mixes.items():
            if name == offer:
                spread = pooled_spread(_spread(losses), len(losses), right + other, luck)
                out.append(Mix(right, other, float(np.mean(losses)), spread, len(losses)))
        return out

    def mixed(self, offer: str) -> int:
        """How many mixtures of an offer were measured."""
        return sum(name == offer for name, _, _ in self.mixes)


def measure(ready: Ready, offers: Sequence[Offer], results: Mapping[str, np.ndarray]) -> Measured:
    """From predictions by draw."""
    task, folds = ready.task, ready.folds
    measured = Measured(task, ready.scale)
    curve = curve_draws(len(task), len(task.classes), folds, CURVE_REPEATS)
    wholes = [results[d] for d, _ in curve if d.startswith("cv") and d in results]
    if task.classes and wholes:
        rows = np.isfinite(wholes[0]).all(1)
        measured.predictions = tempered(wholes[0][rows], log_temperature(wholes, task))
    sizes = _by_plan([(draw, (float(n), 0.0)) for draw, n in curve], results, ready)
    for (n, _), known in sizes:
        measured.sizes.setdefault(n, []).extend(measured.loss(p) for p in known)
    for offer in offers:
        if offer.is_mixed:
            draws = mixed_draws(task, offer, folds, MIX_REPEATS, itself=ready.learns_itself)
            planned = [(draw, (float(a), float(b))) for draw, a, b in draws]
            for (right, other), known in _by_plan(planned, results, ready):
                if other > 0:  # a group that filled the draw left no room for others
                    losses = measured.mixes.setdefault((offer.name, right, other), [])
                    losses.extend(measured.loss(p) for p in known)
    return measured


def _by_plan(
    planned: Sequence[tuple[str, tuple[float, float]]], results: Mapping[str, np.ndarray], ready: Ready
) -> list[tuple[tuple[float, float], list[np.ndarray]]]:
    """Of draws with the (labels, other rows) that each names: the repeats of one plan together, with what they were
    really given."""
    found: dict[tuple[float, float], list[str]] = {}
    for draw, named in planned:
        if draw in results:
            found.setdefault(named, []).append(draw)
    out = []
    for named, draws in found.items():
        given = named
        if ready.task.groups is not None:
            means = np.mean([drawn(ready.task, draw, ready.seed) for draw in draws], axis=0).tolist()
            given = (means[0], means[1])
        out.append((given, [results[draw] for draw in draws]))
    return out


def log_temperature(out_of_fold: Sequence[np.ndarray], task: Task) -> float:
    """A member's temperature as a study chooses it, from cross-validated probabilities `[N, C]` of each repeat."""
    board = OutOfFold(np.stack(out_of_fold)[None], task.target, np.ones(1), units_of(task))
    return float(choose(board, ChoiceConfig()).log_t[0])


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
