"""The multi-class naive Bayes head with one variance a feature, shared by all classes (Zheng et al., 2023; paper 035).

`log prior_k - 1/2 sum_j (x_j - mu_kj)^2 / s_j^2`, `s_j^2 = sum_k prior_k Var_k(x_j) + smoothing`: the log determinant
is the same for all classes and cancels, so the head is linear: `w_kj = mu_kj / s_j^2`. It learns in one pass, exactly
in parts (`partial_fit`): counts, means and sums of squares merge (Chan et al., 1983).
Dims: m rows, n features, K classes, as in the paper.

Min-max scaling, which the paper puts before it, changes nothing in such a head but the size of the smoothing; so the
head keeps raw units, and the smoothing is multiplied by the squared range of each feature.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy.special import log_softmax
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import validate_data

from smidgen.kit.errors import BadInput, bad
from smidgen.learn.base import ClassifierHead
from smidgen.learn.temper import temper as best_exponent

CARD = {
    "title": "Naive Bayes head",
    "tldr": "Class means and one variance a feature, in one pass; made for a handful of labels and good features.",
    "tasks": ("classification",),
    "features": "linear",
    "seconds": (0.005, 0.002),
    "papers": ("035",),
}


@dataclass(frozen=True, kw_only=True)
class NaiveBayesConfig:
    """Settings of the naive Bayes head; without `temper` it is the paper's."""

    var_smoothing: float = 1e-9  # added to each variance, >= 0
    scale: Literal["minmax", "none"] = "minmax"  # units of the smoothing: squared range of each feature, or raw
    var_floor: float = 1e-3  # a variance is at least this share of the feature's total variance, >= 0
    temper: bool = True  # one exponent on the log-likelihood, by left-out log loss

    def __post_init__(self):
        for name in ("var_smoothing", "var_floor"):
            if not getattr(self, name) >= 0:
                raise bad(name, ">= 0", getattr(self, name))


