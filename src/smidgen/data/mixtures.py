"""A model's score as a function of the mixture it was trained on, from a few trained pilots (arXiv 2307.02460).

At one size of data the score is linear in the distance of the mixture from the validation set (`data.transport`), with
coefficients that depend on the shares; from two small sizes it is carried on along the logarithm of the size.

Dims: m sources, T mixtures, F terms.
"""

from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator

from smidgen.kit.errors import bad

FORMS = {  # name: (powers of the shares beside the distance, and alone; products of shares; the distance)
    "ot": (0, False, True),
    "linear": (1, False, True),
    "pq": (2, False, True),  # "pseudo-quadratic": squares and no products
    "shares linear": (1, False, False),  # the baselines that know no distance
    "shares pq": (2, False, False),
    "shares quadratic": (2, True, False),
}
RIDGES = (0.0, *np.logspace(-6, 1, 15).tolist())  # tried; per mixture, for terms of unit variance
ENOUGH = 5  # pilots a coefficient
OFF = 1e-6  # of the simplex, rounding


class MixturePerformance(BaseEstimator):
    """The score at one size of data, by mixture and its distance from the validation set.

    With "pq", sum_i (b2_i p_i^2 + b1_i p_i) OT + b0 OT + sum_i (c2_i p_i^2 + c1_i p_i) + c0. The last source's share
    follows from the others and has no term.

    Args:
        terms: a name in `FORMS`; None: the largest of "pq", "linear", "ot" that has 5 pilots for each coefficient.
        ridge: penalty on the coefficients of scaled terms, 0 for least squares; None: the one of `RIDGES` with the
            least leave-one-out error on the pilots.

    Fitted: `terms_`, `ridge_`, `coef_` `[F]`, `intercept_`, `loo_error_` (root mean square, leaving one pilot out).
    """

    def __init__(self, terms: str | None = None, ridge: float | None = None) -> None:
        self.terms, self.ridge = terms, ridge

    def fit(self, P: Any, ot: Any, score: Any) -> Self:
        """Learns from mixtures `[T, m]`, their distances `[T]` and scores `[T]`, all at one size.

        Raises:
            BadInput: a mixture off the simplex, unknown terms, fewer than 3 pilots.
        """
        P, ot, y = on_simplex(P), _line(ot, "distances"), _line(score, "scores")
        if self.terms is not None and self.terms not in FORMS:
            raise bad("terms", " or ".join(map(repr, FORMS)), self.terms)
        if self.ridge is not None and not self.ridge >= 0:
            raise bad("ridge", "0 or more", self.ridge)
        if not len(P) == len(ot) == len(y) or len(P) < 3:
            raise bad("pilots", "at least 3, each with a distance and a score", (len(P), len(ot), len(y)))
        self.terms_ = self.terms or affordable(len(P), P.shape[1])
        X = columns(P, ot, self.terms_)
        mean, scale = X.mean(0), X.std(0)
        scale[scale < 1e-12] = np.inf  # a term that never changes gets no coefficient
        u, s, vt = np.linalg.svd((X - mean) / scale, full_matrices=False)
        kept = s > 1e-10 * max(1.0, s.max())
        u, s, vt = u[:, kept], s[kept], vt[kept]
        tried = RIDGES if self.ridge is None else (float(self.ridge),)
        errors = [_loo(u, s, y, r * len(y)) for r in tried]
        self.ridge_, self.loo_error_ = tried[int(np.argmin(errors))], float(min(errors))
        shrunk = s / (s**2 + self.ridge_ * len(y)) * (u.T @ (y - y.mean()))
        self.coef_ = vt.T @ shrunk / scale
        self.intercept_ = float(y.mean() - mean @ self.coef_)
        return self

    def predict(self, P: Any, ot: Any) -> np.ndarray:
        """Scores `[T]`; `ot` at the size of the pilots, as the distance of few rows depends on their number."""
        P, ot = on_simplex(P), np.atleast_1d(np.asarray(ot, float))
        if len(P) != len(ot):
            raise bad("distances", f"{len(P)}, one a mixture", len(ot))
        return columns(P, ot, self.terms_) @ self.coef_ + self.intercept_

    def gradient(self, p: Any, ot: float, dot_dp: Any) -> np.ndarray:
        """Change of the predicted score with the shares `[m]`.

        All of the score's factor of the distance multiplies `dot_dp`. Shares sum to 1: only differences of the
        entries mean something.

        Args:
            dot_dp: `[m]`, of the distance, up to one constant for all: mean potential of each source's rows.
        """
        p, h = on_simplex(p)[0], np.asarray(dot_dp, float)
        if h.shape != p.shape:
            raise bad("dot_dp", f"{len(p)} numbers, one a source", h)
        powers, products, with_ot = FORMS[self.terms_]
        m, q = len(p), p[:-1]
        eye = np.eye(m, m - 1)
        alone = [k * q ** (k - 1) * eye for k in range(1, powers + 1)]  # each [m, terms]
        parts = list(alone)
        if products:
            i, j = np.triu_indices(m - 1, 1)
            parts.append(eye[:, i] * q[j] + eye[:, j] * q[i])
        if with_ot:
            parts += [h[:, None]]
            parts += [q**k * h[:, None] + ot * d for k, d in zip(range(1, powers + 1), alone, strict=True)]
        return np.concatenate(parts, 1) @ self.coef_


