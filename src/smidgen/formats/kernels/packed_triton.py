"""y = x W^T on a GPU, W packed: each program reads the codes of some rows and multiplies them with one input.

Beside `packed.cpp`, which does the same on a processor. Imported only where triton is installed; with
TRITON_INTERPRET=1 the kernel runs on the processor, for tests.
Dims: N inputs, R rows, C columns, G groups of a row.
"""

from typing import Any

import triton
import triton.language as tl
from torch import Tensor

ROWS, COLUMNS = 16, 128  # of a weight that a program holds at once


def multiply(
    x_NC: Tensor,
    codes: Tensor,
    values: Tensor,
    scales_RG: Tensor,
    offsets_RG: Tensor | None,
    *,
    bits: int,
    group: int,
    ternary: bool,
) -> Tensor:
    """`[N, R]` float32.

    Args:
        x_NC: float32, contiguous. codes: uint8 `[R, bytes]`, packed as `formats.packing` does.
        values: float32 `[2^bits]`, what a code stands for.
        scales_RG, offsets_RG: float32, contiguous; `[1, 1]` where all rows share one.
        group: columns that share a scale.
    """
    (inputs, columns), rows = x_NC.shape, len(codes)
    out = x_NC.new_empty(inputs, rows)
    shared = scales_RG.shape == (1, 1)
    kernel: Any = _product
    kernel[(triton.cdiv(rows, ROWS), inputs)](
        x_NC, codes, values, scales_RG, scales_RG if offsets_RG is None else offsets_RG, out,
        rows, columns, codes.shape[1], columns if shared else group, 0 if shared else scales_RG.shape[1],
        BITS=bits, TERNARY=ternary, OFFSETS=offsets_RG is not None, ROWS=ROWS, COLUMNS=COLUMNS,
    )  # fmt: skip
    return out


@triton.jit
def _product(
    x, codes, values, scales, offsets, out, rows, columns, stride, group, groups,
    BITS: tl.constexpr, TERNARY: tl.constexpr, OFFSETS: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    n = tl.program_id(1).to(tl.int64)
    r = (tl.program_id(0) * ROWS + tl.arange(0, ROWS)).to(tl.int64)[:, None]
    total = tl.zeros([ROWS], tl.float32)
    for start in range(0, columns, COLUMNS):
        c = start + tl.arange(0, COLUMNS)[None, :]
        known = (r < rows) & (c < columns)
        if TERNARY:  # five to a byte, in base 3
            word = tl.load(codes + r * stride + c // 5, mask=known, other=0).to(tl.int32)
            at = c % 5
            power = tl.where(at == 0, 1, tl.where(at == 1, 3, tl.where(at == 2, 9, tl.where(at == 3, 27, 81))))
            code = (word // power) % 3
        else:
            byte = c * BITS // 8
            word = tl.load(codes + r * stride + byte, mask=known, other=0).to(tl.int32)
            if 8 % BITS:  # a code may lie over two bytes
                second = tl.load(codes + r * stride + byte + 1, mask=known & (byte + 1 < stride), other=0)
                word += second.to(tl.int32) * 256
            code = (word >> (c * BITS % 8)) & ((1 << BITS) - 1)
        g = r * groups + c // group
        weight = tl.load(values + code) * tl.load(scales + g, mask=known, other=0)
        if OFFSETS:
            weight += tl.load(offsets + g, mask=known, other=0)
        total += tl.sum(weight * tl.load(x + n * columns + c, mask=c < columns, other=0), 1)
    tl.store(out + n * rows + r, total[:, None], mask=r < rows)
