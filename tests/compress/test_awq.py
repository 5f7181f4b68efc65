"""Scaled columns: AWQ, with GPTQ, SmoothQuant; and the layer that rounds its inputs too."""

import pytest
import torch

from smidgen.compress.awq import awq, awq_gptq, input_scales
from smidgen.compress.gptq import damped, gptq, row_importance
from smidgen.compress.inputs import Inputs, layer_error
from smidgen.compress.smoothquant import smooth_scales, smoothquant
from smidgen.formats.format import Format
from smidgen.kit.errors import BadInput
from smidgen.nets.packed import PackedLinear, PackedWeight
from smidgen.nets.packed_activations import Int8Linear, integer_product, quantize_tokens

INT3 = Format("int3", 16)


def case(outliers=3.0):
    """Inputs with a few large columns."""
    g = torch.Generator().manual_seed(0)
    size = torch.rand(48, generator=g).mul(outliers).exp() * torch.where(torch.rand(48, generator=g) < 0.1, 20, 1)
    x = torch.randn(200, 48, generator=g) * size
    seen = Inputs(200, (x.T @ x / 200)[None], x.mean(0)[None], x.abs().mean(0)[None], x.abs().amax(0)[None])
    return torch.randn(160, 48, generator=g), x, seen


def test_alpha_zero_is_rounding():
    w, _, seen = case()
    plain = INT3.quantize(w, importance=row_importance(damped(seen.hessian, 0.01), len(w)))
    made = awq(w, seen, INT3, alphas=(0.0,))
    assert made.inputs is None and torch.equal(made.quantized.codes, plain.codes)
    assert torch.equal(awq_gptq(w, seen, INT3, alphas=(0.0,)).weight(), gptq(w, seen.hessian, INT3).dequantize())


def test_scaling_helps_and_never_hurts():
    w, _, seen = case()
    h = damped(seen.hessian, 0.01)
    plain, made, both = awq(w, seen, INT3, alphas=(0.0,)), awq(w, seen, INT3), awq_gptq(w, seen, INT3)
    errors = [layer_error(w, r.weight(), h) for r in (plain, made, both)]
    assert made.inputs is not None and errors[1] < 0.95 * errors[0] and errors[2] < errors[0]
    inputs = made.inputs.float()
    inner = row_importance(h * inputs[:, None] * inputs, len(w))
    assert torch.equal(made.quantized.codes, INT3.quantize(w / inputs, importance=inner).codes)
    even = Inputs(200, torch.eye(48)[None], torch.zeros(1, 48), torch.ones(1, 48), torch.ones(1, 48))
    assert layer_error(w, awq(w, even, INT3).weight(), even.hessian) <= layer_error(w, plain.weight(), even.hessian)


def test_packed_layer_divides_its_inputs():
    w, x, seen = case()
    made = awq(w, seen, INT3)
    layer = PackedLinear(PackedWeight.of(made.quantized, inputs=made.inputs))
    torch.testing.assert_close(layer(x), x @ made.weight().T, rtol=1e-4, atol=1e-2)


def test_input_scales():
    s = 1 / input_scales(torch.tensor([4.0, 1.0, 0.0, 16.0]), 0.5).float()
    torch.testing.assert_close(s, torch.tensor([1.0, 0.5, 0.5, 2.0]))  # 2, 1, 1, 4 over the root of 1 * 4
    with pytest.raises(BadInput, match="embedding"):
        awq(torch.zeros(3, 4), Inputs(5, counts=torch.ones(3)), INT3)


def test_a_grouped_convolution_is_scaled():
    w, _, seen = case()
    two = Inputs(200, *(torch.cat([v, v]) for v in (seen.hessian, seen.mean, seen.magnitude, seen.largest)))
    made = awq(w.reshape(160, 12, 2, 2), two, INT3)
    torch.testing.assert_close(made.weight().reshape(160, 48), awq(w, seen, INT3).weight())


def test_smoothquant():
    w, x, seen = case()
    s = 1 / smooth_scales(seen.largest[0], w, 0.75).float()
    torch.testing.assert_close(s, x.abs().amax(0) ** 0.75 / w.abs().amax(0) ** 0.25, rtol=1e-3, atol=0)
    assert smooth_scales(torch.tensor([0.0, 2.0]), torch.tensor([[1.0, 0.0]])).tolist() == [1.0, 1.0]
    y = x @ w.T

    def lost(quantized, inputs=None):
        return float((Int8Linear(PackedWeight.of(quantized, inputs=inputs))(x) - y).square().sum())

    assert lost(*smoothquant(w, seen)) < 0.5 * lost(Format("int8", "channel").quantize(w))
    with pytest.raises(BadInput, match="migration"):
        smoothquant(w, seen, migration=1.5)


def test_int8_layer_is_its_integers():
    w, x, _ = case()
    x[3] = 0
    quantized, bias = Format("int8", "channel").quantize(w), torch.randn(160)
    layer = Int8Linear(PackedWeight.of(quantized), bias)
    top = x.abs().amax(1, keepdim=True) / 127
    q = torch.where(top > 0, (x / top).round(), 0.0)
    wanted = (q.double() * top) @ quantized.dequantize().double().T + bias
    torch.testing.assert_close(layer(x.reshape(10, 20, 48)), wanted.float().reshape(10, 20, 160))
    codes, _ = quantize_tokens(x)
    assert torch.equal(codes.float(), q)
    a, b = torch.full((3, 4000), 127, dtype=torch.int8), torch.full((5, 4000), -128, dtype=torch.int8)
    assert torch.equal(integer_product(a, b.T), torch.full((3, 5), -127 * 128 * 4000, dtype=torch.int32))
    other = Int8Linear(PackedWeight.of(Format("int8", "channel").quantize(w * 2)), bias)
    other(x)
    other.load_state_dict(layer.state_dict())  # the integers that were taken out are made anew
    assert torch.equal(other(x), layer(x))
    with pytest.raises(BadInput, match="int8/channel"):
        Int8Linear(PackedWeight.of(Format("int8", 16).quantize(w)))
