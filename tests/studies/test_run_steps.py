"""The steps of a run one by one, without fitting anything: rounds, what is learnt first, the curve, what it tells."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from bare_runs import BASE, COSTLY, HALF, LDA, LEARNS, run_of

from smidgen.budget.budget import Budget
from smidgen.data.views.rows import Rows
from smidgen.studies import run as run_module
from smidgen.studies.candidates import BASELINE, Candidate
from smidgen.studies.pretraining import Spent, Unfinished
from smidgen.studies.replay import Replay
from smidgen.studies.slow import SLOW_SHARE
from smidgen.studies.trial import Result
from smidgen.tasks.read import read


@pytest.fixture(scope="module")
def task():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=40), "b": rng.normal(size=40), "y": np.arange(40) % 2})
    return read(frame, "y", kind="classification")


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
