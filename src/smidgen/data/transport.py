"""How far labelled rows lie from a validation set, by optimal transport that knows labels; and what each row adds.

Moving a row to a validation row costs lam_x |x - x'|^2 + lam_y W2^2(class of x, class of x'): a class is the cloud of
its rows, and the distance of two clouds is an exact transport of its own (Alvarez-Melis and Fusi, 2020). The outer
transport is entropic, solved with stabilised scalings, and debiased (a Sinkhorn divergence: equal data are at 0). Its
potentials say how the distance changes with the weight of each row, and so with the share of a source in a mixture.

Without labels, or with lam_y = 0, it compares features alone, as regression needs.

Dims: n rows, v validation rows, d features, m sources, K classes.
"""

import hashlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment, linprog
from scipy.sparse import coo_array
from scipy.spatial.distance import cdist

from smidgen.data.sinkhorn import TOLERANCE, checked_weights, sinkhorn, sinkhorn_self
from smidgen.kit.errors import bad


@dataclass(frozen=True)
class Classes:
    """The feature clouds of classes. `labels` `[K]`, sorted; `clouds`: rows by class."""

    labels: np.ndarray
    clouds: tuple[np.ndarray, ...]

    def place(self, y: Any) -> np.ndarray:
        """Index of each label `[n]`. Raises BadInput: a class that has no cloud."""
        y = np.asarray(y)
        at = np.minimum(np.searchsorted(self.labels, y), len(self.labels) - 1)
        absent = self.labels[at] != y
        if absent.any():
            raise bad("label", "a class that has rows to know it by", y[absent][0].item())
        return at


def classes_of(X: Any, y: Any, most: int | None = None, seed: int = 0) -> Classes:
    """Clouds of the classes of some rows.

    Args:
        most: rows of a class that are used, drawn by `seed`: exact distances between large clouds are slow. Clouds of
            equal size are compared fastest.
    """
    X, y = _rows(X), np.asarray(y)
    if len(X) != len(y):
        raise bad("labels", f"{len(X)}, one a row", len(y))
    rng, labels = np.random.default_rng(seed), np.unique(y)
    own = [np.flatnonzero(y == label) for label in labels]
    if most is not None:
        own = [rows if len(rows) <= most else np.sort(rng.choice(rows, most, replace=False)) for rows in own]
    return Classes(labels, tuple(X[rows] for rows in own))


