"""The forest: what it adds to scikit-learn's."""

import numpy as np
from sklearn.datasets import load_wine
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

from smidgen.learn.forest import ForestClassifier, ForestRegressor, best_shrinkage, best_slope, out_of_bag


def test_before_shrinkage_it_is_scikit_learns():
    X, y = load_wine(return_X_y=True)
    ours = ForestClassifier(trees=30, random_state=5).fit(X[::3], y[::3])
    theirs = RandomForestClassifier(30, random_state=5).fit(X[::3], y[::3])
    w = ours.shrinkage_
    np.testing.assert_allclose((ours.predict_proba(X) - w * ours.prior_) / (1 - w), theirs.predict_proba(X), atol=1e-12)


def test_out_of_bag_equals_scikit_learns():
    X, y = load_wine(return_X_y=True)
    theirs = RandomForestClassifier(60, oob_score=True, random_state=1).fit(X, y)
    ours = ForestClassifier(trees=60, random_state=1).fit(X, y)
    unseen, known = out_of_bag(ours.trees_, X, theirs.estimators_samples_)
    assert known.all()
    np.testing.assert_allclose(unseen, theirs.oob_decision_function_, atol=1e-12)


def test_noise_is_answered_with_the_class_frequencies():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(150, 5)), rng.integers(0, 2, 150)
    noise, signal = ForestClassifier(trees=60).fit(X, y), ForestClassifier(trees=60).fit(X, X[:, 0] > 0)
    assert noise.shrinkage_ > 0.3 > 0.1 > signal.shrinkage_
    assert ForestRegressor(trees=60).fit(X, rng.normal(size=150)).slope_ < 0.5
    assert ForestRegressor(trees=60).fit(X, X[:, 0]).slope_ > 0.9


def test_best_shrinkage_has_the_least_loss():
    said = np.array([[0.0, 1.0], [0.9, 0.1], [0.2, 0.8], [1.0, 0.0]])
    codes, prior = np.array([0, 0, 1, 0]), np.array([0.7, 0.3])

    def loss(w):
        return -np.log(((1 - w) * said + w * prior)[np.arange(4), codes]).sum()

    best = best_shrinkage(said, codes, prior, rows=4)
    assert 0.125 <= best <= 0.5
    assert all(loss(best) <= loss(w) + 0.02 for w in np.linspace(0.125, 0.5, 50))


def test_best_slope_is_least_squares_within_bounds():
    x = np.array([-1.0, 0.0, 1.0])
    assert best_slope(x, 0.4 * x) == 0.4
    assert best_slope(x, 3 * x) == 1
    assert best_slope(x, -x) == 0
    assert best_slope(0 * x, x) == 1


def test_regressor_before_its_slope_is_scikit_learns():
    X, y = load_wine(return_X_y=True)
    ours = ForestRegressor(trees=30, max_features=0.5, random_state=5).fit(X[::3], y[::3])
    theirs = RandomForestRegressor(30, max_features=0.5, random_state=5).fit(X[::3], y[::3]).predict(X)
    np.testing.assert_allclose(ours.predict(X), ours.mean_ + ours.slope_ * (theirs - ours.mean_), atol=1e-12)
