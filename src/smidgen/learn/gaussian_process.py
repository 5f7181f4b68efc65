"""Gaussian process for few rows: every smooth function, weighed by how well it explains the data.

Covariance: `bend * exp(-|x - x'|^2 / (2 length^2)) + line * (x - m)'(x' - m) / d`, m the mean row. Numbers: exact, with
noise; the four scales at the top of marginal likelihood times weak log-normal priors (L-BFGS). Classes: one against
the rest by Laplace's approximation (Rasmussen & Williams, 2006, algorithms 3.1 and 3.2) around a constant mean at the
class's log odds; the scales are shared and chosen on a small grid by the summed approximate log marginal likelihood;
the probability is MacKay's `p_c = sigmoid(mean / sqrt(1 + pi / 8 variance))`, and that exactly one class holds makes
it `p_c / (1 - p_c)`, normalised. Those odds are raised to one exponent, found on the closed-form left-out odds.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.optimize
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.special import expit, log_expit

from smidgen.kit.errors import bad
from smidgen.learn.base import ClassifierHead, RegressorHead, softmax
from smidgen.learn.kernels import gaussian, median_distance, squared_distances
from smidgen.learn.temper import temper

CARD = {
    "title": "Gaussian process",
    "tldr": "All smooth functions that fit, weighed by how well they explain the rows; sure only near them.",
    "tasks": ("classification", "regression"),
    "features": "linear",
    "max_rows": 800,
    "bytes_per_pair": 64.0,
    "max_classes": 12,
    "seconds": (0.02, 0.1, 0.5),
    "bytes_per_row": 8.0,
}

MAX_JUDGED = 200  # rows on which the scales are compared, of classes; twice as many for numbers
LENGTHS = (0.35, 0.7, 1.4, 2.8)  # times the median distance
BENDS = (0.3, 1.5, 6.0, 25.0)  # variance of the log odds
LINES = (0.0, 1.0, 5.0)


@dataclass(frozen=True, kw_only=True)
class GPConfig:
    """Settings of the Gaussian process. None: chosen by marginal likelihood."""

    length: float | None = None  # of the Gaussian part, in units of X, > 0
    bend: float | None = None  # variance of the Gaussian part, >= 0
    line: float | None = None  # variance of the linear part, >= 0
    noise: float | None = None  # variance of the noise, share of the variance of y, > 0; regression only

    def __post_init__(self):
        for name in ("length", "noise"):
            if getattr(self, name) is not None and not getattr(self, name) > 0:
                raise bad(name, "> 0", getattr(self, name))
        for name in ("bend", "line"):
            if getattr(self, name) is not None and not getattr(self, name) >= 0:
                raise bad(name, ">= 0", getattr(self, name))


class GPClassifier(ClassifierHead):
    """Gaussian process classifier, one class against the rest.

    Attributes:
        rows_ `[n, d]`; mean_ `[K]` log odds; weight_ `[K, n]`: gradient of the log likelihood at the mode;
        root_ `[K, n]`: square roots of its curvature; scales_: length, bend, line. K = 1 for two classes.
        evidence_: summed log marginal likelihood; exponent_: on the odds, by left-out log loss.
    """

    Config = GPConfig

    def __init__(
        self,
        length: float | None = None,
        bend: float | None = None,
        line: float | None = None,
        noise: float | None = None,
        random_state: int = 0,
    ):
        self.length = length
        self.bend = bend
        self.line = line
        self.noise = noise
        self.random_state = random_state

    def _fit(self, X: np.ndarray, codes: np.ndarray) -> None:
        C = len(self.classes_)
        sides = np.where(codes[:, None] == (np.arange(C) if C > 2 else np.array([1])), 1.0, -1.0)
        share = ((sides > 0).sum(0) + 0.5) / (len(X) + 1.0)
        self.mean_ = np.log(share / (1 - share))
        self.rows_ = np.array(X, order="C")
        self.scales_ = self._choose(X, sides)
        K = covariance(X, X, self.scales_)
        self.weight_, self.root_ = np.empty((sides.shape[1], len(X))), np.empty((sides.shape[1], len(X)))
        self.evidence_, self.exponent_ = 0.0, 1.0
        left_out = np.empty(sides.shape)
        for c in range(sides.shape[1]):
            mode = laplace(K, sides[:, c], self.mean_[c])
            self.weight_[c], self.root_[c] = mode.gradient, mode.root
            self.evidence_ += mode.evidence
            left_out[:, c] = _left_out(K, mode, self.mean_[c])
        scores = _columns(left_out)
        if len(X) >= 4:
            self.exponent_ = temper(np.zeros(scores.shape[1]), scores, codes, 0.2, 5.0, spread=0.6)

    def _choose(self, X: np.ndarray, sides: np.ndarray) -> dict[str, float]:
        """Climbs the grid one scale at a time, until no move helps."""
        config = self._config
        part = np.sort(np.random.default_rng(self.random_state).permutation(len(X))[:MAX_JUDGED])
        rows, sides = X[part], sides[part]
        far, dots = squared_distances(rows, rows), _dots(rows, rows, X.mean(0))
        unit = float(np.sqrt(median_distance(far)))
        axes = {
            "length": [config.length] if config.length is not None else [unit * m for m in LENGTHS],
            "bend": [config.bend] if config.bend is not None else list(BENDS),
            "line": [config.line] if config.line is not None else list(LINES),
        }
        at = {name: min(i, len(axes[name]) - 1) for name, i in (("length", 2), ("bend", 1), ("line", 1))}
        seen: dict[tuple[int, ...], float] = {}
        latest: list[np.ndarray | None] = [None] * sides.shape[1]

        def evidence(place: dict[str, int]) -> float:
            key = tuple(place.values())
            if key not in seen:
                length, bend, line = (axes[name][i] for name, i in place.items())
                K = bend * gaussian(far, 0.5 / length**2) + line * dots
                total = 0.0
                for c in range(sides.shape[1]):
                    mode = laplace(K, sides[:, c], self.mean_[c], latest[c])
                    latest[c] = mode.alpha
                    total += mode.evidence
                seen[key] = total
            return seen[key]

        moved = sum(len(a) for a in axes.values()) > 3
        while moved:
            moved = False
            for name in axes:
                for step in (1, -1):
                    while 0 <= at[name] + step < len(axes[name]):
                        there = {**at, name: at[name] + step}
                        if evidence(there) <= evidence(at) + 1e-9:
                            break
                        at, moved = there, True
        return {name: float(axes[name][i]) for name, i in at.items()}

    def _latent(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance `[n, K]` of the log odds at X."""
        K = covariance(self.rows_, self.rows_, self.scales_)
        across = covariance(X, self.rows_, self.scales_, self.rows_.mean(0))
        own = self.scales_["bend"] + self.scales_["line"] * ((X - self.rows_.mean(0)) ** 2).mean(1)
        mean = across @ self.weight_.T + self.mean_
        variance = np.empty_like(mean)
        for c in range(mean.shape[1]):
            L = cholesky(np.eye(len(K)) + self.root_[c][:, None] * K * self.root_[c], lower=True, check_finite=False)
            v = solve_triangular(L, (across * self.root_[c]).T, lower=True, check_finite=False)
            variance[:, c] = np.maximum(own - (v**2).sum(0), 0)
        return mean, variance

    def _proba(self, X: np.ndarray) -> np.ndarray:
        mean, variance = self._latent(X)
        return softmax(self.exponent_ * _columns(_log_odds(mean, variance)))


