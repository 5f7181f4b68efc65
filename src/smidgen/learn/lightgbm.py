"""LightGBM (Ke et al., 2017), set for few rows: boosting whose cuts are drawn at random, if its package is installed.

The fitted trees are copied into our own arrays, so a saved model needs no LightGBM to predict, and a damaged model
folder never reaches its parser.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from smidgen.kit.extras import need
from smidgen.learn import _trees
from smidgen.learn.base import ClassifierHead, RegressorHead
from smidgen.learn.boosting import check_boosting, probabilities

CARD = {
    "title": "LightGBM",
    "tldr": "Boosted trees of LightGBM with random cuts, short steps and strong shrinkage.",
    "features": "tree",
    "extra": "trees",
    "package": "lightgbm",
    "max_classes": 30,
    "max_features": 2000,
    "seconds": (0.05, 4.0, 0.0, 0.1),
}


@dataclass(frozen=True, kw_only=True)
class LightGBMConfig:
    """As in `learn/boosting`, but max_features None: 0.6 for classes, 1 for values. random_cuts: one random cut a
    feature instead of the best one."""

    steps: int = 200
    rate: float = 0.1
    leaves: int = 5
    min_leaf: int = 4
    l2: float = 5.0
    max_features: float | None = None
    random_cuts: bool = True

    def __post_init__(self):
        check_boosting(self)


class _LightGBM:
    """What classes and values share."""

    Config = LightGBMConfig

    def __init__(
        self,
        steps: int = 200,
        rate: float = 0.1,
        leaves: int = 5,
        min_leaf: int = 4,
        l2: float = 5.0,
        max_features: float | None = None,
        random_cuts: bool = True,
        random_state: int = 0,
    ):
        self.steps = steps
        self.rate = rate
        self.leaves = leaves
        self.min_leaf = min_leaf
        self.l2 = l2
        self.max_features = max_features
        self.random_cuts = random_cuts
        self.random_state = random_state

    def _grow(self, X: np.ndarray, y: np.ndarray, objective: dict[str, Any]) -> None:
        self.trees_ = from_booster(self._train(X, y, objective))

    def _train(self, X: np.ndarray, y: np.ndarray, objective: dict[str, Any]) -> Any:
        lightgbm = need("lightgbm", extra="trees", why="The method learn/lightgbm")
        config: LightGBMConfig = self._config  # type: ignore[attr-defined]
        share = config.max_features or (1.0 if objective["objective"] == "regression" else 0.6)
        settings = {
            **objective,
            "learning_rate": config.rate,
            "num_leaves": config.leaves,
            "lambda_l2": config.l2,
            "min_data_in_leaf": min(config.min_leaf, max(1, len(X) // 4)),
            "min_sum_hessian_in_leaf": 1e-3,
            "feature_fraction_bynode": share,
            "extra_trees": config.random_cuts,
            "min_data_in_bin": 1,
            "max_bin": 255,
            "feature_pre_filter": False,
            "use_missing": False,
            "verbosity": -1,
            "num_threads": 1,
            "deterministic": True,
            "force_col_wise": True,
            "seed": int(np.random.RandomState(self.random_state).randint(2**31 - 1)),  # type: ignore[attr-defined]
        }
        return lightgbm.train(settings, lightgbm.Dataset(X, y, params={"verbosity": -1}), config.steps)


class LightGBMClassifier(_LightGBM, ClassifierHead):
    """Probabilities: the logistic function, or the softmax, of the summed trees."""

    def _fit(self, X, codes):
        classes = len(self.classes_)
        many = {"objective": "multiclass", "num_class": classes}
        self._grow(X, codes, {"objective": "binary"} if classes == 2 else many)

    def _proba(self, X):
        turns = 1 if len(self.classes_) == 2 else len(self.classes_)
        return probabilities(_trees.total(self.trees_, X, single=False, turns=turns))

    @classmethod
    def from_state(cls, state):
        made = super().from_state(state)
        classes = _trees.class_count(made)
        return _trees.loaded(made, values=1, turns=1 if classes == 2 else classes)


class LightGBMRegressor(_LightGBM, RegressorHead):
    """Values: the summed trees, on targets that were standardised (LightGBM counts in single precision)."""

    def _fit(self, X, y):
        self.mean_, self.scale_ = float(y.mean()), float(y.std()) or 1.0
        self._grow(X, (y - self.mean_) / self.scale_, {"objective": "regression"})

    def _value(self, X):
        return self.mean_ + self.scale_ * _trees.total(self.trees_, X, single=False)[:, 0]

    @classmethod
    def from_state(cls, state):
        return _trees.loaded(super().from_state(state), values=1)


def from_booster(booster: Any) -> _trees.Trees:
    """The trees of a LightGBM booster on finite numbers; what it starts from is part of its first trees."""
    trees = [_tree(info["tree_structure"]) for info in booster.dump_model()["tree_info"]]
    return _trees.join(trees)


def _tree(root: dict[str, Any]) -> _trees.Tree:
    rows: list[list[float]] = []

    def add(node: dict[str, Any]) -> int:
        place = len(rows)
        if "split_feature" not in node:
            rows.append([-1, 0.0, 0, 0, node["leaf_value"]])
            return place
        rows.append([])
        left, right = add(node["left_child"]), add(node["right_child"])
        rows[place] = [node["split_feature"], node["threshold"], left, right, 0.0]
        return place

    add(root)
    table = np.array(rows)
    feature, left, right = table[:, [0, 2, 3]].astype(np.int64).T
    return _trees.Tree(feature, table[:, 1], left, right, table[:, 4:])


CLASSIFIER, REGRESSOR = LightGBMClassifier, LightGBMRegressor
