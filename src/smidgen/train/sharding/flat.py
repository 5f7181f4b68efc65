"""All stages on one layout: units of flat weights, their buckets, and hooks on the model."""

import contextlib
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from smidgen.kit.errors import bad
from smidgen.train.sharding.gatherer import Gatherer
from smidgen.train.sharding.partition import Own, agreed, storage_bytes
from smidgen.train.sharding.ranks import Ranks
from smidgen.train.sharding.reducer import Reducer
from smidgen.train.sharding.unit import Unit

EVEN = 4  # whole tensors for each rank in a message, at least
Named = list[tuple[str, nn.Parameter]]


class FlatPartition:
    """A `Partition` of flat units: one in stages 0 to 2, one a module in stage 3.

    Args:
        trained: names of parameters that get gradients; others are frozen.
        modules: stage 3: gathered and released each by itself; default: the parts of each ModuleList and Sequential.
        outside: stage 3: names of parameters that are used outside of their module (functional calls); they stay while
            the whole model computes, as those do that two modules share.
        uncut: names of parameters that stay whole, each with one owner. Others as of `Unit`.
    """

    def __init__(
        self,
        model: nn.Module,
        ranks: Ranks,
        stage: int,
        trained: set[str],
        *,
        modules: Sequence[nn.Module] | None = None,
        outside: Sequence[str] = (),
        uncut: Collection[str] = (),
        bucket_bytes: int,
        **settings: Any,
    ) -> None:
        self.ranks, self.stage = ranks, stage
        named = list(model.named_parameters())
        spread = named if stage == 3 else [(n, p) for n, p in named if n in trained]
        self.sizes = {name: p.numel() for name, p in spread}
        self.names = {id(p): name for name, p in spread}
        self._trained = [name for name, _ in named if name in trained]
        places = by_module(model, modules, outside) if stage == 3 else {model: spread}
        settings["bucket_bytes"] = bucket_bytes
        units = {
            module: [
                Unit(part, ranks, stage, trained=kind[2], uncut=kind[3], **settings)
                for kind, alike in _alike(own, trained, set(uncut)).items()
                for part in (_parts(alike, ranks.size, bucket_bytes) if kind[3] else [alike])
            ]
            for module, own in places.items()
        }
        self.units = [u for own in units.values() for u in own]
        by_use = [u for module, own in reversed(units.items()) if module is not model for u in own]
        self._reducer = Reducer([u for u in [*by_use, *units[model]] if u.trained], ranks)
        self._gatherer = Gatherer(units) if stage == 3 else None
        self.owns, self.keeps = self._owned(trained=True), self._owned(trained=False)
        self._got: set[str] = set()
        self._waiting = False  # gradients that have not been reduced
        for name, p in named:
            if name in trained:
                p.register_post_accumulate_grad_hook(self._arrival(name))

    def backward(self, loss: Tensor, reduce: bool) -> None:
        """As `Partition`; stages 2 and 3 reduce each time."""
        reduce = reduce or self.stage >= 2
        self._waiting = not reduce
        if reduce:
            self._reducer.begin()
        loss.backward()
        if self._gatherer is not None:
            self._gatherer.end()
        if reduce:
            self._reducer.end()

    def finish(self) -> None:
        """As `Partition`."""
        if self._waiting:
            self._reducer.end()
            self._waiting = False
        there = agreed(self._trained, self._got, self.ranks)
        for unit, own, r in self._places(trained=True):
            own.tensor.grad = unit.grad(r) if own.name in there else None

    def publish(self) -> None:
        """As `Partition`."""
        for unit in self.units:
            if unit.trained:
                unit.publish()

    def refresh(self) -> None:
        """As `Partition`."""
        for unit in self.units:
            unit.refresh()

    def drop(self) -> None:
        """As `Partition`."""
        for unit in self.units:
            unit.grads = None
            for parameter in unit.parameters.values():
                parameter.grad = None
        for own in self.owns:
            own.tensor.grad = None
        self._got.clear()
        self._waiting = False

    @contextlib.contextmanager
    def whole(self) -> Iterator[None]:
        """As `Partition`."""
        for unit in self.units:
            unit.gather()
        try:
            yield
        finally:
            for unit in self.units:
                unit.release()

    def nbytes(self) -> dict[str, int]:
        """As `Partition`."""
        units, own = self.units, [own.tensor for own in self.owns]
        weights = [*(u.flat for u in units), *(u.shard for u in units), *(u.master for u in units), *own]
        grads = [*(u.grads for u in units), *(p.grad for u in units for p in u.parameters.values())]
        buffers = [b.held for b in self._reducer.buffers]
        return {n: storage_bytes(t) for n, t in (("weights", weights), ("grads", grads), ("buffers", buffers))}

    def _arrival(self, name: str) -> Any:
        def arrived(_: Tensor) -> None:
            self._got.add(name)
            self._reducer.arrived(name)

        return arrived

    def _owned(self, trained: bool) -> list[Own]:
        found = []
        for unit in self.units:
            for r in unit.layout.ranges(self.ranks.rank) if unit.trained == trained else ():
                tensor = nn.Parameter(unit.home(r), requires_grad=False)
                found.append(Own(r.name, r.start, r.length, tensor))
        return found

    def _places(self, trained: bool) -> Iterator[tuple[Unit, Own, Any]]:
        owns = iter(self.owns if trained else self.keeps)
        for unit in self.units:
            for r in unit.layout.ranges(self.ranks.rank) if unit.trained == trained else ():
                yield unit, next(owns), r