class GPRegressor(RegressorHead):
    """Exact Gaussian process regression on the standardised target.

    Attributes: rows_ `[n, d]`, weight_ `[n]`, scales_ (length, bend, line, noise), middle_, unit_ of y.
    """

    Config = GPConfig

    def __init__(
        self,
        length: float | None = None,
        bend: float | None = None,
        line: float | None = None,
        noise: float | None = None,
        random_state: int = 0,
    ):
        self.length = length
        self.bend = bend
        self.line = line
        self.noise = noise
        self.random_state = random_state

    def _fit(self, X: np.ndarray, y: np.ndarray) -> None:
        self.middle_, self.unit_ = float(y.mean()), float(y.std()) or 1.0
        t = (y - self.middle_) / self.unit_
        part = np.sort(np.random.default_rng(self.random_state).permutation(len(X))[: 2 * MAX_JUDGED])
        self.rows_ = np.array(X, order="C")
        self.scales_ = _climb(X[part], t[part], self._config)
        K = covariance(X, X, self.scales_)
        K[np.diag_indices(len(K))] += self.scales_["noise"]
        self.weight_ = cho_solve((cholesky(K, lower=True), True), t)

    def _value(self, X: np.ndarray) -> np.ndarray:
        return covariance(X, self.rows_, self.scales_, self.rows_.mean(0)) @ self.weight_ * self.unit_ + self.middle_

    def predict_std(self, X: Any) -> np.ndarray:
        """Standard deviation of each new value `[m]`, its noise included, in the target's unit (Rasmussen and
        Williams, 2006, equation 2.26)."""
        X = self._check_X(X)
        K, middle = covariance(self.rows_, self.rows_, self.scales_), self.rows_.mean(0)
        K[np.diag_indices(len(K))] += self.scales_["noise"]
        across = covariance(X, self.rows_, self.scales_, middle)
        own = self.scales_["bend"] + self.scales_["line"] * ((X - middle) ** 2).mean(1) + self.scales_["noise"]
        v = solve_triangular(cholesky(K, lower=True), across.T, lower=True)
        return np.sqrt(np.maximum(own - (v**2).sum(0), 0.0)) * self.unit_


