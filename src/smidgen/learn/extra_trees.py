"""Extremely randomised trees (Geurts, Ernst and Wehenkel, 2006): every tree sees all rows, and cuts at random places.

With few rows a tree that searches for the best cut finds accidents; random cuts do not, and each tree keeps all the
rows there are. Fully grown, with a little weight on the class frequencies so that no probability is 0.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from smidgen.kit.errors import bad
from smidgen.learn import _trees
from smidgen.learn.base import ClassifierHead, RegressorHead
from smidgen.learn.forest import check_settings

CARD = {
    "title": "Extra trees",
    "tldr": "Trees with random cuts on all rows, averaged: often the best tree method on few rows.",
    "features": "tree",
    "seconds": (0.12, 0.15, 0.0, 0.2),
    "bytes_per_row": 150.0,
}


@dataclass(frozen=True, kw_only=True)
class ExtraTreesConfig:
    """trees, min_leaf: as in a forest. max_features: share of the features that each cut may choose from, or "sqrt";
    None: 0.5 for classes, 0.75 for values. prior_rows: the class frequencies count as so many rows; values: unused."""

    trees: int = 200
    max_features: float | Literal["sqrt"] | None = None
    min_leaf: int = 1
    prior_rows: float = 0.75

    def __post_init__(self):
        check_settings(self)
        if not self.prior_rows > 0:
            raise bad("prior_rows", "above 0", self.prior_rows, "A probability of 0 makes the log loss infinite.")


class ExtraTreesClassifier(ClassifierHead):
    """Probabilities: leaf frequencies averaged over the trees, drawn a little towards the class frequencies."""

    Config = ExtraTreesConfig

    def __init__(
        self,
        trees: int = 200,
        max_features: float | str | None = None,
        min_leaf: int = 1,
        prior_rows: float = 0.75,
        random_state: int = 0,
    ):
        self.trees = trees
        self.max_features = max_features
        self.min_leaf = min_leaf
        self.prior_rows = prior_rows
        self.random_state = random_state

    def _fit(self, X, codes):
        share: Any = self._config.max_features or 0.5
        from sklearn.ensemble import ExtraTreesClassifier as _Classifier

        trees = _Classifier(
            self._config.trees,
            max_features=share,
            min_samples_leaf=self._config.min_leaf,
            random_state=self.random_state,
            n_jobs=1,
        ).fit(X, codes)
        self.trees_ = _trees.from_sklearn(tree.tree_ for tree in trees.estimators_)
        self.prior_ = np.bincount(codes) / len(codes)
        self.shrinkage_ = self._config.prior_rows / (self._config.prior_rows + len(codes))

    def _proba(self, X):
        frequencies = _trees.total(self.trees_, X, single=True) / len(self.trees_["roots"])
        return (1 - self.shrinkage_) * frequencies + self.shrinkage_ * self.prior_

    @classmethod
    def from_state(cls, state):
        made = super().from_state(state)
        classes = _trees.class_count(made)
        return _trees.loaded(made, values=classes, prior_=classes)


class ExtraTreesRegressor(RegressorHead):
    """Values: leaf means averaged over the trees."""

    Config = ExtraTreesConfig

    def __init__(
        self,
        trees: int = 200,
        max_features: float | str | None = None,
        min_leaf: int = 1,
        prior_rows: float = 0.75,
        random_state: int = 0,
    ):
        self.trees = trees
        self.max_features = max_features
        self.min_leaf = min_leaf
        self.prior_rows = prior_rows
        self.random_state = random_state

    def _fit(self, X, y):
        share: Any = self._config.max_features or 0.75
        from sklearn.ensemble import ExtraTreesRegressor as _Regressor

        trees = _Regressor(
            self._config.trees,
            max_features=share,
            min_samples_leaf=self._config.min_leaf,
            random_state=self.random_state,
            n_jobs=1,
        ).fit(X, y)
        self.trees_ = _trees.from_sklearn(tree.tree_ for tree in trees.estimators_)

    def _value(self, X):
        return _trees.total(self.trees_, X, single=True)[:, 0] / len(self.trees_["roots"])

    @classmethod
    def from_state(cls, state):
        return _trees.loaded(super().from_state(state), values=1)


CLASSIFIER, REGRESSOR = ExtraTreesClassifier, ExtraTreesRegressor
