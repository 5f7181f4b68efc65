"""What ranks store of a model and its optimizer, and how any number of ranks, or one process, takes it up again.

Each rank stores what it owns, as pieces (`train.checkpoint.Piece`): name of the whole, where it begins there as a
vector, and its values. Nothing in them depends on how many ranks there were. Files: see `reading`.

    pieces    {"weights": {name: [Piece]}, "state": {name: {key: [Piece] or a number}}, "groups": [{"names", ...}]}
    merged    the same with the pieces of all ranks, mapped from their files
"""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from smidgen.kit.errors import BadInput, bad
from smidgen.train.checkpoint import Piece
from smidgen.train.sharding.partition import Own

if TYPE_CHECKING:
    from smidgen.train.sharding.zero import ZeroOptimizer

State = dict[str, Any]


def pieces(zero: "ZeroOptimizer") -> State:
    """What this rank owns (of what all own, in stage 0, rank 0): views, to be stored before the next step."""
    sizes, stores = zero.partition.sizes, zero.stage > 0 or zero.ranks.rank == 0
    weights: State = {}
    state: State = {}
    for own in [*zero.partition.owns, *zero.partition.keeps] if stores else ():
        weights.setdefault(own.name, []).append(_piece("weights", own, own.tensor, sizes))
    for own in zero.partition.owns if stores else ():
        for key, value in zero.inner.state.get(own.tensor, {}).items():
            entry = state.setdefault(own.name, {})
            if isinstance(value, Tensor) and value.dim() and value.numel() == own.length:
                entry.setdefault(key, []).append(_piece(key, own, value, sizes))
            else:
                entry[key] = value
    settings = [{k: v for k, v in group.items() if k != "params"} for group in zero.param_groups]
    groups = [{"names": names, **s} for names, s in zip(zero.names, settings, strict=True)]
    return {"weights": weights, "state": state, "groups": groups}


