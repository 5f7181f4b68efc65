"""The squared error that a grid makes of numbers, for any scale: exactly, of a sample or of a density.

It is the sum over the cells of a grid of the integral of p(x) (x - q)^2 (van Baalen et al., 2023, arXiv 2303.17951,
section 3). The integral of a cell needs three partial moments of p; those of all cells together need only the mass and
the first moment below each border, which sorted numbers and their running sums have as a normal distribution has them.
A scale is chosen where the error is least: a line search over the clip point, from the largest number down by octaves.
Dims: R rows, each a sample of its own (a density is one row), N numbers of a row, L levels, K = L - 1 borders.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from smidgen.formats.grid import Grid
from smidgen.kit.errors import bad

STEPS = 8  # of the line search in an octave; then halved thrice around the best
OCTAVES = 10  # below the largest number
PATIENCE = 1  # octaves without a better scale in any row
_ROWS = 1 << 22  # borders looked up at once


class Distribution(Protocol):
    """What errors are computed of. `mass`, `first`, `second`: moments of each row, `[R]`, float64, about 0; `largest`:
    magnitude `[R]` beyond which there is (almost) nothing."""

    mass: Tensor
    first: Tensor
    second: Tensor
    largest: Tensor

    def below(self, edges_RK: Tensor) -> tuple[Tensor, Tensor]:
        """Mass and first moment below each edge, `[R, K]`, float64."""
        ...


class Sample:
    """Rows of numbers.

    Args:
        x_RN: any float type. weights_RN: how much each number counts.

    Raises:
        BadInput: no number, or some that are not finite.
    """

    def __init__(self, x_RN: Tensor, weights_RN: Tensor | None = None) -> None:
        if x_RN.dim() != 2 or not x_RN.numel():
            raise bad("numbers", "rows of at least one", list(x_RN.shape))
        if not bool(torch.isfinite(x_RN).all()):
            raise bad("numbers", "finite ones", "NaN or infinity")
        self._sorted, order = x_RN.detach().float().sort(1)
        x = self._sorted.double()
        w = torch.ones_like(x) if weights_RN is None else weights_RN.double().expand(x_RN.shape).gather(1, order)
        self._mass, self._first = (torch.nn.functional.pad(v.cumsum(1), (1, 0)) for v in (w, w * x))
        self.mass, self.first, self.second = self._mass[:, -1], self._first[:, -1], (w * x * x).sum(1)
        self.largest = self._sorted[:, [0, -1]].abs().amax(1).double()

    def below(self, edges_RK: Tensor) -> tuple[Tensor, Tensor]:
        at = torch.searchsorted(self._sorted, edges_RK.float().contiguous())
        return self._mass.gather(1, at), self._first.gather(1, at)


@dataclass(frozen=True)
class Density:
    """A mixture of known densities about 0.

    Attributes:
        parts: (share, shape, scale) of each; shapes are "uniform" (from -1 to 1), "normal", "laplace" and "t3", or
            Student's t of any degrees of freedom above 2.
    """

    parts: tuple[tuple[float, str, float], ...] = ((1.0, "normal", 1.0),)

    def __post_init__(self) -> None:
        if not self.parts or abs(sum(p[0] for p in self.parts) - 1) > 1e-9 or min(p[2] for p in self.parts) <= 0:
            raise bad("parts", "shares that add up to 1, scales above 0", self.parts)
        for _, shape, _ in self.parts:
            if shape not in ("uniform", "normal", "laplace") and not _freedom(shape) > 2:
                raise bad("shape", "uniform, normal, laplace, or t and degrees of freedom above 2", shape)

    @classmethod
    def of(cls, shape: str, scale: float = 1.0) -> "Density":
        return cls(((1.0, shape, scale),))

    @property
    def mass(self) -> Tensor:
        return torch.ones(1, dtype=torch.float64)

    @property
    def first(self) -> Tensor:
        return torch.zeros(1, dtype=torch.float64)

    @property
    def second(self) -> Tensor:
        return torch.tensor([sum(p * s * s * _power(shape) for p, shape, s in self.parts)], dtype=torch.float64)

    @property
    def largest(self) -> Tensor:
        """Where a clipped number costs nothing any more; of heavy tails far out."""
        reach = {"uniform": 1.0, "normal": 9.0, "laplace": 40.0}
        return torch.tensor([max(s * reach.get(shape, 4000.0) for _, shape, s in self.parts)], dtype=torch.float64)

    def below(self, edges_RK: Tensor) -> tuple[Tensor, Tensor]:
        mass, first = torch.zeros_like(edges_RK), torch.zeros_like(edges_RK)
        for share, shape, scale in self.parts:
            m, f = _below(shape, edges_RK / scale)
            mass, first = mass + share * m, first + share * scale * f
        return mass, first

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Numbers drawn from it, float32 `[count]`; each part has its exact share, rounded."""
        ends = [round(count * sum(p[0] for p in self.parts[: i + 1])) for i in range(len(self.parts))]
        starts = [0, *ends[:-1]]
        drawn = [_draw(p[1], b - a, generator) * p[2] for p, a, b in zip(self.parts, starts, ends, strict=True)]
        return torch.cat(drawn).float()


