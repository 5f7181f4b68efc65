"""Filtering by compute: parameters found again, partial passes, mixtures, and more pools for longer trainings."""

from dataclasses import replace

import numpy as np
import pytest

from smidgen.kit.errors import BadInput
from smidgen.laws.filtering import (
    UtilityLaw,
    best_prefix,
    effective_error,
    fit_pools,
    mixture_error,
    thresholds,
)  # fmt: skip

ROWS = 200
SEEN = ROWS * 2.0 ** np.arange(0, 6)


def law(b, tau, floor=0.0, size=ROWS, a=10.0):
    return UtilityLaw(a, b, tau, floor, size, ROWS, np.array([[a, b, tau]]))


def by_hand(b, tau, samples, a=10.0, size=ROWS):
    """The formula, pass by pass."""
    n = samples / size
    value, j = (a * min(n, 1.0)) ** b, 1
    while n > j:
        value *= (min(n, j + 1) / j) ** (b * 0.5 ** (j / tau))
        j += 1
    return value


@pytest.mark.parametrize("samples", [50, 200, 300, 1000, 1234])
def test_the_formula_with_whole_and_partial_passes(samples):
    assert law(-0.4, 2.0).predict(samples)[0] == pytest.approx(by_hand(-0.4, 2.0, samples))


def test_parameters_are_found_again_with_their_doubt():
    rng = np.random.default_rng(0)
    true = ((-0.5, 2.0), (-0.3, 8.0))
    noisy = [law(b, tau, 0.02).predict(SEEN) * np.exp(rng.normal(0, 0.02, len(SEEN))) for b, tau in true]
    first, second = fit_pools([(ROWS, SEEN, y) for y in noisy], 0.02)
    assert first.a == second.a and first.b < second.b
    for found, (b, tau) in ((first, true[0]), (second, true[1])):
        assert found.b == pytest.approx(b, rel=0.2)
        low, high = np.quantile(found.draws_K3[:, 2], [0.02, 0.98])
        assert low <= tau <= high and low < high
        np.testing.assert_allclose(found.predict(SEEN), law(b, tau, 0.02).predict(SEEN), rtol=0.06)


def test_a_sample_counts_alike_in_pools_of_unlike_sizes():
    sizes = (100, 300)
    curves = [
        (n, n * 2.0 ** np.arange(-2, 4), law(-0.4, 2.0, size=n).predict(n * 2.0 ** np.arange(-2, 4))) for n in sizes
    ]
    small, large = fit_pools(curves)
    assert small.unit == large.unit == ROWS and small.b == pytest.approx(large.b, rel=0.05)
    with pytest.raises(BadInput, match="one scale"):
        mixture_error([small, replace(large, unit=300.0)], 80)
    assert small.predict(80)[0] == pytest.approx(large.predict(80)[0], rel=0.03)  # both in their first pass


def test_one_pool_twice_is_a_pool_of_twice_the_size():
    pool, both = law(-0.4, 3.0), [law(-0.4, 3.0), law(-0.4, 3.0)]
    once = 2 * ROWS  # one pass over both: as far as one pass over twice the rows
    assert mixture_error(both, once)[0] == pytest.approx((10 * 2) ** -0.4)
    assert mixture_error(both, 20 * ROWS)[0] < pool.predict(20 * ROWS)[0]  # less repetition
    halves = [law(-0.4, 3.0, size=100), law(-0.4, 3.0, size=300)]
    assert mixture_error(halves, 100)[0] == pytest.approx(mixture_error(both, 100)[0])


def test_longer_trainings_want_more_and_worse_data():
    pools = [law(b, 1.5) for b in (-0.5, -0.45, -0.4)]
    few, many = best_prefix(pools, [ROWS / 2, 400 * ROWS])
    assert (few.pools, many.pools) == (1, 3) and few.sure == 1.0
    steps = thresholds(pools, 400 * ROWS)
    assert [q for q, _ in steps] == sorted({q for q, _ in steps}) and steps[0][0] == 1
    assert best_prefix(pools[::-1], [ROWS / 2])[0].error == few.error  # sorted by what was fitted, not as given


def test_repeats_count_for_less_in_the_other_form_too():
    twice, fresh = (effective_error(10, -0.4, tau, 0.0, ROWS, 2 * ROWS) for tau in (1.0, 1e9))
    assert twice[0] == pytest.approx((10 * 1.5) ** -0.4) and fresh[0] == pytest.approx(20**-0.4)


def test_what_cannot_be_fitted():
    for curve, floor, said in (
        ((ROWS, [1, 2], [0.5, 0.4]), 0.0, "at least 3"),
        ((ROWS, [1, 2, 3], [0.5, 0.4, 0.1]), 0.1, r"above the floor of 0\.1"),
        ((ROWS, [1, 2, 3], [1.5, 0.4, 0.3]), 0.0, "at most 1"),
        ((ROWS, [0, 2, 3], [0.5, 0.4, 0.3]), 0.0, "samples"),
    ):
        with pytest.raises(BadInput, match=said):
            fit_pools([curve], floor)
    with pytest.raises(BadInput, match="Fit them together"):
        mixture_error([law(-0.4, 3.0), law(-0.4, 3.0, a=11.0)], 100)
