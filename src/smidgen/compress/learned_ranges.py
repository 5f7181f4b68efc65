"""Training with weights and inputs as a format would say them, any grid, and ranges that are learnt beside.

Gradients pass straight through the rounding and are 0 beyond the grid; scales are learnt beside the weights (LSQ;
Esser et al., 2020, arXiv 1902.08153), as logarithms, so that an update changes a scale by a share of itself. Where it
begins, ranges are those of least squared error, as after rounding without training (van Baalen et al., 2023, arXiv
2303.17951, section 5). `compress.qat` finds the scales of weights anew instead, and leaves inputs as they are. The
backward pass is in full precision: this is not low-precision training (`train.low_precision`).
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from smidgen.compress import layers as ly
from smidgen.compress.format_search import Run, fit_scale, inputs_of
from smidgen.formats.format import Format, Scaled, through
from smidgen.kit.errors import BadInput, bad


@dataclass(frozen=True, kw_only=True)
class QATConfig:
    """
    Attributes:
        weights: a format, "int8/channel" say, whose scales are float32 while they are learnt. inputs: a grid with one
            scale a tensor; None: as they are.
        learn_scales: False: they stay as they began.
        skip: parts of names of layers that stay as they are (the head, say).
    """

    weights: str = "int8/channel"
    inputs: str | None = "int8"
    learn_scales: bool = True
    skip: tuple[str, ...] = ()


class FakeRounding(nn.Module):
    """A tensor in, the same rounded out, with gradients for it and for the scales; a parametrization of weights.

    Args:
        scaled: where scales begin. transposed: the first two axes are exchanged in the format.
    """

    def __init__(self, scaled: Scaled, *, learn: bool = True, transposed: bool = False) -> None:
        super().__init__()
        if scaled.offsets is not None:
            raise bad("format", "one without offsets", scaled.format.name)
        self.format, self.shape, self.transposed = scaled.format, scaled.shape, transposed
        self.sign: Tensor
        self.register_buffer("sign", torch.where(scaled.scales < 0, -1.0, 1.0))
        self.log_scales = nn.Parameter(scaled.scales.abs().clamp(min=1e-30).log(), requires_grad=learn)
        # LSQ's factor: one number's gradient among so many that share the scale.
        share = math.prod(scaled.shape) / max(scaled.scales.numel(), 1)
        self.factor = 1 / math.sqrt(max(share, 1.0) * scaled.format.levels.largest)

    def scales(self) -> Tensor:
        log = self.log_scales * self.factor + (self.log_scales * (1 - self.factor)).detach()
        return self.sign * log.exp()

    def scaled(self) -> Scaled:
        """With the scales as they are now."""
        return Scaled.keep(self.format, self.shape, self.scales().detach(), None)

    def forward(self, x: Tensor) -> Tensor:
        if self.format.group == "tensor":
            flat = Scaled.keep(self.format, (1, x.numel()), self.scales().detach(), None)
            return through(x.reshape(1, -1), flat, self.scales()).reshape(x.shape)
        turned = x.transpose(0, 1) if self.transposed else x
        out = through(turned, self.scaled(), self.scales())
        return out.transpose(0, 1) if self.transposed else out


def prepare(model: nn.Module, run: Run, config: QATConfig | None = None) -> list[nn.Parameter]:
    """Makes a model train in a format, in place; gives the scales, for a parameter group of their own.

    Args:
        run: runs the model on data from which the scales of inputs are taken.
    Raises:
        BadInput: no layer is left, or it was prepared before.
    """
    config = config or QATConfig()
    if any(isinstance(m, FakeRounding) for m in model.modules()):
        raise BadInput("The model is prepared for training in a format already: finish that first.")
    own = [a for a in ly.find(model) if a.kind != "embedding" and not a.others]
    chosen = [a for a in own if not any(part in a.name for part in config.skip)]
    if not chosen:
        raise bad("skip", "at least one layer left", config.skip)
    said = Format.parse(config.weights)
    format = Format(said.grid, said.group, said.offset, "float32")
    read = inputs_of(model, run, chosen) if config.inputs else {}
    found: list[nn.Parameter] = []
    for layer in chosen:
        module = model.get_submodule(layer.name)
        scaled = format.fit(ly.weight_of(model, layer), search="line")
        fake = FakeRounding(scaled, learn=config.learn_scales, transposed=layer.transposed)
        parametrize.register_parametrization(module, "weight", fake, unsafe=True)
        found.append(fake.log_scales)
        if config.inputs:
            entry = FakeRounding(fit_scale(read[layer.name], config.inputs), learn=config.learn_scales)
            module.add_module("input_rounding", entry)
            handle = module.register_forward_pre_hook(_rounded_input)
            entry.handle = handle  # type: ignore[assignment]
            found.append(entry.log_scales)
    return found


def finish(model: nn.Module) -> dict[str, Scaled]:
    """Takes all of it away again: weights are the rounded ones; gives the scales of inputs by layer, which
    `format_search.in_formats` takes."""
    inputs: dict[str, Scaled] = {}
    for name, module in list(model.named_modules()):
        entry: Any = getattr(module, "input_rounding", None)
        if isinstance(entry, FakeRounding):
            inputs[name] = entry.scaled()
            entry.handle.remove()  # type: ignore[union-attr, operator]
            del module.input_rounding
        own: Any = getattr(module, "parametrizations", None)
        if own is not None and "weight" in own and isinstance(own["weight"][0], FakeRounding):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)
    return inputs


def _rounded_input(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
    fake: Any = module.input_rounding
    return (fake(args[0]), *args[1:])
