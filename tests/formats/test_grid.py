"""Grids against torch's own float8 types and the published four-bit tables."""

from statistics import NormalDist

import numpy as np
import pytest
import torch

from smidgen.formats import rounding
from smidgen.formats.grid import float_values, grid
from smidgen.kit.errors import BadInput

FLOAT8 = {"e4m3fn": torch.float8_e4m3fn, "e5m2ieee": torch.float8_e5m2}
# Dettmers et al., 2023, appendix E
NF4 = (
    "-1.0 -0.6961928009986877 -0.5250730514526367 -0.39491748809814453 -0.28444138169288635 -0.18477343022823334 "
    "-0.09105003625154495 0.0 0.07958029955625534 0.16093020141124725 0.24611230194568634 0.33791524171829224 "
    "0.44070982933044434 0.5626170039176941 0.7229568362236023 1.0"
)
# bitsandbytes 0.50: get_4bit_type("fp4"), in the order of its codes
FP4 = (0.0, 0.0052083334885537624, 0.6666666865348816, 1.0, 0.3333333432674408, 0.5, 0.1666666716337204, 0.25)


@pytest.mark.parametrize("name", FLOAT8)
def test_all_bytes_mean_what_torch_says(name):
    theirs = torch.arange(256, dtype=torch.uint8).view(FLOAT8[name]).float().numpy()
    finite = np.isfinite(theirs)
    assert np.array_equal(np.isfinite(grid(name).values), finite)
    assert np.array_equal(grid(name).values[finite], theirs[finite])


@pytest.mark.parametrize("name", FLOAT8)
def test_numbers_are_converted_as_torch_does(name):
    """Of all sizes, on every level, halfway between all neighbours (ties) and just beside that; so below the smallest
    normal number too."""
    g = grid(name)
    middles = torch.from_numpy(g.borders.astype(np.float32))
    random = torch.randn(20_000, generator=torch.Generator().manual_seed(0))
    spread = random * torch.exp2(torch.linspace(-20, 6, len(random)))
    infinity = torch.tensor(float("inf"))
    beside = [middles, torch.nextafter(middles, infinity), torch.nextafter(middles, -infinity)]
    x = torch.cat([spread, torch.from_numpy(g.levels), *beside]).clamp(-g.largest, g.largest)
    theirs = x.to(FLOAT8[name])
    codes = rounding.codes(x, g)
    assert torch.equal(rounding.values(codes, g), theirs.float())
    kept = theirs.float() != 0  # a zero has no sign here
    assert torch.equal(codes[kept], theirs.view(torch.uint8)[kept])
    assert set(codes[~kept].tolist()) == {0}
    beyond = torch.tensor([1e9, -1e9])
    assert torch.equal(rounding.round_to(beyond, g), torch.tensor([g.largest, -g.largest]))


def test_the_four_bit_tables_are_the_published_ones():
    assert np.array_equal(grid("nf4").values, np.array(NF4.split(), np.float32))
    inverse, tail = NormalDist().inv_cdf, 0.9677083  # how they came about: quantiles, over the largest
    above, below = ([sign * inverse(p) for p in np.linspace(tail, 0.5, n)[:-1]] for sign, n in ((1, 9), (-1, 8)))
    made = np.sort([*above, 0.0, *below]) / max(above)
    assert np.abs(grid("nf4").values - made).max() < 2e-7
    assert np.array_equal(grid("fp4").values, np.array([*FP4, *(-v for v in FP4)], np.float32))
    assert sorted(set(np.abs(grid("e2m1").levels))) == [0, 0.5, 1, 1.5, 2, 3, 4, 6]  # OCP MX 1.0, table 5


def test_floats_of_any_split():
    """From the definition, one pattern at a time."""
    for e, m in [(2, 1), (3, 2), (2, 3), (4, 3), (5, 2), (1, 4), (0, 3), (4, 0)]:
        bias = 2 ** (e - 1) - 1 if e else 0
        for code, value in enumerate(float_values(e, m)):
            sign, exponent, fraction = code >> (e + m), (code >> m) & (2**e - 1), code & (2**m - 1)
            size = (
                fraction / 2**m * 2.0 ** (1 - bias)
                if exponent == 0
                else (1 + fraction / 2**m) * 2.0 ** (exponent - bias)
            )
            assert value == (-1) ** sign * (size if e else fraction / 2**m)


def test_integers_are_twos_complement_moved_up():
    for bits in range(2, 9):
        assert np.array_equal(grid(f"int{bits}").values, np.arange(-(2 ** (bits - 1)), 2 ** (bits - 1)))
        assert np.array_equal(grid(f"uint{bits}").values, np.arange(2**bits))
    assert grid("int1").values.tolist() == [-1, 1] and grid("ternary").values.tolist() == [-1, 0, 1]


@pytest.mark.parametrize("name", ["int17", "int0", "e9m3", "e8m8", "float", "", "e0m0"])
def test_a_name_that_says_no_grid_is_refused(name):
    with pytest.raises(BadInput):
        grid(name)
