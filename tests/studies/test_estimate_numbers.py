"""Estimates and intervals by hand: resamples, tails, the baseline's rows, scales, and who is judged how often."""

import math

import numpy as np
import pytest
from scipy.stats import beta, t

from smidgen.kit.seeds import derive_seed
from smidgen.learn.blend import tempered
from smidgen.studies import estimate as estimating
from smidgen.studies.choose import ChoiceConfig, OutOfFold, left_out
from smidgen.studies.estimate import IntervalConfig, Judged, _modest, _scale, accuracy_or_r2, estimate, judge, simple
from smidgen.tasks.metrics import METRICS

PLAIN = IntervalConfig(baseline_rows=0.0, resamples=40)
N = 12
TRUTH = np.arange(N) % 3 % 2
CHANCE = np.random.default_rng(0).dirichlet([2, 2], N)
VALUES = np.random.default_rng(1).normal(size=(2, N))


def half_of(scores, to, n, level, widen):
    spread = np.std([to(s) for s in scores if np.isfinite(s)])
    return widen * t.ppf(0.5 + level / 2, n - 1) * max(spread, 0.25 / n)


def resampled(metric, truth, predicted, unit_N, seed, draws):
    """Scores of whole units drawn anew, with the rows written out as often as they were drawn."""
    rng = np.random.default_rng(derive_seed(seed, "interval", metric.name))
    names = np.unique(unit_N)
    scores = []
    for _ in range(draws):
        drawn = rng.integers(0, len(names), len(names))
        rows = np.concatenate([np.flatnonzero(unit_N == names[u]) for u in drawn])
        scores.append(metric.score(truth[rows], predicted[rows]))
    return scores


