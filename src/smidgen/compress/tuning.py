"""Repairs of a quantized network from unlabelled data: batch-norm statistics, biases, everything at once.

Batch-norm tuning (CalibTIP; Hubara et al., 2020, arXiv 2006.10518, section 5): a norm that is the identity is put
behind each layer that had one, sees the statistics of the quantized outputs, and is folded again; outputs regain the
mean and the spread of each channel. Bias tuning: the biases (and ranges of inputs) learn the answers of the network in
floats. All change the network in place. Dims: K output channels.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from smidgen.compress.activations import ActivationQuantizer
from smidgen.compress.capture import Batches, answer, call
from smidgen.compress.fake import FakeQuantized, learnable, put
from smidgen.compress.folding import Norm, channel_axis, channels, has_own_scales, scale_outputs
from smidgen.compress.sensitivity import Distance, distance
from smidgen.compress.walk import evaluating
from smidgen.kit.errors import BadInput, bad


class _Watch(nn.Module):
    """A layer, then its norm as the identity that it was folded to; it normalises by the batch and adds up statistics.

    Sums are in float64: the variance is that of all samples of all batches.
    """

    def __init__(self, layer: FakeQuantized, norm: Norm) -> None:
        super().__init__()
        self.layer, self.norm = layer, norm
        self.sums = torch.zeros(2, len(norm.mean), dtype=torch.float64)
        self.seen = 0

    @property
    def spread(self) -> Tensor:
        return (self.norm.std.square() + self.norm.eps).sqrt()

    def forward(self, x: Tensor) -> Tensor:
        y = self.layer(x)
        rows_KN = channels(y)
        if rows_KN.shape[1] < 2:
            raise BadInput("Batch-norm tuning needs more than one number of each channel: give larger batches.")
        self.sums += torch.stack([rows_KN.double().sum(1), rows_KN.double().square().sum(1)])
        self.seen += rows_KN.shape[1]
        factor, shift = self.repair(rows_KN.mean(1), rows_KN.var(1, correction=0))
        shape = [-1 if i == channel_axis(y) else 1 for i in range(y.dim())]
        return y * factor.view(shape) + shift.view(shape)

    def repair(self, mean_K: Tensor, var_K: Tensor) -> tuple[Tensor, Tensor]:
        """Factor and shift that give outputs of these statistics those of the norm; a channel that is constant is only
        shifted, and so are those whose weights share scales with others."""
        factor = self.spread / (var_K + self.norm.eps).sqrt()
        if not has_own_scales(self.layer):
            factor = torch.ones_like(factor)
        factor = torch.where(var_K > 0, factor, 1.0)
        return factor, self.norm.mean - mean_K * factor


@torch.no_grad()
def batchnorm_tune(model: nn.Module, norms: Mapping[str, Norm], batches: Batches, passes: int = 1) -> None:
    """Gives the outputs of quantized layers the mean and spread per channel that their norms gave.

    Args:
        norms: of `fold_norms` (as published) or of `seen_norms`.
        passes: over the data; from the second on layers see what the repaired ones before them give.

    Raises:
        BadInput: no data; a batch in which a channel has one number only.
    """
    if not len(batches) or passes < 1:
        raise bad("calibration data", "at least one batch and one pass", f"{len(batches)} and {passes}")
    for _ in range(passes):
        _tune_once(model, norms, batches)


def _tune_once(model: nn.Module, norms: Mapping[str, Norm], batches: Batches) -> None:
    watched = {n: _Watch(m, norms[n]) for n, m in learnable(model).items() if n in norms}
    for name, watch in watched.items():
        put(model, name, watch)
    try:
        with evaluating(model):
            for batch in batches:
                call(model, batch)
    finally:
        for name, watch in watched.items():
            put(model, name, watch.layer)
    for watch in watched.values():
        if watch.seen:
            mean, square = watch.sums / watch.seen
            scale_outputs(watch.layer, *watch.repair(mean.float(), (square - mean.square()).clamp(min=0).float()))


@dataclass(frozen=True, kw_only=True)
class TuneConfig:
    """Published defaults of bias tuning: SGD with momentum 0.9; `rates` by the first epoch that has them.

    Attributes:
        epochs: each goes `repeats` times over the data. distance: to the answers in floats.
        ranges: whether the ranges of inputs are learned too.
    """

    epochs: int = 10
    repeats: int = 20
    rates: tuple[tuple[int, float], ...] = ((0, 1e-4), (2, 1e-5), (10, 1e-6))
    momentum: float = 0.9
    distance: Distance = "kl"
    ranges: bool = True


def bias_tune(model: nn.Module, teacher: nn.Module, batches: Batches, config: TuneConfig | None = None) -> list[float]:
    """Trains the biases of a quantized network's layers (and the ranges of their inputs) towards the teacher's answers;
    gives the mean distance of each epoch.

    Raises:
        BadInput: no layer with a bias.
    """
    config = config or TuneConfig()
    layers = learnable(model).values()
    wanted: list[nn.Parameter] = [m.layer.bias for m in layers]  # type: ignore[misc]
    if not wanted:
        raise bad("network", "one with fake-quantized layers", "none")
    if config.ranges:
        wanted += [p for m in layers if isinstance(m.inputs, ActivationQuantizer) for p in (m.inputs.span,)]
    optimizer = torch.optim.SGD(wanted, lr=config.rates[0][1], momentum=config.momentum)

    def rate(epoch: int) -> float:
        return [r for first, r in config.rates if epoch >= first][-1]

    return tune(model, teacher, batches, optimizer, rate, config)


def tune(
    model: nn.Module,
    teacher: nn.Module,
    batches: Batches,
    optimizer: torch.optim.Optimizer,
    rate: Callable[[int], float],
    config: TuneConfig,
) -> list[float]:
    """Trains what the optimizer holds towards the teacher's answers, in evaluation mode; gives each epoch's distance.

    Where the distance to the teacher on these data did not fall over all, the parameters are put back.
    """
    with evaluating(teacher), torch.no_grad():
        wanted = [answer(teacher, b) for b in batches]
    own = [p for group in optimizer.param_groups for p in group["params"]]
    start = [p.detach().clone() for p in own]
    for p in model.parameters():
        p.requires_grad_(False)
    for p in own:
        p.requires_grad_()

    def whole() -> float:
        with torch.no_grad():
            said = zip(batches, wanted, strict=True)
            return sum(float(distance(answer(model, b), w, config.distance)) for b, w in said) / len(wanted)

    history: list[float] = []
    with evaluating(model), torch.enable_grad():
        before = whole()
        for epoch in range(config.epochs):
            for group in optimizer.param_groups:
                group["lr"] = rate(epoch) * group.get("share", 1.0)
            total = 0.0
            for _ in range(config.repeats):
                for batch, w in zip(batches, wanted, strict=True):
                    loss = distance(answer(model, batch), w, config.distance)
                    optimizer.zero_grad(set_to_none=True)
                    loss.backward()
                    optimizer.step()
                    total += float(loss.detach())
            history.append(total / (config.repeats * len(batches)))
        _settle(model)
        if not whole() <= before:
            with torch.no_grad():
                for p, value in zip(own, start, strict=True):
                    p.copy_(value)
            _settle(model)
    for p in own:
        p.grad = None
    return history


def _settle(model: nn.Module) -> None:
    for layer in learnable(model).values():
        layer.settle()
