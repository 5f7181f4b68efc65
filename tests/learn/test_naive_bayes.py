"""The naive Bayes head against its formulas (paper 035), its stream against one fit."""

import numpy as np
import pytest
from scipy.special import log_softmax

from smidgen.kit.errors import BadInput
from smidgen.learn.naive_bayes import NaiveBayesClassifier, SharedVarianceGaussianNB


def data(n=60, d=5, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n) % classes)
    return rng.normal(size=(n, d)) * np.arange(1, d + 1) + rng.normal(size=(classes, d))[y] * 2, y


def by_the_paper(X, y, new, smoothing=1e-9):
    """Step 1 and 2 of the paper: min-max, then pooled variances."""
    low, span = X.min(0), np.ptp(X, axis=0)
    X, new = (X - low) / span, (new - low) / span
    classes, counts = np.unique(y, return_counts=True)
    mu = np.stack([X[y == k].mean(0) for k in classes])
    prior = counts / len(y)
    s2 = sum(p * X[y == k].var(0) for p, k in zip(prior, classes, strict=True)) + smoothing
    return log_softmax(np.log(prior) - 0.5 * (((new[:, None] - mu) ** 2) / s2).sum(2), axis=1)


@pytest.mark.parametrize("smoothing", [1e-9, 0.05])
def test_equals_the_paper(smoothing):
    X, y = data()
    new = data(seed=1)[0]
    model = SharedVarianceGaussianNB(var_smoothing=smoothing).fit(X, y)
    assert np.allclose(model.predict_log_proba(new), by_the_paper(X, y, new, smoothing), atol=1e-9)


@pytest.mark.parametrize("sizes", [(1,) * 60, (7, 13, 40), (59, 1)])
def test_stream_equals_one_fit(sizes):
    X, y = data()
    X = X + 1000  # sums of squares would lose digits here
    whole, stream = SharedVarianceGaussianNB().fit(X, y), SharedVarianceGaussianNB()
    ends = np.cumsum(sizes)
    for start, end in zip([0, *ends[:-1]], ends, strict=True):
        stream.partial_fit(X[start:end], y[start:end], classes=[0, 1, 2])
    for name in ("theta_", "var_", "class_prior_", "ssd_"):
        assert np.allclose(getattr(stream, name), getattr(whole, name), rtol=1e-11), name
    assert np.allclose(stream.predict_log_proba(X), whole.predict_log_proba(X), atol=1e-7)


def test_linear_head_is_the_model():
    X, y = data()
    model = NaiveBayesClassifier().fit(X, y)
    W, b = model.linear_head()
    scores = X @ W.T + b
    assert np.allclose(np.exp(scores) / np.exp(scores).sum(1, keepdims=True), model.predict_proba(X))
    pure = SharedVarianceGaussianNB().fit(X, y)
    W, b = pure.linear_head()
    assert np.allclose(W, pure.theta_ / pure.var_)
    assert np.allclose(b, np.log(pure.class_prior_) - 0.5 * (pure.theta_**2 / pure.var_).sum(1))


def test_left_out_scores_are_those_of_refits():
    X, y = data(n=30)
    model = SharedVarianceGaussianNB(var_smoothing=0, var_floor=0).fit(X, y)
    quick = model.left_out(X, y)
    for i in range(len(y)):
        rest = np.arange(len(y)) != i
        other = SharedVarianceGaussianNB(var_smoothing=0, var_floor=0).fit(X[rest], y[rest])
        assert np.allclose(quick[i], -0.5 * ((X[i] - other.theta_) ** 2 / other.var_).sum(1))


def test_classes_are_guarded():
    X, y = data()
    model = SharedVarianceGaussianNB().partial_fit(X[y < 2], y[y < 2], classes=[0, 1, 2])
    with pytest.raises(BadInput, match="no example yet: \\[2\\]"):
        model.predict(X)
    model.partial_fit(X[y == 2], y[y == 2])
    assert set(model.predict(X)) == {0, 1, 2}
    with pytest.raises(BadInput, match="named at the first call"):
        model.partial_fit(X[:1], [9])
    with pytest.raises(BadInput, match="at least 2 classes"):
        SharedVarianceGaussianNB().partial_fit(X[:3], [1, 1, 1])


def test_one_shot_is_held_by_the_floor_and_the_temper():
    X = np.random.default_rng(0).normal(size=(3, 50))
    pure, tempered = SharedVarianceGaussianNB().fit(X, [0, 1, 2]), NaiveBayesClassifier().fit(X, [0, 1, 2])
    new = np.random.default_rng(1).normal(size=(100, 50))
    assert np.allclose(pure.var_, 1e-3 * X.var(0))
    assert pure.predict_proba(new).max(1).mean() > 0.99 > 0.9 > tempered.predict_proba(new).max(1).mean()
    assert (pure.predict(new) == tempered.predict(new)).all()


def test_temper_undoes_repeated_features():
    """The same feature ten times is one feature: the exponent finds about a tenth."""
    X, y = data(n=200, d=1)
    once, ten = NaiveBayesClassifier().fit(X, y), NaiveBayesClassifier().fit(np.repeat(X, 10, 1), y)
    assert np.isclose(ten.exponent_ * 10, once.exponent_, rtol=0.02)
