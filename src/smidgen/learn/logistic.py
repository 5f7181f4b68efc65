"""Logistic regression with an L2 penalty whose strength is found on one warm-started path.

Minimises `sum_i -log p(y_i | x_i) + strength / 2 * |W|^2`; the intercept is free. Two classes share one coefficient
vector, more have one each (as scikit-learn, strength = 1 / C). The strength is chosen on the log loss of approximate
leave-one-out: a Newton step away from the full fit (Rad & Maleki, 2020, eq. 6), exact in the curvature where the whole
Hessian is at hand, class by class where it is not; where even that is dear, on one held-out part.
Dims: n rows, r reduced coordinates, K score columns (1 for two classes).
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import scipy.linalg
import scipy.optimize
import scipy.sparse
from scipy.special import expit, log_expit, logsumexp

from smidgen.data.mix import class_weights
from smidgen.kit.errors import bad
from smidgen.learn.base import ClassifierHead, softmax
from smidgen.learn.inner import inner_holdout
from smidgen.learn.reduced import reduce

CARD = {
    "title": "Logistic regression",
    "tldr": "A straight line between classes, held back by a penalty whose strength is chosen by leave-one-out.",
    "tasks": ("classification",),
    "features": "linear",
    "sparse": True,
    "seconds": (0.01, 0.02),
}

STRENGTHS = tuple(float(s) for s in np.geomspace(1000, 0.003, 12))  # views scale columns, so one wide grid serves all
USUAL, SPREAD = 3.0, 2.0  # what strengths are before the data speaks: log-normal, worth a nat or two of n losses
NEWTON_SIZE = 200  # unknowns up to which the whole Hessian is solved
ALO_FLOPS = 3e8  # a strength's leave-one-out may cost so much; above, one part is held out
FLOAT32_SIZE = 2e7  # n * r * K above which products are made in float32
HOLDOUT = 0.25


@dataclass(frozen=True, kw_only=True)
class LogisticConfig:
    """Settings of logistic regression."""

    strength: float | Literal["auto"] = "auto"  # penalty on the sum of losses, > 0; 1 / C of scikit-learn
    balance: float = 1.0  # temperature of the classes' weights, >= 1: 1 as they come, 100 nearly all alike

    def __post_init__(self):
        if not self.balance >= 1:
            raise bad("balance", "1 or more", self.balance)
        if self.strength != "auto" and not float(self.strength) > 0:
            raise bad("strength", "a number > 0 or 'auto'", self.strength)


class LogisticClassifier(ClassifierHead):
    """L2-regularised multinomial logistic regression.

    `balance` above 1 weighs losses by class (`data.mix.class_weights`). The probabilities are then those of more even
    classes: better balanced accuracy and macro F1, worse log loss; dividing them by the weights again does not pay.

    Attributes:
        coef_ `[K, d]`, intercept_ `[K]`: scores are `X @ coef_.T + intercept_`; K = 1 for two classes.
        strength_: the penalty used. path_: the strengths tried and the log loss of each, as lists.
    """

    Config = LogisticConfig
    takes_sparse = True

    def __init__(self, strength: float | str = "auto", balance: float = 1.0, random_state: int = 0):
        self.strength = strength
        self.balance = balance
        self.random_state = random_state

    def _fit(self, X: Any, codes: np.ndarray) -> None:
        Y = np.eye(len(self.classes_))[codes]
        Y = Y[:, 1:] if Y.shape[1] == 2 else Y
        strength = self._config.strength
        self.path_ = {"strengths": [], "losses": []}
        space = reduce(X)
        w = _row_weights(codes, self._config.balance)
        problem = _Problem(space.Z, Y, w)
        theta = None
        if strength == "auto":
            if problem.alo_flops() <= ALO_FLOPS:
                tried = _walk(problem, problem.left_out_loss)
            else:
                out = inner_holdout(codes, HOLDOUT, self.random_state)
                part = _Problem(space.Z[~out], Y[~out], w[~out])
                new, truth, weights = space.Z[out], Y[out], w[out]
                tried = _walk(part, lambda theta, _: _log_loss(part.scores(theta, new), truth, weights), STRENGTHS[::2])
            self.path_ = {"strengths": [t[0] for t in tried], "losses": [t[1] for t in tried]}
            logs = np.log(self.path_["strengths"])
            total = len(codes) * np.array(self.path_["losses"])
            total += 0.5 * ((logs - np.log(USUAL)) / SPREAD) ** 2
            strength = _lowest(logs, total)
            theta = tried[int(np.argmin(total))][2]
        theta = problem.solve(float(strength), theta, exact=True)
        self.strength_ = float(strength)
        self.coef_, self.intercept_ = space.lift(theta[:, :-1], theta[:, -1])

    def decision_function(self, X: Any) -> np.ndarray:
        """Scores `[n, K]`; `[n]` for two classes."""
        scores = self._scores(self._check_X(X))
        return scores[:, 0] if scores.shape[1] == 1 else scores

    def _scores(self, X: Any) -> np.ndarray:
        return np.asarray(X @ self.coef_.T) + self.intercept_

    def _proba(self, X: Any) -> np.ndarray:
        scores = self._scores(X)
        return np.hstack([expit(-scores), expit(scores)]) if scores.shape[1] == 1 else softmax(scores)


class _Problem:
    """One penalised fit on reduced rows: parameters `theta` `[K, r + 1]`, the intercept last; w `[n]`: weights."""

    def __init__(self, Z: Any, Y: np.ndarray, w: np.ndarray | None = None):
        self.Z, self.Y, self.w = Z, Y, np.ones(len(Y)) if w is None else w
        self.n, self.r = Z.shape
        self.K = Y.shape[1]
        self.sparse = scipy.sparse.issparse(Z)
        self.newton = not self.sparse and self.K * (self.r + 1) <= NEWTON_SIZE
        self.Z1: Any = None if self.sparse else np.hstack([Z, np.ones((self.n, 1))])
        prior = ((Y * self.w[:, None]).sum(0) + 0.5) / (self.n + 1)
        self.start = np.zeros((self.K, self.r + 1))
        self.start[:, -1] = np.log(prior / (1 - prior)) if self.K == 1 else np.log(prior) - np.log(prior).mean()
        if not self.newton:
            self.fast = Z.astype(np.float32) if self.n * self.r * self.K > FLOAT32_SIZE else Z
            power = np.asarray(Z.multiply(Z).sum(0)).ravel() if self.sparse else (Z**2).sum(0)
            self.curvature = float((prior * (1 - prior)).mean()) * np.append(power, self.n)

    def alo_flops(self) -> float:
        """What leave-one-out of one strength costs; endless where there is no dense Z."""
        if self.sparse:
            return float("inf")
        return (self.K**2 if self.newton else self.K) * (self.r + 1) ** 2 * (2.0 * self.n + self.r)

    def scores(self, theta: np.ndarray, Z: Any = None) -> np.ndarray:
        return np.asarray((self.Z if Z is None else Z) @ theta[:, :-1].T) + theta[:, -1]

    def value(self, theta: np.ndarray, strength: float) -> float:
        return _log_loss(self.scores(theta), self.Y, self.w) * self.n + strength / 2 * float((theta[:, :-1] ** 2).sum())

    def solve(self, strength: float, theta: np.ndarray | None = None, exact: bool = False) -> np.ndarray:
        """The minimiser, from `theta` on; `exact` to about 1e-8, else good enough to compare strengths."""
        theta = self.start if theta is None else theta
        return self._newton(theta, strength, exact) if self.newton else self._lbfgs(theta, strength, exact)

    def _newton(self, theta: np.ndarray, strength: float, exact: bool) -> np.ndarray:
        value = self.value(theta, strength)
        for _ in range(50):
            P = _probabilities(self.scores(theta))
            gradient = ((P - self.Y) * self.w[:, None]).T @ self.Z1
            gradient[:, :-1] += strength * theta[:, :-1]
            step = scipy.linalg.cho_solve(self._factor(P, strength), gradient.ravel()).reshape(theta.shape)
            decrement = float((gradient * step).sum())
            size = 1.0
            while True:
                moved = theta - size * step
                after = self.value(moved, strength)
                if after <= value - 1e-4 * size * decrement or size < 1e-6:
                    break
                size /= 2
            if after <= value:
                theta, value = moved, after
            if decrement < (1e-14 if exact else 1e-6) * max(1.0, abs(value)) or size < 1e-6:
                break
        return theta

    def _hessian(self, P: np.ndarray, strength: float) -> np.ndarray:
        K, m = self.K, self.r + 1
        H = np.empty((K, m, K, m))
        for a in range(K):
            for b in range(a, K):
                w = P[:, a] * ((a == b) - P[:, b]) * self.w
                H[a, :, b, :] = self.Z1.T @ (self.Z1 * w[:, None])
                H[b, :, a, :] = H[a, :, b, :].T
        H = H.reshape(K * m, K * m)
        penalty = np.tile(np.append(np.full(m - 1, strength), 0.0), K)
        H[np.diag_indices(K * m)] += penalty + 1e-12
        if K > 1:  # a shift of all intercepts changes nothing: this holds it still and moves no solution
            ends = np.arange(K) * m + m - 1
            H[np.ix_(ends, ends)] += 1.0 / K
        return H

    def _factor(self, P: np.ndarray, strength: float) -> tuple[np.ndarray, bool]:
        return scipy.linalg.cho_factor(self._hessian(P, strength), lower=True, check_finite=False)

    def _lbfgs(self, theta: np.ndarray, strength: float, exact: bool) -> np.ndarray:
        scale = np.sqrt(self.curvature + np.append(np.full(self.r, strength), 0.0))  # near-equal curvature in all axes
        Z, Y, shape = self.fast, self.Y, theta.shape

        def value_and_gradient(flat: np.ndarray) -> tuple[float, np.ndarray]:
            A = flat.reshape(shape) / scale
            scores = np.asarray(Z @ A[:, :-1].T.astype(Z.dtype)).astype(np.float64) + A[:, -1]
            loss, P = _loss_and_probabilities(scores, Y, self.w)
            value = loss * self.n + strength / 2 * float((A[:, :-1] ** 2).sum())
            miss = (P - Y) * self.w[:, None]
            along = np.asarray(Z.T @ miss.astype(Z.dtype)).T + strength * A[:, :-1]
            gradient = np.hstack([along, miss.sum(0)[:, None]])
            return value, (gradient / scale).ravel()

        big = Z.dtype == np.float32
        options = {"maxiter": 30, "gtol": 1e-3, "ftol": 1e-5}
        if exact:
            options = {"maxiter": 500, "gtol": 1e-7, "ftol": 1e-14}
            if big:
                options = {"maxiter": 100, "gtol": 1e-3, "ftol": 1e-7}
        start = (theta * scale).ravel()
        found = scipy.optimize.minimize(value_and_gradient, start, jac=True, method="L-BFGS-B", options=options)
        return found.x.reshape(shape) / scale

    def left_out_loss(self, theta: np.ndarray, strength: float) -> float:
        """Mean log loss of each row under the fit without it, one Newton step away from the fit with it."""
        scores = self.scores(theta)
        P = _probabilities(scores)
        miss = (P - self.Y) * self.w[:, None]
        if self.newton and self.K > 1:
            m = self.r + 1
            inverse = scipy.linalg.cho_solve(self._factor(P, strength), np.eye(self.K * m))
            inverse = inverse.reshape(self.K, m, self.K, m)
            lever = np.empty((self.n, self.K, self.K))
            for a in range(self.K):
                for b in range(self.K):
                    lever[:, a, b] = ((self.Z1 @ inverse[a, :, b, :]) * self.Z1).sum(1)
            curvature = np.einsum("na,ab->nab", P, np.eye(self.K)) - P[:, :, None] * P[:, None, :]
            curvature *= self.w[:, None, None]
            solved = np.linalg.solve(np.eye(self.K) - curvature @ lever, miss[:, :, None])
            return _log_loss(scores + (lever @ solved)[:, :, 0], self.Y, self.w)
        lever = np.empty_like(P)
        curvature = P * (1 - P) * self.w[:, None]
        if self.K > 1:  # the others give way as one class moves: exact where all are equally likely
            curvature *= self.K / (self.K - 1)
        penalty = np.append(np.full(self.r, strength), 1e-12)
        for c in range(self.K):
            H = self.Z1.T @ (self.Z1 * curvature[:, c, None])
            H[np.diag_indices(self.r + 1)] += penalty
            half = scipy.linalg.solve_triangular(
                scipy.linalg.cholesky(H, lower=True, check_finite=False), self.Z1.T, lower=True, check_finite=False
            )
            lever[:, c] = (half**2).sum(0)
        spare = np.maximum(1 - curvature * lever, 1e-6)
        return _log_loss(scores + lever * miss / spare, self.Y, self.w)


Tried = list[tuple[float, float, np.ndarray]]


def _walk(problem: _Problem, loss: Any, strengths: tuple[float, ...] = STRENGTHS) -> Tried:
    """(strength, loss, theta), strong to weak, each from the last; ends when the loss has plainly turned up."""
    tried: Tried = []
    theta = None
    for strength in strengths:
        theta = problem.solve(strength, theta)
        tried.append((strength, loss(theta, strength), theta))
        best = min(t[1] for t in tried)
        if len(tried) > 2 and tried[-1][1] > tried[-2][1] > best and tried[-1][1] > 1.02 * best:
            break
    return tried


def _lowest(x: np.ndarray, loss: np.ndarray) -> float:
    """exp of the place of the minimum: of the parabola through the lowest point and its neighbours."""
    i = int(np.argmin(loss))
    if 0 < i < len(x) - 1:
        left, right = loss[i - 1] - loss[i], loss[i + 1] - loss[i]
        if left + right > 0:
            step = (left - right) / (2 * (left + right))  # in grid steps, from -1/2 to 1/2
            return float(np.exp(x[i] + step * abs(x[i + 1] - x[i]) * np.sign(x[i + 1] - x[i])))
    return float(np.exp(x[i]))


def _row_weights(codes: np.ndarray, tau: float) -> np.ndarray:
    """Weights `[n]` of mean 1 by class; all exactly 1 at tau = 1."""
    return np.array(list(class_weights(codes, tau).values()))[codes]


def _loss_and_probabilities(scores: np.ndarray, Y: np.ndarray, w: np.ndarray) -> tuple[float, np.ndarray]:
    """Both from one exponential, which is half the time where classes are many."""
    if Y.shape[1] == 1:
        return _log_loss(scores, Y, w), expit(scores)
    scores = scores - scores.max(1, keepdims=True)
    exps = np.exp(scores)
    sums = exps.sum(1, keepdims=True)
    return float((w * (np.log(sums[:, 0]) - (scores * Y).sum(1))).mean()), exps / sums


def _probabilities(scores: np.ndarray) -> np.ndarray:
    return expit(scores) if scores.shape[1] == 1 else softmax(scores)


def _log_loss(scores: np.ndarray, Y: np.ndarray, w: np.ndarray) -> float:
    if Y.shape[1] == 1:
        return float(-(w[:, None] * (Y * log_expit(scores) + (1 - Y) * log_expit(-scores))).mean())
    return float((w * (logsumexp(scores, axis=1) - (scores * Y).sum(1))).mean())


CLASSIFIER = LogisticClassifier
