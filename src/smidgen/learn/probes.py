"""Generative or discriminative probe (Zheng et al., 2023; paper 035): picked by cross-validation, with diagnostics.

On frozen features, naive Bayes needs about log(n) labels for n features to come near its own best, logistic
regression about n; in the long run logistic regression is at least as good. So with few labels the first may win, and
with many the second: two regimes. How far features are from naive Bayes's assumptions is what the diagnostics measure.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import ndtr
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from smidgen.kit.errors import bad
from smidgen.learn.base import ClassifierHead, softmax
from smidgen.learn.inner import inner_folds
from smidgen.learn.logistic import LogisticClassifier
from smidgen.learn.naive_bayes import SharedVarianceGaussianNB


class SwitchingProbe(ClassifierMixin, BaseEstimator):
    """Fits the one of a few probes whose cross-validated log loss is lowest; of equals, the first.

    Args:
        estimators: classifiers with `predict_proba`; None: the naive Bayes head and logistic regression.
        cv: folds, >= 2, stratified; fewer where there are fewer rows.

    Attributes:
        best_: number of the probe chosen. losses_ `[probes]`: mean log loss out of fold, a class that a fold's training
        part lacks counted as probability 1e-6. estimator_: the chosen probe, fitted on all rows.
    """

    def __init__(self, estimators: tuple | None = None, cv: int = 5, random_state: int = 0):
        self.estimators = estimators
        self.cv = cv
        self.random_state = random_state

    def fit(self, X: Any, y: Any) -> "SwitchingProbe":
        """Fits on X `[m, n]` and y `[m]`. Raises BadInput: fewer than 2 folds; ValueError: fewer than 2 classes."""
        if self.cv < 2:
            raise bad("cv", "at least 2 folds", self.cv)
        X, y = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError("SwitchingProbe needs at least 2 classes; the data has only one class.")
        probes = self.estimators or (SharedVarianceGaussianNB(), LogisticClassifier())
        fold = inner_folds(codes, min(self.cv, len(y)), self.random_state)
        self.losses_ = np.array([self._loss(probe, X, codes, fold) for probe in probes])
        self.best_ = int(np.argmin(self.losses_))
        chosen: Any = clone(probes[self.best_])
        self.estimator_ = chosen.fit(X, y)
        return self

    def _loss(self, probe: Any, X: np.ndarray, codes: np.ndarray, fold: np.ndarray) -> float:
        chance = np.full(len(codes), 1e-6)
        for f in np.unique(fold):
            out = np.flatnonzero(fold == f)
            known = np.unique(codes[fold != f])
            if len(known) < 2:
                continue
            part: Any = clone(probe)
            P = part.fit(X[fold != f], codes[fold != f]).predict_proba(X[out])
            seen = np.isin(codes[out], known)
            chance[out[seen]] = P[seen, np.searchsorted(known, codes[out[seen]])]
        return float(-np.log(np.maximum(chance, 1e-6)).mean())

    def predict_proba(self, X: Any) -> np.ndarray:
        """The chosen probe's probabilities `[m, classes]`."""
        check_is_fitted(self)
        return self.estimator_.predict_proba(validate_data(self, X, reset=False, dtype=np.float64))

    def predict(self, X: Any) -> np.ndarray:
        """The likeliest class of each row."""
        best = self.predict_proba(X).argmax(1)
        return self.classes_[best]


@dataclass(frozen=True, kw_only=True)
class SGDProbeConfig:
    """Settings of the probe by stochastic gradient; the paper's for contrastive features."""

    rate: float = 30.0  # learning rate, > 0; made for features of about unit norm a row
    momentum: float = 0.9  # in [0, 1)
    epochs: int = 100  # >= 1
    drops: tuple[int, ...] = (60, 80)  # epochs from which the rate is a tenth of what it was
    batch: int = 256  # rows a step, >= 1

    def __post_init__(self):
        if not self.rate > 0:
            raise bad("rate", "> 0", self.rate)
        if not 0 <= self.momentum < 1:
            raise bad("momentum", "in [0, 1)", self.momentum)
        for name in ("epochs", "batch"):
            if getattr(self, name) < 1:
                raise bad(name, "at least 1", getattr(self, name))


