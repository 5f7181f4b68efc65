"""How far two samples of one number lie apart: the Wasserstein distance W_p of their distributions, exactly.

In one dimension it is the difference of the quantile functions, |Qa(q) - Qb(q)|^p averaged over q, to the power 1/p.
W_1 bounds the difference of the means, and of every statistic that changes no faster than its argument. Unlike
`data.transport`, which compares rows of many features by optimal transport, it needs a sort only.
"""

import math
from typing import Any

import numpy as np

from smidgen.kit.errors import bad


def wasserstein(a: Any, b: Any, p: float = 1.0, *, a_weights: Any = None, b_weights: Any = None) -> float:
    """W_p of two samples `[n]` and `[m]`, of unequal sizes too, with equal weights where none are given.

    Args:
        p: at least 1; infinity for the largest difference of quantiles.
        a_weights, b_weights: shaped as the samples, not negative; their sums need not agree.

    Raises:
        BadInput: an empty sample, numbers that are not finite, or weights that do not fit.
    """
    _check_power(p)
    (a, wa), (b, wb) = _sample("a", a, a_weights), _sample("b", b, b_weights)
    if wa is None and wb is None:
        return float(sorted_distance(np.sort(a)[:, None], np.sort(b)[:, None], p)[0])
    a, levels_a = _levels(a, wa)
    b, levels_b = _levels(b, wb)
    levels = np.union1d(levels_a, levels_b)
    middles = (np.concatenate([[0.0], levels[:-1]]) + levels) / 2
    gaps = abs(a[np.searchsorted(levels_a, middles)] - b[np.searchsorted(levels_b, middles)])
    shares = np.diff(levels, prepend=0.0)
    shares[shares < 4 * len(levels) * np.finfo(float).eps] = 0.0  # one level twice, told apart by rounding of its sums
    return float(_power_mean(gaps[:, None], shares, p)[0])


def gridpoint_wasserstein(A: Any, B: Any, p: float = 1.0) -> np.ndarray:
    """W_p at each point: `[points]` from samples `[time, points]` and `[other time, points]`.

    Raises:
        BadInput: no samples, other points, or numbers that are not finite.
    """
    _check_power(p)
    A, B = np.asarray(A, float), np.asarray(B, float)
    if A.ndim != 2 or B.ndim != 2 or A.shape[1] != B.shape[1] or 0 in (*A.shape, *B.shape):
        raise bad("samples", "[time, points] with equal points, and at least one time", f"{A.shape} and {B.shape}")
    if not (np.isfinite(A).all() and np.isfinite(B).all()):
        raise bad("samples", "finite numbers", "NaN or infinity", "Leave out runs that overflowed, and report them.")
    return sorted_distance(np.sort(A, axis=0), np.sort(B, axis=0), p)


def sorted_distance(A: np.ndarray, B: np.ndarray, p: float) -> np.ndarray:
    """W_p `[points]` of samples `[n, points]` and `[m, points]` that are sorted already."""
    n, m = len(A), len(B)
    if n == m:
        return _power_mean(abs(A - B), np.full(n, 1 / n), p)
    # Quantiles change at i/n and j/m; in units of 1/(n m) these are whole numbers, and compare exactly.
    ends = np.union1d(np.arange(1, n + 1) * m, np.arange(1, m + 1) * n)
    gaps = abs(A[(ends - 1) // m] - B[(ends - 1) // n])
    return _power_mean(gaps, np.diff(ends, prepend=0) / (n * m), p)


def _power_mean(gaps: np.ndarray, shares: np.ndarray, p: float) -> np.ndarray:
    """(sum of shares gaps^p)^(1/p) over the first axis."""
    largest = gaps[shares > 0].max(axis=0)
    if math.isinf(p):
        return largest
    if p == 1:
        return shares @ gaps
    scale = np.where(largest > 0, largest, 1.0)  # so that no power overflows
    return scale * (shares @ (gaps / scale) ** p) ** (1 / p)


def _sample(name: str, x: Any, weights: Any) -> tuple[np.ndarray, np.ndarray | None]:
    x = np.asarray(x, float)
    if x.ndim != 1 or not len(x):
        raise bad(name, "a sample [n] of at least one number", f"shape {x.shape}")
    if not np.isfinite(x).all():
        raise bad(name, "finite numbers", "NaN or infinity")
    if weights is None:
        return x, None
    weights = np.asarray(weights, float)
    if weights.shape != x.shape or not np.isfinite(weights).all() or (weights < 0).any() or not weights.any():
        raise bad(f"{name}_weights", f"{len(x)} finite numbers >= 0, one of them above", f"shape {weights.shape}")
    return x, weights


def _levels(x: np.ndarray, weights: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Sorted values, and the share of the weight up to each; values without weight are dropped."""
    weights = np.ones(len(x)) if weights is None else weights
    order = np.argsort(x, kind="stable")
    order = order[weights[order] > 0]
    levels = np.cumsum(weights[order])
    return x[order], levels / levels[-1]


def _check_power(p: float) -> None:
    if not p >= 1:
        raise bad("p", "at least 1", p)
