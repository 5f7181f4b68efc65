"""Ridge regressions of many outputs on the same rows: one decomposition, a strength for each output.

The strength of each output is the best of some by cross-validation: exact leave-one-out in closed form, or folds. This
is what an in-context encoder is measured against. `WeightPrior` is the other thing to beat: what earlier subjects'
read-outs have in common, as one normal distribution.

Dims: N rows, E features, V outputs, r rank, P strengths.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from smidgen.kit.errors import bad
from smidgen.learn.reduced import reduce
from smidgen.learn.ridge import STRENGTHS, press

PUBLISHED = (0.01, 1.0, 10.0, 100.0)  # strengths of BraInCoRL's ridge regressions, with 5 folds


@dataclass(frozen=True, eq=False)
class LinearReadout:
    """`coef_VE`, `intercept_V`: predictors, linear in the features; `strength_V`: the penalty of each, NaN: none."""

    coef_VE: np.ndarray
    intercept_V: np.ndarray
    strength_V: np.ndarray

    def predict(self, X_NE: np.ndarray) -> np.ndarray:
        """Values `[N, V]`."""
        return np.asarray(X_NE, np.float64) @ self.coef_VE.T + self.intercept_V


def ridge_cv(
    X_NE: np.ndarray,
    Y_NV: np.ndarray,
    *,
    strengths: Sequence[float] | np.ndarray = STRENGTHS,
    folds: int | None = None,
    seed: int = 0,
) -> LinearReadout:
    """Ridge regression of each column of Y; NaN: a response that is not known.

    Args:
        strengths: penalties on the sum of squares, all > 0. folds: None: exact leave-one-out; else so many random parts
            (at most one a row). seed: of the parts.
    Raises:
        BadInput: shapes that do not fit, a strength that is not above 0, fewer than 2 folds.
    """
    X, Y = np.asarray(X_NE, np.float64), np.asarray(Y_NV, np.float64)
    tried = np.sort(np.asarray(strengths, np.float64).ravel())[::-1]  # the strongest of equals is taken
    if X.ndim != 2 or Y.ndim != 2 or len(X) != len(Y) or not len(X):
        raise bad("X, Y", "matrices [rows, features] and [rows, outputs] of the same rows", f"{X.shape}, {Y.shape}")
    if not len(tried) or not (tried > 0).all():
        raise bad("strengths", "numbers above 0", tried.tolist())
    if folds is not None and folds < 2:
        raise bad("folds", "at least 2, or None for leave-one-out", folds)
    out = LinearReadout(np.zeros((Y.shape[1], X.shape[1])), np.zeros(Y.shape[1]), np.full(Y.shape[1], np.nan))
    known = np.isfinite(Y)
    for pattern, columns in _patterns(known):  # outputs known in the same rows share a decomposition
        if not pattern.any():
            continue  # nothing known: predicts 0
        x, y = X[pattern], Y[np.ix_(pattern, columns)]
        space = reduce(x)
        losses_PV = _left_out(x, y, tried, folds, seed) if len(x) > 1 else np.zeros((len(tried), len(columns)))
        strength = tried[losses_PV.argmin(0)]
        lifted = space.lift(_coefficients(space.Z, y, strength), y.mean(0))
        out.coef_VE[columns], out.intercept_V[columns], out.strength_V[columns] = *lifted, strength
    return out


def _patterns(known_NV: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Distinct columns `[N]` of what is known, each with the outputs that have it."""
    if known_NV.all():
        return [(np.ones(len(known_NV), bool), np.arange(known_NV.shape[1]))]
    distinct, which = np.unique(known_NV, axis=1, return_inverse=True)
    return [(distinct[:, i], np.flatnonzero(which.ravel() == i)) for i in range(distinct.shape[1])]


def _left_out(x: np.ndarray, y: np.ndarray, strengths: np.ndarray, folds: int | None, seed: int) -> np.ndarray:
    """Mean squared left-out error `[P, V]`."""
    if folds is None:
        return press(reduce(x).Z, y, strengths)
    parts = np.random.default_rng(seed).permutation(len(x)) % min(folds, len(x))
    total = np.zeros((len(strengths), y.shape[1]))
    for part in range(parts.max() + 1):
        rest, out = parts != part, parts == part
        space = reduce(x[rest])
        base = y[rest].mean(0)
        new = (x[out] - space.mean) @ space.axes  # pyright: ignore
        for i, strength in enumerate(strengths):
            coef_Vr = _coefficients(space.Z, y[rest], np.full(y.shape[1], strength))
            total[i] += ((y[out] - base - new @ coef_Vr.T) ** 2).sum(0)
    return total / len(x)


def _coefficients(Z_Nr: np.ndarray, y_NV: np.ndarray, strength_V: np.ndarray) -> np.ndarray:
    """`[V, r]` on orthogonal centred coordinates."""
    return ((y_NV - y_NV.mean(0)).T @ Z_Nr) / ((Z_Nr**2).sum(0) + strength_V[:, None])


@dataclass(frozen=True, eq=False)
class WeightPrior:
    """A normal distribution of read-outs, and what it makes of a new unit's few responses, in closed form.

    Attributes:
        mean_E, cov_EE: of the weights of units whose responses have deviation 1. noise: variance of what they leave.
    """

    mean_E: np.ndarray
    cov_EE: np.ndarray
    noise: float

    @staticmethod
    def learn(X_NE: np.ndarray, Y_NV: np.ndarray) -> "WeightPrior":
        """From many units with many responses each: the spread of their ridge weights, less what is noise in it
        (of least squares, whose noise is known), and what these leave."""
        X, Y = np.asarray(X_NE, np.float64), np.asarray(Y_NV, np.float64)
        N, E = X.shape
        if N <= E + 1:
            raise bad("rows", f"more than {E + 1}", N)
        x, y = X - X.mean(0), (Y - Y.mean(0)) / Y.std(0)
        inverse_EE = np.linalg.inv(x.T @ x)
        coef_EV = inverse_EE @ (x.T @ y)
        noise = float(((y - x @ coef_EV) ** 2).sum(0).mean() / (N - E - 1))
        values, axes = np.linalg.eigh(np.cov(coef_EV) - noise * inverse_EE)
        return WeightPrior(coef_EV.mean(1), (axes * np.maximum(values, 0)) @ axes.T, noise)

    def fit(self, X_NE: np.ndarray, Y_NV: np.ndarray) -> LinearReadout:
        """Posterior means for new units, whose mean and scale are those of the rows given."""
        X, Y = np.asarray(X_NE, np.float64), np.asarray(Y_NV, np.float64)
        spread_V = Y.std(0)
        x, y = X - X.mean(0), (Y - Y.mean(0)) / np.where(spread_V > 0, spread_V, 1)
        gain_EN = np.linalg.solve(x @ self.cov_EE @ x.T + self.noise * np.eye(len(x)), x @ self.cov_EE).T
        coef_VE = (self.mean_E[:, None] + gain_EN @ (y - (x @ self.mean_E)[:, None])).T * spread_V[:, None]
        return LinearReadout(coef_VE, Y.mean(0) - coef_VE @ X.mean(0), np.full(len(coef_VE), np.nan))
