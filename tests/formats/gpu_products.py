"""Products by the kernel for GPUs beside those of the unpacked weight; test_product.py runs it in an interpreter."""

import torch

from smidgen.formats import gpu
from smidgen.formats.format import Format
from smidgen.formats.product import code_values

NAMES = ("int2/64", "int3+offset/40", "int4+offset/32/double", "int4/tensor", "int5/64", "nf4/64/double",
         "e2m1/16/e4m3fn", "int8/64", "uint4+offset/channel", "ternary/channel")  # fmt: skip

for name in NAMES:
    for rows, columns in ((21, 129), (3, 300)):  # less than a program's rows, more and less than its columns
        format = Format.parse(name)
        draw = torch.Generator().manual_seed(0)
        made = format.quantize(torch.randn(rows, columns, generator=draw), search="absmax")
        x, weight = torch.randn(3, columns, generator=draw), made.dequantize()
        y = gpu.product(x, made.pack(), format, (rows, columns), code_values(format.grid))
        scale = (x.abs() @ weight.abs().T).clamp(min=1e-30)
        error = float(((y - x.double() @ weight.double().T).abs() / scale).max())
        assert y.shape == (3, rows) and error < 1e-6, (name, rows, columns, error)
