"""What a budget leaves out, at each bound: seconds forecast by hand, folds, the time that the rest needs, and why."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from smidgen.budget.budget import Budget
from smidgen.studies.candidates import BASELINE, Candidate
from smidgen.studies.race import Race
from smidgen.studies.slow import after_race, fewer_folds, longest_trial, race_trials, repeat_seconds, too_slow
from smidgen.tasks.read import read

FRAME = pd.DataFrame({"x": np.sqrt(np.arange(60)), "target": np.arange(60) % 2})
TASK = read(FRAME, "target", kind="classification")


def a(name, seconds, least=0.0, once=0.0):
    return Candidate("learn/" + name, "x", seconds=seconds, least=least, once=once)


def race_of(*found: Candidate, task=TASK) -> Race:
    return Race(task, list(found), np.full(len(found), 1 / len(found)), 0)


@pytest.mark.parametrize(
    ("seconds", "least", "folds", "repeat"),
    [
        (3.0, 2.0, 3, 6.0),  # two thirds of the rows in each fit
        (3.0, 2.0, 2, 4.0),  # and never less
        (3.0, 2.0, 6, 15.0),  # half of the way to all rows
        (3.0, 2.0, None, 8 * (3 - 3 / 8)),
        (3.0, 0.0, 6, 18.0),  # as of all
        (11.0, 11.0, None, 44.0),  # a costly one has four folds
    ],
)
def test_a_repeat_is_its_folds_fits(seconds, least, folds, repeat):
    c = a("a", seconds, least)
    assert repeat_seconds(race_of(c), c, folds) == pytest.approx(repeat)


@pytest.mark.parametrize(
    ("seconds", "least", "whole", "named", "folds"),
    [
        (0.25, 0.25, 4.0, False, None),  # 8 fits take the 2 s that any candidate has
        (0.3, 0.2, 4.0, False, 7),
        (0.3, 0.2, 4.0, True, None),  # 0.7 of 4 s
        (0.5, 0.5, 8.0, False, 8),  # over 3.2 s, and within 4 s: with the usual ones it may take so long
        (0.5, 0.5, 10.0, False, None),  # 0.4 of 10 s
        (1.0, 1.0, 6.0, False, 3),
        (1.0, 1.0, 5.8, False, None),  # three fits are beyond half of the time
        (1.0, 1.0, 5.8, True, 4),
        (1.0, 1.0, None, False, None),
    ],
)
def test_fewer_folds_at_each_bound(seconds, least, whole, named, folds):
    c = a("a", seconds, least)
    budget = Budget(trials=3) if whole is None else Budget(seconds=whole)
    assert fewer_folds(race_of(c), budget, named) == ({} if folds is None else {c.key: folds})


def test_a_few_trials_are_kept_for_the_curve_where_there_are_many():
    counts = [None if n is None else race_trials(TASK, Budget(trials=n)) for n in (1, 44, 45, 100)]
    assert counts == [1, 44, 36, 91] and race_trials(TASK, Budget(seconds=9.0)) is None


def test_what_follows_the_race_has_its_seconds():
    def of(found, task=TASK) -> Any:
        return SimpleNamespace(task=task, found=[None] * found)

    judging = 1 + 60 * 2 * 10 / 1e6
    assert after_race(of(10), 1000.0) == pytest.approx(judging + 50 + 120)
    assert after_race(of(10), 1000.0, 7.0) == pytest.approx(judging + 7 + 120)
    assert after_race(of(10), 1000.0, 0.0) == pytest.approx(judging + 120)
    assert after_race(of(10), 1.0) == pytest.approx(0.6)
    assert after_race(of(20_000), 1000.0, 0.0) == pytest.approx(1 + 2.4 + 120)
    assert after_race(of(50_000), 1000.0, 0.0) == pytest.approx(1 + 3 + 120)
    pool = read(FRAME, "target", kind="classification", unlabelled=pd.DataFrame({"x": [0.1, 0.2]}))
    assert after_race(of(0, pool), 1000.0) == pytest.approx(1 + 50 + 30 + 120)
    values = read(FRAME, "x", kind="regression")
    assert after_race(of(10_000, values), 1000.0, 0.0) == pytest.approx(1 + 0.6 + 120)


def test_a_trial_has_two_fifths_of_the_time_or_what_it_is_known_to_need():
    c, d = a("a", 1.0), a("b", 2.0)
    race = race_of(c, d)
    assert [longest_trial(race, whole, False) for whole in (4.0, 5.0, 10.0)] == [2.0, 2.0, 4.0]
    assert longest_trial(race, 10.0, True) == pytest.approx(1.3 * 16) and longest_trial(race, 100.0, True) == 40.0
    race.set_folds = {c.key: 5}
    assert longest_trial(race, 10.0, False) == pytest.approx(1.3 * 5)
    race.drop(d, "late")
    assert longest_trial(race, 10.0, True) == pytest.approx(1.3 * 5)
    race.drop(c, "late")
    assert longest_trial(race, 10.0, True) == 4.0


def test_under_a_count_what_nobody_would_wait_for_is_tried_by_name_alone():
    at, over, learns = a("a", 3.75), a("b", 3.76), a("c", 1.0, once=22.01)
    race = race_of(at, over, learns)
    why = "not tried: one repeat takes about 30 s{}; name it (--methods) or give --time"
    told = [(learns, why.format(" with its pretraining")), (over, why.format(""))]
    for budget, left in ((Budget(trials=9), None), (Budget(trials=9), 5.0), (Budget(trials=9, seconds=9.0), None)):
        assert too_slow(race, budget, False, left) == told
        assert too_slow(race, budget, True, left) == []
    assert too_slow(race, Budget(), False, None) == []  # a replay


def test_under_a_clock_what_takes_most_of_it_is_left_out_and_the_quickest_never():
    base, quick, slow = Candidate(BASELINE, "x", seconds=0.001), a("a", 1.25), a("b", 1.5)
    race = race_of(base, quick, slow)
    said = "not tried: one repeat takes about 12 s, of the 15 s that there are"
    assert too_slow(race, Budget(seconds=40.0), False, 15.0) == [(slow, said)]  # 12 of 10.5 s; 10 are within
    assert too_slow(race, Budget(seconds=40.0), False, 14.0)[0][0] == slow  # the other is the quickest
    assert len(too_slow(race, Budget(seconds=40.0), False, 14.0)) == 1
    assert too_slow(race, Budget(seconds=40.0), False, 17.2) == []
    assert [c for c, _ in too_slow(race, Budget(seconds=40.0), True, 12.0)] == []  # it was named, and just ends
    assert [c for c, _ in too_slow(race, Budget(seconds=40.0), True, 11.9)] == [slow]
    alone = race_of(Candidate(BASELINE, "x", seconds=9.0))
    assert too_slow(alone, Budget(seconds=40.0), False, 1.0) == []


def test_a_repeat_longer_than_any_trial_may_take_is_left_out():
    quick, at, over, learns = a("a", 0.1), a("b", 1.0), a("c", 1.01), a("d", 0.5, once=6.0)
    race, budget = race_of(quick, at, over, learns), Budget(seconds=20.0)
    assert [c for c, _ in too_slow(race, budget, False, 18.0)] == [over]  # 8.08 of 8 s; learning is no trial
    assert [c for c, _ in too_slow(race, budget, True, 8.05)] == [learns, over]
    (said,) = (why for c, why in too_slow(race, budget, True, 9.0) if c == learns)
    assert said == "not tried: one repeat takes about 10 s with its pretraining, of the 9 s that there are"
