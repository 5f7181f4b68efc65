"""Recipes for the formats that people deploy, as data: what is done to weights and to activations, by which method.

After "Give Me BF16 or Give Me Death?" (2024, arXiv 2411.02355, section 3): FP8 and INT8 for both, or INT4 for weights
alone. All linear layers but the head. The untuned twins are what earlier reports used, for comparison.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from smidgen.compress.awq import Rounded, awq
from smidgen.compress.gptq import Order, gptq
from smidgen.compress.inputs import Inputs
from smidgen.compress.layers import Layer, find, pack, swap, weight_of
from smidgen.compress.smoothquant import smooth_scales
from smidgen.compress.walk import Mask, Run, walk
from smidgen.formats.format import Format
from smidgen.formats.scales import Search
from smidgen.kit.errors import BadInput, bad
from smidgen.nets.packed_activations import Int8Linear
from smidgen.nets.rounded_inputs import RoundedInputs

Method = Literal["nearest", "gptq", "awq"]
HEADS = ("lm_head", "classifier", "score")  # of the usual models


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """
    Attributes:
        weights: a format's name. method: how weights are rounded. search: how their scales are chosen: "mse" tries
            narrower ranges than the largest number's, and that one too.
        activations: the grid that inputs are rounded to; None: they stay. static: one scale of all inputs of a layer,
            from calibration, in place of each token's own.
        smooth: how much of the inputs' range moves into the weight (SmoothQuant's alpha); None: nothing.
        damping, order: of GPTQ. keep: names of layers that stay as they are.
    """

    name: str
    weights: str
    method: Method = "nearest"
    search: Search = "absmax"
    activations: Literal["e4m3fn", "int8"] | None = None
    static: bool = False
    smooth: float | None = None
    damping: float = 0.01
    order: Order = "activations"
    keep: tuple[str, ...] = HEADS

    def __post_init__(self) -> None:
        Format.parse(self.weights)
        if self.method not in ("nearest", "gptq", "awq"):
            raise bad("method", "nearest, gptq or awq", self.method)
        if self.activations not in (None, "e4m3fn", "int8"):
            raise bad("activations", "None, e4m3fn or int8", self.activations)
        if self.static and self.activations is None:
            raise bad("static", "activations that are rounded", "None")
        if self.smooth is not None and (self.activations != "int8" or self.static or self.method == "awq"):
            raise bad("smooth", "dynamic int8 activations, and not awq, which scales inputs itself", self.name)
        if self.method == "awq" and self.activations:
            raise bad("awq", "activations that are not rounded", self.activations)

    @property
    def needs_data(self) -> bool:
        return self.method != "nearest" or self.static or self.smooth is not None

    def __str__(self) -> str:
        return (
            f"{self.name}: {', '.join(f'{f.name} {getattr(self, f.name)}' for f in fields(self) if f.name != 'name')}"
        )

    def __call__(self, model: nn.Module, calibration: "Calibration | None" = None) -> nn.Module:
        """A quantized copy of a model.

        Raises:
            BadInput: calibration is needed and is not there, or no layer is left to quantize.
        """
        return prepared(self, model, calibration).model


@dataclass(frozen=True)
class Calibration:
    """Data that the network reads as its users will: batches, how it reads one, and which tokens are no padding."""

    batches: Sequence[Any]
    run: Run = lambda model, batch: model(batch)
    mask: Mask | None = None


@dataclass(frozen=True)
class Prepared:
    """The quantized copy, and of each layer the weight that it now multiplies its inputs by (`weights`), its weight
    before (`before`) and what it saw (`seen`, empty where no data were needed)."""

    model: nn.Module
    weights: Mapping[Layer, Tensor]
    before: Mapping[Layer, Tensor]
    seen: Mapping[Layer, Inputs] = field(default_factory=dict)


RECIPES = {
    r.name: r
    for r in (
        Recipe(name="w8a8-fp", weights="e4m3fn/channel/float32", activations="e4m3fn"),
        Recipe(name="w8a8-int", weights="int8/channel/float32", method="gptq", search="mse", activations="int8"),
        Recipe(name="w4a16-int", weights="int4/128", method="gptq", search="mse"),
        Recipe(name="w8a8-int untuned", weights="int8/channel/float32", activations="int8", static=True),
        Recipe(name="w4a16-int nearest", weights="int4/128"),
        Recipe(name="w4a16-int absmax", weights="int4/128", method="gptq"),
        Recipe(name="w4a16-int awq", weights="int4/128", method="awq", search="mse"),
    )
}
TUNED = ("w8a8-fp", "w8a8-int", "w4a16-int")


def recipe(name: str, **over: Any) -> Recipe:
    """A recipe with some settings changed. Raises BadInput for an unknown name or setting."""
    if name not in RECIPES:
        raise bad("recipe", ", ".join(RECIPES), name)
    if unknown := set(over) - {f.name for f in fields(Recipe)}:
        raise bad("settings", ", ".join(f.name for f in fields(Recipe)), ", ".join(sorted(unknown)))
    return replace(RECIPES[name], **over)


def tuned(
    first: Recipe, model: nn.Module, calibration: Calibration, loss: Callable[[nn.Module], float], **grid: Sequence[Any]
) -> Recipe:
    """The recipe with the settings of a grid whose model has the least loss, one setting after the other
    (`damping=(0.01, 0.1), smooth=(None, 0.5, 0.8)`).

    Args:
        loss: on data that neither calibrate nor judge.
    """
    best, least = first, loss(first(model, calibration))
    for name, values in grid.items():
        for other in (replace(best, **{name: v}) for v in values if v != getattr(best, name)):
            if (own := loss(other(model, calibration))) < least:
                best, least = other, own
    return best


@torch.no_grad()
def prepared(
    recipe: Recipe, model: nn.Module, calibration: Calibration | None = None, seen: Mapping[Layer, Inputs] | None = None
) -> Prepared:
    """See `Recipe.__call__`; several recipes may share what one `walk` has `seen`."""
    layers = [a for a in find(model) if a.kind in ("linear", "conv1d") and a.name.split(".")[-1] not in recipe.keep]
    layers = [a for a in layers if a.name not in recipe.keep and not a.others]
    if not layers:
        raise BadInput(f"Recipe {recipe.name} finds no linear layer to quantize.")
    if recipe.needs_data and seen is None:
        if calibration is None:
            raise BadInput(f"Recipe {recipe.name} needs calibration data: give some batches that the model can read.")
        seen = walk(model, calibration.batches, calibration.run, layers=layers, mask=calibration.mask)
    made = copy.deepcopy(model)
    weights, before = {}, {}
    for layer in layers:
        before[layer] = weight_of(model, layer)
        rounded = _rounded(recipe, before[layer], None if seen is None else seen[layer])
        weights[layer] = rounded.weight()
        _exchange(recipe, made, layer, rounded, None if seen is None else seen[layer])
    return Prepared(made, weights, before, {a: seen[a] for a in layers} if seen else {})


def _rounded(recipe: Recipe, weight: Tensor, seen: Inputs | None) -> Rounded:
    format = Format.parse(recipe.weights)
    if recipe.method == "awq":
        assert seen is not None
        return awq(weight, seen, format, search=recipe.search, damping=recipe.damping)
    inputs = None
    if recipe.smooth is not None:
        assert seen is not None and seen.largest is not None
        inputs = smooth_scales(seen.largest.amax(0), weight, recipe.smooth)
        weight = weight / inputs.float()
    if recipe.method == "nearest":
        return Rounded(format.quantize(weight, search=recipe.search), inputs)
    assert seen is not None and seen.hessian is not None
    hessian = seen.hessian if inputs is None else seen.hessian * inputs.float()[:, None] * inputs.float()
    made = gptq(weight, hessian, format, damping=recipe.damping, order=recipe.order, search=recipe.search)
    return Rounded(made, inputs)


def _exchange(recipe: Recipe, model: nn.Module, layer: Layer, rounded: Rounded, seen: Inputs | None) -> None:
    bias: Any = getattr(model.get_submodule(layer.name), "bias", None)
    packed = pack(layer, rounded.quantized, rounded.inputs)
    swap(model, layer, packed)
    if recipe.activations is None:
        return
    parent, _, last = layer.name.rpartition(".")
    place = model.get_submodule(parent) if parent else model
    if recipe.activations == "int8" and not recipe.static:
        setattr(place, last, Int8Linear(packed, bias))
        return
    largest = float(seen.largest.max()) if recipe.static and seen is not None and seen.largest is not None else None
    setattr(place, last, RoundedInputs(model.get_submodule(layer.name), recipe.activations, largest))
