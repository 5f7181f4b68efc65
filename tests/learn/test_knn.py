"""Nearest neighbours: the left-out loss of the chosen k against refits, and the votes by hand."""

import numpy as np
import pytest

from smidgen.learn.knn import KNNClassifier, KNNRegressor


def data(n=40, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 3))
    return X, (X[:, 0] + 0.5 * rng.normal(size=n) > 0).astype(int) + (X[:, 1] > 1)


def test_left_out_loss_is_that_of_refits():
    X, y = data()
    model = KNNClassifier().fit(X, y)
    losses = []
    for i in range(len(y)):
        rest = np.arange(len(y)) != i
        P = KNNClassifier(k=model.k_, pull=model.pull_).fit(X[rest], y[rest]).predict_proba(X[i : i + 1])
        losses.append(-np.log(P[0, y[i]]))
    assert np.isclose(model.loss_, np.mean(losses))


def test_left_out_loss_of_numbers_is_that_of_refits():
    X, _ = data()
    t = X[:, 0] + np.sin(X[:, 1])
    model = KNNRegressor().fit(X, t)
    errors = []
    for i in range(len(t)):
        rest = np.arange(len(t)) != i
        errors.append(KNNRegressor(k=model.k_, pull=model.pull_).fit(X[rest], t[rest]).predict(X[i : i + 1])[0] - t[i])
    assert np.isclose(model.loss_, np.mean(np.square(errors)))


@pytest.mark.parametrize("k", [1, 4, 39, 60])
def test_votes_by_hand(k):
    X, y = data()
    q = np.array([0.2, -0.4, 0.1])
    far = ((X - q) ** 2).sum(1)
    order = np.argsort(far)
    bound = far[order[k]] if k < len(y) else 2 * far[order[-1]]
    weight = 1 - far[order[:k]] / bound
    votes = np.array([weight[y[order[:k]] == c].sum() for c in range(3)])
    average = (np.bincount(y) + 1) / (len(y) + 3)
    P = (votes + 0.5 * average) / (weight.sum() + 0.5)
    assert np.allclose(KNNClassifier(k=k, pull=0.5).fit(X, y).predict_proba(q[None])[0], P)


def test_k_grows_with_noise():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 2))
    clear, noise = KNNClassifier().fit(X, X[:, 0] > 0), KNNClassifier().fit(X, rng.random(200) > 0.5)
    assert clear.k_ < 20 < noise.k_
