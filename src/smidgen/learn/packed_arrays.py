"""Arrays of a saved model in fewer bytes: as they are, as floats of 4 or 2 bytes, or in a number format.

Options are names: "float32", "float16", or that of a format (`formats.format`). An array is a matrix whose rows are its
first axis. It is unpacked when the model is loaded: a compressed model is small on disk, in memory it is what it was.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from smidgen.kit.errors import BadInput
from smidgen.kit.extras import need

FLOATS = {"float32": np.float32, "float16": np.float16}
LEAST = 64  # numbers of an array worth packing
WHY = "A compressed model"
_SEPARATOR = "|"


def packable(array: np.ndarray) -> bool:
    """Whether an array can be written down in fewer bytes: floats, enough of them, all finite."""
    return array.dtype.kind == "f" and array.size >= LEAST and bool(np.isfinite(array).all())


def pack_array(array: np.ndarray, option: str) -> dict[str, np.ndarray]:
    """Arrays to keep, by the name of a part ("" where there is one)."""
    if option in FLOATS:
        return {"": array.astype(FLOATS[option])}
    torch: Any = need("torch", extra="text", why=WHY)
    from smidgen.formats.format import Format

    made = Format.parse(option).quantize(torch.from_numpy(np.ascontiguousarray(array, np.float32)))
    return {name: tensor.numpy() for name, tensor in made.pack().items()}


def unpack_array(parts: Mapping[str, np.ndarray], option: str, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """The array of what `pack_array` gave."""
    if option in FLOATS:
        return parts[""].reshape(shape).astype(dtype)
    torch: Any = need("torch", extra="text", why=WHY)
    from smidgen.formats.format import Format, Quantized

    tensors = {name: torch.from_numpy(np.array(part)) for name, part in parts.items()}
    return Quantized.unpack(tensors, Format.parse(option), shape).dequantize().numpy().astype(dtype)


def packed(
    arrays: Mapping[str, np.ndarray],
    options: Mapping[str, str],
    made: dict[tuple[str, str], dict[str, np.ndarray]] | None = None,
) -> tuple[dict[str, np.ndarray], dict[str, dict[str, Any]]]:
    """All arrays of a model to keep, and the description that `unpacked` needs; those without an option as they are.

    `made`: parts that were packed before, by array and option; new ones are added.
    """
    made = {} if made is None else made
    out: dict[str, np.ndarray] = {}
    told: dict[str, dict[str, Any]] = {}
    for name, array in arrays.items():
        if name not in options:
            out[name] = array
            continue
        if (name, options[name]) not in made:
            made[name, options[name]] = pack_array(array, options[name])
        parts = made[name, options[name]]
        out |= {f"{name}{_SEPARATOR}{part}": value for part, value in parts.items()}
        told[name] = {
            "format": options[name],
            "shape": list(array.shape),
            "dtype": str(array.dtype),
            "parts": list(parts),
        }
    return out, told


def unpacked(arrays: Mapping[str, np.ndarray], told: Any, where: str) -> dict[str, np.ndarray]:
    """The arrays as they were. Raises BadInput for a description that does not fit them."""
    out = dict(arrays)
    try:
        for name, one in dict(told).items():
            parts = {part: out.pop(f"{name}{_SEPARATOR}{part}") for part in one["parts"]}
            shape = tuple(int(n) for n in one["shape"])
            if str(one["dtype"]) not in ("float64", "float32", "float16"):
                raise ValueError(f"a dtype {one['dtype']}")
            out[name] = unpack_array(parts, str(one["format"]), shape, str(one["dtype"]))
    except BadInput:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadInput(f"{where} does not fit its arrays ({str(error)[:80]}): it is damaged or was edited.") from None
    return out
