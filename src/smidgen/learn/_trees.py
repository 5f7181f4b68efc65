"""Trees as plain arrays, and one numpy traversal for every ensemble here.

An ensemble is a dictionary of arrays: `feature` [N] int32 (-1 in a leaf), `threshold` [N] float64, `left` [N] int32,
`value` [N, C] float64 and `roots` [T] int32. A row goes left where its number is at most the threshold; the right
child is `left + 1`, and both lie behind their parent, so a walk always ends. N nodes, T trees, C values of a leaf.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from smidgen.kit.errors import BadInput

Trees = dict[str, np.ndarray]
_DTYPES = {"feature": "int32", "threshold": "float64", "left": "int32", "value": "float64", "roots": "int32"}
DAMAGED = "the model folder is damaged or was edited"
_ROWS, _PAIRS = 2048, 1 << 16  # rows, and rows times trees, walked at once: their numbers stay in the cache


class Tree(NamedTuple):
    """One tree as its library has it: children by number, `feature` below 0 in a leaf, the root first."""

    feature: np.ndarray
    threshold: np.ndarray
    left: np.ndarray
    right: np.ndarray
    value: np.ndarray


def join(parts: Iterable[Tree]) -> Trees:
    """One ensemble of trees in any order of nodes: numbered anew, level by level, siblings side by side."""
    parts = list(parts)
    sizes = np.array([len(p.feature) for p in parts])
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    tree = np.repeat(np.arange(len(parts)), sizes)
    feature = np.concatenate([p.feature for p in parts])
    left = np.concatenate([p.left for p in parts]).astype(np.int64) + starts[tree]
    right = np.concatenate([p.right for p in parts]).astype(np.int64) + starts[tree]
    order, level = [starts], starts
    while len(level):
        inner = level[feature[level] >= 0]
        level = np.stack([left[inner], right[inner]], 1).ravel()
        order.append(level)
    by_level = np.concatenate(order)
    by_tree = by_level[np.argsort(tree[by_level], kind="stable")]  # a tree's nodes together: they are walked together
    place = np.zeros(len(feature), np.int64)
    place[by_tree] = np.arange(len(by_tree))
    inner = feature[by_tree] >= 0
    threshold = np.concatenate([p.threshold for p in parts])[by_tree]
    return {
        "feature": np.where(inner, feature[by_tree], -1).astype(np.int32),
        "threshold": np.where(inner, threshold, 0.0).astype(np.float64),
        "left": np.where(inner, place[np.where(inner, left[by_tree], 0)], 0).astype(np.int32),
        "value": np.concatenate([p.value for p in parts])[by_tree].astype(np.float64),
        "roots": place[starts].astype(np.int32),
    }


def from_sklearn(trees: Iterable[Any], value: Any = None) -> Trees:
    """An ensemble of fitted scikit-learn `tree_` objects.

    Args:
        value: what a leaf says, `value(tree_) -> [nodes, C]`; without it the first output's own values
            (class frequencies, or the mean).
    """
    return join(
        Tree(t.feature, t.threshold, t.children_left, t.children_right, t.value[:, 0, :] if value is None else value(t))
        for t in trees
    )


def leaves(trees: Trees, X: np.ndarray, *, single: bool) -> np.ndarray:
    """The leaf of each row in each tree, `[T, rows]`.

    Args:
        X: `[rows, features]`, finite.
        single: numbers are rounded to float32 before they meet the float64 thresholds, as scikit-learn's trees and
            forests do.
    """
    walk, roots = _Walk.of(trees), trees["roots"].astype(np.intp)
    out = np.empty((len(roots), len(X)), np.int32)
    for start in range(0, len(X), _ROWS):
        rows = X[start : start + _ROWS]
        flat = (rows.astype(np.float32) if single else rows).astype(np.float64).ravel()
        step = max(1, _PAIRS // len(rows))
        for first in range(0, len(roots), step):
            part = roots[first : first + step]
            node = np.repeat(part, len(rows))
            offset = np.tile(np.arange(len(rows)) * X.shape[1], len(part))
            out[first : first + step, start : start + len(rows)] = walk(node, offset, flat).reshape(
                len(part), len(rows)
            )
    return out


def total(trees: Trees, X: np.ndarray, *, single: bool, turns: int = 1) -> np.ndarray:
    """The sum of the leaf values over the trees, `[rows, turns * C]`; tree t adds to the columns of turn `t % turns`.

    Trees are added in their order, so the sum is the same to the last bit for any division of the rows.
    """
    width = trees["value"].shape[1]
    out = np.zeros((len(X), turns, width))
    for start in range(0, len(X), 4 * _ROWS):
        part = slice(start, start + 4 * _ROWS)
        for t, leaf in enumerate(leaves(trees, X[part], single=single)):
            out[part, t % turns] += trees["value"].take(leaf, axis=0)
    return out.reshape(len(X), turns * width)


def check(trees: Any, *, features: int, values: int, turns: int = 1) -> Trees:
    """The arrays themselves, once known to be trees that `leaves` can walk without end or fall.

    Raises:
        BadInput: anything else, as in a model folder that was damaged or edited.
    """

    def need(holds: Any, what: str) -> None:
        if not holds:
            raise BadInput(f"The trees of this model are not whole ({what}): {DAMAGED}.")

    need(isinstance(trees, dict) and set(trees) == set(_DTYPES), "arrays are missing or unknown")
    for name, dtype in _DTYPES.items():
        need(isinstance(trees[name], np.ndarray) and trees[name].dtype == dtype, f"{name} is not {dtype}")
        need(trees[name].ndim == (2 if name == "value" else 1), f"{name} has another shape")
    feature, left, roots = trees["feature"], trees["left"], trees["roots"]
    nodes = len(feature)
    need(nodes and all(len(trees[k]) == nodes for k in ("threshold", "left", "value")), "lengths differ")
    need(trees["value"].shape[1] == values, "a leaf has another number of values")
    need(len(roots) and len(roots) % turns == 0 and roots.min() >= 0 and roots.max() < nodes, "a root is out of range")
    need(feature.min() >= -1 and feature.max() < features, "a feature is out of range")
    inner = np.flatnonzero(feature >= 0)
    behind = left[inner] > inner
    need(behind.all() and (left[inner] < nodes - 1).all(), "a child is out of range or not behind its parent")
    need(np.isfinite(trees["threshold"]).all() and np.isfinite(trees["value"]).all(), "a number is not finite")
    return trees


def loaded(head: Any, *, values: int, turns: int = 1, **lengths: int) -> Any:
    """The head itself, once the trees and the vectors that it was loaded with are known to be sound.

    Args:
        lengths: names of its learned float64 vectors with their lengths.
    Raises:
        BadInput: as `check`.
    """
    features = getattr(head, "n_features_in_", None)
    if type(features) is not int or features < 1:
        raise BadInput(f"This model does not say how many features it takes: {DAMAGED}.")
    check(getattr(head, "trees_", None), features=features, values=values, turns=turns)
    for name, length in lengths.items():
        vector: Any = getattr(head, name, None)
        shaped = isinstance(vector, np.ndarray) and vector.shape == (length,) and vector.dtype == np.float64
        if not (shaped and np.isfinite(vector).all()):
            raise BadInput(f"'{name}' of this model is not {length} finite numbers: {DAMAGED}.")
    return head


def class_count(head: Any) -> int:
    """How many classes a loaded classifier knows. Raises BadInput when it has no list of them."""
    classes = getattr(head, "classes_", None)
    if not isinstance(classes, np.ndarray) or classes.ndim != 1 or len(classes) < 2:
        raise BadInput(f"This model has no list of classes: {DAMAGED}.")
    return len(classes)


class _Walk(NamedTuple):
    """The arrays made for walking: a leaf leads to itself, whatever the number."""

    column: np.ndarray
    limit: np.ndarray
    left: np.ndarray

    @classmethod
    def of(cls, trees: Trees) -> "_Walk":
        inner = trees["feature"] >= 0
        return cls(
            np.where(inner, trees["feature"], 0).astype(np.intp),
            np.where(inner, trees["threshold"], np.inf),
            np.where(inner, trees["left"], np.arange(len(inner))).astype(np.intp),
        )

    def __call__(self, node: np.ndarray, offset: np.ndarray, flat: np.ndarray) -> np.ndarray:
        """The leaf under each `node` for the row that starts at `offset` in `flat`; all of one length."""
        out, place = node, None
        while True:
            number = flat.take(self.column.take(node) + offset)
            after = self.left.take(node) + (number > self.limit.take(node))
            moves = after != node
            node = after
            moving = np.count_nonzero(moves)
            if place is None:
                out = node
            if moving > 0.75 * len(node):
                continue
            # most walks end early: go on with the others alone
            if place is not None:
                out[place] = node
            if not moving:
                return out
            ahead = np.flatnonzero(moves)
            place = ahead if place is None else place[ahead]
            node, offset = node[ahead], offset[ahead]
