"""To the nearest level, by chance, or as learnt; and what gradients pass through a rounding.

Stochastic rounding goes up with a probability that is the distance from the level below in steps: its mean is the
number itself. Learned rounding (AdaRound; Nagel et al., 2020, arXiv 2004.10568, eq. 23) goes up by h(v), a sigmoid
stretched beyond 0 and 1 and cut there, and a regulariser drives each h to 0 or 1. Gradients: straight-through
(Bengio et al., 2013, arXiv 1308.3432) or none outside the range of the grid.
Numbers are in units of the grid: already divided by their scale.
"""

from typing import Any, Literal

import torch
from torch import Tensor

from smidgen.formats.grid import Grid
from smidgen.kit.errors import bad

Mode = Literal["nearest", "stochastic"]
STRETCH = (-0.1, 1.1)  # of the sigmoid of learned rounding


def level_index(x: Tensor, grid: Grid, mode: Mode = "nearest", generator: torch.Generator | None = None) -> Tensor:
    """The place among the grid's levels of each number, int64; ties by "nearest" to the even code, what is beyond the
    grid to its end."""
    if mode == "nearest":
        if grid.integer:
            low, high = float(grid.levels[0]), float(grid.levels[-1])
            return (x.round().clamp_(low, high) - low).long()
        borders, upper = _on(grid, x)
        below = torch.bucketize(x.double() if grid.bits > 8 else x, borders)
        at = below.clamp(max=len(borders) - 1)
        return below + ((x == borders[at]) & upper[at] & (below < len(borders)))
    if mode != "stochastic":
        raise bad("rounding", "nearest or stochastic", mode)
    levels = torch.from_numpy(grid.levels).to(x.device)
    x = x.clamp(levels[0], levels[-1])
    above = torch.bucketize(x, levels).clamp(1, len(levels) - 1)
    low, high = levels[above - 1], levels[above]
    chance = torch.rand(x.shape, generator=generator, device=x.device)
    return above - 1 + (chance * (high - low) < x - low).long()


def codes(x: Tensor, grid: Grid, mode: Mode = "nearest", generator: torch.Generator | None = None) -> Tensor:
    """The code of each number: uint8, int64 for a grid of more than 8 bits."""
    at = level_index(x, grid, mode, generator)
    if not grid.integer:
        at = torch.from_numpy(grid.codes).to(x.device)[at]
    return at if grid.bits > 8 else at.to(torch.uint8)


def values(codes: Tensor, grid: Grid) -> Tensor:
    """What codes stand for, float32."""
    if grid.integer:
        return codes.float() + float(grid.levels[0])
    return torch.from_numpy(grid.values).to(codes.device)[codes.long()]


def round_to(x: Tensor, grid: Grid, mode: Mode = "nearest", generator: torch.Generator | None = None) -> Tensor:
    """The level of each number, float32."""
    if mode == "nearest" and grid.integer:
        return x.float().round().clamp_(float(grid.levels[0]), float(grid.levels[-1]))
    return values(codes(x, grid, mode, generator), grid)


def through(x: Tensor, grid: Grid, *, clip: bool = True, mode: Mode = "nearest", generator: Any = None) -> Tensor:
    """`round_to` whose gradient is that of x itself; with `clip` it is 0 where x lies beyond the grid."""
    rounded = round_to(x.detach(), grid, mode, generator)
    inside = x.clamp(float(grid.levels[0]), float(grid.levels[-1])) if clip else x
    return inside + (rounded - inside).detach()


def stretched_sigmoid(v: Tensor) -> Tensor:
    """h(v) of learned rounding, in [0, 1]: the part of a step that a number goes up from the level below."""
    low, high = STRETCH
    return (torch.sigmoid(v) * (high - low) + low).clamp(0, 1)


def undecided(v: Tensor, sharpness: float) -> Tensor:
    """The regulariser of learned rounding: 0 where all h are 0 or 1, at most one for each number (eq. 24)."""
    return (1 - (2 * stretched_sigmoid(v) - 1).abs().pow(sharpness)).sum()


def from_fraction(fraction: Tensor) -> Tensor:
    """The v whose h is this fraction of a step: where learned rounding starts."""
    low, high = STRETCH
    return torch.logit((fraction.clamp(0.0, 1.0) - low) / (high - low))


def _on(grid: Grid, x: Tensor) -> tuple[Tensor, Tensor]:
    borders = torch.from_numpy(grid.borders).to(x.device)
    return (borders if grid.bits > 8 else borders.float()), torch.from_numpy(grid.upper).to(x.device)
