"""What is shown of a result, number by number: leaderboards, calibration, doubts, curves, and points of a plan."""

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from smidgen.laws.curve import Point
from smidgen.studies import measured as module
from smidgen.studies import summary
from smidgen.studies.budget_split import SHARES
from smidgen.studies.candidates import BASELINE, Candidate, Skipped
from smidgen.studies.choose import Choice, ChoiceConfig, OutOfFold, choose
from smidgen.studies.curve import curve_draws, curve_member, curve_points, curve_sizes
from smidgen.studies.doubts import FAR, doubted, doubts, gaps, named, surely_wrong, thresholds
from smidgen.studies.estimate import Estimate, IntervalConfig, Judged, estimate, simple
from smidgen.studies.losses import Scale
from smidgen.studies.measured import Measured, measure, rough
from smidgen.studies.prices import offers_of
from smidgen.studies.purchases import all_draws
from smidgen.studies.ready import Ready
from smidgen.tasks.metrics import METRICS
from smidgen.tasks.read import read
from smidgen.tasks.task import Column

N = 24
INTERVAL = IntervalConfig(resamples=20)


def table(n=N, classes=2, **more):
    rng = np.random.default_rng(0)
    return pd.DataFrame({"a": rng.normal(size=n), **more, "y": np.arange(n) % classes})


@pytest.fixture(scope="module")
def task():
    return read(table(), "y", kind="classification")


@pytest.fixture(scope="module")
def values():
    return read(table().assign(y=np.linspace(1, 5, N)), "y", kind="regression")


# -- the leaderboard --


@pytest.mark.parametrize("name", ["log_loss", "accuracy"])
def test_the_best_come_first_whichever_way_is_better_and_the_skipped_last(task, name):
    rng, metric = np.random.default_rng(1), METRICS[name]
    tried = [Candidate(f"learn/{m}", "linear", params={"k": i}) for i, m in enumerate("dcba")]
    board = OutOfFold(rng.dirichlet([1, 1], (4, 2, N)), task.target, np.full(4, 0.25), np.arange(N))
    own = OutOfFold(rng.dirichlet([1, 1], (1, 3, N)), task.target, np.ones(1), np.arange(N))
    choice = Choice(np.array([0.25, 0.0, 0.75, 0.0]), np.array([0.1, 0.2, 0.0, -0.1]))
    gone = Candidate("learn/gone", "tree")
    rows = summary.leaderboard(board, tried, choice, metric, [(gone, own, "stopped early")],
                               [Skipped("learn/never", "", "too slow")], {tried[0].key: 1.23456, gone.key: 9.0},
                               INTERVAL, 3)  # fmt: skip
    assert rows[-1]["note"] == "too slow" and rows[-1]["method"] == "learn/never" and not rows[-1]["chosen"]
    scores = [r["estimate"] for r in rows[:-1]]
    assert scores == sorted(scores, reverse=name == "accuracy") and len(rows) == 6
    by = {r["method"][6:]: r for r in rows}
    for k, c in enumerate(tried):
        told = simple(board, k, metric, board.units, INTERVAL, float(choice.log_t[k]), 3)
        row = by[c.method[6:]]
        assert (row["estimate"], row["interval"], row["weight"]) == (told.value, told.interval, choice.weights[k])
        assert row["params"] == {"k": k} and row["repeats"] == 2 and row["chosen"] == (k in (0, 2)) and not row["note"]
    log_t = choose(own, ChoiceConfig()).log_t[0]
    left = by["gone"]
    assert left["estimate"] == simple(own, 0, metric, own.units, INTERVAL, log_t, 3).value
    assert (left["repeats"], left["weight"], left["chosen"], left["note"]) == (3, 0.0, False, "stopped early")
    assert (by["d"]["seconds"], left["seconds"], by["c"]["seconds"]) == (1.235, 9.0, 0.0)


def test_equals_stand_by_name_and_view(task):
    tried = [Candidate("learn/b", "x"), Candidate("learn/a", "y"), Candidate("learn/a", "x")]
    board = OutOfFold(np.full((3, 1, N, 2), 0.5), task.target, np.full(3, 1 / 3), np.arange(N))
    for name in ("log_loss", "accuracy"):
        rows = summary.leaderboard(board, tried, Choice(np.ones(3) / 3, np.zeros(3)), METRICS[name], [], [], {},
                                   INTERVAL, 0)  # fmt: skip
        assert [(r["method"][6:], r["view"]) for r in rows] == [("a", "x"), ("a", "y"), ("b", "x")]


