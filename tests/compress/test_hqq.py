"""Half-quadratic quantization lowers what it says it lowers."""

import pytest
import torch

from smidgen.compress.hqq import HQQConfig, hqq, objective, shrink
from smidgen.formats.format import Format
from smidgen.kit.errors import BadInput


@pytest.mark.parametrize(
    "name", ["int2+offset/16/double", "int3+offset/13", "int4/16", "nf4/channel", "int4+offset/tensor"]
)
@pytest.mark.parametrize("scale", [True, False])
def test_objective_falls(name, scale):
    g = torch.Generator().manual_seed(0)
    w, form = torch.randn(24, 60, generator=g) ** 3, Format.parse(name)
    for search in ("absmax", "mse"):
        start, made = form.quantize(w, search=search), hqq(w, form, HQQConfig(scale=scale, search=search))
        assert objective(w, made) < objective(w, start) or (search == "mse" and not form.offset)
        assert objective(w, made) <= objective(w, start)
        if search == "absmax" and form.grid != "nf4":
            assert objective(w, made) < objective(w, hqq(w, form, HQQConfig(scale=scale, search=search, steps=1)))
        assert bool(torch.isfinite(made.dequantize()).all()) and made.pack().keys() == start.pack().keys()


def test_the_offset_alone_is_the_published_step():
    """One step by hand: a group in units of its scale, errors shrunk, the mean of what is left."""
    w = torch.tensor([[0.0, 0.2, 1.2, 2.2, 1.2, 3.0, 2.2, 1.2]])
    form, s = Format("uint2", "channel", True, "float32"), 1.0
    q = w.round()
    e = shrink(w - q, 10.0, 0.7)
    wanted = float((w - e - q * s).mean())
    made = hqq(w, form, HQQConfig(scale=False, search="absmax", steps=1))
    assert made.scaled.scales.item() == pytest.approx(1.0)
    assert made.scaled.offsets.item() == pytest.approx(wanted, abs=1e-6)


def test_shrink():
    x = torch.tensor([-2.0, -0.1, 0.0, 0.05, 1.0])
    torch.testing.assert_close(shrink(x, 10.0, 1.0), torch.tensor([-1.9, 0.0, 0.0, 0.0, 0.9]))
    assert shrink(x, 10.0, 0.5)[0] == pytest.approx(-2 + 2**-0.5 / 10)


def test_bad_input():
    with pytest.raises(BadInput, match="NaN"):
        hqq(torch.tensor([[float("nan"), 1.0]]), Format("int4", 2))
    with pytest.raises(BadInput, match="p: expected"):
        HQQConfig(p=1.5)
    assert torch.equal(hqq(torch.zeros(3, 8), Format("int4", 4)).dequantize(), torch.zeros(3, 8))
