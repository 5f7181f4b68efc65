"""Bandwidths at which a kernel density estimate in many dimensions changes its nature: below them it does not average
but copies its nearest points (Biroli and Mezard, 2024, arXiv 2408.05807). The same holds for any softmax over
neighbours of minus half a squared distance over h^2.

With n points in d dimensions and alpha = log(n) / d, the estimate at a new x is a sum of exp(-lambda |x - y_i|^2 / 2)
with lambda = 1 / h^2: a random energy model. g(lambda) is the logarithm of a term's mean, per dimension, and
s(lambda) = lambda g' - g is what it costs to be among the terms that count. While alpha > s(2 lambda) the sum obeys
the central limit theorem ("clt"); while s(lambda) < alpha < s(2 lambda) its mean is right but its fluctuations are
"heavy-tailed", stable with index (h / h_g)^2; where alpha < s(lambda) it is "condensed": a few nearest points are all
of it. So h_clt = sqrt(2) h_g, whatever the law of the data. The bandwidth whose estimate is nearest to the truth in
relative entropy lies a little below h_g.

h is in the units of the data: whiten them first where coordinates differ. The limit is one of many dimensions: up to
20 or so, the best bandwidth is well above `h_opt`.
Dims: N points, D dimensions, B places asked about, A values of alpha, L bandwidths.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq

from smidgen.kit.errors import bad
from smidgen.laws.points import Numbers

PROBES = 200  # points that are asked about the others
SAFE = 0.02  # mean participation ratio up to which the entropy of weights is right
_BYTES = 64e6  # of one block of distances
_STEPS = 200


@dataclass(frozen=True)
class Thresholds:
    """Bandwidths that part the phases, and the best one; floats, or arrays `[A]` of a phase diagram."""

    alpha: np.ndarray | float
    h_clt: np.ndarray | float
    h_g: np.ndarray | float
    h_opt: np.ndarray | float


def gaussian_thresholds(n: float, d: int, variances: Numbers | None = None) -> Thresholds:
    """Those of n points of a normal law in d dimensions with independent coordinates.

    Args:
        variances: `[d]` of the coordinates (of a covariance: its eigenvalues); 1 by default.
    Raises:
        BadInput: d < 1, n < 2, or variances that are not d numbers above 0.
    """
    if not 2 <= n < math.inf:
        raise bad("n", "at least 2 points", n)
    if d < 1:
        raise bad("d", "at least 1 dimension", d)
    found = phase_diagram([math.log(n) / d], np.ones(d) if variances is None else variances)
    if variances is not None and np.size(variances) != d:
        raise bad("variances", f"{d} numbers, one a dimension", np.size(variances))
    return Thresholds(*(float(np.ravel(v)[0]) for v in (found.alpha, found.h_clt, found.h_g, found.h_opt)))


def phase_diagram(alphas: Numbers, variances: Numbers = (1.0,)) -> Thresholds:
    """The lines of the phase diagram of normal data over alpha = log(n) / d, `[A]` each: what a picture needs.

    Raises:
        BadInput: numbers that are not above 0.
    """
    alpha_A, variances_D = above_0("alpha", alphas), above_0("variances", variances)
    low_A, high_A = np.full(len(alpha_A), -60.0), np.full(len(alpha_A), 60.0) + 2 * alpha_A
    low_A, high_A = (v - math.log(variances_D.mean()) for v in (low_A, high_A))
    for _ in range(_STEPS):  # s rises with lambda
        middle_A = (low_A + high_A) / 2
        below_A = _cost(np.exp(middle_A), variances_D) < alpha_A
        low_A, high_A = np.where(below_A, middle_A, low_A), np.where(below_A, high_A, middle_A)
    lam_A = np.exp(high_A)
    nearest_A = np.sqrt(_nearest(lam_A, variances_D))
    return Thresholds(alpha_A, np.sqrt(2 / lam_A), np.sqrt(1 / lam_A), nearest_A)


def gaussian_kl(h: Numbers, n: float, d: int, variances: Numbers | None = None) -> np.ndarray:
    """Relative entropy of the law from its estimate, per dimension in nats, for each bandwidth `[L]` (many dimensions).

    Raises:
        BadInput: as in `gaussian_thresholds`, or a bandwidth not above 0.
    """
    edge = gaussian_thresholds(n, d, variances)
    h_L, variances_D = above_0("h", h), np.ones(d) if variances is None else above_0("variances", variances)
    wide_LD = variances_D + h_L[:, None] ** 2
    smooth_L = 0.5 * (np.log(wide_LD / variances_D) + variances_D / wide_LD - 1).mean(1)
    entropy = 0.5 * (1 + np.log(variances_D).mean())  # without log 2 pi, which the next line leaves out too
    copied_L = -entropy + np.log(h_L) + edge.alpha + edge.h_opt**2 / (2 * h_L**2)
    return np.where(h_L >= edge.h_g, smooth_L, copied_L)


def participation(log_BN: np.ndarray) -> np.ndarray:
    """Sum of the squared weights of each row `[B]`, from their logarithms: one over how many count."""
    weights_BN = np.exp(log_BN - log_BN.max(1, keepdims=True))
    return (weights_BN**2).sum(1) / weights_BN.sum(1) ** 2


def tail_index(log_weights: np.ndarray, top: int = 10) -> float:
    """Hill's estimate (1975) of the power with which large weights get rare, from the `top` largest of each row: below
    2 the sum has no normal fluctuations, below 1 its mean is that of its largest terms.

    Args:
        log_weights: `[N]`, or `[B, N]` for many places, which are pooled; a constant within a row does not matter.
    Raises:
        BadInput: top below 1, or rows of not more than that.
    """
    return 1 / float(np.mean(tail_excess(np.atleast_2d(np.asarray(log_weights, float)), top)))


def empirical_thresholds(x_ND: np.ndarray, probes: int = PROBES, *, seed: int = 0) -> Thresholds:
    """Thresholds of data of any law, from their own distances; approximate.

    Some points are probes of the others. s(lambda) is log n less the entropy of the weights, per dimension; it is right
    only where many points count, so it is measured where the weights' mean participation ratio is 0.02 and at half that
    lambda, and carried on to alpha, a factor of about 3 in lambda, as if energies had a Gamma law: h_g of
    normal data with 30 to 100 dimensions and 1,500 to 20,000 points came out 0 to 4 % below the exact one. `h_opt` is
    the typical distance to the nearest point per root dimension, at such sizes some percent above its limit.
    Raises:
        BadInput: fewer than 20 points, numbers that are not finite, or probes not between 2 and half the points.
    """
    x_ND = matrix("x", x_ND)
    n, d = x_ND.shape
    if n < 20:
        raise bad("points", "at least 20", n)
    if not 2 <= probes <= n // 2:
        raise bad("probes", f"2 to {n // 2}, half the points", probes)
    order = np.random.default_rng(seed).permutation(n)
    kept_ND = x_ND[order[probes:]]
    distances_BN = np.concatenate(list(squared_distances(x_ND[order[:probes]], kept_ND)))
    if not distances_BN.max() > 0:
        raise bad("points", "at least two that differ", "all equal")
    low, high = np.log(1e-3 / distances_BN.mean()), np.log(1e6 / distances_BN.mean())
    for _ in range(30):
        middle = (low + high) / 2
        wide = float(participation(-0.5 * math.exp(middle) * distances_BN).mean()) < SAFE
        low, high = (middle, high) if wide else (low, middle)
    lam = math.exp(low)
    costs = [_entropy_lost(-0.5 * part * distances_BN) / d for part in (lam, lam / 2)]
    alpha = math.log(n) / d
    reached = _carried_on(lam, costs[0], costs[1], alpha)
    nearest = float(np.exp(np.log(np.maximum(distances_BN.min(1), 1e-300)).mean()))
    return Thresholds(alpha, math.sqrt(2 / reached), math.sqrt(1 / reached), math.sqrt(nearest / d))


def squared_distances(x_BD: np.ndarray, points_ND: np.ndarray, limit: float = _BYTES) -> Iterator[np.ndarray]:
    """Squared distances of all points from blocks of places, `[b, N]` each, of about `limit` bytes."""
    middle_D = points_ND.mean(0)  # so that little cancels
    x_BD, points_ND = x_BD - middle_D, points_ND - middle_D
    size_N = (points_ND**2).sum(1)
    rows = max(1, int(limit / (8 * len(points_ND))))
    for start in range(0, len(x_BD), rows):
        block_BD = x_BD[start : start + rows]
        out_BN = block_BD @ points_ND.T
        out_BN *= -2
        out_BN += size_N
        out_BN += (block_BD**2).sum(1)[:, None]
        yield np.maximum(out_BN, 0.0, out=out_BN)


def matrix(what: str, x: np.ndarray, width: int | None = None) -> np.ndarray:
    """Raises BadInput: not rows of finite numbers, or of another width."""
    x = np.asarray(x, float)
    if x.ndim != 2 or 0 in x.shape or (width is not None and x.shape[1] != width):
        raise bad(what, f"rows of {'some' if width is None else width} numbers", f"an array of shape {x.shape}")
    if not np.isfinite(x).all():
        row = int(np.flatnonzero(~np.isfinite(x).all(1))[0])
        raise bad(f"{what}, row {row}", "finite numbers", "some that are not")
    return x


def above_0(what: str, values: Numbers) -> np.ndarray:
    """A list. Raises BadInput: a number that is not finite and above 0, or none."""
    out = np.atleast_1d(np.asarray(values, float))
    if out.ndim != 1 or not len(out) or not (np.isfinite(out) & (out > 0)).all():
        raise bad(what, "finite numbers above 0", np.asarray(values).tolist())
    return out


def _cost(lam_A: np.ndarray, variances_D: np.ndarray) -> np.ndarray:
    """s(lambda) of normal data `[A]`."""
    x_AD = lam_A[:, None] * variances_D
    return (0.5 * np.log1p(x_AD) - 0.5 * x_AD / (1 + x_AD) ** 2).mean(1)


def _nearest(lam_A: np.ndarray, variances_D: np.ndarray) -> np.ndarray:
    """-2 g'(lambda): squared distance per dimension to the points that count, at h_g the nearest `[A]`."""
    share_AD = 1 / (1 + lam_A[:, None] * variances_D)
    return (variances_D * (share_AD + share_AD**2)).mean(1)


