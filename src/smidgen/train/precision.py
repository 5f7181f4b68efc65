"""Number formats of training: float32, bfloat16 throughout, or mixed (float32 weights, bfloat16 products).

What "auto" takes depends on the processor alone, never on a clock: a run that is resumed computes what it would have.
"""

import contextlib
import time
from typing import Any, Literal

import torch

from smidgen.kit.errors import bad
from smidgen.nets.products import CPUINFO, full_speed

Precision = Literal["auto", "fp32", "bf16", "mixed"]
PRECISIONS: tuple[Precision, ...] = ("auto", "fp32", "bf16", "mixed")


def matmul_flops(dtype: torch.dtype = torch.float32, size: int = 1024, times: int = 8, device: str = "cpu") -> float:
    """Floating-point operations a second of a square matrix product, the best of a few: what the machine can do."""
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    best = float("inf")
    for _ in range(times):
        start = time.perf_counter()
        c = a @ b
        if c.device.type != "cpu":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best


def resolve(precision: str, device: str = "cpu") -> Precision:
    """`auto` as "mixed" where there are matrix units for bfloat16 (a GPU, AMX), else "fp32".

    Raises:
        BadInput: unknown.
    """
    if precision not in PRECISIONS:
        raise bad("--precision", ", ".join(PRECISIONS), precision)
    if precision != "auto":
        return precision  # type: ignore[return-value]
    units = device != "cpu" or (CPUINFO.exists() and "amx_bf16" in CPUINFO.read_text())
    return "mixed" if units else "fp32"


def products(precision: Precision) -> contextlib.AbstractContextManager[Any]:
    """Around all that training multiplies, forward and backward."""
    return full_speed() if precision == "fp32" else contextlib.nullcontext()


def context(precision: Precision, device: str = "cpu") -> contextlib.AbstractContextManager[Any]:
    """Around the forward pass."""
    return torch.autocast(device, torch.bfloat16) if precision == "mixed" else contextlib.nullcontext()


def cast(model: torch.nn.Module, precision: Precision) -> torch.nn.Module:
    """The model with its weights in the format that they are trained in."""
    return model.to(torch.bfloat16) if precision == "bf16" else model
