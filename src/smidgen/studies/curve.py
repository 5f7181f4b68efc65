"""The learning curve of one candidate over sub-draws of the labels that exist: what fewer labels would have given."""

import math
from typing import Any

import numpy as np

from smidgen.studies.estimate import Estimate
from smidgen.tasks.metrics import Metric
from smidgen.tasks.task import Task

SHARES = (0.25, 0.5, 0.75)
REPEATS = 3


def curve_sizes(task: Task) -> list[int]:
    """Sizes of the sub-draws: quarters of the rows, at least two rows a class (regression: 6)."""
    least = 2 * len(task.classes) or 6
    return sorted({int(round(share * len(task))) for share in SHARES if share * len(task) >= least})


def curve_draws(task: Task) -> list[str]:
    """Their draws, one repeat of all sizes after the other, so that a short budget still gives a curve."""
    return [f"sub:n={n}:r={r}" for r in range(REPEATS) for n in curve_sizes(task)]


def curve_member(task: Task, weights: np.ndarray, fits: list[float], seconds: float | None) -> int:
    """Whose curve is drawn: the heaviest member that can be fitted once on each size in these seconds; the heaviest of
    all where none can, or where no clock runs (None).

    Args:
        weights: of the members `[K]`. fits: forecast of seconds of one fit of each.
    """
    most = math.inf if seconds is None else seconds / max(len(curve_sizes(task)), 1)
    able = np.array(weights) * (np.array(fits) <= most)
    return int(np.argmax(able if able.any() else weights))


def curve_points(
    draws: dict[str, np.ndarray], task: Task, metric: Metric, temper: float, whole: Estimate, most: float = math.inf
) -> list[dict[str, Any]]:
    """`[{"n", "estimate", "interval"}]`: the mean score of the rows left out of each sub-draw, repeats averaged,
    the range of the
    repeats as the interval; the last point is the same candidate cross-validated on all rows.

    Args:
        draws: predictions `[n, C]` or `[n]` by draw, NaN for the rows that were trained on. temper: log temperature.
        most: sub-draws of so many rows and more are left out: the fits that `whole` is about had no more.
    """
    from smidgen.learn.blend import tempered

    by_size: dict[int, list[float]] = {}
    for draw, predictions in draws.items():
        rows = np.flatnonzero(np.isfinite(predictions.reshape(len(task), -1)).all(1))
        p = tempered(predictions[rows], temper) if task.classes else predictions[rows]
        by_size.setdefault(int(draw.split(":")[1].split("=")[1]), []).append(metric.score(task.target[rows], p))
    points = []
    for n, scores in sorted(by_size.items()):
        if n >= most:
            continue
        mean, low, high = float(np.mean(scores)), float(np.min(scores)), float(np.max(scores))
        points.append({"n": n, "estimate": mean, "interval": [low, high]})
    return [*points, {"n": len(task), "estimate": whole.value, "interval": whole.interval}]
