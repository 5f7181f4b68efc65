"""CatBoost (Prokhorenkova et al., 2018), set for few rows: boosting of symmetric trees, if it is installed.

Its JSON export is read once, after the fit, into our own arrays: a saved model needs no CatBoost to predict, and a
damaged model folder never reaches its parser.
"""

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from smidgen.kit.errors import bad
from smidgen.kit.extras import need
from smidgen.learn import _trees
from smidgen.learn.base import ClassifierHead, RegressorHead
from smidgen.learn.boosting import probabilities

CARD = {
    "title": "CatBoost",
    "tldr": "Symmetric trees of CatBoost, in short steps.",
    "features": "tree",
    "extra": "trees",
    "package": "catboost",
    "max_classes": 30,
    "max_features": 300,
    "seconds": (0.3, 12.0),
}


@dataclass(frozen=True, kw_only=True)
class CatBoostConfig:
    """steps: trees. rate: share of each tree that is added. depth: cuts of a tree, 1 to 10. l2: shrinkage of the
    leaves. max_features: share of the features that each cut may choose from."""

    steps: int = 200
    rate: float = 0.05
    depth: int = 4
    l2: float = 3.0
    max_features: float = 0.5

    def __post_init__(self):
        for name, low, high in (
            ("steps", 1, 10_000),
            ("rate", 1e-6, 1),
            ("depth", 1, 10),
            ("l2", 0, np.inf),
            ("max_features", 1e-6, 1),
        ):
            if not low <= getattr(self, name) <= high:
                raise bad(name, f"{low} to {high}", getattr(self, name))


class _CatBoost:
    """What classes and values share."""

    Config = CatBoostConfig

    def __init__(
        self,
        steps: int = 200,
        rate: float = 0.05,
        depth: int = 4,
        l2: float = 3.0,
        max_features: float = 0.5,
        random_state: int = 0,
    ):
        self.steps = steps
        self.rate = rate
        self.depth = depth
        self.l2 = l2
        self.max_features = max_features
        self.random_state = random_state

    def _train(self, X: np.ndarray, y: np.ndarray, loss: str) -> Any:
        catboost = need("catboost", extra="trees", why="The method learn/catboost")
        config: CatBoostConfig = self._config  # type: ignore[attr-defined]
        seed = int(np.random.RandomState(self.random_state).randint(2**31 - 1))  # type: ignore[attr-defined]
        model = catboost.CatBoost(
            {
                "loss_function": loss,
                "iterations": config.steps,
                "learning_rate": config.rate,
                "depth": config.depth,
                "l2_leaf_reg": config.l2,
                "rsm": config.max_features,
                "boosting_type": "Plain",
                "random_seed": seed,
                "thread_count": 1,
                "allow_writing_files": False,
                "logging_level": "Silent",
                "allow_const_label": True,
            }
        )
        return model.fit(X, y)

    def _grow(self, X: np.ndarray, y: np.ndarray, loss: str) -> None:
        if not np.ptp(X, axis=0).any():  # CatBoost refuses tables without a column that varies
            self.bias_ = _start(y, loss)
            leaf = np.zeros(1, np.int64)
            self.trees_ = _trees.join([_trees.Tree(leaf - 1, leaf * 0.0, leaf, leaf, np.zeros((1, len(self.bias_))))])
            self.scale_ = 1.0
            return
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.json"
            self._train(X, y, loss).save_model(str(path), format="json")
            self.trees_, self.scale_, self.bias_ = from_json(json.loads(path.read_text(encoding="utf-8")))

    def _scores(self, X: np.ndarray) -> np.ndarray:
        return self.scale_ * _trees.total(self.trees_, X, single=True) + self.bias_


class CatBoostClassifier(_CatBoost, ClassifierHead):
    """Probabilities: the logistic function, or the softmax, of the summed trees."""

    def _fit(self, X, codes):
        self._grow(X, codes, "Logloss" if len(self.classes_) == 2 else "MultiClass")

    def _proba(self, X):
        return probabilities(self._scores(X))

    @classmethod
    def from_state(cls, state):
        made = super().from_state(state)
        classes = _trees.class_count(made)
        width = 1 if classes == 2 else classes
        return _trees.loaded(made, values=width, bias_=width)


class CatBoostRegressor(_CatBoost, RegressorHead):
    """Values: the summed trees."""

    def _fit(self, X, y):
        self._grow(X, y, "RMSE")

    def _value(self, X):
        return self._scores(X)[:, 0]

    @classmethod
    def from_state(cls, state):
        return _trees.loaded(super().from_state(state), values=1, bias_=1)


def from_json(model: dict[str, Any]) -> tuple[_trees.Trees, float, np.ndarray]:
    """Trees, scale and bias of a CatBoost model of symmetric trees on numeric features, as it exports them."""
    scale, bias = model["scale_and_bias"]
    trees = []
    for tree in model["oblivious_trees"]:
        splits = tree["splits"] or []  # none in a tree that found no cut
        depth = len(splits)
        inner, leaves = 2**depth - 1, 2**depth
        level = np.log2(np.arange(1, inner + 1)).astype(int)
        column = np.array([s["float_feature_index"] for s in splits], np.int64)[level]
        border = np.array([s["border"] for s in splits], np.float64)[level]
        # The first split is the lowest bit of a leaf's number there, and the highest of its place here.
        place = np.arange(leaves)
        number = sum(((place >> (depth - 1 - i)) & 1) << i for i in range(depth)) if depth else place
        values = np.array(tree["leaf_values"], np.float64).reshape(leaves, -1)[number]
        node = np.arange(inner)
        none = np.zeros(leaves, np.int64)
        trees.append(
            _trees.Tree(
                np.concatenate([column, none - 1]),
                np.concatenate([border, none * 0.0]),
                np.concatenate([2 * node + 1, none]),
                np.concatenate([2 * node + 2, none]),
                np.concatenate([np.zeros((inner, values.shape[1])), values]),
            )
        )
    return _trees.join(trees), float(scale), np.atleast_1d(np.array(bias, np.float64))


def _start(y: np.ndarray, loss: str) -> np.ndarray:
    """The scores that say the mean, or the class frequencies."""
    if loss == "RMSE":
        return np.array([y.mean()])
    shares = np.bincount(y) / len(y)
    return np.log(shares[1:] / shares[:1]) if loss == "Logloss" else np.log(shares)


CLASSIFIER, REGRESSOR = CatBoostClassifier, CatBoostRegressor
