"""The estimate's interval: around its value, wider where there is less, within what the metric can be."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smidgen.studies.choose import ChoiceConfig, OutOfFold
from smidgen.studies.estimate import IntervalConfig, Judged, estimate, judge, simple
from smidgen.tasks.metrics import METRICS

CONFIG = IntervalConfig(resamples=60)
PLAIN = replace(CONFIG, baseline_rows=0.0)
CLASSES = [name for name, m in METRICS.items() if m.kind == "classification"]
VALUES = [name for name, m in METRICS.items() if m.kind == "regression"]


def judged_classes(n, classes, seed, skill=1.0, repeats=1):
    rng = np.random.default_rng(seed)
    truth = (
        np.r_[np.arange(classes), rng.integers(0, classes, n - classes)]
        if n >= classes
        else rng.integers(0, classes, n)
    )
    z = rng.normal(size=(repeats * n, classes)) + skill * np.eye(classes)[np.tile(truth, repeats)]
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    return Judged(np.tile(np.arange(n), repeats), p, np.full(repeats * n, 1 / repeats)), truth


def judged_values(n, seed, noise=0.5, scale=1.0):
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=n)
    return Judged(np.arange(n), scale * (truth + noise * rng.normal(size=n)), np.ones(n)), scale * truth


@given(
    st.sampled_from(CLASSES),
    st.integers(4, 60),
    st.integers(2, 4),
    st.integers(0, 10**6),
    st.sampled_from([0.0, 1.0, 3.0, 60.0, -60.0]),
)
@settings(max_examples=60, deadline=None)
def test_around_the_value_and_within_the_possible(name, n, classes, seed, skill):
    judged, truth = judged_classes(n, classes, seed, skill)
    e = estimate(judged, truth, np.arange(n), METRICS[name], CONFIG, seed)
    plain = estimate(judged, truth, np.arange(n), METRICS[name], PLAIN, seed)
    assert plain.value == pytest.approx(METRICS[name].score(truth, judged.predicted), abs=1e-12)
    for made in (e, plain):
        assert made.low <= made.value <= made.high and made.interval == [made.low, made.high]
    if METRICS[name].greater_is_better:
        assert e.low >= 0 and e.high <= 1
    else:
        assert e.low >= 0
    assert e.high > e.low  # few rows never make it certain


@given(
    st.sampled_from(VALUES),
    st.integers(4, 60),
    st.integers(0, 10**6),
    st.sampled_from([0.0, 1e-12, 0.5, 3.0]),
    st.sampled_from([1e-12, 1.0, 1e12]),
)
@settings(max_examples=60, deadline=None)
def test_around_the_value_in_any_unit(name, n, seed, noise, scale):
    judged, truth = judged_values(n, seed, noise, scale)
    for config in (CONFIG, PLAIN):
        e = estimate(judged, truth, np.arange(n), METRICS[name], config, seed)
        assert e.low <= e.value <= e.high and np.isfinite([e.low, e.high]).all()
        assert e.high <= 1 if name == "r2" else e.low >= 0


@pytest.mark.parametrize("name", ["log_loss", "accuracy", "brier", "rmse", "mae", "r2"])
def test_few_rows_promise_less_than_they_show(name):
    """Two rows' worth of the baseline are in every estimate: it matters at n = 10, and not at n = 1000."""
    gaps = []
    for n in (10, 1000):
        judged, truth = judged_classes(n, 2, 0, skill=5.0) if name in CLASSES else judged_values(n, 0, noise=0.1)
        kind = METRICS[name]
        with_it, without = (estimate(judged, truth, np.arange(n), kind, c, 0).value for c in (CONFIG, PLAIN))
        gaps.append((without - with_it) * (1 if kind.greater_is_better else -1))
    assert gaps[0] > 10 * gaps[1] > 0
    if name == "accuracy":
        assert gaps[0] == pytest.approx((1 - 0.5) * 2 / 12, abs=0.06)


@pytest.mark.parametrize(
    "name", ["log_loss", "accuracy", "balanced_accuracy", "macro_f1", "auc", "brier", "rmse", "mae", "r2"]
)
def test_less_is_less_certain(name):
    widths = []
    for n in (10, 40, 640):
        made = [judged_classes(n, 2, s) if name in CLASSES else judged_values(n, s) for s in range(8)]
        ends = [estimate(j, t, np.arange(n), METRICS[name], CONFIG, 0) for j, t in made]
        widths.append(np.mean([e.high - e.low for e in ends]))
    assert widths[0] > widths[1] > widths[2]


