"""Shorter significands: as the hardware's own short formats, exact at their ends, unbiased where drawn."""

import numpy as np
import pytest
import torch

from smidgen.formats.significand import Significand, round_significand
from smidgen.kit.errors import BadInput

SPECIAL = [0.0, -0.0, np.inf, -np.inf, np.nan, 5e-324, -1e-310, 1.5, -1.25, 1.7976931348623157e308]


def numbers(seed, count=4000):
    """Numbers over many decades, near ties too."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(count) * 10.0 ** rng.uniform(-7, 5, count)
    ties = (rng.integers(2**10, 2**11, count) + 0.5) * 2.0 ** rng.integers(-20, 4, count)
    return np.concatenate([x, ties, SPECIAL])


def same(a, b):
    return np.array_equal(a, b, equal_nan=True) and np.array_equal(np.signbit(a), np.signbit(b))


@pytest.mark.parametrize(
    ("sbits", "exponent_bits", "own"), [(23, 8, torch.float32), (10, 5, torch.float16), (7, 8, torch.bfloat16)]
)
def test_it_is_the_format_that_the_machine_has(sbits, exponent_bits, own):
    """Normal and subnormal numbers, ties, overflow: to the bit. Through single precision first, as bfloat16 goes."""
    with np.errstate(over="ignore"):
        x = torch.from_numpy(numbers(0).astype(np.float32)).double()
    want = x.to(own).double().numpy()
    assert same(round_significand(x, sbits, exponent_bits=exponent_bits).numpy(), want)
    assert same(round_significand(x.numpy(), sbits, exponent_bits=exponent_bits), want)
    single = round_significand(x.float(), sbits, exponent_bits=exponent_bits)
    assert single.dtype == torch.float32 and same(single.double().numpy(), want)


def test_nearest_is_the_definition_ties_to_even():
    """x = m 2^e with m in [0.5, 1): m 2^(sbits + 1) becomes a whole number."""
    x = numbers(1)[:-10]
    for sbits in (1, 8, 40, 52):
        m, e = np.frexp(x)
        assert np.array_equal(round_significand(x, sbits), np.ldexp(np.rint(np.ldexp(m, sbits + 1)), e - sbits - 1))


@pytest.mark.parametrize("mode", ["nearest", "stochastic"])
def test_what_fits_stays(mode):
    rng = {"rng": np.random.default_rng(0)} if mode == "stochastic" else {}
    x = round_significand(numbers(2), 9, exponent_bits=6)
    before = x.copy()
    assert same(round_significand(x, 9, mode, exponent_bits=6, **rng), before) and same(x, before)


@pytest.mark.parametrize("kind", ["numpy", "torch"])
@pytest.mark.parametrize("x", [1 + 0.3 * 2**-4, -7.99, 3.3e-6, 2.0**-15 * 0.7])
def test_stochastic_goes_up_as_often_as_the_fraction_says(kind, x):
    """Subnormal numbers of five exponent bits too: their fraction is longer."""
    many, rng = np.full(40_000, x), np.random.default_rng(3)
    if kind == "torch":
        many, rng = torch.from_numpy(many), torch.Generator().manual_seed(3)
    got = np.asarray(round_significand(many, 4, "stochastic", exponent_bits=5, rng=rng))
    values = np.unique(got)
    assert len(values) == 2 and values[0] < x < values[1]
    error = (values[1] - values[0]) / 2 / np.sqrt(len(got))
    assert abs(got.mean() - x) < 4 * error


def test_overflow_and_ends():
    form = Significand(10, 5)
    assert (form.largest, form.tiny) == (65504.0, 2.0**-14)
    high = np.array([65504.0, 65519.0, 65520.0, -1e9])
    assert round_significand(high, 10, exponent_bits=5).tolist() == [65504, 65504, np.inf, -np.inf]
    assert np.isposinf(round_significand(np.array([1.7976931348623157e308]), 10))[0]


def test_errors_say_what_to_do():
    x = np.ones(2)
    for sbits in (0, 53, 2.5, True):
        with pytest.raises(BadInput, match="sbits"):
            round_significand(x, sbits)
    with pytest.raises(BadInput, match="Generator"):
        round_significand(x, 4, "stochastic")
    with pytest.raises(BadInput, match="floating"):
        round_significand(np.arange(3), 4)
    with pytest.raises(BadInput, match="mode"):
        round_significand(x, 4, "up")
