"""The layers of a network whose weights can be quantized, and their exchange for packed ones and back.

Linear layers, the `Conv1D` of transformers, embeddings, convolutions of one to three dimensions (grouped, depthwise,
transposed), where `replaceable` lets them. Everything else is kept as it is. A weight that several layers share is one
weight: it is quantized once and its bytes are counted once; where one of them is kept, so are the others.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from smidgen.compress.replaceable import replaceable
from smidgen.formats.format import Format, Quantized
from smidgen.kit.errors import BadInput
from smidgen.nets.packable import Kind, packed_like, shape_of
from smidgen.nets.packable import kind_of as kind_of
from smidgen.nets.packed import PackedWeight


@dataclass(frozen=True)
class Layer:
    """A weight that can be quantized.

    Attributes:
        name: of the module, as in `named_modules`. others: modules that share its weight.
        kind: "conv1d" is the one of transformers, a linear layer whose weight is the transpose.
        shape: of the weight as it is quantized, outputs first. transposed: the module has it with the first two axes
            exchanged.
    """

    name: str
    others: tuple[str, ...]
    kind: Kind
    shape: tuple[int, ...]
    transposed: bool

    @property
    def numbers(self) -> int:
        return int(torch.Size(self.shape).numel())


def find(model: nn.Module) -> list[Layer]:
    """In the order of the network.

    Raises:
        BadInput: a parameter holds NaN or infinity; it is named.
    """
    owners: dict[int, list[str]] = {}
    kinds: dict[str, Kind] = {}
    held: set[int] = set()  # weights of what is kept
    modules = dict(model.named_modules(remove_duplicate=False))
    for name, module in modules.items():
        for own, parameter in module.named_parameters(recurse=False):
            if not bool(torch.isfinite(parameter).all()):
                where = f"{name}.{own}".removesuffix(".weight").lstrip(".")
                raise BadInput(
                    f"The weight of {where} holds NaN or infinity: the model is damaged and cannot be quantized."
                )
        kind = replaceable(module)
        if kind is None:
            held.update(id(p) for p in module.parameters(recurse=False))
            continue
        owners.setdefault(id(module.weight), []).append(name)
        kinds[name] = kind
    found = []
    for first, *others in (names for weight, names in owners.items() if weight not in held):
        shape, turned = shape_of(modules[first])
        shape = (shape[1], shape[0], *shape[2:]) if turned else shape
        found.append(Layer(first, tuple(others), kinds[first], shape, turned))
    return found


def weight_of(model: nn.Module, layer: Layer) -> Tensor:
    """The layer's weight, outputs first, float32, a copy."""
    weight: Any = model.get_submodule(layer.name).weight
    weight = weight.detach().float()
    return (weight.transpose(0, 1) if layer.transposed else weight).contiguous().clone()


def set_weight(model: nn.Module, layer: Layer, weight: Tensor) -> None:
    """Puts a weight (outputs first) in place, in all layers that share it."""
    own: Any = model.get_submodule(layer.name).weight
    with torch.no_grad():
        own.copy_(weight.transpose(0, 1) if layer.transposed else weight)


def kept(model: nn.Module) -> list[str]:
    """Modules with weights of two dimensions or more that are not quantized: they stay as they are."""
    packed = {name for layer in find(model) for name in (layer.name, *layer.others)}
    return [
        name
        for name, module in model.named_modules()
        if name not in packed and any(p.dim() > 1 for p in module.parameters(recurse=False))
    ]


def swap(model: nn.Module, layer: Layer, packed: PackedWeight) -> None:
    """Packed layers in place of those that have this weight; they share it."""
    for name in (layer.name, *layer.others):
        module = model.get_submodule(name)
        parent, _, last = name.rpartition(".")
        setattr(model.get_submodule(parent) if parent else model, last, packed_like(module, packed))


def pack(layer: Layer, quantized: Quantized, inputs: Tensor | None = None) -> PackedWeight:
    """A layer's quantized weight as it is swapped in."""
    return PackedWeight.of(quantized, transposed=layer.transposed, inputs=inputs)


def empty(layer: Layer, format: Format, inputs: bool = False) -> PackedWeight:
    """To be filled by `load_state_dict`."""
    turned = layer.transposed
    shape = (layer.shape[1], layer.shape[0], *layer.shape[2:]) if turned else layer.shape
    return PackedWeight(format, shape, transposed=turned, inputs=inputs)
