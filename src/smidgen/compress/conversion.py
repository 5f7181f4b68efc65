"""What is lost when a network of one number format is run in another: trained in FP8, run in INT8, say.

Weights and inputs are first what the source format makes of them, as they would be after training there, then what the
target makes of that (van Baalen et al., 2023, arXiv 2303.17951, section 6). Where a few inputs lose most, they are
given more bits instead of another format.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from smidgen.compress import layers as ly
from smidgen.compress.format_search import Run, fit_scale, in_formats, inputs_of, kurtosis, round_input, sqnr
from smidgen.formats.format import Group, Scaled
from smidgen.kit.errors import bad

if TYPE_CHECKING:
    import pandas as pd

Measure = Callable[[nn.Module], float]


@dataclass(frozen=True)
class Eight:
    """A network's weights and inputs in one format.

    Attributes:
        weights: as they are rounded, by layer. inputs: scales by layer. lost: SQNR of each input in dB.
    """

    grid: str
    weights: dict[str, Tensor]
    inputs: dict[str, Scaled]
    lost: dict[str, float]

    def worst(self, count: int) -> list[str]:
        """Layers whose inputs have the lowest SQNR, the lowest first."""
        return sorted(self.lost, key=lambda n: self.lost[n])[:count]


def in_one_format(
    model: nn.Module,
    read: dict[str, Tensor],
    grid: str,
    *,
    weights: Group = "channel",
    fine: bool = True,
    source: Eight | None = None,
) -> Eight:
    """All weights that can be rounded, and the inputs `read` (see `format_search.inputs_of`).

    Args:
        fine: scales of weights are those of least squared error; False: of the largest number. Those of inputs are
            always the former.
        source: the format that weights and inputs are in already.
    """
    layers = {a.name: a for a in ly.find(model)}
    rounded, scales, lost = {}, {}, {}
    for name, x in read.items():
        weight = ly.weight_of(model, layers[name]) if source is None else source.weights[name]
        rounded[name] = fit_scale(weight, grid, weights, fine=fine).quantize(weight).dequantize()
        x = x if source is None else round_input(x, source.inputs[name])
        scales[name] = fit_scale(x, grid)
        lost[name] = sqnr(x, scales[name])
    return Eight(grid, rounded, scales, lost)


def measure_in(
    model: nn.Module,
    made: Eight,
    measure: Measure,
    *,
    wide: Sequence[str] = (),
    read: dict[str, Tensor] | None = None,
    wide_grid: str = "int16",
    before: Eight | None = None,
) -> float:
    """`measure` of the model in a format.

    Args:
        wide: layers whose inputs are in `wide_grid`, with the scale of the largest number in `read`.
        before: a format that inputs are rounded to first.
    """
    scales: dict[str, Any] = dict(made.inputs)
    for name in wide:
        if read is None:
            raise bad("read", "the inputs, for those that are kept wide", "none")
        scales[name] = fit_scale(read[name], wide_grid, fine=False)
    if before is None:
        with in_formats(model, made.weights, scales):
            return measure(model)
    with in_formats(model, made.weights, before.inputs), in_formats(model, {}, scales):
        return measure(model)


def convert_formats(
    model: nn.Module,
    run: Run,
    measure: Measure,
    *,
    source: str = "e4m3",
    target: str = "int8",
    wide: Sequence[int] = (0, 1, 3),
    wide_grid: str = "int16",
    fine: bool = True,
    seed: int = 0,
) -> tuple[dict[str, float], "pd.DataFrame"]:
    """A conversion study.

    Args:
        run: runs the model on calibration data. measure: what counts, on data of its own.
        wide: numbers of inputs, the worst ones first, that are in `wide_grid`.
    Returns:
        `measure` by what was done: "original", the two formats by themselves, "SOURCE to TARGET", and the same "with N
        inputs in WIDE"; and a row for each layer: `tensor`, `kurtosis` of its input, SQNR in dB of its input and weight
        in both formats (`input SOURCE`, ...), and of the target on the source's numbers (`input step`, `weight step`).
    """
    import pandas as pd

    if source == target:
        raise bad("target", f"another format than {source}", target)
    read = inputs_of(model, run, seed=seed)
    first = in_one_format(model, read, source, fine=fine)
    direct = in_one_format(model, read, target, fine=fine)
    then = in_one_format(model, read, target, fine=fine, source=first)
    name = f"{source} to {target}"
    found = {
        "original": measure(model),
        source: measure_in(model, first, measure),
        target: measure_in(model, direct, measure),
    }
    for count in wide:
        kept = then.worst(count)
        said = f"{name} with {count} inputs in {wide_grid}" if count else name
        found[said] = measure_in(model, then, measure, wide=kept, read=read, wide_grid=wide_grid, before=first)
    layers = {a.name: a for a in ly.find(model)}
    rows = []
    for layer, x in read.items():
        weight = ly.weight_of(model, layers[layer])
        rows.append(
            {
                "tensor": layer,
                "kurtosis": kurtosis(x),
                f"input {source}": first.lost[layer],
                f"input {target}": direct.lost[layer],
                "input step": then.lost[layer],
                f"weight {source}": _ratio(weight, first.weights[layer]),
                f"weight {target}": _ratio(weight, direct.weights[layer]),
                "weight step": _ratio(first.weights[layer], then.weights[layer]),
            }
        )
    return found, pd.DataFrame(rows)


def _ratio(x: Tensor, rounded: Tensor) -> float:
    """SQNR in dB of a rounded tensor."""
    import math

    noise = float((x - rounded).double().square().sum())
    return 10 * math.log10(float(x.double().square().sum()) / noise) if noise else math.inf
