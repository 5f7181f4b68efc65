"""Layers whose weights stay packed in memory: linear, embedding, and convolutions.

They are made from a quantized weight, or empty from a description (then `load_state_dict` fills them). Their state is
plain tensors: "weight.codes", "weight.scales_*", "weight.offsets_*", "weight.inputs", "bias". A weight is unpacked
when it is used, a linear one in pieces of rows so that never much of it lies unpacked; few inputs at a time are
multiplied by packed kernels where there are some (`formats.product`).
"""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from smidgen.formats.format import Format, Quantized, matrix_shape
from smidgen.formats.product import product
from smidgen.kit.errors import bad


class PackedWeight(nn.Module):
    """A weight in a format. Made empty: `of` makes one that is filled, `load_state_dict` fills it.

    Attributes:
        format, shape: of the weight. transposed: its first two axes are exchanged in the packed form (a transposed
            convolution, whose outputs come second).
        names: of the packed tensors, by the names that `Quantized.pack` gives.
        inputs: float16 `[C]` or None: the columns were multiplied by 1 / inputs before they were quantized, so that
            what they are multiplied with must be multiplied by it (activation-aware scaling).
    """

    inputs: Tensor | None

    def __init__(
        self, format: Format, shape: tuple[int, ...], *, transposed: bool = False, inputs: bool = False
    ) -> None:
        super().__init__()
        self.format, self.shape, self.transposed = format, tuple(shape), transposed
        empty = format.empty(self.packed_shape)
        self.names = {name: name.replace(".", "_") for name in empty}
        for name, tensor in empty.items():
            self.register_buffer(self.names[name], tensor)
        columns = matrix_shape(self.packed_shape)[1]
        self.register_buffer("inputs", torch.ones(columns, dtype=torch.float16) if inputs else None)

    @classmethod
    def of(cls, quantized: Quantized, *, transposed: bool = False, inputs: Tensor | None = None) -> "PackedWeight":
        shape = _swapped(quantized.shape) if transposed else quantized.shape
        made = cls(quantized.format, shape, transposed=transposed, inputs=inputs is not None)
        for name, tensor in quantized.pack().items():
            setattr(made, made.names[name], tensor)
        if inputs is not None:
            made.inputs = inputs.to(torch.float16)
        return made

    @property
    def packed_shape(self) -> tuple[int, ...]:
        return _swapped(self.shape) if self.transposed else self.shape

    def parts(self) -> dict[str, Tensor]:
        """The packed tensors, by the names that `Quantized.pack` gives."""
        kept: Any = self._buffers
        return {name: kept[own] for name, own in self.names.items()}

    def quantized(self) -> Quantized:
        return Quantized.unpack(self.parts(), self.format, self.packed_shape)

    def forward(self) -> Tensor:
        """The weight as it is multiplied, float32, in its own shape; `inputs` are in it."""
        weight = self.quantized().dequantize()
        if self.inputs is not None:
            weight = (weight.reshape(matrix_shape(self.packed_shape)) * self.inputs.float()).reshape(self.packed_shape)
        return weight.transpose(0, 1) if self.transposed else weight

    def rows(self, at: Tensor | slice) -> Tensor:
        """Some rows of the weight as a matrix, float32; `inputs` are not in it."""
        return Quantized.rows(self.parts(), self.format, self.packed_shape, at)

    def settle(self) -> None:
        """Gives each tensor the kind of number that the format has for it, after something cast them all."""
        for name, tensor in self.format.empty(self.packed_shape).items():
            setattr(self, self.names[name], getattr(self, self.names[name]).to(tensor.dtype))
        if self.inputs is not None:
            self.inputs = self.inputs.half()

    def bytes(self) -> int:
        """What the packed tensors take."""
        return sum(b.numel() * b.element_size() for b in self.buffers())


class PackedLinear(nn.Module):
    """y = W x + b of a packed W `[outputs, inputs]`; also in place of the `Conv1D` of transformers, whose weight is
    the transpose."""

    def __init__(self, weight: PackedWeight, bias: Tensor | None = None) -> None:
        super().__init__()
        if len(weight.shape) != 2:
            raise bad("weight", "a matrix", list(weight.shape))
        self.weight = weight
        self.out_features, self.in_features = weight.packed_shape
        self.bias = None if bias is None else nn.Parameter(bias.detach().clone(), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        w = self.weight
        if w.inputs is not None:
            x = x * w.inputs.to(x.dtype)
        flat = x if x.dim() == 2 else x.reshape(-1, self.in_features)
        flat = flat if x.dtype in (torch.float32, torch.float64) else flat.float()
        out = product(flat, w.parts(), w.format, w.packed_shape)
        out = out if x.dtype == out.dtype else out.to(x.dtype)
        out = out if x.dim() == 2 else out.reshape(*x.shape[:-1], self.out_features)
        return out if self.bias is None else out + self.bias.to(x.dtype)


class PackedEmbedding(nn.Module):
    """Rows of a packed table `[words, width]`."""

    def __init__(self, weight: PackedWeight, padding_idx: int | None = None) -> None:
        super().__init__()
        self.weight = weight
        self.num_embeddings, self.embedding_dim = weight.shape
        self.padding_idx = padding_idx

    def forward(self, ids: Tensor) -> Tensor:
        wanted, place = ids.reshape(-1).unique(return_inverse=True)
        return self.weight.rows(wanted)[place].reshape(*ids.shape, self.embedding_dim)


class PackedConv(nn.Module):
    """A convolution of one, two or three dimensions, transposed or not, grouped or not, with a packed weight."""

    def __init__(self, weight: PackedWeight, bias: Tensor | None, settings: Mapping[str, Any]) -> None:
        super().__init__()
        self.weight = weight
        self.bias = None if bias is None else nn.Parameter(bias.detach().clone(), requires_grad=False)
        self.settings = dict(settings)

    def forward(self, x: Tensor) -> Tensor:
        dims = len(self.weight.shape) - 2
        run: Any = getattr(F, f"conv_transpose{dims}d" if self.weight.transposed else f"conv{dims}d")
        options = {k: v for k, v in self.settings.items() if k != "padding_mode"}
        mode = self.settings.get("padding_mode", "zeros")
        if mode != "zeros":
            sides = padding_sides(options["padding"], self.weight.shape[2:], options["dilation"])
            x, options["padding"] = F.pad(x, [p for side in reversed(sides) for p in side], mode=mode), 0
        return run(x, self.weight().to(x.dtype), None if self.bias is None else self.bias.to(x.dtype), **options)


def padding_sides(padding: Any, kernel: tuple[int, ...], dilation: tuple[int, ...]) -> list[tuple[int, int]]:
    """What a convolution adds before and behind each axis; "same" and "valid" in numbers."""
    if not isinstance(padding, str):
        return [(p, p) for p in padding]
    spread = [d * (k - 1) if padding == "same" else 0 for d, k in zip(dilation, kernel, strict=True)]
    return [(w // 2, w - w // 2) for w in spread]


def _swapped(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (shape[1], shape[0], *shape[2:])