@dataclass(frozen=True, eq=False)
class Mode:
    """Laplace's approximation: the mode `mean + K alpha`; slope and root of curvature of the log likelihood there."""

    alpha: np.ndarray
    gradient: np.ndarray
    root: np.ndarray
    evidence: float


def laplace(K: np.ndarray, side: np.ndarray, mean: float = 0.0, start: np.ndarray | None = None) -> Mode:
    """Algorithm 3.1: the mode of the latent values for sides -1, 1 `[n]`, covariance K `[n, n]`, and log evidence.

    Args:
        start: alpha to start from, `[n]`, or None.
    """
    alpha = np.zeros(len(side)) if start is None else start
    target = (side + 1) / 2

    def value(alpha: np.ndarray, f: np.ndarray) -> float:
        return float(log_expit(side * (f + mean)).sum() - 0.5 * alpha @ f)

    f = K @ alpha
    now = value(alpha, f)
    if now < value(np.zeros_like(alpha), np.zeros_like(f)):
        alpha, f = np.zeros_like(alpha), np.zeros_like(f)
        now = value(alpha, f)
    for _ in range(50):
        p = expit(f + mean)
        root = np.sqrt(p * (1 - p))
        L = cholesky(np.eye(len(K)) + root[:, None] * K * root, lower=True, check_finite=False)
        b = root**2 * f + target - p
        step = b - root * cho_solve((L, True), root * (K @ b), check_finite=False) - alpha
        size, gain = 1.0, 0.0
        while size > 1e-4:
            there = alpha + size * step
            at = K @ there
            gain = value(there, at) - now
            if gain >= 0:
                alpha, f, now = there, at, now + gain
                break
            size /= 2
        if gain < 1e-9 * max(1.0, abs(now)):
            break
    p = expit(f + mean)
    root = np.sqrt(p * (1 - p))
    L = cholesky(np.eye(len(K)) + root[:, None] * K * root, lower=True, check_finite=False)
    return Mode(alpha, target - p, root, now - float(np.log(np.diag(L)).sum()))


