"""Layers that can be quantized are found once each, and exchanged for packed ones that compute the same."""

import copy

import pytest
import torch
from torch import nn

from smidgen.compress.layers import find, kept, pack, set_weight, swap, weight_of
from smidgen.compress.replaceable import keep_what_is_read
from smidgen.formats.format import Format
from smidgen.kit.errors import BadInput


class Net(nn.Module):
    """An embedding tied to the last layer, a grouped and a transposed convolution, and a weight that is in no layer."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(50, 24)
        self.conv = nn.Conv1d(24, 12, 3, padding=1, groups=3)
        self.back = nn.ConvTranspose1d(12, 24, 2, stride=2, output_padding=1)
        self.middle = nn.Linear(24, 24)
        self.own = nn.ParameterDict({"w": nn.Parameter(torch.randn(24, 24))})
        self.last = nn.Linear(24, 50, bias=False)
        self.last.weight = self.words.weight

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.back(self.conv(self.words(ids).transpose(1, 2)).relu()).transpose(1, 2)
        return self.last(self.middle(x) @ self.own["w"])


@pytest.fixture
def net() -> Net:
    torch.manual_seed(0)
    return Net()


def test_a_shared_weight_is_one_layer_and_its_bytes_count_once(net: Net) -> None:
    layers = find(net)
    assert [(a.name, a.others, a.transposed) for a in layers] == [
        ("words", ("last",), False), ("conv", (), False), ("back", (), True), ("middle", (), False),
    ]  # fmt: skip
    assert kept(net) == ["own"]
    int8 = Format("int8", "channel", False, "float32")
    numbers = [50 * 24, 12 * 8 * 3, 24 * 12 * 2, 24 * 24]
    scales = 4 * (50 + 12 + 24 + 24)
    assert sum(int8.bytes(a.shape) for a in layers) == sum(numbers) + scales


@pytest.mark.parametrize("name", ["int8/channel", "int4+offset/16/double", "ternary/8", "int3/tensor"])
def test_packed_layers_compute_what_the_rounded_weights_do(net: Net, name: str) -> None:
    packed, rounded, format = copy.deepcopy(net), copy.deepcopy(net), Format.parse(name)
    for layer in find(net):
        quantized = format.quantize(weight_of(net, layer))
        set_weight(rounded, layer, quantized.dequantize())
        swap(packed, layer, pack(layer, quantized))
    ids = torch.randint(50, (2, 7))
    torch.testing.assert_close(packed(ids), rounded(ids), rtol=1e-5, atol=1e-5)
    assert not torch.equal(rounded(ids), net(ids))
    assert packed.last.weight is packed.words.weight


def test_a_weight_that_is_not_a_number_is_named(net: Net) -> None:
    with torch.no_grad():
        net.conv.weight[0, 0, 0] = float("nan")
    with pytest.raises(BadInput, match="weight of conv holds NaN"):
        find(net)


class Scaled(nn.Embedding):
    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return super().forward(ids) * 5


class Turned(nn.Linear):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.weight.T + self.bias


class Odd(nn.Module):
    """Layers that are not what their class says, or whose weight is read; and one that only says it differently."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.read, self.turned = Scaled(20, 8), nn.Linear(8, 8), Turned(8, 8)
        self.normed = nn.utils.parametrizations.weight_norm(nn.Linear(8, 8))
        self.last = nn.Linear(8, 20, bias=False)
        self.last.weight = self.words.weight

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = nn.functional.linear(self.words(ids), self.read.weight)
        return self.last(self.normed(self.turned(x)))


def test_a_layer_that_does_more_or_whose_weight_is_read_is_kept_and_named() -> None:
    odd = Odd()
    assert [a.name for a in find(odd)] == ["read", "turned"]
    assert keep_what_is_read(odd, lambda: odd(torch.arange(5))) == ["read"]
    assert [a.name for a in find(odd)] == ["turned"]
    assert kept(odd) == ["words", "read", "normed.parametrizations.weight", "last"]
    assert type(odd.read) is nn.Linear and keep_what_is_read(odd, lambda: odd(torch.arange(5))) == []


def test_a_bias_that_is_not_a_number_is_named(net: Net) -> None:
    with torch.no_grad():
        net.middle.bias[3] = torch.inf
    with pytest.raises(BadInput, match="middle.bias holds NaN"):
        find(net)
