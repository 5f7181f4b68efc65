"""Hours and megabytes: told from a study's own trials, bought where they help, and never without a reason."""

from contextlib import closing
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer

import smidgen
from smidgen.kit.errors import BadInput
from smidgen.laws.allocate import Split
from smidgen.studies import buying
from smidgen.studies.choose import choose
from smidgen.studies.losses import Scale
from smidgen.studies.other_offers import Other, Step, wall_hours, with_others
from smidgen.studies.other_results import DRAWS, alone
from smidgen.studies.pool import InlinePool
from smidgen.studies.prices import offers_of
from smidgen.studies.ready import ready
from smidgen.studies.size import limit_for, needs, within_size
from smidgen.studies.size_ladder import ladder, whole
from smidgen.studies.store import RunStore
from smidgen.studies.study_board import study_board

METHODS = "logistic,naive_bayes,lda,knn"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("others")
    data = load_breast_cancer(as_frame=True).frame.sample(40, random_state=1)
    data.iloc[:, [0, 1, 2, 5, -1]].to_csv(folder / "few.csv", index=False)
    return folder


def fitted(place, name, **more):
    return smidgen.fit(
        place / "few.csv", "target", out=place / name, metric="log_loss", workers=1,
        store=str(place / f"{name}.db"), **more,
    )  # fmt: skip


def board_of(place, name):
    with closing(RunStore(str(place / f"{name}.db"))) as runs:
        found = runs.studies()[0]
        return study_board(ready(found, None), found, runs), found


def test_hours_of_a_search_that_was_cut_short(place, inline):
    made = fitted(place, "cut", trials=3, methods=METHODS)
    found = smidgen.plan(made, {"hour": 1.2}, 1, target=1e-3, store=str(place / "cut.db"))
    assert found["forecasts"] and found["measured"]["trainings"] == 0 and found["target"] is None
    for f in found["forecasts"]:
        assert (f["purchase"], f["metric"], f["level"]) == ("hour", "log_loss", 0.9)
        assert f["cost"] == pytest.approx(1.2 * f["amount"], rel=0.01) and f["amount"] < f["total"] < 0.1
        assert f["interval"][0] < f["estimate"] < f["interval"][1]
    assert "1 method was not tried" in " ".join(found["sentences"]) and "luck" in " ".join(found["sentences"])
    with pytest.raises(BadInput, match="spend: expected at least .* the cheapest purchase"):
        smidgen.plan(made, {"hour": 1.2}, 1e-6, store=str(place / "cut.db"))
    known, study = board_of(place, "cut")
    assert len(known.left) == 1 and known.left[0].key not in known.results
    whole_study = smidgen.studies.fit.resume(study.id, store=str(place / "cut.db"), trials=8, workers=1)
    again = smidgen.plan(whole_study, {"hour": 1.2}, 1, store=str(place / "cut.db"))
    assert again["forecasts"] == []
    assert "would bring nothing" in again["sentence"] and "only repeat" in again["sentence"]


def test_too_few_methods_tried_is_no_forecast(place, inline):
    made = fitted(place, "two", trials=2, methods=METHODS)
    found = smidgen.plan(made, {"hour": 1.2}, 1, store=str(place / "two.db"))
    assert found["forecasts"] == [] and "2 that were are too few" in found["sentence"]


def test_megabytes_are_the_best_choice_under_each_bound(place, inline):
    made = fitted(place, "small", trials=12, methods=METHODS, size="8KB")
    known, found = board_of(place, "small")
    scale, limit = Scale.of("log_loss"), 8_000
    top = whole(known)
    need = needs(known.tried, known.sizes, known.race)
    weights = choose(known.board(known.tried), known.race.choice).weights
    assert top == limit_for(float(need[weights > 0].sum())) > limit
    chosen, _ = within_size(known.tried, known.board(known.tried), known.race, known.sizes, top)
    assert ((chosen.weights > 0) == (weights > 0)).all()
    less, _ = within_size(known.tried, known.board(known.tried), known.race, known.sizes, top - 1_000)
    assert ((less.weights > 0) != (weights > 0)).any() and [limit_for(n) for n in (5e5, 7e5)] == [504_000, 900_000]
    rungs = ladder(known, scale, limit, DRAWS, 0)
    assert [r.limit for r in rungs] == sorted({r.limit for r in rungs})
    assert limit < rungs[0].limit <= rungs[-1].limit <= top
    assert ladder(known, scale, top, 400, 0) == []
    told = smidgen.plan(made, {"mb": 2.0}, 50, store=str(place / "small.db"))
    assert [f["amount"] for f in told["forecasts"]] == pytest.approx([(r.limit - limit) / 1e6 for r in rungs], rel=0.01)
    changes = [np.log(f["estimate"] / told["now"]["estimate"]) for f in told["forecasts"]]
    assert changes == pytest.approx([np.median(r.change_K) for r in rungs], abs=1e-3) and min(changes) < -0.02
    assert told["forecasts"][0]["interval"] != told["forecasts"][-1]["interval"]
    bought = told["split"]["mb"] > 0
    assert bought == (min(np.mean(r.change_K) for r in rungs) < 0)
    assert f"resume {found.id} --size" in " ".join(told["sentences"])
    beside, inside = place / "small-report.html", place / "small" / "report.html"
    assert told["report"] == str(beside) and "What to buy next" in beside.read_text() and not inside.exists()
    inside.write_text("small")  # there is one, but the plan in it would break the bound
    smidgen.plan(made, {"mb": 2.5}, 50, store=str(place / "small.db"))
    assert inside.read_text() == "small" and "2.5" in beside.read_text()


