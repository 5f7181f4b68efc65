"""Scales: kept as they say, never worse for searching."""

import pytest
import torch

from smidgen.formats import scales
from smidgen.formats.blockwise import Blockwise
from smidgen.formats.format import Format
from smidgen.kit.errors import BadInput

W = torch.randn(24, 192, generator=torch.Generator().manual_seed(0)) ** 3  # heavy tails: there clipping helps
NAMES = ["int2/32", "int3/64", "int4/64", "int4+offset/64", "int3+offset/32/bfloat16", "nf4/64/double", "fp4/64",
         "e2m1/32/e8m0", "e2m1/16/e4m3fn", "int8/channel", "ternary/tensor", "int2+offset/48/float32"]  # fmt: skip


RELATIVE = ["nf4/64/double", "e2m1/16/e4m3fn"]  # they keep scales relative to others: changing one moves the rest


@pytest.mark.parametrize("name", [name for name in NAMES if name not in RELATIVE])
def test_searching_is_never_worse_than_the_largest_number(name):
    fmt = Format.parse(name)
    for weight in (W, W[:, :100], W.abs(), -W.abs()):
        grouped = fmt.grouped(weight - fmt.quantize(weight, search="absmax").dequantize(), 0).square().sum(-1)
        searched = fmt.grouped(weight - fmt.quantize(weight, search="mse").dequantize(), 0).square().sum(-1)
        assert bool((searched <= grouped * (1 + 1e-5) + 1e-12).all())


@pytest.mark.parametrize("name", RELATIVE)
def test_searching_relative_scales_is_no_worse_as_a_whole(name):
    fmt = Format.parse(name)
    error = [float((W - fmt.quantize(W, search=s).dequantize()).square().sum()) for s in ("mse", "absmax")]
    assert error[0] <= error[1]


def test_importance_moves_the_error_elsewhere():
    fmt, counts = Format.parse("int2/64"), torch.ones(192)
    counts[::4] = 100.0
    plain, weighted = (fmt.quantize(W, importance=i).dequantize() for i in (None, counts))
    loss = [float((counts * (W - back).square()).sum()) for back in (weighted, plain)]
    assert loss[0] < 0.9 * loss[1]


def test_e8m0_is_the_nearest_power_of_two():
    given = torch.tensor([[1.0, 1.3, 1.5, 3.0, 2.0**-120, 7e30]])
    back = scales.restore(scales.store(given, "e8m0"), "e8m0")
    assert back.tolist() == [[1.0, 1.0, 2.0, 4.0, 2.0**-120, 2.0**102]]
    made = Format.parse("e2m1/32/e8m0").fit(W, search="absmax")
    assert torch.equal(torch.exp2(made.scales.log2().round()), made.scales)
    largest = W.reshape(24, 6, 32).abs().amax(-1)  # OCP MX 1.0, section 6.3: its exponent less that of 6 = 1.5 * 2^2
    assert torch.equal(made.scales, torch.exp2(largest.log2().floor() - 2))


@pytest.mark.parametrize("kind", ["float32", "float16", "bfloat16", "e8m0", "e4m3fn", "double"])
def test_what_is_read_back_is_kept_for_good(kind):
    """Storing what was restored changes nothing, but for rounding of what scales are relative to."""
    given = torch.rand(7, 41, generator=torch.Generator().manual_seed(1)) + 0.01
    once = scales.restore(scales.store(given, kind), kind)
    again = scales.restore(scales.store(once, kind), kind)
    exact = {"float32", "float16", "bfloat16", "e8m0"}
    assert torch.equal(once, again) if kind in exact else torch.allclose(once, again, rtol=2e-2)
    most = {"float32": 0, "float16": 2**-11, "bfloat16": 2**-8, "e8m0": 0.42, "e4m3fn": 2**-4 + 1e-6, "double": 0.05}
    assert float(((once - given) / given).abs().max()) <= most[kind] or kind == "double"
    assert sum(t.numel() * t.element_size() for t in scales.store(given, kind).values()) == scales.stored_bytes(
        7, 41, kind
    )


def test_double_quantization_is_blocks_of_bytes_around_the_mean():
    """Dettmers et al., 2023, section 3: 256 scales less their mean share a float32."""
    given = torch.rand(5, 120, generator=torch.Generator().manual_seed(2)) + 0.5
    stored = scales.store(given, "double")
    mean = given.mean()
    assert stored["codes"].dtype == torch.uint8 and stored["of"].shape == (3,) and stored["mean"] == mean
    top = (given - mean).reshape(-1)[:256].abs().max()
    assert stored["of"][0] == top
    step = float(torch.from_numpy(Blockwise().table()).diff().max())
    assert float((scales.restore(stored, "double") - given).abs().max()) <= step / 2 * float(stored["of"].max()) * 1.01


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_refused(value):
    bad = W.clone()
    bad[3, 5] = value
    for name in ("int4/64", "nf4/64/double", "e2m1/32/e8m0"):
        with pytest.raises(BadInput, match="NaN"):
            Format.parse(name).quantize(bad)


def test_groups_of_zeros_stay_zero():
    for name in NAMES:
        assert not Format.parse(name).quantize(torch.zeros(3, 64)).dequantize().any(), name


def test_kinds_that_cannot_be_are_refused():
    with pytest.raises(BadInput):
        Format("int4", scales="e8m0", offset=True)
    with pytest.raises(BadInput):
        Format("int4", scales="float8")  # pyright: ignore
    with pytest.raises(BadInput):
        Format.parse("int4/64").fit(W, search="best")  # pyright: ignore
