"""Support vector machine with a Gaussian kernel, and probabilities from decisions on rows it had not seen.

C and the kernel's width are chosen by inner cross-validation on log loss (for a number: squared error). Classes are
learned one against the rest. Decisions f become probabilities by `softmax(slope * f_c + bias_c)`, fitted on out-of-fold
decisions with targets smoothed as by Platt (1999) and the biases pulled to 0; scikit-learn's `probability=True` is not
used: it is random, and fits on rows that trained the machine. The solver is libsvm, in scikit-learn; what is saved are
the support rows and their weights, and the decision is made here.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import log_softmax

from smidgen.kit.errors import bad
from smidgen.learn.base import ClassifierHead, RegressorHead, softmax
from smidgen.learn.inner import inner_folds, rank_strata
from smidgen.learn.kernels import gaussian, median_distance, squared_distances

CARD = {
    "title": "Support vector machine",
    "tldr": "The widest gap between classes, in a space where distance is what counts.",
    "tasks": ("classification", "regression"),
    "features": "linear",
    "max_rows": 3000,
    "bytes_per_pair": 24.0,
    "max_classes": 20,
    "seconds": (0.06, 0.05, 0.5),
    "bytes_per_row": 8.0,
}

CS = (1.0, 4.0, 16.0)
WIDTHS = (0.35, 1.0, 3.0)  # gamma = width / median squared distance; 2 is about scikit-learn's "scale"
FOLDS = 5
MAX_JUDGED = 400  # rows on which C and width are compared


@dataclass(frozen=True, kw_only=True)
class SVMConfig:
    """Settings of the support vector machine. None: chosen by inner cross-validation."""

    C: float | None = None  # price of a row on the wrong side, > 0
    gamma: float | None = None  # exp(-gamma * squared distance), > 0

    def __post_init__(self):
        for name in ("C", "gamma"):
            if getattr(self, name) is not None and not getattr(self, name) > 0:
                raise bad(name, "> 0", getattr(self, name))


class SVMClassifier(ClassifierHead):
    """Gaussian-kernel support vector classifier with calibrated probabilities.

    Attributes:
        rows_ `[s, d]`: rows that support some class. dual_ `[K, s]`, intercept_ `[K]`: decisions are
        `kernel(X, rows_) @ dual_.T + intercept_`; K = 1 for two classes. gamma_, C_: as used.
        slope_, bias_ `[C]`: what makes decisions probabilities.
    """

    Config = SVMConfig

    def __init__(self, C: float | None = None, gamma: float | None = None, random_state: int = 0):
        self.C = C
        self.gamma = gamma
        self.random_state = random_state

    def _fit(self, X: np.ndarray, codes: np.ndarray) -> None:
        from sklearn.svm import SVC  # needed to fit only: predicting imports less

        sides = _sides(codes, len(self.classes_))
        far = squared_distances(X, X)
        fold = inner_folds(codes, min(FOLDS, len(X)), self.random_state)
        grid = _grid(self._config, far, CS, WIDTHS)
        best = grid[0]
        if len(grid) > 1:
            part = _sample(len(X), self.random_state)
            losses = []
            for C, gamma in grid:
                F = _columns(_out_of_fold(gaussian(far[np.ix_(part, part)], gamma), sides[part], fold[part], C))
                slope, bias = calibrate(F, codes[part])
                losses.append(_loss(F, codes[part], slope, bias))
            best = grid[int(np.argmin(losses))]
        self.C_, self.gamma_ = best
        kernel = gaussian(far, self.gamma_)
        self.slope_, self.bias_ = calibrate(_columns(_out_of_fold(kernel, sides, fold, self.C_)), codes)
        dual = np.zeros((sides.shape[1], len(X)))
        self.intercept_ = np.zeros(sides.shape[1])
        for c in range(sides.shape[1]):
            machine = SVC(C=self.C_, kernel="precomputed").fit(kernel, sides[:, c])
            dual[c, machine.support_] = machine.dual_coef_[0]
            self.intercept_[c] = machine.intercept_[0]
        used = dual.any(0)
        self.rows_, self.dual_ = np.ascontiguousarray(X[used]), np.ascontiguousarray(dual[:, used])

    def decision_function(self, X: np.ndarray) -> np.ndarray:
        """Calibrated scores, whose softmax are the probabilities: `[n, C]`; for two classes their difference `[n]`."""
        X = self._check_X(X)
        scores = self.slope_ * _columns(self._decide(X)) + self.bias_
        return scores[:, 1] - scores[:, 0] if scores.shape[1] == 2 else scores

    def _decide(self, X: np.ndarray) -> np.ndarray:
        """The machines' own decisions `[n, K]`, one against the rest."""
        return gaussian(squared_distances(X, self.rows_), self.gamma_) @ self.dual_.T + self.intercept_

    def _proba(self, X: np.ndarray) -> np.ndarray:
        return softmax(self.slope_ * _columns(self._decide(X)) + self.bias_)


