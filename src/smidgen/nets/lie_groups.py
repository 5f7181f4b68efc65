"""Groups of matrices of the plane: GL+(2), SL(2), SO(2), and the symmetric positive definite factor of them.

Each matrix of determinant above 0 is `A = P R`, uniquely: `P = exp(X)` symmetric positive definite, R a rotation. So
coordinates of A are those of X and the angle of R: `xi` maps coordinates to matrices, `xi_inv` back, both exact and
smooth on the whole group, where the group's own exponential misses matrices (of SL(2) those with a trace below -2).
For SL(2) X has trace 0. Haar measure factorizes alike.

After Mironenco and Forre (2024), "Lie Group Decompositions for Equivariant Neural Networks", arXiv 2310.11366.

Coordinates belong to bases that are orthonormal for `scale` times the trace of X^T Y. Dims: G samples, `...` any.
"""

import math
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from smidgen.kit.errors import bad
from smidgen.nets.lie_matrices import (
    determinant,
    exact,
    haar_rotations,
    matrix_exp,
    matrix_log,
    polar,
    polar_angle,
    rotation,
    spd_exp,
    spd_log,
)

Rotations = Literal["equidistant", "shifted", "uniform", "haar"]
TOLERANCE = 1e-3  # of what makes a matrix belong to a group


class Pair(NamedTuple):
    """Sampled matrices and their inverses, `[G, 2, 2]` each; the inverses are made, not solved for."""

    g: Tensor
    inverse: Tensor

    def __len__(self) -> int:
        return len(self.g)


