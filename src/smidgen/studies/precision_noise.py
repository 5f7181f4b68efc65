"""How far apart runs in full precision lie by their initial states alone, and what a distance beside that means.

Two ensembles of the same program, from other initial states, differ too. A distance to short numbers that lies within
this says nothing against them. Members are independent, samples of one member are not: a band drawn from single samples
would be too narrow, so whole members are drawn. Dims: T times, P points, M members.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np

from smidgen.kit.errors import bad
from smidgen.kit.seeds import derive_seed
from smidgen.studies.wasserstein import gridpoint_wasserstein, sorted_distance

Verdict = Literal["negligible", "minor", "large", "unstable"]


@dataclass(frozen=True)
class Noise:
    """Distances between ensembles in full precision, in units of the trajectories.

    Attributes:
        pairs: W `[pairs, P]` of each two reference ensembles.
        drawn: W `[draws, P]` of two disjoint sets of members, as large as the ensembles that are compared.
    """

    pairs: np.ndarray
    drawn: np.ndarray

    def band(self, points: slice = slice(None), level: float = 0.95) -> tuple[float, float]:
        """Where W, averaged over points, lies with probability `level` (both ends) if there is no rounding error."""
        means = self.drawn[:, points].mean(axis=1)
        low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
        return float(low), float(high)


def pooled(trajectory: np.ndarray) -> np.ndarray:
    """Samples `[T M, P]` of a trajectory `[T, P, M]`."""
    return np.moveaxis(trajectory, 1, 2).reshape(-1, trajectory.shape[1])


def noise(references: Sequence[np.ndarray], members: int, p: float = 1.0, draws: int = 100, seed: int = 0) -> Noise:
    """The baseline of reference ensembles `[T, P, M]`, for comparing with an ensemble of `members`.

    The band is that of one pair of sets, drawn without replacement from the members of all references. A distance that
    is averaged over the references spreads less, so that a verdict of "negligible" is a little more easily given.

    Raises:
        BadInput: fewer than two references, of other shapes, or too few members in them for two disjoint sets.
    """
    if len(references) < 2 or len({r.shape for r in references}) > 1:
        raise bad("references", "two or more ensembles of one shape", [r.shape for r in references])
    own = references[0].shape[2]
    if members + own > len(references) * own:
        raise bad("members", f"at most {(len(references) - 1) * own}", members, "Make more reference ensembles.")
    if draws < 20:
        raise bad("draws", "at least 20", draws)
    samples = [pooled(r) for r in references]
    pairs = np.stack([gridpoint_wasserstein(a, b, p) for a, b in combinations(samples, 2)])
    everything = np.concatenate(references, axis=2)
    drawn = np.empty((draws, everything.shape[1]))
    rng = np.random.default_rng(derive_seed(seed, "noise"))
    sets = np.zeros((draws, everything.shape[2]), np.int8)
    for row in sets:
        places = rng.permutation(len(row))
        row[places[:members]], row[places[members : members + own]] = 1, 2
    for point in range(everything.shape[1]):  # sorted once, for all draws
        values = everything[:, point]
        order = np.argsort(values, axis=None)
        values, who = values.reshape(-1)[order, None], order % values.shape[1]
        for draw, row in enumerate(sets):
            taken = row[who]
            drawn[draw, point] = sorted_distance(values[taken == 1], values[taken == 2], p)[0]
    return Noise(pairs, drawn)


def verdict(distance: float, high: float, tolerable: float) -> Verdict:
    """What a mean distance means beside the noise.

    Args:
        distance: NaN where a run overflowed.
        high: the upper end of the noise band: up to it, rounding error cannot be told from luck.
        tolerable: up to it the error is minor: the effect of a small change of a parameter, say.
    """
    if not np.isfinite(distance):
        return "unstable"
    if distance <= high:
        return "negligible"
    return "minor" if distance <= tolerable else "large"
