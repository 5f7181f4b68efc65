"""What every estimator here shares: settings checked by its dataclass, fitted state as plain arrays.

An estimator keeps all that it learned in attributes ending in `_` that are arrays, numbers, text, or lists and
dictionaries of those. So each one saves itself without a line of its own, and loading builds nothing but arrays.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_consistent_length, check_is_fitted, column_or_1d, validate_data

from smidgen.kit.config import from_mapping
from smidgen.kit.errors import bad


@dataclass(frozen=True, kw_only=True)
class NoConfig:
    """A method without settings."""


class Head(BaseEstimator):
    """Base of the estimators on matrices `[rows, features]` of finite numbers."""

    Config: ClassVar[type] = NoConfig
    takes_sparse: ClassVar[bool] = False

    def config(self) -> Any:
        """The settings, checked: raises BadInput on a wrong one. `random_state` is not part of it."""
        values = self.get_params(deep=False)
        values.pop("random_state", None)
        return from_mapping(self.Config, values, where=type(self).__name__)

    def get_state(self) -> dict[str, Any]:
        """Parameters and everything learned, as plain data (see `kit.state`)."""
        check_is_fitted(self)
        learned = {k: v for k, v in vars(self).items() if k.endswith("_") and not k.startswith("_")}
        learned.pop("feature_names_in_", None)
        return {"params": self.get_params(deep=False), "learned": learned}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> "Head":
        """The estimator that `get_state` described."""
        known = cls._get_param_names()
        made = cls(**{k: v for k, v in state["params"].items() if k in known})
        for name, value in state["learned"].items():
            if not name.endswith("_") or name.startswith("_"):
                raise bad("learned attribute", "a name ending in _", name)
            setattr(made, name, value)
        return made

    def _check_X(self, X: Any) -> np.ndarray:
        check_is_fitted(self)
        kinds = "csr" if self.takes_sparse else False
        checked: Any = validate_data(self, X, reset=False, dtype=np.float64, accept_sparse=kinds)
        return checked

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = self.takes_sparse
        return tags


class ClassifierHead(ClassifierMixin, Head):
    """A classifier: subclasses give `_fit(X, codes, weights)` and `_proba(X)`; here are the checks and the decoding."""

    def fit(self, X: Any, y: Any) -> "ClassifierHead":
        """Fits on X `[rows, features]` (finite) and y `[rows]` of at least two classes."""
        self._config = self.config()
        X, y = validate_data(self, X, y, dtype=np.float64, accept_sparse="csr" if self.takes_sparse else False)
        check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(
                f"{type(self).__name__} needs at least 2 classes; the data has only one class, {self.classes_[0]!r}."
            )
        self._fit(X, codes)
        del self._config
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities `[rows, classes]`, float64, rows sum to 1, in the order of `classes_`."""
        return self._proba(self._check_X(X))

    def predict(self, X: Any) -> np.ndarray:
        best = self.predict_proba(X).argmax(1)  # first: it says so when the estimator is not fitted
        return self.classes_[best]

    def _fit(self, X: np.ndarray, codes: np.ndarray) -> None:
        raise NotImplementedError

    def _proba(self, X: np.ndarray) -> np.ndarray:
        raise NotImplementedError


class SemiSupervisedHead(ClassifierHead):
    """A classifier that also learns from rows without a label: subclasses give `_fit(X, codes)`, where the code of such
    a row is -1, and `_proba(X)`."""

    def fit(self, X: Any, y: Any) -> "SemiSupervisedHead":
        """Fits on X `[rows, features]` (finite) and y `[rows]`: at least two classes; -1 (of labels that are texts:
        None) marks rows without a label, as in scikit-learn's `semi_supervised`."""
        self._config = self.config()
        if y is None:
            raise ValueError(f"{type(self).__name__} requires y to be passed, but the target y is None.")
        y = column_or_1d(np.asarray(y), warn=True)
        if y.dtype.kind in "OUS":
            bare = np.array(
                [v is None or v is pd.NA or v != v or (not isinstance(v, str) and v == -1) for v in y], bool
            )
        else:
            bare = y == -1
        X = validate_data(self, X, dtype=np.float64, accept_sparse="csr" if self.takes_sparse else False)
        check_consistent_length(X, y)
        known = np.array(y[~bare].tolist())
        check_classification_targets(known)
        self.classes_, codes = np.unique(known, return_inverse=True)
        if len(self.classes_) < 2:
            hint = " (-1 means that a row has no label)" if bare.any() else ""
            raise ValueError(
                f"{type(self).__name__} needs at least 2 classes; the data has only one class, "
                f"{self.classes_.tolist()}{hint}."
            )
        every = np.full(len(y), -1)
        every[~bare] = codes
        self._fit(X, every)
        del self._config
        return self


class RegressorHead(RegressorMixin, Head):
    """A regressor: subclasses give `_fit(X, y)` and `_value(X)`."""

    def fit(self, X: Any, y: Any) -> "RegressorHead":
        """Fits on X `[rows, features]` and y `[rows]`, both finite."""
        self._config = self.config()
        X, y = validate_data(
            self, X, y, dtype=np.float64, y_numeric=True, accept_sparse="csr" if self.takes_sparse else False
        )
        self._fit(X, np.asarray(y, np.float64))
        del self._config
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Values `[rows]`, float64."""
        return self._value(self._check_X(X))

    def _fit(self, X: np.ndarray, y: np.ndarray) -> None:
        raise NotImplementedError

    def _value(self, X: np.ndarray) -> np.ndarray:
        raise NotImplementedError


def softmax(scores: np.ndarray) -> np.ndarray:
    """Rows of scores `[rows, classes]` to probabilities, without overflow."""
    exps = np.exp(scores - scores.max(1, keepdims=True))
    return exps / exps.sum(1, keepdims=True)
