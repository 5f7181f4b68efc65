"""Kernel density estimates with a normal kernel, bandwidths for many dimensions, and a word on whether they average
at all (the phases of `density_phases`).

    density = fit_density(X)                   # bandwidth for the data's covariance
    density.log_density(new); density.phase; density.participation(new)

All sums are of logarithms in float64; distances are made in blocks, so that memory stays bounded.
Dims: N points, D dimensions, B places asked about, L bandwidths.
"""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from smidgen.kit.errors import bad
from smidgen.laws.density_phases import (
    PROBES,
    above_0,
    gaussian_thresholds,
    matrix,
    participation,
    squared_distances,
    tail_excess,
)

CONDENSED = 0.3  # mean participation ratio from which the weights count as condensed
_LEFT_OUT = 1000  # points that are left out, one at a time, to choose a bandwidth


def silverman(n: float, d: int, sd: float = 1.0) -> float:
    """The rule of thumb for few dimensions. In many it is far below the best bandwidth, and says nothing of it."""
    return sd * (4 / ((d + 2) * n)) ** (1 / (d + 4))


@dataclass(frozen=True)
class KernelDensity:
    """An estimate with a normal kernel.

    Attributes:
        points_ND: what it averages over. bandwidth: h, in units of the points.
        phase: at this bandwidth, from the weights of points on the others; "" where it was not asked for.
    Places that are asked about must be new: a point of its own has weight 1 on itself.
    """

    points_ND: np.ndarray = field(repr=False)
    bandwidth: float
    phase: str = ""

    def at(self, bandwidth: float) -> "KernelDensity":
        """The same points with another bandwidth; raises BadInput where it is not above 0."""
        return replace(self, bandwidth=_bandwidth(bandwidth), phase="")

    def log_density(self, x_BD: np.ndarray) -> np.ndarray:
        """Logarithm of the density, in nats `[B]`."""
        n, d = self.points_ND.shape
        flat = math.log(n) + d * (math.log(self.bandwidth) + 0.5 * math.log(2 * math.pi))
        return self._each(x_BD, _log_sum) - flat

    def participation(self, x_BD: np.ndarray) -> np.ndarray:
        """Sum of the squared weights that the points have at each place `[B]`: one over how many points count."""
        return self._each(x_BD, participation)

    def tail_index(self, x_BD: np.ndarray, top: int = 10) -> float:
        """Index of the stable law of the fluctuations, `tail_index` of the weights at these places."""
        return 1 / float(np.mean(self._each(x_BD, lambda log_BN: tail_excess(log_BN, top))))

    def phase_at(self, x_BD: np.ndarray) -> str:
        """ "clt", "heavy-tailed" or "condensed", from the weights at these places: where those of h / sqrt(2) are
        condensed, the second moment is."""
        if float(self.participation(x_BD).mean()) > CONDENSED:
            return "condensed"
        narrower = self.at(self.bandwidth / math.sqrt(2))
        return "heavy-tailed" if float(narrower.participation(x_BD).mean()) > CONDENSED else "clt"

    def _each(self, x_BD: np.ndarray, of: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        x_BD = matrix("x", x_BD, self.points_ND.shape[1])
        blocks = squared_distances(x_BD, self.points_ND)
        return np.concatenate([of(block * (-0.5 / self.bandwidth**2)) for block in blocks])


def fit_density(
    x_ND: np.ndarray, bandwidth: float | str = "kl", *, phase_check: bool = True, seed: int = 0
) -> KernelDensity:
    """A kernel density estimate with a bandwidth that is given or chosen.

    Args:
        bandwidth: in units of the data, or "kl": the best for a normal law with the data's covariance; "cv": the best
            likelihood of points left out, one at a time; "silverman".
        phase_check: tell the phase from 200 points' weights on the others, and warn where a bandwidth that was given,
            or Silverman's, is condensed ("kl" and "cv" look for the best one, which mostly is).
    Raises:
        BadInput: fewer than 2 points, numbers that are not finite, an unknown choice, or a bandwidth not above 0.
    """
    x_ND = matrix("x", x_ND)
    n, d = x_ND.shape
    if n < 2:
        raise bad("points", "at least 2", n)
    if isinstance(bandwidth, str):
        variances_D = np.atleast_1d(np.linalg.eigvalsh(np.atleast_2d(np.cov(x_ND.T))))
        spread = float(variances_D.mean())
        if not spread > 0:
            raise bad("points", "at least two that differ", "all equal")
        if bandwidth == "kl":
            h = float(gaussian_thresholds(n, d, np.maximum(variances_D, 1e-9 * spread)).h_opt)
        elif bandwidth == "cv":
            h = _left_out(x_ND, math.sqrt(spread), seed)
        elif bandwidth == "silverman":
            h = silverman(n, d, math.sqrt(spread))
        else:
            raise bad("bandwidth", "a number, kl, cv or silverman", bandwidth)
    else:
        h = _bandwidth(bandwidth)
    phase = ""
    if phase_check:
        own = np.random.default_rng(seed).permutation(n)[: min(PROBES, n // 2)]
        others = KernelDensity(np.delete(x_ND, own, 0), h)
        phase = others.phase_at(x_ND[own])
        if phase == "condensed" and bandwidth not in ("kl", "cv"):
            warnings.warn(
                f"A bandwidth of {h:.3g} is in the condensed phase: the density at a place is that of its few nearest "
                f"points, not an average. bandwidth='kl' chooses the best for data like a normal law.",
                UserWarning, stacklevel=2,
            )  # fmt: skip
    return KernelDensity(x_ND, h, phase)


def divergence(density: KernelDensity, new_BD: np.ndarray, log_density_B: np.ndarray) -> tuple[float, float]:
    """(relative entropy per dimension in nats, its standard error) of a law that is known from its estimate.

    Args:
        new_BD: new draws of the law. log_density_B: its log density there.
    """
    gap_B = (np.asarray(log_density_B, float) - density.log_density(new_BD)) / density.points_ND.shape[1]
    return float(gap_B.mean()), float(gap_B.std(ddof=1) / math.sqrt(len(gap_B)))


def _left_out(x_ND: np.ndarray, sd: float, seed: int) -> float:
    """The bandwidth of best likelihood of up to 1,000 points, each from all others: two grids, then a parabola."""
    own = np.random.default_rng(seed).permutation(len(x_ND))[:_LEFT_OUT]
    h_L = np.geomspace(0.02, 4.0, 24) * sd
    for turn in range(2):
        gain_L = _left_out_gain(x_ND, own, h_L)
        best = int(np.argmax(gain_L))
        if best == 0 and turn == 0:
            raise bad("points", "few copies", "so many that the best bandwidth is 0", "Drop copies, or give a number.")
        best = min(max(best, 1), len(h_L) - 2)
        near = h_L[best - 1 : best + 2], gain_L[best - 1 : best + 2]
        h_L = np.geomspace(h_L[best - 1], h_L[best + 1], 12)
    curve = np.polyfit(np.log(near[0] / near[0][1]), near[1], 2)
    top = -curve[1] / (2 * curve[0]) if curve[0] < 0 else 0.0
    return float(np.clip(near[0][1] * math.exp(top), near[0][0], near[0][2]))


def _left_out_gain(x_ND: np.ndarray, own: np.ndarray, h_L: np.ndarray) -> np.ndarray:
    """Mean log likelihood but for a constant `[L]`."""
    total_L, start = np.zeros(len(h_L)), 0
    for block_BN in squared_distances(x_ND[own], x_ND):
        rows = np.arange(len(block_BN))
        block_BN[rows, own[start + rows]] = np.inf
        start += len(rows)
        total_L += [_log_sum(block_BN * (-0.5 / h**2)).sum() for h in h_L]
    return total_L / len(own) - x_ND.shape[1] * np.log(h_L)


def _log_sum(log_BN: np.ndarray) -> np.ndarray:
    """Logarithm of each row's sum of exponentials `[B]`."""
    top_B = log_BN.max(1)
    return top_B + np.log(np.exp(log_BN - top_B[:, None]).sum(1))


def _bandwidth(value: float) -> float:
    return float(above_0("bandwidth", [value])[0])
