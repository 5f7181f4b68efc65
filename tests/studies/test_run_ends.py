"""What a run does after its race, without fitting anything: the learning curve, and what it says in the end."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from bare_runs import BASE, COSTLY, HALF, LDA, run_of

from smidgen.budget.budget import Budget
from smidgen.studies import run as run_module
from smidgen.studies.candidates import Candidate, Skipped
from smidgen.studies.choose import Choice, OutOfFold
from smidgen.studies.replay import Replay
from smidgen.studies.slow import CURVE_SHARE
from smidgen.studies.trial import Result
from smidgen.tasks.metrics import METRICS
from smidgen.tasks.read import read


@pytest.fixture(scope="module")
def task():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=40), "b": rng.normal(size=40), "y": np.arange(40) % 2})
    return read(frame, "y", kind="classification")


# -- the curve --


def curved(run, tried, weights, outcomes=None, log_t=0.0):
    """The curve where each draw gives even odds; `outcomes`: of the first draws instead."""
    board = OutOfFold(np.full((len(tried), 1, 40, 2), 0.5), run.task.target, np.full(len(tried), 1 / len(tried)),
                      np.arange(40))  # fmt: skip
    drawn = []

    def runs(trials, keep):
        for trial, result in zip(trials, [*(outcomes or []), *[Result(HALF)] * 9], strict=False):
            if result is None:
                raise KeyboardInterrupt
            drawn.append((trial.method, trial.draw))
            keep(trial, result)

    run.runner.run = runs
    choice = Choice(np.array(weights), np.full(len(tried), log_t))
    return run._curve(tried, board, choice, METRICS["log_loss"]), drawn


def test_points_beyond_what_fewer_folds_train_on_are_left_out(task):
    for c, sizes in ((BASE, [10, 20, 30, 40]), (COSTLY, [10, 20, 40])):  # 3 folds of 40: fits on 26
        run = run_of(task, c)
        points, drawn = curved(run, [c], [1.0])
        assert [p["n"] for p in points] == sizes and len(drawn) == 9 == len(run.race.used)
        assert [p["estimate"] for p in points] == pytest.approx([np.log(2)] * len(points))
        assert points[-1]["interval"][0] < np.log(2) < points[-1]["interval"][1]


def test_what_failed_or_was_stopped_is_no_point(task):
    run = run_of(task, BASE)
    points, _ = curved(run, [BASE], [1.0], [Result(error="no"), Result(HALF), None])
    assert [p["n"] for p in points] == [20, 40] and run.interrupted and len(run.race.used) == 1
    run = run_of(task, BASE)
    assert curved(run, [BASE], [1.0], [Result(error="no")] * 9)[0] is None and not run.interrupted


def test_a_replay_draws_the_member_that_was_drawn(task):
    tried = [BASE, LDA]
    plain = run_of(task, *tried)
    for kept, member, sizes in ((["sub:n=10:r=0", "sub:n=20:r=0"], 1, [10, 20, 40]), ([], 0, None)):
        keys = frozenset(plain.race.trial(LDA, d).key for d in kept)
        run = run_of(task, *tried, replay=Replay(keys, 0, frozenset(), frozenset()))
        points, drawn = curved(run, tried, [0.7, 0.3])
        assert drawn == [(tried[member].method, d) for d in kept] and (points and [p["n"] for p in points]) == sizes


def test_the_curves_trials_end_before_the_rest_needs_its_time(task):
    run = run_of(task, BASE, LDA, budget=Budget(seconds=100.0))
    ends = []
    for passed, race_end in ((10.0, 1080.0), (70.0, 1075.0), (99.0, 1075.0), (99.0, None)):
        run.passed = passed
        run._race_end = lambda end=race_end: end
        curved(run, [BASE], [1.0])
        ends.append(run.runner.stop_at - 1000.0)
    assert ends == pytest.approx([10.0 + 100 * CURVE_SHARE, 75.0, 99.3, 100.0])


def test_the_member_that_is_drawn_has_the_time_of_the_curve(task):
    slow = Candidate("learn/knn", "linear", seconds=5.0)
    for seconds, member in ((100.0, LDA), (200.0, slow)):  # a third of 12 s, or of 24 s, for each size
        run = run_of(task, slow, LDA, budget=Budget(seconds=seconds))
        assert {m for m, _ in curved(run, [slow, LDA], [0.9, 0.1])[1]} == {member.method}


# -- what it says in the end --


def test_what_left_the_race_and_what_never_ran_are_told_with_their_reasons(task):
    late, cut = Candidate("learn/forest", "tree"), Candidate("learn/svm", "linear")
    gone, shut = Candidate("learn/naive_bayes", "linear"), Candidate("learn/ridge", "linear")
    run = run_of(task, BASE, LDA, COSTLY, late, cut, gone, shut)
    rng = np.random.default_rng(0)
    for c in (BASE, LDA, COSTLY, gone):
        for t in [run.race.trial(c, f"cv:k=8:r={r}") for r in range(2 if c in (BASE, LDA) else 1)]:
            run.race.record(c, t, rng.dirichlet([1, 1], 40))
    run.race.drop(COSTLY, "stopped early: behind by 0.300 after 1 repeat(s)")
    run.race.drop(gone, "failed: singular")
    run.race.drop(shut, "failed: no memory")
    run.runner.cut = [run.race.trial(cut, "cv:k=8:r=0")]
    run.plan.skipped.append(Skipped("learn/lightgbm", "", "not installed"))
    run.seconds = {LDA.key: 1.25, BASE.key: 0.5}
    run.once = {LDA.key: 10.0}
    run.notes = {LDA.key: ["rough"]}
    run.passed = 3.14159
    tried, board = run._comparable()
    choice = Choice(np.array([0.25, 0.75]), np.zeros(2))
    model: Any = SimpleNamespace()
    about = run._about(tried, board, choice, METRICS["log_loss"], {"estimate": 0.6, "interval": [0.5, 0.7],
                       "level": 0.9}, [{"n": 1}], model)  # fmt: skip
    rows = {r["method"].partition("/")[2]: r for r in about["leaderboard"]}
    assert {name: (r["note"], r["repeats"], r["folds"]) for name, r in rows.items()} == {
        "constant": ("", 2, 8), "lda": ("", 2, 8),
        "knn": ("stopped early: behind by 0.300 after 1 repeat(s)", 1, 3), "naive_bayes": ("failed: singular", 1, 8),
        "forest": ("not tried: the budget ended", 0, 8), "svm": ("not finished: the time ended", 0, 8),
        "ridge": ("failed: no memory", 0, 8), "lightgbm": ("not installed", 0, None),
    }  # fmt: skip
    assert list(rows)[4:] == ["forest", "ridge", "svm", "lightgbm"]
    assert (rows["lda"]["seconds"], rows["constant"]["seconds"], rows["knn"]["seconds"]) == (11.25, 0.5, 0.0)
    assert rows["lda"]["remarks"] == ["rough"] and rows["constant"]["remarks"] == []
    assert about["method"] == "0.75 learn/lda + 0.25 learn/constant" and about["curve"] == [{"n": 1}]
    assert (about["model"], about["study"], about["seconds"], about["seed"]) == (None, "few-1", 3.14, 0)
    assert len(about["comparisons"]) and about["baseline"]["estimate"] > 0 and about["spent"]["labels"] == 40
    kept = ("study", "method", "metric", "estimate", "interval", "level", "n", "kind", "seed", "version", "created")
    assert model.about == {k: about[k] for k in kept}


def test_no_result_is_told_with_three_reasons_at_most(task):
    found = [Candidate(f"learn/{name}", "linear") for name in ("lda", "knn", "svm", "ridge")]
    run = run_of(task, *found)
    with pytest.raises(run_module.BudgetSpent) as told:
        run._comparable()
    said = "; ".join(f"{c.method} on linear: not tried: the budget ended" for c in run.race.found[:3])
    text = f"The budget ended before any model was fitted ({said}). Give more time or trials."
    assert str(told.value).startswith(text)


@pytest.mark.parametrize(("before", "fits"), [(True, 1), (False, 2)])
def test_the_second_stop_ends_it(task, monkeypatch, before, fits):
    run, stops, ended = run_of(task, BASE, LDA), [], []
    run.store = SimpleNamespace(finish_study=lambda *given: ended.append(given))

    def race():
        for c, t in run.race.round(0):
            run.race.record(c, t, HALF)
        run.interrupted = before

    def stop(self, tried, choice):
        stops.append(len(tried))
        raise KeyboardInterrupt

    run._race, run._curve = race, lambda *given: None
    monkeypatch.setattr(run_module.Refit, "fit", stop)
    with pytest.raises(KeyboardInterrupt):
        run.finish()
    assert stops == [2] * fits and ended == [("few-1", "stopped", None, run.race.used)]


def test_what_breaks_is_a_failed_study(task):
    run, ended = run_of(task, BASE), []
    run.store = SimpleNamespace(finish_study=lambda *given: ended.append(given))
    run._race = lambda: 1 / 0
    with pytest.raises(ZeroDivisionError):
        run.finish()
    assert ended == [("few-1", "failed", None, [])]


def test_a_folder_is_told_with_its_bytes_and_seconds(task, tmp_path):
    said: list[dict[str, Any]] = []
    run = run_of(task, BASE, said=said)
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "x").write_text("12345")
    (tmp_path / "m" / "y").write_text("678")
    saved: list[Any] = []
    model: Any = SimpleNamespace(save=lambda out, more: saved.append((out, more)) or out)
    run.plan.out, run.passed = tmp_path / "m", 12.34567
    about: dict[str, Any] = {"spent": {}}
    assert run._save(model, about) == tmp_path / "m" and saved == [(tmp_path / "m", {})]
    assert about == {"model": str(tmp_path / "m"), "spent": {"model_bytes": 8}, "seconds": 12.35}
    assert [(e["kind"], e["text"]) for e in said] == [("done", f"Model and report in {tmp_path / 'm'}")]
    run.plan.out = None
    assert run._save(model, about) is None and len(saved) == 1
