"""Products with packed weights, which are never unpacked as a whole.

y = x W^T of x `[N, C]` and a packed W `[R, C]`. Few inputs at a time (`FEW`) go through compiled kernels that read the
codes themselves: sum over groups of scale * (sum of code * x) + offset * (sum of x), all in float32 (`formats.native`;
SMIDGEN_KERNELS=off switches them off). For more of them rows are unpacked a piece at a time by the kernels, and
multiplied by torch. Where nothing could be compiled, torch does the unpacking too. On a GPU few inputs go through
kernels in Triton (`formats.gpu`). All ways give the same results to float32's rounding, and gradients to x.
Dims: N inputs, R rows, C columns.
"""

import ctypes
import functools
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from smidgen.formats import gpu, native, packing, scales
from smidgen.formats.format import Format, Quantized, matrix_shape
from smidgen.formats.grid import grid
from smidgen.kit.errors import BadInput, bad

PIECE = 1 << 18  # numbers that are unpacked at once: 1 MB
FEW, FEW_OTHERS = 32, 8  # inputs up to which kernels multiply codes: of 2 to 4 bits and int5 to int8; of other grids
ALONE = 1 << 16  # numbers of a weight below which one thread is faster
_CASTS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_KINDS = {"float32": 0, "float16": 1, "bfloat16": 2, "e8m0": 3, "e4m3fn": 3, "double": 4}


def product(x: Tensor, parts: Mapping[str, Tensor], format: Format, shape: tuple[int, ...]) -> Tensor:
    """x times the packed weight transposed.

    Args:
        x: float32 `[N, C]` (others are multiplied by torch in their own precision).
        parts: what `Quantized.pack` gives. format, shape: of the weight.

    Returns:
        `[N, R]`, as precise as x.

    Raises:
        BadInput: x or the parts do not fit the shape.
    """
    rows, columns = matrix_shape(shape)
    if x.dim() != 2 or x.shape[1] != columns:
        raise bad("inputs", f"[N, {columns}]", list(x.shape))
    if torch.is_grad_enabled() and x.requires_grad:
        return _Product.apply(x, dict(parts), format, (rows, columns))  # type: ignore[return-value]
    return _product(x, parts, format, (rows, columns))


