"""Recipes: what they do to a network, against plain formulas."""

import pytest
import torch
from torch import nn

from smidgen.compress.gptq import gptq
from smidgen.compress.inputs import layer_error
from smidgen.compress.recipes import RECIPES, TUNED, Calibration, prepared, recipe, tuned
from smidgen.compress.smoothquant import smooth_scales
from smidgen.formats.format import Format
from smidgen.kit.errors import BadInput
from smidgen.nets.packed import PackedLinear
from smidgen.nets.packed_activations import Int8Linear
from smidgen.nets.rounded_inputs import RoundedInputs


@pytest.fixture
def model():
    torch.manual_seed(0)
    made = nn.Sequential(nn.Linear(128, 96), nn.GELU(), nn.Linear(96, 160), nn.GELU())
    made.add_module("classifier", nn.Linear(160, 5))
    return made.eval()


@pytest.fixture
def data():
    random = torch.Generator().manual_seed(1)
    mix = torch.randn(128, 128, generator=random) / 11
    batches = [torch.randn(64, 128, generator=random) @ mix for _ in range(6)]
    for x in batches:
        x[:, 7] *= 30  # an outlier channel
    return Calibration(batches[:4]), batches[5]


def test_fp8_is_what_torch_says(model, data):
    made = recipe("w8a8-fp")(model)
    x = data[1]
    x[3] = 0
    with torch.no_grad():
        for name in ("0", "2"):
            w, layer = model.get_submodule(name).weight, made.get_submodule(name)
            assert isinstance(layer, RoundedInputs) and isinstance(layer.layer, PackedLinear)
            s_w = w.abs().amax(1, keepdim=True) / 448
            s_x = (x.abs().amax(1, keepdim=True) / 448).clamp(min=1e-30)
            w8, x8 = ((a / s).to(torch.float8_e4m3fn).float() * s for a, s in ((w, s_w), (x, s_x)))
            expected = x8 @ w8.T + model.get_submodule(name).bias
            assert torch.allclose(layer(x), expected, atol=1e-4)
            x = nn.functional.gelu(model.get_submodule(name)(x))
    assert isinstance(made.classifier, nn.Linear)  # the head stays
    assert isinstance(model[0], nn.Linear)  # so does the model


def test_each_recipe_is_what_it_says(model, data):
    calibration, x = data
    with torch.no_grad():
        whole = model(x)
        error = {}
        for name, one in RECIPES.items():
            made = one(model, calibration)
            error[name] = float((made(x) - whole).square().mean())
            kind = type(made.get_submodule("0"))
            static = one.static or one.activations == "e4m3fn"
            assert kind is (RoundedInputs if static else Int8Linear if one.activations else PackedLinear)
    assert set(TUNED) <= set(RECIPES)
    assert error["w8a8-int"] < error["w8a8-int untuned"] / 4  # one scale for all tokens, with outliers
    assert error["w4a16-int"] < error["w4a16-int nearest"]
    with pytest.raises(BadInput, match="needs calibration"):
        recipe("w4a16-int")(model)
    assert "damping 0.01" in str(RECIPES["w4a16-int"])


def test_narrower_ranges_are_held_against_the_widest(model, data):
    found = {s: prepared(recipe("w4a16-int", search=s), model, data[0]) for s in ("mse", "absmax")}
    for layer, seen in found["mse"].seen.items():
        assert seen.hessian is not None
        mse, absmax = (layer_error(f.before[layer], f.weights[layer], seen.hessian) for f in found.values())
        assert mse < absmax
    small = nn.Sequential(nn.Linear(4, 2, bias=False))
    with torch.no_grad():
        small[0].weight.copy_(torch.tensor([[7.0, -7, 1, 2], [-3.5, 0.5, 1.0, 3.5]]))  # on the grid: 1.0 is best
    exact = prepared(recipe("w4a16-int nearest", search="mse", weights="int4/4/float32"), small)
    assert all(torch.allclose(exact.weights[a], exact.before[a]) for a in exact.weights)


def test_smoothing_moves_ranges_and_changes_nothing_else(model, data):
    calibration, x = data
    plain, smooth = (recipe("w8a8-int", smooth=s)(model, calibration) for s in (None, 0.5))
    with torch.no_grad():
        near, far = (float((m[0](x) - model[0](x)).square().mean()) for m in (smooth, plain))
    assert near < far / 2
    made = prepared(recipe("w8a8-int", smooth=0.5, search="absmax"), model, calibration)
    for layer, seen in made.seen.items():  # rounding sees the second moment of the smoothed inputs
        assert seen.hessian is not None and seen.largest is not None
        s = smooth_scales(seen.largest[0], made.before[layer], 0.5).float()
        x = torch.cat([model[: int(layer.name)](x) for x in calibration.batches]).detach() * s
        expected = gptq(made.before[layer] / s, x.T @ x / len(x), Format("int8", "channel", False, "float32"),
                        damping=0.01, search="absmax").dequantize() * s  # fmt: skip
        assert float((made.weights[layer] - expected).abs().mean() / expected.abs().mean()) < 1e-4


def test_settings_are_chosen_by_loss(model, data):
    calibration, x = data
    with torch.no_grad():
        whole = model(x)

    def loss(m):
        with torch.no_grad():
            return float((m(x) - whole).square().mean())

    best = tuned(RECIPES["w8a8-int"], model, calibration, loss, smooth=(None, 0.5), damping=(0.01, 1.0))
    assert best.smooth == 0.5 and loss(best(model, calibration)) < loss(RECIPES["w8a8-int"](model, calibration))
    for wrong in ({"method": "luck"}, {"colour": 1}, {"activations": "int4"}, {"static": True}, {"smooth": 0.5}):
        with pytest.raises(BadInput):
            recipe("w4a16-int", **wrong)
    with pytest.raises(BadInput, match="w8a8-fp"):
        recipe("w2a2")
    with pytest.raises(BadInput, match="no linear layer"):
        recipe("w8a8-fp")(nn.Sequential(nn.GELU()))
