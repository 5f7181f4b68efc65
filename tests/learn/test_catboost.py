"""CatBoost: its export read by hand, its absence, and itself where it is installed."""

import numpy as np
import pytest
from sklearn.datasets import load_wine

from smidgen.kit.errors import MissingExtra
from smidgen.learn import _trees
from smidgen.learn import catboost as ours


def test_absence_names_the_extra(monkeypatch):
    monkeypatch.setattr("smidgen.kit.extras.installed", lambda *modules: False)
    X, y = load_wine(return_X_y=True)
    with pytest.raises(MissingExtra, match=r"pip install 'smidgen\[trees\]'"):
        ours.CatBoostClassifier().fit(X, y)


def test_export_is_read_as_its_format_says():
    """A leaf's number has bit i set where split i holds, which is "number > border" in single precision."""
    cuts = ((1, 0.5), (0, -1.0), (2, 3.0))
    splits = [{"float_feature_index": f, "border": b, "split_type": "FloatFeature"} for f, b in cuts]
    model = {
        "scale_and_bias": [2.0, [0.25, -0.5]],
        "oblivious_trees": [
            {"splits": splits, "leaf_values": np.arange(16).tolist()},
            {"splits": None, "leaf_values": [1.0, 2.0]},
        ],
    }
    trees, scale, bias = ours.from_json(model)
    _trees.check(trees, features=3, values=2)
    X = np.random.default_rng(0).normal(size=(200, 3)) * 3
    X[0] = [-1.0, 0.5, 3.0]  # on every border: goes left
    leaf = (X[:, 1] > 0.5) + 2 * (X[:, 0] > -1) + 4 * (X[:, 2] > 3)
    assert len(set(leaf.tolist())) == 8
    want = np.arange(16).reshape(8, 2)[leaf] + [1.0, 2.0]
    np.testing.assert_array_equal(_trees.total(trees, X, single=True), want)
    assert scale == 2.0
    assert bias.tolist() == [0.25, -0.5]


@pytest.mark.parametrize("classes", [2, 3])
def test_equals_the_package(classes):
    pytest.importorskip("catboost")
    X, y = load_wine(return_X_y=True)
    y = y % classes
    head = ours.CatBoostClassifier(steps=30).fit(X, y)
    head._config = head.config()
    raw = head._train(X, y, "Logloss" if classes == 2 else "MultiClass").predict(X, prediction_type="RawFormulaVal")
    np.testing.assert_allclose(head._scores(X), raw.reshape(len(X), -1), atol=1e-9)
