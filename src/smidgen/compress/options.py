"""What each layer could be written in, and what it is forecast to lose by that.

A layer's loss by an option is (what the whole network loses when that layer alone is rounded coarsely) times (the
option's squared error on the layer's inputs, over that of the coarse one): losses grow with squared errors while they
are small. Errors are measured on a sample of rows, with the second moments of inputs where calibration data gave some.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from smidgen.compress.allocate import Choice
from smidgen.compress.inputs import Inputs, squared_error
from smidgen.compress.layers import Layer, set_weight, weight_of
from smidgen.compress.subject import Subject
from smidgen.formats.format import Format, as_matrix
from smidgen.formats.scales import Search

WIDTHS = (2, 3, 4, 5, 6)
GROUPS = (128, 64, 32, 16)
KEPT = "float16"  # not quantized: 16 bits a number in the folder
PROBE = Format("int3", 64, True, "float16")  # the coarse rounding that layers are weighed with
SAMPLE = 32  # rows of a layer that an option's error is measured on


def formats() -> dict[str, Format]:
    """The options by name: integers with offsets in groups of four sizes, and eight bits a row."""
    made = [Format(f"int{bits}", group, True, "double") for bits in WIDTHS for group in GROUPS]
    made += [Format("int8", 64, False, "float16"), Format("int8", "channel", False, "float16")]
    return {f.name: f for f in made}


def uniform(bits: float) -> list[Format]:
    """Formats of one width in all layers, the finest groups first."""
    return [f for f in sorted(formats().values(), key=lambda f: str(f.group)) if f.levels.bits == bits]


def bytes_of(layer: Layer, option: str) -> int:
    """What a layer takes in an option."""
    return 2 * layer.numbers if option == KEPT else Format.parse(option).bytes(layer.shape)


def choices(
    layers: Sequence[Layer],
    weights: Mapping[Layer, Tensor],
    inputs: Mapping[Layer, Inputs],
    harm: Mapping[Layer, float],
) -> list[Choice]:
    """Every option of every layer. `harm`: what the network loses when the layer alone is rounded by `PROBE`."""
    out = []
    for layer in layers:
        sample, own = _sample(weights[layer], inputs.get(layer))
        base = max(_error(sample, PROBE, own, "absmax"), 1e-30)
        found: dict[int, Choice] = {}
        for name, format in formats().items():
            size = format.bytes(layer.shape)
            if size >= 2 * layer.numbers:
                continue
            loss = harm[layer] * _error(sample, format, own) / base
            if size not in found or loss < found[size].loss:
                found[size] = Choice(layer.name, name, size, loss)
        out += [*found.values(), Choice(layer.name, KEPT, 2 * layer.numbers, 0.0)]
    return out


def harms(
    subject: Subject,
    layers: Sequence[Layer],
    batches: Sequence,
    progress: Callable[[int, int], None] | None = None,
    known: Callable[[Layer, Callable[[], float]], float] = lambda _, measure: measure(),
) -> dict[Layer, float]:
    """What the network's answers lose when one layer after the other is rounded by `PROBE`.

    known: gives what is known of a layer, or measures it.
    """
    model, wanted = subject.model, subject.answers(batches)
    out = {}

    def measured(layer: Layer) -> float:
        own = weight_of(model, layer)
        set_weight(model, layer, PROBE.quantize(own, search="absmax").dequantize())
        try:
            return max(subject.distances(model, batches, wanted), 1e-9)
        finally:
            set_weight(model, layer, own)

    for i, layer in enumerate(layers):
        out[layer] = known(layer, lambda layer=layer: measured(layer))
        if progress:
            progress(i + 1, len(layers))
    return out


def _sample(weight: Tensor, inputs: Inputs | None) -> tuple[Tensor, Tensor | None]:
    """Some rows of a weight, evenly spread, and their second moment (of grouped convolutions the mean one)."""
    rows = as_matrix(weight)
    at = torch.linspace(0, len(rows) - 1, min(SAMPLE, len(rows))).long()
    hessian = None if inputs is None or inputs.hessian is None else inputs.hessian.mean(0)
    return rows[at], hessian


def _error(rows: Tensor, format: Format, hessian: Tensor | None, search: Search = "mse") -> float:
    importance = None if hessian is None else hessian.diagonal()
    lost = rows - format.quantize(rows, search=search, importance=importance).dequantize()
    return float((lost**2).sum() if hessian is None else squared_error(lost, hessian).sum())
