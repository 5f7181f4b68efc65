"""Grids against torch's own small floats, and tables written by hand."""

import pytest
import torch

from smidgen.formats.format import Format
from smidgen.formats.grid import grid
from smidgen.formats.rounding import codes, round_to, values
from smidgen.kit.errors import BadInput

FLOATS = {"e4m3fn": torch.float8_e4m3fn, "e5m2ieee": torch.float8_e5m2}


def numbers():
    g = torch.Generator().manual_seed(0)
    x = torch.randn(50_000, generator=g) * torch.exp2(torch.randint(-20, 9, (50_000,), generator=g))
    return torch.cat([x, torch.from_numpy(grid("e5m3").borders).float()])  # ties too


@pytest.mark.parametrize("name", FLOATS)
def test_bytes_and_rounding_are_torchs(name):
    g, kind = grid(name), FLOATS[name]
    theirs = torch.arange(256, dtype=torch.uint8).view(kind).float()
    theirs[torch.isinf(theirs)] = torch.nan
    assert torch.equal(torch.from_numpy(g.values).nan_to_num(-1.0), theirs.nan_to_num(-1.0))
    x = numbers().clamp(-g.largest, g.largest)
    assert torch.equal(values(codes(x, g), g), x.to(kind).float())


def test_the_variant_without_reserved_codes_reaches_further():
    assert (grid("e4m3fn").largest, grid("e4m3").largest) == (448.0, 480.0)
    assert (grid("e5m2ieee").largest, grid("e5m2").largest) == (57344.0, 114688.0)
    assert set(grid("e4m3fn").levels) < set(grid("e4m3").levels)


def test_wide_floats_are_float16_and_bfloat16():
    x = numbers().clamp(-65504, 65504)
    assert torch.equal(round_to(x, grid("e5m10")), x.half().float())
    assert torch.equal(round_to(x, grid("e8m7")), x.bfloat16().float())


def test_four_bit_floats():
    assert grid("e2m1").values.tolist()[:8] == [0, 0.5, 1, 1.5, 2, 3, 4, 6]


def test_fixed_point_and_posits():
    assert grid("fixed2.2").levels.tolist() == [k / 4 for k in range(-8, 8)]
    five = grid("posit5e1")  # of the standard's own example: useed 4, largest 4^3
    above = [1, 1.5, 2, 3, 4, 8, 16, 64]
    assert five.levels[five.levels > 0].tolist() == [1 / 64, 1 / 16, 1 / 8, 1 / 4, 3 / 8, 1 / 2, 3 / 4, *above]
    assert grid("posit8e0").largest == 64 and grid("posit16e1").largest == 2.0**28


def test_integers_of_more_than_eight_bits():
    x = torch.tensor([-40000.0, -3.5, 0.4, 32767.4])
    assert round_to(x, grid("int16")).tolist() == [-32768, -4, 0, 32767]
    for name in ("int17", "fixed0.8", "posit2e0", "int0"):
        with pytest.raises(BadInput):
            grid(name)


def test_blocks_of_integers_with_a_shared_exponent_do_not_clip():
    x = torch.rand(4, 64, generator=torch.Generator().manual_seed(0))
    lost = (Format.parse("int8/32/e8m0").quantize(x, search="absmax").dequantize() - x).abs().max()
    assert float(lost) <= 2.0**-7  # half a step of 2^-6, the largest number of a block just above 1/2 being 127 of it
