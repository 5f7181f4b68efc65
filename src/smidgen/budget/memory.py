"""What fits where: bytes of a rank and of its messages under ZeRO, before anything is built. Plain numbers, no torch.

Rajbhandari et al. (2019), ZeRO, arXiv 1910.02054: states of the model in sections 3.1 and 5 (figure 1), messages in
section 7, activations in sections 3.2 and 6.1. With P parameters over N ranks and K bytes of optimizer state each:

    stage   weights   gradients   optimizer
    0       2 P       2 P         K P            plain data parallelism
    1       2 P       2 P         K P / N        P_os
    2       2 P       2 P / N     K P / N        P_os+g
    3       2 P / N   2 P / N     K P / N        P_os+g+p

Mixed-precision Adam has K = 12: a float32 copy and two moments. In float32 throughout weights and gradients take 4 and
K is 8. A GB is 1e9 bytes.
"""

import math

from smidgen.kit.errors import bad

STAGES = (0, 1, 2, 3)
BLOCK_ACTIVATIONS = 12  # times batch x tokens x width: what a block of a transformer keeps for its backward pass


def model_state_bytes(
    n_params: int,
    stage: int,
    n_dp: int,
    n_mp: int = 1,
    weight_bytes: float = 2,
    grad_bytes: float = 2,
    optim_multiplier: float = 12,
) -> dict[str, int]:
    """Bytes of a rank: "weights", "grads", "optimizer" and their "total", each rounded up.

    Args:
        n_dp: data-parallel ranks; n_mp: model-parallel ones, among which parameters are split evenly before.
        optim_multiplier: K, bytes of optimizer state a parameter, float32 copies of weights too.
    Raises:
        BadInput: a stage that is not 0 to 3, or a number that is below 1.
    """
    _check(stage, n_params=n_params, n_dp=n_dp, n_mp=n_mp)
    own, ranks = n_params / n_mp, _sharers(stage, n_dp)
    each = {"weights": weight_bytes, "grads": grad_bytes, "optimizer": optim_multiplier}
    found = {name: math.ceil(each[name] * own / ranks[name]) for name in each}
    return {**found, "total": sum(found.values())}


def max_params(
    device_bytes: float,
    stage: int,
    n_dp: int,
    n_mp: int = 1,
    weight_bytes: float = 2,
    grad_bytes: float = 2,
    optim_multiplier: float = 12,
) -> int:
    """The most parameters whose states fit in `device_bytes` of each rank; activations come on top."""
    _check(stage, device_bytes=device_bytes, n_dp=n_dp, n_mp=n_mp)
    ranks = _sharers(stage, n_dp)
    a_parameter = weight_bytes / ranks["weights"] + grad_bytes / ranks["grads"] + optim_multiplier / ranks["optimizer"]
    return int(device_bytes * n_mp / a_parameter)


def fitting_stage(device_bytes: float, n_params: int, n_dp: int, **settings: float) -> int | None:
    """The lowest stage, and so the least to be sent, with which the states of a model fit; None: with none.

    Args:
        settings: of `model_state_bytes`.
    """
    return next((s for s in STAGES if max_params(device_bytes, s, n_dp, **settings) >= n_params), None)  # pyright: ignore


def comm_volume(n_params: int, stage: int, n_dp: int | None = None, micro_batches: int = 1) -> float:
    """Elements that a rank sends in an update: 2 P, and 3 P in stage 3.

    Gradients are reduced and scattered (P) and weights gathered (P), together as much as an all-reduce; stage 3 gathers
    weights before the forward and again before the backward pass.

    Args:
        n_dp: ranks, for exact counts in a ring: (n_dp - 1) / n_dp of it. None: many.
        micro_batches: of an update; stages 2 and 3 reduce after each, stage 3 gathers for each.
    """
    _check(stage, n_params=n_params, n_dp=1 if n_dp is None else n_dp, micro_batches=micro_batches)
    times = {0: 2, 1: 2, 2: micro_batches + 1, 3: 3 * micro_batches}[stage]
    return times * n_params * (1.0 if n_dp is None else (n_dp - 1) / n_dp)


def activation_bytes(
    batch: int,
    tokens: int,
    width: int,
    layers: int,
    *,
    checkpoints: bool = False,
    n_mp: int = 1,
    partition: bool = False,
    offload: bool = False,
    element_bytes: float = 2,
) -> dict[str, int]:
    """Activations of a transformer in training, of one rank: "device" and "host" bytes, and "gathered": what P_a sends
    in an update.

    A block keeps about 12 x batch x tokens x width elements. With checkpoints only its input is kept, and one block at
    a time computed again.

    Args:
        n_mp: model-parallel ranks; they split what is inside a block, and all have its input.
        partition: P_a, each keeps its part of the checkpoints. offload: P_a+cpu, on the host.
    Raises:
        BadInput: partition without checkpoints, offload without partition, or numbers below 1.
    """
    _check(0, batch=batch, tokens=tokens, width=width, layers=layers, n_mp=n_mp)
    if (partition and not checkpoints) or (offload and not partition):
        raise bad("activations", "offload only of partitioned, and partition only of checkpoints", "another")
    inputs = batch * tokens * width * element_bytes
    block = BLOCK_ACTIVATIONS * inputs / n_mp
    if not checkpoints:
        return {"device": math.ceil(layers * block), "host": 0, "gathered": 0}
    kept = math.ceil(layers * inputs / (n_mp if partition else 1))
    gathered = round(layers * inputs * (n_mp - 1) / n_mp) if partition else 0
    return {"device": math.ceil(block) + (0 if offload else kept), "host": kept if offload else 0, "gathered": gathered}


def _sharers(stage: int, n_dp: int) -> dict[str, int]:
    """Among how many ranks each part is shared out."""
    return {name: n_dp if stage >= first else 1 for name, first in (("weights", 3), ("grads", 2), ("optimizer", 1))}


def _check(stage: int, **numbers: float) -> None:
    if stage not in STAGES:
        raise bad("stage", "0, 1, 2 or 3", stage)
    for name, value in numbers.items():
        if not value >= 1:
            raise bad(name, "at least 1", value)
