"""The steps of a run one by one, without fitting anything: rounds, what is learnt first, the curve, what it tells."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from smidgen.budget.budget import Budget
from smidgen.data.views.rows import Rows
from smidgen.studies import run as run_module
from smidgen.studies.candidates import BASELINE, Candidate, Skipped
from smidgen.studies.choose import Choice, ChoiceConfig, OutOfFold
from smidgen.studies.inline import InlinePool
from smidgen.studies.plan import Plan
from smidgen.studies.pretraining import Spent, Unfinished
from smidgen.studies.race import Race, RaceConfig
from smidgen.studies.replay import Replay
from smidgen.studies.run import Run
from smidgen.studies.slow import CURVE_SHARE, SLOW_SHARE
from smidgen.studies.trial import Result
from smidgen.tasks.metrics import METRICS
from smidgen.tasks.read import read

BASE, LDA = Candidate(BASELINE, "linear"), Candidate("learn/lda", "linear")
LEARNS = Candidate("learn/barlow_pictures", "picture", once=5.0)  # first, once, without labels
COSTLY = Candidate("learn/knn", "linear", seconds=100.0)
HALF = np.full((40, 2), 0.5)


@pytest.fixture(scope="module")
def task():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=40), "b": rng.normal(size=40), "y": np.arange(40) % 2})
    return read(frame, "y", kind="classification")


def run_of(task, *found, budget=None, replay=None, said=None, own=None, repeats=2):
    """A run whose clock stands `run.passed` seconds after its beginning, 1,000 s after the clock's own."""
    race = Race(task, list(found), np.full(len(found), 1 / len(found)), 0, config=RaceConfig(max_repeats=repeats),
                choice=ChoiceConfig(draws=10))  # fmt: skip
    plan = Plan(task, race, [], budget or Budget(trials=200), 2, 0, None, "few", 1000.0,
                said.append if said is not None else lambda event: None)  # fmt: skip
    store: Any = None
    study: Any = SimpleNamespace(id="few-1")
    run: Any = Run(plan, store, study, InlinePool(), Rows(task.frame, pool=own), replay)
    run.passed = 0.0
    run.clock = lambda: 1000.0 + run.passed
    return run


def raced(run, whole=(True,) * 9, record=True):
    """What `_race` asks for, in order: names of methods measured, or ("learn", names)."""
    asked: list[Any] = []

    def measure(todo):
        asked.append([c.method.partition("/")[2] for c, _ in todo])
        for c, t in todo if record else ():
            run.race.record(c, t, HALF)
        return whole[len([a for a in asked if isinstance(a, list)]) - 1]

    run._measure = measure
    run._pretrain = lambda found: asked.append(("learn", [c.method.partition("/")[2] for c in found]))
    run._race()
    return asked


# -- rounds --


def test_what_must_learn_first_comes_after_the_others_first_results(task):
    said: list[dict[str, Any]] = []
    run = run_of(task, LEARNS, BASE, LDA, said=said)
    learns = "barlow_pictures"
    assert raced(run) == [["constant", "lda"], ("learn", [learns]), [learns], ["constant", learns, "lda"]]
    assert [e["text"] for e in said] == [f"Round {k} of 2: 3 candidates in the race" for k in (1, 2)]
    assert [(e["kind"], e["done"], e["total"], e["seconds_left"]) for e in said] == [
        ("round", 3, None, None), ("round", 6, None, None)
    ]  # fmt: skip
    assert run.meter.spent()["rounds"] == 2 and not run.interrupted


def test_what_could_not_learn_is_not_measured(task):
    run = run_of(task, LEARNS, BASE)
    asked: list[Any] = []
    run._pretrain = lambda found: run.race.drop(found[0], "not tried")
    run._measure = lambda todo: asked.append([c.method for c, _ in todo]) or True
    run._race()
    assert asked[:2] == [[BASELINE], []]


@pytest.mark.parametrize(
    ("whole", "record", "measured", "rounds"),
    [
        ((False,), True, 1, 0),  # the time ended in the first round: nothing is learnt for the others
        ((True, False), True, 2, 0),
        ((True, True, False), True, 3, 1),
        ((True, True, True), False, 2, 0),  # nothing to compare
    ],
)
def test_a_round_that_is_not_whole_is_the_last(task, whole, record, measured, rounds):
    run = run_of(task, LEARNS, BASE, LDA, repeats=3)
    asked = raced(run, whole, record)
    assert len([a for a in asked if isinstance(a, list)]) == measured
    assert run.meter.spent().get("rounds", 0) == rounds


def test_a_replay_asks_only_for_what_was_measured_and_ends_when_it_did(task):
    plain = run_of(task, BASE, LDA, COSTLY)
    assert raced(plain) == [["constant", "lda"]] * 2  # a count is the budget: nobody waits for the third
    assert plain.race.out[COSTLY.key].startswith("not tried: one repeat takes about 300 s; name it (--methods)")
    keys = [[plain.race.trial(c, f"cv:k={k}:r={r}").key for c, k in ((BASE, 8), (LDA, 8), (COSTLY, 3))] for r in (0, 1)]
    for rounds, counted in ((0, 0), (1, 1), (2, 2)):
        known = Replay(frozenset([*keys[0], *keys[1][:2]]), rounds, frozenset({COSTLY.key}), frozenset())
        run = run_of(task, BASE, LDA, COSTLY, replay=known)
        asked = raced(run)
        assert asked == [["constant", "lda", "knn"], ["constant", "lda"]][: rounds + 1]
        assert run.race.out == ({COSTLY.key: "failed in the run that is replayed"} if rounds else {})
        assert run.meter.spent().get("rounds", 0) == counted


