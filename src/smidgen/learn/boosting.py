"""Gradient boosting (Friedman, 2001) with scikit-learn's histograms, set for few rows.

Short steps, small trees, strong shrinkage of the leaves, and each cut chooses from a few features only; the number of
steps is fixed, since on few rows a held-out part costs more than it tells. Kept as plain arrays.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from smidgen.kit.errors import bad
from smidgen.learn import _trees
from smidgen.learn.base import ClassifierHead, RegressorHead, softmax

CARD = {
    "title": "Gradient boosting",
    "tldr": "Small trees that correct each other, in short steps, with strong shrinkage.",
    "features": "tree",
    "max_classes": 30,
    "max_features": 2000,
    "seconds": (0.08, 3.0, 0.0, 0.1),
}


@dataclass(frozen=True, kw_only=True)
class BoostingConfig:
    """steps: trees (for each class, above two). rate: share of each tree that is added. leaves, min_leaf: leaves of a
    tree and rows of a leaf. l2: added to the second derivatives of a leaf, which are at most 1/4 a row for classes.
    max_features: share of the features that each cut may choose from; None: 0.1 for classes, 0.4 for values."""

    steps: int = 150
    rate: float = 0.1
    leaves: int = 5
    min_leaf: int = 4
    l2: float = 5.0
    max_features: float | None = None

    def __post_init__(self):
        check_boosting(self)


def check_boosting(config: Any) -> None:
    """Raises BadInput for settings that no boosting here can have."""
    for name, low, high in (
        ("steps", 1, 10_000),
        ("rate", 1e-6, 1),
        ("leaves", 2, 256),
        ("min_leaf", 1, np.inf),
        ("l2", 0, np.inf),
        ("max_features", 1e-6, 1),
    ):
        value = getattr(config, name)
        if value is not None and not low <= value <= high:
            raise bad(name, f"{low} to {high}", value)


class _Boosting:
    """What classes and values share: fitting scikit-learn's estimator, and adding up the trees."""

    random_state: int

    def _grow(self, kind: type, share: float, X: np.ndarray, y: np.ndarray) -> None:
        config = self._config  # type: ignore[attr-defined]
        # Few rows have few distinct numbers: coarse bins are faster, and were no worse.
        model = kind(
            max_iter=config.steps,
            learning_rate=config.rate,
            max_leaf_nodes=config.leaves,
            min_samples_leaf=min(config.min_leaf, max(1, len(X) // 4)),
            l2_regularization=config.l2,
            max_features=config.max_features or share,
            max_bins=int(np.clip(len(X) // 8, 32, 255)),
            early_stopping=False,
            random_state=self.random_state,
        )
        with threadpool_limits(1, user_api="openmp"):
            model.fit(X, y)
        self.trees_ = from_histogram_boosting(model)
        self.baseline_ = np.array(model._baseline_prediction, np.float64).ravel()

    def _scores(self, X: np.ndarray) -> np.ndarray:
        """`[rows, 1]` for two classes and for values, else `[rows, classes]`."""
        return self.baseline_ + _trees.total(self.trees_, X, single=False, turns=len(self.baseline_))


class BoostingClassifier(_Boosting, ClassifierHead):
    """Probabilities: the logistic function, or the softmax, of the summed trees."""

    Config = BoostingConfig

    def __init__(
        self,
        steps: int = 150,
        rate: float = 0.1,
        leaves: int = 5,
        min_leaf: int = 4,
        l2: float = 5.0,
        max_features: float | None = None,
        random_state: int = 0,
    ):
        self.steps = steps
        self.rate = rate
        self.leaves = leaves
        self.min_leaf = min_leaf
        self.l2 = l2
        self.max_features = max_features
        self.random_state = random_state

    def _fit(self, X, codes):
        from sklearn.ensemble import HistGradientBoostingClassifier

        self._grow(HistGradientBoostingClassifier, 0.1, X, codes)

    def _proba(self, X):
        return probabilities(self._scores(X))

    @classmethod
    def from_state(cls, state):
        made = super().from_state(state)
        classes = _trees.class_count(made)
        turns = 1 if classes == 2 else classes
        return _trees.loaded(made, values=1, turns=turns, baseline_=turns)


class BoostingRegressor(_Boosting, RegressorHead):
    """Values: the summed trees."""

    Config = BoostingConfig

    def __init__(
        self,
        steps: int = 150,
        rate: float = 0.1,
        leaves: int = 5,
        min_leaf: int = 4,
        l2: float = 5.0,
        max_features: float | None = None,
        random_state: int = 0,
    ):
        self.steps = steps
        self.rate = rate
        self.leaves = leaves
        self.min_leaf = min_leaf
        self.l2 = l2
        self.max_features = max_features
        self.random_state = random_state

    def _fit(self, X, y):
        from sklearn.ensemble import HistGradientBoostingRegressor

        self._grow(HistGradientBoostingRegressor, 0.4, X, y)

    def _value(self, X):
        return self._scores(X)[:, 0]

    @classmethod
    def from_state(cls, state):
        return _trees.loaded(super().from_state(state), values=1, baseline_=1)


def from_histogram_boosting(model: Any) -> _trees.Trees:
    """The trees of a fitted HistGradientBoosting estimator on numeric features; those of one step lie side by side."""
    return _trees.join(
        _trees.Tree(
            np.where(tree.nodes["is_leaf"], -1, tree.nodes["feature_idx"]),
            tree.nodes["num_threshold"],
            tree.nodes["left"],
            tree.nodes["right"],
            tree.nodes["value"][:, None],
        )
        for step in model._predictors
        for tree in step
    )


def probabilities(scores: np.ndarray) -> np.ndarray:
    """`[rows, classes]` from summed scores: one column is the log odds of the second of two classes."""
    return softmax(np.hstack([np.zeros_like(scores), scores]) if scores.shape[1] == 1 else scores)


CLASSIFIER, REGRESSOR = BoostingClassifier, BoostingRegressor
