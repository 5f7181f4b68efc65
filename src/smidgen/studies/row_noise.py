"""How far a score on few rows may lie from the true one, for metrics whose noise no law knows: rows drawn anew.

The noise of errors, log losses and RMSE was measured on other tasks (`laws.curve`). An AUC or an F1 is neither a count
of rows nor a mean over them: two scores of equal value may be known very differently well.
"""

from collections.abc import Mapping

import numpy as np

from smidgen.kit.seeds import derive_seed
from smidgen.studies.losses import Scale
from smidgen.tasks.splits import units_of
from smidgen.tasks.task import Task

RESAMPLES = 200
TINY = 1e-4  # a loss below it says nothing in proportion
LEAST = 0.05
FEW = 3.0  # rows' worth of loss, below which resamples agree too well: then at least the noise of so many errors


def row_noise(task: Task, scale: Scale, results: Mapping[str, np.ndarray], seed: int) -> float | None:
    """The sd of the log loss under resampling of the rows (groups stay whole), from predictions by draw; None where
    the metric's noise is known, or nothing was measured."""
    whole = [p for draw, p in results.items() if draw.startswith("cv")] or list(results.values())
    if scale.is_known or not whole:
        return None
    rows = np.flatnonzero(np.isfinite(whole[0].reshape(len(task), -1)).all(1))
    truth, p = task.target[rows], whole[0][rows]
    names, unit_N = np.unique(units_of(task)[rows], return_inverse=True)
    rng = np.random.default_rng(derive_seed(seed, "noise", scale.metric.name))
    loss, least = scale.loss(scale.metric.score(truth, p)), LEAST
    if scale.family == "error" and loss * len(names) < FEW:
        share = (loss * len(names) + 0.5) / (len(names) + 1)
        least = float(np.sqrt((1 - share) / (share * len(names))))
    logs = []
    for _ in range(RESAMPLES):
        m_N = np.bincount(rng.integers(0, len(names), len(names)), minlength=len(names))[unit_N].astype(float)
        kept = m_N > 0
        score = scale.metric.score(truth[kept], p[kept], m_N[kept])
        if np.isfinite(score):  # AUC has no value where a class is missing
            logs.append(np.log(max(scale.loss(score), loss / 4, TINY)))
    return max(float(np.std(logs)), least) if len(logs) > 1 else 1.0
