"""Arrays of a saved model in fewer bytes: as they are, as floats of 4 or 2 bytes, or in a number format.

Options are names: "float32", "float16", or that of a format (`formats.format`). An array is a matrix whose rows are its
first axis, or, where its rows are short and many, its second one. Whole numbers are always kept in the fewest bytes
that hold them, which loses nothing. Arrays are unpacked when the model is loaded: a compressed model is small on disk,
in memory its arrays are what they were.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np

from smidgen.kit.errors import BadInput
from smidgen.kit.extras import need

FLOATS = {"float32": np.float32, "float16": np.float16}
WHOLE = "whole"  # what the description calls whole numbers in fewer bytes
LEAST = 64  # numbers of an array worth packing
SHORT = 32  # numbers of a row below which scales are shared along the columns
WHY = "A compressed model"
_SEPARATOR = "|"
_WHOLE_TYPES = (np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32)
_DTYPES = ("float64", "float32", "float16", "int64", "int32", "int16", "int8", "uint64", "uint32", "uint16", "uint8")
Parts = dict[str, np.ndarray]


def packable(array: np.ndarray) -> bool:
    """Whether an array can be written down in fewer bytes: floats, enough of them, all finite."""
    return array.dtype.kind == "f" and array.size >= LEAST and bool(np.isfinite(array).all())


def turned(shape: tuple[int, ...]) -> bool:
    """Whether an array of this shape is packed with its axes exchanged: groups of a short row would be small."""
    return len(shape) == 2 and shape[1] < SHORT and shape[1] < shape[0]


def pack_array(array: np.ndarray, option: str) -> Parts:
    """Arrays to keep, by the name of a part ("" where there is one)."""
    if option in FLOATS:
        return {"": array.astype(FLOATS[option])}
    torch: Any = need("torch", extra="text", why=WHY)
    from smidgen.formats.format import Format

    rows = array.T if turned(array.shape) else array
    made = Format.parse(option).quantize(torch.from_numpy(np.ascontiguousarray(rows, np.float32)))
    return {name: tensor.numpy() for name, tensor in made.pack().items()}


def unpack_array(parts: Mapping[str, np.ndarray], option: str, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """The array of what `pack_array` gave."""
    if option in FLOATS or option == WHOLE:
        return parts[""].reshape(shape).astype(dtype)
    torch: Any = need("torch", extra="text", why=WHY)
    from smidgen.formats.format import Format, Quantized

    tensors = {name: torch.from_numpy(np.array(part)) for name, part in parts.items()}
    as_packed = shape[::-1] if turned(shape) else shape
    array = Quantized.unpack(tensors, Format.parse(option), as_packed).dequantize().numpy()
    return np.ascontiguousarray(array.T if turned(shape) else array, dtype)


def empty_parts(shape: tuple[int, ...], option: str) -> dict[str, tuple[np.dtype, tuple[int, ...]]]:
    """The kind and the shape of each array that `pack_array` gives, without packing."""
    if option in FLOATS:
        return {"": (np.dtype(FLOATS[option]), shape)}
    return _empty_parts(shape[::-1] if turned(shape) else shape, option)


@cache
def _empty_parts(shape: tuple[int, ...], option: str) -> dict[str, tuple[np.dtype, tuple[int, ...]]]:
    torch: Any = need("torch", extra="text", why=WHY)
    from smidgen.formats.format import Format

    with torch.device("meta"):
        empty = Format.parse(option).empty(shape)
    return {k: (np.dtype(str(v.dtype).removeprefix("torch.")), tuple(v.shape)) for k, v in empty.items()}


def whole_dtype(array: np.ndarray) -> np.dtype:
    """The smallest kind of whole numbers that holds an array of them; its own for other arrays."""
    if array.dtype.kind not in "iu" or array.size < LEAST:
        return array.dtype
    low, high = int(array.min()), int(array.max())
    for kind in _WHOLE_TYPES:
        if np.dtype(kind).itemsize < array.itemsize and np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
            return np.dtype(kind)
    return array.dtype


def packed(
    arrays: Mapping[str, np.ndarray], options: Mapping[str, str], made: dict[tuple[str, str], Parts] | None = None
) -> tuple[dict[str, np.ndarray], dict[str, dict[str, Any]]]:
    """All arrays of a model to keep, and the description that `unpacked` needs; those without an option as they are, or
    as whole numbers in fewer bytes.

    `made`: parts that were packed before, by array and option; new ones are added.
    """
    made = {} if made is None else made
    out: dict[str, np.ndarray] = {}
    for name, array in arrays.items():
        if name in options:
            if (name, options[name]) not in made:
                made[name, options[name]] = pack_array(array, options[name])
            out |= {key(name, part): value for part, value in made[name, options[name]].items()}
        elif (small := whole_dtype(array)) != array.dtype:
            out[key(name, "")] = array.astype(small)
        else:
            out[name] = array
    return out, described(arrays, options)


def described(arrays: Mapping[str, np.ndarray], options: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """What `unpacked` must know of each array that is not kept as it is."""
    told: dict[str, dict[str, Any]] = {}
    for name, array in arrays.items():
        if name in options:
            option, parts = options[name], list(empty_parts(array.shape, options[name]))
        elif whole_dtype(array) != array.dtype:
            option, parts = WHOLE, [""]
        else:
            continue
        told[name] = {"format": option, "shape": list(array.shape), "dtype": str(array.dtype), "parts": parts}
    return told


def key(name: str, part: str) -> str:
    """Of a part of a packed array among the arrays of the file."""
    return f"{name}{_SEPARATOR}{part}"


def unpacked(arrays: Mapping[str, np.ndarray], told: Any, where: str) -> dict[str, np.ndarray]:
    """The arrays as they were. Raises BadInput for a description that does not fit them."""
    out = dict(arrays)
    try:
        for name, one in dict(told).items():
            parts = {part: out.pop(key(name, part)) for part in one["parts"]}
            shape = tuple(one["shape"])
            if not all(type(n) is int and 0 <= n < 1 << 63 for n in shape):
                raise ValueError(f"a shape {shape}")
            if str(one["dtype"]) not in _DTYPES:
                raise ValueError(f"a dtype {one['dtype']}")
            out[name] = unpack_array(parts, str(one["format"]), shape, str(one["dtype"]))
    except BadInput:
        raise
    except Exception as error:  # any shape of nonsense in an edited file must end in one sentence
        raise BadInput(f"{where} does not fit its arrays ({str(error)[:80]}): it is damaged or was edited.") from None
    return out
