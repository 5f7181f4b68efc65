"""Products with packed weights on a GPU, by kernels in Triton where it is installed (PyTorch's GPU builds bring it)."""

import functools
import importlib.util
from collections.abc import Mapping

import torch
from torch import Tensor

from smidgen.formats.format import Format, Scaled, matrix_shape
from smidgen.formats.native import switched_off

FEW = 32  # inputs up to which codes are multiplied; for more of them rows are unpacked first


def fits(x: Tensor) -> bool:
    """Whether these inputs `[N, C]` are multiplied here."""
    return x.is_cuda and x.dtype == torch.float32 and 0 < x.shape[0] <= FEW and installed() and not switched_off()


@functools.cache
def installed() -> bool:
    return importlib.util.find_spec("triton") is not None


def product(x: Tensor, parts: Mapping[str, Tensor], format: Format, shape: tuple[int, ...], values: Tensor) -> Tensor:
    """float32 `[N, R]`; arguments as of `formats.product.product`, all on one device. Scales are read back first, which
    takes 4 bytes a group for as long as it runs; the weight is never unpacked. values: what each code stands for."""
    from smidgen.formats.kernels import packed_triton

    scaled = Scaled(format, shape, {k: v for k, v in parts.items() if k != "codes"})
    columns = matrix_shape(shape)[1]
    return packed_triton.multiply(
        x.contiguous(),
        parts["codes"].contiguous(),
        values.to(x.device),
        scaled.scales.contiguous(),
        None if scaled.offsets is None else scaled.offsets.contiguous(),
        bits=format.levels.bits,
        group=min(format.group, columns) if isinstance(format.group, int) else columns,
        ternary=format.grid == "ternary",
    )
