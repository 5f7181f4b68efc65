"""What a budget leaves out, and what it tries on fewer folds instead."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from misfits import LIGHT

from smidgen.budget.budget import Budget
from smidgen.studies import candidates as forecasting
from smidgen.studies import ready as studied
from smidgen.studies.candidates import Candidate
from smidgen.studies.curve import curve_member
from smidgen.studies.fit import fit
from smidgen.studies.race import Race
from smidgen.studies.ready import ready
from smidgen.studies.slow import FEWEST, fewer_folds, longest_trial, repeat_seconds, too_slow
from smidgen.studies.store import RunStore
from smidgen.studies.study_board import study_board
from smidgen.tasks.read import read

TASK = read(pd.DataFrame({"x": np.sqrt(np.arange(60)), "target": np.arange(60) % 2}), "target", kind="classification")


def race_of(*found: Candidate) -> Race:
    return Race(TASK, list(found), np.full(len(found), 1 / len(found)), 0)


@given(st.floats(0.01, 60), st.floats(0.01, 1), st.floats(5, 600), st.booleans())
def test_as_many_folds_as_the_time_allows_and_three_at_least(seconds, share, whole, named):
    race, budget = race_of(Candidate("learn/a", "x", seconds=seconds, least=share * seconds)), Budget(seconds=whole)
    c, most, on_few = (
        race.found[0],
        max(2.0, (0.7 if named else 0.4) * whole),
        max(2.0, (0.7 if named else 0.5) * whole),
    )
    usual = race.folds_of(c)
    race.set_folds = fewer_folds(race, budget, named)
    folds = race.folds_of(c)
    assert FEWEST <= folds <= usual
    least, most_of_all = (repeat_seconds(race, c, k) / k for k in (3, 10**9))
    assert (least, most_of_all) == (pytest.approx(share * seconds), pytest.approx(seconds))
    if c.key in race.set_folds:
        assert repeat_seconds(race, c) <= on_few and repeat_seconds(race, c, usual) > most
        assert folds == usual or on_few < repeat_seconds(race, c, folds + 1)
    else:
        assert folds == usual and (repeat_seconds(race, c) <= most or repeat_seconds(race, c, FEWEST) > on_few)
    assert fewer_folds(race_of(c), Budget(trials=5), named) == {}


def test_what_fits_on_fewer_folds_is_not_left_out():
    quick, slow, hopeless = (Candidate("learn/" + name, "x", seconds=s) for name, s in (("a", 0.1), ("b", 3), ("c", 9)))
    race, budget = race_of(quick, slow, hopeless), Budget(seconds=20)
    before = too_slow(race, budget, False, 17.0)
    race.set_folds = fewer_folds(race, budget, False)
    assert race.set_folds == {slow.key: 3}
    assert [longest_trial(race, whole, False) for whole in (40.0, 20.0)] == pytest.approx([16.0, 11.7])
    assert [c for c, _ in before] == [slow, hopeless]
    assert [c for c, _ in too_slow(race, budget, False, 17.0)] == [hopeless]


def test_a_curve_is_drawn_of_the_heaviest_member_that_has_the_time():
    weights, fits = np.array([0.5, 0.2, 0.3]), [5.0, 0.1, 1.0]
    for seconds, member in ((None, 0), (15.0, 0), (14.9, 2), (3.0, 2), (2.9, 1), (0.2, 0)):  # three sizes
        assert curve_member(TASK, weights, fits, seconds) == member


def test_plans_measure_the_heaviest_member_that_is_quick(monkeypatch):
    cost = {"learn/svm": 9.0, "learn/knn": 0.1, "learn/lda": 0.2, "learn/label_spreading": 9.0}
    monkeypatch.setattr(studied, "forecast", lambda card, task, view: (cost[card.name], 0, 0.0))

    def measured(**weights):
        rows = [{"method": f"learn/{name}", "view": "linear", "weight": w} for name, w in weights.items()]
        return studied._measured(TASK, rows)[0]["method"].partition("/")[2]

    assert measured(knn=0.1, svm=0.5, lda=0.4) == "lda"
    assert measured(svm=0.9, knn=None) == "svm"
    assert measured(knn=0.1, label_spreading=0.2, svm=0.7) == "label_spreading"  # it tells what such rows bring


def test_a_study_says_on_how_many_folds_and_is_read_and_replayed_so(table, inline, tmp_path, monkeypatch):
    few = tmp_path / "few.csv"
    table("tab_wine", 40).to_csv(few, index=False)
    real = forecasting.forecast

    def slow(card, task, view):
        return (2.5, 0, 0.0) if card.name == "learn/lda" else real(card, task, view)

    kept = {"methods": LIGHT, "store": str(tmp_path / "r.db"), "workers": 1, "out": tmp_path / "model"}
    with monkeypatch.context() as patch:
        patch.setattr(forecasting, "forecast", slow)
        timed = fit(str(few), "target", time=12, **kept)
        folds = {row["method"]: row["folds"] for row in timed.summary["leaderboard"]}
        assert folds.pop("learn/lda") == 3 and set(folds.values()) == {8}
        with RunStore(kept["store"]) as runs:
            found = runs.study(timed.study)
            board = study_board(ready(found, None), found, runs)
            assert "learn/lda" in [c.method for c in (*board.tried, *board.early)]
    again = fit(str(few), "target", replay=timed.study, **kept)
    assert again.summary["spent"]["reused"] == again.summary["spent"]["trials"]
    assert again.summary["estimate"] == timed.summary["estimate"]
