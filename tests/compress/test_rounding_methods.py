"""The table of rounding methods."""

from copy import deepcopy

import pytest
import torch
from torch import nn

from smidgen.compress import layers
from smidgen.compress.inputs import Inputs, layer_error
from smidgen.compress.methods import METHODS, method, walk_seconds
from smidgen.compress.walk import walk
from smidgen.formats.format import Format
from smidgen.kit.errors import BadInput, NotFound

FORM = Format("int3", 8)


def test_each_on_a_convolution():
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Conv2d(4, 8, 3, groups=2)), torch.randn(6, 4, 9, 9).cumsum(3)
    (layer,) = layers.find(model)
    seen, w = walk(model, [x], lambda m, b: m(b))[layer], layers.weight_of(model, layer)
    errors = {}
    for name, one in METHODS.items():
        made = one.round(w, seen, FORM)
        assert made.quantized.shape == made.weight().shape == w.shape and made.quantized.format == FORM
        errors[name] = layer_error(w, made.weight(), seen.hessian)
        packed = deepcopy(model)
        layers.swap(packed, layer, layers.pack(layer, made.quantized, made.inputs))
        torch.testing.assert_close(packed(x), nn.functional.conv2d(x, made.weight(), model[0].bias, groups=2))
        if not one.calibrated:
            assert torch.equal(one.round(w, None, FORM).weight(), made.weight())
        else:
            with pytest.raises(BadInput, match="calibration"):
                one.round(w, None, FORM)
    assert errors["gptq+refine"] < errors["gptq"] < errors["rtn"]
    assert min(errors.values()) > 0


def test_padding_in_words():
    conv = nn.Conv2d(2, 3, (3, 5), padding="same", padding_mode="circular", dilation=(1, 2))
    model, x = nn.Sequential(conv), torch.randn(2, 2, 9, 11)
    (layer,) = layers.find(model)
    made = Format("int8", 4).quantize(layers.weight_of(model, layer))
    wanted = deepcopy(model)
    layers.set_weight(wanted, layer, made.dequantize())
    layers.swap(model, layer, layers.pack(layer, made))
    torch.testing.assert_close(model(x), wanted(x))


def test_an_embedding_is_rounded_to_nearest():
    w = torch.randn(5, 16)
    for one in METHODS.values():
        made = one.round(w, Inputs(7, counts=torch.ones(5)), FORM)
        assert made.inputs is None
        assert one.name == "hqq" or torch.equal(made.quantized.codes, FORM.quantize(w).codes)


def test_forecasts():
    small, large = [(64, 64)], [(64, 64), (512, 256)]
    for one in METHODS.values():
        assert 0 < one.forecast(small[0], FORM) < one.seconds(large, FORM)
    order = [METHODS[n].forecast((512, 512), FORM) for n in ("rtn", "gptq", "gptq+refine")]
    assert order == sorted(order)
    layer = layers.Layer("a", (), "linear", (64, 128), False)
    assert walk_seconds([layer], 200) == pytest.approx(2 * walk_seconds([layer], 100))
    with pytest.raises(NotFound, match="gptq"):
        method("magic")
