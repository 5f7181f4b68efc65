"""One run, put together by hand: what it measured, what it says of that, how it ends, and when each part must stop."""

import contextlib
import itertools
import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from smidgen.budget.budget import Budget
from smidgen.data.views.rows import Rows
from smidgen.kit.errors import BadInput, BudgetSpent
from smidgen.learn.blend import tempered
from smidgen.learn.model import load
from smidgen.studies import run as run_module
from smidgen.studies import summary
from smidgen.studies.candidates import BASELINE, Candidate, Skipped, candidates
from smidgen.studies.choose import Choice, ChoiceConfig, choose
from smidgen.studies.curve import curve_draws, curve_points, curve_sizes
from smidgen.studies.estimate import Estimate, IntervalConfig, Judged, estimate, judge, simple
from smidgen.studies.inline import InlinePool
from smidgen.studies.job import STOPPED, Failure
from smidgen.studies.plan import Plan
from smidgen.studies.race import Race, RaceConfig
from smidgen.studies.refit import Refit
from smidgen.studies.replay import Replay
from smidgen.studies.run import Run
from smidgen.studies.slow import CURVE_SHARE, SAFETY, after_race, longest_trial
from smidgen.studies.store import RunStore
from smidgen.studies.trial import Result, run_trial
from smidgen.tasks.metrics import METRICS
from smidgen.tasks.read import read

NAMES = [BASELINE, "learn/lda", "learn/naive_bayes", "learn/logistic"]


def table(n=40, classes=2):
    rng = np.random.default_rng(0)
    y = np.arange(n) % classes
    return pd.DataFrame({"a": rng.normal(size=n) + y, "b": rng.normal(size=n) - y, "c": rng.normal(size=n), "y": y})


@pytest.fixture(scope="module")
def task():
    return read(table(), "y", kind="classification")


@pytest.fixture
def store(tmp_path):
    with contextlib.closing(RunStore(str(tmp_path / "runs.db"))) as made:
        yield made


def run_of(task, store, *, names=NAMES, budget=None, out=None, replay=None, render=None, said=None, pool=None):
    found, skipped = candidates(task, names)
    found = [c for c in found if c.view == "linear"]
    race = Race(
        task,
        found,
        np.full(len(found), 1 / len(found)),
        0,
        config=RaceConfig(max_repeats=2),
        choice=ChoiceConfig(draws=20),
    )
    skipped = [*skipped, Skipped("learn/other", "", "not here")]
    plan = Plan(task, race, skipped, budget or Budget(trials=200), 2, 0, out, "few", time.monotonic(),
                (lambda event: said.append(event)) if said is not None else lambda event: None, render)  # fmt: skip
    study = store.open_study("few", task.fingerprint, {"seed": 0}, {})
    rows = Rows(task.frame)
    pool = pool or InlinePool()
    pool.load(task, rows)
    return Run(plan, store, study, pool, rows, replay)


@pytest.fixture(scope="module")
def whole(task, tmp_path_factory):
    """(the run, what it found, what it told while it ran)."""
    folder = tmp_path_factory.mktemp("run")
    said: list[dict[str, Any]] = []
    with contextlib.closing(RunStore(str(folder / "runs.db"))) as store:
        run = run_of(task, store, out=folder / "m", said=said, render=lambda about: f"<p>{about['study']}</p>")
        made = run.finish()
        kept = store.study(run.study.id)
    return run, made, said, kept


