"""Batch norms folded into the layers before them, and back into the scales of quantized ones.

A norm behind a linear layer or a convolution is a factor and a shift for each output channel, so it can be part of
weight and bias. Which norm follows which layer is seen from a batch that runs through the network; what was folded is
checked on that batch, so that an output which is also used elsewhere does not go unnoticed.
Dims: K output channels.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm as BatchNorm

from smidgen.compress.capture import Batches, answer, call, through_layer
from smidgen.compress.fake import FakeQuantized, outputs_of, put, with_bias
from smidgen.compress.layers import kind_of
from smidgen.compress.walk import evaluating
from smidgen.kit.errors import bad

_TURNED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
TOLERANCE = 1e-3  # of the answers' largest magnitude, for a fold to be the same network


@dataclass(frozen=True)
class Norm:
    """What a folded norm made of its layer's outputs.

    Attributes:
        mean, std: of each channel afterwards `[K]`: beta and |gamma|. eps: of the norm.
    """

    mean: Tensor
    std: Tensor
    eps: float


def fold_norms(model: nn.Module, batch: Any) -> tuple[nn.Module, dict[str, Norm]]:
    """A copy in evaluation mode without the batch norms that directly follow a layer, and what they were, by layer.

    Norms that cannot be folded (behind pooling, behind an output that is used elsewhere) stay where they are.
    """
    made = copy.deepcopy(model).eval()
    norms: dict[str, Norm] = {}
    with torch.no_grad():
        wanted = answer(made, batch)
        for name, norm_name in _pairs(made, batch).items():
            layer, norm = made.get_submodule(name), made.get_submodule(norm_name)
            assert isinstance(norm, BatchNorm)
            before = copy.deepcopy(layer)
            found = _fold(layer, norm)
            put(made, norm_name, nn.Identity())
            if float((answer(made, batch) - wanted).abs().max()) > TOLERANCE * float(wanted.abs().max()):
                put(made, name, before)
                put(made, norm_name, norm)
            else:
                norms[name] = found
    return made, norms


def seen_norms(folded: nn.Module, norms: Mapping[str, Norm], batches: Batches) -> dict[str, Norm]:
    """The norms with the mean and spread that the folded network really has on these data.

    Repairs towards them compare the same samples in floats and quantized, so that the luck of a few samples cancels;
    those of the norms themselves are of all training data.
    """
    found = {}
    for name, norm in norms.items():
        _, outputs = through_layer(folded, name, batches)
        rows_KN = torch.cat([channels(y) for y in outputs], 1).double()
        found[name] = Norm(rows_KN.mean(1).float(), rows_KN.std(1, correction=0).float(), norm.eps)
    return found


def channels(y: Tensor) -> Tensor:
    """Outputs of a layer by channel, `[K, N]`."""
    return y.transpose(0, channel_axis(y)).reshape(y.shape[channel_axis(y)], -1)


def channel_axis(y: Tensor) -> int:
    """Of outputs that a batch norm takes."""
    return y.dim() - 1 if y.dim() < 3 else 1


@torch.no_grad()
def scale_outputs(layer: nn.Module, factor_K: Tensor, shift_K: Tensor) -> None:
    """Makes each output channel factor * it + shift, by the layer's weight and bias.

    A quantized weight keeps its codes (but for ties): its scales and offsets move. Where channels have no scales of
    their own (see `has_own_scales`), factors must be 1.
    """
    inner = layer.layer if isinstance(layer, FakeQuantized) else with_bias(layer)
    if not isinstance(layer, FakeQuantized) or has_own_scales(layer):
        weight: Any = inner.weight
        weight.mul_(_spread(inner, factor_K))
        if isinstance(layer, FakeQuantized):
            layer.scales.mul_(factor_K[:, None])
            if layer.offsets is not None:
                layer.offsets.mul_(factor_K[:, None])
            layer.settle()
    elif not bool((factor_K == 1).all()):
        raise bad("factors", "1 where output channels share scales", factor_K.tolist())
    bias: Any = inner.bias
    bias.mul_(factor_K).add_(shift_K)


def has_own_scales(layer: FakeQuantized) -> bool:
    """Whether each output channel has scales of its own, which can take a factor nearly exactly."""
    kinds = ("float32", "float16", "bfloat16", "double")
    return layer.format.group != "tensor" and len(layer.scales) == len(layer.bias) and layer.format.scales in kinds


def _fold(layer: nn.Module, norm: BatchNorm) -> Norm:
    mean, var = norm.running_mean, norm.running_var
    assert mean is not None and var is not None
    gamma = torch.ones_like(mean) if norm.weight is None else norm.weight.detach()
    beta = torch.zeros_like(mean) if norm.bias is None else norm.bias.detach()
    factor = gamma / (var + norm.eps).sqrt()
    scale_outputs(layer, factor, beta - mean * factor)
    return Norm(beta.clone(), gamma.abs(), norm.eps)


def _spread(module: nn.Module, factor_K: Tensor) -> Tensor:
    """Factors as they multiply the module's own weight."""
    weight: Any = module.weight
    rest = (1,) * (weight.dim() - 2)
    if isinstance(module, _TURNED):  # [inputs, outputs of a group, ...]: the groups lie behind each other in both
        each = factor_K.view(module.groups, 1, -1).expand(-1, weight.shape[0] // module.groups, -1)
        return each.reshape(weight.shape[0], -1, *rest)
    return factor_K[None] if type(module).__name__ == "Conv1D" else factor_K.view(-1, 1, *rest)


def _pairs(model: nn.Module, batch: Any) -> dict[str, str]:
    """Layers and the norms that get their outputs as they are; each called once."""
    made: dict[int, tuple[str, Tensor]] = {}
    times: dict[str, int] = {}
    pairs: dict[str, str] = {}
    handles = []
    for name, module in model.named_modules():
        if kind_of(module) in ("linear", "conv", "conv1d"):

            def out_of(m: nn.Module, args: tuple, out: Tensor, name: str = name) -> None:
                made[id(out)] = (name, out)  # the tensor is kept, so that no other gets its id
                times[name] = times.get(name, 0) + 1

            handles.append(module.register_forward_hook(out_of))
        elif isinstance(module, BatchNorm) and module.track_running_stats:

            def into(m: nn.Module, args: tuple, name: str = name) -> None:
                times[name] = times.get(name, 0) + 1
                if id(args[0]) in made:
                    pairs[made[id(args[0])][0]] = name

            handles.append(module.register_forward_pre_hook(into))
    try:
        with evaluating(model):
            call(model, batch)
    finally:
        for handle in handles:
            handle.remove()
    owners: dict[int, int] = {}
    for module in model.modules():
        if isinstance(weight := getattr(module, "weight", None), nn.Parameter):
            owners[id(weight)] = owners.get(id(weight), 0) + 1
    return {a: b for a, b in pairs.items() if times[a] == times[b] == 1 and _fits(model, a, b, owners)}


def _fits(model: nn.Module, name: str, norm: str, owners: dict[int, int]) -> bool:
    """Whether the layer has its weight for itself, and as many channels as the norm."""
    layer: Any = model.get_submodule(name)
    return owners[id(layer.weight)] == 1 and outputs_of(layer) == model.get_submodule(norm).num_features