def _alike(
    named: Named, trained: set[str], uncut: set[str]
) -> dict[tuple[torch.dtype, torch.device, bool, bool], Named]:
    """Parameters by dtype, device, trained or not, whole or not; last ones first: so their gradients come."""
    found: dict[tuple[torch.dtype, torch.device, bool, bool], Named] = {}
    for name, p in reversed(named):
        found.setdefault((p.dtype, p.device, name in trained, name in uncut), []).append((name, p))
    return found


def _parts(named: Named, ranks: int, bucket_bytes: int) -> Iterator[Named]:
    """Tensors that stay whole, as many together as a bucket holds, but enough to be shared out evenly."""
    part: Named = []
    for name, p in named:
        part.append((name, p))
        if sum(q.nbytes for _, q in part) >= bucket_bytes and len(part) >= EVEN * ranks:
            yield part
            part = []
    if part:
        yield part


def by_module(model: nn.Module, modules: Sequence[nn.Module] | None, outside: Sequence[str]) -> dict[nn.Module, Named]:
    """Which module gathers which parameters; the model itself has what is left, or shared, or used outside.

    Raises:
        BadInput: `outside` names no parameter.
    """
    named = list(model.named_parameters())
    unknown = sorted(set(outside) - {name for name, _ in named})
    if unknown:
        raise bad("outside", "names of parameters", unknown[0])
    chosen = list(blocks(model) if modules is None else modules)
    users: dict[int, set[int]] = {}  # places of modules that have a parameter; -1: none of the chosen
    for place, module in enumerate(chosen):
        for p in module.parameters():
            users.setdefault(id(p), set()).add(place)
    inside = {id(m) for module in chosen for m in module.modules()}
    for module in model.modules():
        if id(module) not in inside:
            for p in module.parameters(recurse=False):
                users.setdefault(id(p), set()).add(-1)
    found: dict[nn.Module, Named] = {module: [] for module in [*chosen, model]}
    for name, p in named:
        of = users[id(p)]
        alone = len(of) == 1 and -1 not in of and name not in outside
        found[chosen[next(iter(of))] if alone else model].append((name, p))
    return found


def blocks(model: nn.Module) -> Iterator[nn.Module]:
    """The parts of each outermost ModuleList or Sequential that have parameters."""
    for child in model.children() if not isinstance(model, nn.Sequential | nn.ModuleList) else [model]:
        if isinstance(child, nn.Sequential | nn.ModuleList):
            yield from (part for part in child if any(True for _ in part.parameters()))
        else:
            yield from blocks(child)