@pytest.mark.parametrize("units", [np.arange(N), np.arange(N) // 3 + 5])
@pytest.mark.parametrize(
    "name", ["log_loss", "brier", "rmse", "mae", "mse", "r2", "auc", "balanced_accuracy", "macro_f1"]
)
def test_an_interval_is_made_of_whole_units_drawn_anew(name, units):
    metric, n = METRICS[name], len(np.unique(units))
    truth, predicted = (TRUTH, CHANCE) if metric.kind == "classification" else VALUES
    scores = resampled(metric, truth, predicted, units, 7, 40)
    value = metric.score(truth, predicted)
    if name == "r2":
        to, back = (lambda s: math.log(1 - s)), (lambda v: 1 - math.exp(v))
    elif metric.greater_is_better:
        to, back = (lambda s: math.log((s + 0.005) / (1.005 - s))), (lambda v: 1.01 / (1 + math.exp(-v)) - 0.005)
    else:
        to, back = math.log, math.exp
    half = half_of(scores, to, n, 0.9, 1.6)
    ends = sorted(float(np.clip(back(to(value) + h), -np.inf if name == "r2" else 0, np.inf)) for h in (-half, half))
    if metric.greater_is_better and name != "r2":
        ends[1] = min(ends[1], 1.0)
        size = n / 1.6**2
        few = beta.ppf([0.05, 0.95], value * size + 0.5, (1 - value) * size + 0.5)
        ends = [min(ends[0], few[0]), max(ends[1], few[1])]
    made = estimate(Judged(np.arange(N), predicted, np.ones(N)), truth, units, metric, PLAIN, 7)
    assert made.value == pytest.approx(value) and made.interval == pytest.approx(ends)


def test_an_interval_of_accuracy_is_that_of_so_many_fewer_rows():
    judged = Judged(np.arange(N), CHANCE, np.ones(N))
    right = float((CHANCE.argmax(1) == TRUTH).mean())
    for units, n in ((np.arange(N), 12), (np.arange(N) // 3, 4)):
        size = n / 1.2**2
        made = estimate(judged, TRUTH, units, METRICS["accuracy"], PLAIN, 0)
        ends = beta.ppf([0.05, 0.95], right * size + 0.5, (1 - right) * size + 0.5)
        assert made.value == right and made.interval == pytest.approx(ends)
    sure = Judged(np.arange(N), np.eye(2)[TRUTH], np.ones(N))
    all_right = estimate(sure, TRUTH, np.arange(N), METRICS["accuracy"], PLAIN, 0)
    assert all_right.high == 1.0 and all_right.low == pytest.approx(beta.ppf(0.05, 12 / 1.44 + 0.5, 0.5))
    none = estimate(Judged(np.arange(N), np.eye(2)[1 - TRUTH], np.ones(N)), TRUTH, np.arange(N), METRICS["accuracy"],
                    PLAIN, 0)  # fmt: skip
    assert none.low == 0.0 and none.high == pytest.approx(1 - all_right.low)


def test_resamples_that_agree_leave_a_quarter_of_a_row():
    judged = Judged(np.arange(N), np.full((N, 2), 0.5), np.ones(N))
    made = estimate(judged, TRUTH, np.arange(N), METRICS["log_loss"], PLAIN, 0)
    half = 1.6 * t.ppf(0.95, N - 1) * 0.25 / N
    assert made.interval == pytest.approx([math.log(2) * math.exp(-half), math.log(2) * math.exp(half)])


def test_one_unit_has_one_degree_of_freedom():
    judged = Judged(np.arange(N), CHANCE, np.ones(N))
    made = estimate(judged, TRUTH, np.zeros(N), METRICS["log_loss"], PLAIN, 0)
    half = 1.6 * t.ppf(0.95, 1) * 0.25
    assert made.interval == pytest.approx([made.value * math.exp(-half), made.value * math.exp(half)])


def test_resamples_without_a_score_are_left_out():
    """Four rows, one of them positive: without it there is no area under a curve."""
    truth, p = np.array([1, 0, 0, 0]), np.array([0.6, 0.2, 0.7, 0.4])
    judged = Judged(np.arange(4), np.stack([1 - p, p], 1), np.ones(4))
    made = estimate(judged, truth, np.arange(4), METRICS["auc"], PLAIN, 0)
    assert made.value == pytest.approx(2 / 3) and 0 <= made.low < 2 / 3 < made.high <= 1
    one = IntervalConfig(baseline_rows=0.0, resamples=1)
    assert estimate(judged, truth, np.arange(4), METRICS["log_loss"], one, 0).high > 0  # one resample has no spread


def test_rows_that_were_not_judged_are_not_counted_in_a_resample():
    judged = Judged(np.arange(3), CHANCE[:3], np.ones(3))
    made = estimate(judged, TRUTH, np.arange(N), METRICS["log_loss"], PLAIN, 0)
    rng = np.random.default_rng(derive_seed(0, "interval", "log_loss"))
    scores = []
    for _ in range(40):
        rows = rng.integers(0, N, N)
        rows = rows[rows < 3]
        if len(rows):
            scores.append(METRICS["log_loss"].score(TRUTH[rows], CHANCE[rows]))
    half = half_of(scores, math.log, N, 0.9, 1.6)
    assert made.high == pytest.approx(made.value * math.exp(half))


def test_the_baseline_weighs_as_much_as_two_rows():
    judged = Judged(np.array([0, 1, 1]), CHANCE[:3], np.array([1.0, 0.5, 0.5]))
    truth = np.array([0, 1, 1, 1])
    made = _modest(judged, truth, "classification", 2.0)
    assert made.rows.tolist() == [0, 1, 1, 0, 1, 2, 3] and made.weights.tolist() == [1, 0.5, 0.5, *[0.5] * 4]
    assert made.predicted == pytest.approx(np.concatenate([CHANCE[:3], [[0.25, 0.75]] * 4]))
    values = _modest(
        Judged(np.arange(2), np.array([5.0, 6.0]), np.ones(2)), np.array([1.0, 2.0, 6.0]), "regression", 3.0
    )
    assert values.predicted.tolist() == [5, 6, 3, 3, 3] and values.weights.tolist() == [1, 1, 1, 1, 1]
    right = Judged(np.arange(10), np.eye(2)[np.arange(10) % 2], np.ones(10))
    told = estimate(right, np.arange(10) % 2, np.arange(10), METRICS["brier"], IntervalConfig(), 0)
    assert told.value == pytest.approx(2 * 0.25 / 12)


@pytest.mark.parametrize(("name", "score", "scaled"), [
    ("log_loss", math.e, 1.0), ("rmse", 1.0, 0.0), ("rmse", 0.0, math.log(1e-300)), ("r2", 1 - math.e, 1.0),
    ("r2", 1.0, math.log(1e-300)), ("auc", 0.5, 0.0), ("auc", 1.0, math.log(201)), ("auc", 0.0, -math.log(201)),
    ("auc", 1.5, math.log(201)), ("auc", -0.5, -math.log(201)),
])  # fmt: skip
def test_a_score_is_scaled_and_back(name, score, scaled):
    to, back = _scale(METRICS[name])
    assert to(score) == pytest.approx(scaled)
    within = min(max(score, 0.0), 1.0) if name == "auc" else score
    assert back(to(score)) == pytest.approx(within, abs=1e-12)
    if name == "auc":
        assert back(50.0) == 1.0 and back(-50.0) == 0.0


# -- who is judged --


@pytest.fixture(scope="module")
def board():
    p = np.random.default_rng(0).dirichlet([1, 1], (2, 3, N))
    return OutOfFold(p, TRUTH, np.full(2, 0.5), np.arange(N))


def test_each_judged_row_weighs_one_in_all(board):
    config = ChoiceConfig(draws=6)
    judged = judge(board, config, 5)
    draws = list(left_out(board, config, 5))
    assert judged.rows.tolist() == [row for out, p in draws for _ in range(3) for row in out]
    assert np.array_equal(judged.predicted, np.concatenate([p[r] for _, p in draws for r in range(3)]))
    assert np.bincount(judged.rows, judged.weights)[np.unique(judged.rows)] == pytest.approx(1)
    assert judge(board, config, 6).rows.tolist() != judged.rows.tolist()


def test_a_large_task_is_judged_by_fewer_draws(board, monkeypatch):
    config = ChoiceConfig(draws=6)
    (first, _), (second, _), *_ = left_out(board, config, 5)
    for cells, draws in ((0, 1), (3 * 2 * len(first) - 1, 1), (3 * 2 * len(first), 2)):
        monkeypatch.setattr(estimating, "MAX_CELLS", cells)
        expected = [row for out in (first, second)[:draws] for _ in range(3) for row in out]
        assert judge(board, config, 5).rows.tolist() == expected


def test_one_candidate_is_all_its_repeats_tempered(board):
    made = simple(board, 1, METRICS["log_loss"], board.units, IntervalConfig(baseline_rows=0.0), 0.3, 0)
    p = tempered(board.predictions[1], 0.3)
    assert made.value == pytest.approx(np.mean([METRICS["log_loss"].score(TRUTH, p[r]) for r in range(3)]))
    with_rows = simple(board, 1, METRICS["log_loss"], board.units, IntervalConfig(), 0.3, 0)
    share = TRUTH.mean()
    base = -(share * math.log(share) + (1 - share) * math.log(1 - share))
    assert with_rows.value == pytest.approx((N * made.value + 2 * base) / (N + 2))  # a row counts once, not thrice


def test_beside_the_metric_classes_have_an_accuracy_and_values_an_r2():
    assert [accuracy_or_r2(kind).name for kind in ("classification", "regression")] == ["accuracy", "r2"]
