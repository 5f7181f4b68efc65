"""Quantization-aware training: any module goes on training with weights that are seen rounded.

Each forward pass uses the weight as a format would say it; the gradient passes through the rounding to the weight
itself (straight-through; Bengio et al., 2013, arXiv 1308.3432). The weight stays the same parameter, so that an
optimizer keeps its moments of it.

    start_qat(model, Format("int2", "channel")); ...training...; finish_qat(model)

One-bit weights are a sign times the mean magnitude: `Format("int1", "channel")` with search "mse" has that scale.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.nn.utils import parametrize

from smidgen.compress.layers import find
from smidgen.formats.format import Format, Scaled, through
from smidgen.formats.scales import Search
from smidgen.kit.errors import BadInput, bad


class StraightThrough(nn.Module):
    """A weight as a format says it. Scales are found anew each `every` passes of training, and in each pass of `eval`,
    which so gives what rounding the weight now would give."""

    def __init__(self, format: Format, search: Search = "mse", every: int = 1, *, transposed: bool = False) -> None:
        super().__init__()
        if every < 1:
            raise bad("every", "at least 1 pass", every)
        self.format, self.every, self.transposed = format, every, transposed
        self.search: Search = search
        self._scaled: Scaled | None = None
        self._age = 0

    def forward(self, weight: Tensor) -> Tensor:
        outputs_first = weight.transpose(0, 1) if self.transposed else weight
        if self._scaled is None or not self.training or self._age >= self.every:
            scaled = self.format.fit(outputs_first, search=self.search)
            if not self.training:  # a look does not change the training
                return self._back(through(outputs_first.contiguous(), scaled))
            self._scaled, self._age = scaled, 0
        self._age += 1
        return self._back(through(outputs_first.contiguous(), self._scaled))

    def _back(self, weight: Tensor) -> Tensor:
        return weight.transpose(0, 1) if self.transposed else weight


def start_qat(
    model: nn.Module, format: Format, *, search: Search = "mse", every: int = 1,
    where: Callable[[str, nn.Module], bool] | None = None,
) -> list[str]:  # fmt: skip
    """The model's layers have rounded weights from now on; gives their names.

    Args:
        search, every: how scales are found (`formats.scales`), and after how many passes anew.
        where: of name and module, which layers; default: all that `compress.layers` knows but embeddings, and what
            shares its weight with one.
    Raises:
        BadInput: no such layer, or one that is being trained like this already.
    """
    modules = dict(model.named_modules())
    if any(parametrize.is_parametrized(module) for module in modules.values()):
        raise BadInput("The model has rounded weights already: finish_qat first.")
    chosen = []
    for layer in find(model):
        names = (layer.name, *layer.others)
        embedding = any(isinstance(model.get_submodule(name), nn.Embedding) for name in names)
        if where(layer.name, model.get_submodule(layer.name)) if where else not embedding:
            chosen += [(name, layer.transposed) for name in names]
    if not chosen:
        raise BadInput("No layer to round: expected linear or convolution layers, or others by `where`.")
    for name, turned in chosen:
        fake = StraightThrough(format, search, every, transposed=turned)
        # a parametrization is checked once with what it makes; `unsafe` spares that, shape and type are the weight's
        parametrize.register_parametrization(model.get_submodule(name), "weight", fake, unsafe=True)
    return [name for name, _ in chosen]


def finish_qat(model: nn.Module, *, rounded: bool = True) -> nn.Module:
    """Ordinary layers again: with the rounded weights, or (`rounded` false) the exact ones behind them."""
    was = model.training
    model.eval()
    for module in model.modules():
        if parametrize.is_parametrized(module, "weight"):
            # copies of a module share its class, from which torch takes the property away: this one gets its own
            own = {k: v for k, v in vars(type(module)).items() if k not in ("__dict__", "__weakref__")}
            module.__class__ = type(type(module).__name__, type(module).__bases__, own)  # type: ignore[assignment]
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=rounded)
    return model.train(was)


def step_cost(
    make: Callable[[], nn.Module], format: Format, loss_of: Callable[[nn.Module], Tensor], *, rounds: int = 5,
    clock: Callable[[], float] = time.perf_counter, **settings: Any,
) -> float:  # fmt: skip
    """What a pass forward and backward with rounded weights takes, in passes without: the ratio of the medians of
    some rounds, taken in turn. Settings as of `start_qat`."""
    plain, fake = make(), make()
    start_qat(fake, format, **settings)
    taken: tuple[list[float], list[float]] = ([], [])
    for round_ in range(rounds + 1):
        for model, own in zip((plain, fake), taken, strict=True):
            begun = clock()
            loss_of(model).backward()
            spent = clock() - begun
            if round_:  # the first makes the gradients
                own.append(spent)
    return statistics.median(taken[1]) / max(statistics.median(taken[0]), 1e-12)
