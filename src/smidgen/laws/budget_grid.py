"""One budget, two things to buy: cells of totals and shares, which share is best, where one way overtakes another.

Shared by studies of clean against cheap labels, demonstrations against preferences, answers against new questions. A
cell's purchase is nested in that of a larger budget when rows are taken from one fixed order (`nested`).

Dims: N rows, S shares, R repeats (seeds), B budgets.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from smidgen.kit.errors import bad
from smidgen.kit.seeds import derive_seed


@dataclass(frozen=True)
class Cell:
    """`first` and `second`: how many of each the money buys; `share`: of the total that goes to the first."""

    total: float
    share: float
    first: int
    second: int


def cells(totals: Sequence[float], shares: Sequence[float], prices: tuple[float, float] = (1.0, 1.0)) -> list[Cell]:
    """All cells, whole items only.

    Raises:
        BadInput: a total or a price not above 0, a share out of 0 to 1, or a total that buys nothing at a share.
    """
    for name, values in (("totals", totals), ("prices", prices)):
        wrong = [v for v in values if not v > 0]
        if wrong:
            raise bad(name, "above 0", wrong[0])
    out = []
    for total in totals:
        for share in shares:
            if not 0 <= share <= 1:
                raise bad("share", "0 to 1", share)
            first = int(share * total / prices[0] + 1e-9)
            second = int((total - first * prices[0]) / prices[1] + 1e-9) if share < 1 else 0
            if not first + second:
                raise bad("total", f"enough for one at a price of {min(prices):g}", total)
            out.append(Cell(total, share, first, second))
    return out


def nested(rows: int, seed: int, name: str = "") -> np.ndarray:
    """An order of rows `[N]`: the first n of it are what n buys, whatever else is bought."""
    return np.random.default_rng(derive_seed(seed, "nested", name)).permutation(rows)


@dataclass(frozen=True)
class Best:
    """`share` with the best mean score; `low`, `high`: shares between which it lies in nine in ten bootstrap draws of
    the repeats; `chance_S`: how often each share was the best in these."""

    share: float
    low: float
    high: float
    chance_S: np.ndarray


def best_share(shares: Sequence[float], scores_RS: np.ndarray, *, draws: int = 1000, seed: int = 0) -> Best:
    """The best share and how sure that is, from repeats of all shares on the same draws (higher is better).

    Raises:
        BadInput: scores that do not match the shares, or that are not finite.
    """
    scores_RS = np.atleast_2d(np.asarray(scores_RS, float))
    if scores_RS.shape[1] != len(shares) or not np.isfinite(scores_RS).all():
        raise bad("scores", f"finite, {len(shares)} a repeat", scores_RS.shape)
    repeats = len(scores_RS)
    picks = np.random.default_rng(seed).integers(0, repeats, (draws, repeats))
    won = scores_RS[picks].mean(1).argmax(1)
    chance_S = np.bincount(won, minlength=len(shares)) / draws
    low, high = np.quantile(np.asarray(shares)[won], [0.05, 0.95]).tolist()
    return Best(float(shares[int(scores_RS.mean(0).argmax())]), low, high, chance_S)


def regime(shares: Sequence[float], scores_RS: np.ndarray, margin: float = 0.0, sure: float = 0.8) -> str:
    """ "first", "second" or "mixed": which end wins, or a share between, in at least `sure` of the bootstrap draws and
    by more than `margin` on the mean; else "not told apart"."""
    best = best_share(shares, scores_RS)
    order = np.argsort(shares)
    inner, ends = order[1:-1], (order[0], order[-1])
    chances = {
        "second": best.chance_S[ends[0]], "first": best.chance_S[ends[1]], "mixed": float(best.chance_S[inner].sum()),
    }  # fmt: skip
    mean_S = np.asarray(scores_RS, float).mean(0)
    tops = {
        "second": mean_S[ends[0]],
        "first": mean_S[ends[1]],
        "mixed": mean_S[inner].max() if len(inner) else -np.inf,
    }
    name = max(chances, key=lambda k: chances[k])
    lead = tops[name] - max(v for k, v in tops.items() if k != name)
    return name if chances[name] >= sure and lead > margin else "not told apart"


def crossover(
    x: Sequence[float] | np.ndarray, first_RB: np.ndarray, second_RB: np.ndarray, *, draws: int = 1000, seed: int = 0
) -> tuple[float, float, float] | None:
    """Where the second way overtakes the first for good: (likely, low, high) on the axis of `x`, by straight lines
    between the logarithms; infinite ends where some draws see none. None: it does not on the mean.

    Args:
        first_RB, second_RB: scores, higher is better, on the same repeats.
    Raises:
        BadInput: x not above 0 and rising, or scores that do not match.
    """
    x_B = np.asarray(x, float)
    gap_RB = np.atleast_2d(np.asarray(second_RB, float) - np.asarray(first_RB, float))
    if not ((x_B > 0).all() and (np.diff(x_B) > 0).all()) or gap_RB.shape[1] != len(x_B):
        raise bad("x", "rising numbers above 0, one a score", x_B.tolist())
    middle = _crossing(np.log(x_B), gap_RB.mean(0))
    if not np.isfinite(middle):
        return None
    picks = np.random.default_rng(seed).integers(0, len(gap_RB), (draws, len(gap_RB)))
    found = np.sort([_crossing(np.log(x_B), gap_RB[pick].mean(0)) for pick in picks])
    low, high = found[int(0.05 * draws)], found[int(0.95 * draws)]
    return float(np.exp(middle)), float(np.exp(low)), float(np.exp(high))


def _crossing(log_x_B: np.ndarray, gap_B: np.ndarray) -> float:
    """Where the gap turns positive and stays so; the first x where it always is; infinite where it ends at or below
    0."""
    behind = np.flatnonzero(gap_B <= 0)
    if not len(behind):
        return float(log_x_B[0])
    i = int(behind[-1])
    if i == len(gap_B) - 1:
        return np.inf
    share = -gap_B[i] / (gap_B[i + 1] - gap_B[i])
    return float(log_x_B[i] + share * (log_x_B[i + 1] - log_x_B[i]))


def pareto_front(cost: Sequence[float], score: Sequence[float]) -> np.ndarray:
    """Numbers of the entries that no other one beats at its cost or less, cheapest first."""
    cost_N, score_N = np.asarray(cost, float), np.asarray(score, float)
    out, best = [], -np.inf
    for i in np.lexsort((-score_N, cost_N)):
        if score_N[i] > best:
            out.append(int(i))
            best = score_N[i]
    return np.array(out, int)
