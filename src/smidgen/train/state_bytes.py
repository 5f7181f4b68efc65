"""What an optimizer keeps between steps, counted from its state, and foretold from shapes.

Dims: M, N rows and columns of a weight; R rank.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from smidgen.formats.blockwise import Blockwise
from smidgen.train.subspace import ProjType, low_shape, sides

COUNTERS = ("step", "galore_step", "moments_since")


def optimizer_state_bytes(optimizer: Optimizer) -> dict[str, int]:
    """Bytes of "moments", "projectors", "counters" (tensors that only count steps), and their "total".

    Numbers that are no tensors count nothing. Any torch optimizer: what is no projector and no counter is a moment.
    """
    return _total(group_state_bytes(optimizer))


def group_state_bytes(optimizer: Optimizer) -> list[dict[str, int]]:
    """The same by parameter group."""
    saved = optimizer.state_dict()
    return [
        _total(_entry(saved["state"].get(i, {})) for i in group["params"])  # saved groups hold the keys of the state
        for group in saved["param_groups"]
    ]


def _entry(state: dict[str, Any]) -> dict[str, int]:
    out = {"moments": 0, "projectors": 0, "counters": 0}
    for name, value in state.items():
        if isinstance(value, Tensor):
            kind = "projectors" if "projector_" in name else "counters" if name in COUNTERS else "moments"
            out[kind] += value.numel() * value.element_size()
    return out


def _total(entries: Iterable[dict[str, int]]) -> dict[str, int]:
    out = {"moments": 0, "projectors": 0, "counters": 0}
    for entry in entries:
        for kind in out:
            out[kind] += entry[kind]
    return {**out, "total": sum(out.values())}


def adam_bytes(shape: Sequence[int], itemsize: int = 4, eight_bit: bool = False, min_8bit_size: int = 4096) -> int:
    """Two moments of a parameter."""
    return 2 * _array_bytes(math.prod(shape), itemsize, eight_bit, min_8bit_size)


def galore_bytes(
    shape: Sequence[int],
    rank: int,
    proj_type: ProjType = "std",
    itemsize: int = 4,
    eight_bit: bool = False,
    min_8bit_size: int = 4096,
) -> int:
    """Basis and two moments of a projected weight: (MR + 2 NR) x itemsize with "std" and M <= N."""
    rows, columns = shape[0], math.prod(shape[1:])
    left, right = sides(rows, columns, proj_type)
    basis = (rows * left + columns * right) * rank
    low = low_shape((rows, columns), rank, proj_type)
    return basis * itemsize + 2 * _array_bytes(math.prod(low), itemsize, eight_bit, min_8bit_size)


def _array_bytes(count: int, itemsize: int, eight_bit: bool, min_8bit_size: int) -> int:
    if not eight_bit:
        return count * itemsize
    return Blockwise().bytes(count) if count >= min_8bit_size else 4 * count
