"""Symmetric positive definite matrices of any size, as a factor of GL+(n) and SL(n): `A = P R`.

For 2 x 2 matrices `lie_groups` has closed forms; here functions go through `eigh`. What is not here: coordinates of
rotations of more than two dimensions. Source as of `lie_groups`. Dims: n the size, d = n (n + 1) / 2 coordinates, one
less without a trace, G samples.
"""

import math
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from smidgen.kit.errors import bad
from smidgen.nets.lie_groups import TOLERANCE, Pair
from smidgen.nets.lie_matrices import exact, haar_rotations, polar, spd_exp, spd_log

_matmul = exact(torch.matmul)


@dataclass(frozen=True)
class SPD:
    """
    Attributes:
        n: size. traceless: of determinant 1, the factor of SL(n). scale: of the metric, scale times the trace of X Y.
        bounds: variance of each coordinate that is drawn.
    """

    n: int
    traceless: bool = False
    scale: float = 1.0
    bounds: float = 0.1

    def __post_init__(self) -> None:
        if self.n < 2:
            raise bad("n", "at least 2", self.n)
        if not (self.scale > 0 and self.bounds >= 0):
            raise bad("scale and bounds", "above 0, and 0 or more", (self.scale, self.bounds))

    @property
    def dim(self) -> int:
        return self.n * (self.n + 1) // 2 - self.traceless

    def hat(self, v: Tensor) -> Tensor:
        """Symmetric matrices `[..., n, n]` of coordinates `[..., d]`: of the diagonal, then above it, row by row."""
        if not v.ndim or v.shape[-1] != self.dim:
            raise bad("coordinates", f"[..., {self.dim}]", f"shape {tuple(v.shape)}")
        return torch.einsum("...d,dij->...ij", v, self._basis(v)) / math.sqrt(self.scale)

    def vee(self, x: Tensor) -> Tensor:
        """Coordinates of symmetric matrices; of the projection onto them, where they are none."""
        return torch.einsum("...ij,dij->...d", x, self._basis(x)) * math.sqrt(self.scale)

    def expm(self, v: Tensor) -> Tensor:
        return spd_exp(self.hat(v))

    def logm(self, p: Tensor) -> Tensor:
        """Symmetric logarithms. Raises BadInput: not symmetric, not positive, or of another determinant than 1."""
        if not bool(self.belongs(p).all()):
            kind = " of determinant 1" if self.traceless else ""
            raise bad("matrices", f"symmetric positive definite [..., {self.n}, {self.n}]{kind}", "others")
        return spd_log(p)

    def belongs(self, g: Tensor) -> Tensor:
        """bool `[...]`."""
        if g.shape[-2:] != (self.n, self.n):
            raise bad("matrices", f"[..., {self.n}, {self.n}]", f"shape {tuple(g.shape)}")
        symmetric = (g - g.mT).abs().amax((-2, -1)) <= TOLERANCE * g.abs().amax((-2, -1)).clamp_min(1.0)
        values = torch.linalg.eigvalsh(g.float() if g.dtype != torch.float64 else g)
        inside = symmetric & (values[..., 0] > 0)
        return inside & ((values.prod(-1) - 1).abs() < TOLERANCE) if self.traceless else inside

    def left_polar(self, g: Tensor) -> tuple[Tensor, Tensor]:
        """(P, R) of matrices of GL+(n), or of SL(n). Raises BadInput: a determinant that is not above 0, or not 1."""
        if self.traceless:
            det = torch.linalg.det(g)
            if bool(((det - 1).abs() > TOLERANCE).any()):
                raise bad("determinants", "1", f"{float(det.flatten()[(det - 1).abs().flatten().argmax()]):g}")
        return polar(g)

    @torch.no_grad()
    def sample_pair(self, count: int, generator: torch.Generator | None = None) -> Pair:
        """S^(1/2) R and its inverse, `[G, n, n]`: S = exp(hat(v)), v normal of variance `bounds`, R uniform."""
        if count < 1:
            raise bad("samples", "at least 1", count)
        half = self.hat(torch.randn(count, self.dim, generator=generator) * math.sqrt(self.bounds)) / 2
        r = haar_rotations(count, self.n, generator)
        return Pair(_matmul(spd_exp(half), r), _matmul(r.mT, spd_exp(-half)))

    def _basis(self, like: Tensor) -> Tensor:
        return _basis(self.n, self.traceless).to(like)


@cache
def _basis(n: int, traceless: bool) -> Tensor:
    """Orthonormal symmetric matrices `[d, n, n]`, float64."""
    made = []
    for k in range(n):
        diagonal = torch.zeros(n, dtype=torch.float64)
        if not traceless:
            diagonal[k] = 1.0
        elif k:  # k ones, then minus k: at right angles to the others, and to the identity
            diagonal[:k], diagonal[k] = 1.0, -float(k)
            diagonal = diagonal / math.sqrt(k * (k + 1))
        else:
            continue
        made.append(diagonal.diag())
    for i in range(n):
        for j in range(i + 1, n):
            off = torch.zeros(n, n, dtype=torch.float64)
            off[i, j] = off[j, i] = math.sqrt(0.5)
            made.append(off)
    return torch.stack(made)
