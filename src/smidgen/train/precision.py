"""Number formats of training: float32, bfloat16 throughout, or mixed (float32 weights, bfloat16 products).

What "auto" takes depends on the processor alone, never on a clock: a run that is resumed computes what it would have.
"""

import contextlib
import functools
from typing import Any, Literal, TypeVar, get_args

import torch

from smidgen.kit.errors import bad
from smidgen.nets.products import CPUINFO, full_speed

Precision = Literal["auto", "fp32", "bf16", "mixed"]
M = TypeVar("M", bound=torch.nn.Module)


def resolve(precision: str, device: str = "cpu") -> Precision:
    """`auto` as "mixed" where there are matrix units for bfloat16 (a GPU, AMX), else "fp32".

    Raises:
        BadInput: unknown.
    """
    for known in get_args(Precision):
        if precision == known != "auto":
            return known
    if precision != "auto":
        raise bad("--precision", ", ".join(get_args(Precision)), precision)
    units = device != "cpu" or (CPUINFO.exists() and "amx_bf16" in CPUINFO.read_text())
    return "mixed" if units else "fp32"


@functools.cache
def bf16_units(device: str = "cpu") -> bool:
    """Whether products of bfloat16 are faster than those of float32: a GPU, AMX, or AVX-512 with its instructions."""
    return device != "cpu" or (
        CPUINFO.exists() and bool({"amx_bf16", "avx512_bf16"} & set(CPUINFO.read_text().split()))
    )


def products(precision: Precision) -> contextlib.AbstractContextManager[Any]:
    """Around all that training multiplies, forward and backward."""
    return full_speed() if precision == "fp32" else contextlib.nullcontext()


def context(precision: Precision, device: str = "cpu") -> contextlib.AbstractContextManager[Any]:
    """Around the forward pass."""
    return torch.autocast(device, torch.bfloat16) if precision == "mixed" else contextlib.nullcontext()


def cast(model: M, precision: Precision) -> M:
    """The model with its weights in the format that they are trained in."""
    return model.to(torch.bfloat16) if precision == "bf16" else model
