"""AdaQuant (Hubara et al., 2020, arXiv 2006.10518, section 3): each layer learns its rounding from a few samples.

Layer by layer: least |y - (Q_w(W + V) Q_x(x) + b)|^2 over a continuous change V of the weights, the bias, and the
ranges and zero points of weights and inputs. Weights may cross any number of rounding borders. y is what the layer
gave in floats; x is what it got there ("parallel"), or what it gets behind the layers that are quantized already
("sequential"). No labels are needed, and one layer's data are in memory at a time.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from smidgen.compress.activations import ActivationQuantizer
from smidgen.compress.capture import Batches, count, order, through_layer
from smidgen.compress.fake import FakeQuantized, fake_quantize, learnable
from smidgen.compress.walk import evaluating
from smidgen.formats.format import Format
from smidgen.formats.scales import Search
from smidgen.kit.errors import bad
from smidgen.kit.seeds import derive_seed

if TYPE_CHECKING:
    import pandas as pd

PIECE = 1 << 24  # numbers that go through a layer at once where its error is measured


@dataclass(frozen=True)
class Rates:
    """Of Adam, for weights, biases, ranges of weights, ranges of inputs.

    With `relative` they are shares: of the standard deviation of the weights, that of the outputs, the range of the
    weights, the range of the inputs. The published ones are absolute; they suit ResNets and MobileNets, whose weights
    and activations have similar sizes everywhere.
    """

    weights: float = 5e-4
    bias: float = 1e-3
    weight_ranges: float = 3e-3
    input_ranges: float = 1e-2
    relative: bool = True


PUBLISHED = Rates(weights=1e-5, bias=1e-3, weight_ranges=1e-3, input_ranges=1e-1, relative=False)


@dataclass(frozen=True, kw_only=True)
class AdaQuantConfig:
    """
    Attributes:
        steps: of each layer. batch: samples a step. decay: rates fall linearly to 0 (the published ones do not).
        sequential: inputs come through the quantized part.
        weights, bias, weight_ranges, input_ranges: whether they are learned.
    """

    steps: int = 100
    batch: int = 50
    decay: bool = True
    sequential: bool = False
    rates: Rates = Rates()
    weights: bool = True
    bias: bool = True
    weight_ranges: bool = True
    input_ranges: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch"):
            if getattr(self, name) < 1:
                raise bad(name, "at least 1", getattr(self, name))


def adaquant(
    model: nn.Module,
    batches: Batches,
    formats: Format | Mapping[str, Format],
    *,
    input_bits: int | None = None,
    config: AdaQuantConfig | None = None,
    search: Search = "absmax",
) -> "tuple[nn.Module, pd.DataFrame]":
    """A fake-quantized copy of the network whose rounding was learned, and a report of its layers.

    Args:
        batches: calibration data without labels: tensors, tuples of arguments or mappings (see `capture`).
        formats: of all layers, or by name of those to be quantized.
        input_bits: of layers' inputs; None: only weights are quantized.
        search: where the weights' ranges start.

    Raises:
        BadInput: fewer samples than a batch; a name that is no layer.
    """
    config = config or AdaQuantConfig()
    made = fake_quantize(model, formats, batches, input_bits=input_bits, search=search)
    return made, learn_layers(made, model, batches, config)


def learn_layers(
    made: nn.Module, model: nn.Module, batches: Batches, config: AdaQuantConfig, names: Sequence[str] | None = None
) -> "pd.DataFrame":
    """Learns the rounding of a fake-quantized network's layers in place, towards those of the network itself.

    Returns:
        A row for each layer, in the order of the network: layer, format, input_bits, bytes, mse_before, mse_after,
        snr (dB, afterwards), kurtosis (of its weights: 3 for normal ones).

    Raises:
        BadInput: fewer samples than a batch; a name that is no layer with a quantizer.
    """
    import pandas as pd

    if (samples := count(batches)) < config.batch:
        raise bad("calibration data", f"at least {config.batch} samples, a batch", samples, "Or take a smaller batch.")
    layers = learnable(made)
    if unknown := sorted(set(names or ()) - set(layers)):
        raise bad("layer", f"one with a quantizer ({', '.join(layers)})", unknown[0])
    wanted = [n for n in order(made, list(layers), batches[0]) if names is None or n in names]
    rows = []
    for name in wanted:
        x, y = through_layer(model, name, batches)
        if config.sequential:
            x, _ = through_layer(made, name, batches)
        rows.append({"layer": name, **learn_layer(layers[name], x, y, config, samples=samples, name=name)})
    return pd.DataFrame(rows)


def learn_layer(
    layer: FakeQuantized,
    inputs: Sequence[Tensor],
    outputs: Sequence[Tensor],
    config: AdaQuantConfig,
    *,
    samples: int | None = None,
    name: str = "",
) -> dict[str, Any]:
    """Learns one layer in place from its inputs and the outputs that it should give; the report's row.

    Where learning did not lower the error over all data, the layer stays as it was.

    Args:
        samples: that the data come from, where a sample has many rows (the words of a text); None: each row is one.
    """
    x, y = _as_rows(layer.layer, inputs, outputs)
    each = 1.0 if samples is None or len(x) > 1 else max(len(x[0]) / samples, 1.0)
    generator = torch.Generator().manual_seed(derive_seed(config.seed, "adaquant", name))
    with evaluating(layer), torch.no_grad():
        power, before = _mean_square(y), _error(layer, x, y)
    start = {k: v.clone() for k, v in layer.state_dict().items()}
    with evaluating(layer), torch.enable_grad():
        groups = learned(layer, config, power)
        if groups:
            optimizer = torch.optim.Adam(groups)
            first = [group["lr"] for group in optimizer.param_groups]
            for step in range(config.steps):
                for group, lr in zip(optimizer.param_groups, first, strict=True):
                    group["lr"] = lr * (1 - step / config.steps if config.decay else 1.0)
                got, wanted = _batch(x, y, max(1, round(config.batch * each)), generator)
                loss = (layer(got) - wanted).square().mean()
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
            layer.zero_grad(set_to_none=True)
    layer.settle()
    with evaluating(layer), torch.no_grad():
        after = _error(layer, x, y)
        if not after <= before:
            layer.load_state_dict(start)
            layer.settle()
            after = _error(layer, x, y)
    return {
        "format": layer.format.name,
        "input_bits": layer.input_bits,
        "bytes": layer.bytes(),
        "mse_before": before,
        "mse_after": after,
        "snr": 10 * math.log10(power / after) if after > 0 and power > 0 else math.inf,
        "kurtosis": kurtosis(layer.weight.detach()),
    }


def kurtosis(x: Tensor) -> float:
    """Fourth moment over the square of the second: 3 for normal numbers, 1.8 for uniform ones; 0 for equal ones."""
    moved = x.double() - x.double().mean()
    spread = moved.square().mean()
    return float(moved.pow(4).mean() / spread.square()) if spread > 0 else 0.0


def learned(layer: FakeQuantized, config: AdaQuantConfig, power: float) -> list[dict[str, Any]]:
    """What of a layer is learned, as groups of an optimizer with the rate of each.

    Args:
        power: mean square of the layer's outputs.
    """
    r, rel = config.rates, config.rates.relative
    weight: Any = layer.layer.weight
    groups: list[tuple[bool, nn.Parameter, float, float]] = [
        (config.weights, weight, r.weights, float(weight.detach().std(correction=0))),
        (config.bias, layer.bias, r.bias, math.sqrt(power)),  # type: ignore[list-item]
    ]
    step, levels = float(layer.scales.detach().abs().mean()), layer.format.levels.levels
    width = step * float(levels[-1] - levels[0])
    # Published rates are those of a range, which is its scale times the number of steps.
    groups.append((config.weight_ranges, layer.scales, r.weight_ranges * (1 if rel else step / width), step))
    if layer.offsets is not None:
        groups.append((config.weight_ranges, layer.offsets, r.weight_ranges, width))
    if isinstance(q := layer.inputs, ActivationQuantizer):
        span = float(q.span.detach())
        groups.append((config.input_ranges, q.span, r.input_ranges, span))
        groups.append((config.input_ranges, q.zero, r.input_ranges * (1 if rel else q.steps / span), q.steps))
    for p in layer.parameters():
        p.requires_grad_(False)
    made = []
    for wanted, p, rate, size in groups:
        if wanted and p.is_floating_point():
            made.append({"params": [p.requires_grad_()], "lr": rate * size if rel else rate})
    return made


def _as_rows(
    module: nn.Module, inputs: Sequence[Tensor], outputs: Sequence[Tensor]
) -> tuple[list[Tensor], list[Tensor]]:
    """Joined to one tensor where shapes allow: rows of linear layers, samples of convolutions."""
    if isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D":
        inputs = [x.reshape(-1, x.shape[-1]) for x in inputs]
        outputs = [y.reshape(-1, y.shape[-1]) for y in outputs]
    if len({x.shape[1:] for x in inputs}) == 1:
        return [torch.cat(list(inputs))], [torch.cat(list(outputs))]
    return list(inputs), list(outputs)


def _batch(x: list[Tensor], y: list[Tensor], size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Random rows; where calls differ in shape, one of them."""
    if len(x) > 1:
        at = int(torch.randint(len(x), (), generator=generator))
        return x[at], y[at]
    rows = torch.randint(len(x[0]), (size,), generator=generator)
    return x[0][rows], y[0][rows]


def _error(layer: nn.Module, x: list[Tensor], y: list[Tensor]) -> float:
    """Mean squared error over all outputs."""
    total, numbers = 0.0, 0
    for a, b in zip(x, y, strict=True):
        step = max(1, PIECE // max(a[0].numel() + b[0].numel(), 1))
        for i in range(0, len(a), step):
            total += float((layer(a[i : i + step]) - b[i : i + step]).double().square().sum())
        numbers += b.numel()
    return total / max(numbers, 1)


def _mean_square(y: list[Tensor]) -> float:
    """Of the outputs, less their channels' means where there is one tensor."""
    return sum(float(b.double().square().sum()) for b in y) / max(sum(b.numel() for b in y), 1)
