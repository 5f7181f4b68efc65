"""Fake-quantized layers: they compute in floats with what the formats of their weights and inputs can say.

Gradients go through the rounding, so that weights, biases, scales, offsets and ranges can be learned. What was learned
is written down by `settle` as the format keeps it; from then on the layer, its `quantized()` weight and the packed
network are the same numbers. Dims: R rows of the weight as a matrix, G groups of a row.
"""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from smidgen.compress.activations import ActivationQuantizer, observe_only
from smidgen.compress.capture import Batches, call
from smidgen.compress.layers import Layer, find, packed_like, set_weight
from smidgen.compress.walk import evaluating
from smidgen.formats.format import Format, Quantized, Scaled, through
from smidgen.formats.scales import Search
from smidgen.kit.errors import bad
from smidgen.nets.packed import PackedWeight

INPUT_BYTES = 9  # of a range and a zero point, as floats, and that there is one


class FakeQuantized(nn.Module):
    """A linear layer or a convolution with a fake-quantized weight and, where bits are given, fake-quantized inputs.

    Attributes:
        layer: what it stands for, with the weight before it is rounded, and always a bias.
        scales, offsets: parameters, float32 `[R, G]`. inputs: an ActivationQuantizer, or nothing.
    """

    def __init__(
        self, module: nn.Module, format: Format, input_bits: int | None = None, *, transposed: bool, search: Search
    ) -> None:
        super().__init__()
        self.had_bias = module.bias is not None
        self.layer = with_bias(module)
        self.format, self.transposed = format, transposed
        self._start(format.fit(self.weight, search=search))
        self.inputs = nn.Identity() if input_bits is None else ActivationQuantizer(input_bits)

    @classmethod
    def resume(
        cls, module: nn.Module, quantized: Quantized, weight: Tensor, *, transposed: bool = False
    ) -> "FakeQuantized":
        """From scales that are there already, and a weight (outputs first) that they round to the codes wanted."""
        made = cls.__new__(cls)
        nn.Module.__init__(made)
        made.had_bias = module.bias is not None
        made.layer = with_bias(module)
        made.format, made.transposed = quantized.format, transposed
        with torch.no_grad():
            module.weight.copy_(weight.transpose(0, 1) if transposed else weight)  # type: ignore[operator,union-attr]
        made._start(quantized.scaled)
        made.inputs = nn.Identity()
        return made

    def without_rounding(self) -> nn.Module:
        """The layer itself, with a bias only where it had one."""
        if not self.had_bias:
            self.layer.bias = None  # type: ignore[assignment]
        return self.layer

    def _start(self, scaled: Scaled) -> None:
        self.scaled = scaled
        self.scales = nn.Parameter(self.scaled.scales.clone())
        self.offsets = None if self.scaled.offsets is None else nn.Parameter(self.scaled.offsets.clone())

    @property
    def weight(self) -> Tensor:
        """Outputs first, before it is rounded; part of the graph."""
        own: Any = self.layer.weight
        return own.transpose(0, 1) if self.transposed else own

    @property
    def bias(self) -> Tensor:
        return self.layer.bias  # type: ignore[return-value]

    @property
    def input_bits(self) -> int | None:
        return self.inputs.bits if isinstance(self.inputs, ActivationQuantizer) else None

    def rounded(self) -> Tensor:
        """The weight as it is multiplied, in the layer's own shape."""
        w = through(self.weight, self.scaled, self.scales, self.offsets)
        return w.transpose(0, 1) if self.transposed else w

    def forward(self, x: Tensor) -> Tensor:
        return functional_call(self.layer, {"weight": self.rounded().to(x.dtype)}, (self.inputs(x),))

    @torch.no_grad()
    def settle(self) -> None:
        """Scales and offsets as they are stored; whoever learns them calls it at the end."""
        o = None if self.offsets is None else self.offsets.detach()
        self.scaled = Scaled.keep(self.format, tuple(self.weight.shape), self.scales.detach(), o)
        self.scales.copy_(self.scaled.scales)
        if self.offsets is not None and self.scaled.offsets is not None:
            self.offsets.copy_(self.scaled.offsets)

    def quantized(self) -> Quantized:
        """The weight in its format, settled: outputs first."""
        return self.scaled.quantize(self.weight)

    def packed(self) -> nn.Module:
        """The same layer with a packed weight; its inputs are still quantized where they were."""
        packed = packed_like(self.layer, PackedWeight.of(self.quantized(), transposed=self.transposed))
        return packed if self.input_bits is None else nn.Sequential(copy.deepcopy(self.inputs), packed)

    def bytes(self) -> int:
        """Of the weight with its scales, the bias and the range of the inputs."""
        own = self.format.bytes(tuple(self.weight.shape)) + 4 * self.bias.numel()
        return own + (0 if self.input_bits is None else INPUT_BYTES)


