"""The weights of an in-context encoder as one safetensors file: arrays, and the shape of the network among them."""

from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from smidgen.kit.errors import BadInput, SmidgenError
from smidgen.kit.files import digest, parse_tensors, read_bytes, tensor_bytes
from smidgen.nets.hypernetwork import HypernetworkConfig, InContextLinearHypernet

SHAPE = "shape"
MOST_BYTES = 4 << 30
_STORED = [f.name for f in fields(HypernetworkConfig) if f.name != "dropout"]  # whole numbers and switches


def encoder_bytes(net: InContextLinearHypernet) -> bytes:
    """The file's bytes; the same network always gives the same."""
    arrays = {name: value.detach().cpu().float().numpy() for name, value in net.state_dict().items()}
    return tensor_bytes({**arrays, SHAPE: np.array([int(getattr(net.config, k)) for k in _STORED], np.int64)})


def read_encoder(path: Path | str) -> tuple[InContextLinearHypernet, str]:
    """The network of a file, ready to answer, and a hash of the file. It is shared: do not train it.

    Raises:
        BadInput: there is no file, or it does not hold such a network.
    """
    path = Path(path).absolute()
    if not path.is_file():
        raise BadInput(f"{path}: there are no weights of an in-context encoder here. `train_encoder` makes them.")
    changed = path.stat()
    return _read(path, changed.st_mtime_ns, changed.st_size)


@cache
def _read(path: Path, *_: int) -> tuple[InContextLinearHypernet, str]:
    data = read_bytes(path, MOST_BYTES)
    arrays = parse_tensors(data, str(path))
    shape = arrays.pop(SHAPE, None)
    damaged = BadInput(f"{path} does not hold weights of an in-context encoder: the file is another, or damaged.")
    if shape is None or shape.shape != (len(_STORED),):
        raise damaged
    kinds = {f.name: type(f.default) if isinstance(f.default, bool) else int for f in fields(HypernetworkConfig)}
    try:
        settings: dict[str, Any] = {k: kinds[k](v) for k, v in zip(_STORED, shape, strict=True)}
        net = InContextLinearHypernet(HypernetworkConfig(**settings))
        net.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
    except (RuntimeError, SmidgenError):
        raise damaged from None
    return net.eval().requires_grad_(False), digest(data)
