"""Is one method better than another over several data sets? Paired tests of one score each.

Wilcoxon's signed ranks, one number a data set, as Demsar recommends ("Statistical comparisons of classifiers over
multiple data sets", JMLR 2006): no data set counts more because its scores lie further apart, and nothing is assumed
normal. Many peers are corrected for by Holm's steps. `compare` is about rows of one task; this is about tasks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from smidgen.kit.errors import bad


@dataclass(frozen=True)
class PairedOver:
    """One method against a peer.

    Attributes:
        gain: mean difference of scores, above 0: the method is better. wins, losses: data sets.
        p: two-sided, of this pair alone. p_holm: corrected for all peers of the call.
    """

    peer: str
    gain: float
    wins: int
    losses: int
    p: float
    p_holm: float


def over_data_sets(scores: Mapping[str, Sequence[float]], method: str) -> list[PairedOver]:
    """The method against each other one, in the order given.

    Args:
        scores: by method, one score a data set (mean it over seeds first), higher better, the same data sets in the
            same order for all.
    Raises:
        BadInput: no such method, no peer, other numbers of data sets, a score that is not finite.
    """
    if method not in scores or len(scores) < 2:
        raise bad("scores", f"'{method}' and at least one other method", ", ".join(scores))
    table = {name: np.asarray(values, np.float64) for name, values in scores.items()}
    count = len(table[method])
    for name, values in table.items():
        if values.shape != (count,) or not count or not np.isfinite(values).all():
            raise bad(f"scores of {name}", f"{count} finite numbers, one a data set", str(values.tolist()))
    peers = [name for name in table if name != method]
    gaps = [table[method] - table[name] for name in peers]
    p = [_signed_ranks(gap) for gap in gaps]
    found = zip(peers, gaps, p, holm(p), strict=True)
    return [
        PairedOver(name, float(gap.mean()), int((gap > 0).sum()), int((gap < 0).sum()), own, corrected)
        for name, gap, own, corrected in found
    ]


def holm(p: Sequence[float]) -> list[float]:
    """Holm's corrected values: each less than 0.05 is true nineteen times in twenty for all together."""
    order, out, least = np.argsort(p, kind="stable"), [0.0] * len(p), 0.0
    for rank, place in enumerate(order):
        least = max(least, min(1.0, (len(p) - rank) * p[place]))
        out[place] = least
    return out


def _signed_ranks(gap: np.ndarray) -> float:
    """Two-sided p of Wilcoxon's signed ranks; exact up to 25 differences, ties and all, by enumerating their sums.

    Differences of 0 take ranks, and are then left out (Pratt).
    """
    from scipy.stats import norm, rankdata

    ranks = rankdata(np.round(np.abs(gap), 12))
    off = np.abs(gap) > 1e-12
    ranks, up = ranks[off], gap[off] > 0
    if not len(ranks):
        return 1.0
    total, seen = ranks.sum(), abs(2 * ranks[up].sum() - ranks.sum())
    if len(ranks) > 25:
        z = max(seen - 1, 0) / np.sqrt((ranks**2).sum())
        return float(min(1.0, 2 * norm.sf(z)))
    doubled = np.round(2 * ranks).astype(int)  # whole numbers: ties have halves
    ways = np.zeros(doubled.sum() + 1)
    ways[0] = 1
    for rank in doubled:
        ways[rank:] = ways[rank:] + ways[:-rank]
    sums = np.arange(len(ways)) / 2
    return float(ways[np.abs(2 * sums - total) >= seen - 1e-9].sum() / 2.0 ** len(ranks))
