"""The learning rate and batch size that a sweep of runs says are best, by model size and tokens (Step Law, 2025, arXiv
2503.04715): log lr = c0 + c1 log N + c2 log D, log batch = b0 + b1 log D.

Landscapes are flat at the bottom, so that not the best run of each cell alone is fitted, but all runs whose loss is
within `TOLERANCE` of it. The law is the mean of the coefficients of bootstrap draws of these runs; never mix an
intercept of one fit with exponents of another, they are strongly correlated. At small sizes seeds differ by more than
the tolerance: average them first.

Dims: R runs, K draws.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Any

import numpy as np

from smidgen.kit.errors import bad
from smidgen.laws.points import Numbers, Points

TOLERANCE = 0.0025  # relative excess of the loss that still counts as near the best
FAR = 10.0  # beyond this factor outside the runs a prediction says so
SAME = 1.02  # sizes, rates and batches whose ratio is less are one: tables round
SPECK = 1e-6  # of a row, in each draw: a draw that lacks all runs of a size still has a slope
COLUMNS = ("n", "d", "lr", "batch_tokens", "loss")


@dataclass(frozen=True)
class Prediction:
    """`lr`, `batch_tokens`, with intervals at `level` from the draws; `outside`: how far N and D are out of the range
    of the runs, as a factor (1 inside)."""

    lr: float
    batch_tokens: float
    lr_interval: tuple[float, float]
    batch_interval: tuple[float, float]
    level: float
    outside: float

    @property
    def usable(self) -> bool:
        return self.outside <= FAR

    def batch_sequences(self, length: int) -> int:
        """Sequences of `length` tokens in a batch: a power of two or one and a half of one, as machines like them."""
        return friendly(self.batch_tokens / length)


def friendly(sequences: float) -> int:
    """The nearest of 1, 2, 3, 4, 6, 8, 12, 16, ... in ratio. Raises BadInput: not above 0, or not finite."""
    if not 0 < sequences < math.inf:
        raise bad("sequences", "a finite number above 0", sequences)
    power = 2 ** max(0, math.floor(math.log2(max(sequences, 1.0))))
    near = sorted({power, power * 3 // 2, power * 2, max(power * 3 // 4, 1)})
    return min(near, key=lambda n: (abs(math.log(n / sequences)), n))


@dataclass(frozen=True)
class OptimalStep:
    """A fitted law.

    Attributes:
        lr_K3, batch_K2: coefficients of each draw; their means are the law. kept: runs that were fitted.
        range_n, range_d: smallest and largest of all runs.
        runs: the sweep, for `plateau`.
        lr_cells, batch_cells: root mean square over the cells (N, D) of how far the middle of their near-best runs, in
            logarithms, is from the law; the law's own unknowns are paid for.
    """

    lr_K3: np.ndarray = field(repr=False)
    batch_K2: np.ndarray = field(repr=False)
    kept: int
    range_n: tuple[float, float]
    range_d: tuple[float, float]
    runs: Points = field(repr=False)
    lr_cells: float = 0.0
    batch_cells: float = 0.0

    @property
    def lr_coefficients(self) -> tuple[float, float, float]:
        """(intercept, exponent of N, exponent of D)."""
        a, b, c = self.lr_K3.mean(0).tolist()
        return a, b, c

    @property
    def batch_coefficients(self) -> tuple[float, float]:
        """(intercept, exponent of D)."""
        a, b = self.batch_K2.mean(0).tolist()
        return a, b

    def predict(self, n: float, d: float, level: float = 0.9) -> Prediction:
        """Intervals hold the doubt about the law and how far its cells lie from it, as those of `step_law`.

        Args:
            n: parameters without embeddings. d: tokens.
        Raises:
            BadInput: not above 0, or not finite.
        """
        for name, value in (("n", n), ("d", d)):
            if not 0 < value < math.inf:
                raise bad(name, "a finite number above 0", value)
        u, v = math.log(n), math.log(d)
        ends = (1 - level) / 2, (1 + level) / 2
        lr_K, batch_K = self.lr_K3 @ [1.0, u, v], self.batch_K2 @ [1.0, v]
        normal = NormalDist().inv_cdf(ends[1])
        (lr_low, lr_high), (b_low, b_high) = (
            _ends(value_K, np.quantile(value_K, ends), normal * cells)
            for value_K, cells in ((lr_K, self.lr_cells), (batch_K, self.batch_cells))
        )
        ratios = [max(low / x, x / high, 1.0) for x, (low, high) in ((n, self.range_n), (d, self.range_d))]
        return Prediction(
            float(np.exp(lr_K.mean())), float(np.exp(batch_K.mean())), (lr_low, lr_high), (b_low, b_high), level,
            max(ratios),
        )  # fmt: skip

    def plateau(
        self, n: float, d: float, tolerance: float = TOLERANCE
    ) -> tuple[tuple[float, float], tuple[float, float]]:
        """((lowest, highest rate), (smallest, largest batch in tokens)) within `tolerance` of the best, as the width of
        the bowls of the sweep's cells says, around the prediction.

        Raises:
            BadInput: no cell of the sweep is a bowl (`bowl`), so that a width cannot be told.
        """
        widths = [b.width(tolerance) for b in self.bowls().values() if b.convex]
        if not widths:
            raise bad("cells with a minimum inside", "at least 1", 0, "Sweep wider.")
        lr_half, batch_half = np.median(widths, axis=0).tolist()
        at = self.predict(n, d)
        return (at.lr * math.exp(-lr_half), at.lr * math.exp(lr_half)), (
            at.batch_tokens * math.exp(-batch_half),
            at.batch_tokens * math.exp(batch_half),
        )

    def bowls(self) -> dict[tuple[float, float], "Bowl"]:
        """The bowl of each cell (N, D) with runs enough."""
        cells = cells_of(self.runs)
        return {
            cell: bowl(self.runs.column("lr")[rows], self.runs.column("batch_tokens")[rows], self.runs.y_R[rows])
            for cell, rows in cells.items()
            if len(rows) >= 8
        }


@dataclass(frozen=True)
class Bowl:
    """A quadratic of log loss in (log lr, log batch). `convex`: both curvatures are positive and the minimum is inside
    the sweep. `condition`: ratio of the curvatures; a large one is a valley along which the sweep says little."""

    lr: float
    batch_tokens: float
    curvature_22: np.ndarray
    condition: float
    convex: bool

    def width(self, tolerance: float) -> tuple[float, float]:
        """How far log lr, log batch may be off, the other at its best, for a relative excess of the loss."""
        a, b = self.curvature_22[0, 0], self.curvature_22[1, 1]
        return math.sqrt(2 * tolerance / a), math.sqrt(2 * tolerance / b)


def fit_optimal_step(
    runs: Mapping[str, Numbers], *, tolerance: float = TOLERANCE, draws: int = 1000, seed: int = 0
) -> OptimalStep:
    """The law of a sweep.

    Args:
        runs: columns n (parameters without embeddings), d (tokens), lr, batch_tokens, loss (smoothed, final).
        tolerance: relative excess over the best of a cell up to which a run counts as near the best.
    Raises:
        BadInput: a column is missing, a number not above 0 is named, or fewer than 3 different N or D.
    """
    points = sweep(runs)
    names, counts = ("n", "d"), [len(np.unique(_grouped(points.column(c)))) for c in ("n", "d")]
    for name, count in zip(names, counts, strict=True):
        if count < 3:
            raise bad(f"different {name}", "at least 3", count, "Sweep more sizes.")
    near = near_best(points, tolerance)
    n, d, lr, batch = (np.log(points.column(c)[near]) for c in ("n", "d", "lr", "batch_tokens"))
    rows = len(n)
    weights_KR = np.random.default_rng(seed).multinomial(rows, np.full(rows, 1 / rows), draws) + SPECK
    one = np.ones(rows)
    lr_x_R3, batch_x_R2 = np.stack([one, n, d], 1), np.stack([one, d], 1)
    lr_K3, batch_K2 = _regress(lr_x_R3, lr, weights_KR), _regress(batch_x_R2, batch, weights_KR)
    number_R = np.full(len(points), -1)
    for i, cell in enumerate(cells_of(points).values()):
        number_R[cell] = i
    return OptimalStep(
        lr_K3,
        batch_K2,
        rows,
        (float(points.column("n").min()), float(points.column("n").max())),
        (float(points.column("d").min()), float(points.column("d").max())),
        points,
        _off(lr - lr_x_R3 @ lr_K3.mean(0), number_R[near], 3),
        _off(batch - batch_x_R2 @ batch_K2.mean(0), number_R[near], 2),
    )


def _off(residual_R: np.ndarray, cell_R: np.ndarray, unknowns: int) -> float:
    """Root mean square of the cells' mean residuals, by their number less the unknowns that were fitted to them."""
    mean_C = np.bincount(cell_R, residual_R) / np.bincount(cell_R)
    return math.sqrt(float(mean_C @ mean_C) / max(len(mean_C) - unknowns, 1))


