"""The Gaussian process against scikit-learn's at a fixed kernel, and its left-out odds against refits."""

import numpy as np
import pytest
from sklearn.gaussian_process import GaussianProcessClassifier, GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, DotProduct, WhiteKernel

from smidgen.learn import gaussian_process as gp
from smidgen.learn.gaussian_process import GPClassifier, GPRegressor


def data(n=40, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 3))
    X -= X.mean(0)
    return X, np.sin(X[:, 0]) + 0.5 * X[:, 1] + 0.2 * rng.normal(size=n)


def kernel(length, bend, line):
    return ConstantKernel(bend) * RBF(length) + ConstantKernel(line / 3) * DotProduct(1e-6)


def test_regression_equals_scikit_learn():
    X, y = data()
    t = (y - y.mean()) / y.std()
    theirs = GaussianProcessRegressor(kernel(1.3, 0.8, 0.4) + WhiteKernel(0.1), optimizer=None).fit(X, t)
    new = data(seed=1)[0]
    ours = GPRegressor(length=1.3, bend=0.8, line=0.4, noise=0.1).fit(X, y)
    mean, std = theirs.predict(new, return_std=True)
    assert np.allclose(ours.predict(new), mean * y.std() + y.mean(), atol=1e-6)
    assert np.allclose(ours.predict_std(new), std * y.std(), atol=1e-6)


def test_gradient_of_the_evidence_is_right():
    """The climb ends where scikit-learn's evidence plus the priors has no slope."""
    X, y = data(60)
    t = (y - y.mean()) / y.std()
    s = gp._climb(X, t, gp.GPConfig())
    unit = np.sqrt(gp.median_distance(gp.squared_distances(X, X)))

    def value(name, factor):
        v = {**s, name: s[name] * factor}
        whole = kernel(v["length"], v["bend"], v["line"]) + WhiteKernel(v["noise"])
        model = GaussianProcessRegressor(whole, optimizer=None, alpha=1e-8)
        prior = sum(
            (np.log(v[k] / m) / w) ** 2
            for k, m, w in [("length", unit, 1), ("bend", 0.7, 2), ("line", 0.3, 2), ("noise", 0.2, 2)]
        )
        return model.fit(X, t).log_marginal_likelihood_value_ - prior / 2

    for name in s:
        assert value(name, 1.0) >= max(value(name, 0.8), value(name, 1.25)) - 1e-6, name


def test_binary_evidence_and_mode_equal_scikit_learn():
    X, y = data()
    y = (y > np.median(y)).astype(int)  # balanced: the constant mean is 0, as theirs
    theirs = GaussianProcessClassifier(kernel(1.3, 2.0, 0.5), optimizer=None).fit(X, y)
    ours = GPClassifier(length=1.3, bend=2.0, line=0.5).fit(X, y)
    assert np.isclose(ours.evidence_, theirs.log_marginal_likelihood_value_, atol=1e-5)
    new = data(seed=1)[0]
    ours.exponent_ = 1.0
    # theirs averages the sigmoid by five error functions, ours by MacKay's formula
    assert np.abs(ours.predict_proba(new) - theirs.predict_proba(new)).max() < 0.02
    mean, variance = theirs.base_estimator_.latent_mean_and_variance(new)
    assert np.allclose(ours._latent(new)[0][:, 0], mean, atol=1e-5)
    assert np.allclose(ours._latent(new)[1][:, 0], variance, atol=1e-5)


def test_left_out_odds_are_near_those_of_refits():
    X, y = data(50)
    side = np.where(y > 0.3, 1.0, -1.0)
    scales = {"length": 1.3, "bend": 2.0, "line": 0.5}
    K = gp.covariance(X, X, scales, np.zeros(3))
    quick = gp._left_out(K, gp.laplace(K, side), 0.0)
    slow = []
    for i in range(len(y)):
        rest = np.arange(len(y)) != i
        mode = gp.laplace(K[np.ix_(rest, rest)], side[rest])
        L = np.linalg.cholesky(np.eye(rest.sum()) + mode.root[:, None] * K[np.ix_(rest, rest)] * mode.root)
        v = np.linalg.solve(L, mode.root * K[rest, i])
        slow.append(gp._log_odds(K[i, rest] @ mode.gradient, K[i, i] - v @ v))
    assert np.corrcoef(quick, slow)[0, 1] > 0.99
    assert np.abs(quick - slow).mean() < 0.1 * np.abs(slow).mean()


@pytest.mark.parametrize("n", [60, 260])  # the scales are compared on 200 rows at most
def test_finds_a_ring(n):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, 2))
    model = GPClassifier().fit(X, (X**2).sum(1) > 1.4)
    new = rng.normal(size=(400, 2))
    assert (model.predict(new) == ((new**2).sum(1) > 1.4)).mean() > 0.9
