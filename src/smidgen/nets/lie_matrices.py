"""Exponential, logarithm, square root and polar factors of small matrices, in batches.

For 2 x 2 matrices in closed form: with `m` half the trace and `T = A - m I`, `T T = q I` for `q = -det T`, so each
function of A is one of q times I, plus one of q times T. Near q = 0 these are read off their series, and gradients stay
finite where eigenvalues meet, as those of an eigendecomposition do not. Larger matrices go through `eigh`, whose
gradients do blow up there.

All is computed in float32 at least, under autocast too. Shapes are `[..., n, n]`.
"""

from collections.abc import Callable
from functools import wraps

import torch
from torch import Tensor

from smidgen.kit.errors import bad

NEAR = 1e-3  # of q, below which series are used
HALF = 2e-6  # from half a turn, within which an angle is pi


def exact(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Products of float32 in float32, and half precision raised to it."""

    @wraps(function)
    def inner(*tensors: Tensor) -> Tensor:
        raised = [t.float() if t.dtype in (torch.float16, torch.bfloat16) else t for t in tensors]
        with torch.autocast(raised[0].device.type, enabled=False):
            return function(*raised)

    return inner


@exact
def matrix_exp(a: Tensor) -> Tensor:
    """Exponential of any square matrices."""
    if a.shape[-1] != 2:
        return torch.linalg.matrix_exp(a)
    m, t, q = _parts(a)
    even, odd = _cosh_sinhc(q)
    return m.exp()[..., None, None] * (_times_identity(even) + odd[..., None, None] * t)


@exact
def matrix_log(g: Tensor) -> Tensor:
    """Real principal logarithm of 2 x 2 matrices.

    Raises:
        BadInput: there is none. The group exponential does not reach such a matrix; `xi` of `lie_groups` does.
    """
    if g.shape[-2:] != (2, 2):
        raise bad("matrices", "2 x 2", f"shape {tuple(g.shape)}")
    det = determinant(g)
    if bool((det <= 0).any()):
        raise bad("determinant", "above 0", f"{float(det.min()):g}")
    size = det.sqrt()[..., None, None]
    c, t, q = _parts(g / size)  # of determinant 1: c c = 1 + q
    if bool((c <= -1 + 1e-6).any() or ((q >= 0) & (c < 0)).any()):
        raise bad("matrices", "some with a real logarithm", "an eigenvalue at or below 0", "Use xi_inv instead.")
    return _times_identity(det.log() / 2) + _angle(q, c)[..., None, None] * t


@exact
def spd_exp(x: Tensor) -> Tensor:
    """Exponential of symmetric matrices: symmetric positive definite ones."""
    return matrix_exp(x) if x.shape[-1] == 2 else _through_eigh(x, torch.exp)


@exact
def spd_log(p: Tensor) -> Tensor:
    """Symmetric logarithm of symmetric positive definite matrices."""
    if p.shape[-1] != 2:
        return _through_eigh(p, torch.log)
    m, t, q = _parts(p)
    return _times_identity(determinant(p).log() / 2) + (_atanhc(q / m.square()) / m)[..., None, None] * t


@exact
def spd_sqrt(p: Tensor) -> Tensor:
    """Positive definite square root of symmetric positive definite matrices."""
    if p.shape[-1] != 2:
        return _through_eigh(p, torch.sqrt)
    root, trace = determinant(p).sqrt(), p[..., 0, 0] + p[..., 1, 1]
    return (p + _times_identity(root)) / (trace + 2 * root).sqrt()[..., None, None]


def polar_angle(g: Tensor) -> Tensor:
    """Angle of the rotation R in `g = P R`, for 2 x 2 matrices of determinant above 0: `[...]`, from -pi to pi.

    Never ill defined there: the squares of both arguments add up to the squared norm plus twice the determinant. Half
    a turn is pi on whichever side of it rounding fell, so that equal rotations have equal coordinates.
    """
    sine, cosine = g[..., 1, 0] - g[..., 0, 1], g[..., 0, 0] + g[..., 1, 1]
    half = (cosine < 0) & (sine.abs() <= HALF * cosine.abs())
    return torch.atan2(torch.where(half, sine.abs(), sine), cosine)  # abs of -0.0 is 0.0


def rotation(angle: Tensor) -> Tensor:
    """Rotations of the plane by angles `[...]`: `[..., 2, 2]`."""
    c, s = angle.cos(), angle.sin()
    return torch.stack([torch.stack([c, -s], -1), torch.stack([s, c], -1)], -2)


def polar(g: Tensor) -> tuple[Tensor, Tensor]:
    """`(P, R)`: g = P R with P symmetric positive definite and R a rotation.

    Raises:
        BadInput: a determinant that is not above 0.
    """
    det = torch.linalg.det(g.float() if g.dtype in (torch.float16, torch.bfloat16) else g)
    if bool((det <= 0).any()):
        raise bad("determinant", "above 0", f"{float(det.min()):g}")
    return _left(g), _right(g)


@exact
def _right(g: Tensor) -> Tensor:
    if g.shape[-1] == 2:
        return rotation(polar_angle(g))
    values, vectors = torch.linalg.eigh(g @ g.mT)
    return (vectors * values.rsqrt()[..., None, :]) @ vectors.mT @ g


@exact
def _left(g: Tensor) -> Tensor:
    p = g @ _right(g).mT
    return (p + p.mT) / 2


def determinant(a: Tensor) -> Tensor:
    """Of 2 x 2 matrices."""
    return a[..., 0, 0] * a[..., 1, 1] - a[..., 0, 1] * a[..., 1, 0]


def haar_rotations(count: int, n: int, generator: torch.Generator | None = None) -> Tensor:
    """Uniform rotations `[count, n, n]`, float32: orthogonal factors of normal matrices, with signs that make them
    unique (Mezzadri, 2007, arXiv math-ph/0609050)."""
    q, r = torch.linalg.qr(torch.randn(count, n, n, generator=generator))
    q = q * torch.where(r.diagonal(dim1=-2, dim2=-1) < 0, -1.0, 1.0)[..., None, :]
    flip = torch.where(torch.linalg.det(q) < 0, -1.0, 1.0)[:, None]
    return torch.cat([q[..., :1] * flip[..., None], q[..., 1:]], -1)


def _parts(a: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Half the trace `[...]`, what is left, and minus the determinant of that."""
    m = (a[..., 0, 0] + a[..., 1, 1]) / 2
    t = a - _times_identity(m)
    return m, t, t[..., 0, 0].square() + a[..., 0, 1] * a[..., 1, 0]


def _times_identity(values: Tensor, n: int = 2) -> Tensor:
    return values[..., None, None] * torch.eye(n, dtype=values.dtype, device=values.device)


def _through_eigh(s: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
    values, vectors = torch.linalg.eigh(s)
    return (vectors * function(values)[..., None, :]) @ vectors.mT


def _cosh_sinhc(q: Tensor) -> tuple[Tensor, Tensor]:
    """cosh(w) and sinh(w) / w for w w = q; of a negative q cos and sin."""
    near = q.abs() < NEAR
    far = torch.where(near, 1.0, q)  # so that no branch that is not taken has an infinite gradient
    w = far.abs().sqrt()
    even = torch.where(near, 1 + q / 2 + q * q / 24 + q**3 / 720, torch.where(far > 0, w.cosh(), w.cos()))
    odd = torch.where(near, 1 + q / 6 + q * q / 120 + q**3 / 5040, torch.where(far > 0, w.sinh(), w.sin()) / w)
    return even, odd


def _angle(q: Tensor, c: Tensor) -> Tensor:
    """w / sinh(w) for q = sinh(w) squared and c = cosh(w); of a negative q for sin and cos, w from 0 to pi."""
    near = (q.abs() < NEAR) & (c > 0)
    far = torch.where(near, 1.0, q)
    s = far.abs().clamp_min(torch.finfo(q.dtype).tiny).sqrt()
    series = 1 - q / 6 + 3 * q * q / 40 - 15 * q**3 / 336
    return torch.where(near, series, torch.where(far > 0, s.asinh(), torch.atan2(s, c)) / s)


def _atanhc(t: Tensor) -> Tensor:
    """atanh(z) / z for z z = t, from 0 to below 1."""
    near = t < NEAR
    z = torch.where(near, 0.25, t).sqrt()
    return torch.where(near, 1 + t / 3 + t * t / 5 + t**3 / 7, z.atanh() / z)
