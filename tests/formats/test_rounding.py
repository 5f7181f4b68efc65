"""Rounding: the nearest, by chance without bias, as learnt, and what gradients pass."""

import pytest
import torch

from smidgen.formats import rounding
from smidgen.formats.grid import grid

GRIDS = ("int1", "int2", "int4", "uint3", "ternary", "nf4", "fp4", "e2m1", "e3m2", "e4m3fn", "e5m6")


@pytest.mark.parametrize("name", GRIDS)
def test_the_nearest_level_is_taken(name):
    g = grid(name)
    x = torch.randn(3000, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * g.largest / 2
    levels = torch.from_numpy(g.levels).double()
    best = (x[:, None] - levels).abs().min(1).values
    got = rounding.round_to(x.float(), g).double()
    assert ((x - got).abs() - best).max() < 1e-6 * g.largest
    assert torch.equal(rounding.round_to(levels.float(), g), levels.float())


def test_ties_go_to_even_integers():
    halves = torch.tensor([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5])
    assert rounding.round_to(halves, grid("int4")).tolist() == [-2, -2, 0, 0, 2, 2]
    assert rounding.round_to(torch.tensor([0.25, 0.75, 2.5, 3.5, 5.0]), grid("e2m1")).tolist() == [0, 1, 2, 4, 4]


@pytest.mark.parametrize("name", ["int4", "nf4", "e2m1", "ternary"])
def test_chance_has_no_bias(name):
    """The mean of many roundings is the number; each is one of its two neighbours; a level stays."""
    g, random = grid(name), torch.Generator().manual_seed(0)
    levels = torch.from_numpy(g.levels)
    x = levels[0] + (levels[-1] - levels[0]) * torch.linspace(0, 1, 41)
    n = 20_000
    drawn = rounding.round_to(x.expand(n, -1), g, "stochastic", random)
    above = torch.bucketize(x, levels).clamp(1, len(levels) - 1)
    low, high = levels[above - 1], levels[above]
    assert bool(((drawn == low) | (drawn == high)).all())
    share = (x - low) / (high - low)
    error = (high - low) * (share * (1 - share) / n).clamp(min=0).sqrt()
    assert bool(((drawn.mean(0) - x).abs() <= 5 * error + 1e-5).all())
    assert torch.equal(rounding.round_to(levels, g, "stochastic", random), levels)
    again = rounding.round_to(x.expand(n, -1), g, "stochastic", torch.Generator().manual_seed(0))
    assert torch.equal(again, drawn)


def test_gradients_pass_inside_the_grid_only():
    x = torch.tensor([-9.0, -7.6, 0.3, 6.9, 7.2], requires_grad=True)
    rounded = rounding.through(x, grid("int4"))
    assert rounded.tolist() == [-8, -8, 0, 7, 7]
    rounded.backward(torch.tensor([1.0, 2, 3, 4, 5]))
    assert x.grad is not None and x.grad.tolist() == [0, 2, 3, 4, 0]
    y = x.detach().clone().requires_grad_()
    rounding.through(y, grid("int4"), clip=False).sum().backward()
    assert y.grad is not None and y.grad.tolist() == [1] * 5


def test_learned_rounding_starts_at_the_fraction_and_ends_decided():
    fraction = torch.linspace(0, 1, 11)
    v = rounding.from_fraction(fraction)
    assert torch.allclose(rounding.stretched_sigmoid(v), fraction, atol=1e-6)
    assert rounding.undecided(torch.tensor([-9.0, 9.0]), 20).item() == 0
    assert rounding.undecided(torch.zeros(3), 20).item() == pytest.approx(3)
