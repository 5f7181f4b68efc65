"""The traversal against the libraries' own, and arrays that must be refused."""

import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_wine
from sklearn.ensemble import ExtraTreesRegressor, RandomForestClassifier
from sklearn.tree import DecisionTreeClassifier

from smidgen.kit.errors import BadInput
from smidgen.learn import _trees


@pytest.fixture(scope="module")
def wine():
    X, y = load_wine(return_X_y=True)
    forest = RandomForestClassifier(40, random_state=0).fit(X[::2], y[::2])
    return forest, _trees.from_sklearn(t.tree_ for t in forest.estimators_), X


def test_equals_the_forest(wine):
    forest, trees, X = wine
    np.testing.assert_allclose(_trees.total(trees, X, single=True) / 40, forest.predict_proba(X), rtol=0, atol=1e-12)
    # the same leaves, not just the same averages
    leaf = _trees.leaves(trees, X, single=True)
    assert len(np.unique(leaf[0])) == len(np.unique(forest.estimators_[0].apply(X)))


def test_equals_a_regression_forest_on_many_rows():
    X, y = load_diabetes(return_X_y=True)
    forest = ExtraTreesRegressor(30, random_state=0).fit(X, y)
    many = np.random.default_rng(0).choice(X, 5000) + 1e-3 * np.random.default_rng(1).normal(size=(5000, X.shape[1]))
    trees = _trees.from_sklearn(t.tree_ for t in forest.estimators_)
    np.testing.assert_allclose(_trees.total(trees, many, single=True)[:, 0] / 30, forest.predict(many), rtol=1e-12)


def test_a_row_does_not_depend_on_its_company(wine):
    _, trees, X = wine
    many = np.tile(X, (60, 1))  # more than one block of rows
    whole = _trees.total(trees, many, single=True)
    np.testing.assert_array_equal(whole, np.tile(whole[: len(X)], (60, 1)))
    np.testing.assert_array_equal(whole[5:6], _trees.total(trees, X[5:6], single=True))
    assert _trees.total(trees, X[:0], single=True).shape == (0, 3)


def test_numbers_meet_thresholds_in_single_precision():
    """Two numbers that are one in float32 take one way, as in scikit-learn."""
    X = np.array([[1.0], [2.0], [1.5]])
    tree = DecisionTreeClassifier(random_state=0).fit(X, [0, 1, 0])
    near = np.nextafter(np.float32(1.75), np.float32(2)).astype(float)
    at = np.array([[1.75], [1.75 + 1e-9], [near]])
    trees = _trees.from_sklearn([tree.tree_])
    single, double = (_trees.total(trees, at, single=s)[:, 1] for s in (True, False))
    np.testing.assert_array_equal(single, tree.predict_proba(at)[:, 1])
    assert single.tolist() == [0, 0, 1]
    assert double.tolist() == [0, 1, 1]


def test_turns_send_trees_to_columns(wine):
    _, trees, X = wine
    each = np.stack([trees["value"][leaf] for leaf in _trees.leaves(trees, X, single=True)])
    both = _trees.total(trees, X, single=True, turns=2)
    np.testing.assert_allclose(both, np.hstack([each[::2].sum(0), each[1::2].sum(0)]))


def test_children_lie_side_by_side_behind_their_parent(wine):
    _, trees, _ = wine
    inner = np.flatnonzero(trees["feature"] >= 0)
    assert (trees["left"][inner] > inner).all()
    seen = np.concatenate([trees["roots"], trees["left"][inner], trees["left"][inner] + 1])
    assert sorted(seen) == list(range(len(trees["feature"])))  # each node has one parent, or is a root


def _set(name, place, value):
    def spoil(trees):
        trees[name][place] = value

    return spoil


SPOILED = {
    "loop": _set("left", 0, 0),
    "backwards": lambda t: t["left"].__setitem__(np.flatnonzero(t["feature"] >= 0)[-1], 0),
    "negative child": _set("left", 0, -5),
    "child beyond": lambda t: t["left"].__setitem__(0, len(t["left"]) - 1),
    "feature beyond": _set("feature", 0, 13),
    "feature below": _set("feature", 0, -2),
    "root beyond": lambda t: t["roots"].__setitem__(0, len(t["left"])),
    "root negative": _set("roots", 0, -1),
    "no trees": lambda t: t.update(roots=t["roots"][:0]),
    "NaN threshold": _set("threshold", 0, np.nan),
    "infinite value": _set("value", 0, np.inf),
    "other dtype": lambda t: t.update(left=t["left"].astype(np.int64)),
    "short array": lambda t: t.update(threshold=t["threshold"][:-1]),
    "flat values": lambda t: t.update(value=t["value"][:, 0]),
    "other width": lambda t: t.update(value=t["value"][:, :2]),
    "missing array": lambda t: t.pop("left"),
    "unknown array": lambda t: t.update(right=t["left"]),
    "not an array": lambda t: t.update(left=t["left"].tolist()),
}


@pytest.mark.parametrize("how", SPOILED)
def test_spoiled_arrays_are_refused(wine, how):
    trees = {k: v.copy() for k, v in wine[1].items()}
    _trees.check(trees, features=13, values=3)
    SPOILED[how](trees)
    with pytest.raises(BadInput, match="damaged or was edited"):
        _trees.check(trees, features=13, values=3)


def test_turns_must_divide_the_trees(wine):
    with pytest.raises(BadInput):
        _trees.check(wine[1], features=13, values=3, turns=3)


def test_a_lone_leaf():
    trees = _trees.join([_trees.Tree(*(np.zeros(1, np.int64) - (i == 0) for i in range(4)), np.array([[7.0]]))] * 2)
    _trees.check(trees, features=1, values=1)
    assert _trees.total(trees, np.zeros((3, 1)), single=True).tolist() == [[14.0]] * 3
