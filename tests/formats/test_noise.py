"""Errors of grids against the numbers as they are really rounded, against integrals, and against a search by force."""

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import laplace, norm, t, uniform

from smidgen.formats.format import Format
from smidgen.formats.grid import grid
from smidgen.formats.noise import Density, Sample, best_scale, sqnr, squared_error
from smidgen.formats.rounding import round_to
from smidgen.kit.errors import BadInput

OUTLIERS = Density(((0.999, "normal", 1.0), (0.001, "normal", 50.0)))


def rows(seed=0):
    x = torch.randn(3, 500, generator=torch.Generator().manual_seed(seed))
    return x**3 + torch.tensor([[0.0], [0.5], [2.0]])


@pytest.mark.parametrize("name", ["int8", "int4", "e4m3", "e5m2", "e2m1", "nf4", "ternary", "fixed4.4", "posit8e1"])
def test_of_a_sample_it_is_the_error_of_rounding(name):
    x, g = rows(), grid(name)
    w = torch.rand(x.shape, generator=torch.Generator().manual_seed(1))
    for scale in (0.01, 0.3, -0.07):
        s, o = torch.tensor([scale, 2 * scale, scale / 3]), torch.tensor([0.0, 0.2, -1.0])
        back = round_to((x - o[:, None]) / s[:, None], g) * s[:, None] + o[:, None]
        expected = (w * (x - back).double() ** 2).sum(1) / w.sum(1)
        assert torch.allclose(squared_error(Sample(x, w), g, s, o), expected, rtol=1e-4)


@pytest.mark.parametrize(
    ("shape", "density"),
    [("uniform", uniform(-1, 2)), ("normal", norm), ("laplace", laplace), ("t3", t(3)), ("t5.5", t(5.5))],
)
def test_of_a_density_it_is_the_integral(shape, density):
    of, g, s = Density.of(shape, 2.0), grid("e3m1"), 0.4
    q = s * g.levels.astype(float)
    edges = np.concatenate([[-np.inf], (q[1:] + q[:-1]) / 2, [np.inf]])
    cells = [
        quad(lambda x, k=k: density.pdf(x / 2) / 2 * (x - q[k]) ** 2, edges[k], edges[k + 1], points=None)[0]
        for k in range(len(q))
    ]
    assert float(squared_error(of, g, torch.tensor([s]))) == pytest.approx(sum(cells), rel=1e-5)


def test_a_mixture_is_as_a_large_draw_from_it():
    x = OUTLIERS.sample(400_000, torch.Generator().manual_seed(0))
    for name in ("int8", "e3m4", "e4m3"):
        s = torch.tensor([0.05 if name == "int8" else 0.5])
        analytic, drawn = sqnr(OUTLIERS, grid(name), s), sqnr(Sample(x[None]), grid(name), s)
        assert abs(float(analytic - drawn)) < 0.6


@pytest.mark.parametrize("name", ["int8", "int3", "e2m5", "e4m3", "nf4"])
def test_the_search_misses_no_better_scale(name):
    x, g = torch.randn(3, 4000, generator=torch.Generator().manual_seed(0)) ** 3, grid(name)
    of = Sample(x)
    found = best_scale(of, g)[1]
    first = of.largest / float(g.levels[-1])
    force = torch.stack([squared_error(of, g, first * 2.0 ** (-i / 40)) for i in range(-40, 320)]).amin(0)
    assert bool((found <= 1.1 * force).all())


def test_formats_search_as_far_down_as_tails_need():
    """With outliers as rare as these the range that loses least is far below half of the largest number."""
    rare = Density(((0.9999, "normal", 1.0), (0.0001, "normal", 15.0)))
    x = rare.sample(100_000, torch.Generator().manual_seed(0))
    wide = Format("int4", "tensor", False, "float32")
    lost = {s: wide.quantize(x, search=s).dequantize() - x for s in ("mse", "line")}
    assert float(lost["line"].square().mean()) < 0.75 * float(lost["mse"].square().mean())
    w = rows()
    for kind in ("int4+offset/64", "e2m1/32/e8m0", "int4/64/double"):  # short last groups, rounded scales, offsets
        made = {s: Format.parse(kind).quantize(w, search=s).dequantize() - w for s in ("absmax", "line")}
        assert float(made["line"].square().mean()) <= float(made["absmax"].square().mean()), kind


def test_what_cannot_be():
    with pytest.raises(BadInput):
        Sample(torch.tensor([[1.0, float("nan")]]))
    with pytest.raises(BadInput):
        Sample(torch.zeros(1, 0))
    with pytest.raises(BadInput):
        Density.of("t2")
    with pytest.raises(BadInput):
        Density(((0.5, "normal", 1.0),))
