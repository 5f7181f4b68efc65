"""A study's trials read back from its run store: which candidates count as tried, stopped early, or left."""

import numpy as np
import pandas as pd
import pytest

from smidgen.kit import methods
from smidgen.studies.candidates import candidates
from smidgen.studies.losses import Scale
from smidgen.studies.ready import Ready
from smidgen.studies.result import Result
from smidgen.studies.store import RunStore
from smidgen.studies.stored import Study
from smidgen.studies.study_board import LEFT, study_board
from smidgen.studies.trial import Trial
from smidgen.tasks.read import read

N, FOLDS = 24, 8
NAMES = ["learn/forest", "learn/knn", "learn/lda", "learn/logistic", "learn/naive_bayes"]
X = np.random.default_rng(0).normal(size=(N, 2))


@pytest.fixture(scope="module")
def own():
    task = read(pd.DataFrame({"a": X[:, 0], "b": X[:, 1], "y": np.arange(N) % 2}), "y", kind="classification")
    return Ready(task, Scale.of("log_loss"), "learn/lda", "linear", {}, 7, 5, 0.5)


def predictions(k, r):
    p = np.random.default_rng(10 * k + r).uniform(0.1, 0.9, N)
    return np.c_[1 - p, p]


def row(method, estimate=0.5, repeats=2, note="", **more):
    view = "tree" if method == "forest" else "linear"
    return {"method": f"learn/{method}", "view": view, "estimate": estimate, "repeats": repeats, "note": note,
            "params": {"knob": 1}} | more  # fmt: skip


def found(own, store, rows, gone=(), asked=None):
    """The board of a study whose trials of these rows are all in the store, but for the gone ones."""
    for k, told in enumerate(rows):
        for r in range(told["repeats"]):
            if (told["method"], r) in gone:
                continue
            trial = Trial(
                task=own.task.fingerprint, method=told["method"], version=methods.card(told["method"]).version,
                view=told["view"], seed=7, params=told["params"], draw=f"cv:k={told.get('folds') or FOLDS}:r={r}",
            )  # fmt: skip
            fence = store.claim(trial.key, trial.to_json())
            failed = told.get("failed")
            result = Result(None if failed else predictions(k, r), seconds=k + r / 4, model_bytes=100 * k + r,
                            error="why" if failed else None)  # fmt: skip
            store.finish(trial.key, fence, result)
    study = Study(
        id="s", task_name="t", fingerprint="f", options={"methods": NAMES, "settings": {}}, asked=asked or {},
        state="done", created=0.0, updated=0.0, summary={"leaderboard": rows},
    )  # fmt: skip
    return study_board(own, study, store)


@pytest.fixture
def store(tmp_path):
    with RunStore(tmp_path / "r.db") as made:
        yield made


def names(candidates):
    return sorted(c.method.removeprefix("learn/") for c in candidates)


def test_tried_early_left_and_unknown(own, store):
    rows = [
        row("lda"), row("logistic", note="stopped early", repeats=1),
        row("knn", None, 0, "not tried: the budget ended"), row("naive_bayes", None, 0, "failed: ValueError"),
    ]  # fmt: skip
    board = found(own, store, rows)
    assert (names(board.tried), names(board.early), names(board.left)) == (["lda"], ["logistic"], ["knn"])
    assert board.race.folds == FOLDS and board.race.set_folds == {} and board.race.seed == 7
    lda, logistic = ("learn/lda", "linear"), ("learn/logistic", "linear")
    assert set(board.results) == {lda, logistic}
    assert [r.predictions.tolist() for r in board.results[lda]] == [predictions(0, r).tolist() for r in (0, 1)]
    assert board.sizes == {lda: 1, logistic: 100} and board.seconds == {lda: 0.125, logistic: 1.0}
    both = board.board([*board.tried, *board.early])
    assert both.predictions.shape == (2, 1, N, 2) and both.prior.sum() == pytest.approx(1)
    assert board.board(board.tried).predictions.shape == (1, 2, N, 2)
    assert board.board(board.tried, 1).predictions[0, 0].tolist() == predictions(0, 0).tolist()
    assert both.truth.tolist() == own.task.target.tolist() and len(both.units) == N


@pytest.mark.parametrize("note", [*LEFT, LEFT[0] + ", and more"])
def test_those_that_more_time_gives_a_chance(own, store, note):
    board = found(own, store, [row("lda"), row("forest", None, 0, note), row("knn", None, 0, f"so: {note}")])
    assert names(board.left) == ["forest"] and names(board.tried) == ["lda"]


def test_own_folds_are_kept_and_gone_or_failed_trials_leave(own, store):
    rows = [row("lda", folds=4), row("knn", folds=None), row("logistic", repeats=3), row("naive_bayes", failed=True)]
    board = found(own, store, rows, gone={("learn/logistic", 2)})
    assert names(board.tried) == ["knn", "lda"] and board.race.set_folds == {("learn/lda", "linear"): 4}
    assert not board.early and not board.left


def test_a_study_s_memory_bounds_what_counts(own, store):
    need = {c.method.removeprefix("learn/"): c.memory for c in candidates(own.task, NAMES)[0]}
    least = min(need.values())
    rows = [row(n) for n in need]
    assert names(found(own, store, rows, asked={"memory": "8GB"}).tried) == sorted(need)
    few = names(found(own, store, rows, asked={"memory": f"{least}B"}).tried)
    assert few == sorted(n for n in need if need[n] == least) and len(few) < len(need)
