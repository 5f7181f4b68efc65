"""Entropic optimal transport between weighted points: dual potentials by stabilised scalings.

Dims: n and v points of the two sides.
"""

import warnings
from typing import Any

import numpy as np

from smidgen.kit.errors import bad

TOLERANCE = 1e-3  # of the marginals, in total mass: the value is then off by about 1e-5
MOST_STEPS = 20_000  # of the scalings
COOLING = 4.0  # the regulariser falls by this factor until it is what was asked for
FAR = 1e60  # scalings beyond it are absorbed into the potentials


def sinkhorn(cost: Any, a: Any, b: Any, reg: float, tol: float = TOLERANCE) -> tuple[np.ndarray, np.ndarray]:
    """Dual potentials f `[n]`, g `[v]` of the entropic transport (penalty: reg times KL to the product of marginals).

    The plan is a_i b_j exp((f_i + g_j - cost_ij) / reg), the value <a, f> + <b, g>. Iterates on scalings, which are
    absorbed into the potentials before they overflow, while the regulariser falls from the largest cost.

    Args:
        cost: `[n, v]`. a, b: weights above 0, sum 1 each. reg: in the unit of the cost.
        tol: mass that may be out of place at the end.
    Raises:
        BadInput: a regulariser or a weight not above 0. Warns when it stops short of `tol`.
    """
    cost, a, b = np.asarray(cost, float), checked_weights(a), checked_weights(b)
    f, g = np.zeros(len(a)), np.zeros(len(b))
    for eps, steps, enough in _levels(cost, reg, tol):
        g = soft_minimum(cost.T, f, a, eps)
        f = soft_minimum(cost, g, b, eps)
        left, off = steps, np.inf
        while left > 0 and off > enough:
            kernel = np.exp((f[:, None] + g[None] - cost) / eps)
            u, v = np.ones(len(a)), np.ones(len(b))
            while left > 0 and off > enough and max(u.max(), v.max(), 1 / u.min(), 1 / v.min()) < FAR:
                for _ in range(min(left, 10)):
                    v = 1 / ((u * a) @ kernel)
                    u = 1 / (kernel @ (v * b))
                left -= 10
                off = float(b @ np.abs(v * ((u * a) @ kernel) - 1))
            f, g = f + eps * np.log(u), g + eps * np.log(v)
        _warn_short(steps, off, tol)
    return f, g


def sinkhorn_self(cost: Any, a: Any, reg: float, tol: float = TOLERANCE) -> np.ndarray:
    """The potential `[n]` of the entropic transport of weights onto themselves; its value is 2 <a, f>.

    Symmetric, averaged iterations, which need few steps (Feydy et al., 2019). Otherwise as `sinkhorn`.
    """
    cost, a = np.asarray(cost, float), checked_weights(a)
    f = np.zeros(len(a))
    for eps, steps, enough in _levels(cost, reg, tol):
        f = (f + soft_minimum(cost, f, a, eps)) / 2
        left, off = steps, np.inf
        while left > 0 and off > enough:
            kernel = np.exp((f[:, None] + f[None] - cost) / eps)
            u = np.ones(len(a))
            while left > 0 and off > enough and max(u.max(), 1 / u.min()) < FAR:
                for _ in range(min(left, 5)):
                    u = np.sqrt(u / (kernel @ (u * a)))
                left -= 5
                off = float(a @ np.abs(u * (kernel @ (u * a)) - 1))
            f = f + eps * np.log(u)
        _warn_short(steps, off, tol)
    return f


def _levels(cost: np.ndarray, reg: float, tol: float) -> list[tuple[float, int, float]]:
    """Regulariser, steps and tolerance of each level, the last as asked."""
    if not reg > 0:
        raise bad("reg", "above 0", reg)
    above = int(np.ceil(max(0.0, np.log(max(cost.max(), reg) / reg) / np.log(COOLING))))
    return [(reg * COOLING**k, 10, tol) for k in range(above, 0, -1)] + [(reg, MOST_STEPS, tol)]


def soft_minimum(cost: np.ndarray, g: np.ndarray, b: np.ndarray, eps: float) -> np.ndarray:
    """The potential `[n]` that answers g `[v]`: -eps log sum_j b_j exp((g_j - cost_ij) / eps); `cost` of any rows."""
    z = (g + eps * np.log(b) - cost) / eps
    top = z.max(1)
    z -= top[:, None]
    return -eps * (top + np.log(np.exp(z, out=z).sum(1)))


def _warn_short(steps: int, off: float, tol: float) -> None:
    if steps == MOST_STEPS and off > tol:
        warnings.warn(f"a transport stopped with {off:.1g} of the mass out of place: raise reg", stacklevel=4)


def checked_weights(a: Any) -> np.ndarray:
    """Weights above 0, scaled to sum 1."""
    a = np.asarray(a, float)
    if a.ndim != 1 or not len(a) or not np.all(a > 0) or not np.isfinite(a.sum()):
        raise bad("weights", "a list of numbers above 0", a)
    return a / a.sum()
