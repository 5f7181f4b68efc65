"""LLM.int8: integers exact, outlier columns in floating point."""

import pytest
import torch
from torch import nn

from smidgen.kit.errors import BadInput
from smidgen.nets.mixed_int8 import MixedInt8Linear, mixed_int8, outlier_columns


def reference(w, b, x, threshold):
    """Column by column in float64, from the definition."""
    large = (x.abs() > threshold).any(0)
    scale_w = w.abs().amax(1) / 127
    q_w = (w / scale_w[:, None]).round()
    inside = torch.where(large, 0.0, x)
    scale_x = inside.abs().amax(1) / 127
    q_x = (inside / torch.where(scale_x == 0, 1.0, scale_x)[:, None]).round()
    product = (q_x.double() @ q_w.double().T) * scale_x[:, None].double() * scale_w.double()
    full = x[:, large].double() @ (q_w * scale_w[:, None])[:, large].double().T
    return (product + full + b.double()).float()


@pytest.mark.parametrize("width", [96, 2500])  # the second one sums in several pieces
def test_it_is_the_decomposition(width):
    torch.manual_seed(0)
    linear = nn.Linear(width, 40)
    x = torch.randn(3, 7, width)
    x[..., 5] *= 100
    x[1, 2] = 0
    layer = MixedInt8Linear.of(linear)
    expected = reference(linear.weight.detach(), linear.bias.detach(), x.reshape(-1, width), 6.0)
    with torch.no_grad():
        assert torch.allclose(layer(x).reshape(-1, 40), expected, atol=2e-5)
        assert torch.allclose(layer(x)[1, 2], linear.bias, atol=1e-7)  # a token of zeros
        whole, plain = linear(x), MixedInt8Linear.of(linear, threshold=float("inf"))
        near, far = ((a(x) - whole).square().mean() for a in (layer, plain))
    assert near < far / 20  # one outlier column ruins the inputs' scale for all others
    assert layer.bytes() == width * 40 + 4 * 40 and layer(x[:0]).shape == (0, 7, 40)


def test_columns_known_before_keep_their_weights():
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(16, 16), nn.Linear(16, 16))
    with torch.no_grad():
        model[0].weight[3] *= 60
    batches = [torch.randn(8, 16) for _ in range(3)]
    found = outlier_columns(model, batches)
    assert 3 in found["1"].tolist() and not len(found["0"])
    expected = model[1](torch.eye(16)[3] * 100)
    mixed_int8(model, columns=found, keep=("0",))
    assert isinstance(model[0], nn.Linear) and isinstance(model[1], MixedInt8Linear)
    assert torch.allclose(model[1](torch.eye(16)[3] * 100), expected, rtol=1e-3)  # float16, not 8 bits
    with pytest.raises(BadInput, match="above 0"):
        MixedInt8Linear.of(nn.Linear(2, 2), threshold=0)
