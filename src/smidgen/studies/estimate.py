"""How good the chosen blend will be on new rows: an estimate that pays for the choice, and an interval around it.

The per-row predictions come from `choose.left_out`: each row is judged only by choices that did not see it. To these
are added two rows' worth of the baseline's predictions: few rows seldom hold the rare hard case, so few rows alone
promise too much. The interval adds what resampling the same few rows cannot show (another draw of training rows
would give another model) by one factor. Both were settled for coverage on the development tables.
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import beta, t

from smidgen.kit.seeds import derive_seed
from smidgen.learn.blend import tempered
from smidgen.studies.choose import ChoiceConfig, OutOfFold, left_out
from smidgen.tasks.metrics import METRICS, Metric

MAX_CELLS = 3_000_000  # prediction cells kept for the estimate


@dataclass(frozen=True, kw_only=True)
class IntervalConfig:
    """Settled on the development tables (`benchmarks/priors.py calibrate`)."""

    level: float = 0.9
    widen: float = 1.6  # standard errors are multiplied by this ...
    widen_accuracy: float = 1.2  # ... for accuracy by this
    baseline_rows: float = 2.0  # rows' worth of the baseline's predictions that every estimate includes
    resamples: int = 200


@dataclass(frozen=True)
class Estimate:
    """A score expected on new rows, in the metric's own sign, with its interval at `level`."""

    value: float
    low: float
    high: float

    @property
    def interval(self) -> list[float]:
        return [self.low, self.high]


@dataclass
class Judged:
    """Predictions of rows by choices that did not see them: row `rows[j]` was predicted as `predicted[j]`, with
    weight `weights[j]`.

    The weights of one row sum to 1.
    """

    rows: np.ndarray
    predicted: np.ndarray
    weights: np.ndarray


def judge(board: OutOfFold, config: ChoiceConfig, seed: int) -> Judged:
    """All left-out predictions, flattened. A row that no draw left out is not judged."""
    rows, predicted, cells = [], [], 0
    for out, p in left_out(board, config, seed):
        for r in range(p.shape[0]):
            rows.append(out)
            predicted.append(p[r])
        cells += p.size
        if cells > MAX_CELLS:
            break
    flat = np.concatenate(rows)
    counts = np.bincount(flat, minlength=board.size)
    return Judged(flat, np.concatenate(predicted), 1.0 / counts[flat])


def estimate(
    judged: Judged, truth: np.ndarray, units: np.ndarray, metric: Metric, config: IntervalConfig, seed: int
) -> Estimate:
    """The metric over the judged rows, with an interval from resampling rows (groups stay whole)."""
    judged = _modest(judged, truth, metric.kind, config.baseline_rows)
    own = truth[judged.rows]
    value = metric.score(own, judged.predicted, judged.weights)
    names, unit_of = np.unique(units, return_inverse=True)
    n = len(names)
    if metric.name == "accuracy":
        size = n / config.widen_accuracy**2
        tail = (1 - config.level) / 2
        low = beta.ppf(tail, value * size + 0.5, (1 - value) * size + 0.5)
        high = beta.ppf(1 - tail, value * size + 0.5, (1 - value) * size + 0.5)
        return Estimate(value, min(float(low), value), max(float(high), value))
    to, back = _scale(metric)
    rng = np.random.default_rng(derive_seed(seed, "interval", metric.name))
    scores = []
    for _ in range(config.resamples):
        m = np.bincount(rng.integers(0, n, n), minlength=n)[unit_of][judged.rows]
        kept = m > 0
        if kept.any():
            score = metric.score(own[kept], judged.predicted[kept], judged.weights[kept] * m[kept])
            if np.isfinite(score):
                scores.append(to(score))
    spread = float(np.std(scores)) if len(scores) > 1 else 0.0
    half = config.widen * float(t.ppf(0.5 + config.level / 2, max(n - 1, 1))) * max(spread, 0.25 / n)
    ends = sorted((back(to(value) - half), back(to(value) + half)))
    if metric.greater_is_better and metric.name != "r2":  # equal resamples of few rows are no certainty
        size = n / config.widen**2
        tails = (1 - config.level) / 2, (1 + config.level) / 2
        few = beta.ppf(tails, value * size + 0.5, (1 - value) * size + 0.5)
        ends = [min(ends[0], float(few[0])), max(ends[1], float(few[1]))]
    return Estimate(value, min(ends[0], value), max(ends[1], value))


def _modest(judged: Judged, truth: np.ndarray, kind: str, rows: float) -> Judged:
    """With the baseline's predictions of every row, which together weigh as much as `rows` judged rows."""
    n = len(truth)
    if kind == "classification":
        shares = np.bincount(truth, minlength=judged.predicted.shape[1]) / n
        baseline = np.repeat(shares[None], n, 0)
    else:
        baseline = np.full(n, truth.mean())
    return Judged(
        np.concatenate([judged.rows, np.arange(n)]),
        np.concatenate([judged.predicted, baseline]),
        np.concatenate([judged.weights, np.full(n, rows / n)]),
    )


def _scale(metric: Metric):
    """On which scale the score's error is about normal: log for losses, logit for scores between 0 and 1, as is
    for r2.
    """
    if metric.name == "r2":  # 1 - r2 is a loss
        return (lambda s: np.log(max(1 - s, 1e-300))), (lambda v: 1 - float(np.exp(v)))
    if not metric.greater_is_better:
        return (lambda s: np.log(max(s, 1e-300))), (lambda v: float(np.exp(v)))
    return (lambda s: np.log((min(max(s, 0), 1) + 5e-3) / (1.005 - min(max(s, 0), 1)))), (
        lambda v: float(np.clip(1.01 / (1 + np.exp(-v)) - 5e-3, 0, 1))
    )


def simple(
    board: OutOfFold, k: int, metric: Metric, units: np.ndarray, config: IntervalConfig, log_t: float, seed: int
) -> Estimate:
    """One candidate's own cross-validated score (no choice is corrected for): a row of the leaderboard."""
    p = tempered(board.predictions[k], log_t)
    repeats = p.shape[0]
    judged = Judged(
        np.tile(np.arange(board.size), repeats), p.reshape(-1, *p.shape[2:]), np.full(repeats * board.size, 1 / repeats)
    )
    return estimate(judged, board.truth, units, metric, config, seed)


def accuracy_or_r2(kind: str) -> Metric:
    return METRICS["accuracy" if kind == "classification" else "r2"]
