"""LightGBM: the sum of our arrays is what the package says, and its absence names the cure."""

import sys

import numpy as np
import pytest
from sklearn.datasets import load_wine

from smidgen.kit.errors import MissingExtra
from smidgen.learn import _trees, boosting
from smidgen.learn import lightgbm as ours


def test_absence_names_the_extra(monkeypatch):
    monkeypatch.setattr("smidgen.kit.extras.installed", lambda *modules: False)
    X, y = load_wine(return_X_y=True)
    with pytest.raises(MissingExtra, match=r"pip install 'smidgen\[trees\]'"):
        ours.LightGBMClassifier().fit(X, y)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("random_cuts", [False, True])
def test_equals_the_booster(classes, random_cuts):
    pytest.importorskip("lightgbm")
    X, y = load_wine(return_X_y=True)
    y = y % classes
    head = ours.LightGBMClassifier(steps=30, random_cuts=random_cuts).fit(X, y)
    head._config = head.config()
    objective = {"objective": "binary"} if classes == 2 else {"objective": "multiclass", "num_class": classes}
    booster = head._train(X, y, objective)
    many = np.vstack([X, X + np.random.default_rng(0).normal(size=X.shape), np.zeros_like(X[:3])])
    scores = _trees.total(head.trees_, many, single=False, turns=1 if classes == 2 else classes)
    np.testing.assert_allclose(scores.squeeze(), booster.predict(many, raw_score=True), atol=1e-9)
    np.testing.assert_allclose(boosting.probabilities(scores), head.predict_proba(many), atol=1e-12)


def test_a_loaded_model_needs_no_lightgbm(monkeypatch):
    pytest.importorskip("lightgbm")
    X, y = load_wine(return_X_y=True)
    model = ours.LightGBMClassifier(steps=10).fit(X, y)
    state = model.get_state()
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    assert np.array_equal(ours.LightGBMClassifier.from_state(state).predict_proba(X), model.predict_proba(X))