def test_the_baseline_is_scored_over_all_repeats_if_it_was_tried(task, values):
    tried = [Candidate("learn/a", "x"), Candidate(BASELINE, "linear")]
    p = np.random.default_rng(0).dirichlet([1, 1], (2, 3, N))
    board = OutOfFold(p, task.target, np.full(2, 0.5), np.arange(N))
    told = summary.baseline(board, tried, METRICS["log_loss"], "classification")
    assert told == {
        "estimate": pytest.approx(np.mean([METRICS["log_loss"].score(task.target, p[1, r]) for r in range(3)])),
        "accuracy": pytest.approx(np.mean([METRICS["accuracy"].score(task.target, p[1, r]) for r in range(3)])),
    }
    assert summary.baseline(board, tried[:1], METRICS["log_loss"], "classification") is None
    flat = OutOfFold(np.full((1, 2, N), 3.0), values.target, np.ones(1), np.arange(N))
    alone = summary.baseline(flat, tried[1:], METRICS["mae"], "regression")
    assert alone is not None and alone["estimate"] == pytest.approx(np.abs(values.target - 3).mean())
    assert alone["r2"] == pytest.approx(0.0, abs=1e-9)


# -- what is measured --


def judged_of(task, classes=2):
    p = np.random.default_rng(2).dirichlet(np.ones(classes), len(task))
    return Judged(np.arange(len(task)), p, np.ones(len(task)))


def test_accuracy_is_told_beside_and_once_where_it_is_the_metric(task):
    judged = judged_of(task)
    for name in ("log_loss", "accuracy"):
        told = summary.measured(judged, task, np.arange(N), METRICS[name], INTERVAL, 4)
        main, right = (estimate(judged, task.target, np.arange(N), METRICS[m], INTERVAL, 4) for m in (name, "accuracy"))
        assert (told["estimate"], told["interval"], told["level"]) == (main.value, main.interval, 0.9)
        assert (told["accuracy"], told["accuracy_interval"]) == (right.value, right.interval)
        assert told["residuals"] is None and told["doubts"]["counts"]["wrong"] == int(
            (judged.predicted.argmax(1) != task.target).sum()
        )
        counts = [b["count"] for b in told["calibration"]]
        assert len(counts) == 8 and sum(counts) == N and max(counts) - min(counts) <= 2


@pytest.mark.parametrize(("classes", "shown"), [(20, True), (21, False)])
def test_many_classes_have_no_table(classes, shown):
    task = read(table(63, classes), "y", kind="classification")
    told = summary.measured(judged_of(task, classes), task, np.arange(63), METRICS["accuracy"], INTERVAL, 0)
    assert (told["confusion"] is not None) == shown and told["calibration"]
    if shown:
        assert np.shape(told["confusion"]) == (20, 20) and np.sum(told["confusion"]) == 63


def test_values_are_thinned_evenly_for_a_picture(values, monkeypatch):
    judged = Judged(np.r_[np.arange(1, N), 5], np.r_[np.arange(1.0, N), 9.0], np.r_[np.ones(4), 0.5, np.ones(18), 0.5])
    told = summary.measured(judged, values, np.arange(N), METRICS["rmse"], INTERVAL, 0)
    assert told["residuals"]["truth"] == values.target[1:].tolist()
    assert told["residuals"]["predicted"] == [1, 2, 3, 4, 7, *range(6, N)] and told["calibration"] is None
    assert "r2_interval" in told and told["confusion"] is None
    monkeypatch.setattr(summary, "MAX_POINTS", 3)
    thin = summary.measured(judged, values, np.arange(N), METRICS["rmse"], INTERVAL, 0)
    assert thin["residuals"]["truth"] == values.target[[1, 12, 23]].tolist()


def test_how_the_data_was_understood(task, values):
    told = summary.described(replace(task, unlabelled=task.frame.iloc[:3]))
    assert (told["target"], told["kind"], told["n"], told["unlabelled"]) == ("y", "classification", N, 3)
    assert (told["classes"], told["class_counts"]) == ([0, 1], [12, 12])
    assert told["columns"] == [{"name": "a", "kind": "number", "note": ""}]
    assert summary.described(values)["class_counts"] is None and summary.described(values)["unlabelled"] == 0
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", summary.now())


# -- doubts --


