"""Any network of torch as what is compressed: batches from Python, the answer it gives, a folder to fill it from again.

The folder holds packed.json (which layers are packed, and how) and model.safetensors. `load_packed` puts them into a
network of the same architecture, made by the person's own code: the folder holds none.
"""

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from smidgen.compress.capture import answer
from smidgen.compress.replaceable import keep_what_is_read
from smidgen.compress.subject import Subject
from smidgen.kit.errors import BadInput, bad
from smidgen.kit.files import json_bytes, new_folder, read_bytes, read_json, write_bytes
from smidgen.nets.packable import call_parts
from smidgen.nets.packed_pretrained import PackedConfig, make_room, saved_state, share
from smidgen.studies.compress_texts import split

Loss = Callable[[nn.Module, Sequence[Any]], float]
FILE = "packed.json"
MOST = (256, 64, 128)  # batches to learn from, to choose by, to judge by
MOST_BYTES = 64 << 30
HALVES = (torch.float16, torch.bfloat16)


def subject_of(model: nn.Module, calibration: Sequence[Any] | None, loss: Loss | None, seed: int = 0) -> Subject:
    """What is compressed.

    Args:
        calibration: batches, each a tensor, a tuple of arguments or a mapping of keywords; at least 3, or None.
        loss: of a network on batches, to be reported; default: the squared error of its answers, as a share of their
            mean square (0 before).

    A network of 16-bit floats becomes one of float32 (its batches, too), which takes either.
    """
    batches = [] if calibration is None else list(calibration)
    if batches and len(batches) < 3:
        raise bad("calibration", "at least 3 batches (to learn from, to choose by, to judge by), or None", len(batches))
    learn, choose, check = split(batches, MOST, seed) if batches else ([], [], [])
    model = copy.deepcopy(model).eval()
    if any(p.dtype in HALVES for p in model.parameters()):  # what is learnt and measured needs more than 16 bits
        model = model.float()
        learn, choose, check = ([_wide(b) for b in part] for part in (learn, choose, check))
    call_parts(model)
    if learn:
        keep_what_is_read(model, lambda: answer(model, learn[0]))
    judge, unit = (loss, "the loss given") if loss else (_Judge(model, check), "relative error")
    return Subject(model, learn, choose, check, _answer, _error, judge, unit)


def write_module(folder: Path, model: nn.Module, config: PackedConfig) -> int:
    """Writes packed.json and model.safetensors, all or nothing; gives their bytes."""
    from safetensors.torch import save

    with new_folder(folder) as made:
        write_bytes(made / "model.safetensors", save(saved_state(model, config)))
        write_bytes(made / FILE, json_bytes(config.to_dict()))
    return sum(f.stat().st_size for f in folder.iterdir())


def load_packed(model: nn.Module, folder: str | Path) -> nn.Module:
    """A copy of a network with the packed weights of a folder that `compress` wrote for one like it, for use.

    Raises:
        BadInput: no such folder, damaged, or of another architecture.
    """
    from safetensors.torch import load

    folder = Path(folder)
    if not (folder / FILE).is_file():
        raise BadInput(f"{folder} holds no {FILE}: it was not written by smidgen.compress of a network.")
    config = PackedConfig.from_dict(read_json(folder / FILE))
    made = copy.deepcopy(model)
    make_room(made, config)
    try:
        state = load(read_bytes(folder / "model.safetensors", MOST_BYTES))
        owned = made.state_dict()
        told = {(t.data_ptr(), t.shape) for k, t in owned.items() if k in state and t.numel()}
        missing = [
            k for k, t in owned.items()
            if k not in state and not _borrowed(k, config) and (t.data_ptr(), t.shape) not in told
        ]  # fmt: skip
        if missing or set(state) - set(owned):
            raise ValueError(f"it lacks or adds {sorted([*missing, *set(state) - set(owned)])[0]}")
        made.load_state_dict({k: v.to(owned[k].dtype) for k, v in state.items()}, strict=False)
    except BadInput:
        raise
    except Exception as error:  # whatever does not fit, it ends in a sentence
        raise BadInput(
            f"{folder} does not fit this network, or is damaged ({str(error)[:200]}): give the architecture that was "
            "compressed."
        ) from None
    share(made, config)
    return made.eval()


def _borrowed(name: str, config: PackedConfig) -> bool:
    return any(name.startswith(f"{other}.weight") for one in config.layers.values() for other in one.others)


def _wide(batch: Any) -> Any:
    """A batch with its floats of 16 bits as float32."""
    if isinstance(batch, Tensor):
        return batch.float() if batch.dtype in HALVES else batch
    if isinstance(batch, Mapping):
        return {k: _wide(v) for k, v in batch.items()}
    return type(batch)(_wide(v) for v in batch) if type(batch) in (tuple, list) else batch


def _answer(model: nn.Module, batch: Any) -> Tensor:
    out = answer(model, batch)
    return out.reshape(len(out), -1) if out.dim() > 1 else out[:, None]


def _error(said: Tensor, wanted: Tensor, batch: Any) -> Tensor:
    return (said - wanted).square().mean() / wanted.square().mean().clamp(min=1e-12)


class _Judge:
    """The error against what the network said before anything was changed."""

    def __init__(self, model: nn.Module, check: Sequence[Any]) -> None:
        with torch.no_grad():
            self.wanted = [_answer(model, b) for b in check]

    @torch.no_grad()
    def __call__(self, model: nn.Module, batches: Sequence[Any]) -> float:
        if not len(batches):
            return math.nan
        pairs = list(zip(batches, self.wanted, strict=True))
        error = sum(float((_answer(model, b) - w).square().sum()) for b, w in pairs)
        return error / max(sum(float(w.square().sum()) for _, w in pairs), 1e-12)
