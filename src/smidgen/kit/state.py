"""Fitted things as data: nested dictionaries of JSON values and arrays, split into JSON and tensors and back."""

import math
from typing import Any

import numpy as np

from smidgen.kit.errors import BadInput

_ARRAY = "$array"
_OWN = (_ARRAY, "$list", "$float", "$dict")  # a dictionary with one of these as its only key is ours


def pack(value: Any, arrays: dict[str, np.ndarray], path: str = "") -> Any:
    """JSON form of `value`; each array goes into `arrays` under its path and is referred to by it.

    Takes dict (text keys), list, tuple, ndarray of numbers or bools, numpy scalars, text, numbers, bool, None.
    Raises:
        TypeError: anything else. Nothing that could carry code can be packed.
    """
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "fiub":
            return {"$list": value.tolist()}
        while path in arrays:  # a key may hold a dot
            path += "'"
        arrays[path] = value
        return {_ARRAY: path}
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"{path}: keys of a state must be text, got {key!r}")
        made = {k: pack(v, arrays, f"{path}.{k}" if path else k) for k, v in value.items()}
        return {"$dict": made} if len(made) == 1 and next(iter(made)) in _OWN else made
    if isinstance(value, list | tuple):
        return [pack(v, arrays, f"{path}.{i}" if path else str(i)) for i, v in enumerate(value)]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return {"$float": repr(value)}
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise TypeError(f"{path}: a state cannot hold {type(value).__name__}")


def unpack(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    """What `pack` took (tuples as lists). Raises BadInput when an array that it refers to is missing, or for what it
    never made."""
    if isinstance(value, dict):
        if set(value) == {_ARRAY}:
            name = value[_ARRAY]
            if not isinstance(name, str) or name not in arrays:
                raise BadInput(f"The array '{str(name)[:80]}' is missing: the model folder is damaged or was edited.")
            return arrays[name]
        try:
            if set(value) == {"$list"}:
                return np.array(value["$list"])
            if set(value) == {"$float"}:
                return float(value["$float"])
            inner = dict(value["$dict"]) if set(value) == {"$dict"} else value
        except (TypeError, ValueError) as error:
            raise BadInput(f"A state is damaged or was edited ({str(error)[:80]}).") from None
        return {k: unpack(v, arrays) for k, v in inner.items()}
    if isinstance(value, list):
        return [unpack(v, arrays) for v in value]
    return value