@dataclass(frozen=True)
class SPD2:
    """Symmetric positive definite matrices, a factor of a group and no group itself.

    Attributes:
        traceless: of determinant 1: logarithms have trace 0. scale: of the metric.
        bounds: variance of each coordinate that is drawn.
    """

    traceless: bool = False
    scale: float = 1.0
    bounds: float = 0.1

    def __post_init__(self) -> None:
        _check_scale(self.scale)
        if not self.bounds >= 0:
            raise bad("bounds", "a variance, 0 or more", self.bounds)

    @property
    def dim(self) -> int:
        return 2 if self.traceless else 3

    def hat(self, v: Tensor) -> Tensor:
        """Symmetric matrices `[..., 2, 2]` of coordinates `[..., dim]`: the diagonal, then what is off it."""
        _check_dim(v, self.dim)
        off = v[..., -1] / math.sqrt(2 * self.scale)
        if self.traceless:
            first = v[..., 0] / math.sqrt(2 * self.scale)
            second = -first
        else:
            first, second = (v[..., i] / math.sqrt(self.scale) for i in (0, 1))
        return torch.stack([torch.stack([first, off], -1), torch.stack([off, second], -1)], -2)

    def vee(self, x: Tensor) -> Tensor:
        """Coordinates of symmetric matrices; of the projection onto them, where they are none."""
        off = (x[..., 0, 1] + x[..., 1, 0]) * math.sqrt(self.scale / 2)
        if self.traceless:
            return torch.stack([(x[..., 0, 0] - x[..., 1, 1]) * math.sqrt(self.scale / 2), off], -1)
        return torch.stack([x[..., 0, 0] * math.sqrt(self.scale), x[..., 1, 1] * math.sqrt(self.scale), off], -1)

    def expm(self, v: Tensor) -> Tensor:
        return spd_exp(self.hat(v))

    def logm(self, p: Tensor) -> Tensor:
        """Symmetric logarithms. Raises BadInput: not symmetric, not positive, or of another determinant than 1."""
        _check_members(self, p)
        return spd_log(p)

    xi = expm

    def xi_inv(self, p: Tensor) -> Tensor:
        return self.vee(self.logm(p))

    def belongs(self, g: Tensor) -> Tensor:
        """bool `[...]`."""
        det, symmetric = determinant(g), (g[..., 0, 1] - g[..., 1, 0]).abs() <= TOLERANCE * _size(g)
        one = (det - 1).abs() < TOLERANCE if self.traceless else det > 0
        return symmetric & one & (g[..., 0, 0] + g[..., 1, 1] > 0)

    @torch.no_grad()
    def coordinates(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Random coordinates `[n, dim]`."""
        _check_count(n)
        return torch.randn(n, self.dim, generator=generator) * math.sqrt(self.bounds)

    @torch.no_grad()
    def sample_pair(self, n: int, generator: torch.Generator | None = None) -> Pair:
        x = self.hat(self.coordinates(n, generator))
        return Pair(spd_exp(x), spd_exp(-x))


@dataclass(frozen=True)
class SO2:
    """Rotations of the plane.

    Attributes:
        rotations: how n are drawn. "equidistant": n equal parts of a turn, from the identity on; "shifted": these, all
            turned by one random angle; "uniform": n random angles; "haar": the same law, from normal matrices.
        scale: of the metric.
    """

    rotations: Rotations = "equidistant"
    scale: float = 1.0
    dim = 1
    volume_preserving = True

    def __post_init__(self) -> None:
        _check_scale(self.scale)
        if self.rotations not in get_args(Rotations):
            raise bad("rotations", " or ".join(get_args(Rotations)), self.rotations)

    def hat(self, v: Tensor) -> Tensor:
        """Skew matrices of coordinates `[..., 1]`."""
        _check_dim(v, 1)
        angle = v[..., 0] / math.sqrt(2 * self.scale)
        zero = torch.zeros_like(angle)
        return torch.stack([torch.stack([zero, -angle], -1), torch.stack([angle, zero], -1)], -2)

    def vee(self, x: Tensor) -> Tensor:
        return (x[..., 1, 0] - x[..., 0, 1])[..., None] * math.sqrt(self.scale / 2)

    def expm(self, v: Tensor) -> Tensor:
        _check_dim(v, 1)
        return rotation(v[..., 0] / math.sqrt(2 * self.scale))

    def logm(self, g: Tensor) -> Tensor:
        """Raises BadInput: no rotation."""
        return self.hat(self.xi_inv(g))

    xi = expm

    def xi_inv(self, g: Tensor) -> Tensor:
        _check_members(self, g)
        return polar_angle(g)[..., None] * math.sqrt(2 * self.scale)

    def left_polar(self, g: Tensor) -> tuple[Tensor, Tensor]:
        return polar(g)

    def belongs(self, g: Tensor) -> Tensor:
        eye = torch.eye(2, dtype=g.dtype, device=g.device)
        return ((_matmul(g, g.mT) - eye).abs().amax((-2, -1)) < TOLERANCE) & (determinant(g) > 0)

    @torch.no_grad()
    def sample_pair(self, n: int, generator: torch.Generator | None = None) -> Pair:
        _check_count(n)
        if self.rotations == "haar":
            g = haar_rotations(n, 2, generator)
            return Pair(g, g.mT)
        if self.rotations == "uniform":
            angle = torch.rand(n, generator=generator) * 2 - 1
        else:
            first = torch.rand(1, generator=generator) if self.rotations == "shifted" else 0.0
            angle = 2 * torch.arange(n) / n + first  # the last lies one step before a whole turn
        g = rotation(angle * math.pi)
        return Pair(g, g.mT)


@dataclass(frozen=True)
class _Product:
    """What GL+(2) and SL(2) share: a symmetric factor and a rotation."""

    spd: SPD2
    so: SO2 = field(default_factory=SO2)

    @property
    def dim(self) -> int:
        return self.spd.dim + 1

    @property
    def volume_preserving(self) -> bool:
        """Whether all determinants are 1, so that no correction of sums over the plane is needed."""
        return self.spd.traceless

    def hat(self, v: Tensor) -> Tensor:
        """Matrices of the Lie algebra of coordinates `[..., dim]`: those of the symmetric part, then of the skew."""
        _check_dim(v, self.dim)
        return self.spd.hat(v[..., :-1]) + self.so.hat(v[..., -1:])

    def vee(self, x: Tensor) -> Tensor:
        return torch.cat([self.spd.vee(x), self.so.vee(x)], -1)

    def expm(self, v: Tensor) -> Tensor:
        """The group's exponential, which does not reach all of the group."""
        return matrix_exp(self.hat(v))

    def logm(self, g: Tensor) -> Tensor:
        """Principal logarithm. Raises BadInput: not in the group, or without a real one."""
        _check_members(self, g)
        return matrix_log(g)

    def xi(self, v: Tensor) -> Tensor:
        """exp(X) R of coordinates `[..., dim]`: onto, one to one while the rotation is below half a turn."""
        _check_dim(v, self.dim)
        return _matmul(self.spd.expm(v[..., :-1]), self.so.expm(v[..., -1:]))

    def xi_inv(self, g: Tensor) -> Tensor:
        """Coordinates `[..., dim]` of matrices. Raises BadInput: not in the group."""
        p, r = self.left_polar(g)
        return torch.cat([self.spd.vee(spd_log(p)), self.so.xi_inv(r)], -1)

    def left_polar(self, g: Tensor) -> tuple[Tensor, Tensor]:
        """(P, R). Raises BadInput: not in the group."""
        _check_members(self, g)
        return polar(g)

    def belongs(self, g: Tensor) -> Tensor:
        det = determinant(g)
        return (det - 1).abs() < TOLERANCE * _size(g).square() if self.spd.traceless else det > 0

    @torch.no_grad()
    def sample_pair(self, n: int, generator: torch.Generator | None = None) -> Pair:
        """n matrices S^(1/2) R: the i-th S = exp(hat(v)), v normal of variance `bounds`, with the i-th rotation."""
        half = self.spd.hat(self.spd.coordinates(n, generator)) / 2
        r, r_inverse = self.so.sample_pair(n, generator)
        return Pair(_matmul(spd_exp(half), r), _matmul(r_inverse, spd_exp(-half)))


@dataclass(frozen=True)
class GL2(_Product):
    """Invertible matrices of the plane that keep its orientation: rotation, stretch, shear and scale."""

    spd: SPD2 = field(default_factory=SPD2)

    def __post_init__(self) -> None:
        if self.spd.traceless:
            raise bad("spd of GL2", "SPD2(traceless=False)", self.spd, "Determinants of all sizes need a trace.")


@dataclass(frozen=True)
class SL2(_Product):
    """Those of them that keep areas: rotation, stretch and shear."""

    spd: SPD2 = field(default_factory=lambda: SPD2(traceless=True))

    def __post_init__(self) -> None:
        if not self.spd.traceless:
            raise bad("spd of SL2", "SPD2(traceless=True)", self.spd, "A trace changes the determinant, which is 1.")


MatrixGroup = GL2 | SL2 | SO2
_matmul = exact(torch.matmul)


def _size(g: Tensor) -> Tensor:
    return g.abs().amax((-2, -1)).clamp_min(1.0)


def _check_members(group: SPD2 | MatrixGroup | _Product, g: Tensor) -> None:
    if g.shape[-2:] != (2, 2):
        raise bad("matrices", "[..., 2, 2]", f"shape {tuple(g.shape)}")
    outside = ~group.belongs(g)
    if bool(outside.any()):
        first = g[outside][0]
        wanted = f"in {type(group).__name__.lstrip('_')}"
        raise bad("matrices", wanted, f"{first.tolist()}, of determinant {float(determinant(first)):g}")


def _check_scale(scale: float) -> None:
    if not scale > 0:
        raise bad("scale", "above 0", scale)


def _check_dim(v: Tensor, dim: int) -> None:
    if not v.ndim or v.shape[-1] != dim:
        raise bad("coordinates", f"[..., {dim}]", f"shape {tuple(v.shape)}")


def _check_count(n: int) -> None:
    if n < 1:
        raise bad("samples", "at least 1", n)
