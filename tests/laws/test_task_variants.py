"""Coarser classes and noisy inputs: exact losses, paired draws, and what real digits show."""

import numpy as np
import pytest

from smidgen.kit.errors import BadInput
from smidgen.laws.random_features import expected_kernel, kernel_errors
from smidgen.laws.task_variants import AS_IS, RIDGE, variants

SIZES = (16, 32, 64, 128)


@pytest.fixture(scope="module")
def made():
    """Few dimensions in a space of more, which noise fills."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(500, 3))
    return z @ rng.normal(size=(3, 12)), (2 * (z[:, 0] > 0) + (z[:, 1] > 0)).astype(int)


def test_losses_are_those_of_kernel_ridge_regression(made):
    X, y = made
    (own,) = variants(X, y, SIZES, held=200, draws=2, seed=3)
    order = np.random.default_rng([3, 1]).permutation(500)[:328]
    hot = np.eye(4)[y] - np.eye(4)[y].mean(0)
    train, test = order[:64], order[128:]
    K = expected_kernel("relu", X[train], X[train])
    ridge = RIDGE * np.trace(K) / 64
    wanted = kernel_errors(K, hot[train], expected_kernel("relu", X[test], X[train]), hot[test], [ridge])[0][0]
    assert own.losses_KR[1, 2] == pytest.approx(wanted * 200 / (hot[test] ** 2).sum(), rel=1e-6)
    assert own.losses_KR.shape == (2, 4) and own.interval[0] < own.change == own.exponent < own.interval[1]


def test_variants_are_paired_and_noise_flattens_the_curve(made):
    X, y = made
    found = {v.name: v for v in variants(X, y, SIZES, merged={"same": [3, 2, 1, 0], "two": [0, 0, 1, 1]},
                                         noises=(0.0, 1.0), held=200, draws=3)}  # fmt: skip
    assert list(found) == [AS_IS, "same", "two", "noise 0", "noise 1"]
    for name in ("same", "noise 0"):  # renamed classes and no noise are no change at all
        assert found[name].losses_KR == pytest.approx(found[AS_IS].losses_KR)
        assert found[name].interval == pytest.approx((0.0, 0.0), abs=1e-6)
    assert found["noise 1"].interval[1] < -0.05 and found["two"].change != 0
    assert found["two"].change == pytest.approx((found["two"].exponents_K - found[AS_IS].exponents_K).mean())


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"rows": (16, 32, 64)}, "at least 4 different"),
        ({"rows": (16, 32, 64, 400)}, "beside those held out"),
        ({"draws": 1}, "for an interval"),
        ({"merged": {"few": [0, 1]}}, "one for each of 4"),
        ({"merged": {"one": [5, 5, 5, 5]}}, "classes: expected at least 2"),
    ],
)
def test_what_cannot_be_compared(made, wrong, match):
    with pytest.raises(BadInput, match=match):
        variants(*made, **{"rows": SIZES, "held": 200, "draws": 2, **wrong})
