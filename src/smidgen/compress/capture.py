"""What goes in and out of one layer of a network while batches run through it, and what the network says in the end.

A batch is what the network takes: a tensor, a tuple or list of arguments, or a mapping of keywords.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn

from smidgen.compress.walk import Stop, evaluating
from smidgen.kit.errors import BadInput

Batches = Sequence[Any]
quiet = evaluating


def call(model: nn.Module, batch: Any) -> Any:
    """The network's answer to a batch."""
    if isinstance(batch, Mapping):
        return model(**batch)
    return model(*batch) if isinstance(batch, tuple | list) else model(batch)


def answer(model: nn.Module, batch: Any) -> Tensor:
    """The answer as one tensor: logits or last states of those that say more, the first of several."""
    out = call(model, batch)
    if isinstance(out, Tensor):
        return out
    for name in ("logits", "last_hidden_state"):
        if isinstance(found := getattr(out, name, None), Tensor):
            return found
    first = next((o for o in (out.values() if isinstance(out, Mapping) else out) if isinstance(o, Tensor)), None)
    if first is None:
        raise BadInput(f"The network answers with {type(out).__name__}, in which there is no tensor.")
    return first


def count(batches: Batches) -> int:
    """Samples in all batches."""
    return sum(len(_first(b)) for b in batches)


@torch.no_grad()
def through_layer(model: nn.Module, name: str, batches: Batches) -> tuple[list[Tensor], list[Tensor]]:
    """Inputs and outputs of one layer, a tensor for each time that it was called; the rest of the network behind it is
    not run.

    Raises:
        BadInput: the batches never reach the layer.
    """
    inputs: list[Tensor] = []
    outputs: list[Tensor] = []

    def see(module: nn.Module, args: tuple, out: Any) -> None:
        inputs.append(args[0].detach())
        outputs.append(out.detach())
        if once:
            raise Stop

    once = _calls(model, name, batches[0]) == 1 if batches else False
    with evaluating(model):
        handle = model.get_submodule(name).register_forward_hook(see)
        try:
            for batch in batches:
                with suppress(Stop):
                    call(model, batch)
        finally:
            handle.remove()
    if not inputs:
        raise BadInput(f"The calibration data never reach the layer {name}: leave it out, or give other data.")
    return inputs, outputs


@torch.no_grad()
def order(model: nn.Module, names: Sequence[str], batch: Any) -> list[str]:
    """The layers in the order in which a batch reaches them; those that it does not reach are left out."""
    reached: dict[str, None] = {}
    handles = [model.get_submodule(n).register_forward_hook(lambda *_, n=n: reached.setdefault(n, None)) for n in names]
    try:
        with evaluating(model):
            call(model, batch)
    finally:
        for handle in handles:
            handle.remove()
    return list(reached)


def _calls(model: nn.Module, name: str, batch: Any) -> int:
    times = 0

    def see(*_: Any) -> None:
        nonlocal times
        times += 1

    handle = model.get_submodule(name).register_forward_hook(see)
    try:
        with evaluating(model), torch.no_grad():
            call(model, batch)
    finally:
        handle.remove()
    return times


def _first(batch: Any) -> Tensor:
    if isinstance(batch, Tensor):
        return batch
    parts = batch.values() if isinstance(batch, Mapping) else batch
    return next(p for p in parts if isinstance(p, Tensor))