def _left_out(K: np.ndarray, mode: Mode, mean: float) -> np.ndarray:
    """Log odds `[n]` of each row without itself: its own factor is taken off the approximate posterior (ch. 3.6)."""
    L = cholesky(np.eye(len(K)) + mode.root[:, None] * K * mode.root, lower=True, check_finite=False)
    v = solve_triangular(L, mode.root[:, None] * K, lower=True, check_finite=False)
    variance = np.maximum(np.diag(K) - (v**2).sum(0), 1e-12)
    spare = np.maximum(1 - variance * mode.root**2, 1e-6)
    f = K @ mode.alpha
    return _log_odds(mean + f - variance * mode.gradient / spare, variance / spare)


def _log_odds(mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
    return mean / np.sqrt(1 + np.pi / 8 * variance)


def _columns(odds: np.ndarray) -> np.ndarray:
    """One column a class, also for two."""
    return np.hstack([-odds, odds]) / 2 if odds.shape[1] == 1 else odds


def covariance(A: np.ndarray, B: np.ndarray, scales: dict[str, float], middle: np.ndarray | None = None) -> np.ndarray:
    """`[n, m]`; `middle` `[d]` is the point where the linear part is 0, by default the mean of B."""
    K = scales["bend"] * gaussian(squared_distances(A, B), 0.5 / scales["length"] ** 2)
    return K + scales["line"] * _dots(A, B, B.mean(0) if middle is None else middle) if scales["line"] else K


def _dots(A: np.ndarray, B: np.ndarray, middle: np.ndarray) -> np.ndarray:
    return (A - middle) @ (B - middle).T / A.shape[1]


def _climb(X: np.ndarray, t: np.ndarray, config: GPConfig) -> dict[str, float]:
    """The scales at the top of log marginal likelihood plus log prior; t is standardised."""
    far, dots = squared_distances(X, X), _dots(X, X, X.mean(0))
    unit = float(np.sqrt(median_distance(far)))
    guess = {"length": unit, "bend": 0.7, "line": 0.3, "noise": 0.2}
    spread = {"length": 1.0, "bend": 2.0, "line": 2.0, "noise": 2.0}
    fixed = {name: getattr(config, name) for name in guess if getattr(config, name) is not None}
    free = [name for name in guess if name not in fixed]
    if not free or len(X) < 3:
        return {name: float(fixed.get(name, guess[name])) for name in guess}

    def value_and_gradient(logs: np.ndarray) -> tuple[float, np.ndarray]:
        s = {**fixed, **{name: float(np.exp(v)) for name, v in zip(free, logs, strict=True)}}
        bent = s["bend"] * gaussian(far, 0.5 / s["length"] ** 2)
        K = bent + s["line"] * dots
        K[np.diag_indices(len(K))] += s["noise"] + 1e-8
        L = cholesky(K, lower=True, check_finite=False)
        inverse = cho_solve((L, True), np.eye(len(K)), check_finite=False)
        alpha = inverse @ t
        M = np.outer(alpha, alpha) - inverse
        slopes = {
            "length": lambda: (M * bent * far).sum() / s["length"] ** 2,
            "bend": lambda: (M * bent).sum(),
            "line": lambda: s["line"] * (M * dots).sum(),
            "noise": lambda: s["noise"] * np.trace(M),
        }
        apart = np.array([(v - np.log(guess[name])) / spread[name] for name, v in zip(free, logs, strict=True)])
        value = 0.5 * t @ alpha + np.log(np.diag(L)).sum() + 0.5 * apart @ apart
        gradient = [-0.5 * float(slopes[name]()) + a / spread[name] for name, a in zip(free, apart, strict=True)]
        return float(value), np.array(gradient)

    start = np.log([guess[name] for name in free])
    bounds = [(v - 4 * spread[name], v + 4 * spread[name]) for name, v in zip(free, start, strict=True)]
    found = scipy.optimize.minimize(
        value_and_gradient, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 30, "ftol": 1e-6}
    )
    return {name: float(fixed[name] if name in fixed else np.exp(found.x[free.index(name)])) for name in guess}


CLASSIFIER = GPClassifier
REGRESSOR = GPRegressor