def _ends(value_K: np.ndarray, ends: np.ndarray, more: float) -> tuple[float, float]:
    """Ends of an interval of logarithms, each moved out so that squares of the distances from the mean add up."""
    middle = float(value_K.mean())
    low, high = (math.hypot(float(end) - middle, more) for end in ends)
    return float(np.exp(middle - low)), float(np.exp(middle + high))


def sweep(runs: Mapping[str, Any]) -> Points:
    """The runs of a sweep as points of four inputs. Raises BadInput: a column is missing, or a number not above 0."""
    missing = [c for c in COLUMNS if c not in runs]
    if missing:
        raise bad("columns of the sweep", ", ".join(COLUMNS), ", ".join(map(str, runs)), f"Add {missing[0]}.")
    return Points.of({c: np.asarray(runs[c], float) for c in COLUMNS[:-1]}, np.asarray(runs["loss"], float))


def cells_of(points: Points) -> dict[tuple[float, float], np.ndarray]:
    """Row numbers of each cell (N, D)."""
    n, d = _grouped(points.column("n")), _grouped(points.column("d"))
    return {(a, b): np.flatnonzero((n == a) & (d == b)) for a, b in sorted({*zip(n.tolist(), d.tolist(), strict=True)})}


def near_best(points: Points, tolerance: float) -> np.ndarray:
    """Mask `[R]` of the runs whose loss is within `tolerance` of the best of their cell."""
    near = np.zeros(len(points), bool)
    for rows in cells_of(points).values():
        near[rows] = points.y_R[rows] <= points.y_R[rows].min() * (1 + tolerance)
    return near