def test_what_it_says_is_computed_from_its_trials(whole, task):
    run, made, _, kept = whole
    tried, board = run.race.board()
    assert [c.method for c in tried][0] == BASELINE and board.predictions.shape == (4, 2, 40, 2)
    for k, c in enumerate(tried):
        for r in range(2):
            again = run_trial(task, run.rows, run.race.trial(c, f"cv:k=8:r={r}"))
            assert board.predictions[k, r] == pytest.approx(again.predictions)
    choice = choose(board, run.race.choice)
    judged, metric = judge(board, run.race.choice, 0), METRICS["log_loss"]
    told = estimate(judged, task.target, board.units, metric, run.plan.interval, 0)
    right = estimate(judged, task.target, board.units, METRICS["accuracy"], run.plan.interval, 0)
    about = made.summary
    assert (about["estimate"], about["interval"]) == (told.value, told.interval)
    assert (about["accuracy"], about["accuracy_interval"]) == (right.value, right.interval)
    assert about["method"] == summary.named(tried, choice.weights) and about["metric"] == "log_loss"
    rows = {r["method"]: r for r in about["leaderboard"]}
    for k, c in enumerate(tried):
        own = simple(board, k, metric, board.units, run.plan.interval, choice.log_t[k], 0)
        row = rows[c.method]
        assert row["estimate"] == own.value and row["weight"] == choice.weights[k] and row["repeats"] == 2
        assert row["chosen"] == (choice.weights[k] > 0) and row["note"] == "" and row["remarks"] == []
        assert row["seconds"] == round(run.seconds[c.key], 3) > 0
    assert rows["learn/other"] == {
        "method": "learn/other", "view": "", "params": {}, "estimate": None, "interval": None, "seconds": 0.0,
        "chosen": False, "weight": 0.0, "repeats": 0, "note": "not here", "remarks": [], "folds": None,
    }  # fmt: skip
    scores = [r["estimate"] for r in about["leaderboard"][:4]]
    assert scores == sorted(scores)
    assert about["baseline"]["estimate"] == pytest.approx(
        np.mean([metric.score(task.target, board.predictions[0, r]) for r in range(2)])
    )
    assert 0 <= about["baseline"]["accuracy"] <= 1
    assert about["seed"] == 0 and about["n"] == 40 and about["class_counts"] == [20, 20] and about["unlabelled"] == 0
    assert made.model.about["estimate"] == told.value and set(made.model.about) < set(about)
    assert kept.state == "done" and kept.summary["estimate"] == told.value


def test_it_spends_and_records_what_it_used(whole, task):
    run, made, said, kept = whole
    curve = len(curve_draws(task))
    chosen = int((choose(run.race.board()[1], run.race.choice).weights > 0).sum())
    spent = made.summary["spent"]
    assert spent["trials"] == 8 + curve and spent["labels"] == 40 and spent["rounds"] == 2
    assert spent["fits"] == 8 * 8 + curve + chosen and spent.get("reused", 0) == 0
    assert spent["model_bytes"] == sum(f.stat().st_size for f in made.path.iterdir())
    assert len(run.race.used) == len(set(run.race.used)) == 8 + curve and set(kept.trials) == set(run.race.used)
    assert (made.path / "report.html").read_text() == f"<p>{kept.id}</p>"
    kinds = [e["kind"] for e in said]
    assert kinds.count("trial") == 8 + curve and kinds.count("round") == 2 and kinds.count("refit") == chosen
    assert kinds[-1] == "done" and [e["done"] for e in said if e["kind"] == "trial"] == list(range(1, 9 + curve))
    rounds = [e for e in said if e["kind"] == "round"]
    assert [e["text"][:12] for e in rounds] == ["Round 1 of 2", "Round 2 of 2"] and [e["done"] for e in rounds] == [
        4,
        8,
    ]
    assert [(e["done"], e["total"]) for e in said if e["kind"] == "refit"] == [(k + 1, chosen) for k in range(chosen)]
    assert all(e["seconds_left"] is None for e in said)  # under a count there is no end


def test_the_curve_is_of_the_heaviest_member_and_ends_at_its_own_score(whole, task):
    run, made, _, _ = whole
    tried, board = run.race.board()
    choice = choose(board, run.race.choice)
    k = int(choice.weights.argmax())
    points = made.summary["curve"]
    assert [p["n"] for p in points] == [10, 20, 30, 40]
    for n, point in zip((10, 20, 30), points, strict=False):
        scores = []
        for r in range(3):
            p = run_trial(task, run.rows, run.race.trial(tried[k], f"sub:n={n}:r={r}")).predictions
            rows = np.flatnonzero(np.isfinite(p).all(1))
            scores.append(METRICS["log_loss"].score(task.target[rows], tempered(p[rows], float(choice.log_t[k]))))
        assert point["estimate"] == pytest.approx(np.mean(scores))
        assert point["interval"] == pytest.approx([min(scores), max(scores)])
    assert points[-1]["estimate"] == made.leaderboard.set_index("method").loc[tried[k].method, "estimate"]