def columns(P: np.ndarray, ot: np.ndarray, terms: str) -> np.ndarray:
    """The terms `[T, F]` of a form, without the constant."""
    powers, products, with_ot = FORMS[terms]
    Q = P[:, :-1]
    alone = [Q**k for k in range(1, powers + 1)]
    parts = list(alone)
    if products:
        i, j = np.triu_indices(Q.shape[1], 1)
        parts.append(Q[:, i] * Q[:, j])
    if with_ot:
        parts += [ot[:, None]] + [a * ot[:, None] for a in alone]
    return np.concatenate(parts, 1)


def affordable(pilots: int, m: int) -> str:
    """The largest form with distance that has 5 pilots a coefficient."""
    for terms, coefficients in (("pq", 4 * (m - 1) + 2), ("linear", 2 * (m - 1) + 2)):
        if pilots >= ENOUGH * coefficients:
            return terms
    return "ot"


def project(low: Any, high: Any, sizes: tuple[float, float], size: float) -> Any:
    """Scores at another size: the straight line in log size through those at two sizes. Any shapes that fit."""
    n0, n1 = sizes
    if not 0 < n0 < n1 or not size > 0:
        raise bad("sizes", "0 < N0 < N1 and a target above 0", (*sizes, size))
    share = np.log(size / n0) / np.log(n1 / n0)
    return share * np.asarray(high) + (1 - share) * np.asarray(low)


def on_simplex(P: Any) -> np.ndarray:
    """Mixtures as `[T, m]`. Raises BadInput where shares are below 0 or do not sum to 1 (tolerance 1e-6)."""
    P = np.atleast_2d(np.asarray(P, float))
    if P.ndim != 2 or P.shape[1] < 2 or not np.isfinite(P).all():
        raise bad("mixture", "finite shares of at least 2 sources", P)
    wrong = (P.min(1) < -OFF) | (np.abs(P.sum(1) - 1) > OFF)
    if wrong.any():
        raise bad("mixture", "shares of 0 or more that sum to 1", P[wrong][0].tolist(), "See `nearest_mixture`.")
    return np.clip(P, 0, None)


def nearest_mixture(v: Any) -> np.ndarray:
    """The point of the simplex nearest to any numbers `[m]` (Euclidean projection by sorting; Duchi et al., 2008)."""
    v = np.asarray(v, float)
    if v.ndim != 1 or not len(v) or not np.isfinite(v).all():
        raise bad("shares", "a list of finite numbers", v)
    falling = np.sort(v)[::-1]
    excess = (np.cumsum(falling) - 1) / np.arange(1, len(v) + 1)
    return np.maximum(v - excess[np.flatnonzero(falling > excess)[-1]], 0)


def mixture_grid(m: int, parts: int = 10) -> np.ndarray:
    """All mixtures of m sources in steps of 1 / parts, `[T, m]`: 66 of three sources in tenths."""
    if m < 2 or parts < 1:
        raise bad("grid", "at least 2 sources and 1 part", (m, parts))
    left = np.array(np.meshgrid(*[np.arange(parts + 1)] * (m - 1), indexing="ij")).reshape(m - 1, -1).T
    left = left[left.sum(1) <= parts]
    return np.c_[left, parts - left.sum(1)] / parts


def _loo(u: np.ndarray, s: np.ndarray, y: np.ndarray, penalty: float) -> float:
    """Root mean square error of leaving one out, without refitting; infinite where a pilot alone fixes a term."""
    shrink = s**2 / (s**2 + penalty)
    leverage = 1 / len(y) + u**2 @ shrink
    if leverage.max() > 1 - 1e-9:
        return np.inf
    residual = y - y.mean() - (u * shrink) @ (u.T @ (y - y.mean()))
    return float(np.sqrt(np.mean((residual / (1 - leverage)) ** 2)))


def _line(values: Any, what: str) -> np.ndarray:
    values = np.asarray(values, float)
    if values.ndim != 1 or not np.isfinite(values).all():
        raise bad(what, "a list of finite numbers", values)
    return values
