"""What a larger bound on the saved model would bring: the best choice of the study's own trials under each bound.

Nothing is trained: all candidates were measured, and the bound only decided which could be chosen. Each choice is
judged on rows that it did not see (`estimate.judge`), the same rows for each bound, so that differences are paired.

Dims: K draws, N rows.
"""

from dataclasses import dataclass

import numpy as np

from smidgen.kit.errors import BadInput
from smidgen.kit.seeds import derive_seed
from smidgen.studies.choose import choose
from smidgen.studies.compare import WIDEN
from smidgen.studies.estimate import Judged, judge
from smidgen.studies.losses import Scale
from smidgen.studies.size import limit_for, needs, within_size
from smidgen.studies.study_board import StudyBoard

TIMES = (2, 4, 10)  # the present bound
TINY = 1e-4  # a loss below it says nothing in proportion


@dataclass(frozen=True)
class Rung:
    """A bound in bytes, and plausible changes of the log loss from the present one `[K]`."""

    limit: int
    change_K: np.ndarray


def whole(known: StudyBoard) -> int:
    """The bound from which on it decides nothing: all that would be chosen without one fits."""
    board = known.board(known.tried)
    chosen = choose(board, known.race.choice).weights > 0
    need = needs(known.tried, known.sizes, known.race)
    return limit_for(float(need[chosen].sum()))


def ladder(known: StudyBoard, scale: Scale, limit: int, draws: int, seed: int) -> list[Rung]:
    """The bounds above `limit` that are worth a look, smallest first; none where `limit` decides nothing."""
    top = whole(known)
    if top <= limit:
        return []
    board = known.board(known.tried)

    def judged(bound: int) -> tuple[np.ndarray, Judged]:
        choice, own = within_size(known.tried, board, known.race, known.sizes, bound)
        return choice.weights, judge(own, known.race.choice, seed)

    try:
        last, now = judged(limit)
    except BadInput:  # the bound was met with other sizes: those of the members fitted on all rows
        return []
    out = []
    for bound in [*(limit * t for t in TIMES if limit * t < top), top]:
        weights, then = judged(bound)
        if not np.allclose(weights, last):
            out.append(Rung(bound, changes(now, then, known, scale, draws, seed)))
        last = weights
    return out


def changes(now: Judged, then: Judged, known: StudyBoard, scale: Scale, draws: int, seed: int) -> np.ndarray:
    """Log of the ratio of losses under resampling of the rows, widened as paired differences are `[K]`."""
    truth, units = known.race.task.target, known.race.units
    names, unit_N = np.unique(units, return_inverse=True)
    rng = np.random.default_rng(derive_seed(seed, "size"))

    def log_loss(judged: Judged, m_N: np.ndarray) -> float:
        weights = judged.weights * m_N[judged.rows]
        kept = weights > 0
        score = scale.metric.score(truth[judged.rows][kept], judged.predicted[kept], weights[kept])
        return float(np.log(max(scale.loss(score), TINY)))

    middle = log_loss(then, np.ones(len(truth))) - log_loss(now, np.ones(len(truth)))
    found = []
    for _ in range(min(draws, 200)):
        m_N = np.bincount(rng.integers(0, len(names), len(names)), minlength=len(names))[unit_N].astype(float)
        found.append(log_loss(then, m_N) - log_loss(now, m_N))
    off = np.nan_to_num(np.array(found) - middle)
    return middle + WIDEN * (rng.choice(off, draws) - off.mean())