def test_sizes_of_the_curve_hold_every_class_and_those_beyond_a_fold_are_left_out(task):
    assert curve_sizes(task) == [10, 20, 30]
    few = read(table(12, 4), "y", kind="classification")
    assert curve_sizes(few) == [9] and curve_sizes(read(table(16, 4), "y", kind="classification")) == [8, 12]
    values = read(table().rename(columns={"a": "t"}), "t", kind="regression")
    assert curve_sizes(values) == [10, 20, 30]
    own = Estimate(0.5, 0.4, 0.6)
    p = np.full((40, 2), 0.5)
    drawn = {f"sub:n={n}:r=0": p for n in (10, 20, 30)}
    points = curve_points(drawn, task, METRICS["log_loss"], 0.0, own, 20.0)
    assert [x["n"] for x in points] == [10, 40] and points[-1] == {"n": 40, "estimate": 0.5, "interval": [0.4, 0.6]}


def test_a_count_is_kept_and_a_few_trials_are_for_the_curve(task, store):
    run = run_of(task, store, budget=Budget(trials=6))
    made = run.finish()
    assert made.summary["spent"]["trials"] == 6 and made.summary["curve"] is None  # 9 of it would be most
    notes = {r["method"]: (r["note"], r["repeats"]) for r in made.summary["leaderboard"]}
    # the second round was cut: what all have counts, and all were compared on one repeat
    assert [notes[n] for n in NAMES] == [("", 1)] * 4
    failing = run_of(task, store, names=NAMES[:1], budget=Budget(trials=1))
    failing._note(failing.race.found[0], failing.race.round(0)[0][1], Result(error="no memory"))
    with pytest.raises(BudgetSpent, match=r"any model was fitted \(learn/constant on linear: failed: no memory"):
        failing._comparable()
    bare = run_of(task, store, names=NAMES[:2])
    bare.runner.cut = [bare.race.trial(bare.race.found[1], "cv:k=8:r=0")]
    with pytest.raises(
        BudgetSpent, match="constant on linear: not tried: the budget ended; learn/lda on linear: not fin"
    ):
        bare._comparable()


def test_failures_leave_and_remarks_are_told_once(task, store):
    run = run_of(task, store)
    (_, first), (b, second), *_ = run.race.round(0)
    run._note(b, second, Result(np.full((40, 2), 0.5), seconds=2.0, model_bytes=70, notes=("thin", "thin")))
    run._note(b, second, Result(np.full((40, 2), 0.5), seconds=1.5, model_bytes=50, notes=("thin", "flat")))
    assert run.seconds == {b.key: 3.5} and run.sizes == {b.key: 70} and run.notes[b.key] == ["thin", "flat"]
    run._note(b, first, Result(error="singular"))
    assert run.race.out == {b.key: "failed: singular"} and run.seconds == {b.key: 3.5}


def test_racing_stops_so_early_that_the_rest_has_its_time(task, store):
    run = run_of(task, store, budget=Budget(seconds=100.0))
    begun, race = run.plan.begun, run.race
    assert run.end == begun + 100 and run._longest() == longest_trial(race, 100.0, False)
    assert run._race_end() == pytest.approx(begun + 100 - after_race(race, 100.0, None))
    for c, own, repeats in zip(race.found, (0.0, 16.0, 80.0, 8.0), (1, 1, 2, 0), strict=True):
        run.seconds[c.key] = own
        if repeats:
            race.finished[c.key] = [np.zeros((40, 2))] * repeats
    fit = [0.0, 16 / 8, 80 / 2 / 8, 8 / 8]  # of one fit; what has no whole repeat counts as one
    assert run._race_end() == pytest.approx(begun + 100 - after_race(race, 100.0, SAFETY * sum(fit) / 2))
    race.choice = SimpleNamespace(max_members=2)  # type: ignore[assignment]
    assert run._race_end() == pytest.approx(begun + 100 - after_race(race, 100.0, SAFETY * (2 + 5) / 2))
    free = run_of(task, store)
    assert free._race_end() is None and free._longest() is None


