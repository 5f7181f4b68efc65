"""The Walsh-Hadamard transform in plain torch: y = H x, H of entries +-1 and size L, a power of two.

H_L is a Kronecker product of small Hadamard matrices, so the transform is a few matrix products with one of at most
64 x 64 along each of the axes that L splits into: O(L log L), as fast as memory on processors and accelerators. H is
symmetric and H H = L I, so the transform is its own backward pass. Works with `torch.func` (grad, jvp, vmap).

Dims: N rows, L length, F one factor of it, S stride of that factor.
"""

import functools
import math
from typing import Any

import torch
from torch import Tensor

from smidgen.kit.errors import bad

FACTOR = 64  # of the small matrices
CHUNK = 1 << 20  # numbers


def hadamard(x: Tensor, *, normalized: bool = False, chunk: int = CHUNK) -> Tensor:
    """H x along the last axis, in Sylvester's order.

    Args:
        x: `[..., L]`, floating. float16 and bfloat16 are added up in float32 and rounded once, at the end.
        normalized: by sqrt(L), so that lengths stay. Without it entries grow up to L-fold: float16 may overflow.
        chunk: numbers that are multiplied at a time; beside the result, memory for so many is taken.

    Raises:
        BadInput: not floating, L no power of two, or a chunk below 1.
    """
    if not x.is_floating_point():
        raise bad("x", "a floating tensor", x.dtype)
    if x.ndim < 1 or x.shape[-1] < 1 or x.shape[-1] & (x.shape[-1] - 1):
        raise bad("the last axis", "a power of two", tuple(x.shape), "Pad with zeros up to next_power(n).")
    if chunk < 1:
        raise bad("chunk", "at least 1 number", chunk)
    y: Any = _Hadamard.apply(x, x.shape[-1] ** -0.5 if normalized else 1.0, chunk)
    return y


def next_power(n: int) -> int:
    """The smallest power of two that is not below n >= 1."""
    return 1 << (n - 1).bit_length()


class _Hadamard(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, scale: float, chunk: int) -> Tensor:
        return _transform(x, scale, chunk)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        del output
        _, ctx.scale, ctx.chunk = inputs

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        return _Hadamard.apply(grads[0], ctx.scale, ctx.chunk), None, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        return _Hadamard.apply(tangents[0], ctx.scale, ctx.chunk)


def _transform(x: Tensor, scale: float, chunk: int) -> Tensor:
    L, wide = x.shape[-1], torch.float64 if x.dtype == torch.float64 else torch.float32
    y = (x.to(wide) * scale).contiguous().reshape(-1)  # a copy: what follows is in place
    stride = 1
    with torch.autocast(x.device.type, enabled=False):
        while stride < L:
            factor = min(FACTOR, L // stride)
            _along(y.view(-1, factor, stride), chunk)
            stride *= factor
    return y.reshape(x.shape).to(x.dtype)


def _along(y_MFS: Tensor, chunk: int) -> None:
    """H_F along the middle axis, in place, a chunk at a time."""
    M, F, S = y_MFS.shape
    h_FF = _small(F, y_MFS.dtype, y_MFS.device)
    if S == 1:
        rows = max(1, chunk // F)
        for part in y_MFS.view(M, F).split(rows):
            part.copy_(part @ h_FF)
        return
    many, columns = max(1, chunk // (F * S)), max(1, min(S, chunk // F))
    for block in y_MFS.split(many):
        for part in block.split(columns, dim=2):
            part.copy_(h_FF @ part)


@functools.cache
def _small(size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    h = torch.ones(1, 1, dtype=dtype)
    for _ in range(int(math.log2(size))):
        h = torch.cat([torch.cat([h, h], 1), torch.cat([h, -h], 1)])
    return h.to(device)
