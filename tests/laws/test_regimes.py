"""Slopes and why: exponents above known floors, regimes told apart, dimensions and spectra found again."""

import numpy as np
import pytest

from smidgen.kit.errors import BadInput
from smidgen.laws.dimension import intrinsic_dimension
from smidgen.laws.features import RandomFeatures
from smidgen.laws.regimes import classify_regime, fit_power_law, kernel_exponent, smooth_exponents

X = 2.0 ** np.arange(4, 14)


def test_exponents_above_a_floor_that_is_known_or_not():
    noise = np.exp(np.random.default_rng(0).normal(0, 0.01, len(X)))
    loss = 0.2 + 3 * X**-0.7 * noise
    known, free, wrong = (fit_power_law(X, loss, floor) for floor in (0.2, None, 0.0))
    assert known.exponent == pytest.approx(0.7, abs=0.02) and known.interval[0] < 0.7 < known.interval[1]
    assert (free.exponent, free.floor) == pytest.approx((0.7, 0.2), rel=0.05)
    assert wrong.exponent < 0.4 and wrong.r2 < known.r2 and known.prefactor == pytest.approx(3, rel=0.1)


@pytest.mark.parametrize(
    ("loss", "limit", "regime"),
    [
        (0.3 + 5 / X, 0.3, "variance-limited"),
        (2 * X**-0.4, 0.0, "resolution-limited"),
        (2 * X**-1.0, 0.0, "resolution-limited"),  # an exponent of 1 alone is no variance limit
        (np.where(X < 300, X**-0.2, 300**0.8 * X**-1.0), 0.0, "crossover"),
        (0.3 + X**-0.4, 0.3, "crossover"),
    ],
)
def test_regimes(loss, limit, regime):
    found, said = classify_regime(X, loss, limit)
    assert found == regime and said.endswith(".")


def test_what_cannot_be_told():
    with pytest.raises(BadInput, match="at least 4"):
        fit_power_law(X[:3], X[:3])
    with pytest.raises(BadInput, match=r"above the floor of 0\.5"):
        fit_power_law(X, X**-0.5, 0.5)
    with pytest.raises(BadInput, match="data or width"):
        classify_regime(X, X**-0.5, 0.0, "depth")
    with pytest.raises(BadInput, match="symmetric"):
        kernel_exponent(np.triu(np.ones((50, 50))))
    with pytest.raises(BadInput, match="no eigenvalue below 0"):
        kernel_exponent(-np.eye(60))


def test_spectra_and_dimensions_are_found_again():
    rng = np.random.default_rng(0)
    Q = np.linalg.qr(rng.normal(size=(600, 600)))[0]
    K = (Q * np.arange(1, 601) ** -1.6) @ Q.T
    alpha, (low, high) = kernel_exponent((K + K.T) / 2)
    assert alpha == pytest.approx(0.6, abs=0.01) and low < high
    for d in (2, 5):
        flat = rng.random((1500, d)) @ rng.normal(size=(d, 20))
        for method in ("two_nn", "mle"):
            found, (low, high) = intrinsic_dimension(np.sin(flat), method)
            assert found == pytest.approx(d, rel=0.2) and low < found < high
    assert smooth_exponents(4) == (0.25, 1.0)


def test_random_features_are_exact_where_nothing_is_missing_and_variance_limited_where_width_is():
    model = RandomFeatures(np.random.default_rng(0).normal(size=(1600, 12)), 128, 0, 400)
    assert model.loss(1000, 128) < 1e-6  # the teacher itself
    few, many, most = (model.loss(rows, 24, draws=4) for rows in (100, 200, 800))
    limit = model.loss(1200, 24)
    assert few > many > most > 0.9 * limit > 0.05
    ridges = model.losses(40, 128, [1e-9, 1e3])
    assert ridges[1] == pytest.approx(1.0, abs=0.1) and ridges[0] < ridges[1]
    assert np.allclose(model.kernel(30), model.kernel(30).T)