class SVMRegressor(RegressorHead):
    """Gaussian-kernel support vector regression on the standardised target.

    Attributes: rows_ `[s, d]`, dual_ `[s]`, intercept_ (in units of y), gamma_, C_.
    """

    Config = SVMConfig

    def __init__(self, C: float | None = None, gamma: float | None = None, random_state: int = 0):
        self.C = C
        self.gamma = gamma
        self.random_state = random_state

    def _fit(self, X: np.ndarray, y: np.ndarray) -> None:
        from sklearn.svm import SVR

        middle, unit = float(y.mean()), float(y.std())
        t = (y - middle) / (unit or 1.0)  # unit 0: a constant, and the machine's word counts for nothing
        far = squared_distances(X, X)
        grid = _grid(self._config, far, (1.0, 8.0, 64.0), (0.12, *WIDTHS))
        best = grid[0]
        if len(grid) > 1 and len(X) > 2:
            part = _sample(len(X), self.random_state)
            fold = inner_folds(rank_strata(y), min(FOLDS, len(X)), self.random_state)[part]
            losses = []
            for C, gamma in grid:
                kernel = gaussian(far[np.ix_(part, part)], gamma)
                guess = np.zeros(len(part))
                for f in np.unique(fold):
                    out = fold == f
                    if not out.all():
                        machine = SVR(C=C, kernel="precomputed").fit(_cut(kernel, ~out, ~out), t[part][~out])
                        guess[out] = machine.predict(_cut(kernel, out, ~out))
                losses.append(float(np.mean((guess - t[part]) ** 2)))
            best = grid[int(np.argmin(losses))]
        self.C_, self.gamma_ = best
        machine = SVR(C=self.C_, kernel="precomputed").fit(gaussian(far, self.gamma_), t)
        used, dual = machine.support_, machine.dual_coef_[0]
        if len(used) == 0:  # every value lies within the tube: a constant
            used, dual = np.array([0]), np.zeros(1)
        self.rows_, self.dual_ = np.ascontiguousarray(X[used]), dual * unit
        self.intercept_ = float(machine.intercept_[0]) * unit + middle

    def _value(self, X: np.ndarray) -> np.ndarray:
        return gaussian(squared_distances(X, self.rows_), self.gamma_) @ self.dual_ + self.intercept_


def calibrate(F: np.ndarray, codes: np.ndarray, pull: float = 1.0) -> tuple[float, np.ndarray]:
    """(slope, bias `[C]`) of `softmax(slope * F + bias)` for decisions F `[n, C]` on rows unseen by the machine.

    Newton on the cross-entropy with Platt's smoothed targets plus `pull / 2 * |bias|^2`; slope >= 0.
    """
    n, C = F.shape
    counts = np.bincount(codes, minlength=C)
    own = (counts + 1.0) / (counts + 2.0)
    targets = np.empty((C, C))
    for c in range(C):
        others = np.where(np.arange(C) == c, 0, counts + 1e-9)
        targets[c] = (1 - own[c]) * others / others.sum()
        targets[c, c] = own[c]
    T = targets[codes]
    theta = np.append(1.0, np.zeros(C))
    penalty = np.append(1e-3, np.full(C, pull))

    def value(theta: np.ndarray) -> float:
        return float(-(T * log_softmax(theta[0] * F + theta[1:], axis=1)).sum() + 0.5 * penalty @ theta**2)

    now = value(theta)
    for _ in range(50):
        P = softmax(theta[0] * F + theta[1:])
        miss = P - T
        gradient = np.append((miss * F).sum(), miss.sum(0)) + penalty * theta
        PF = P * F
        H = np.zeros((C + 1, C + 1))
        H[0, 0] = (PF * F).sum() - (PF.sum(1) ** 2).sum()
        H[0, 1:] = H[1:, 0] = PF.sum(0) - P.T @ PF.sum(1)
        H[1:, 1:] = np.diag(P.sum(0)) - P.T @ P
        step = np.linalg.solve(H + np.diag(penalty), gradient)
        size = 1.0
        while size > 1e-6 and value(theta - size * step) > now - 1e-4 * size * (gradient @ step):
            size /= 2
        if size <= 1e-6:
            break
        theta = theta - size * step
        now = value(theta)
        if gradient @ step < 1e-10 * max(1.0, now):
            break
    return float(max(theta[0], 0.0)), theta[1:]


def _loss(F: np.ndarray, codes: np.ndarray, slope: float, bias: np.ndarray) -> float:
    return float(-np.log(np.maximum(softmax(slope * F + bias)[np.arange(len(codes)), codes], 1e-12)).mean())


def _sides(codes: np.ndarray, C: int) -> np.ndarray:
    """Targets -1, 1 `[n, K]`, one column a class, one in all for two classes."""
    return np.where(codes[:, None] == (np.arange(C) if C > 2 else np.array([1])), 1, -1)


def _columns(F: np.ndarray) -> np.ndarray:
    """One column a class, also for two: the second's decision, and its negative."""
    return np.hstack([-F, F]) / 2 if F.shape[1] == 1 else F


Floats = tuple[float, ...]


def _grid(config: SVMConfig, far: np.ndarray, cs: Floats, widths: Floats) -> list[tuple[float, float]]:
    unit = median_distance(far)
    gammas = [config.gamma] if config.gamma else [w / unit for w in widths]
    return [(float(C), float(g)) for g in gammas for C in ([config.C] if config.C else cs)]


def _sample(n: int, seed: int) -> np.ndarray:
    return np.sort(np.random.default_rng(seed).permutation(n)[:MAX_JUDGED])


def _cut(kernel: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(kernel[np.ix_(rows, columns)])


def _out_of_fold(kernel: np.ndarray, sides: np.ndarray, fold: np.ndarray, C: float) -> np.ndarray:
    """Decisions `[n, K]` of machines that did not see the row; -1 where the others have no row of the class."""
    from sklearn.svm import SVC

    F = np.empty(sides.shape)
    for f in np.unique(fold):
        out = fold == f
        inside, across = _cut(kernel, ~out, ~out), _cut(kernel, out, ~out)
        for c in range(sides.shape[1]):
            side = sides[~out, c]
            if len(side) == 0 or (side == side[0]).all():
                F[out, c] = side[0] if len(side) else -1
                continue
            machine = SVC(C=C, kernel="precomputed").fit(inside, side)
            F[out, c] = across[:, machine.support_] @ machine.dual_coef_[0] + machine.intercept_[0]
    return F


CLASSIFIER = SVMClassifier
REGRESSOR = SVMRegressor
