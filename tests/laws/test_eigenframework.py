"""Errors from a spectrum: the published formulas, cases that are known exactly, draws of real regressions, refusals."""

import math

import numpy as np
import pytest

from smidgen.kit.errors import BadInput
from smidgen.laws.eigenframework import optimal_fitting_ratio, optimal_ridge, overfitting_obligatory, ridge_risk
from smidgen.laws.random_features import draw_features, fit_feature_ridge

I = np.arange(1, 401.0)  # noqa: E741
VALUES, POWER = I**-1.5, I**-1.3


def published(gamma, kappa, n, k, ridge, noise):
    """Test and training error as the paper writes them."""
    part = VALUES / (VALUES + gamma)
    z, q = part.sum(), (part**2).sum()
    missed = gamma / (VALUES + gamma) - kappa * VALUES / (VALUES + gamma) ** 2 * k / (k - q)
    test = ((missed * POWER).sum() + noise) / (1 - (q * (k - 2 * z) + z**2) / (n * (k - q)))
    return test, (ridge / (n * kappa)) ** 2 * test


def test_both_equations_hold_and_errors_are_the_published_ones():
    n, k, ridge = (v.ravel() for v in np.meshgrid([7, 60, 130], [9, 60, 150], [1e-6, 0.01, 3.0]))
    got = ridge_risk(VALUES, POWER, n, k, ridge, 0.5)
    np.testing.assert_allclose(got.z + ridge / got.kappa, n, rtol=1e-6)
    np.testing.assert_allclose(got.z + k * got.kappa / got.gamma, k, rtol=1e-9)
    told = [published(*row, 0.5) for row in zip(got.gamma, got.kappa, n, k, ridge, strict=True)]
    np.testing.assert_allclose(np.stack([got.test, got.train], 1), told, rtol=1e-4)
    wide, finite = ridge_risk(VALUES, POWER, 60, math.inf, 0.01), ridge_risk(VALUES, POWER, 60, 1e9, 0.01, whole=True)
    assert wide.test == pytest.approx(finite.test, rel=1e-6) and wide.kappa == wide.gamma


def test_least_squares_and_the_unlearnable():
    ones = np.ones(20)  # 20 features of variance 1 and 50 samples: the error is noise n / (n - M)
    assert ridge_risk(ones, ones, 50, noise=0.3, whole=True).test == pytest.approx(0.3 * 50 / 30)
    assert ridge_risk(ones, ones, 50, 20, noise=0.3, whole=True).test == pytest.approx(0.3 * 50 / 30)
    more = ridge_risk([*ones, 0.0], [*ones, 0.3], 50, whole=True)  # what no kernel holds is noise
    assert more.test == pytest.approx(0.3 * 50 / 30)
    two = ridge_risk(VALUES, np.stack([POWER, 2 * POWER], 1), 60, 90, 0.1)
    assert two.test == pytest.approx(3 * ridge_risk(VALUES, POWER, 60, 90, 0.1).test)


@pytest.mark.parametrize(("n", "k", "ridge"), [(64, 40, 0.1), (64, 200, 0.01)])
def test_real_regressions_err_so(n, k, ridge):
    rng, errors = np.random.default_rng(1000), []
    for _ in range(150):
        rows, target = rng.standard_normal((n, len(I))), np.sqrt(POWER)
        y = rows @ target + rng.normal(0, 0.5**0.5, n)
        model = fit_feature_ridge(rows * np.sqrt(VALUES), y, draw_features("gaussian", len(I), k, rng), ridge)
        learnt = (model.features.weights_DK @ model.coefficients_KO)[:, 0] * np.sqrt(VALUES / k)
        train = np.mean((y - model.predict(rows * np.sqrt(VALUES))) ** 2)
        errors.append((((target - learnt) ** 2).sum() + 0.5, train))
    told = ridge_risk(VALUES, POWER, n, k, ridge, 0.5, whole=True)
    assert np.mean(errors, 0) == pytest.approx([float(told.test), float(told.train)], rel=0.06)


def test_the_best_ridge_is_the_best_and_more_is_better():
    k = [16, 64, 100, 400, math.inf]
    ridge, best = optimal_ridge(VALUES, POWER, 100, k, 0.5, whole=True)
    tried = ridge_risk(VALUES, POWER, 100, np.array(k)[:, None], np.geomspace(1e-3, 1e2, 300), 0.5, whole=True)
    np.testing.assert_allclose(best.test, tried.test.min(1), rtol=1e-4)
    assert (best.test <= tried.test.min(1)).all() and (np.diff(best.test) < 0).all()
    np.testing.assert_allclose(ridge_risk(VALUES, POWER, 100, k, ridge, 0.5, whole=True).test, best.test, rtol=1e-9)
    assert (np.diff(optimal_ridge(VALUES, POWER, [10, 30, 100, 300], 100, 0.5, whole=True)[1].test) < 0).all()
    small = ridge_risk(VALUES, POWER, 100, [50, 100, 200], 1e-6, 0.5)
    assert small.test[1] > 5 * max(small.test[0], small.test[2])


def test_when_to_interpolate():
    i = np.arange(1, 100_001.0)
    for beta, noise in ((1.5, 1.0), (2.0, 2.0)):  # finite sizes come near the limit
        clean = ridge_risk(i**-1.5, i**-beta, 150).test
        ratio = optimal_ridge(i**-1.5, i**-beta, 150, noise=noise * clean)[1].fitting_ratio
        assert ratio == pytest.approx(optimal_fitting_ratio(1.5, beta, noise), rel=0.08)
    assert optimal_ridge(i**-1.5, i**-2.0, 150)[0] == 0 == optimal_fitting_ratio(1.5, 2.0, 0.66)
    assert overfitting_obligatory(1.5, 2.0, 0.66) and not overfitting_obligatory(1.5, 2.0, 0.67)  # the edge is 2 / 3
    assert optimal_fitting_ratio(1.5, 1.2) == pytest.approx(0.25)


def test_refusals():
    for settings, message in (
        ((0,), "n: expected finite and at least 1"),
        ((10, 0.5), "k: expected at least 1"),
        ((10, 20, -1.0), "ridge: expected finite and >= 0"),
        ((10, 20, 1.0, math.nan), "noise: expected"),
        ((50, [40, 50]), "peak of the error, 50 samples for as many features"),
        ((400, 800), "peak of the error, 400"),
    ):
        with pytest.raises(BadInput, match=message):
            ridge_risk(VALUES, POWER, *settings)
    with pytest.raises(BadInput, match="coefficients2: expected 400 rows"):
        ridge_risk(VALUES, POWER[1:], 10)
    with pytest.warns(UserWarning, match="400 eigenvalues are few for 300 samples"):
        ridge_risk(VALUES, POWER, 10, 300, 0.1)
    with pytest.raises(BadInput, match=r"beta: expected between 1 and 2 alpha \+ 1 = 4"):
        optimal_fitting_ratio(1.5, 4.0)
