"""Classifiers that tell the rows of a class from artificial negatives: a kernel one, and a cover for those that are
sure far from all data.

The published backbone is TabPFN, a pretrained network that reads the rows in one pass. Any other can be handed in; the
kernel one stands in where there is none. It has what the method needs of it: sure near the rows, undecided far away.

Dims: N rows asked about, M rows fitted, D features.
"""

import copy
from typing import Any

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.spatial.distance import cdist, pdist

from smidgen.data.tabebm.energy import LEAST
from smidgen.kit.config import nearest
from smidgen.kit.errors import BadInput, bad


class KernelClassifier:
    """Kernel ridge regression on +1 (class 0) and -1 (class 1), without intercept: logits (f, -f) times a scale, with

        f(x) = sum_i a_i exp(-|x - x_i|^2 / (2 h^2)),   (K + ridge I) a = +-1.

    Its energy -log 2 cosh(scale f) lies between that of f at the rows and, far from all of them, -log 2.

    Args:
        ridge: > 0; keeps the few rows of a class, nearly alike, from a singular kernel.
        scale: > 0; 1 says 88 % of a row that is met exactly.
        bandwidth: h; None: the median distance between rows of class 0, or between all where it has one only. The
            negatives have no part in it: with few rows they would be most of the pairs, and h their distance.
    """

    def __init__(self, ridge: float = 0.1, scale: float = 1.0, bandwidth: float | None = None) -> None:
        for name, value in (("ridge", ridge), ("scale", scale), ("bandwidth", bandwidth)):
            if value is not None and not value > 0:
                raise bad(name, "above 0", value)
        self.ridge, self.scale, self.bandwidth = ridge, scale, bandwidth

    def fit(self, X: np.ndarray, y: np.ndarray) -> "KernelClassifier":
        """X `[M, D]`, y `[M]` of 0 and 1."""
        self.rows_MD, y = np.array(X, float), np.asarray(y)
        self.width = self.bandwidth or median_distance(self.rows_MD, y)
        K = self._kernel(self.rows_MD)
        K[np.diag_indices(len(K))] += self.ridge
        self.weight_M = cho_solve(cho_factor(K, lower=True), 1.0 - 2.0 * y)
        self._pull_MD = self.weight_M[:, None] * self.rows_MD
        return self

    def logits(self, X: np.ndarray) -> np.ndarray:
        """`[N, 2]`."""
        f_N = self.scale * (self._kernel(X) @ self.weight_M)
        return np.stack([f_N, -f_N], 1)

    def value(self, x_ND: np.ndarray) -> np.ndarray:
        """The energy, see `energy.Energy`."""
        f_N = self.scale * (self._kernel(x_ND) @ self.weight_M)
        return -np.logaddexp(f_N, -f_N)

    def value_and_gradient(self, x_ND: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The energy and its gradient, in closed form."""
        K_NM = self._kernel(x_ND)
        f_N = K_NM @ self.weight_M
        slope_ND = (K_NM @ self._pull_MD - f_N[:, None] * x_ND) / self.width**2
        s_N = self.scale * f_N
        return -np.logaddexp(s_N, -s_N), -self.scale * np.tanh(s_N)[:, None] * slope_ND

    def _kernel(self, x_ND: np.ndarray) -> np.ndarray:
        return np.exp(-0.5 / self.width**2 * cdist(x_ND, self.rows_MD, "sqeuclidean"))


class Faded:
    """Another classifier's log odds, fading to 0 away from the rows that it was fitted to: multiplied by
    exp(-r^2 / (2 h^2)), r the distance to the nearest of them.

    With it linear models, networks and whatever else is sure far from all data can serve as backbone.

    Args:
        model: with `fit(X, y)` and `predict_proba`, for two classes. A copy is fitted.
        bandwidth: h; None: as of `KernelClassifier`.
    """

    def __init__(self, model: Any, bandwidth: float | None = None) -> None:
        if not (hasattr(model, "fit") and hasattr(model, "predict_proba")):
            raise bad("model", "a classifier with fit and predict_proba", type(model).__name__)
        if bandwidth is not None and not bandwidth > 0:
            raise bad("bandwidth", "above 0", bandwidth)
        self.model, self.bandwidth = model, bandwidth

    def fit(self, X: np.ndarray, y: np.ndarray) -> "Faded":
        """X `[M, D]`, y `[M]` of 0 and 1."""
        self.rows_MD = np.array(X, float)
        self.width = self.bandwidth or median_distance(self.rows_MD, np.asarray(y))
        self.fitted = new_model(self.model)
        self.fitted.fit(X, y)
        return self

    def logits(self, X: np.ndarray) -> np.ndarray:
        """`[N, 2]`, of sum 0."""
        log_N2 = np.log(np.maximum(np.asarray(self.fitted.predict_proba(X), float), LEAST))
        nearest_N = cdist(X, self.rows_MD, "sqeuclidean").min(1)
        return np.exp(-0.5 / self.width**2 * nearest_N)[:, None] * (log_N2 - log_N2.mean(1, keepdims=True))


def new_model(backbone: Any) -> Any:
    """A classifier of one's own that was fitted to nothing: "kernel", what a class or function makes, or a copy.

    Raises:
        BadInput: another name, or something without `fit`.
    """
    if isinstance(backbone, str):
        if backbone != "kernel":
            raise BadInput(f"backbone: there is no '{backbone}'. {nearest(backbone, ['kernel'])} Or give a classifier.")
        return KernelClassifier()
    if hasattr(backbone, "get_params") and not isinstance(backbone, type):
        from sklearn.base import clone

        return clone(backbone)
    made = copy.deepcopy(backbone) if hasattr(backbone, "fit") and not isinstance(backbone, type) else None
    if made is None and callable(backbone):
        made = backbone()
    if not hasattr(made, "fit"):
        raise bad("backbone", "'kernel', a classifier, or what makes one", type(backbone).__name__)
    return made


def median_distance(rows_MD: np.ndarray, y: np.ndarray) -> float:
    """Median distance between different rows of class 0; of all rows where it has no two; 1 where all are alike."""
    for chosen in (rows_MD[y == 0], rows_MD):
        apart = pdist(chosen) if len(chosen) > 1 else np.zeros(0)
        if (apart > 0).any():
            return float(np.median(apart[apart > 0]))
    return 1.0
