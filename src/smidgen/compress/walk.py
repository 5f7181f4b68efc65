"""The calibration walk: what a network's layers see while it reads a few batches.

Sums are kept, never inputs: the second moment of each layer's inputs, what goes with it, and of embeddings how often
each word came. Layers that are given the same tensor (query, key and value) share one sum. Where all second moments do
not fit the bytes allowed, the network reads the batches again for each portion of its layers.
Dims: G groups, C columns, V words; see `patches`.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from smidgen.compress.inputs import Inputs
from smidgen.compress.layers import Layer, find
from smidgen.compress.patches import blocks_of, columns_of, groups_of, patches
from smidgen.kit.errors import BadInput

Run = Callable[[nn.Module, Any], Any]  # the network reads a batch
Mask = Callable[[Any], Tensor | None]  # of a batch: bool, of the tokens that are no padding, as the layers see them
MOST_BYTES = 1 << 30
_TILE = 384  # columns of a product that is symmetric


class Stop(Exception):
    """Raised within a hook: the rest of the network need not run."""


class _Apart(Exception):
    """Layers that shared their input in one batch did not in another."""


@dataclass
class _Sum:
    """What is added up for a layer, or for several that are given the same tensor."""

    module: nn.Module
    rows: int = 0
    hessian: Tensor | None = None
    total: Tensor | None = None
    magnitude: Tensor | None = None
    largest: Tensor | None = None
    counts: Tensor | None = None

    def add(self, x: Tensor, mask: Tensor | None) -> None:
        if isinstance(self.module, nn.Embedding):
            ids = x[mask] if mask is not None and mask.shape == x.shape else x
            new = torch.bincount(ids.reshape(-1).cpu(), minlength=self.module.num_embeddings)
            self.counts = new if self.counts is None else self.counts + new
            self.rows += ids.numel()
            return
        for part_NGC in patches(self.module, x, mask):
            if self.hessian is None:
                groups, columns = part_NGC.shape[1:]
                self.hessian = part_NGC.new_zeros(groups, columns, columns)
                self.total, self.magnitude, self.largest = (part_NGC.new_zeros(groups, columns) for _ in range(3))
            if not len(part_NGC):
                continue
            assert self.total is not None and self.magnitude is not None and self.largest is not None
            x_GNC, size = part_NGC.transpose(0, 1), part_NGC.abs()
            for i in range(0, x_GNC.shape[2], _TILE):  # the lower half only; `inputs` mirrors it
                rows = self.hessian[:, i : i + _TILE, : i + _TILE]
                rows.baddbmm_(x_GNC[..., i : i + _TILE].transpose(1, 2), x_GNC[..., : i + _TILE])
            self.total += part_NGC.sum(0)
            self.magnitude += size.sum(0)
            self.largest = torch.maximum(self.largest, size.amax(0))
            self.rows += len(part_NGC)

    def inputs(self) -> Inputs:
        n = max(self.rows, 1)
        if self.hessian is None or self.total is None or self.magnitude is None:
            return Inputs(self.rows, counts=self.counts)
        hessian = self.hessian.tril() + self.hessian.tril(-1).transpose(1, 2)
        together = blocks_of(self.module)
        hessian = hessian if together is None else hessian * together.to(hessian.device)
        return Inputs(self.rows, hessian / n, self.total / n, self.magnitude / n, self.largest)


@dataclass
class _Watch:
    """Hooks on some layers; taken off when the `with` ends, however it ends."""

    model: nn.Module
    layers: Sequence[Layer]
    sharing: bool = True
    mask: Tensor | None = None
    sums: dict[str, _Sum] = field(default_factory=dict)
    last: tuple[Tensor, _Sum] | None = None
    hooks: list[Any] = field(default_factory=list)

    def __enter__(self) -> "_Watch":
        for layer in self.layers:
            for name in (layer.name, *layer.others):
                module = self.model.get_submodule(name)
                hook = module.register_forward_pre_hook(self._seen(name, module), with_kwargs=True)
                self.hooks.append(hook)
        return self

    def __exit__(self, *error: object) -> None:
        for hook in self.hooks:
            hook.remove()
        self.last = None

    def _seen(self, name: str, module: nn.Module) -> Callable[..., None]:
        def hook(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            x = args[0] if args else kwargs.get("x", kwargs.get("input", kwargs.get("hidden_states")))
            if not isinstance(x, Tensor):
                raise BadInput(f"{name} is not called with a tensor: what it sees cannot be calibrated.")
            same = self.sharing and self.last is not None and self.last[0] is x and _alike(self.last[1].module, module)
            known = self.sums.get(name)
            if same and self.last is not None:
                if known is not None and known is not self.last[1]:
                    raise _Apart
                self.sums[name] = self.last[1]
                return
            if known is not None and known.module is not module:
                raise _Apart
            self.sums[name] = known or _Sum(module)
            self.sums[name].add(x, self.mask)
            self.last = (x, self.sums[name])

        return hook

    def inputs(self) -> dict[Layer, Inputs]:
        made: dict[int, Inputs] = {}
        out = {}
        for layer in self.layers:
            found = [self.sums[n] for n in (layer.name, *layer.others) if n in self.sums]
            for s in found:
                made.setdefault(id(s), s.inputs())
            out[layer] = _joined([made[i] for i in dict.fromkeys(id(s) for s in found)])
        return out


def walk(
    model: nn.Module,
    batches: Sequence[Any],
    run: Run,
    *,
    layers: Sequence[Layer] | None = None,
    mask: Mask | None = None,
    most_bytes: int = MOST_BYTES,
) -> dict[Layer, Inputs]:
    """What each layer sees in the network as it is.

    Args:
        batches: read once for each portion of layers, so no iterator.
        layers: of `layers.find`, all by default.
        mask: see `Mask`; it counts where its axes are the first of a layer's input (samples, tokens), and is left out
            where they are not (a pooled vector, pictures).
        most_bytes: of the second moments that are kept at once; the largest alone is always kept.

    Raises:
        BadInput: there is no batch, or a layer's inputs are NaN or infinite.
    """
    layers = find(model) if layers is None else layers
    if not len(batches):
        raise BadInput("There is no calibration batch: give at least one.")
    out: dict[Layer, Inputs] = {}
    for portion in portions(model, layers, most_bytes):
        out |= gather(model, batches, run, portion, mask=mask)
    return {layer: out[layer] for layer in layers}


def gather(
    model: nn.Module, batches: Sequence[Any], run: Run, layers: Sequence[Layer], *, mask: Mask | None = None
) -> dict[Layer, Inputs]:
    """What these layers see, all of them at once. `run` may raise `Stop` when they have all been called."""
    for sharing in (True, False):
        with _Watch(model, layers, sharing) as watch, torch.no_grad(), evaluating(model):
            try:
                for batch in batches:
                    watch.mask, watch.last = None if mask is None else mask(batch), None
                    with suppress(Stop):
                        run(model, batch)
                return _checked(watch.inputs())
            except _Apart:
                continue
    raise AssertionError("without sharing nothing is apart")


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """No dropout, no statistics of batches; afterwards each module is as it was."""
    training = [m for m in model.modules() if m.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def portions(model: nn.Module, layers: Sequence[Layer], most_bytes: int) -> list[list[Layer]]:
    """The layers in runs whose second moments fit together."""
    out: list[list[Layer]] = []
    used = most_bytes + 1
    for layer in layers:
        need = hessian_bytes(model, layer)
        if used + need > most_bytes:
            out.append([])
            used = 0
        out[-1].append(layer)
        used += need
    return out


def hessian_bytes(model: nn.Module, layer: Layer) -> int:
    """What the second moment of a layer's inputs takes, float32."""
    modules = [model.get_submodule(n) for n in (layer.name, *layer.others)]
    return sum(4 * groups_of(m) * columns_of(m) ** 2 for m in modules if not isinstance(m, nn.Embedding))


