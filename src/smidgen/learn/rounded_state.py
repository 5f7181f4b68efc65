"""A fitted member whose arrays are rounded to few bits: what `compress` makes of a model, all arrays alike."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from smidgen.kit.errors import bad
from smidgen.kit.state import pack, unpack
from smidgen.learn.packed_arrays import packable, packed, unpacked

# Whole bits a number (its scales take up to half a bit more), and the option of `compress` that has them.
OPTIONS = {
    2: "int2+offset/32/double", 3: "int3+offset/32/double", 4: "int4+offset/64/double", 5: "int5+offset/64/double",
    6: "int6+offset/64/double", 8: "int8/64", 16: "float16",
}  # fmt: skip


def rounded(
    state: dict[str, Any], bits: int, works: Callable[[dict[str, Any]], bool] = lambda state: True
) -> tuple[dict[str, Any], int]:
    """(the state with its arrays of floats rounded, bytes that it takes in a model folder so). Small arrays stay, and
    those without which it does not work (a variance that becomes 0).

    Args:
        works: whether a state still predicts.
    Raises:
        BadInput: bits that there is no option for. MissingExtra: below 16 without torch.
    """
    if bits not in OPTIONS:
        raise bad("bits", f"one of {', '.join(map(str, OPTIONS))}", bits)
    arrays: dict[str, np.ndarray] = {}
    plain = pack(state, arrays)

    def made(names: Sequence[str]) -> tuple[dict[str, Any], int]:
        kept, told = packed(arrays, dict.fromkeys(names, OPTIONS[bits]))
        size = len(json.dumps(plain)) + sum(a.nbytes for a in kept.values())
        return unpack(plain, unpacked(kept, told, "a rounded model")), size

    names = [name for name, array in arrays.items() if packable(array)]
    found = made(names)
    if works(found[0]):
        return found
    found = made([name for name in names if works(made([name])[0])])
    return found if works(found[0]) else made([])
