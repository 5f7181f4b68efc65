"""What points of a learning curve say, and what is known of curves before: how sure each measured loss is.

All sizes are scored on the same rows. How far these are off is shared by all sizes for the most part; the rest differs
from size to size, since models of few and of many labels are wrong on different rows.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

HOME = 50.0  # labels at which the level is told
LEAST_SD = 0.03  # of one point's log loss
APART = 0.4  # of the rows' sd, what sizes do not share; with `curve.VAGUE` settled on left-out development tasks
BORROWED = 1.25  # cross-validated scores lie farther from the truth than resampled rows say: by so much for errors


@dataclass(frozen=True, kw_only=True)
class CurvePrior:
    """What is known of curves before one is measured.

    Attributes:
        mean, covariance: of (level, floor, power): log(loss / baseline) at 50 labels, log odds of the share that no
            label removes, log of the exponent. They go together: hard tasks have high levels and small exponents.
        rows: relative sd of a loss over one row (error: in units of its binomial noise).
        luck: sd of the log loss of one training around its curve, at 50 labels; it falls with the root of their number.
        widen: intervals are so much wider than the posterior says, as calibration asks; widen_held: where points were
            scored on many rows that are no labels of the study.
    """

    mean: tuple[float, float, float]
    covariance: tuple[tuple[float, float, float], ...]
    rows: float
    luck: float
    widen: float = 1.0
    widen_held: float = 1.0


@dataclass(frozen=True)
class Point:
    """One size of a learning curve: mean loss of trainings on `n` labels, scored on `rows` different rows; `spread`:
    standard deviation of the log loss between its `repeats` trainings (0: one training)."""

    n: float
    loss: float
    rows: int
    spread: float = 0.0
    repeats: int = 1


@dataclass(frozen=True)
class Counted:
    """A share of `rows` that was wrong after training on `n` labels."""

    n: float
    share: float
    rows: float
    baseline: float


def settled(point: Point, family: str, baseline: float, prior: CurvePrior, shared: float) -> tuple[float, float, float]:
    """(n, loss / baseline, sd of its logarithm that is its own). An error of 0 on few rows is no error of 0: one row's
    worth of the baseline is mixed in. `shared`: `rows_sd`."""
    loss = point.loss
    if family == "error":
        loss = (loss * point.rows + baseline) / (point.rows + 1)
    spread = pooled_spread(point.spread, point.repeats, point.n, prior.luck)
    sd = max(spread / math.sqrt(point.repeats), LEAST_SD)
    return point.n, max(loss / baseline, 1e-6), math.hypot(sd, APART * shared)


def pooled_spread(spread: float, repeats: int, n: float, luck: float) -> float:
    """The sd of the log loss of one training on `n` labels. A few trainings say little about their own spread: what is
    known of trainings (`luck`, their sd at 50 labels) counts as two of them."""
    known = luck**2 * HOME / n
    return math.sqrt(((repeats - 1) * spread**2 + 2 * known) / (repeats + 1))


def rows_sd(points: Sequence[Point], family: str, prior: CurvePrior, noise: float | None = None) -> float:
    """The sd of log loss that the rows scored give, as far as all points share it; `noise`: known otherwise."""
    if noise is not None:
        return BORROWED * noise
    most = max(points, key=lambda p: p.n)
    if family != "error":
        return prior.rows / math.sqrt(most.rows)
    share = (most.loss * most.rows + 0.5) / (most.rows + 1)
    return prior.rows * math.sqrt(max(1 - share, 0.02) / (share * most.rows))