def test_a_label_is_doubted_by_thresholds_of_both_classes():
    truth = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2])
    own = np.array([0.9, 0.9, 0.9, 0.1, 0.8, 0.8, 0.2, 0.5, 0.5])
    p = np.zeros((9, 3))
    p[np.arange(9), truth] = own
    p[np.arange(9), (truth + 1) % 3] = 1 - own
    limits = thresholds(p, truth)
    assert limits.tolist() == pytest.approx([0.7, 0.6, np.inf])  # a class of two rows says nothing
    assert doubted(p, truth).tolist() == [3] and FAR == 0.3  # 0.1 of 0.7; row 6 points to the class of two rows
    p[6] = [0.8, 0.2, 0.0]
    assert doubted(p, truth).tolist() == [3] and doubted(p, truth, 0.34).tolist() == [3, 6]  # a third of 0.6
    p[3] = [0.1, 0.59, 0.31]
    assert doubted(p, truth).tolist() == []  # below what its likeliest class has
    assert thresholds(np.array([[0.0, 1.0]] * 3), np.zeros(3, int)).tolist() == [1e-300, np.inf]


def test_the_surest_errors_come_first():
    p = np.array([[0.9, 0.1], [0.3, 0.7], [0.2, 0.8], [0.55, 0.45], [0.2, 0.8]])
    assert surely_wrong(p, np.array([0, 0, 0, 1, 0])).tolist() == [2, 4, 1, 3]


def test_gaps_are_in_robust_standard_deviations():
    off = np.array([-1.0, 0.0, 1.0, 2.0, 10.0])
    assert gaps(np.zeros(5), off) == pytest.approx((off - 1) / 1.4826)
    mostly = np.array([0.0, 0, 0, 0, 6.0])
    assert gaps(np.zeros(5), mostly) == pytest.approx(mostly / (math.sqrt(math.pi / 2) * 1.2))
    assert gaps(np.ones(3), np.ones(3)).tolist() == [0, 0, 0]


