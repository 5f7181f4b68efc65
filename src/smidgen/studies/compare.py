"""Is one candidate better than another? Differences of their losses over the same rows and repeats, with intervals.

Paired: what makes a row hard is hard for both, and falls out of the difference. The rest is as in `estimate`: two
rows' worth of the baseline, of which no candidate is better, so that the differences are those of the leaderboard; and
standard errors over rows (groups stay whole) times a factor, since training parts overlap and another draw of rows
would give other models. Few rows that agree are no certainty: the spread counts two rows more, half of each side of
the largest difference that was seen (Agresti and Min 2005, "Simple improved confidence intervals for comparing matched
proportions"). The intervals hold together: Bonferroni over all pairs shown.
"""

from typing import Any

import numpy as np
from scipy.stats import t

from smidgen.kit.numbers import short
from smidgen.learn.blend import tempered
from smidgen.studies.candidates import Candidate
from smidgen.studies.choose import Choice, OutOfFold
from smidgen.studies.estimate import IntervalConfig
from smidgen.tasks.metrics import brier_losses, row_losses

MOST = 12
WIDEN = 1.8  # for losses; settled on the development tables by `benchmarks/comparisons.py`: `estimate`'s is short
# by which loss of a row candidates are compared; metrics that are no mean over rows go by the proper loss
LOSSES = {
    "log_loss": "log_loss",
    "brier": "brier",
    "accuracy": "error",
    "rmse": "mse",
    "mse": "mse",
    "r2": "mse",
    "mae": "mae",
}


def compare(
    board: OutOfFold,
    tried: list[Candidate],
    choice: Choice,
    metric: str,
    leaderboard: list[dict[str, Any]],
    config: IntervalConfig,
) -> dict[str, Any] | None:
    """All pairs of the best candidates; None where there are fewer than two with the same repeats.

    Args:
        leaderboard: says which are best, and how they are called.
    Returns:
        `{"metric", "level", "names", "gaps"}`; `gaps[i][j]` is None (i = j) or `[mean, low, high]` of loss i less
        loss j: below 0, i is better.
    """
    place = {c.key: k for k, c in enumerate(tried)}
    best = [row for row in leaderboard if (row["method"], row["view"]) in place and row["estimate"] is not None][:MOST]
    if len(best) < 2:
        return None
    name = LOSSES.get(metric, "log_loss" if board.classes else "mse")
    which = [place[row["method"], row["view"]] for row in best]
    losses = np.stack([losses_of(board, k, float(choice.log_t[k]), name) for k in which])
    mean, low, high = gaps(losses, board.units, name, config)
    return {
        "metric": name,
        "level": config.level,
        "names": [{k: row[k] for k in ("method", "view", "params")} for row in best],
        "gaps": [
            [None if i == j else [short(m[i, j]) for m in (mean, low, high)] for j in range(len(best))]
            for i in range(len(best))
        ],
    }


def losses_of(board: OutOfFold, k: int, log_t: float, name: str) -> np.ndarray:
    """Candidate k's loss of each row `[N]`, repeats averaged."""
    p = tempered(board.predictions[k], log_t)
    if name == "error":
        return (p.argmax(-1) != board.truth).mean(0)
    if name == "mae":
        return np.abs(p - board.truth).mean(0)
    if name == "brier":
        return np.mean([brier_losses(board.truth, r) for r in p], 0)
    return np.mean([row_losses("classification" if board.classes else "regression", board.truth, r) for r in p], 0)


def gaps(
    losses: np.ndarray, units: np.ndarray, name: str, config: IntervalConfig
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean differences `[K, K]` of losses `[K, N]`, and both ends of their simultaneous intervals."""
    count, n = losses.shape
    unit_of = np.unique(units, return_inverse=True)[1]
    u = int(unit_of.max()) + 1
    total = n + config.baseline_rows
    whole, off = (np.stack([np.bincount(unit_of, row, u) for row in part]) for part in (losses, _centred(losses)))
    least, widen = (1.0, config.widen_accuracy) if name == "error" else (0.0, WIDEN)
    spread = np.empty((count, count))
    for i in range(count):
        largest = np.maximum(np.abs(whole[i] - whole).max(-1), least)
        spread[i] = ((off[i] - off) ** 2).sum(-1) * u / max(u - 1, 1) + largest**2
    tail = (1 - config.level) / (count * (count - 1) / 2) / 2
    half = widen * float(t.ppf(1 - tail, max(u - 1, 1))) * np.sqrt(spread) / total
    mean = (losses.sum(-1)[:, None] - losses.sum(-1)[None]) / total
    return mean, mean - half, mean + half


def _centred(losses: np.ndarray) -> np.ndarray:
    return losses - losses.mean(-1, keepdims=True)
