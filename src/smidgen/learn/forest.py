"""Random forest (Breiman, 2001): many deep trees, each on its own resample of the rows, averaged.

The rows that a tree did not see judge it for free: on them we choose how far the average is drawn back to the class
frequencies (or the mean), so no probability is 0 and a forest that learned nothing says so.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from smidgen.kit.errors import bad
from smidgen.learn import _trees
from smidgen.learn.base import ClassifierHead, RegressorHead

CARD = {
    "title": "Random forest",
    "tldr": "Deep trees on resampled rows, averaged; the rows left out decide how boldly it speaks.",
    "features": "tree",
    "seconds": (0.18, 0.15, 0.0, 0.5),
    "bytes_per_row": 80.0,
}


@dataclass(frozen=True, kw_only=True)
class ForestConfig:
    """trees: 200 are enough for a smooth average. max_features: share of the features that each cut may choose from,
    or "sqrt"; None: "sqrt" for classes, 0.75 for values. min_leaf: rows of a leaf, at least."""

    trees: int = 200
    max_features: float | Literal["sqrt"] | None = None
    min_leaf: int = 1

    def __post_init__(self):
        check_settings(self)


def check_settings(config: Any) -> None:
    """Raises BadInput for a number of trees, a leaf or a share of features that no forest can have."""
    if not 1 <= config.trees <= 10_000:
        raise bad("trees", "1 to 10,000", config.trees)
    if config.min_leaf < 1:
        raise bad("min_leaf", "at least 1 row", config.min_leaf)
    if isinstance(config.max_features, float) and not 0 < config.max_features <= 1:
        raise bad("max_features", "a share above 0 and at most 1", config.max_features)


class ForestClassifier(ClassifierHead):
    """Probabilities: leaf frequencies averaged over the trees, drawn towards the class frequencies."""

    Config = ForestConfig

    def __init__(
        self, trees: int = 200, max_features: float | str | None = None, min_leaf: int = 1, random_state: int = 0
    ):
        self.trees = trees
        self.max_features = max_features
        self.min_leaf = min_leaf
        self.random_state = random_state

    def _fit(self, X, codes):
        from sklearn.ensemble import RandomForestClassifier

        forest = RandomForestClassifier(
            self._config.trees,
            max_features=self._config.max_features or "sqrt",
            min_samples_leaf=self._config.min_leaf,
            random_state=self.random_state,
            n_jobs=1,
        ).fit(X, codes)
        self.trees_ = _trees.from_sklearn(tree.tree_ for tree in forest.estimators_)
        self.prior_ = np.bincount(codes) / len(codes)
        unseen, known = out_of_bag(self.trees_, X, forest.estimators_samples_)
        self.shrinkage_ = best_shrinkage(unseen[known], codes[known], self.prior_, len(codes))

    def _proba(self, X):
        frequencies = _trees.total(self.trees_, X, single=True) / len(self.trees_["roots"])
        return (1 - self.shrinkage_) * frequencies + self.shrinkage_ * self.prior_

    @classmethod
    def from_state(cls, state):
        made = super().from_state(state)
        classes = _trees.class_count(made)
        return _trees.loaded(made, values=classes, prior_=classes)


class ForestRegressor(RegressorHead):
    """Values: leaf means averaged over the trees, drawn towards the mean of the targets."""

    Config = ForestConfig

    def __init__(
        self, trees: int = 200, max_features: float | str | None = None, min_leaf: int = 1, random_state: int = 0
    ):
        self.trees = trees
        self.max_features = max_features
        self.min_leaf = min_leaf
        self.random_state = random_state

    def _fit(self, X, y):
        from sklearn.ensemble import RandomForestRegressor

        forest = RandomForestRegressor(
            self._config.trees,
            max_features=self._config.max_features or 0.75,
            min_samples_leaf=self._config.min_leaf,
            random_state=self.random_state,
            n_jobs=1,
        ).fit(X, y)
        self.trees_ = _trees.from_sklearn(tree.tree_ for tree in forest.estimators_)
        unseen, known = out_of_bag(self.trees_, X, forest.estimators_samples_)
        self.mean_ = float(y.mean())
        self.slope_ = best_slope(unseen[known, 0] - self.mean_, y[known] - self.mean_)

    def _value(self, X):
        means = _trees.total(self.trees_, X, single=True)[:, 0] / len(self.trees_["roots"])
        return self.mean_ + self.slope_ * (means - self.mean_)

    @classmethod
    def from_state(cls, state):
        return _trees.loaded(super().from_state(state), values=1)


def out_of_bag(trees: _trees.Trees, X: np.ndarray, samples: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Each row's mean leaf value over the trees that were grown without it `[n, C]`, and which rows have such trees.

    Args:
        samples: the row numbers of each tree's resample.
    """
    total, count = np.zeros((len(X), trees["value"].shape[1])), np.zeros(len(X))
    for leaf, sample in zip(_trees.leaves(trees, X, single=True), samples, strict=True):
        unseen = np.ones(len(X), bool)
        unseen[sample] = False
        total[unseen] += trees["value"][leaf[unseen]]
        count += unseen
    return total / np.maximum(count, 1)[:, None], count > 0


def best_shrinkage(unseen: np.ndarray, codes: np.ndarray, prior: np.ndarray, rows: int) -> float:
    """The weight of the class frequencies with the least log loss on predictions `[m, C]` for rows not seen.

    Never below half a row's worth: that no leaf said a class does not make it impossible.
    """
    grid = np.geomspace(min(0.5 / rows, 0.25), 0.5, 24)
    said, base = unseen[np.arange(len(codes)), codes], prior[codes]
    losses = [-np.log((1 - w) * said + w * base).sum() for w in grid]
    return float(grid[int(np.argmin(losses))])


def best_slope(unseen: np.ndarray, truth: np.ndarray) -> float:
    """The least-squares factor from predictions for rows not seen to the truth, both centred; within 0 to 1."""
    square = float(unseen @ unseen)
    return float(np.clip(unseen @ truth / square, 0, 1)) if square > 0 else 1.0


CLASSIFIER, REGRESSOR = ForestClassifier, ForestRegressor