def test_the_curve_has_its_part_of_the_time(task, store, monkeypatch):
    run = run_of(task, store, budget=Budget(seconds=100.0))
    tried = run.race.found[:1]
    board = SimpleNamespace()
    asked = []
    monkeypatch.setattr(run.runner, "run", lambda trials, keep: asked.append((run.runner.stop_at, len(trials))))
    run.clock = lambda: run.plan.begun + 50.0
    assert run._curve(tried, board, Choice(np.ones(1), np.zeros(1)), METRICS["log_loss"]) is None  # type: ignore[arg-type]
    run.clock = lambda: run.plan.begun + 99.0
    run._curve(tried, board, Choice(np.ones(1), np.zeros(1)), METRICS["log_loss"])  # type: ignore[arg-type]
    begun = run.plan.begun
    assert [a[0] for a in asked] == pytest.approx([begun + 50 + 100 * CURVE_SHARE, begun + 99.3]) and asked[0][1] == 9
    for count, left in ((44, 0), (45, 9)):
        run.budget = Budget(trials=count)
        run._curve(tried, board, Choice(np.ones(1), np.zeros(1)), METRICS["log_loss"])  # type: ignore[arg-type]
        assert run.runner.trials_left == left
    run.interrupted = True
    run._curve(tried, board, Choice(np.ones(1), np.zeros(1)), METRICS["log_loss"])  # type: ignore[arg-type]
    assert len(asked) == 4


def test_a_replay_runs_what_was_run_and_chooses_among_what_was_fitted(whole, task, store):
    run, made, _, kept = whole
    known = Replay.of(kept)
    again = run_of(task, store, replay=known).finish()
    assert again.summary["estimate"] == made.summary["estimate"] and again.summary["curve"] == made.summary["curve"]
    first = [run.race.trial(c, "cv:k=8:r=0").key for c in run.race.found]
    one = Replay(frozenset(first[:3]), 0, frozenset({run.race.found[3].key}), frozenset({run.race.found[1].key}))
    part = run_of(task, store, replay=one)
    result = part.finish()
    assert result.summary["spent"]["trials"] == 3 and result.summary["curve"] is None
    notes = {r["method"]: r["note"] for r in result.summary["leaderboard"]}
    assert notes[run.race.found[3].method] == "failed in the run that is replayed"
    assert [m.method for m in result.model.members] == [run.race.found[1].method]


@pytest.mark.parametrize("place", ["_race", "_curve", "fit", "twice", "_about", "look"])
def test_a_stop_anywhere_ends_as_it_should(task, store, monkeypatch, place):
    """The first Ctrl-C keeps the best so far; the state in the store says how it ended."""
    run, stops = run_of(task, store), []

    def stop(*_):
        stops.append(1)
        raise KeyboardInterrupt

    if place == "_race":
        asked = itertools.count()
        measure = run._measure
        monkeypatch.setattr(run, "_measure", lambda todo: stop() if next(asked) else measure(todo))
    elif place == "_curve":
        run_ = run.runner.run
        monkeypatch.setattr(
            run.runner, "run", lambda trials, each: stop() if "sub" in trials[0].draw else run_(trials, each)
        )
    elif place in ("fit", "twice"):
        fit = Refit.fit
        most = 1 if place == "fit" else 2
        monkeypatch.setattr(Refit, "fit", lambda self, *given: stop() if len(stops) < most else fit(self, *given))
    elif place == "_about":
        monkeypatch.setattr(run, "_about", stop)
    else:
        monkeypatch.setattr(run_module, "look", stop)
    if place in ("twice", "_about"):
        with pytest.raises(KeyboardInterrupt):
            run.finish()
        kept = store.study(run.study.id)
        assert kept.state == "stopped" and kept.summary is None and len(kept.trials) == 17
        return
    made = run.finish()
    assert made.interrupted and store.study(run.study.id).state == "stopped" and made.model is not None
    assert (made.summary["curve"] is None) == (place in ("_race", "_curve"))
    assert made.summary["spent"]["trials"] == {"_race": 4, "_curve": 8}.get(place, 17)