def _entropy_lost(log_BN: np.ndarray) -> float:
    """log N less the entropy of the weights, the mean over rows."""
    shifted_BN = log_BN - log_BN.max(1, keepdims=True)
    weights_BN = np.exp(shifted_BN)
    total_B = weights_BN.sum(1)
    entropy_B = np.log(total_B) - (weights_BN * shifted_BN).sum(1) / total_B
    return math.log(log_BN.shape[1]) - float(entropy_B.mean())


def _carried_on(lam: float, at: float, at_half: float, alpha: float) -> float:
    """The lambda whose cost is alpha, from the costs at `lam` and its half, as for energies with a Gamma law: then s =
    shape * (log(1 + x) - x / (1 + x)) with x = scale * lambda."""

    def cost(x: float) -> float:
        return math.log1p(x) - x / (1 + x)

    def ratio(log_x: float) -> float:
        return cost(math.exp(log_x)) / cost(math.exp(log_x) / 2)

    low, high = -7.0, 40.0  # the ratio falls from 4 to 1
    wanted = min(max(at / at_half, ratio(high) * 1.0001), ratio(low) * 0.9999)
    x = math.exp(brentq(lambda u: ratio(u) - wanted, low, high))  # type: ignore[arg-type]
    shape = at / cost(x)
    return lam / x * math.exp(brentq(lambda u: shape * cost(math.exp(u)) - alpha, -20.0, 600.0))  # type: ignore[arg-type]


def tail_excess(log_BN: np.ndarray, top: int) -> np.ndarray:
    if not 1 <= top < log_BN.shape[1]:
        raise bad("top", f"from 1 to {log_BN.shape[1] - 1}, less than the weights", top)
    largest_BT = np.partition(log_BN, -top - 1, axis=1)[:, -top - 1 :]
    return largest_BT.mean(1) * (top + 1) / top - largest_BT.min(1) * (top + 1) / top