def test_an_unbounded_model_gains_nothing_by_megabytes_and_the_plan_goes_on(place, inline, monkeypatch):
    monkeypatch.setattr(buying, "Pool", InlinePool)
    made = fitted(place, "free", trials=6, methods="logistic,naive_bayes")
    found = smidgen.plan(made, {"mb": 1, "label": 1, "hour": 1}, 50, store=str(place / "free.db"), workers=1)
    assert [u["purchase"] for u in found["unknown"]] == ["mb", "hour"] and found["split"].keys() == {"label"}
    assert "not bounded in size" in " ".join(found["sentences"])


def test_a_step_is_bought_where_it_helps_and_the_rest_of_the_money_is_split():
    draws = 50
    hour, mb = offers_of({"hour": 2.0, "mb": 1.0})
    good = Other(hour, (Step(1.0, 1.0, np.full(draws, -0.1), ""), Step(10.0, 10.0, np.full(draws, -0.3), "")))
    bad = Other(mb, (Step(1.0, 1.0, np.full(draws, 0.1), ""),))

    def rows(money: float) -> Split:
        return Split(np.array([money]), np.exp(np.full(draws, -0.01 * money)), np.ones(1))

    split, beside, log_K = with_others(rows, [good, bad], 21.0, np.zeros(draws))
    assert [(o.offer.name, s.amount) for o, s in beside] == [("hour", 10.0)] and split.money.sum() == pytest.approx(1.0)
    assert log_K == pytest.approx(-0.31)
    split, beside, _ = with_others(rows, [good, bad], 19.0, np.zeros(draws))  # the larger step is too dear
    assert [s.amount for _, s in beside] == [1.0] and split.money.sum() == pytest.approx(17.0)
    assert with_others(rows, [bad], 5.0, np.zeros(draws))[1] == []


def test_results_gone_from_the_store_are_left_out(place, inline):
    fitted(place, "gone", trials=6, methods="logistic,naive_bayes")
    with closing(RunStore(str(place / "gone.db"))) as runs:
        found = runs.studies()[0]
        board = study_board(ready(found, None), found, runs)
        frame = pd.read_csv(place / "few.csv")
        assert len(board.results) == 2 and len(board.board(board.tried).truth) == len(frame)
        assert found.summary is not None
        for note, left in (
            ("failed: ValueError", []),
            ("not finished: the time ended", ["learn/naive_bayes"]),
            ("failed: took longer than its 24 s", ["learn/naive_bayes"]),
        ):
            for row in found.summary["leaderboard"]:
                if row["method"] == "learn/naive_bayes":
                    row |= {"estimate": None, "note": note, "repeats": 0}
            assert [c.method for c in study_board(ready(found, None), found, runs).left] == left
    with closing(RunStore(str(place / "empty.db"))) as runs:
        assert study_board(ready(found, None), found, runs).results == {}


def test_one_method_is_no_quicker_on_eight_workers():
    assert wall_hours(np.array([2.0]), 8) == 2.0 and wall_hours(np.array([2.0, 1.0, 1.0]), 2) == 2.0
    assert wall_hours(np.full(16, 0.5), 4) == 2.0


def test_a_target_of_zero_is_a_target():
    (hour,) = offers_of({"hour": 1.0})
    own: Any = SimpleNamespace(task=range(40), scale=Scale.of("r2"), estimate=-0.2, seed=0, measured="ridge")
    study: Any = SimpleNamespace(id="made", summary={"interval": [-0.4, -0.1]})
    others = [Other(hour, (Step(0.01, 0.02, np.full(DRAWS, -0.3), "go on"),))]
    found = alone(study, own, [hour], others, [], 1.0, 0.0)
    assert found["target"]["amount"] == 0.01 and "36 seconds" in found["sentence"]
    assert alone(study, own, [hour], [], [], 1.0, 0.0)["target"] is None