def test_an_error_leaves_the_study_failed_with_what_it_measured(task, store, monkeypatch):
    run = run_of(task, store)
    monkeypatch.setattr(run, "_comparable", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run.finish()
    kept = store.study(run.study.id)
    assert kept.state == "failed" and kept.summary is None and len(kept.trials) == 8
    assert not store.study(run_of(task, store).study.id).summary


def test_rows_without_labels_are_looked_at_in_time_and_never_cost_the_model(task, store, monkeypatch):
    said: list[dict[str, Any]] = []
    run = run_of(task, store, budget=Budget(seconds=100.0), said=said)
    monkeypatch.setattr(run_module, "look", lambda *given: {"given": len(given)})
    model: Any = None
    for passed, found in ((97.9, {"given": 4}), (98.1, None)):
        run.clock = lambda passed=passed: run.plan.begun + passed
        assert run._pool(model) == found
    run.clock = lambda: run.plan.begun
    monkeypatch.setattr(run_module, "look", lambda *_: 1 / 0)
    assert run._pool(model) is None and "could not be looked at (ZeroDivisionError" in said[-1]["text"]
    assert said[-1]["kind"] == "note" and said[-1]["seconds_left"] == 100.0
    run.interrupted = True
    monkeypatch.setattr(run_module, "look", lambda *_: {})
    assert run._pool(model) is None


def test_a_report_that_breaks_the_bound_lies_beside(whole, store, task, tmp_path):
    model = whole[1].model
    for size, inside in ((10_000, False), (60_000, True), (None, True)):
        run = run_of(task, store, out=tmp_path / f"m{size}", render=lambda about: "r" * 40_000)
        run.budget = Budget(trials=9, model_bytes=size)
        about: dict[str, Any] = {"spent": {}}
        path = run._save(model, about)
        assert (path / "report.html").exists() == inside
        beside = path.with_name(path.name + "-report.html")
        assert beside.exists() != inside and (inside or beside.read_text() == "r" * 40_000)
        assert about["spent"]["model_bytes"] == sum(f.stat().st_size for f in path.iterdir())
        assert about["model"] == str(path) and about["seconds"] >= 0
    exact = model.saved_bytes() + 40_000
    run = run_of(task, store, out=tmp_path / "exact", render=lambda about: "r" * 40_000)
    run.budget = Budget(trials=9, model_bytes=exact)
    assert (run._save(model, {"spent": {}}) / "report.html").exists()
    assert run_of(task, store)._save(model, {}) is None


# -- fitting on all rows --


class Refusing(InlinePool):
    """A pool in which some methods end as told."""

    def __init__(self, outcomes):
        super().__init__()
        self.outcomes = outcomes

    def wait(self, timeout=None):
        return [(job, self.outcomes.get(job.args[0], outcome) if job.function.endswith("fit_member") else outcome)
                for job, outcome in super().wait(timeout)]  # fmt: skip


def test_who_fails_leaves_the_blend_and_weights_are_shared_anew(task, store):
    pool = Refusing({"learn/lda": Failure("singular")})
    run = run_of(task, store, pool=pool)
    refit = Refit(run.plan, pool, run.rows, run.meter, {}, run.clock, None, None)
    tried = run.race.found
    at = {c.method: k for k, c in enumerate(tried)}
    weights = np.zeros(4)
    weights[[at["learn/lda"], at["learn/logistic"], at["learn/naive_bayes"]]] = 0.5, 0.3, 0.2
    log_t = np.arange(4) / 10
    model, choice = refit.fit(tried, Choice(weights, log_t))
    assert [m.method for m in model.members] == ["learn/logistic", "learn/naive_bayes"]
    assert model.weights == pytest.approx([0.6, 0.4]) and choice.weights.sum() == pytest.approx(1)
    assert model.log_t == pytest.approx([log_t[at["learn/logistic"]], log_t[at["learn/naive_bayes"]]])
    assert choice.log_t is log_t and run.meter.spent()["fits"] == 2
    whole = model.saved_bytes()
    run.plan.budget = Budget(trials=9, model_bytes=whole + 999)
    kept, _ = refit.fit(tried, Choice(weights, log_t))
    assert [m.method for m in kept.members] == ["learn/logistic"] and kept.weights == [1.0]
    run.plan.budget = Budget(trials=9, model_bytes=whole + 1000)
    assert len(refit.fit(tried, Choice(weights, log_t))[0].members) == 2
    run.plan.budget = Budget(trials=9, model_bytes=kept.saved_bytes() + 999)
    with pytest.raises(BadInput, match="the model needs"):
        refit.fit(tried, Choice(weights, log_t))
    pool.outcomes = {c.method: STOPPED for c in tried}
    with pytest.raises(BudgetSpent, match="learn/lda: the time ended; learn/logistic: the time ended"):
        refit.fit(tried, Choice(weights, log_t))


def test_where_the_time_ends_the_quickest_is_fitted_here_if_it_is_quick(task, store):
    pool = Refusing(dict.fromkeys(NAMES, STOPPED))
    run = run_of(task, store, pool=pool)
    tried = run.race.found
    for c in tried:
        run.race.finished[c.key] = [np.zeros((40, 2))] * 2
    each = {c.key: 16.0 * s for c, s in zip(tried, (0.9, 3.0, 1.1, 0.5), strict=True)}  # 16 fits each
    refit = Refit(run.plan, pool, run.rows, run.meter, each, run.clock, run.clock() - 5, None)
    weights = np.array([0.0, 0.4, 0.4, 0.2])
    model, choice = refit.fit(tried, Choice(weights, np.zeros(4)))
    assert [m.method for m in model.members] == [tried[3].method] and choice.weights.tolist() == [0, 0, 0, 1]
    each[tried[3].key] = 16.0 * 1.05
    with pytest.raises(BudgetSpent, match="None of the chosen"):
        refit.fit(tried, Choice(weights, np.zeros(4)))


# -- the summary's own numbers --


def test_calibration_confusion_and_residuals_count_judged_rows():
    truth = np.array([0, 1, 1, 0, 1, 1])
    p = np.array([0.9, 0.2, 0.35, 0.6, 0.45, 0.1, 0.7])
    judged = Judged(np.array([0, 1, 2, 3, 4, 5, 4]), np.c_[p, 1 - p], np.array([1, 1, 1, 1, 0.5, 1, 0.5]))
    assert summary.confusion(judged, truth, 2) == [[2.0, 0.0], [0.5, 3.5]]
    (low, high) = summary.calibration(judged, truth, bins=2)
    order = np.array([4, 3, 2, 6, 1, 0, 5])  # by the probability of the likelier class: .55 .6 .65 .7 .8 .9 .9
    top, w = np.array([0.55, 0.6, 0.65, 0.7, 0.8, 0.9, 0.9]), judged.weights[order]
    right = np.array([1, 1, 1, 0, 1, 1, 1])
    for part, found in ((slice(0, 3), low), (slice(3, 7), high)):
        assert found["predicted"] == pytest.approx(top[part] @ w[part] / w[part].sum())
        assert found["observed"] == pytest.approx(right[part] @ w[part] / w[part].sum())
        assert found["count"] == round(w[part].sum(), 2)
    assert sum(b["count"] for b in summary.calibration(judged, truth)) == 6


def test_a_blend_is_named_by_weight_and_by_view_where_they_differ():
    tried = [Candidate("learn/a", "x"), Candidate("learn/b", "x"), Candidate("learn/c", "y")]
    assert summary.named(tried, np.array([0.38, 0.62, 0.0])) == "0.62 learn/b + 0.38 learn/a"
    assert summary.named(tried, np.array([0.5, 0.0, 0.5])) == "0.50 learn/a on x + 0.50 learn/c on y"
    assert summary.named(tried, np.array([0.0, 0.0, 1.0])) == "learn/c"


def test_values_are_told_with_residuals_and_many_classes_without_a_table():
    frame = table().assign(t=lambda f: f.a * 2)
    values = read(frame.drop(columns="y"), "t", kind="regression")
    judged = Judged(np.array([3, 5, 3]), np.array([1.0, 2.0, 2.0]), np.array([0.5, 1.0, 0.5]))
    units = np.arange(40)
    told = summary.measured(judged, values, units, METRICS["rmse"], IntervalConfig(), 0)
    assert told["residuals"] == {"truth": values.target[[3, 5]].tolist(), "predicted": [1.5, 2.0]}
    assert told["confusion"] is None and told["calibration"] is None and "r2" in told
    assert summary.described(values)["class_counts"] is None


def test_models_come_back(whole):
    _, made, _, _ = whole
    rows = table().drop(columns="y")
    assert np.array_equal(load(made.path).predict_proba(rows), made.model.predict_proba(rows))
    assert np.array_equal(made.predict(rows), made.model.predict(rows)) and made.estimate == made.summary["estimate"]
    assert repr(made).startswith(f"Fitted({made.summary['method']}; log_loss {made.estimate:.3f}, 90% interval")
    assert made.interval == tuple(made.summary["interval"])
    board = made.leaderboard
    assert (
        board["low"].iloc[0] == made.summary["leaderboard"][0]["interval"][0] and board["note"].iloc[-1] == "not here"
    )
    assert board["high"].iloc[0] == made.summary["leaderboard"][0]["interval"][1] and board["low"].isna().iloc[-1]
