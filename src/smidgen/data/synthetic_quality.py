"""How made rows compare with real ones: are they like them, do they cover them, do they give single ones away?

All distances are Euclidean: standardise columns first, on training rows. Compare with rows that had no part in making
them (fidelity, coverage), and only the privacy of training rows with training rows.

Dims: N real rows, M made rows, D columns.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.spatial import KDTree
from scipy.spatial.distance import cdist

from smidgen.kit.errors import bad

CHUNK = 1000  # real rows whose distances are held at a time

SAME = 1e-6  # of the largest number: rows so near are copies, whatever precision they were written in


def density_coverage(real_ND: Any, made_MD: Any, k: int = 5) -> tuple[float, float]:
    """Density and coverage (Naeem et al., 2020, arXiv 2002.09797, eq. 4 and 5).

    Around each real row lies a ball that reaches to its k-th neighbour among real rows. Density: in how many balls a
    made row lies, over k, on average; 1 for rows of the same law, above 1 where made rows crowd the middle. Coverage:
    the share of balls that hold a made row; of as many rows of the same law, about 1 - 2^-k (`expected_coverage`).

    Raises:
        BadInput: tables that do not match, are empty or not finite, or k outside 1 to N - 1.
    """
    real_ND, made_MD = _pair(real_ND, made_MD)
    if not 1 <= k < len(real_ND):
        raise bad("k", f"from 1 to {len(real_ND) - 1}, below the number of real rows", k)
    inside, covered = 0, 0
    for start in range(0, len(real_ND), CHUNK):
        part = real_ND[start : start + CHUNK]
        radius = np.partition(cdist(part, real_ND), k, axis=1)[:, k]  # the row itself is the nearest, at 0
        held = cdist(part, made_MD) <= radius[:, None]
        inside += int(held.sum())
        covered += int(held.any(1).sum())
    return inside / (k * len(made_MD)), covered / len(real_ND)


def expected_coverage(real: int, made: int, k: int = 5) -> float:
    """Mean coverage of rows of the same law as the real ones (Naeem et al., 2020, section 3.3)."""
    i = np.arange(1, k + 1)
    return float(1 - np.prod((real - i) / (real + made - i)))


def closest_record(made_MD: Any, real_ND: Any) -> np.ndarray:
    """Distance of each made row to the closest real one, `[M]`; 0 for a copy."""
    real_ND, made_MD = _pair(real_ND, made_MD)
    return KDTree(real_ND).query(made_MD)[0]


@dataclass(frozen=True)
class PrivacyDistance:
    """Distances of made rows to the closest records.

    Attributes:
        to_training, to_held_out: medians, to rows that made rows were made from, and to as many that they were not.
        copies: share of made rows that are training rows.
        nearer_training: share of made rows that are nearer to a training row than to any held-out one, ties as halves.
            0.5: training rows are not nearer than others of their kind, nothing of them is remembered; 1: each made
            row points to one. A low distance alone says nothing: in a dense table all rows are near.
    """

    to_training: float
    to_held_out: float
    copies: float
    nearer_training: float


def privacy_distance(made_MD: Any, training_ND: Any, held_out_ND: Any, seed: int = 0) -> PrivacyDistance:
    """Whether made rows are closer to those that they were made from than to others of the same kind.

    The larger of the two tables is drawn down to the size of the smaller one by `seed`: with more rows the closest is
    nearer by itself. Copies are looked for in all training rows.

    Raises:
        BadInput: tables that do not match, are empty or not finite.
    """
    training_ND, held_out_ND = _pair(training_ND, held_out_ND)
    size = min(len(training_ND), len(held_out_ND))
    rng = np.random.default_rng(seed)
    tables = [x if len(x) == size else rng.permutation(x)[:size] for x in (training_ND, held_out_ND)]
    near, other = (closest_record(made_MD, x) for x in tables)
    return PrivacyDistance(
        to_training=float(np.median(near)),
        to_held_out=float(np.median(other)),
        copies=float((closest_record(made_MD, training_ND) <= SAME * max(1.0, np.abs(training_ND).max())).mean()),
        nearer_training=float(((near < other) + 0.5 * (near == other)).mean()),
    )


def column_fidelity(real_ND: Any, made_MD: Any, bins: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """Of each column by itself, `[D]` each: the Kolmogorov-Smirnov distance (0 alike, 1 apart), and 1 / (1 + KL) of
    histograms (1 alike), KL from real to made in nats.

    Args:
        bins: of equal width over all values of a column. Half a row is added to each, so that KL is finite.
    """
    real_ND, made_MD = _pair(real_ND, made_MD)
    if bins < 2:
        raise bad("bins", "at least 2", bins)
    ks, inverse = [], []
    for real, made in zip(real_ND.T, made_MD.T, strict=True):
        both = np.concatenate([real, made])
        values = np.sort(both)
        steps = [np.searchsorted(np.sort(x), values, side="right") / len(x) for x in (real, made)]
        ks.append(np.abs(steps[0] - steps[1]).max())
        edges = np.histogram_bin_edges(both, bins)
        p, q = ((np.histogram(x, edges)[0] + 0.5) / (len(x) + 0.5 * bins) for x in (real, made))
        inverse.append(1 / (1 + (p * np.log(p / q)).sum()))
    return np.array(ks), np.array(inverse)


def _pair(real_ND: Any, made_MD: Any) -> tuple[np.ndarray, np.ndarray]:
    tables = []
    for name, x in (("real rows", real_ND), ("made rows", made_MD)):
        x = np.asarray(x, float)
        if x.ndim != 2 or not x.size:
            raise bad(name, "a table with rows and columns", f"shape {x.shape}")
        if not np.isfinite(x).all():
            raise bad(name, "finite numbers", f"{int((~np.isfinite(x)).sum())} that are not")
        tables.append(x)
    if tables[0].shape[1] != tables[1].shape[1]:
        raise bad("columns of the second table", str(tables[0].shape[1]), tables[1].shape[1])
    return tables[0], tables[1]
