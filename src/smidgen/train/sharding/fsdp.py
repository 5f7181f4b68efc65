"""Stage 3 by torch's own FSDP2: `fully_shard` does the gathering and the reducing, this the book-keeping.

Parameters are cut along their first dimension, so that a rank owns one range of each. The result is that of the native
stage 3 up to the order of sums; on gloo gradients take twice the bytes, as its reduce-scatter is an all-reduce.
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch.distributed as dist
from torch import Tensor, nn

from smidgen.train.sharding.flat import by_module
from smidgen.train.sharding.partition import Own, agreed, storage_bytes
from smidgen.train.sharding.ranks import Ranks


class FsdpPartition:
    """A `Partition` whose parameters are DTensors. Arguments as of `FlatPartition`."""

    def __init__(
        self,
        model: nn.Module,
        ranks: Ranks,
        trained: set[str],
        *,
        modules: Sequence[nn.Module] | None = None,
        outside: Sequence[str] = (),
    ) -> None:
        from torch.distributed.device_mesh import DeviceMesh
        from torch.distributed.fsdp import fully_shard

        self.ranks = ranks
        device = next(model.parameters()).device.type
        for p in model.parameters():
            ranks.broadcast(p.data)
        mesh = DeviceMesh.from_group(ranks.group or dist.group.WORLD, device)  # pyright: ignore
        places = by_module(model, modules, outside)
        for module in places:  # the model comes last; one with shared parameters stays a part of it
            if module is model or len(places[module]) == len(list(module.parameters())):
                fully_shard(module, mesh=mesh, reshard_after_forward=True)
        self._model: Any = model
        self._model.set_gradient_divide_factor(1.0)
        self._model.set_force_sum_reduction_for_comms(True)
        self._sharded: list[Any] = [m for m in model.modules() if hasattr(m, "unshard")]
        named = list(model.named_parameters())
        self.sizes = {name: p.numel() for name, p in named}
        self.names = {id(p): name for name, p in named}
        self._trained = {name: p for name, p in named if name in trained}
        self.owns = [own for name, p in named if name in trained for own in self._owned(name, p)]
        self.keeps = [own for name, p in named if name not in trained for own in self._owned(name, p)]

    def backward(self, loss: Tensor, reduce: bool) -> None:
        """As `Partition`."""
        loss.backward()

    def finish(self) -> None:
        """As `Partition`."""
        there = agreed(list(self._trained), {n for n, p in self._trained.items() if p.grad is not None}, self.ranks)
        for own in self.owns:
            grad: Any = self._trained[own.name].grad
            own.tensor.grad = grad.to_local().reshape(-1) if own.name in there else None

    def publish(self) -> None:
        """Nothing: weights are gathered when they are used."""

    def refresh(self) -> None:
        """Nothing: there are no exact copies."""

    def drop(self) -> None:
        """As `Partition`."""
        for p in [*self._trained.values(), *(own.tensor for own in self.owns)]:
            p.grad = None

    @contextlib.contextmanager
    def whole(self) -> Iterator[None]:
        """As `Partition`."""
        for module in self._sharded:
            module.unshard()
        try:
            yield
        finally:
            for module in self._sharded:
                module.reshard()

    def nbytes(self) -> dict[str, int]:
        """As `Partition`."""
        weights = [own.tensor for own in [*self.owns, *self.keeps]]
        return {"weights": storage_bytes(weights), "grads": storage_bytes(w.grad for w in weights), "buffers": 0}

    def _owned(self, name: str, parameter: Any) -> list[Own]:
        local = parameter.detach().to_local()
        rows = -(-parameter.shape[0] // self.ranks.size)
        start = self.ranks.rank * rows * (parameter.numel() // max(1, parameter.shape[0]))
        tensor = nn.Parameter(local.view(-1), requires_grad=False)
        return [Own(name, start, local.numel(), tensor)] if local.numel() else []
