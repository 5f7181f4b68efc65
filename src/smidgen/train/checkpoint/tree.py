"""A nested state as a JSON tree and a table of tensors, and back. No pickle: nothing in a tree can carry code.

Containers, keys and numbers come back with their types: a tree marks what JSON cannot say by an object with one key
that starts with "$". Tensors are only referred to here (they must not change until they are copied); everything else,
numpy arrays too, is taken at once.
"""

import base64
import collections
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from smidgen.kit.errors import BadInput

DTYPES = {  # safetensors' names
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U64": torch.uint64,
    "U32": torch.uint32,
    "U16": torch.uint16,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
NAMES = {dtype: name for name, dtype in DTYPES.items()}
MAX_DEPTH = 100


@dataclass(frozen=True)
class Piece:
    """A rank's part of a tensor that is spread over ranks.

    Attributes:
        name: of the whole tensor, the same on all ranks. start: where the part begins, per dimension of the whole.
        whole: shape of the whole. A flat buffer cut into ranges has one dimension: start (offset,), part [length].
    """

    name: str
    tensor: Tensor
    start: tuple[int, ...]
    whole: tuple[int, ...]

    def __post_init__(self) -> None:
        fits = len(self.start) == len(self.whole) == self.tensor.dim() and all(
            s >= 0 and s + n <= w for s, n, w in zip(self.start, self.tensor.shape, self.whole, strict=True)
        )
        if not fits:
            raise BadInput(
                f"piece of '{self.name}': shape {list(self.tensor.shape)} at {list(self.start)} is not inside"
                f" {list(self.whole)}."
            )


@dataclass
class Flat:
    """What `flatten` made: the tree, and the tensors by name in the order of the walk."""

    tree: Any = None
    tensors: dict[str, Tensor] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        return sum(t.nbytes for t in self.tensors.values())


def flatten(state: Any) -> Flat:
    """The state as tree and tensors; tied tensors are stored once.

    Takes dicts (keys: text, numbers, bools, None, tuples of these), lists, tuples, Counters, tensors, `Piece`s, numpy
    arrays and scalars, text, bytes, numbers, None, torch dtypes and devices.
    Raises:
        BadInput: anything else, named by its place.
    """
    flat = Flat()
    flat.tree = _flatten(state, flat, {}, ())
    return flat


def unflatten(tree: Any, tensors: Mapping[str, Tensor]) -> Any:
    """The state that `flatten` took. Raises KeyError, TypeError or ValueError on a tree that it did not make."""
    if isinstance(tree, list):
        return [unflatten(v, tensors) for v in tree]
    if not isinstance(tree, dict):
        return tree
    kind = next(iter(tree), "")
    if not kind.startswith("$"):
        return {k: unflatten(v, tensors) for k, v in tree.items()}
    value = tree[kind]
    match kind:
        case "$tensor":
            return torch.view_as_complex(tensors[value]) if "complex" in tree else tensors[value]
        case "$array":
            array = tensors[value].numpy()
            array = array.view(f"c{2 * array.itemsize}")[..., 0] if "complex" in tree else array
            return array[()] if "scalar" in tree else array
        case "$piece":
            return Piece(tree["name"], tensors[value], tuple(tree["start"]), tuple(tree["whole"]))
        case "$tuple":
            return tuple(unflatten(v, tensors) for v in value)
        case "$dict":
            return {unflatten(k, tensors): unflatten(v, tensors) for k, v in value}
        case "$counter":
            return collections.Counter({unflatten(k, tensors): n for k, n in value})
        case "$float":
            return float(value)
        case "$complex":
            return complex(*(float(v) for v in value))
        case "$bytes":
            return base64.b64decode(value, validate=True)
        case "$dtype":
            return getattr(torch, value) if isinstance(getattr(torch, value), torch.dtype) else None
        case "$device":
            return torch.device(value)
    raise ValueError(kind)


def dumps(tree: Any) -> str:
    return json.dumps(tree, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _flatten(value: Any, flat: Flat, seen: dict[tuple, str], path: tuple) -> Any:
    if len(path) > MAX_DEPTH:
        raise BadInput(f"{_where(path[:3])}: a state nests at most {MAX_DEPTH} deep (does it contain itself?).")
    if value is None or type(value) in (bool, str, int):
        return value
    if isinstance(value, Tensor):
        return _tensor(value, flat, seen, path)
    if isinstance(value, Piece):
        part = _tensor(value.tensor, flat, seen, path)
        if "complex" in part:
            raise BadInput(f"{_where(path)}: a piece cannot be complex.")
        return {"$piece": part["$tensor"], "name": value.name, "start": list(value.start), "whole": list(value.whole)}
    if isinstance(value, np.ndarray | np.generic):
        return _array(value, flat, path)
    if isinstance(value, Mapping):
        return _mapping(value, flat, seen, path)
    if isinstance(value, list | tuple):
        made = [_flatten(v, flat, seen, (*path, i)) for i, v in enumerate(value)]
        return {"$tuple": made} if isinstance(value, tuple) else made
    return _scalar(value, path)


def _mapping(value: Mapping, flat: Flat, seen: dict, path: tuple) -> Any:
    if isinstance(value, collections.Counter):
        return {"$counter": [[_key(k, path), int(n)] for k, n in value.items()]}
    if all(type(k) is str and not k.startswith("$") for k in value):
        return {k: _flatten(v, flat, seen, (*path, k)) for k, v in value.items()}
    return {"$dict": [[_key(k, path), _flatten(v, flat, seen, (*path, k))] for k, v in value.items()]}


def _key(key: Any, path: tuple) -> Any:
    if isinstance(key, tuple):
        return {"$tuple": [_key(k, path) for k in key]}
    if key is None or isinstance(key, str | int | float | bool):
        return _scalar(key, path)
    raise BadInput(f"{_where(path)}: a key of a state is text or a number, not {type(key).__name__}.")


def _scalar(value: Any, path: tuple) -> Any:
    if isinstance(value, bool | str) or value is None:
        return str(value) if isinstance(value, str) else value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {"$float": repr(float(value))}
    if isinstance(value, complex):
        return {"$complex": [repr(value.real), repr(value.imag)]}
    if isinstance(value, bytes | bytearray):
        return {"$bytes": base64.b64encode(value).decode()}
    if isinstance(value, torch.dtype):
        return {"$dtype": str(value).removeprefix("torch.")}
    if isinstance(value, torch.device):
        return {"$device": str(value)}
    raise BadInput(f"{_where(path)}: a checkpoint cannot hold {type(value).__name__}: only data, never objects.")


def _tensor(value: Tensor, flat: Flat, seen: dict, path: tuple) -> dict:
    if hasattr(value, "to_local"):
        raise BadInput(f"{_where(path)}: this tensor is spread over ranks: give each rank's part as a Piece.")
    tensor = value.detach()
    if tensor.layout is not torch.strided or tensor.is_quantized or tensor.device.type == "meta":
        raise BadInput(f"{_where(path)}: a checkpoint holds dense tensors with values, not {_kind(tensor)}.")
    extra = {}
    if tensor.is_complex():
        tensor, extra = torch.view_as_real(tensor.resolve_conj()), {"complex": True}
    tensor = tensor.resolve_neg()
    if tensor.dtype not in NAMES:
        raise BadInput(f"{_where(path)}: a checkpoint cannot hold tensors of {tensor.dtype}.")
    same = (tensor.data_ptr(), tensor.device, tensor.dtype, tensor.shape, tensor.stride())
    if tensor.numel() and same in seen:
        return {"$tensor": seen[same], **extra}
    name = seen[same] = _add(tensor, flat, path)
    return {"$tensor": name, **extra}


def _array(value: Any, flat: Flat, path: tuple) -> dict:
    array, extra = np.array(value, order="C"), {"scalar": True} if isinstance(value, np.generic) else {}
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    if array.dtype.kind == "c" and array.itemsize <= 16:
        array, extra = np.stack([np.real(array), np.imag(array)], -1), {**extra, "complex": True}
    if array.dtype.kind not in "fiub" or array.itemsize > 8:
        raise BadInput(f"{_where(path)}: a checkpoint cannot hold arrays of {array.dtype}; use lists for text.")
    return {"$array": _add(torch.from_numpy(array), flat, path), **extra}


def _add(tensor: Tensor, flat: Flat, path: tuple) -> str:
    name = ".".join(map(str, path)) or "state"
    name = f"state.{name}" if name.startswith("__") else name  # names that begin so are the format's
    while name in flat.tensors:  # a key may hold a dot
        name += "'"
    flat.tensors[name] = tensor
    return name


def _kind(tensor: Tensor) -> str:
    return "a meta tensor" if tensor.device.type == "meta" else f"{tensor.layout} {tensor.dtype}"


def _where(path: tuple) -> str:
    return "state" + "".join(f"[{k!r}]" for k in path)