def cloud_distance(A: Any, B: Any) -> float:
    """Squared 2-Wasserstein distance of two clouds `[n, d]`, `[k, d]`, each of total mass 1; exact."""
    cost = cdist(_rows(A), _rows(B), "sqeuclidean")
    n, k = cost.shape
    if min(n, k) == 1:
        return float(cost.mean())
    if n == k:
        return float(cost[linear_sum_assignment(cost)].mean())
    at = np.arange(n * k)
    sums = coo_array((np.ones(2 * n * k), (np.r_[at // k, n + at % k], np.r_[at, at])), shape=(n + k, n * k))
    found = linprog(cost.ravel(), A_eq=sums.tocsc(), b_eq=np.r_[np.full(n, 1 / n), np.full(k, 1 / k)], method="highs")
    if found.fun is None:
        raise RuntimeError(f"the distance of two classes was not found: {found.message}")
    return float(found.fun)


@dataclass
class ClassDistances:
    """Exact squared distances of clouds; each pair is solved once."""

    known: dict[tuple[bytes, bytes], float] = field(default_factory=dict)

    def between(self, a: Classes, b: Classes) -> np.ndarray:
        """`[K of a, K of b]`."""
        keys = [[hashlib.sha256(cloud.tobytes()).digest() for cloud in side.clouds] for side in (a, b)]
        out = np.empty((len(keys[0]), len(keys[1])))
        for i, one in enumerate(keys[0]):
            for j, two in enumerate(keys[1]):
                pair = (min(one, two), max(one, two))
                if pair not in self.known:
                    self.known[pair] = 0.0 if one == two else cloud_distance(a.clouds[i], b.clouds[j])
                out[i, j] = self.known[pair]
        return out


@dataclass(frozen=True)
class Transport:
    """A distance and what moves it.

    Attributes:
        value: >= 0 up to the tolerance when debiased; in the unit of the cost.
        f: `[n]`, change of `value` with the weight of each row, up to one constant for all. g: `[v]`, likewise.
    """

    value: float
    f: np.ndarray
    g: np.ndarray


class Target:
    """A validation set that data sets are compared with; what depends on it alone is computed once.

    Args:
        X: `[v, d]` features, as of a frozen embedder, scaled so that squared distances are about 1 (`unit_spread`).
        y: class of each row; needed unless `lam_y` is 0.
        lam_x, lam_y: what features and classes weigh. reg: of the outer transport, in the unit of the cost.
        debiased: subtract what each side costs to itself. most: rows of a class that make its cloud; None: all.
    """

    def __init__(
        self,
        X: Any,
        y: Any = None,
        *,
        lam_x: float = 1.0,
        lam_y: float = 1.0,
        reg: float = 1e-2,
        debiased: bool = True,
        most: int | None = None,
        tol: float = TOLERANCE,
    ) -> None:
        if lam_x < 0 or lam_y < 0 or lam_x + lam_y == 0:
            raise bad("lam_x, lam_y", "0 or more, not both 0", (lam_x, lam_y))
        if lam_y and y is None:
            raise bad("labels", "one a row", "none", "lam_y=0 compares features alone.")
        self.X, self.y = _rows(X), None if y is None or not lam_y else np.asarray(y)
        self.lam_x, self.lam_y, self.reg, self.debiased, self.most, self.tol = lam_x, lam_y, reg, debiased, most, tol
        self.b = np.full(len(self.X), 1 / len(self.X))
        self.distances = ClassDistances()
        self.classes = None if self.y is None else classes_of(self.X, self.y, most)
        own = self.cost(self.X, self.y, self.classes, self.X, self.y, self.classes)
        self.g_self = sinkhorn_self(own, self.b, reg, tol) if debiased else None

    def to(self, X: Any, y: Any = None, *, weights: Any = None, classes: Classes | None = None) -> Transport:
        """The distance of rows `[n, d]` from the validation set.

        Args:
            weights: of the rows, above 0, scaled to sum 1; equal by default.
            classes: clouds of the rows' classes; by default made of these very rows. Where many draws of the same
                sources are compared, give clouds of all that is known of them: exact distances are then solved once,
                and the cost does not move with the draw, so that the gradient is complete.
        """
        X, y = _rows(X), None if y is None or not self.lam_y else np.asarray(y)
        if X.shape[1] != self.X.shape[1]:
            raise bad("features", f"{self.X.shape[1]}, as validation rows have", X.shape[1])
        if self.lam_y and y is None:
            raise bad("labels", "one a row", "none", "lam_y=0 compares features alone.")
        if y is None:
            classes = None
        elif classes is None:
            classes = classes_of(X, y, self.most)
        a = checked_weights(np.ones(len(X)) if weights is None else weights)
        f, g = sinkhorn(self.cost(X, y, classes, self.X, self.y, self.classes), a, self.b, self.reg, self.tol)
        if self.debiased:
            f = f - sinkhorn_self(self.cost(X, y, classes, X, y, classes), a, self.reg, self.tol)
            g = g - self.g_self
        return Transport(float(a @ f + self.b @ g), f, g)

    def cost(self, X: Any, y: Any, x_classes: Any, Z: Any, z: Any, z_classes: Any) -> np.ndarray:
        """The ground cost `[n, k]` of moving rows X to rows Z."""
        cost = self.lam_x * cdist(X, Z, "sqeuclidean")
        if x_classes is None or z_classes is None:
            return cost
        apart = self.distances.between(x_classes, z_classes)
        return cost + self.lam_y * apart[np.ix_(x_classes.place(y), z_classes.place(z))]


def dataset_distance(X: Any, y: Any, Xv: Any, yv: Any, **options: Any) -> Transport:
    """One distance of labelled rows from a validation set; `options` and errors as of `Target`."""
    return Target(Xv, yv, **options).to(X, y)


def calibrated_gradient(f: Any, source: Any, m: int) -> np.ndarray:
    """Change of a distance with the share of each source `[m]`, the other shares shrinking in proportion.

    Weights sum to 1, so that one share cannot grow alone: the mean potential of a source's rows minus that of all
    other rows. A constant added to f changes nothing. NaN for a source without rows, or without others.

    Args:
        f: potentials `[n]` of equally weighted rows. source: of each row, 0 to m - 1.
    """
    f, source = np.asarray(f, float), np.asarray(source)
    if len(f) != len(source) or (len(source) and not 0 <= source.min() <= source.max() < m):
        raise bad("source", f"one number from 0 to {m - 1} for each of {len(f)} rows", source)
    count = np.bincount(source, minlength=m)
    total = np.bincount(source, f, m)
    with np.errstate(invalid="ignore", divide="ignore"):
        return total / count - (total.sum() - total) / (len(f) - count)


def unit_spread(X: Any) -> float:
    """The factor that makes the mean squared distance of two rows 1."""
    spread = float(2 * _rows(X).var(0).sum())
    if not spread > 0:
        raise bad("features", "rows that differ", "equal rows")
    return spread**-0.5


def _rows(X: Any) -> np.ndarray:
    X = np.ascontiguousarray(X, float)
    if X.ndim != 2 or not X.size or not np.isfinite(X).all():
        raise bad("features", "a finite matrix with rows", f"shape {X.shape}")
    return X