@pytest.mark.parametrize("name", ["accuracy", "balanced_accuracy", "macro_f1", "auc"])
@pytest.mark.parametrize("config", [CONFIG, PLAIN])
def test_ten_rows_all_right_are_no_certainty(name, config):
    """Every resample of them is all right as well; that is no reason to promise it."""
    judged, truth = judged_classes(10, 2, 0, skill=50.0)
    e = estimate(judged, truth, np.arange(10), METRICS[name], config, 0)
    assert e.low < 0.9 and e.high > 0.98


def test_a_higher_level_and_a_larger_factor_are_wider():
    judged, truth = judged_classes(40, 3, 0)
    for name in ("log_loss", "accuracy", "auc"):
        e = [
            estimate(judged, truth, np.arange(40), METRICS[name], c, 0)
            for c in (
                replace(CONFIG, level=0.5),
                CONFIG,
                replace(CONFIG, level=0.99),
                replace(CONFIG, widen=4.0, widen_accuracy=4.0),
            )
        ]
        width = [x.high - x.low for x in e]
        assert width[0] < width[1] < width[2] and width[1] < width[3]
        assert len({x.value for x in e}) == 1


def test_groups_are_resampled_as_a_whole():
    """40 rows of 5 persons say less than 40 rows of 40; copies of a row say nothing more."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(5), 8)
    hard = rng.normal(size=5)[groups] * 2
    truth = rng.integers(0, 2, 40)
    up = 1 / (1 + np.exp(-hard * np.where(truth, 1, -1)))
    judged = Judged(np.arange(40), np.c_[1 - up, up], np.ones(40))
    for name in ("log_loss", "accuracy"):
        together, apart = (
            estimate(judged, truth, u, METRICS[name], IntervalConfig(), 0) for u in (groups, np.arange(40))
        )
        assert together.value == apart.value and together.high - together.low > apart.high - apart.low


def test_repeats_of_the_same_rows_are_not_more_rows():
    judged, truth = judged_classes(30, 2, 0)
    three = Judged(np.tile(judged.rows, 3), np.tile(judged.predicted, (3, 1)), np.full(90, 1 / 3))
    for name in ("log_loss", "accuracy", "auc"):
        a, b = (estimate(j, truth, np.arange(30), METRICS[name], CONFIG, 0) for j in (judged, three))
        assert a.interval == pytest.approx(b.interval) and a.value == pytest.approx(b.value)


def test_the_interval_covers():
    """Of a fixed model's accuracy and log loss on new rows: 90 % intervals hold in well above 80 % of draws."""
    held = {"accuracy": 0, "log_loss": 0}
    _, big = judged_classes(40_000, 2, 99)
    judged, truth = judged_classes(40_000, 2, 99)
    for name in held:
        target = METRICS[name].score(truth, judged.predicted)
        for s in range(60):
            rows = np.random.default_rng(s).choice(40_000, 40, replace=False)
            part = Judged(np.arange(40), judged.predicted[rows], np.ones(40))
            e = estimate(part, big[rows], np.arange(40), METRICS[name], CONFIG, s)
            held[name] += e.low <= target <= e.high
    assert all(count >= 50 for count in held.values())


def test_the_same_seed_is_the_same_interval_and_one_candidate_is_its_own_score():
    rng = np.random.default_rng(0)
    p = rng.dirichlet([1, 1], (2, 3, 20))
    truth = rng.integers(0, 2, 20)
    board = OutOfFold(p, truth, np.full(2, 0.5), np.arange(20))
    one = simple(board, 1, METRICS["log_loss"], board.units, PLAIN, 0.0, 0)
    assert one == simple(board, 1, METRICS["log_loss"], board.units, PLAIN, 0.0, 0)
    assert one.value == pytest.approx(np.mean([METRICS["log_loss"].score(truth, p[1, r]) for r in range(3)]))
    assert one.interval != simple(board, 1, METRICS["log_loss"], board.units, PLAIN, 0.0, 1).interval


def test_two_units_are_enough_to_be_judged():
    units = np.array([0, 0, 1, 1])
    board = OutOfFold(np.full((2, 1, 4, 2), 0.5), np.array([0, 1, 0, 1]), np.full(2, 0.5), units)
    e = estimate(judge(board, ChoiceConfig(draws=20), 0), board.truth, units, METRICS["log_loss"], CONFIG, 0)
    assert e.value == pytest.approx(np.log(2)) and e.low < e.value < e.high