class FixedWeight(nn.Module):
    """An embedding, or a layer that shares its weight with others: rounded once, nothing about it is learned."""

    def __init__(self, module: nn.Module, quantized: Quantized, transposed: bool, bytes: int) -> None:
        super().__init__()
        self.layer, self.value, self.transposed, self._bytes = module, quantized, transposed, bytes
        self.format = quantized.format

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)

    def quantized(self) -> Quantized:
        return self.value

    def packed(self) -> nn.Module:
        return packed_like(self.layer, PackedWeight.of(self.value, transposed=self.transposed))

    def bytes(self) -> int:
        return self._bytes


def fake_quantize(
    model: nn.Module,
    formats: Format | Mapping[str, Format],
    batches: Batches = (),
    *,
    input_bits: int | None = None,
    search: Search = "absmax",
) -> nn.Module:
    """A copy of the network with fake-quantized layers: min-max ranges, or those of least squared error ("mse").

    Args:
        formats: of all layers, or by name of those to be quantized.
        batches: calibration data; needed where inputs are quantized.
        input_bits: of the inputs of linear layers and convolutions; None: floats.

    Raises:
        BadInput: a name that is no layer; no batches for the inputs' ranges.
    """
    if input_bits is not None and not len(batches):
        raise bad("calibration data", "at least one batch, since inputs are quantized", "none")
    made = copy.deepcopy(model)
    layers = {a.name: a for a in find(made)}
    wanted = dict.fromkeys(layers, formats) if isinstance(formats, Format) else dict(formats)
    if unknown := sorted(set(wanted) - set(layers)):
        raise bad("layer", f"one of {', '.join(layers)}", unknown[0])
    for name, format in wanted.items():
        _replace(made, layers[name], format, input_bits, search)
    if input_bits is not None:
        with evaluating(made), torch.no_grad():
            observe_only(made)
            for batch in batches:
                call(made, batch)
            _drop_unseen(made)
            observe_only(made, on=False)
    return made


def learnable(model: nn.Module) -> dict[str, FakeQuantized]:
    """Layers whose rounding can be learned, by name."""
    return {n: m for n, m in model.named_modules() if isinstance(m, FakeQuantized)}


def fake_layers(model: nn.Module) -> dict[str, FakeQuantized | FixedWeight]:
    """All quantized layers, by name."""
    return {n: m for n, m in model.named_modules() if isinstance(m, FakeQuantized | FixedWeight)}


def quantized_weights(model: nn.Module) -> dict[str, Quantized]:
    """The integers and scales of each quantized layer, by name."""
    return {n: m.quantized() for n, m in fake_layers(model).items()}


def packed(model: nn.Module) -> nn.Module:
    """A copy with packed layers, which computes the same."""
    made = copy.deepcopy(model)
    shared: dict[int, nn.Module] = {}
    for name, module in fake_layers(made).items():
        new = module.packed()
        if isinstance(module, FixedWeight):
            inner: Any = new
            inner.weight = shared.setdefault(id(module.value), inner.weight)
        put(made, name, new)
    return made


def bytes_of(model: nn.Module) -> int:
    """All that the network takes: quantized layers, and the rest in its own types; shared weights count once."""
    fakes = fake_layers(model)
    inside = tuple(f"{name}." for name in fakes)
    rest = {
        (v.data_ptr(), v.shape): v.numel() * v.element_size()
        for k, v in model.state_dict().items()
        if not (inside and k.startswith(inside))
    }
    return sum(m.bytes() for m in fakes.values()) + sum(rest.values())


def put(model: nn.Module, name: str, module: nn.Module) -> None:
    """Another module in the place of this name."""
    parent, _, last = name.rpartition(".")
    setattr(model.get_submodule(parent) if parent else model, last, module)


def outputs_of(module: nn.Module) -> int:
    """How many output channels a layer has."""
    for name in ("out_channels", "out_features", "nf"):
        if isinstance(found := getattr(module, name, None), int):
            return found
    raise bad("layer", "a linear layer or a convolution", type(module).__name__)


def with_bias(module: nn.Module) -> nn.Module:
    """The module itself, with a bias of 0 where it had none."""
    if module.bias is None:
        module.bias = nn.Parameter(torch.zeros(outputs_of(module), dtype=module.weight.dtype))  # type: ignore
    return module


def _replace(model: nn.Module, layer: Layer, format: Format, input_bits: int | None, search: Search) -> None:
    first = model.get_submodule(layer.name)
    if layer.kind != "embedding" and not layer.others:
        put(model, layer.name, FakeQuantized(first, format, input_bits, transposed=layer.transposed, search=search))
        return
    weight: Any = first.weight
    value = format.quantize(weight.transpose(0, 1) if layer.transposed else weight, search=search)
    set_weight(model, layer, value.dequantize())
    for i, name in enumerate((layer.name, *layer.others)):
        size = format.bytes(layer.shape) if i == 0 else 0  # counted once
        put(model, name, FixedWeight(model.get_submodule(name), value, layer.transposed, size))


def _drop_unseen(model: nn.Module) -> None:
    """Layers that no batch reached keep their inputs as floats."""
    for module in learnable(model).values():
        if isinstance(module.inputs, ActivationQuantizer) and not bool(module.inputs.high >= module.inputs.low):
            module.inputs = nn.Identity()
