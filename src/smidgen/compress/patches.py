"""What the rows of a layer's weight are multiplied with: inputs of linear layers, patches of convolutions.

Of a convolution of any kind the outputs are patches times weights: `[N, G, C]` patches of G groups, whose columns are
in the order of the weight's (channels, then places of the kernel). A transposed convolution is one over its inputs with
zeros between them, with the kernel turned round; its rows meet all its groups, so it has one group here.
Dims: N patches, G groups, C columns; B samples, K places of the kernel.
"""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from smidgen.nets.packed import padding_sides

PIECE = 1 << 24  # numbers of patches at a time
_TURNED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def groups_of(module: nn.Module) -> int:
    """How many groups of rows of the weight have inputs of their own."""
    return 1 if isinstance(module, _TURNED) else int(getattr(module, "groups", 1))


def columns_of(module: nn.Module) -> int:
    """Columns of the weight as a matrix."""
    weight: Any = module.weight
    if isinstance(module, _TURNED):
        return weight.shape[0] * weight[0, 0].numel()
    return weight.shape[0] if type(module).__name__ == "Conv1D" else weight[0].numel()


def patches(module: nn.Module, x: Tensor, mask: Tensor | None = None) -> Iterator[Tensor]:
    """float32 `[N, G, C]` in pieces.

    Args:
        x: the layer's input. mask: bool, of the tokens that count; it applies where its axes are the first ones of
            the input (for a convolution: samples, then places of the output), also laid out behind each other.
    """
    x = x.detach()
    if not hasattr(module, "kernel_size"):
        yield _counted(x, mask, x.shape[:-1]).reshape(-1, 1, x.shape[-1]).float()
        return
    size: Any = module.kernel_size
    x = x if x.dim() == len(size) + 2 else x[None]
    each = max(1, x[0].numel() * torch.Size(size).numel())  # about the numbers of a sample's patches
    step = max(1, PIECE // each)
    for i in range(0, len(x), step):
        part = _windows(module, x[i : i + step].float())  # [B, *places, channels, *kernel]
        places = part.shape[: len(size) + 1]
        here = mask[i : i + step] if mask is not None and mask.shape == (len(x), *places[1:]) else None
        yield _counted(part.flatten(len(places)), here, places).reshape(-1, groups_of(module), columns_of(module))


def blocks_of(module: nn.Module) -> Tensor | None:
    """bool `[C, C]`: which columns are ever summed together; None: all. Of a grouped transposed convolution, whose
    rows meet the inputs of each group apart."""
    groups = int(getattr(module, "groups", 1))
    if not isinstance(module, _TURNED) or groups == 1:
        return None
    owner = torch.arange(columns_of(module)) // (columns_of(module) // groups)
    return owner[:, None] == owner


def _counted(x: Tensor, mask: Tensor | None, places: tuple[int, ...]) -> Tensor:
    """Rows `[N, C]` of x whose place counts."""
    flat = x.reshape(-1, x.shape[-1])
    if mask is None:
        return flat
    if mask.shape == places[: mask.dim()]:
        many = len(flat) // max(mask.numel(), 1)  # a token may have several rows
        return flat[mask.reshape(-1).repeat_interleave(many) if many != 1 else mask.reshape(-1)]
    if len(places) == 1 and places[0] == mask.numel():
        return flat[mask.reshape(-1)]
    return flat


def _windows(module: Any, x: Tensor) -> Tensor:
    """The window of the input behind each place of the output: `[B, *places, channels, *kernel]`."""
    dims = len(module.kernel_size)
    turned = isinstance(module, _TURNED)
    spread = [d * (k - 1) for d, k in zip(module.dilation, module.kernel_size, strict=True)]
    if turned:
        x = _stuffed(x, module.stride)
        sides = [(w - p, w - p + o) for w, p, o in zip(spread, module.padding, module.output_padding, strict=True)]
    else:
        sides = padding_sides(module.padding, module.kernel_size, module.dilation)
    around = [p for side in reversed(sides) for p in side]
    mode = "constant" if turned or module.padding_mode == "zeros" else module.padding_mode
    x = F.pad(x, around, mode=mode) if any(around) else x
    for i in range(dims):
        x = x.unfold(2 + i, spread[i] + 1, 1 if turned else module.stride[i])
        x = x[..., :: module.dilation[i]]
    x = x.flip(list(range(2 + dims, 2 + 2 * dims))) if turned else x
    return x.movedim(1, 1 + dims)


def _stuffed(x: Tensor, stride: tuple[int, ...]) -> Tensor:
    """Zeros between the numbers of each spatial axis."""
    if all(s == 1 for s in stride):
        return x
    sizes = [(n - 1) * s + 1 for n, s in zip(x.shape[2:], stride, strict=True)]
    out = x.new_zeros(*x.shape[:2], *sizes)
    out[(..., *(slice(None, None, s) for s in stride))] = x
    return out