def run_state(model: nn.Module, optimizer: Optimizer) -> State:
    """Model and optimizer for a checkpoint: whole, or of a sharded one this rank's part and, on rank 0, what is not
    spread (frozen weights of stages 1 and 2, running means)."""
    zero = as_zero(optimizer)
    if zero is None:
        return {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
    return {"model": dict(_rest(zero)) if zero.ranks.rank == 0 else {}, "optimizer": pieces(zero)}


def load_run_state(model: nn.Module, optimizer: Optimizer, state: State) -> None:
    """Takes what `run_state` gave, merged (`reading.read`) where it is of many ranks, into one process or any number.

    Raises:
        BadInput: it is of another model.
    """
    zero, spread = as_zero(optimizer), "weights" in state["optimizer"]
    if zero is None and not spread:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
    elif zero is None:
        shapes = dict(model.named_parameters())
        weights = {n: _vector(n, parts, shapes).view(shapes[n].shape) for n, parts in _weights(state, shapes)}
        model.load_state_dict({**state["model"], **weights}, strict=False)
        optimizer.load_state_dict(_ordinary(state["optimizer"], shapes))
    else:
        zero.load_state_dict(state["optimizer"])
        load_weights(zero, {**_unspread(zero, state["optimizer"].get("weights", {})), **state["model"]})


def load_weights(zero: "ZeroOptimizer", weights: State) -> None:
    """Takes the weights of a whole model, or of the part that is there, into what ranks own, and all else as it is."""
    with torch.no_grad():
        for own in [*zero.partition.owns, *zero.partition.keeps]:
            if own.name in weights:
                whole = weights[own.name].detach().reshape(-1)
                if whole.numel() != zero.partition.sizes[own.name]:
                    raise bad(own.name, f"{zero.partition.sizes[own.name]:,} elements", f"{whole.numel():,}")
                own.tensor.view(-1).copy_(whole[own.start : own.start + own.length])
        for name, value in _rest(zero):
            if name in weights:
                value.copy_(weights[name])
        zero.partition.publish()


def load(zero: "ZeroOptimizer", state: State) -> None:
    """See `ZeroOptimizer.load_state_dict`."""
    state = state if "weights" in state else _as_pieces(state, zero)
    if [g["names"] for g in state["groups"]] != zero.names:
        raise BadInput("The checkpoint's optimizer has other groups of parameters than this one: build it as it was.")
    sizes = zero.partition.sizes
    if state["weights"]:
        with torch.no_grad():
            frozen = [own for own in zero.partition.keeps if own.name in state["weights"]]
            for own in [*zero.partition.owns, *frozen]:
                found = _filled(own, state["weights"].get(own.name, []), sizes[own.name])
                own.tensor.copy_(found.view(own.tensor.shape))
            zero.partition.publish()
    entries, count = {}, 0
    groups = []
    for group, owns in zip(state["groups"], zero.owns, strict=True):
        for place, own in enumerate(owns, count):
            entry = state["state"].get(own.name, {})
            entries[place] = {k: _part(own, v, sizes[own.name]) for k, v in entry.items()}
        settings = {k: v for k, v in group.items() if k != "names"}
        groups.append({**settings, "params": list(range(count, count + len(owns)))})
        count += len(owns)
    zero.inner.load_state_dict({"state": {k: v for k, v in entries.items() if v}, "param_groups": groups})
    zero._adopt()


def consolidated(zero: "ZeroOptimizer") -> State:
    """The whole states on rank 0 as torch has them for one process, {} elsewhere. One tensor at a time travels."""
    mine = pieces(zero)
    sizes, state = zero.partition.sizes, {}
    kinds: State = {}  # dtype of a spread state, or the value of one that is not
    for of_rank in zero.ranks.everyone({n: {k: _kind(v) for k, v in e.items()} for n, e in mine["state"].items()}):
        for name, entry in of_rank.items():
            kinds.setdefault(name, {}).update(entry)
    for name in sorted(kinds):
        state[name] = {}
        for key, kind in kinds[name].items():
            parts = mine["state"].get(name, {}).get(key, [])
            spread = isinstance(kind, torch.dtype)
            state[name][key] = _combined(zero, parts, sizes[name], kind) if spread else kind
    if zero.ranks.rank:
        return {}
    shapes = dict(zero.model.named_parameters())
    whole = {n: {k: [_whole(v)] if _spread(v) else v for k, v in e.items()} for n, e in state.items()}
    return _ordinary({"state": whole, "groups": mine["groups"]}, shapes)


def model_state(zero: "ZeroOptimizer") -> State:
    """The whole model's `state_dict` on the host of rank 0, {} elsewhere."""
    names, sizes, found = zero.partition.names, zero.partition.sizes, {}
    mine = pieces(zero)["weights"]
    vectors: dict[str, Tensor] = {}
    for key, value in zero.model.state_dict(keep_vars=True).items():
        name = names.get(id(value))
        if name is None:
            found[key] = value.detach().cpu().clone()
            continue
        if name not in vectors:
            dtype = mine[name][0].tensor.dtype if name in mine else None
            dtype = next(d for d in zero.ranks.everyone(dtype) if d is not None) if sizes[name] else value.dtype
            vectors[name] = _combined(zero, mine.get(name, []), sizes[name], dtype).to(value.dtype)
        found[key] = vectors[name].view(value.shape)
    return found if zero.ranks.rank == 0 else {}


def as_zero(optimizer: Optimizer) -> "ZeroOptimizer | None":
    """The optimizer where it is a sharded one."""
    from smidgen.train.sharding.zero import ZeroOptimizer

    return optimizer if isinstance(optimizer, ZeroOptimizer) else None


def _piece(kind: str, own: Own, tensor: Tensor, sizes: dict[str, int]) -> Piece:
    return Piece(f"{kind}.{own.name}", tensor.detach().reshape(-1), (own.start,), (sizes[own.name],))


def _whole(tensor: Tensor) -> Piece:
    return Piece("whole", tensor.detach().reshape(-1), (0,), (tensor.numel(),))


def _spread(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dim() > 0


def _kind(value: Any) -> Any:
    return value[0].tensor.dtype if isinstance(value, list) else value


def _rest(zero: "ZeroOptimizer") -> Iterator[tuple[str, Tensor]]:
    """What of the model is on all ranks alike; a second name of a spread parameter is not."""
    for name, value in zero.model.state_dict(keep_vars=True).items():
        if id(value) not in zero.partition.names:
            yield name, value.detach()


def _unspread(zero: "ZeroOptimizer", weights: State) -> State:
    """Frozen weights that were spread when they were saved and are not here."""
    rest = {name: value for name, value in _rest(zero) if name in weights}
    return {name: _vector(name, weights[name], rest).view(value.shape) for name, value in rest.items()}


def _weights(state: State, shapes: State) -> Iterable[tuple[str, list[Piece]]]:
    found = state["optimizer"]["weights"]
    unknown = sorted(found.keys() - shapes.keys())
    if unknown:
        raise BadInput(f"The checkpoint has weights that this model has not: {', '.join(unknown[:3])}.")
    return found.items()


def _part(own: Own, value: Any, size: int) -> Any:
    """This rank's part of a state; a counter is each range's own, as a step adds to it in place."""
    if isinstance(value, list):
        return _filled(own, value, size).view(own.tensor.shape)
    return value.clone() if isinstance(value, Tensor) else value


def _filled(own: Own, parts: list[Piece], size: int) -> Tensor:
    """Elements of a rank from pieces that overlap them."""
    return _cover(own.name, parts, own.start, own.length, size)


def _vector(name: str, parts: list[Piece], shapes: State) -> Tensor:
    return _cover(name, parts, 0, shapes[name].numel(), shapes[name].numel())


def _cover(name: str, parts: list[Piece], start: int, length: int, size: int) -> Tensor:
    """Elements [start, start + length) of a tensor. Raises BadInput: it has another size, or pieces are missing."""
    if not parts or any(p.whole != (size,) for p in parts):
        got = f"{parts[0].whole[0]:,}" if parts else "none"
        raise bad(f"{name} in the checkpoint", f"{size:,} elements", got, "It is of another model, or not whole.")
    made, done = torch.empty(length, dtype=parts[0].tensor.dtype), 0
    for part in parts:
        first = max(start, part.start[0])
        last = min(start + length, part.start[0] + part.tensor.numel())
        if first < last:
            made[first - start : last - start] = part.tensor[first - part.start[0] : last - part.start[0]]
            done += last - first
    if done != length:
        raise BadInput(f"{name}: the checkpoint has {done:,} of {length:,} elements: a rank's file is missing.")
    return made


def _combined(zero: "ZeroOptimizer", parts: list[Piece], size: int, dtype: torch.dtype) -> Tensor:
    vector = torch.zeros(size, dtype=dtype)
    for part in parts:
        vector[part.start[0] : part.start[0] + part.tensor.numel()] = part.tensor.cpu()
    return zero.ranks.combine(vector)


def _ordinary(state: State, shapes: State) -> State:
    """A state of pieces as the `state_dict` of torch's optimizer in one process."""
    order = [name for group in state["groups"] for name in group["names"]]
    place = {name: i for i, name in enumerate(order)}

    def value(name: str, found: Any) -> Any:
        return _vector(name, found, shapes).view(shapes[name].shape) if isinstance(found, list) else found

    entries = {place[n]: {k: value(n, v) for k, v in e.items()} for n, e in state["state"].items()}
    groups = [
        {**{k: v for k, v in g.items() if k != "names"}, "params": [place[n] for n in g["names"]]}
        for g in state["groups"]
    ]
    return {"state": dict(sorted(entries.items())), "param_groups": groups}


def _as_pieces(state: State, zero: "ZeroOptimizer") -> State:
    """The `state_dict` of torch's optimizer in one process as one of pieces, without weights."""
    places = [i for group in state["param_groups"] for i in group["params"]]
    order = [name for names in zero.names for name in names]
    if [len(g["params"]) for g in state["param_groups"]] != [len(names) for names in zero.names]:
        raise BadInput("The checkpoint's optimizer has other groups of parameters than this one: build it as it was.")
    name_of, found = dict(zip(places, order, strict=True)), {}
    for i, entry in state["state"].items():
        size = zero.partition.sizes.get(name_of[i])
        found[name_of[i]] = {k: [_whole(v)] if _spread(v) and v.numel() == size else v for k, v in entry.items()}
    settings = [{k: v for k, v in g.items() if k not in ("params", "param_names")} for g in state["param_groups"]]
    groups = [{"names": names, **s} for names, s in zip(zero.names, settings, strict=True)]
    return {"weights": {}, "state": found, "groups": groups}
