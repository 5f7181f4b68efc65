"""Candidates compared in pairs: the leaderboard's differences, intervals that hold together, no certainty from few."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import t
from test_choose import board_of

from smidgen.studies.candidates import Candidate
from smidgen.studies.choose import ChoiceConfig, OutOfFold, choose
from smidgen.studies.compare import MOST, WIDEN, compare, gaps
from smidgen.studies.estimate import IntervalConfig
from smidgen.studies.fit import fit
from smidgen.studies.summary import leaderboard
from smidgen.tasks.metrics import METRICS

CONFIG = IntervalConfig(resamples=20)
COMPARED_BY = {
    "log_loss": "log_loss",
    "brier": "brier",
    "accuracy": "error",
    "balanced_accuracy": "log_loss",
    "macro_f1": "log_loss",
    "auc": "log_loss",
    "rmse": "mse",
    "mse": "mse",
    "r2": "mse",
    "mae": "mae",
}


def compared(board: OutOfFold, metric: str):
    tried = [Candidate(f"learn/m{k:02}", "linear", {"k": k}) for k in range(len(board.predictions))]
    choice = choose(board, ChoiceConfig())
    rows = leaderboard(board, tried, choice, METRICS[metric], [], [], {}, CONFIG, 0)
    return compare(board, tried, choice, metric, rows, CONFIG), rows


@pytest.mark.parametrize("metric", sorted(METRICS))
def test_differences_are_those_of_the_leaderboard(metric):
    board = board_of(k=4, n=40, classes=3 if METRICS[metric].kind == "classification" else 0, skill=0.8)
    made, rows = compared(board, metric)
    assert made["metric"] == COMPARED_BY[metric] and made["level"] == CONFIG.level
    assert made["names"] == [{k: r[k] for k in ("method", "view", "params")} for r in rows]
    for i in range(4):
        assert made["gaps"][i][i] is None
        for j in range(4):
            if i != j:
                mean, low, high = made["gaps"][i][j]
                assert low < mean < high
                assert made["gaps"][j][i] == pytest.approx([-mean, -high, -low])
                if metric in ("log_loss", "brier", "accuracy", "mse", "mae"):
                    sign = -1 if metric == "accuracy" else 1
                    assert mean == pytest.approx(sign * (rows[i]["estimate"] - rows[j]["estimate"]), abs=1e-5)


def test_at_most_twelve_and_at_least_two():
    made, rows = compared(board_of(k=MOST + 3, n=20), "log_loss")
    assert [n["method"] for n in made["names"]] == [r["method"] for r in rows[:MOST]]
    assert compared(board_of(k=1), "log_loss")[0] is None


def test_a_pair_by_hand():
    rng = np.random.default_rng(0)
    losses = rng.exponential(size=(2, 30))
    d = losses[0] - losses[1]
    mean, low, high = (m[0, 1] for m in gaps(losses, np.arange(30), "log_loss", CONFIG))
    error = np.sqrt(30 * d.var(ddof=1) + np.abs(d).max() ** 2) / 32
    assert mean == pytest.approx(d.sum() / 32)
    assert (low, high) == pytest.approx(
        (mean - WIDEN * t.ppf(0.95, 29) * error, mean + WIDEN * t.ppf(0.95, 29) * error)
    )


def test_pairing_tells_apart_what_the_scores_cannot():
    """Rows differ far more among each other than the two candidates do on each of them."""
    rng = np.random.default_rng(0)
    hard = rng.exponential(3.0, 60)
    losses = np.stack([hard, hard + 0.1 + 0.05 * rng.normal(size=60)])
    _, _, high = gaps(losses, np.arange(60), "log_loss", CONFIG)
    assert high[0, 1] < 0 and losses.std() / np.sqrt(60) > 0.3


def test_intervals_hold_together_and_more_pairs_are_wider():
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(100):
        _, low, high = gaps(rng.exponential(size=(6, 40)), np.arange(40), "mse", CONFIG)
        held += bool((low <= 0).all() and (high >= 0).all())
    assert held >= 90
    losses = rng.exponential(size=(6, 40))
    few, many = (gaps(losses[:k], np.arange(40), "mse", CONFIG)[2][0, 1] for k in (2, 6))
    assert many > few
    assert gaps(losses, np.arange(40), "mse", replace(CONFIG, level=0.5))[2][0, 1] < many


def test_rows_that_agree_are_no_certainty_and_groups_say_less():
    same = np.zeros((2, 10))
    _, low, high = gaps(same, np.arange(10), "error", CONFIG)
    assert low[0, 1] < -0.1 and high[0, 1] > 0.1
    assert gaps(same, np.arange(10), "mse", CONFIG)[2][0, 1] == 0  # one candidate twice
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(8), 5)
    losses = rng.normal(size=(2, 8))[:, groups] ** 2
    apart, together = (gaps(losses, u, "mse", CONFIG)[2][0, 1] for u in (np.arange(40), groups))
    assert together > apart


def test_a_study_says_it_and_costs_little(table, tmp_path, inline, monkeypatch):
    import time

    from smidgen.studies import run, summary

    spent = []

    def timed(function):
        def call(*args):
            start = time.perf_counter()
            made = function(*args)
            spent.append(time.perf_counter() - start)
            return made

        return call

    monkeypatch.setattr(run, "compare", timed(run.compare))
    monkeypatch.setattr(summary, "doubts", timed(summary.doubts))
    made = fit(
        table("tab_pima_diabetes", 200),
        "target",
        trials=5,
        kind="classification",
        methods="lda,naive_bayes,logistic,knn,constant",
        store=str(tmp_path / "c.db"),
        out=tmp_path / "m",
    )
    names = [(n["method"], n["view"]) for n in made.summary["comparisons"]["names"]]
    assert names == [(r["method"], r["view"]) for r in made.summary["leaderboard"]] and len(spent) == 2
    assert sum(spent) < 0.2  # measured: 5 ms; the machine of a test may be busy
