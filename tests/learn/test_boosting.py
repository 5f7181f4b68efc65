"""Boosting: the sum of our arrays is what scikit-learn says."""

import numpy as np
import pytest
from sklearn.datasets import load_wine
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from threadpoolctl import threadpool_limits

from smidgen.learn import _trees
from smidgen.learn.boosting import BoostingClassifier, BoostingRegressor, from_histogram_boosting, probabilities


@pytest.mark.parametrize("classes", [2, 3])
def test_equals_the_decision_function(classes):
    X, y = load_wine(return_X_y=True)
    y = y % classes
    theirs = HistGradientBoostingClassifier(max_iter=25, min_samples_leaf=3, random_state=0).fit(X[::2], y[::2])
    turns = 1 if classes == 2 else classes
    scores = theirs._baseline_prediction + _trees.total(from_histogram_boosting(theirs), X, single=False, turns=turns)
    np.testing.assert_allclose(scores.squeeze(), theirs.decision_function(X), atol=1e-9)
    np.testing.assert_allclose(probabilities(scores), theirs.predict_proba(X), atol=1e-9)


def test_the_whole_estimator_equals_scikit_learns():
    X, y = load_wine(return_X_y=True)
    same = {
        "learning_rate": 0.1,
        "max_leaf_nodes": 5,
        "min_samples_leaf": 4,
        "l2_regularization": 5.0,
        "max_bins": 32,
        "early_stopping": False,
        "random_state": 1,
        "max_iter": 20,
        "max_features": 0.1,
    }
    ours = BoostingClassifier(steps=20, random_state=1).fit(X, y)
    theirs = HistGradientBoostingClassifier(**same).fit(X, y)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-9)
    X, y = X[:, 1:], X[:, 0]
    theirs = HistGradientBoostingRegressor(**{**same, "max_features": 0.4}).fit(X, y)
    ours = BoostingRegressor(steps=20, random_state=1).fit(X, y)
    np.testing.assert_allclose(ours.predict(X), theirs.predict(X), atol=1e-9)


def test_fit_does_not_depend_on_threads():
    X, y = load_wine(return_X_y=True)
    said = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            said.append(BoostingClassifier(steps=20).fit(X, y).predict_proba(X))
    assert np.array_equal(*said)
