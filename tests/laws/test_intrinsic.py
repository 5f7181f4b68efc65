"""Searches for the intrinsic dimension where it is known, and what they spare; the bound by formula and by trial."""

import math

import numpy as np
import pytest

from smidgen.kit.errors import BadInput
from smidgen.laws.intrinsic import (
    compression_bound,
    d90_table,
    intrinsic_dimension,
    log_grid,
    quantise,
    quantised_bound,
)

DIMS = [10, 30, 100, 300]


def rising(dim, rate, seed):
    """0.9 of 0.8 is reached from 100 on, with a rate of 3."""
    return {10: 0.5, 30: 0.6, 100: 0.74, 300: 0.79}[dim] - 0.2 * abs(math.log(rate / 3)) + 0.001 * seed


def test_the_smallest_that_is_enough_and_no_more():
    found = intrinsic_dimension(rising, DIMS, 0.8, seeds=2, rates=(1.0, 3.0), highest=1.0)
    assert found.d == 100 and found.reached and found.bar == pytest.approx(0.72)
    assert {r.dim for r in found.runs} == {10, 30, 100}  # 300 can change nothing
    # At 10, a first seed leaves no hope with the worse rate; the better rate then comes first, and at 100 alone.
    assert [r.rate for r in found.runs if r.dim == 10] == [1.0, 3.0, 3.0]
    assert [(r.rate, r.seed) for r in found.runs if r.dim == 100] == [(3.0, 0), (3.0, 1)]
    row = found.curve[-1]
    assert (row["dim"], row["rate"], row["reached"]) == (100, 3.0, True) and row["score"] == pytest.approx(0.7405)
    assert len(intrinsic_dimension(rising, DIMS, 0.8, seeds=2, rates=(3.0,), beyond=1).curve) == 4


def test_nothing_is_given_up_that_could_still_reach_the_bar():
    """A bad first seed is made good by the others: the mean counts."""
    scores = {0: 0.3, 1: 0.98, 2: 0.98}
    found = intrinsic_dimension(lambda d, r, s: scores[s], [5], 0.8, seeds=3, highest=1.0)
    assert found.d == 5 and len(found.runs) == 3
    scores[1] = 0.8
    given_up = intrinsic_dimension(lambda d, r, s: scores[s], [5], 0.8, seeds=3, highest=1.0)
    assert given_up.d is None and len(given_up.runs) == 2 and not given_up.curve[0]["reached"]


def test_a_grid_that_is_not_enough_and_runs_that_diverge():
    found = intrinsic_dimension(lambda d, r, s: math.nan if r > 1 else 0.6, DIMS, 0.8, seeds=1, rates=(2.0, 1.0))
    assert found.d is None and not found.reached
    assert [row["score"] for row in found.curve] == [0.6] * 4
    table = d90_table({"a": found})
    assert table[0]["d"] is None and table[0]["largest"] == 300 and table[0]["best"] == 0.6


def test_a_floor_raises_the_bar():
    assert intrinsic_dimension(rising, DIMS, 0.8, seeds=1, rates=(3.0,), floor=0.5).bar == pytest.approx(0.77)
    assert intrinsic_dimension(rising, DIMS, 0.8, seeds=1, rates=(3.0,), floor=0.5).d == 300


def test_wrong_searches():
    for change in ({"dims": []}, {"dims": [3, 2]}, {"frac": 0.0}, {"seeds": 0}, {"rates": ()}, {"floor": 0.8}):
        with pytest.raises(BadInput):
            intrinsic_dimension(**{"score_of": rising, "dims": DIMS, "full_score": 0.8} | change)


def test_grid():
    assert log_grid(10, 10_000, 4) == [10, 100, 1000, 10_000]
    assert log_grid(1, 4, 9) == [1, 2, 3, 4]


def test_the_bound_is_occams():
    by_hand = 0.1 + math.sqrt((200 * 4 * math.log(2) + math.log(5 / 0.05)) / (2 * 10_000))
    assert compression_bound(10_000, 200, 0.1, bits=4, choices=5) == pytest.approx(by_hand)
    assert compression_bound(100, 200, 0.1) == 1.0


def test_the_bound_holds_by_trial():
    """The best of 2^8 rules that know nothing: its true error is 1/2; the bound may lie below in 5 draws of 100."""
    rng = np.random.default_rng(0)
    lowest = (rng.random((400, 256, 60)) < 0.5).mean(2).min(1)  # training error of the chosen rule
    below = np.mean([compression_bound(60, 8, e, bits=1) < 0.5 for e in lowest])
    assert below <= 0.05
    assert np.mean([compression_bound(60, 1, e, bits=1) < 0.5 for e in lowest]) > 0.05  # d must count


def test_quantised():
    x = np.linspace(-2, 1, 50)
    for bits in (2, 4, 8):
        q = quantise(x, bits)
        step = 2 / (2 ** (bits - 1) - 1)
        assert len(np.unique(q)) <= 2**bits - 1 and np.abs(q - x).max() <= step / 2 + 1e-6
        np.testing.assert_allclose(quantise(q, bits), q, rtol=1e-6)
    assert not quantise(np.zeros(3), 4).any()
    with pytest.raises(BadInput):
        quantise(np.array([np.inf]), 4)


def test_the_best_number_of_bits_is_found():
    """4 bits leave the model whole, 2 spoil it, 16 say too much; scales and the choice are paid for."""
    x = {"vector": np.linspace(-1, 1, 100), "scales": np.zeros(4)}
    spoilt = lambda parts: 0.5 if np.abs(parts["vector"] - x["vector"]).max() > 0.1 else 0.02  # noqa: E731
    bounds = quantised_bound(x, spoilt, 20_000, bits=(2, 4, 16))
    assert [b.bits for b in bounds] == [4, 16, 2]
    by_hand = 0.02 + math.sqrt(((104 * 4 + 64) * math.log(2) + math.log(3 / 0.05)) / 40_000)
    assert bounds[0].bound == pytest.approx(by_hand)
