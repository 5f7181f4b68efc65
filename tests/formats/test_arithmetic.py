"""Emulated arithmetic: as half precision computes, counted, with streams that do not depend on who runs beside."""

import numpy as np
import pytest
import torch

from smidgen.formats.arithmetic import precision
from smidgen.formats.low_precision_array import LowPrecisionArray
from smidgen.kit.errors import BadInput


def program(x, y):
    """Operators, constants, functions and moves."""
    z = (x + 0.1) * y - x / 3
    z = np.sqrt(abs(z)) + np.roll(y, 1, 0) * 0.3
    z[1:] = z[1:] - np.where(x > y, x, y)[:-1]
    z -= 1.7
    return np.maximum(z, -z) / (2 + z * z)


def test_it_computes_as_half_precision_does():
    """numpy's own float16, each operation of which is rounded correctly: bit-equal, subnormal numbers too."""
    rng = np.random.default_rng(0)
    x, y = (rng.standard_normal((50, 4)) * 10.0 ** rng.uniform(-4, 2, (50, 4)) for _ in range(2))
    want = program(x.astype(np.float16), y.astype(np.float16)).astype(np.float64)
    with precision(10, exponent_bits=5) as arithmetic:
        got = program(arithmetic.array(x), arithmetic.array(y))
    assert isinstance(got, LowPrecisionArray) and np.array_equal(np.asarray(got), want)


@pytest.mark.parametrize("mode", ["nearest", "stochastic"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_torch_rounds_as_numpy(mode, dtype):
    """The same words for both, so that even stochastic results are bit-equal."""
    x = np.random.default_rng(1).standard_normal((20, 3))
    results = []
    for array in (x, torch.from_numpy(x)):
        with precision(8, mode, seeds=5, dtype=dtype) as arithmetic:
            a = arithmetic.array(array)
            b = a * 0.37 + a / 3
            b += 1.1 * array  # a plain array beside
            results.append((np.asarray(b.sqrt() - b.sum(0)), arithmetic.counts))
    assert np.array_equal(results[0][0], results[1][0], equal_nan=True) and results[0][1] == results[1][1]
    with precision(8) as arithmetic:
        a = arithmetic.array(torch.from_numpy(x))
        assert torch.equal(torch.roll(torch.from_numpy(x) + a, 1, 0).value, (a + a).value.roll(1, 0))
        assert torch.equal(torch.exp(a).value, arithmetic.array(torch.exp(a.value)).value)


def test_a_member_rounds_alike_whoever_runs_beside():
    x = np.random.default_rng(2).standard_normal((7, 3))

    def run(seeds, columns):
        with precision(5, "stochastic", seeds=seeds) as arithmetic:
            state = arithmetic.array(x[:, columns])
            for _ in range(400):  # the streams are refilled on the way
                state = state * 0.9 + 0.1
            return np.asarray(state)

    together = run([11, 12, 13], [0, 1, 2])
    assert np.array_equal(together[:, [1]], run([12], [1])) and not np.array_equal(
        together, run([11, 12, 14], [0, 1, 2])
    )
    with pytest.raises(BadInput, match="different one"):
        precision(5, "stochastic", seeds=[3, 3])
    with precision(5, "stochastic", seeds=[3, 4]) as arithmetic, pytest.raises(BadInput, match="last axis"):
        arithmetic.array(x) + 1


def test_small_updates_stagnate_to_nearest_and_not_in_the_stochastic_mean():
    """1000 increments of a fifth of half a unit: nearest loses each one, and says so."""
    step = 0.1 * 2.0**-6
    for mode in ("nearest", "stochastic"):
        with precision(6, mode, seeds=0) as arithmetic:
            x = arithmetic.array(np.ones(500))
            for _ in range(300):
                x += step
            before = arithmetic.counts.stagnated
            x += 0.0
            assert arithmetic.counts.stagnated == before  # nothing was lost
        counts = arithmetic.counts
        assert counts.operations == counts.additions == 301 * 500
        if mode == "nearest":
            assert counts.stagnated == 300 * 500 and (np.asarray(x) == 1).all()
        else:
            assert 0.88 < counts.stagnated / counts.additions < 0.92
            assert abs(np.asarray(x).mean() - (1 + 300 * step)) < 0.004  # 4 standard errors


def test_constants_are_short_and_contexts_nest():
    with precision(2) as arithmetic:
        x = arithmetic.array([1.0, 3.0])
        assert np.asarray(1.4 * x).tolist() == [1.5, 4.0]  # 1.4 becomes 1.5; 4.5 lies between 4 and 5, 4 is even
        with precision(20):
            assert np.asarray(x + 0.001)[0] == pytest.approx(1.001, rel=1e-6)
        assert np.asarray(x + 0.001)[0] == 1
    with pytest.raises(BadInput, match="outside"):
        x + 1
    with precision(52) as arithmetic:
        assert type(arithmetic.array([1.0])) is np.ndarray  # nothing to emulate


def test_sums_are_rounded_and_kernels_refused():
    ones = np.ones(4096)
    with precision(3) as arithmetic:
        x = arithmetic.array(ones)
        assert np.asarray(x.sum()) == 4096 == np.asarray(np.sum(x)) and arithmetic.counts.operations == 2 * 4095
        assert np.asarray(arithmetic.array([1.0, 0.06, 0.06, 0.06]).sum()) == 1.125  # (1 + 0.06) + (0.06 + 0.06)
        for kernel in (lambda: x @ ones, lambda: np.dot(x, ones), lambda: np.fft.fft(x), lambda: np.add.reduce(x)):
            with pytest.raises(BadInput):
                kernel()
    with precision(3, "stochastic", seeds=[1, 2]) as arithmetic, pytest.raises(BadInput, match="axis"):
        arithmetic.array(np.ones((3, 2))).sum(1)
