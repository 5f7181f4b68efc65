"""Block-wise 8-bit numbers: exact where they say so, near elsewhere, the same from NumPy and torch."""

import numpy as np
import pytest

from smidgen.formats.blockwise import Blockwise, Encoded
from smidgen.kit.errors import BadInput

FORMATS = [Blockwise(levels=kind, signed=signed) for kind in ("dynamic", "linear") for signed in (True, False)]


def numbers(shape, signed, seed=0):
    """Numbers over many decades."""
    x = np.random.default_rng(seed).standard_normal(shape) ** 5
    return (x if signed else abs(x)).astype(np.float32)


def test_the_dynamic_levels_are_those_of_the_byte():
    """From the bits, one code at a time: leading zeros, an indicator, the rest a fraction of [0.1, 1]."""
    levels = []
    for byte in range(1, 256):
        zeros = 8 - byte.bit_length()
        bits = 7 - zeros
        fraction = byte - (1 << bits)
        levels.append(10.0**-zeros * (0.1 + 0.9 * (fraction + 0.5) / 2**bits))
    table = Blockwise(signed=False).table()
    assert len(table) == 256 and table[0] == 0 and table[-1] == 1
    assert np.allclose(table[1:-1], sorted(levels)[:-1], rtol=1e-6)
    signed = Blockwise(signed=True).table()
    assert len(signed) == 255 and np.array_equal(signed, -signed[::-1])


@pytest.mark.parametrize("fmt", FORMATS, ids=str)
def test_every_level_survives(fmt):
    """All codes, at scales that no float divides well, come back bit-equal: encoding what was decoded is exact."""
    table = fmt.table()
    codes = np.stack([np.concatenate([np.arange(len(table)), [len(table) - 1] * (256 - len(table))])] * 4)
    scales = np.array([1.0, 1 / 3, 7e-9, 3e7], np.float32)
    decoded = fmt.decode(Encoded(codes.astype(np.uint8), scales))
    again = fmt.encode(decoded)
    assert np.array_equal(again.codes, codes) and np.array_equal(again.scales, scales)
    assert np.array_equal(fmt.decode(again), decoded)


@pytest.mark.parametrize("fmt", FORMATS, ids=str)
@pytest.mark.parametrize("shape", [(1000,), (7, 33), (1, 256), ()])
def test_torch_and_numpy_agree_and_round_to_the_nearest(fmt, shape):
    torch = pytest.importorskip("torch")
    x = np.asarray(numbers(shape, fmt.signed))
    mine, theirs = fmt.encode(x), fmt.encode(torch.from_numpy(x))
    assert np.array_equal(mine.codes, theirs.codes.numpy()) and np.array_equal(mine.scales, theirs.scales.numpy())
    out = fmt.decode(mine)
    assert np.array_equal(out, fmt.decode(theirs).numpy()) and out.shape == x.shape and out.dtype == np.float32
    flat, scale = x.reshape(-1), np.repeat(mine.scales, 256)[: x.size]
    best = abs(flat[:, None] / scale[:, None] - fmt.table()).min(1)
    assert np.allclose(abs(out.reshape(-1) - flat) / scale, best, atol=1e-7)
    assert mine.codes.nbytes + mine.scales.nbytes == fmt.bytes(x.size)


def test_dynamic_is_near_over_decades_and_the_extreme_is_exact():
    x = np.logspace(-6, 0, 256).astype(np.float32)
    out = Blockwise(signed=False).decode(Blockwise(signed=False).encode(x))
    assert out[-1] == x[-1]
    assert (abs(out / x - 1)[x > 1e-2] < 0.04).all()
    linear = Blockwise(levels="linear", signed=False)
    assert (linear.decode(linear.encode(x))[x < 1e-3] == 0).all()  # what the dynamic levels are for
    assert (out[x > 1e-6] > 0).all()


def test_what_is_divided_by_stays_positive():
    x = np.array([1.0, 1e-12, 0.0, 3e-8], np.float32)
    kept = Blockwise(signed=False, keep_positive=True)
    assert (kept.decode(kept.encode(x)) > 0).tolist() == [True, True, False, True]
    free = Blockwise(signed=False)
    assert free.decode(free.encode(x))[1] == 0


def test_zeros_and_blocks_do_not_touch_each_other():
    x = np.zeros(600, np.float32)
    x[300] = 5e20
    fmt = Blockwise()
    assert np.array_equal(fmt.decode(fmt.encode(x)), x)
    x[0] = 1e-20
    assert fmt.decode(fmt.encode(x))[0] == x[0]  # the large one lies in another block


def test_bad_input():
    with pytest.raises(BadInput, match="finite"):
        Blockwise().encode(np.array([1.0, np.nan]))
    with pytest.raises(BadInput, match="negative"):
        Blockwise(signed=False).encode(np.array([1.0, -1.0]))
    for wrong in ({"block": 0}, {"levels": "log"}, {"keep_positive": True}):
        with pytest.raises(BadInput):
            Blockwise(**wrong)
    assert Blockwise().decode(Blockwise().encode(np.zeros((0, 3)))).shape == (0, 3)
