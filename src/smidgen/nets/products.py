"""Float32 matrix products at the full speed of the processor.

On AMD processors MKL, with which torch multiplies, uses half the width of AVX-512; oneDNN, which torch brings too, all
of it: 242 against 106 GFLOP/s on one core of an EPYC. torch gives float32 products to oneDNN only when told that
bfloat16 would do. oneDNN rounds to bfloat16 only where a processor has matrix units for it (AMX); elsewhere it
computes in float32 all the same. So `full_speed` says so on AMD processors without such units, after a comparison with
float64 that would show any rounding. The choice depends on the processor and on torch, never on a clock: a run that
is resumed computes what it would have.
"""

import contextlib
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

CPUINFO = Path("/proc/cpuinfo")
_BACKEND: Any = torch.backends.mkldnn
_ROUNDING = 1e-5  # relative to the product's scale; float32 has about 3e-7 here, bfloat16 3e-3


@contextlib.contextmanager
def full_speed() -> Iterator[bool]:
    """Within the block products are as fast as they can be in float32; gives whether that changes anything."""
    switch = _BACKEND.matmul
    before = switch.fp32_precision
    use = _useful()
    if use:
        switch.fp32_precision = "bf16"
    try:
        yield use
    finally:
        switch.fp32_precision = before


@functools.cache
def _useful() -> bool:
    info = CPUINFO.read_text() if CPUINFO.exists() else ""
    wide = "AuthenticAMD" in info and "avx512f" in info and "amx_" not in info
    return wide and _BACKEND.is_available() and largest_error() < _ROUNDING


def largest_error() -> float:
    """Of products of all the kinds that training makes, with oneDNN's switch on; relative to their scale."""
    switch, random = _BACKEND.matmul, torch.Generator().manual_seed(0)
    before = switch.fp32_precision
    a, b = (torch.randn(3, 96, 160, generator=random) for _ in range(2))
    x, y = (t.double() for t in (a, b))
    added = torch.randn(3, 96, 96, generator=random)
    exact = [x @ y.mT, x[0] @ y[0].T, x[0].T @ y[0], x[:1, :1] @ y[:1].mT, added.double() + x @ y.mT]
    switch.fp32_precision = "bf16"
    try:
        made = [torch.bmm(a, b.mT), a[0] @ b[0].T, a[0].T @ b[0], a[:1, :1] @ b[:1].mT, torch.baddbmm(added, a, b.mT)]
    finally:
        switch.fp32_precision = before
    return max(float((m - e).abs().max() / e.abs().max()) for m, e in zip(made, exact, strict=True))