class SGDProbe(ClassifierHead):
    """Logistic regression without penalty by momentum SGD: the paper's other solver, usual for contrastive features.

    It ends after the last epoch; the authors' code reports the epoch of least test error, which flatters it.

    Attributes:
        coef_ `[K, n]`, intercept_ `[K]`: `predict_proba(X)` is `softmax(X @ coef_.T + intercept_)`, for K = 2 too.
    """

    Config = SGDProbeConfig

    def __init__(
        self,
        rate: float = 30.0,
        momentum: float = 0.9,
        epochs: int = 100,
        drops: tuple[int, ...] = (60, 80),
        batch: int = 256,
        random_state: int = 0,
    ):
        self.rate = rate
        self.momentum = momentum
        self.epochs = epochs
        self.drops = drops
        self.batch = batch
        self.random_state = random_state

    def _fit(self, X: np.ndarray, codes: np.ndarray) -> None:
        config, rng = self._config, np.random.default_rng(self.random_state)
        X1, Y = np.hstack([X, np.ones((len(X), 1))]), np.eye(len(self.classes_))[codes]
        W = rng.normal(scale=0.01, size=(Y.shape[1], X1.shape[1]))
        W[:, -1] = 0
        velocity = np.zeros_like(W)
        for epoch in range(config.epochs):
            rate = config.rate * 0.1 ** sum(epoch >= drop for drop in config.drops)
            order = rng.permutation(len(X))
            for start in range(0, len(X), config.batch):
                rows = order[start : start + config.batch]
                miss = softmax(X1[rows] @ W.T) - Y[rows]
                velocity = config.momentum * velocity + miss.T @ X1[rows] / len(rows)
                W = W - rate * velocity
        self.coef_, self.intercept_ = W[:, :-1].copy(), W[:, -1].copy()

    def _proba(self, X: np.ndarray) -> np.ndarray:
        return softmax(X @ self.coef_.T + self.intercept_)


def feature_correlation(X: Any, y: Any) -> float:
    """Mean absolute correlation of two different features within classes, in [0, 1]: 0 is what naive Bayes assumes.

    Features constant within classes have no correlation and are left out; NaN where fewer than two remain.
    """
    X, codes = np.asarray(X, np.float64), np.unique(np.asarray(y), return_inverse=True)[1]
    within = X - _class_means(X, codes)[codes]
    within = within[:, within.std(0) > 1e-12 * np.maximum(X.std(0), 1e-300)]
    if within.shape[1] < 2:
        return float("nan")
    unit = within / np.sqrt((within**2).sum(0))
    apart = np.abs(unit.T @ unit)[np.triu_indices(unit.shape[1], 1)]
    return float(np.minimum(apart, 1).mean())


def gaussian_divergence(X: Any, y: Any, bins: int = 10) -> float:
    """Mean KL divergence, in nats, of class-feature histograms from the Gaussian of the same mean and variance; >= 0.

    Bins are equally likely under that Gaussian, so that none is empty in expectation. A class-feature pair with fewer
    than `2 * bins` rows, or no spread, says nothing and is left out; NaN where none remains. Finite samples alone give
    about `(bins - 1) / (2 * rows)`.
    """
    if bins < 2:
        raise bad("bins", "at least 2", bins)
    X, codes = np.asarray(X, np.float64), np.unique(np.asarray(y), return_inverse=True)[1]
    found = []
    for c in range(codes.max() + 1):
        part = X[codes == c]
        if len(part) < 2 * bins:
            continue
        spread = part.std(0)
        part = part[:, spread > 0]
        places = np.minimum((ndtr((part - part.mean(0)) / part.std(0)) * bins).astype(int), bins - 1)
        for j in range(part.shape[1]):
            share = np.bincount(places[:, j], minlength=bins) / len(part)
            share = share[share > 0]
            found.append(float((share * np.log(share * bins)).sum()))
    return float(np.mean(found)) if found else float("nan")


def _class_means(X: np.ndarray, codes: np.ndarray) -> np.ndarray:
    return np.stack([X[codes == c].mean(0) for c in range(codes.max() + 1)])
