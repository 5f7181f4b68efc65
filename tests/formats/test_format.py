"""Formats as a whole: names, bytes, packing, gradients."""

import math

import pytest
import torch

from smidgen.formats import format as formats
from smidgen.formats.format import Format, Quantized
from smidgen.kit.errors import BadInput

NAMES = ["int1/64", "int2/64", "int3+offset/24/bfloat16", "int4+offset/64/double", "int5/channel", "int6/10", "int7/64",
         "int8/channel/float32", "uint4+offset/64", "nf4/64/double", "fp4/32", "e2m1/32/e8m0", "e2m1/16/e4m3fn",
         "e3m2/tensor", "e4m3fn/64", "ternary/tensor", "ternary/channel"]  # fmt: skip
SHAPES = [(5, 130), (1, 1), (3, 2, 3, 3), (17,), (64, 64)]


def weight(shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", NAMES)
def test_what_is_packed_is_what_was_said(name):
    fmt = Format.parse(name)
    assert fmt.name == name and Format.parse(fmt.name) == fmt
    for shape in SHAPES:
        made = fmt.quantize(weight(shape))
        parts = made.pack()
        size = sum(t.numel() * t.element_size() for t in parts.values())
        assert size == fmt.bytes(shape) and fmt.bits_per_weight(shape) == 8 * size / math.prod(shape)
        back = Quantized.unpack(parts, fmt, shape)
        assert torch.equal(back.dequantize(), made.dequantize()) and back.dequantize().shape == torch.Size(shape)


@pytest.mark.parametrize("name", NAMES)
def test_a_quantized_weight_is_its_own_nearest(name):
    fmt, w = Format.parse(name), weight((6, 96))
    made = fmt.fit(w)
    q = made.quantize(w)
    assert torch.allclose(made.rounded(w), q.dequantize(), atol=1e-6)
    assert torch.equal(made.rounded(w[:, 3:70], slice(3, 70)), made.rounded(w)[:, 3:70])
    again = made.quantize(q.dequantize())
    assert (again.dequantize() - q.dequantize()).abs().max() <= 1e-6 * w.abs().max()


def test_columns_by_themselves_are_the_whole():
    w, fmt = weight((4, 100)), Format.parse("int4+offset/32")
    made = fmt.fit(w)
    one_by_one = torch.cat([made.rounded(w[:, j : j + 1], slice(j, j + 1)) for j in range(100)], 1)
    assert torch.equal(one_by_one, made.rounded(w))
    some = torch.tensor([3, 50, 99])
    assert torch.equal(made.rounded(w[:, some], some), made.rounded(w)[:, some])


def test_more_bits_lose_less_and_four_are_as_good_as_they_should():
    w = weight((64, 512))
    loss = [float((w - Format.parse(f"int{b}/64").quantize(w).dequantize()).norm() / w.norm()) for b in range(2, 9)]
    assert all(b < 0.6 * a for a, b in zip(loss, loss[1:], strict=False))
    assert loss[2] < 0.1 and float((w - Format.parse("nf4/64").quantize(w).dequantize()).norm() / w.norm()) < 0.1


def test_gradients_go_straight_through_to_weight_scales_and_offsets():
    w = weight((3, 64)).requires_grad_()
    made = Format.parse("int2+offset/32").fit(w, search="absmax")
    s, o = made.scales.clone().requires_grad_(), made.offsets.clone().requires_grad_()  # type: ignore[union-attr]
    out = formats.through(w, made, s, o)
    assert torch.equal(out, made.quantize(w).dequantize())
    up = weight((3, 64), 1)
    (out * up).sum().backward()
    v = (w.detach() - o.detach().repeat_interleave(32, 1)) / s.detach().repeat_interleave(32, 1)
    inside = (v >= -2) & (v <= 1)
    assert w.grad is not None and torch.allclose(w.grad, up * inside, atol=1e-5)
    # LSQ, eq. 3: to the scale round(v) - v inside and the end of the grid outside; to the offset 1 outside
    slope = torch.where(inside, v.round() - v, v.clamp(-2, 1))
    for got, each in ((s.grad, slope), (o.grad, (~inside).float())):
        assert got is not None and torch.allclose(got, (up * each).reshape(3, 2, 32).sum(-1), atol=1e-4)


@pytest.mark.parametrize("name", ["int4/64/float16/x", "int4/0", "int4/-3", "int4/row", "int17/64", "int4/64/f8", ""])
def test_a_name_that_says_no_format_is_refused(name):
    with pytest.raises(BadInput):
        Format.parse(name)


def test_damaged_parts_are_refused():
    fmt = Format.parse("int4/64")
    parts = fmt.quantize(weight((4, 128))).pack()
    with pytest.raises(BadInput, match="lacks"):
        Quantized.unpack({k: v for k, v in parts.items() if k != "codes"}, fmt, (4, 128))
    for change in ({"codes": parts["codes"][:, 1:]}, {"codes": parts["codes"][1:]}):
        with pytest.raises(BadInput):
            Quantized.unpack({**parts, **change}, fmt, (4, 128))
    with pytest.raises(BadInput):
        Quantized.unpack({**parts, "scales.codes": parts["scales.codes"][:, :1]}, fmt, (4, 128))
    with pytest.raises(BadInput):
        Format("e5m6").quantize(weight((4, 64))).pack()
