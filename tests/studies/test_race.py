"""The race: the hopeless leave, the baseline and a few stay, and nothing depends on who was quicker."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smidgen.studies.candidates import BASELINE, Candidate
from smidgen.studies.race import Race, RaceConfig, folds_at, folds_for
from smidgen.tasks.read import read

N = 60


@pytest.fixture(scope="module")
def task():
    rng = np.random.default_rng(0)
    return read(
        pd.DataFrame({"x": rng.normal(size=N), "y": rng.normal(size=N), "target": np.arange(N) % 2}),
        "target",
        kind="classification",
    )


def predictions(task, skill: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    up = 1 / (1 + np.exp(-(skill * np.where(task.target == 1, 1, -1) + rng.normal(size=len(task)) / 2)))
    return np.c_[1 - up, up]


def race_of(task, count=8, **config):
    found = [Candidate(f"learn/m{i}", "linear") for i in range(count)] + [Candidate(BASELINE, "linear")]
    return Race(task, found, np.full(len(found), 1 / len(found)), 0, config=RaceConfig(**config))


def run_round(race, task, repeat, skill):
    for c, trial in race.round(repeat):
        race.record(c, trial, predictions(task, skill(c), repeat))


@given(st.integers(2, 10**6), st.integers(1, 10**6))
def test_folds_fit_the_rows(units, largest):
    assert 2 <= folds_for(units, largest) <= max(2, min(units, largest, 10))
    assert folds_for(units, units) >= folds_for(units * 2, units * 2) or units < 10


def test_the_first_round_tries_all_the_baseline_first_then_by_prior(task):
    found = [
        Candidate("learn/b", "tree"),
        Candidate("learn/a", "linear"),
        Candidate("learn/a", "tree"),
        Candidate(BASELINE, "linear"),
        Candidate("learn/z", "x"),
    ]
    race = Race(task, found, np.array([0.1, 0.1, 0.1, 0.1, 0.6]), 7)
    first = race.round(0)
    assert [c.key for c, _ in first] == [
        (BASELINE, "linear"),
        ("learn/z", "x"),
        ("learn/a", "linear"),
        ("learn/a", "tree"),
        ("learn/b", "tree"),
    ]
    assert race.prior.tolist() == [0.1, 0.6, 0.1, 0.1, 0.1]
    assert {t.draw for _, t in first} == {f"cv:k={race.folds}:r=0"} and {t.seed for _, t in first} == {7}
    assert {t.task for _, t in first} == {task.fingerprint} and len({t.key for _, t in first}) == 5
    assert {t.key for _, t in first}.isdisjoint(t.key for _, t in race.round(1))


def test_the_hopeless_leave_with_the_reason(task):
    race = race_of(task)
    run_round(
        race,
        task,
        0,
        lambda c: (
            2.0
            if c.method in ("learn/m0", "learn/m1", "learn/m2", "learn/m3")
            else -2.0
            if c.method != BASELINE
            else 0.0
        ),
    )
    race.close()
    assert {c.method for c in race.alive} == {"learn/m0", "learn/m1", "learn/m2", "learn/m3", BASELINE}
    assert all("stopped early: behind by" in why and "1 repeat" in why for why in race.out.values())
    assert len(race.round(1)) == 5


def test_a_few_always_stay_and_equals_are_not_told_apart(task):
    race = race_of(task, keep=4)
    run_round(race, task, 0, lambda c: 3.0 if c.method == "learn/m5" else -3.0)
    race.close()
    assert (
        len(race.alive) >= 4
        and "learn/m5" in {c.method for c in race.alive}
        and BASELINE in {c.method for c in race.alive}
    )
    equal = race_of(task)
    run_round(equal, task, 0, lambda c: 1.0)
    equal.close()
    assert len(equal.alive) == 9


def test_no_more_than_a_few_are_never_judged(task):
    race = race_of(task, count=3, keep=4)
    run_round(race, task, 0, lambda c: 3.0 if c.method == "learn/m0" else -3.0)
    race.close()
    assert len(race.alive) == 4


def test_comparisons_are_made_on_what_all_have(task):
    race = race_of(task, count=3)
    assert race.complete() == ([], 0)
    run_round(race, task, 0, lambda c: 1.0)
    c, trial = race.round(1)[1]
    race.record(c, trial, predictions(task, 1.0, 1))
    tried, board = race.board()
    assert len(tried) == 4 and board.predictions.shape == (4, 1, N, 2) and board.prior.sum() == pytest.approx(1)
    np.testing.assert_array_equal(board.predictions[1, 0], predictions(task, 1.0, 0))
    race.drop(race.found[-1], "failed")
    assert len(race.complete()[0]) == 3
    assert race.used == [t.key for _, t in race_of(task, count=3).round(0)] + [trial.key]


def test_the_board_keeps_each_candidate_with_its_prior_and_predictions(task):
    race = race_of(task, count=2)
    race.prior = np.array([0.2, 0.5, 0.3])
    skills = {c.key: i for i, c in enumerate(race.found)}
    run_round(race, task, 0, lambda c: skills[c.key])
    race.drop(race.found[0], "x")
    tried, board = race.board()
    assert [c.key for c in tried] == [c.key for c in race.found[1:]]
    np.testing.assert_allclose(board.prior, [0.625, 0.375])
    for i, c in enumerate(tried):
        np.testing.assert_array_equal(board.predictions[i, 0], predictions(task, skills[c.key], 0))


def test_few_rows_get_more_repeats():
    rng = np.random.default_rng(0)

    def repeats(n):
        frame = pd.DataFrame({"x": rng.normal(size=n), "target": np.arange(n) % 2})
        return race_of(read(frame, "target", kind="classification"), count=1).repeats

    made = [repeats(n) for n in (10, 60, 400, 5000)]
    assert made == sorted(made, reverse=True) and made[0] == RaceConfig().max_repeats and made[1] > 1 and made[-1] == 1


def test_of_equal_priors_the_quick_come_first_and_costly_fits_have_fewer_folds(task):
    found = [
        Candidate("learn/a", "x", seconds=50.0),
        Candidate("learn/b", "x", seconds=0.1),
        Candidate("learn/c", "x", seconds=20.0),
        Candidate("learn/d", "x", seconds=0.2),
    ]
    race = Race(task, found, np.array([0.2, 0.2, 0.2, 0.4]), 0)
    draws = [(c.method[-1], trial.draw) for c, trial in race.round(0)]
    assert draws == [("d", "cv:k=8:r=0"), ("b", "cv:k=8:r=0"), ("c", "cv:k=4:r=0"), ("a", "cv:k=3:r=0")]
    assert folds_at(50.0, 2) == 2  # never more than the rows allow