def test_rows_are_listed_with_what_was_said_of_them(task, values):
    p = np.where(np.arange(2) == task.target[:, None], 0.9, 0.1)
    p[3] = [0.987654321, 0.012345679]
    told = doubts(Judged(np.arange(N), p, np.ones(N)), task)
    row = {"row": 4, "name": "", "truth": 1, "predicted": 0, "probability": 0.987654, "given": 0.0123457}
    assert told == {"wrong": [row], "labels": [row], "counts": {"wrong": 1, "labels": 1}}
    off = np.tile([-0.1, 0.1], N // 2)
    unit = 0.1 * 1.4826
    off[[2, 7, 9]] = np.array([1.9, -3.4, 3.6]) * unit
    seen = doubts(Judged(np.arange(N), values.target - off, np.ones(N)), values)
    assert (
        seen is not None
        and [r["row"] for r in seen["wrong"]] == [10, 8]
        and seen["counts"] == {"wrong": 2, "labels": 1}
    )
    assert [r["row"] for r in seen["labels"]] == [10] and seen["labels"][0]["truth"] == values.target[9]
    assert seen["labels"][0]["gap"] == pytest.approx(3.6, rel=0.05) and seen["wrong"][1]["gap"] < 0


def test_a_picture_is_named_below_its_folder(task):
    frame = pd.DataFrame({"photo": ["/in/a/b.png", "/out/c.png", None]})
    columns = (Column(name="photo", kind="image"),)
    photos: Any = replace(task, frame=frame, columns=columns, folder=Path("/in"), rows=np.array([4, 5, 6]))
    assert [named(photos, i) for i in range(3)] == [
        {"row": 4, "name": "a/b.png"}, {"row": 5, "name": "c.png"}, {"row": 6, "name": ""}
    ]  # fmt: skip
    assert named(replace(photos, folder=None, rows=None), 0) == {"row": None, "name": "b.png"}
    assert named(task, 2) == {"row": 3, "name": ""}


# -- curves --


def test_sizes_are_quarters_with_two_rows_a_class():
    sizes = {(n, c): curve_sizes(read(table(n, c), "y", kind="classification")) for n, c in
             ((24, 2), (16, 2), (15, 2), (16, 4), (31, 3))}  # fmt: skip
    assert sizes == {
        (24, 2): [6, 12, 18],
        (16, 2): [4, 8, 12],
        (15, 2): [8, 11],
        (16, 4): [8, 12],
        (31, 3): [8, 16, 23],
    }
    task = read(table(24, 24), "y", kind="regression")
    assert curve_sizes(task) == [6, 12, 18] and curve_sizes(read(table(23, 23), "y", kind="regression")) == [12, 17]
    assert curve_draws(task)[:4] == ["sub:n=6:r=0", "sub:n=12:r=0", "sub:n=18:r=0", "sub:n=6:r=1"]
    assert len(curve_draws(task)) == 9


def test_the_heaviest_that_has_the_time_is_drawn(task):
    weights = np.array([0.2, 0.5, 0.3])
    cases = [(None, 1), (15.0, 1), (14.9, 2), (3.0, 2), (2.9, 0), (0.2, 1)]
    assert [curve_member(task, weights, [0.5, 5.0, 1.0], s) for s, _ in cases] == [k for _, k in cases]


def test_points_are_means_of_repeats_of_the_rows_left_out(values):
    p = np.full((2, N), np.nan)
    p[0, 6:], p[1, 6:20] = 3.0, 2.0
    draws = {"sub:n=6:r=0": p[0], "sub:n=6:r=1": p[1], "sub:n=12:r=0": p[0] + 1, "sub:n=18:r=0": p[0]}
    whole = Estimate(0.5, 0.4, 0.7)
    scores = [np.abs(values.target[6:] - 3).mean(), np.abs(values.target[6:20] - 2).mean()]
    points = curve_points(draws, values, METRICS["mae"], 0.9, whole, 18.0)
    assert [x["n"] for x in points] == [6, 12, N]  # of 18 rows the fits had no more than 18
    assert points[0]["estimate"] == pytest.approx(np.mean(scores))
    assert points[0]["interval"] == pytest.approx(sorted(scores))
    assert points[-1] == {"n": N, "estimate": 0.5, "interval": [0.4, 0.7]}
    assert len(curve_points(draws, values, METRICS["mae"], 0.0, whole)) == 4


# -- what plans take from trials --


def test_three_trainings_have_their_own_spread(task):
    found = Measured(
        task, Scale.of("log_loss"), {8.0: [0.2, 0.3, 0.45]}, {("a", 9.0, 9.0): [0.3], ("b", 8.0, 9.0): [0.2]}
    )
    (point,) = found.points()
    assert point.spread == pytest.approx(np.std(np.log([0.2, 0.3, 0.45]), ddof=1)) and point.repeats == 3
    (mix,) = found.mixes_of("a", 0.1)
    assert (mix.right, mix.other, mix.loss, mix.repeats) == (9.0, 9.0, 0.3, 1)
    assert found.mixed("a") == 1 and found.mixed("c") == 0


def test_a_group_that_fills_a_draw_leaves_no_mixture(monkeypatch):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": rng.normal(size=48), "who": np.arange(48) // 16, "y": np.arange(48) % 2})
    task = read(frame, "y", kind="classification", group="who")
    own = Ready(task, Scale.of("log_loss"), "learn/logistic", "linear", {}, 0, 3, 0.4)
    offers = offers_of({"unlabelled": 1.0})
    results = {d: np.full((48, 2), 0.5) for d in all_draws(task, offers, 3)}
    for others in (0.5, 0.0):
        monkeypatch.setattr(module, "drawn", lambda task, draw, seed, others=others: (16.0, others))
        found = measure(own, offers, results)
        assert list(found.mixes) == ([("unlabelled", 16.0, 0.5)] if others else []) and list(found.sizes) == [16.0]


def test_the_rise_is_looked_for_in_the_upper_half():
    def curve(*losses):
        return [Point(10.0 * 2**i, loss, 80, 0.0, 1) for i, loss in enumerate(losses)]

    assert rough(curve(0.1, 0.2, 0.3)) and not rough(curve(0.3, 0.2, 0.2))
    assert (
        not rough(curve(0.4, 0.2, 0.3, 0.2))
        and rough(curve(0.1, 0.2, 0.1, 0.3))
        and not rough(curve(0.1, 0.3, 0.2, 0.3))
    )
    assert rough(curve(0.5, 0.1, 0.2, 0.2, 0.15)) and not rough(curve(0.5, 0.2, 0.1, 0.1, 0.15))
    assert not rough({1.0: 0.2, 2.0: 0.3, 3.0: 0.4})


def test_shares_of_the_money_are_the_published_ones():
    assert SHARES == (0.0, 0.01, 0.1, 0.25, 0.5, 0.75, 1.0)
