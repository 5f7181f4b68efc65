"""Repeats that count for less: the formula, parameters found again, mixtures, and which form forecasts a curve."""

import numpy as np
import pytest

from smidgen.kit.errors import BadInput
from smidgen.laws.effective_data import (
    EffectiveLaw,
    as_released,
    best_effective_prefix,
    compare_forms,
    effective_mixture,
    fit_effective,
    fresh,
)
from smidgen.laws.filtering import UtilityLaw, effective_error

ROWS = 200
SEEN = ROWS * 2.0 ** np.arange(0, 7)


def law(b, tau, floor=0.0, size=ROWS, a=10.0, kind: type = EffectiveLaw):
    return kind(a, b, tau, floor, size, ROWS, np.array([[a, b, tau]]))


def test_one_pool_is_the_published_formula():
    for samples in (50, 200, 330, 1000, 12_345):
        wanted = effective_error(10.0, -0.4, 2.5, 0.02, ROWS, samples)
        assert law(-0.4, 2.5, 0.02).predict(samples) == pytest.approx(wanted)
    n_eff = ROWS * (1 + 0.5 + 0.25 + 0.5 * 0.125) / ROWS  # three passes and a half, half-life of one
    assert law(-0.4, 1.0).predict(3.5 * ROWS)[0] == pytest.approx((10 * n_eff) ** -0.4)
    assert fresh(law(-0.4, 1.0)).predict(8 * ROWS)[0] == pytest.approx(80**-0.4)


def test_parameters_are_found_again_with_their_doubt():
    rng = np.random.default_rng(0)
    true = ((-0.5, 2.0), (-0.3, 8.0))
    noisy = [law(b, tau, 0.02).predict(SEEN) * np.exp(rng.normal(0, 0.02, len(SEEN))) for b, tau in true]
    found = fit_effective([(ROWS, SEEN, y) for y in noisy], 0.02)
    assert found[0].a == found[1].a
    for one, (b, tau) in zip(found, true, strict=True):
        assert one.b == pytest.approx(b, rel=0.15)
        low, high = np.quantile(one.draws_K3[:, 2], [0.01, 0.99])
        assert low <= tau <= high and low < high
        np.testing.assert_allclose(one.predict(SEEN), law(b, tau, 0.02).predict(SEEN), rtol=0.06)
    with pytest.raises(BadInput, match="checkpoints of a pool"):
        fit_effective([(ROWS, SEEN[:2], noisy[0][:2])])


def test_a_mixture_counts_each_pool_by_what_is_left_of_it():
    halves = [law(-0.4, 3.0, size=100), law(-0.4, 3.0, size=300)]
    assert effective_mixture(halves, 900) == pytest.approx(law(-0.4, 3.0, size=400).predict(900))
    two, n = [law(-0.5, 1.0), law(-0.3, 4.0, size=2 * ROWS)], 2.5 * 3 * ROWS  # two passes and a half over both
    counted = [1 + 2**-1.0 + 0.5 * 2**-2.0, 2 * (1 + 2**-0.25 + 0.5 * 2**-0.5)]
    b = (-0.5 * counted[0] - 0.3 * counted[1]) / sum(counted)
    assert effective_mixture(two, n)[0] == pytest.approx((10 * sum(counted)) ** b)
    pools = [law(b, 1.5) for b in (-0.5, -0.47, -0.44)]
    few, many = best_effective_prefix(pools[::-1], [ROWS / 2, 400 * ROWS])
    assert (few.pools, many.pools) == (1, 3) and few.sure == 1.0 and few.interval[0] == pytest.approx(few.error)
    with pytest.raises(BadInput, match="one scale"):
        effective_mixture([law(-0.5, 1.0), law(-0.5, 1.0, a=2.0)], 100)


def test_the_released_program_shrinks_the_floor():
    own = law(-0.4, 2.0, 0.1, kind=UtilityLaw)
    assert as_released([own], ROWS) == pytest.approx(own.predict(ROWS))  # in the first pass there is no difference
    late = 2 * ROWS
    gained = 2 ** (-0.4 * 2**-0.5)  # of the second pass
    assert as_released([own], late)[0] == pytest.approx((10**-0.4 + 0.1) * gained)
    assert as_released([own], late)[0] < own.predict(late)[0] == pytest.approx(10**-0.4 * gained + 0.1)


def test_the_form_that_made_a_curve_forecasts_its_end_better():
    for kind, name, other in (
        (EffectiveLaw, "effective data", "utility"), (UtilityLaw, "utility", "effective data")
    ):  # fmt: skip
        curves = [(ROWS, SEEN, law(b, 1.5, kind=kind).predict(SEEN)) for b in (-0.5, -0.3)]
        off = compare_forms(curves, last=2)
        assert off[name] < 0.02 and off[name] < off[other]
    with pytest.raises(BadInput, match="at least 5"):
        compare_forms([(ROWS, SEEN[:4], curves[0][2][:4])], last=2)