def pieces(parts: Mapping[str, Tensor], format: Format, shape: tuple[int, ...]) -> Iterator[tuple[int, Tensor]]:
    """The weight in pieces of rows: the first row of each, and a float32 matrix that the next piece may overwrite."""
    rows, columns = matrix_shape(shape)
    step = min(max(1, PIECE // max(columns, 1)), rows)
    library, weight, _keep = _kernels(parts, format, (rows, columns))
    if library is not None:
        room = torch.empty(step, columns)
        for start in range(0, rows, step):
            stop = min(start + step, rows)
            library.smidgen_packed_rows(weight, start, stop, room.data_ptr(), _threads(rows * columns))
            yield start, room[: stop - start]
        return
    for start in range(0, rows, step):
        yield start, Quantized.rows(parts, format, (rows, columns), slice(start, start + step))


def _product(x: Tensor, parts: Mapping[str, Tensor], format: Format, shape: tuple[int, int]) -> Tensor:
    rows, columns = shape
    n = x.shape[0]
    if gpu.fits(x):
        return gpu.product(x, parts, format, shape, code_values(format.grid))
    out = x.new_empty(n, rows)
    if n <= _few(format.grid) and x.dtype == torch.float32 and x.is_cpu and n * columns * rows:
        library, weight, _keep = _kernels(parts, format, shape)
        if library is not None:
            x = x.contiguous()
            library.smidgen_packed_product(weight, x.data_ptr(), n, out.data_ptr(), _threads(rows * columns))
            return out
    for start, piece in pieces(parts, format, shape):
        torch.mm(x, piece.to(x.dtype).T, out=out[:, start : start + len(piece)])
    return out


@functools.cache
def _few(name: str) -> int:
    quick = name in ("int5", "int6", "int7", "int8") or (grid(name).bits in (2, 3, 4) and name != "ternary")
    return FEW if quick else FEW_OTHERS


class _Product(torch.autograd.Function):
    """Keeps no unpacked weight for the way back, but unpacks it again."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, parts: dict[str, Tensor], format: Format, shape: tuple[int, int]) -> Tensor:
        ctx.weight = parts, format, shape
        return _product(x.detach(), parts, format, shape)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (grad,) = grads
        made = grad.new_zeros(len(grad), ctx.weight[2][1])
        for start, piece in pieces(*ctx.weight):
            made.addmm_(grad[:, start : start + len(piece)], piece.to(grad.dtype))
        return made, None, None, None


def _threads(numbers: int) -> int:
    return 1 if numbers < ALONE else torch.get_num_threads()


def _kernels(parts: Mapping[str, Tensor], format: Format, shape: tuple[int, int]) -> tuple[Any, Any, Any]:
    """The kernels (None: they cannot be used for this weight), a pointer to its description for them, and what must
    stay alive while they run."""
    if torch.compiler.is_compiling() or not all(t.is_cpu for t in parts.values()):
        return None, None, None
    parts = {k: t.contiguous() for k, t in parts.items()}
    found = tuple([(k, t.data_ptr(), t.dtype, t.shape) for k, t in parts.items()])
    weight = _described(format, shape, found)
    return None if weight is None else native.library(), weight, parts


@functools.lru_cache(1024)  # packets of addresses: they hold for whatever lies there now in these types and shapes
def _described(
    format: Format, shape: tuple[int, int], parts: tuple[tuple[str, int, torch.dtype, torch.Size], ...]
) -> Any:
    """Everything that the kernels rely on is checked here. None: floats were cast, as a whole network's may be."""
    (rows, columns), ternary = shape, format.grid == "ternary"
    stride = packing.packed_columns(columns, format.levels.bits, ternary)
    count, groups = format.scale_shape(rows, columns)
    cast: list[str] = []
    known = {name: (place, kind, size) for name, place, kind, size in parts}

    def at(name: str, shape: tuple[int, ...], dtype: torch.dtype) -> int:
        place, kind, size = known.get(name, (0, None, None))
        if kind != dtype and kind in _CASTS and dtype in _CASTS:
            cast.append(name)
        elif kind != dtype or size != shape:
            raise BadInput(f"A packed weight's {name} should be {dtype} {list(shape)}: the folder was edited.")
        return place

    def described(name: str) -> native.Scales:
        kind = format.scales
        places = [at(f"{name}.codes", (count, groups), getattr(torch, kind) if _KINDS[kind] < 3 else torch.uint8)]
        if _KINDS[kind] >= 3:
            places.append(_byte_scales(kind).data_ptr())
        if kind == "e8m0":
            places.append(_one().data_ptr())
        elif kind == "e4m3fn":
            places.append(at(f"{name}.of", (), torch.float32))
        elif kind == "double":
            blocks = -(-count * groups // scales.BLOCK)
            places += [at(f"{name}.of", (blocks,), torch.float32), at(f"{name}.mean", (), torch.float32)]
        return native.Scales(*places, *[None] * (4 - len(places)), _KINDS[kind])

    made = [described(name) for name in ("scales", "offsets")[: 1 + format.offset]]
    group = min(format.group, columns) if isinstance(format.group, int) else columns
    whole = 0 if format.group == "tensor" else groups
    places = at("codes", (rows, stride), torch.uint8), code_values(format.grid).data_ptr()
    sizes = rows, columns, stride, group, whole, format.levels.bits, ternary, format.offset
    return None if cast else ctypes.pointer(native.Weight(*places, *sizes, *made))


@functools.cache
def code_values(name: str) -> Tensor:
    """What the codes of a grid stand for, filled up to all that its bits can say."""
    levels = grid(name)
    out = torch.full((2**levels.bits,), float("nan"))
    out[: len(levels.values)] = torch.from_numpy(levels.values)
    return out


@functools.cache
def _byte_scales(kind: str) -> Tensor:
    """What the bytes of scales stand for, before what they are relative to."""
    if kind == "double":
        return torch.from_numpy(scales._BLOCKWISE.table()).float()
    codes = torch.arange(256, dtype=torch.uint8)[None]
    return scales.restore({"codes": codes, "of": torch.ones(())}, "e8m0" if kind == "e8m0" else "e4m3fn")[0]


@functools.cache
def _one() -> Tensor:
    return torch.ones(())
