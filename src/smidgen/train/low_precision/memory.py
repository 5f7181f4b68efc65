"""What training under a policy takes: foretold from shapes, and counted from tensors.

A number is counted as it lies packed, with its scales; the emulation itself holds rounded numbers in float32.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from smidgen.formats.format import as_matrix
from smidgen.train.low_precision.layers import covered
from smidgen.train.low_precision.number import CASTS, Number
from smidgen.train.low_precision.optimizer import SMALLEST, LowPrecisionOptimizer, kept_weights
from smidgen.train.low_precision.policy import PrecisionPolicy, StateFormat
from smidgen.train.state_bytes import optimizer_state_bytes


def memory_estimate(
    model: nn.Module,
    policy: PrecisionPolicy,
    *,
    moments: int = 2,
    smallest: int = SMALLEST,
    run: Callable[[nn.Module], Any] | None = None,
) -> dict[str, int]:
    """Bytes of "weights" (as layers multiply them), "master" (float32 copies), "gradients", "optimizer_states", and
    "message" (what a worker sends in a step); with `run` also "activations" (what layers read and keep for the backward
    pass, of that run). "total" is without the message.

    Args:
        moments: 2 of Adam, 1 of SGD with momentum, 0 of SGD. smallest: see `apply_policy`.
        run: runs the model once on a batch.
    """
    low, kept_ids = _low(model, policy), {id(p) for p in kept_weights(model, policy)}
    weights = master = gradients = states = message = 0
    of = {name: Number.parse(getattr(policy, name)) for name in ("weights", "weight_grads", "comm")}
    formats = [StateFormat.parse(n, signed=s) for n, s in zip(policy.optimizer_states, (True, False), strict=True)]
    for name, p in model.named_parameters():
        shape, count = tuple(p.shape), p.numel()
        kept, lowered = id(p) in kept_ids, id(p) in low
        if lowered or kept:
            weights += of["weights"].bytes(shape)
            master += 4 * count if policy.master and not of["weights"].exact else 0
        else:
            weights += 4 * count
        gradients += of["weight_grads"].bytes(shape) if lowered else 4 * count
        exact = count < smallest or any(part in name for part in policy.skip)
        states += sum(4 * count if exact else f.bytes(shape) for f in formats[:moments])
        message += of["comm"].bytes(shape)
    found = {"weights": weights, "master": master, "gradients": gradients, "optimizer_states": states}
    if run is not None:
        found["activations"] = _activations(model, policy, run)
    return {**found, "total": sum(found.values()), "message": message}


def measured_bytes(model: nn.Module, optimizer: LowPrecisionOptimizer) -> dict[str, int]:
    """The same parts counted from tensors: weights and gradients are packed for it, moments lie packed already. Call it
    after a backward pass and a step, while gradients are there."""
    policy, low = optimizer.policy, _low(model, optimizer.policy)
    kept = {id(p) for p in optimizer.kept}
    weights = master = gradients = 0
    for p in model.parameters():
        if id(p) in low or id(p) in kept:
            weights += _packed_bytes(p, Number.parse(policy.weights))
            master += p.numel() * 4 if policy.master and policy.weights != "float32" else 0
        else:
            weights += p.numel() * p.element_size()
        if p.grad is not None:
            gradients += _packed_bytes(p.grad, Number.parse(policy.weight_grads if id(p) in low else "float32"))
    states = optimizer_state_bytes(optimizer)["moments"]
    found = {"weights": weights, "master": master, "gradients": gradients, "optimizer_states": states}
    return {**found, "total": sum(found.values())}


def _packed_bytes(x: Tensor, number: Number) -> int:
    if number.name in CASTS:
        return x.detach().to(CASTS[number.name]).nbytes
    if number.format is not None and number.grid.bits <= 8:
        return sum(v.nbytes for v in number.format.quantize(x, search="absmax").pack().values())
    return number.bytes(tuple(as_matrix(x).shape))  # no packed form: what it would be


def _low(model: nn.Module, policy: PrecisionPolicy) -> set[int]:
    """Weights of the layers that the policy is for."""
    return {id(model.get_submodule(n).weight) for n in covered(model, policy.skip)}


def _activations(model: nn.Module, policy: PrecisionPolicy, run: Callable[[nn.Module], Any]) -> int:
    number, total = Number.parse(policy.activations), 0

    def count(_: nn.Module, args: tuple[Any, ...]) -> None:
        nonlocal total
        total += number.bytes(tuple(args[0].flatten(0, -2).shape))

    handles = [model.get_submodule(n).register_forward_pre_hook(count) for n in covered(model, policy.skip)]
    try:
        with torch.no_grad():
            run(model)
    finally:
        for handle in handles:
            handle.remove()
    return total