class SharedVarianceGaussianNB(ClassifierHead):
    """Naive Bayes with class-shared variances, as published; learns in parts.

    A variance of exactly 0 happens with one row a class, or a feature constant within classes: `var_floor` holds it at
    a share of the total variance. A feature constant in all rows has equal means, and no say.

    Attributes:
        class_count_ `[K]`, theta_ `[K, n]` means, ssd_ `[K, n]` sums of squared deviations, low_, high_ `[n]` range:
        what was learned, in raw units. class_prior_ `[K]`, var_ `[n]`: from these. exponent_: 1 unless tempered.
    """

    Config = NaiveBayesConfig

    def __init__(
        self,
        var_smoothing: float = 1e-9,
        scale: str = "minmax",
        var_floor: float = 1e-3,
        temper: bool = False,
        random_state: int = 0,
    ):
        self.var_smoothing = var_smoothing
        self.scale = scale
        self.var_floor = var_floor
        self.temper = temper
        self.random_state = random_state

    def _fit(self, X: np.ndarray, codes: np.ndarray) -> None:
        self._forget(X.shape[1])
        self._merge(X, codes)
        self._finish(self._config)
        if self._config.temper:
            self.exponent_ = self._exponent(X, codes)

    def partial_fit(self, X: Any, y: Any, classes: Any = None) -> "SharedVarianceGaussianNB":
        """Learns more rows; the result is that of one `fit` on all rows so far (with exponent 1).

        Args:
            classes: all classes to come, at the first call; by default those in the first y.
        Raises:
            BadInput: a class that was not announced, or fewer than 2 classes.
        """
        config = self.config()
        first = not hasattr(self, "classes_")
        X, y = validate_data(self, X, y, dtype=np.float64, reset=first)
        check_classification_targets(y)
        if first:
            self.classes_ = np.unique(y if classes is None else classes)
            if len(self.classes_) < 2:
                raise bad("classes", "at least 2 classes", len(self.classes_), "Name all classes at the first call.")
            self._forget(X.shape[1])
        codes = np.searchsorted(self.classes_, y)
        known = self.classes_[np.minimum(codes, len(self.classes_) - 1)] == y
        if not known.all():
            raise bad("y", "classes named at the first call", repr(y[~known][0]), "Fit anew with all classes.")
        self._merge(X, codes)
        self._finish(config)
        return self

    def linear_head(self) -> tuple[np.ndarray, np.ndarray]:
        """(W `[K, n]`, b `[K]`): `softmax(X @ W.T + b)` is `predict_proba(X)`, for deployment as a linear layer."""
        if (self.class_count_ == 0).any():
            lacking = self.classes_[self.class_count_ == 0].tolist()
            raise BadInput(f"These classes have no example yet: {lacking}. Give some to partial_fit, or fit anew.")
        W = self.exponent_ * self.theta_ / self.var_
        return W, np.log(self.class_prior_) - 0.5 * (W * self.theta_).sum(1)

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Log probabilities `[m, K]`: finite also where a probability is 0 in float64."""
        X = self._check_X(X)
        W, b = self.linear_head()
        return log_softmax(X @ W.T + b, axis=1)

    def _proba(self, X: np.ndarray) -> np.ndarray:
        W, b = self.linear_head()
        return np.exp(log_softmax(X @ W.T + b, axis=1))

    def _forget(self, features: int) -> None:
        K = len(self.classes_)
        self.class_count_ = np.zeros(K)
        self.theta_, self.ssd_ = np.zeros((K, features)), np.zeros((K, features))
        self.low_, self.high_ = np.full(features, np.inf), np.full(features, -np.inf)

    def _merge(self, X: np.ndarray, codes: np.ndarray) -> None:
        self.low_, self.high_ = np.minimum(self.low_, X.min(0)), np.maximum(self.high_, X.max(0))
        for k in np.unique(codes):
            part = X[codes == k]
            old, new = self.class_count_[k], len(part)
            mean = part.mean(0)
            shift = mean - self.theta_[k]
            self.ssd_[k] += ((part - mean) ** 2).sum(0) + old * new / (old + new) * shift**2
            self.theta_[k] += shift * new / (old + new)
            self.class_count_[k] += new

    def _finish(self, config: NaiveBayesConfig) -> None:
        m = self.class_count_.sum()
        self.class_prior_ = self.class_count_ / m
        self.exponent_ = 1.0
        self.smoothing_, self.floor_ = self._least(config)
        self.var_ = self._variance(self.ssd_.sum(0) / m)

    def _least(self, config: NaiveBayesConfig) -> tuple[np.ndarray, np.ndarray]:
        """What is added to a variance, and what it is at least, `[n]` both."""
        unit = (self.high_ - self.low_) ** 2 if config.scale == "minmax" else np.ones_like(self.low_)
        mean = self.class_prior_ @ self.theta_
        total = self.ssd_.sum(0) / self.class_count_.sum() + self.class_prior_ @ (self.theta_ - mean) ** 2
        return config.var_smoothing * unit, config.var_floor * total

    def _variance(self, within: np.ndarray) -> np.ndarray:
        variance = np.maximum(within + self.smoothing_, self.floor_)
        return np.where(variance > 0, variance, 1.0)  # 0: constant feature, equal means: any number serves

    def _exponent(self, X: np.ndarray, codes: np.ndarray) -> float:
        scores = self.left_out(X, codes)
        prior = np.log(self.class_prior_)
        repeated = self.class_count_[codes] > 1
        if repeated.sum() >= 4:
            return best_exponent(prior, scores[repeated], codes[repeated], high=1.0)
        # one row a class says nothing of its sureness: let differences between classes be of the order of one
        return float(min(1.0, 1 / max(float((scores - scores.mean(1, keepdims=True)).std()), 1e-12)))

    def left_out(self, X: np.ndarray, codes: np.ndarray) -> np.ndarray:
        """Log-likelihoods `[m, K]` of training rows, each under the head learned without it (single rows: with it).

        Smoothing and floor stay those of all rows.
        """
        m, count = self.class_count_.sum(), self.class_count_[codes]
        ratio = np.where(count > 1, count / np.maximum(count - 1, 1), 1.0)[:, None]
        apart = (X - self.theta_[codes]) ** 2
        variance = self._variance(np.maximum(self.ssd_.sum(0) - ratio * apart, 0) / max(m - 1, 1))
        scores = np.empty((len(X), len(self.classes_)))
        for k in range(len(self.classes_)):
            scores[:, k] = -0.5 * ((X - self.theta_[k]) ** 2 / variance).sum(1)
        scores[np.arange(len(X)), codes] = -0.5 * (ratio**2 * apart / variance).sum(1)
        return scores


class NaiveBayesClassifier(SharedVarianceGaussianNB):
    """The same head with its sureness tempered, as a method of the main job."""

    def __init__(
        self,
        var_smoothing: float = 1e-9,
        scale: str = "minmax",
        var_floor: float = 1e-3,
        temper: bool = True,
        random_state: int = 0,
    ):
        super().__init__(var_smoothing, scale, var_floor, temper, random_state)


CLASSIFIER = NaiveBayesClassifier
