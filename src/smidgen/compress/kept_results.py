"""How results of a compression are written into its work folder (see `work_folder`) and read back, the same to the bit:
what layers see, weights in a format, and how far a recovery is."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from smidgen.compress.inputs import Inputs
from smidgen.compress.layers import Layer
from smidgen.compress.work_folder import Key, WorkFolder
from smidgen.formats.format import Format, Quantized

EVERY = 15.0  # seconds between two states of a recovery
SLACK = 20.0  # or so many times what writing one takes, where that is more
_SEEN = ("hessian", "mean", "magnitude", "largest", "counts")


def inputs_of(
    work: WorkFolder, layers: Sequence[Layer], make: Callable[[], dict[Layer, Inputs]]
) -> dict[Layer, Inputs]:
    """What these layers see, each sum written once: layers that are given the same tensor share it again."""
    shared: dict[tuple[str, str], Tensor] = {}
    out = {}
    for layer in layers:
        found = work.read(["inputs", layer.name])
        if found is None:
            break
        value, tensors = found
        shared |= {(layer.name, name): t.to(value["devices"][name]) for name, t in tensors.items()}
        own = {name: shared.get((owner, name)) for name, owner in value["owners"].items()}
        if any(t is None for t in own.values()):  # the owner's file was damaged
            break
        out[layer] = Inputs(value["rows"], **own)
    if len(out) == len(layers):
        return out
    made = make()
    first: dict[int, str] = {}
    for layer in layers:
        seen = {name: t for name in _SEEN if (t := getattr(made[layer], name)) is not None}
        owners = {name: first.setdefault(id(t), layer.name) for name, t in seen.items()}
        devices = {name: str(t.device) for name, t in seen.items()}
        own = {name: t for name, t in seen.items() if owners[name] == layer.name}
        work.write(["inputs", layer.name], {"rows": made[layer].rows, "owners": owners, "devices": devices}, own)
    return made


def quantized_once(
    work: WorkFolder, key: Key, weight: Tensor, format: Format, make: Callable[[], Quantized]
) -> Quantized:
    """A weight in a format."""
    found = work.read(key)
    if found is not None:
        parts = {name: t.to(weight.device) for name, t in found[1].items()}
        return Quantized.unpack(parts, format, tuple(weight.shape))
    made = make()
    work.write(key, None, made.pack())
    return made


class RecoveryState:
    """What Adam has made of the parameters, kept from time to time.

    Args:
        parameters: all that is learned, always in this order.
    """

    def __init__(
        self, work: WorkFolder, key: Key, parameters: Sequence[Tensor], optimizer: torch.optim.Optimizer
    ) -> None:
        self.work, self.key, self.parameters, self.optimizer = work, key, parameters, optimizer
        self._due = time.perf_counter() + EVERY

    @torch.no_grad()
    def restore(self) -> dict[str, Any] | None:
        """Sets parameters and moments as they were, and gives what was said of them."""
        found = self.work.read(self.key)
        if found is None:
            return None
        said, tensors = found
        for i, p in enumerate(self.parameters):
            p.copy_(tensors[f"{i}"])
            state = {k: tensors[f"{i}.{k}"].clone() for k in ("step", "exp_avg", "exp_avg_sq") if f"{i}.{k}" in tensors}
            if state:  # none where no gradient has come yet
                self.optimizer.state[p] = {k: v if k == "step" else v.to(p.device) for k, v in state.items()}
        return said

    def keep(self, said: dict[str, Any]) -> None:
        """Called after a step; writes when it is time to."""
        began = time.perf_counter()
        if began < self._due:
            return
        tensors: dict[str, Tensor] = {}
        for i, p in enumerate(self.parameters):
            tensors |= {f"{i}": p, **{f"{i}.{k}": v for k, v in self.optimizer.state.get(p, {}).items()}}
        self.work.write(self.key, said, tensors)
        ended = time.perf_counter()
        self._due = ended + max(EVERY, SLACK * (ended - began))
