"""Quantized activations against torch's own fake quantization."""

import pytest
import torch

from smidgen.compress.activations import ActivationQuantizer
from smidgen.kit.errors import BadInput


def _settled(x, bits):
    made = ActivationQuantizer(bits)
    made.observe(x)
    made.settle()
    return made


@pytest.mark.parametrize("bits", [2, 8])
def test_values_are_those_of_torch_and_gradients_those_of_lsq(bits):
    x = torch.randn(4, 50, generator=torch.Generator().manual_seed(bits)) + 0.7
    quantizer = _settled(x, bits)
    with torch.no_grad():  # a learned range that cuts, and a zero point between two levels
        quantizer.span.mul_(0.6)
        quantizer.zero.add_(0.3)
    x.requires_grad_()
    weight = torch.randn(4, 50, generator=torch.Generator().manual_seed(1))
    y = quantizer(x)
    (y * weight).sum().backward()
    s, z, top = quantizer.scale.detach(), quantizer.zero_point.detach(), 2**bits - 1
    torch.testing.assert_close(y, torch.fake_quantize_per_tensor_affine(x.detach(), float(s), int(z), 0, top))
    torch.testing.assert_close((quantizer.codes(x.detach()) - z) * s, y.detach())
    u = x.detach() / s + z
    inside = (u >= 0) & (u <= top)
    torch.testing.assert_close(x.grad, weight * inside)
    by_scale = torch.where(inside, u.round() - u, u.clamp(0, top) - z)
    torch.testing.assert_close(quantizer.span.grad, (by_scale * weight).sum() / top)
    torch.testing.assert_close(quantizer.zero.grad, -(s * weight * ~inside).sum())


def test_zero_is_exact_and_no_range_is_one():
    above = _settled(torch.tensor([3.0, 5.0]), 4)
    assert (above.zero_point.item(), above.span.item()) == (0, 5)
    around = _settled(torch.tensor([-1.03, 2.0]), 3)
    assert around(torch.zeros(1)).item() == 0
    assert _settled(torch.zeros(3), 4).span.item() == 1
    cut = ActivationQuantizer(4)
    cut.observe(torch.cat([torch.linspace(0, 1, 99), torch.tensor([1000.0])]), share=0.95)
    assert float(cut.high) < 1


def test_what_is_wrong():
    with pytest.raises(BadInput, match="saw no inputs"):
        ActivationQuantizer(4).settle()
    with pytest.raises(BadInput, match="NaN or infinity"):
        ActivationQuantizer(4).observe(torch.tensor([1.0, torch.nan]))
    with pytest.raises(BadInput, match="2 to 8"):
        ActivationQuantizer(9)
