"""Ridge regression whose strength is chosen by exact leave-one-out in closed form (PRESS; Allen, 1974).

Minimises `|y - X w - b|^2 + strength * |w|^2`, the intercept free. With the centred rows as `U S V'`, the fit of every
strength and its leave-one-out residuals `e_i / (1 - h_i)`, `h_i = 1/n + sum_j u_ij^2 s_j^2 / (s_j^2 + strength)`, come
from one decomposition. A tall sparse matrix has none: there, LSQR and one held-out part.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy.sparse.linalg import aslinearoperator, lsqr

from smidgen.kit.errors import bad
from smidgen.learn.base import RegressorHead
from smidgen.learn.inner import inner_holdout, rank_strata
from smidgen.learn.reduced import Reduced, reduce

CARD = {
    "title": "Ridge regression",
    "tldr": "A straight line through the numbers, held back by a penalty chosen by exact leave-one-out.",
    "tasks": ("regression",),
    "features": "linear",
    "sparse": True,
    "seconds": (0.005, 0.05),
}

STRENGTHS = np.geomspace(1e-4, 1e5, 55)
SPARSE_STRENGTHS = np.geomspace(30, 0.03, 5)


@dataclass(frozen=True, kw_only=True)
class RidgeConfig:
    """Settings of ridge regression."""

    strength: float | Literal["auto"] = "auto"  # penalty on the sum of squares, > 0; alpha of scikit-learn

    def __post_init__(self):
        if self.strength != "auto" and not float(self.strength) > 0:
            raise bad("strength", "a number > 0 or 'auto'", self.strength)


class RidgeRegressor(RegressorHead):
    """L2-regularised linear regression.

    Attributes:
        coef_ `[d]`, intercept_: the line. strength_: the penalty used.
        path_: the strengths tried and the mean squared left-out error of each, as arrays.
    """

    Config = RidgeConfig
    takes_sparse = True

    def __init__(self, strength: float | str = "auto", random_state: int = 0):
        self.strength = strength
        self.random_state = random_state

    def _fit(self, X: Any, y: np.ndarray) -> None:
        strength = self._config.strength
        space = reduce(X)
        fit = _closed(space, y, strength) if space.dense else _iterative(X, y, strength, self.random_state)
        self.strength_, coef, intercept, self.path_ = fit
        W, b = space.lift(coef[None], np.array([intercept]))
        self.coef_, self.intercept_ = W[0], float(b[0])

    def _value(self, X: Any) -> np.ndarray:
        return np.asarray(X @ self.coef_) + self.intercept_


def press(Z: np.ndarray, y: np.ndarray, strengths: np.ndarray) -> np.ndarray:
    """Mean squared leave-one-out error `[len(strengths)]`, of many targets y `[n, V]` `[len(strengths), V]`; Z `[n, r]`
    has centred orthogonal columns."""
    n = len(y)
    power = (Z**2).sum(0)
    centred = y - y.mean(0)
    along = Z.T @ centred
    out = np.empty((len(strengths), *y.shape[1:]))
    for i, strength in enumerate(strengths):
        residual = centred - Z @ (along.T / (power + strength)).T
        spare = 1 - 1 / n - (Z**2) @ (1 / (power + strength))
        if spare.min() > 1e-8:
            out[i] = np.mean((residual.T / spare) ** 2, axis=-1)
        else:  # rows that the fit follows exactly have no left-out error to compute: the average stands in (GCV)
            out[i] = np.mean(residual**2, axis=0) / max(float(spare.mean()), 1e-8) ** 2
    return out


def _closed(space: Reduced, y: np.ndarray, strength: float | str) -> tuple[float, np.ndarray, float, dict]:
    Z = space.Z
    power = (Z**2).sum(0)
    path: dict[str, Any] = {"strengths": np.zeros(0), "losses": np.zeros(0)}
    if strength == "auto":
        losses = press(Z, y, STRENGTHS) if len(y) > 1 else np.zeros(len(STRENGTHS))
        path = {"strengths": STRENGTHS.copy(), "losses": losses}
        strength = float(STRENGTHS[::-1][int(np.argmin(losses[::-1]))])  # the strongest of equals
    coef = Z.T @ (y - y.mean()) / (power + float(strength))
    return float(strength), coef, float(y.mean()), path


def _iterative(X: Any, y: np.ndarray, strength: float | str, seed: int) -> tuple[float, np.ndarray, float, dict]:
    path: dict[str, Any] = {"strengths": np.zeros(0), "losses": np.zeros(0)}
    if strength == "auto":
        out = inner_holdout(rank_strata(y), 0.2, seed)
        losses = []
        for s in SPARSE_STRENGTHS:
            coef, intercept = _lsqr(X[~out], y[~out], float(s))
            losses.append(float(np.mean((X[out] @ coef + intercept - y[out]) ** 2)))
        path = {"strengths": SPARSE_STRENGTHS.copy(), "losses": np.array(losses)}
        strength = float(SPARSE_STRENGTHS[int(np.argmin(losses))])
    return float(strength), *_lsqr(X, y, float(strength)), path


def _lsqr(X: Any, y: np.ndarray, strength: float) -> tuple[np.ndarray, float]:
    mean = np.asarray(X.mean(0)).ravel()
    # the centred matrix as [X, 1] times (I; -mean): an operator, so that X stays sparse
    centred = aslinearoperator(X) + aslinearoperator(np.ones((X.shape[0], 1))) @ aslinearoperator(-mean[None])
    found = lsqr(centred, y - y.mean(), damp=np.sqrt(strength), atol=1e-8, btol=1e-8, iter_lim=300)
    return found[0], float(y.mean() - mean @ found[0])


REGRESSOR = RidgeRegressor
