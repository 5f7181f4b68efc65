"""Layers with packed weights: the same as layers with the dequantized ones, and they come back from their state."""

import copy

import pytest
import torch
from torch import nn

from smidgen.compress import layers
from smidgen.formats.format import Format
from smidgen.kit.errors import BadInput
from smidgen.nets.packed import PackedConv, PackedEmbedding, PackedLinear, PackedWeight

NAMES = ["int2/32", "int3+offset/24", "int4/64/double", "nf4/64", "e2m1/32/e8m0", "int8/channel", "ternary/tensor"]
CONVS = {
    "1d, stride": (nn.Conv1d(6, 8, 3, stride=2, padding=1), (2, 6, 20)),
    "2d": (nn.Conv2d(3, 10, 3, padding=1), (2, 3, 9, 11)),
    "2d, groups, no bias": (nn.Conv2d(8, 12, (3, 1), groups=4, dilation=2, bias=False), (2, 8, 9, 9)),
    "2d, depthwise": (nn.Conv2d(6, 6, 5, groups=6, padding="same"), (1, 6, 8, 8)),
    "2d, reflected": (nn.Conv2d(4, 5, 3, padding=(1, 2), padding_mode="reflect"), (1, 4, 8, 8)),
    "2d, circular, same": (nn.Conv2d(4, 5, 4, padding="same", padding_mode="circular"), (1, 4, 8, 8)),
    "3d": (nn.Conv3d(2, 4, 3, stride=(1, 2, 1)), (1, 2, 5, 7, 5)),
    "1d, transposed": (nn.ConvTranspose1d(6, 4, 3, stride=2, output_padding=1), (2, 6, 9)),
    "2d, transposed": (nn.ConvTranspose2d(6, 4, 3, stride=2, padding=1), (2, 6, 5, 7)),
    "2d, transposed, groups": (nn.ConvTranspose2d(8, 6, 3, groups=2), (2, 8, 5, 5)),
}


