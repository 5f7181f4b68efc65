"""What a run will do, before it does it: who would be tried, how long it takes, and in how many words."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from smidgen.budget.budget import Budget
from smidgen.studies import plan as module
from smidgen.studies.candidates import Candidate
from smidgen.studies.plan import Plan
from smidgen.studies.race import Race, RaceConfig
from smidgen.tasks.read import read
from smidgen.tasks.task import Finding

N = 60
QUICK = Candidate("learn/lda", "linear", seconds=0.5, memory=7)
SLOW = Candidate("learn/svm", "linear", seconds=5.0)
LEARNS = Candidate("learn/barlow", "picture", seconds=0.25, once=4.0)


@pytest.fixture(scope="module")
def task():
    rng = np.random.default_rng(0)
    return read(pd.DataFrame({"a": rng.normal(size=N), "y": np.arange(N) % 2}), "y", kind="classification")


@pytest.fixture(autouse=True)
def _clock(monkeypatch):
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: 1000.0))


def plan_of(task, budget, *found, repeats=3, workers=2, begun=1000.0, **more):
    race = Race(task, list(found), np.full(len(found), 1 / len(found)), 5, config=RaceConfig(max_repeats=repeats))
    return Plan(task, race, [], budget, workers, 5, None, "few", begun, lambda event: None, **more)


def test_every_candidate_is_told_with_what_it_needs(task):
    plan = plan_of(task, Budget(trials=200), QUICK, SLOW, LEARNS)
    whole, entries = plan.forecast()
    assert entries == [
        {"method": "learn/barlow", "view": "picture", "seconds": 6.0, "memory_bytes": 0, "tried": True,
         "note": "8 fits a repeat, up to 3 repeat(s), after one pretraining of 4 s"},
        {"method": "learn/lda", "view": "linear", "seconds": 4.0, "memory_bytes": 7, "tried": True,
         "note": "8 fits a repeat, up to 3 repeat(s)"},
        {"method": "learn/svm", "view": "linear", "seconds": 40.0, "memory_bytes": 0, "tried": False,
         "note": "not tried: one repeat takes about 40 s; name it (--methods) or give --time"},
    ]  # fmt: skip
    assert whole == pytest.approx(3 + 4 + (2 + 4) * (1 + 0.6 * 2) / 2)
    assert plan.sentence() == "2 candidates (1 more are beyond the budget), 8 folds, up to 3 repeats: about 14 s"
    named = plan_of(task, Budget(trials=200), QUICK, SLOW, named=True)
    assert named.sentence() == "2 candidates, 8 folds, up to 3 repeats: about 51 s"
    fine = plan_of(task, Budget(trials=200), Candidate("learn/lda", "linear", seconds=0.532))
    assert fine.forecast()[1][0]["seconds"] == 4.26
    assert named.slow() == [] and [c for c, _ in plan.slow()] == [SLOW]


def test_a_count_bounds_the_rounds_and_who_is_tried(task):
    one = plan_of(task, Budget(trials=1), LEARNS, QUICK, workers=1)
    whole, entries = one.forecast()
    assert whole == pytest.approx(3 + 4.0)  # a repeat of the quick one; what must learn first comes last
    assert [(e["method"], e["tried"], e["note"]) for e in entries] == [
        ("learn/lda", True, "8 fits a repeat, up to 3 repeat(s)"),
        ("learn/barlow", False, "not tried: 1 trials are for the 1 methods before it"),
    ]
    assert plan_of(task, Budget(trials=2), LEARNS, QUICK).left_out() == {}
    three = plan_of(task, Budget(trials=3), LEARNS, QUICK, workers=1)
    assert three.forecast()[0] == pytest.approx(3 + 4 + (2 + 4) * 1.5)
    slow_first = plan_of(task, Budget(trials=1), SLOW, QUICK)
    assert list(slow_first.left_out()) == [SLOW.key]  # it is out, and takes nobody's place


def test_time_bounds_the_whole_and_who_is_tried(task):
    plan = plan_of(task, Budget(seconds=20.0), QUICK, SLOW, workers=1)
    assert [c for c, _ in plan.slow()] == [SLOW]
    assert plan.forecast()[0] == pytest.approx(3 + 4 * 2.2)
    assert plan_of(task, Budget(seconds=9.0), QUICK, workers=1).forecast()[0] == 9.0
    late = plan_of(task, Budget(seconds=200.0), QUICK, begun=950.0)
    assert late.forecast()[0] == pytest.approx(50 + 4.4)  # what has passed is part of it
    assert plan_of(task, Budget(seconds=200.0), QUICK, SLOW).slow() == []
    later = plan_of(task, Budget(seconds=200.0), QUICK, SLOW, begun=880.0)
    assert [why for _, why in later.slow()] == ["not tried: one repeat takes about 40 s, of the 45 s that there are"]


def test_short_time_means_fewer_folds_from_the_start(task):
    c = Candidate("learn/knn", "linear", seconds=1.0, least=1.0)
    assert plan_of(task, Budget(seconds=10.0), c).race.set_folds == {c.key: 5}
    assert plan_of(task, Budget(seconds=10.0), c, named=True).race.set_folds == {c.key: 7}
    assert plan_of(task, Budget(trials=5), c).race.set_folds == {}


def test_who_left_already_keeps_the_reason(task):
    plan = plan_of(task, Budget(trials=200), QUICK, SLOW)
    plan.race.drop(SLOW, "of its own")
    plan.leave_out_the_slow()
    assert plan.race.out == {SLOW.key: "of its own"}
    again = plan_of(task, Budget(trials=200), QUICK, SLOW)
    again.leave_out_the_slow()
    assert list(again.race.out) == [SLOW.key] and again.race.alive == [QUICK]


def test_what_is_known_of_the_data_and_of_the_run(task):
    noticed = [Finding(level="warning", text="odd rows")]
    made = plan_of(task, Budget(trials=5), QUICK, noticed=noticed).described()
    assert made["findings"][-1] == {"level": "warning", "text": "odd rows"} and made["warnings"][-1] == "odd rows"
    assert (made["metric"], made["seed"], made["name"], made["n"]) == (task.metric, 5, "few", N)
    assert made["target"] == "y" and made["classes"] == [0, 1] and made["class_counts"] == [30, 30]
