"""Recovery starts from the codes that there are, learns, and is repeatable."""

import pytest
import torch
from small_subject import subject

from smidgen.compress.layers import find, weight_of
from smidgen.compress.recover import recover, within
from smidgen.formats.format import Format
from smidgen.formats.scales import Kind
from smidgen.kit.errors import BadInput


@pytest.mark.parametrize("name", ["int2+offset/16", "nf4/16/float32", "int4/channel", "e2m1/16/e4m3fn", "ternary/8"])
def test_a_weight_within_its_codes_rounds_to_them(name: str) -> None:
    weight = torch.randn(12, 40, generator=torch.Generator().manual_seed(1))
    quantized = Format.parse(name).quantize(weight)
    codes = torch.randint_like(quantized.codes.int(), len(quantized.format.levels.levels)).to(torch.uint8)
    if name.startswith("e2m1") or name == "nf4/16/float32":
        codes = torch.from_numpy(quantized.format.levels.codes)[codes.long()].to(torch.uint8)
    other = quantized.scaled.with_codes(codes)  # codes that some other rounding gave
    back = quantized.scaled.quantize(within(weight, other)).dequantize()
    torch.testing.assert_close(back, other.dequantize())
    near = within(weight, quantized)
    assert (near - weight).abs().mean() < 0.5 * (quantized.dequantize() - weight).abs().mean()


def test_it_learns_on_unseen_rows_and_repeats() -> None:
    s = subject()
    format = Format("int2", 16, True, "double")
    start = {layer: format.quantize(weight_of(s.model, layer)) for layer in find(s.model)}
    before = recover(s, start, steps=0)
    made = recover(s, start, steps=120)
    assert s.loss(made.model, s.check) < 0.6 * s.loss(before.model, s.check)
    again = recover(s, start, steps=120)
    for layer, quantized in made.weights.items():
        assert torch.equal(quantized.codes, again.weights[layer].codes)
        torch.testing.assert_close(weight_of(made.model, layer), quantized.dequantize())
    assert any(not torch.equal(q.codes, start[a].codes) for a, q in made.weights.items())


@pytest.mark.parametrize(("kind", "learns"), [("double", False), ("e8m0", False), ("float16", True)])
def test_scales_that_a_byte_stores_stay_so_that_writing_down_changes_nothing(kind: Kind, learns: bool) -> None:
    s = subject()
    format = Format("int3", 16, False, kind)
    start = {layer: format.quantize(weight_of(s.model, layer)) for layer in find(s.model)}
    made = recover(s, start, steps=40)
    for layer, quantized in made.weights.items():
        assert torch.equal(quantized.scaled.scales, start[layer].scaled.scales) != learns


def test_it_needs_data_and_one_length() -> None:
    s = subject(learn=0)
    start = {layer: Format("int4", 16).quantize(weight_of(s.model, layer)) for layer in find(s.model)}
    with pytest.raises(BadInput, match="calibration data"):
        recover(s, start, steps=3)
    with pytest.raises(BadInput, match="steps or seconds"):
        recover(s, start)
