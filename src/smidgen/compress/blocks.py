"""The walk block by block: each block sees what the part before it, quantized already, gives it.

Blocks are the entries of a network's lists of modules (as in transformers). Where each block is fed by the one before
and by nothing that changes, batches wait between two blocks and each block runs twice a batch: to see, and to go on
with the quantized weights. Otherwise the network starts from its beginning for each block and stops behind it. A
network without lists is walked layer by layer, which reads the batches once for each layer.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from smidgen.compress.inputs import Inputs
from smidgen.compress.layers import Layer, find
from smidgen.compress.walk import MOST_BYTES, Mask, Run, Stop, evaluating, gather, portions
from smidgen.kit.errors import BadInput

Visit = Callable[[dict[Layer, Inputs]], None]  # rounds these layers and puts their weights in place


@dataclass(frozen=True)
class Stage:
    """Layers that are seen together. `block`: the module that holds them; "": they lie outside of blocks."""

    block: str
    layers: tuple[Layer, ...]


def stages(model: nn.Module, layers: Sequence[Layer]) -> list[Stage]:
    """What comes before the blocks, each block, the rest; a stage for each layer where there are no blocks."""
    blocks = block_names(model)
    owner = {a: next((b for b in blocks if a.name == b or a.name.startswith(f"{b}.")), "") for a in layers}
    inside = [i for i, a in enumerate(layers) if owner[a]]
    if not inside:
        return [Stage("" if a.others else a.name, (a,)) for a in layers]
    before = [a for a in layers[: inside[0]] if not owner[a]]
    after = [a for a in layers[inside[0] :] if not owner[a]]
    middle = [Stage(b, tuple(a for a in layers if owner[a] == b)) for b in blocks]
    return [s for s in (Stage("", tuple(before)), *middle, Stage("", tuple(after))) if s.layers]


def block_names(model: nn.Module) -> list[str]:
    """Entries of the outermost lists of modules, in the order of the network."""
    lists = [n for n, m in model.named_modules() if isinstance(m, nn.ModuleList) and len(m) > 1]
    outer = [n for n in lists if not any(n.startswith(f"{other}.") for other in lists if other != n)]
    return [f"{n}.{i}" if n else str(i) for n in outer for i in range(len(model.get_submodule(n)))]  # type: ignore[arg-type]


def walk_blocks(
    model: nn.Module,
    batches: Sequence[Any],
    run: Run,
    visit: Visit,
    *,
    layers: Sequence[Layer] | None = None,
    mask: Mask | None = None,
    most_bytes: int = MOST_BYTES,
    finer: bool = False,
) -> None:
    """Calls `visit` with what the layers of a block see, one block after the other.

    Args:
        visit: what it does to the weights is seen by all that comes later.
        finer: within a block, too, layers see what the ones before them became; layers with the same inputs are one
            step (query, key and value; then what they are joined by; and so on). A pass more for each step.
        most_bytes: of the second moments at once, and of the batches that wait between blocks.
        Others: see `walk`.
    """
    layers = find(model) if layers is None else layers
    if not len(batches):
        raise BadInput("There is no calibration batch: give at least one.")
    todo = stages(model, layers)
    waiting: _Waiting | None = None
    tried = False
    for i, stage in enumerate(todo):
        if stage.block and not tried:
            rest = [s.block for s in todo[i:] if s.block]
            waiting, tried = _Waiting.at(model, batches, run, rest, most_bytes), True
        if stage.block and waiting is not None:
            block = model.get_submodule(stage.block)
            places, seen_by = range(len(batches)), None if mask is None else _of_place(mask, batches)
            _visited(model, places, waiting.runner(block), stage, visit, seen_by, most_bytes, finer)
            waiting.advance(model, block)
        else:
            with _stopping(model, stage.block):
                _visited(model, batches, run, stage, visit, mask, most_bytes, finer)


def _visited(
    model: nn.Module,
    batches: Sequence[Any],
    run: Run,
    stage: Stage,
    visit: Visit,
    mask: Mask | None,
    most_bytes: int,
    finer: bool,
) -> None:
    for portion in portions(model, stage.layers, most_bytes):
        left = list(portion)
        while left:
            seen = gather(model, batches, run, left, mask=mask)
            first = seen[left[0]].hessian
            now = [a for a in left if not finer or (first is not None and seen[a].hessian is first)] or left[:1]
            visit({a: seen[a] for a in now})
            left = [a for a in left if a not in now]


@dataclass
class _Waiting:
    """Batches between two blocks: what the next one is called with."""

    calls: list[tuple[tuple[Any, ...], dict[str, Any]]]

    @classmethod
    def at(
        cls, model: nn.Module, batches: Sequence[Any], run: Run, blocks: list[str], most_bytes: int
    ) -> "_Waiting | None":
        """Before the first of these blocks; None where they are no chain, or where too much would wait."""
        with torch.no_grad(), evaluating(model):
            if not _is_chain(model, batches[0], run, blocks):
                return None
            calls: list[Any] = []
            used: set[int] = set()
            bytes = 0

            def hook(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
                calls.append((args, kwargs))
                raise Stop

            handle = model.get_submodule(blocks[0]).register_forward_pre_hook(hook, with_kwargs=True)
            try:
                for batch in batches:
                    with suppress(Stop):
                        run(model, batch)
                    for x in _tensors(calls[-1]):
                        bytes += 0 if id(x) in used else x.numel() * x.element_size()
                        used.add(id(x))
                    if bytes > most_bytes:
                        return None
            finally:
                handle.remove()
        return cls(calls) if len(calls) == len(batches) else None

    def runner(self, block: nn.Module) -> Run:
        def run(_: nn.Module, place: int) -> Any:
            args, kwargs = self.calls[place]
            return block(*args, **kwargs)

        return run

    def advance(self, model: nn.Module, block: nn.Module) -> None:
        with torch.no_grad(), evaluating(model):
            for i, (args, kwargs) in enumerate(self.calls):
                self.calls[i] = ((_hidden(block(*args, **kwargs)), *args[1:]), kwargs)


def _is_chain(model: nn.Module, batch: Any, run: Run, blocks: list[str]) -> bool:
    """Whether each block is called once, with what the one before gave and otherwise with the same plain things."""
    calls: list[tuple[str, tuple[Any, ...], dict[str, Any], Any]] = []
    hooks = []
    try:
        for name in blocks:

            def hook(_: nn.Module, args: Any, kwargs: Any, out: Any, name: str = name) -> None:
                calls.append((name, args, kwargs, _hidden(out)))

            hooks.append(model.get_submodule(name).register_forward_hook(hook, with_kwargs=True))
        run(model, batch)
    finally:
        for handle in hooks:
            handle.remove()
    if [c[0] for c in calls] != blocks or not all(c[1] and isinstance(c[1][0], Tensor) for c in calls):
        return False
    if not all(_plain(c[1:3]) for c in calls):
        return False
    return all(
        after[1][0] is before[3] and _same(after[1][1:], before[1][1:]) and _same(after[2], before[2])
        for before, after in pairwise(calls)
    )


def _hidden(out: Any) -> Any:
    return out[0] if isinstance(out, tuple | list) and out else out


def _plain(x: Any) -> bool:
    """Nothing that a call could change, such as a cache."""
    if isinstance(x, tuple | list):
        return all(map(_plain, x))
    if isinstance(x, dict):
        return all(map(_plain, x.values()))
    return x is None or isinstance(x, Tensor | bool | int | float | str)


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, tuple | list):
        return isinstance(b, tuple | list) and len(a) == len(b) and all(map(_same, a, b))
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(_same(a[k], b[k]) for k in a)
    return a is b if isinstance(a, Tensor) or isinstance(b, Tensor) else a == b


def _tensors(x: Any) -> Iterator[Tensor]:
    if isinstance(x, Tensor):
        yield x
    elif isinstance(x, tuple | list | dict):
        for part in x.values() if isinstance(x, dict) else x:
            yield from _tensors(part)


def _of_place(mask: Mask, batches: Sequence[Any]) -> Mask:
    return lambda place: mask(batches[place])


@contextmanager
def _stopping(model: nn.Module, block: str) -> Iterator[None]:
    """The network stops behind this module."""
    if not block:
        yield
        return

    def hook(*_: Any) -> None:
        raise Stop

    handle = model.get_submodule(block).register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()