def test_a_stop_while_racing_keeps_what_there_is(task):
    run = run_of(task, BASE, LDA)

    def stop(todo):
        raise KeyboardInterrupt

    run._measure = stop
    run._race()
    assert run.interrupted


def test_a_race_hands_its_limits_and_takes_each_outcome(task, monkeypatch):
    run = run_of(task, BASE, LDA, budget=Budget(seconds=100.0))
    asked: list[Any] = []

    def runs(trials, each):
        asked.append((run.runner.stop_at, run.runner.longest, [t.method for t in trials]))
        each(trials[1], Result(HALF, seconds=2.0, model_bytes=9))
        each(trials[0], Result(error="no memory"))
        return False

    monkeypatch.setattr(run.runner, "run", runs)
    end = run._race_end()
    assert run._measure(run.race.round(0)) is False and asked == [(end, 40.0, [BASELINE, "learn/lda"])]
    assert run.seconds == {LDA.key: 2.0} and run.race.out == {BASE.key: "failed: no memory"}


# -- what is learnt once --


def learning(run, monkeypatch, outcomes):
    """Runs `_pretrain` of three candidates that come to these outcomes; what each was given."""
    asked, loaded = [], []

    def within(pool, task, rows, candidate, seed, *, folder, seconds, tell):
        asked.append((candidate.method, seconds, seed))
        tell(2.4)
        tell(7.6)
        outcome = outcomes[len(asked) - 1]
        if isinstance(outcome, Exception):
            raise outcome
        rows.learnt[candidate.method] = 1
        return outcome

    monkeypatch.setattr(run_module, "pretrain_within", within)
    run.pool.load = lambda *data: loaded.append(("here", *data))
    run.runner.sharing = SimpleNamespace(load=lambda *data: loaded.append(("elsewhere", *data)))
    found = [Candidate(f"learn/{name}", "picture", once=5.0) for name in "abc"]
    run.race.found += found
    run._pretrain(found)
    return found, asked, loaded


def test_what_is_learnt_first_is_told_counted_and_given_to_all(task, monkeypatch):
    said: list[dict[str, Any]] = []
    run = run_of(task, BASE, budget=Budget(seconds=100.0), own=Rows(task.frame), said=said)
    run._race_end = lambda: 1000.0 + 61.0
    run.passed = 1.0
    outcomes = [Spent(4.5, 3.5, 700, ("rough",)), Unfinished("took longer than its 42 s"), Spent()]
    (a, b, c), asked, loaded = learning(run, monkeypatch, outcomes)
    assert asked == [(m.method, pytest.approx(SLOW_SHARE * 60.0), 0) for m in (a, b, c)]
    assert run.race.out == {b.key: "not tried: its pretraining took longer than its 42 s"}
    assert run.once == {a.key: 4.5, c.key: 0.0} and run.notes == {a.key: ["rough"], c.key: []}
    spent = run.meter.spent()
    assert (spent["cpu_seconds"], spent["peak_memory_bytes"]) == (3.5, 700)
    assert loaded == [(where, run.task, run.rows) for where in ("here", "elsewhere")]
    told = [(e["kind"], e["text"], e["done"], e["total"], e["seconds_left"]) for e in said[:2]]
    assert told == [("pretraining", "Pretraining of learn/a", 2, 5, 99.0),
                    ("pretraining", "Pretraining of learn/a", 8, 8, 99.0)]  # fmt: skip
    assert [e["text"][-1] for e in said] == list("aabbcc")


def test_learning_has_a_second_at_least_and_no_end_where_there_is_none(task, monkeypatch):
    timed = run_of(task, BASE, budget=Budget(seconds=100.0), own=Rows(task.frame))
    timed.passed = 99.5
    _, asked, loaded = learning(timed, monkeypatch, [Unfinished("failed (out of memory)")] * 3)
    assert [seconds for _, seconds, _ in asked] == [1.0] * 3 and loaded == []  # nothing new to give
    counted = run_of(task, BASE, own=Rows(task.frame))
    _, asked, loaded = learning(counted, monkeypatch, [Spent()] * 3)
    assert [seconds for _, seconds, _ in asked] == [None] * 3 and len(loaded) == 2
    bare = run_of(task, BASE)
    assert learning(bare, monkeypatch, [])[1:] == ([], [])  # no rows without labels


def test_without_other_processes_what_is_learnt_is_given_to_the_workers_alone(task, monkeypatch):
    run = run_of(task, BASE, own=Rows(task.frame))
    loaded = []
    run.pool.load = lambda *data: loaded.append(data)
    monkeypatch.setattr(run_module, "pretrain_within",
                        lambda pool, task, rows, c, seed, **more: rows.learnt.update(x=1) or Spent())  # fmt: skip
    run._pretrain([LEARNS])
    assert loaded == [(run.task, run.rows)]


# -- what it tells --


def test_each_trial_is_told_as_it_ends(task):
    said: list[dict[str, Any]] = []
    run = run_of(task, BASE, LDA, budget=Budget(seconds=100.0), said=said)
    first, second = (t for _, t in run.race.round(0))
    run.passed = 12.34
    run.runner.live(first, Result(HALF, seconds=1.256))
    run.passed = 101.0
    run.runner.live(second, Result(error="no"))
    assert said == [
        {"kind": "trial", "text": "learn/constant on linear: 1.26 s", "done": 1, "total": None, "seconds_left": 87.7},
        {"kind": "trial", "text": "learn/lda on linear: failed", "done": 2, "total": None, "seconds_left": 0.0},
    ]
    run.race.used += ["x", "y", "z"]
    run.passed = 0.0
    run._tell("note", "as it is")
    run._tell("refit", "of two", 0, 2)
    assert [(e["done"], e["total"], e["seconds_left"]) for e in said[2:]] == [(3, None, 100.0), (0, 2, 100.0)]


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