def squared_error(of: Distribution, g: Grid, scales_R: Tensor, offsets_R: Tensor | None = None) -> Tensor:
    """Mean squared error of each row, float64 `[R]`, when its numbers take the nearest of scale * level + offset."""
    s = scales_R.double()[:, None]
    q = s * torch.from_numpy(g.levels).double()
    q = torch.where(s < 0, q.flip(1), q)
    if offsets_R is not None:
        q = q + offsets_R.double()[:, None]
    low, high = q[:, :-1], q[:, 1:]
    mass, first = of.below((low + high) / 2)
    top = q[:, -1]
    whole = of.second - 2 * top * of.first + top**2 * of.mass
    inner = (2 * (high - low) * first - (high**2 - low**2) * mass).sum(1)
    return (whole + inner).clamp(min=0.0) / of.mass.clamp(min=1e-300)


def sqnr(of: Distribution, g: Grid, scales_R: Tensor, offsets_R: Tensor | None = None) -> Tensor:
    """Signal to quantization noise in dB of each row; infinite where nothing is lost."""
    power = of.second / of.mass.clamp(min=1e-300)
    return 10 * torch.log10(power / squared_error(of, g, scales_R, offsets_R))


def best_scale(
    of: Distribution,
    g: Grid,
    *,
    first_R: Tensor | None = None,
    middle_R: Tensor | None = None,
    keep: Callable[[Tensor], Tensor] = lambda s: s,
    both_signs: bool = False,
) -> tuple[Tensor, Tensor]:
    """The scale of least squared error of each row, and that error.

    Args:
        first_R: where the search begins, by default the scale that reaches the largest number.
        middle_R: the middle of each row's range, for a grid with an offset that keeps it there.
        keep: what remains of scales when they are stored.
        both_signs: for a grid that is not symmetric.
    """
    span = float(g.levels[0] + g.levels[-1]) / 2
    first = (of.largest / float(g.levels[-1]) if first_R is None else first_R).double()

    def error(s: Tensor) -> Tensor:
        return squared_error(of, g, s, None if middle_R is None else middle_R.double() - s * span)

    best = keep(first)
    least, octaves = error(best), torch.zeros_like(first)
    best_sign = torch.ones_like(first)

    def look(place: Tensor, sign: Tensor) -> bool:
        nonlocal best, least, octaves, best_sign
        s = keep(first * sign * torch.exp2(-place))
        e = error(s)
        better = e < least
        best, least = torch.where(better, s, best), torch.where(better, e, least)
        octaves, best_sign = torch.where(better, place, octaves), torch.where(better, sign, best_sign)
        return bool(better.any())

    signs = (1.0, -1.0) if both_signs else (1.0,)
    idle = 0
    above = 0 if g.integer else STEPS  # floats lose little when they reach too far, and may lie better
    for i in (*range(-above, 0), *range(OCTAVES * STEPS)):
        found = [look(torch.full_like(first, i / STEPS), torch.full_like(first, sign)) for sign in signs]
        idle = 0 if any(found) or i < 0 else idle + 1
        if idle >= PATIENCE * STEPS:
            break
    for halved in (2, 4, 8):
        around = octaves
        for side in (-1.0, 1.0):
            look(around + side / (halved * STEPS), best_sign)
    return best, least


def best_scales_of(
    x_RN: Tensor,
    g: Grid,
    *,
    first_R: Tensor | None = None,
    middle_R: Tensor | None = None,
    weights_RN: Tensor | None = None,
    keep: Callable[[Tensor], Tensor] = lambda s: s,
    both_signs: bool = False,
) -> Tensor:
    """`best_scale` of many rows, so many at a time as memory allows; float64 `[R]`."""
    rows = max(1, _ROWS // max(len(g.levels), x_RN.shape[1]))
    found = []
    for a in range(0, len(x_RN), rows):
        at = slice(a, a + rows)
        of = Sample(x_RN[at], None if weights_RN is None else weights_RN[at])
        first = None if first_R is None else first_R[at]
        middle = None if middle_R is None else middle_R[at]
        found.append(best_scale(of, g, first_R=first, middle_R=middle, keep=keep, both_signs=both_signs)[0])
    return torch.cat(found)


def _freedom(shape: str) -> float:
    try:
        return float(shape[1:]) if shape.startswith("t") else 0.0
    except ValueError:
        return 0.0


def _power(shape: str) -> float:
    """The second moment."""
    if shape.startswith("t"):
        return _freedom(shape) / (_freedom(shape) - 2)
    return {"uniform": 1 / 3, "normal": 1.0, "laplace": 2.0}[shape]


def _below(shape: str, x: Tensor) -> tuple[Tensor, Tensor]:
    """Mass and first moment below x."""
    if shape == "uniform":
        inside = x.clamp(-1, 1)
        return (inside + 1) / 2, (inside**2 - 1) / 4
    if shape == "normal":
        return torch.special.ndtr(x), -torch.exp(-x * x / 2) / math.sqrt(2 * math.pi)
    if shape == "laplace":
        tail = torch.exp(-x.abs()) / 2
        return torch.where(x < 0, tail, 1 - tail), -tail * (1 + x.abs())
    from scipy.stats import t

    nu = _freedom(shape)
    density = torch.from_numpy(t.pdf(x.numpy(), nu))
    return torch.from_numpy(t.cdf(x.numpy(), nu)), -(nu + x * x) / (nu - 1) * density


def _draw(shape: str, count: int, generator: torch.Generator) -> Tensor:
    uniform = torch.rand(count, generator=generator, dtype=torch.float64) * 2 - 1
    if shape == "uniform":
        return uniform
    if shape == "laplace":
        return -uniform.sign() * torch.log1p(-uniform.abs())
    normal = torch.randn(count, generator=generator, dtype=torch.float64)
    if shape == "normal":
        return normal
    from scipy.stats import t

    return torch.from_numpy(t.ppf((uniform.numpy() + 1) / 2, _freedom(shape)))
