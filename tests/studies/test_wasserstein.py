"""Exact distances of samples: weights, unequal sizes, any power."""

import numpy as np
import pytest
from scipy.stats import wasserstein_distance

from smidgen.kit.errors import BadInput
from smidgen.studies.wasserstein import gridpoint_wasserstein, wasserstein

A, B = np.random.default_rng(0).standard_normal(37), np.random.default_rng(1).gamma(2.0, size=24)


def test_it_is_scipys_at_p_1():
    rng = np.random.default_rng(2)
    wa, wb = rng.random(37) * (rng.random(37) > 0.3), rng.integers(0, 4, 24)
    assert wasserstein(A, B) == pytest.approx(wasserstein_distance(A, B))
    assert wasserstein(A, B, a_weights=wa) == pytest.approx(wasserstein_distance(A, B, wa))
    assert wasserstein(A, B, a_weights=wa, b_weights=wb) == pytest.approx(wasserstein_distance(A, B, wa, wb))


@pytest.mark.parametrize("p", [1, 1.7, 2, np.inf])
@pytest.mark.parametrize("seed", [0, 587, 848])  # in two a rounding error makes a step, which must not count
def test_a_weight_is_a_repetition_and_a_shift_a_distance(p, seed):
    rng = np.random.default_rng(seed)
    times_a, times_b = rng.integers(1, 5, 37), rng.integers(1, 5, 24)
    a, b = np.repeat(A, times_a), np.repeat(B, times_b)
    n, m = len(a), len(b)  # of equal size when each is repeated: pair the sorted
    gaps = abs(np.sort(np.repeat(a, m)) - np.sort(np.repeat(b, n)))
    want = gaps.max() if p == np.inf else (gaps**p).mean() ** (1 / p)
    assert wasserstein(a, b, p) == pytest.approx(want)
    assert wasserstein(A, B, p, a_weights=times_a, b_weights=times_b * 0.1) == pytest.approx(want)
    assert wasserstein(A, rng.permutation(A) + 3, p) == pytest.approx(3)
    assert wasserstein(A * 1e200, B * 1e200, p) == pytest.approx(1e200 * wasserstein(A, B, p))


@pytest.mark.parametrize("times", [30, 17])
def test_points_are_measured_one_by_one(times):
    rng = np.random.default_rng(3)
    x, y = rng.standard_normal((30, 5)), rng.standard_normal((times, 5)) * np.arange(5)
    for p in (1, 2):
        assert np.allclose(gridpoint_wasserstein(x, y, p), [wasserstein(x[:, i], y[:, i], p) for i in range(5)])


def test_errors_say_what_to_do():
    for call, match in (
        (lambda: wasserstein([], A), "at least one"),
        (lambda: wasserstein([np.nan], A), "finite"),
        (lambda: wasserstein(A, B, 0.5), "at least 1"),
        (lambda: wasserstein(A, B, a_weights=-A), "a_weights"),
        (lambda: gridpoint_wasserstein(A[:, None], np.ones((3, 2))), "equal points"),
        (lambda: gridpoint_wasserstein(A[:, None], [[np.inf]]), "overflowed"),
    ):
        with pytest.raises(BadInput, match=match):
            call()