def seeded(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def both(net, fmt):
    """The network with packed weights, and with the same weights unpacked."""
    packed, plain = copy.deepcopy(net), copy.deepcopy(net)
    for layer in layers.find(net):
        quantized = fmt.quantize(layers.weight_of(net, layer))
        layers.swap(packed, layer, layers.pack(layer, quantized))
        layers.set_weight(plain, layer, quantized.dequantize())
    return packed.eval(), plain.eval()


def same(packed, plain, x):
    with torch.no_grad():
        assert torch.allclose(packed(x), plain(x), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("n", [1, 40])
def test_linear(name, n):
    packed, plain = both(nn.Sequential(nn.Linear(96, 50), nn.GELU(), nn.Linear(50, 7, bias=False)), Format.parse(name))
    assert isinstance(packed[0], PackedLinear)
    same(packed, plain, seeded(2, n, 96))
    same(packed, plain, seeded(96))


@pytest.mark.parametrize("name", ["int4+offset/32", "nf4/64/double", "int8/channel"])
@pytest.mark.parametrize("kind", CONVS)
def test_convolutions(kind, name):
    conv, shape = CONVS[kind]
    packed, plain = both(nn.Sequential(conv), Format.parse(name))
    assert isinstance(packed[0], PackedConv)
    same(packed, plain, seeded(*shape))


def test_conv1d_of_transformers_is_a_transposed_linear_layer():
    conv1d = pytest.importorskip("transformers.pytorch_utils").Conv1D
    packed, plain = both(nn.Sequential(conv1d(30, 96)), Format.parse("int4/32"))
    assert packed[0].weight.shape == (96, 30) and packed[0].out_features == 30
    same(packed, plain, seeded(3, 96))


@pytest.mark.parametrize("name", NAMES)
def test_embedding(name):
    packed, plain = both(nn.Sequential(nn.Embedding(40, 24, padding_idx=0)), Format.parse(name))
    assert isinstance(packed[0], PackedEmbedding)
    ids = torch.tensor([[3, 3, 0], [39, 1, 3]])
    with torch.no_grad():
        assert torch.equal(packed(ids), plain(ids))


def test_inputs_are_multiplied_by_their_factors():
    """Columns were divided by them before they were quantized."""
    factors, w, x = (0.5 + seeded(64).abs()).half(), seeded(12, 64), seeded(5, 64)
    fmt = Format.parse("int8/channel/float32")
    layer = PackedLinear(PackedWeight.of(fmt.quantize(w / factors.float()), inputs=factors), torch.ones(12))
    assert (layer(x) - (x @ w.T + 1)).abs().max() < 0.3
    assert torch.allclose(layer(x), x @ layer.weight().T + 1, atol=1e-4)
    other = PackedLinear(PackedWeight(fmt, (12, 64), inputs=True), torch.zeros(12))
    other.load_state_dict(layer.state_dict())
    assert torch.equal(other(x), layer(x))


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.middle, self.out = nn.Embedding(30, 16), nn.Linear(16, 16), nn.Linear(16, 30, bias=False)
        self.out.weight = self.words.weight

    def forward(self, ids):
        return self.out(self.middle(self.words(ids)))


def test_tied_weights_are_one():
    net, fmt = Tied(), Format.parse("int4/16")
    assert [(layer.name, layer.others) for layer in layers.find(net)] == [("words", ("out",)), ("middle", ())]
    packed, plain = both(net, fmt)
    assert packed.words.weight is packed.out.weight
    same(packed, plain, torch.tensor([[1, 29, 4]]))
    found = {id(m): m.bytes() for m in packed.modules() if isinstance(m, PackedWeight)}
    assert sum(found.values()) == fmt.bytes((30, 16)) + fmt.bytes((16, 16))


@pytest.mark.parametrize("name", NAMES)
def test_state_goes_into_empty_layers_and_back(name):
    fmt = Format.parse(name)
    net = nn.Sequential(nn.Embedding(20, 48), nn.Linear(48, 9))
    packed, _ = both(net, fmt)
    bare = copy.deepcopy(net)
    for layer in layers.find(net):
        layers.swap(bare, layer, layers.empty(layer, fmt))
    state = {k: v.clone() for k, v in packed.state_dict().items()}
    assert {"0.weight.codes", "1.weight.codes", "1.weight.scales_codes", "1.bias"} <= state.keys()
    assert not any(v.is_floating_point() and v.numel() > 48 * 9 for v in state.values())  # nothing lies unpacked
    assert not bare.load_state_dict(state).missing_keys
    ids = torch.tensor([1, 19, 5])
    assert torch.equal(bare(ids), packed(ids))
    assert copy.deepcopy(bare).state_dict().keys() == state.keys()


def test_damaged_state_is_refused():
    fmt = Format.parse("int4/64")
    layer = PackedLinear(PackedWeight.of(fmt.quantize(seeded(8, 128))))
    state = layer.state_dict()
    empty = PackedLinear(PackedWeight(fmt, (8, 128)))
    with pytest.raises(RuntimeError, match=r"weight\.codes"):
        empty.load_state_dict({k: v for k, v in state.items() if k != "weight.codes"})
    for change in (state["weight.codes"][:, :-1], state["weight.codes"][:-1]):
        with pytest.raises((BadInput, RuntimeError)):
            empty.load_state_dict({**state, "weight.codes": change})


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_types_come_out_as_they_go_in(dtype):
    packed, plain = both(nn.Sequential(nn.Linear(64, 30)), Format.parse("int4/64"))
    x = seeded(3, 64).to(dtype)
    with torch.no_grad():
        out, exact = packed(x), plain(x.float())
    assert out.dtype == dtype and float((out.float() - exact).abs().max()) < 0.05


def test_gradients_pass_to_what_lies_below():
    packed, plain = both(nn.Sequential(nn.Linear(64, 30), nn.Tanh(), nn.Linear(30, 4)), Format.parse("int4+offset/32"))
    grads = []
    for net in (packed, plain):
        x = seeded(6, 64).requires_grad_()
        net(x).square().sum().backward()
        grads.append(x.grad)
    assert torch.allclose(*grads, atol=1e-5)
