"""The support vector machine's decisions against scikit-learn's, and its probabilities against their definition."""

import numpy as np
import scipy.optimize
from scipy.special import log_softmax
from sklearn.svm import SVC, SVR

from smidgen.learn.svm import SVMClassifier, SVMRegressor, calibrate


def data(n=80, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % classes
    return rng.normal(size=(n, 4)) + 1.2 * np.eye(4)[y % 4], y


def test_decisions_equal_scikit_learn():
    X, y = data()
    model = SVMClassifier(C=2.0, gamma=0.3).fit(X, y)
    for c in range(3):
        theirs = SVC(C=2.0, gamma=0.3).fit(X, y == c).decision_function(X)
        assert np.allclose(model._decide(X)[:, c], theirs, atol=1e-2)  # libsvm stops at 1e-3
        assert np.corrcoef(model._decide(X)[:, c], theirs)[0, 1] > 0.99999
    X, y = data(classes=2)
    ours = SVMClassifier(C=2.0, gamma=0.3).fit(X, y)._decide(X)[:, 0]
    assert np.allclose(ours, SVC(C=2.0, gamma=0.3).fit(X, y).decision_function(X), atol=1e-2)


def test_numbers_equal_scikit_learn():
    X, _ = data()
    t = X[:, 0] + X[:, 1] ** 2
    theirs = SVR(C=2.0, gamma=0.3).fit(X, (t - t.mean()) / t.std()).predict(X) * t.std() + t.mean()
    assert np.allclose(SVMRegressor(C=2.0, gamma=0.3).fit(X, t).predict(X), theirs, atol=1e-2 * t.std())


def test_calibration_is_at_its_minimum():
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 3, 90)
    F = rng.normal(size=(90, 3)) + np.eye(3)[codes]
    slope, bias = calibrate(F, codes)
    counts = np.bincount(codes)
    T = np.empty((90, 3))
    for i, c in enumerate(codes):
        left = counts * (np.arange(3) != c)
        T[i] = left / left.sum() / (counts[c] + 2)
        T[i, c] = (counts[c] + 1) / (counts[c] + 2)

    def value(theta):
        S = theta[0] * F + theta[1:]
        return -(T * log_softmax(S, axis=1)).sum() + 0.5e-3 * theta[0] ** 2 + 0.5 * (theta[1:] ** 2).sum()

    best = scipy.optimize.minimize(value, np.ones(4), tol=1e-10).x
    assert np.allclose(np.append(slope, bias), best, atol=1e-3)


def test_a_useless_machine_is_not_believed():
    rng = np.random.default_rng(1)
    X, y = rng.normal(size=(60, 8)), np.arange(60) % 2
    P = SVMClassifier().fit(X, rng.permutation(y)).predict_proba(rng.normal(size=(200, 8)))
    assert P.max() < 0.9
