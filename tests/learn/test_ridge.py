"""Ridge regression: leave-one-out in closed form against refits; the line against scikit-learn."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from smidgen.learn.reduced import reduce
from smidgen.learn.ridge import STRENGTHS, RidgeRegressor, press


def data(n, d, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d)) + 1
    return X, X @ rng.normal(size=d) + 3 * rng.normal(size=n) + 5


@pytest.mark.parametrize(("n", "d"), [(30, 4), (15, 40)])
def test_press_is_leave_one_out(n, d):
    X, y = data(n, d)
    strengths = np.array([0.3, 5.0, 80.0])
    quick = press(reduce(X).Z, y, strengths)
    for strength, loss in zip(strengths, quick, strict=True):
        errors = []
        for i in range(n):
            rest = np.arange(n) != i
            errors.append(Ridge(alpha=strength).fit(X[rest], y[rest]).predict(X[i : i + 1])[0] - y[i])
        assert np.isclose(loss, np.mean(np.square(errors)), rtol=1e-8)


@pytest.mark.parametrize(("n", "d"), [(30, 4), (15, 40)])
def test_line_equals_scikit_learn(n, d):
    X, y = data(n, d)
    ours, theirs = RidgeRegressor(strength=2.5).fit(X, y), Ridge(alpha=2.5).fit(X, y)
    assert np.allclose(ours.coef_, theirs.coef_, atol=1e-9)
    assert np.isclose(ours.intercept_, theirs.intercept_)


def test_strength_is_the_best_of_the_path():
    X, y = data(40, 30)
    model = RidgeRegressor().fit(X, y)
    assert model.strength_ == STRENGTHS[np.argmin(model.path_["losses"])]
    assert 1 < model.strength_ < 1e4