def bowl(lr: np.ndarray, batch: np.ndarray, loss: np.ndarray) -> Bowl:
    """The bowl of one cell, fitted where the loss is within 2 % of its best (where that leaves fewer than 8 runs, to
    the best 8)."""
    order = np.argsort(loss)
    kept = order[: max(8, int((loss <= loss.min() * 1.02).sum()))]
    u, v, y = np.log(lr[kept]), np.log(batch[kept]), np.log(loss[kept])
    u0, v0 = u.mean(), v.mean()
    a, b = u - u0, v - v0
    c = np.linalg.lstsq(np.stack([np.ones(len(a)), a, b, a * a, a * b, b * b], 1), y, rcond=None)[0]
    curvature = np.array([[2 * c[3], c[4]], [c[4], 2 * c[5]]])
    values = np.linalg.eigvalsh(curvature)
    at = -np.linalg.solve(curvature, c[1:3]) if abs(np.linalg.det(curvature)) > 1e-15 else np.full(2, np.nan)
    inside = bool((np.log(lr).min() <= at[0] + u0 <= np.log(lr).max()) and (v.min() <= at[1] + v0 <= v.max()))
    condition = float(values[1] / values[0]) if values[0] > 0 else math.inf
    return Bowl(
        float(np.exp(at[0] + u0)), float(np.exp(at[1] + v0)), curvature, condition, bool(values[0] > 0) and inside
    )


def _grouped(values: np.ndarray) -> np.ndarray:
    """Values that differ by less than the rounding of tables, made equal to the first of them."""
    order = np.argsort(values)
    out, first = values.copy(), -math.inf
    for i in order:
        if first > 0 and values[i] <= first * SAME:
            out[i] = first
        else:
            first = values[i]
    return out


def _regress(x_RP: np.ndarray, y_R: np.ndarray, weights_KR: np.ndarray) -> np.ndarray:
    """Weighted least squares for each draw `[K, P]`."""
    middle_P = x_RP.mean(0)
    middle_P[0] = 0.0
    centred_RP = x_RP - middle_P
    gram = np.einsum("kr,rp,rq->kpq", weights_KR, centred_RP, centred_RP, optimize=True)
    right = np.einsum("kr,rp,r->kp", weights_KR, centred_RP, y_R, optimize=True)
    out_KP = np.linalg.solve(gram, right[..., None])[..., 0]
    out_KP[:, 0] -= out_KP[:, 1:] @ middle_P[1:]
    return out_KP
