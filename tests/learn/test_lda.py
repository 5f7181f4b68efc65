"""Shrinkage discriminant analysis against scikit-learn, and its left-out scores against refits."""

import numpy as np
import pytest
from sklearn.covariance import OAS
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from smidgen.learn import lda
from smidgen.learn.lda import LDAClassifier


def data(n=45, d=6, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % classes
    return rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + 2 * rng.normal(size=(classes, d))[y], y


@pytest.mark.parametrize("d", [6, 70])
def test_equals_the_formula(d):
    X, y = data(d=d)
    model = LDAClassifier(shrinkage=0.3, temper=False).fit(X, y)
    means = np.stack([X[y == c].mean(0) for c in range(3)])
    within = X - means[y]
    S = within.T @ within / (len(y) - 3)
    S = 0.7 * S + 0.3 * np.trace(S) / d * np.eye(d)
    logp = np.stack([-0.5 * ((X - m) * np.linalg.solve(S, (X - m).T).T).sum(1) for m in means], 1)  # equal class shares
    P = np.exp(logp - logp.max(1, keepdims=True))
    assert np.allclose(model.predict_proba(X), P / P.sum(1, keepdims=True), atol=1e-9)


def test_decides_as_scikit_learn_with_little_shrinkage():
    X, y = data(n=300)
    ours = LDAClassifier(shrinkage=0.001, temper=False).fit(X, y)
    theirs = LinearDiscriminantAnalysis(solver="svd").fit(X, y)
    assert np.abs(ours.predict_proba(X) - theirs.predict_proba(X)).max() < 0.05


def test_oas_is_near_scikit_learn():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(25, 100)) * np.arange(1, 101)
    X -= X.mean(0)  # theirs leaves out 2 / d, so d is large here
    power = np.linalg.eigvalsh(X.T @ X / 25)
    assert np.isclose(lda._oas(power, 25, 100), OAS(assume_centered=True).fit(X).shrinkage_, rtol=0.02)


@pytest.mark.parametrize("shrinkage", [0.2, 0.9])
def test_left_out_scores_are_those_of_refits(shrinkage, monkeypatch):
    X, y = data(n=60)
    kept = {}
    original = lda._left_out
    monkeypatch.setattr(lda, "_left_out", lambda *args: kept.setdefault("scores", original(*args)))
    LDAClassifier(shrinkage=shrinkage).fit(X, y)
    quick = kept["scores"] - kept["scores"].mean(1, keepdims=True)
    monkeypatch.setattr(lda, "_left_out", original)
    slow = []
    for i in range(len(y)):
        rest = np.arange(len(y)) != i
        model = LDAClassifier(shrinkage=shrinkage, temper=False).fit(X[rest], y[rest])
        slow.append(model.coef_ @ X[i] + model.intercept_ - np.log(np.bincount(y[rest])))
    slow = np.array(slow) - np.mean(slow, 1, keepdims=True)
    assert np.corrcoef(quick.ravel(), slow.ravel())[0, 1] > 0.9999
    assert np.abs(quick - slow).mean() < 0.04 * np.abs(slow).mean()


def test_temper_makes_correlated_features_less_sure():
    rng = np.random.default_rng(0)
    y = np.arange(40) % 2
    X = rng.normal(size=(40, 60))
    X[:, 0] += y
    sure, tempered = LDAClassifier(temper=False).fit(X, y), LDAClassifier().fit(X, y)
    new = rng.normal(size=(200, 60))
    assert tempered.predict_proba(new).max(1).mean() < sure.predict_proba(new).max(1).mean()
