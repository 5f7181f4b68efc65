"""Which number format loses least, tensor by tensor: weights, and what the layers read.

Integers have equal steps, floats steps that grow with the number, so what decides is how heavy a tensor's tails are
(van Baalen et al., 2023, arXiv 2303.17951): `kurtosis` is 1.8 of a uniform distribution, 3 of a normal, 6 of a Laplace.
Scales are those of least squared error; that may drop outliers which the task needs, so a network's own measure
belongs beside these numbers (`compress.conversion`). A scale that is any real number is more than FP8 hardware has:
its scales are often powers of two, or one a tensor.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from smidgen.compress import layers as ly
from smidgen.formats.format import Format, Group, Scaled, as_matrix
from smidgen.kit.errors import BadInput, bad
from smidgen.kit.seeds import derive_seed

if TYPE_CHECKING:
    import pandas as pd

EIGHT_BITS = ("int8", "e2m5", "e3m4", "e4m3", "e5m2")
MOST = 200_000  # numbers of a layer's input that are kept
Run = Callable[[nn.Module], Any]  # runs the model on the data that is meant


def tails(x: Tensor) -> dict[str, float]:
    """How heavy a tensor's tails are: `kurtosis` (about the mean), `crest` (largest magnitude over root mean square),
    `outliers` (share beyond 6 standard deviations).

    Raises:
        BadInput: empty, constant, or with NaN or infinity.
    """
    x = x.detach().double().flatten()
    if not len(x):
        raise bad("tensor", "at least one number", "none")
    if not bool(torch.isfinite(x).all()):
        raise bad("tensor", "finite numbers", "NaN or infinity")
    far = x - x.mean()
    variance = float(far.square().mean())
    if variance == 0:
        raise bad("tensor", "numbers that differ", f"{len(x):,} times {float(x[0]):g}", "A constant needs no format.")
    return {
        "kurtosis": float(far.pow(4).mean()) / variance**2,
        "crest": float(x.abs().max() / x.square().mean().sqrt()),
        "outliers": float((far.abs() > 6 * math.sqrt(variance)).double().mean()),
    }


def kurtosis(x: Tensor) -> float:
    """Fourth moment about the mean over the squared variance."""
    return tails(x)["kurtosis"]


def fit_scale(x: Tensor, grid: str, group: Group = "tensor", *, fine: bool = True) -> Scaled:
    """The scale of least squared error for a tensor ("tensor") or for each row ("channel"), in float32. `fine` False:
    that of the largest number."""
    return Format(grid, group, False, "float32").fit(x, search="line" if fine else "absmax")


def sqnr(x: Tensor, scaled: Scaled) -> float:
    """Signal to quantization noise in dB."""
    x_RC = as_matrix(x)
    noise = float((x_RC - scaled.rounded(x_RC)).double().square().sum())
    power = float(x_RC.double().square().sum())
    return 10 * math.log10(power / noise) if noise and power else math.inf


def inputs_of(
    model: nn.Module, run: Run, layers: Sequence[ly.Layer] | None = None, *, most: int = MOST, seed: int = 0
) -> dict[str, Tensor]:
    """Numbers that each layer reads while `run(model)` runs, by the layer's name: all, or `most` drawn from them (with
    their largest, which a draw could miss). Rows of padding count like others: better run without them.

    Raises:
        BadInput: a layer read nothing.
    """
    layers = [a for a in ly.find(model) if a.kind != "embedding"] if layers is None else layers
    kept: dict[str, list[Tensor]] = {a.name: [] for a in layers}
    seen = dict.fromkeys(kept, 0)
    generators = {n: torch.Generator().manual_seed(derive_seed(seed, "inputs", n)) for n in kept}

    def watch(name: str) -> Callable[..., None]:
        def hook(_: nn.Module, args: tuple[Any, ...]) -> None:
            flat = args[0].detach().float().flatten()
            seen[name] += len(flat)
            kept[name].append(_draw(flat, most, generators[name]))
            if sum(map(len, kept[name])) > 4 * most:
                kept[name] = [_draw(torch.cat(kept[name]), most, generators[name])]

        return hook

    handles = [model.get_submodule(n).register_forward_pre_hook(watch(n)) for n in kept]
    try:
        with torch.no_grad():
            run(model)
    finally:
        for handle in handles:
            handle.remove()
    for name in kept:
        if not seen[name]:
            raise BadInput(f"Layer {name} read nothing while the model ran: give data that reaches it.")
    return {n: _draw(torch.cat(parts), most, generators[n]) for n, parts in kept.items()}


def format_report(
    model: nn.Module,
    run: Run,
    formats: Sequence[str] = EIGHT_BITS,
    *,
    weights: Group = "channel",
    every: int = 1,
    layers: Sequence[ly.Layer] | None = None,
    seed: int = 0,
) -> "pd.DataFrame":
    """A row for each layer's weight and for what it reads: `tensor`, `part` ("weight", "input"), `kurtosis`, `crest`,
    `outliers`, `best` (the format of highest SQNR), and the SQNR in dB by format's name.

    Args:
        weights: what shares a scale in a weight; inputs have one each. every: only each so-manieth row of a weight.
    Raises:
        BadInput: no layer, a constant tensor, NaN, or a layer that reads nothing.
    """
    import pandas as pd

    layers = [a for a in ly.find(model) if a.kind != "embedding"] if layers is None else list(layers)
    if not layers or not formats:
        raise bad("layers and formats", "at least one each", (len(layers), len(formats)))
    read = inputs_of(model, run, layers, seed=seed)
    rows: list[dict[str, Any]] = []
    for layer in layers:
        weight = ly.weight_of(model, layer)[::every]
        parts: list[tuple[str, Tensor, Group]] = [("weight", weight, weights), ("input", read[layer.name], "tensor")]
        for part, x, group in parts:
            try:
                row: dict[str, Any] = {"tensor": layer.name, "part": part, **tails(x)}
            except BadInput as error:
                raise BadInput(f"The {part} of {layer.name}: {error}") from None
            row |= {f: sqnr(x, fit_scale(x, f, group)) for f in formats}
            rows.append(row | {"best": max(formats, key=lambda f, row=row: row[f])})
    return pd.DataFrame(rows, columns=pd.Index(["tensor", "part", "kurtosis", "crest", "outliers", "best", *formats]))


def threshold(values: Sequence[float], above: Sequence[bool]) -> float:
    """The border between values that splits true from false with the fewest mistakes, true above it; the lowest of
    equals. Half-way between neighbours; below all or above all where that is best."""
    v, a = torch.tensor(values, dtype=torch.float64), torch.tensor(above)
    if not len(v) or len(v) != len(a):
        raise bad("values", "as many as answers, at least one", (len(v), len(a)))
    v, order = v.sort()
    a = a[order]
    borders = torch.cat([v[:1] - 1, (v[1:] + v[:-1]) / 2, v[-1:] + 1])
    mistakes = torch.stack([((v > b) != a).sum() for b in borders])
    return float(borders[mistakes.argmin()])


@contextmanager
def in_formats(model: nn.Module, weights: Mapping[str, Tensor], inputs: Mapping[str, Scaled]) -> Iterator[nn.Module]:
    """The model with these weights (outputs first, by the layer's name), whose layers read their inputs rounded; as it
    was when the block ends."""
    layers = {a.name: a for a in ly.find(model)}
    if unknown := sorted((set(weights) | set(inputs)) - set(layers)):
        raise bad("layers", ", ".join(layers), ", ".join(unknown))
    before = {n: ly.weight_of(model, layers[n]) for n in weights}
    handles = [model.get_submodule(n).register_forward_pre_hook(_rounding(s)) for n, s in inputs.items()]
    try:
        for n, w in weights.items():
            ly.set_weight(model, layers[n], w)
        yield model
    finally:
        for handle in handles:
            handle.remove()
        for n, w in before.items():
            ly.set_weight(model, layers[n], w)


def round_input(x: Tensor, scaled: Scaled) -> Tensor:
    """A tensor of any shape in a format with one scale."""
    return scaled.rounded(x.reshape(1, -1)).reshape(x.shape).to(x.dtype)


def _rounding(scaled: Scaled) -> Callable[..., tuple[Any, ...]]:
    return lambda _, args: (round_input(args[0], scaled), *args[1:])


def _draw(flat: Tensor, most: int, generator: torch.Generator) -> Tensor:
    if len(flat) <= most:
        return flat
    ends = torch.stack([flat.argmin(), flat.argmax()])
    return flat[torch.cat([ends, torch.randint(len(flat), (most - 2,), generator=generator)])]
