"""Feature maps have the kernels they are said to have, their regression is exact, spectra and exponents are found."""

import numpy as np
import pytest

from smidgen.kit.errors import BadInput
from smidgen.laws.random_features import (
    MAPS,
    draw_features,
    estimate_spectrum,
    expected_kernel,
    fit_feature_ridge,
    kernel_errors,
    powerlaw_exponents,
)

RNG = np.random.default_rng(1000)
X, Y = RNG.standard_normal((30, 5)), RNG.standard_normal((30, 2))


@pytest.mark.parametrize("name", MAPS)
def test_many_features_are_the_kernel(name):
    made = draw_features(name, 5, 100_000, np.random.default_rng(0), 1.5)(X)
    kernel = expected_kernel(name, X, X, 1.5)
    assert np.abs(made @ made.T - kernel).max() < 0.03 * kernel.max()


@pytest.mark.parametrize("many", [12, 50])
@pytest.mark.parametrize("ridge", [0.3, 1e-11])
def test_ridge_is_added_to_the_matrix_of_the_samples(many, ridge):
    features = draw_features("relu", 5, many, np.random.default_rng(0))
    model, made = fit_feature_ridge(X, Y, features, ridge), features(X)
    told = made.T @ np.linalg.solve(made @ made.T + max(ridge, 1e-9) * np.eye(30), Y)
    np.testing.assert_allclose(model.predict(X), made @ told, atol=1e-5)
    np.testing.assert_allclose(fit_feature_ridge(X, Y[:, 0], features, ridge).predict(X), model.predict(X)[:, 0])


def test_without_ridge_labels_are_met():
    model = fit_feature_ridge(X, Y, draw_features("rff", 5, 60, np.random.default_rng(0)), 0.0)
    np.testing.assert_allclose(model.predict(X), Y, atol=1e-6)
    kernel = expected_kernel("rff", X, X)
    test, train = kernel_errors(kernel[:20, :20], Y[:20], kernel[20:, :20], Y[20:], [0.0, 0.7])
    told = kernel[:, :20] @ np.linalg.solve(kernel[:20, :20] + 0.7 * np.eye(20), Y[:20]) - Y
    assert train == pytest.approx([0, (told[:20] ** 2).sum() / 20], abs=1e-12)
    assert test[1] == pytest.approx((told[20:] ** 2).sum() / 10)


def test_spectrum_and_exponents_of_a_power_law():
    size = np.arange(1, 1501.0) ** -1.5
    rows = np.random.default_rng(1000).standard_normal((400, 1500))
    kernel, y = (rows * size) @ rows.T, rows @ np.sqrt(np.arange(1, 1501.0) ** -2.0)
    values, power = estimate_spectrum(kernel, y)
    assert values.sum() == pytest.approx(np.trace(kernel) / 400) and power.sum() == pytest.approx((y**2).mean())
    assert values[:10] == pytest.approx(size[:10], rel=0.3) and power[0] == pytest.approx(1, rel=0.3)
    found = powerlaw_exponents(kernel, y, seed=1)
    assert (found.alpha, found.beta) == pytest.approx((1.5, 2.0), abs=0.2)
    assert found.alpha_interval[0] < found.alpha < found.alpha_interval[1] < found.beta_interval[0] < found.beta


def test_refusals():
    features = draw_features("relu", 5, 4, np.random.default_rng(0))
    for call, message in (
        (
            lambda: draw_features("sigmoid", 5, 4, np.random.default_rng(0)),
            "map: expected relu, gaussian, rff, got sigmoid",
        ),
        (lambda: draw_features("relu", 5, 0, np.random.default_rng(0)), "features: expected at least 1"),
        (lambda: fit_feature_ridge(X, Y[1:], features, 1.0), "as many rows of targets"),
        (lambda: fit_feature_ridge(X * np.nan, Y, features, 1.0), "finite numbers"),
        (lambda: fit_feature_ridge(X, Y, features, -1.0), "ridge: expected"),
        (lambda: estimate_spectrum(np.triu(np.ones((30, 30))), Y), "symmetric"),
        (lambda: powerlaw_exponents(np.ones((30, 30)), Y, sizes=[8, 10, 12]), "kernel: expected an inverse"),
        (lambda: powerlaw_exponents(X @ X.T, Y, sizes=[8, 30]), "sizes: expected at least 3 from 2 to 29"),
    ):
        with pytest.raises(BadInput, match=message):
            call()