def _alike(a: nn.Module, b: nn.Module) -> bool:
    """Whether the same tensor means the same inputs for both."""
    if hasattr(a, "kernel_size") or hasattr(b, "kernel_size"):
        settings = ("kernel_size", "stride", "padding", "dilation", "groups", "padding_mode", "output_padding")
        return type(a) is type(b) and all(getattr(a, k) == getattr(b, k) for k in settings)
    return isinstance(a, nn.Embedding) == isinstance(b, nn.Embedding)


def _joined(parts: list[Inputs]) -> Inputs:
    """Of the modules that share a weight: an embedding and the head that is tied to it, say."""
    seen = [p for p in parts if p.hessian is not None]
    counts = [p.counts for p in parts if p.counts is not None]
    total = sum(counts[1:], counts[0]) if counts else None
    rows = sum(p.rows for p in seen or parts)
    if not seen:
        return Inputs(rows, counts=total)
    share = [p.rows / max(rows, 1) for p in seen]

    def mean(name: str) -> Tensor:
        return torch.stack([getattr(p, name) * w for p, w in zip(seen, share, strict=True)]).sum(0)

    if len(seen) == 1:
        return Inputs(rows, seen[0].hessian, seen[0].mean, seen[0].magnitude, seen[0].largest, total)
    largest = torch.stack([p.largest for p in seen if p.largest is not None]).amax(0)
    return Inputs(rows, mean("hessian"), mean("mean"), mean("magnitude"), largest, total)


def _checked(found: dict[Layer, Inputs]) -> dict[Layer, Inputs]:
    for layer, seen in found.items():
        if seen.magnitude is not None and not bool(torch.isfinite(seen.magnitude).all()):
            raise BadInput(f"The inputs of {layer.name} are NaN or infinite on the calibration data.")
    return found
