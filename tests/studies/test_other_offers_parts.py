"""Hours and megabytes by hand: what each step costs, on what it rests, and why there is none."""

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from smidgen.kit.seeds import derive_seed
from smidgen.laws.allocate import Split
from smidgen.learn.blend import tempered
from smidgen.studies import other_offers as module
from smidgen.studies import priors
from smidgen.studies.candidates import BASELINE, Candidate
from smidgen.studies.choose import choose
from smidgen.studies.losses import Scale
from smidgen.studies.other_offers import (
    LEAST_MONEY,
    Other,
    Step,
    _hours,
    _log_loss,
    _measured,
    _megabytes,
    _paces,
    _search,
    other_offers,
    wall_hours,
    with_others,
)
from smidgen.studies.prices import offers_of
from smidgen.studies.race import Race
from smidgen.studies.ready import Ready
from smidgen.studies.result import Result
from smidgen.studies.search_luck import Search
from smidgen.studies.size_ladder import Rung
from smidgen.studies.study_board import StudyBoard
from smidgen.tasks.read import read

HOUR, MB = offers_of({"hour": 2.0, "mb": 3.0})
N = 40
TRIED = [Candidate(m, "linear", seconds=s) for m, s in
         ((BASELINE, 0.01), ("learn/lda", 0.2), ("learn/naive_bayes", 0.1), ("learn/knn", 0.05))]  # fmt: skip
EARLY = Candidate("learn/svm", "linear", seconds=0.4)
LEFT = [Candidate(f"learn/{name}", "linear", seconds=s, once=o) for name, s, o in
        (("forest", 3.0, 0.0), ("logistic", 1.0, 20.0), ("extra_trees", 2.0, 0.0), ("ridge", 0.5, 0.0),
         ("lightgbm", 4.0, 0.0))]  # fmt: skip


@pytest.fixture(scope="module")
def task():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=N), "b": rng.normal(size=N), "who": np.arange(N) // 2})
    return read(frame.assign(y=np.arange(N) % 2), "y", kind="classification", group="who")


def board_of(task, left=LEFT, tried=TRIED, early=(EARLY,)):
    rng = np.random.default_rng(1)
    found = [*tried, *early, *left]
    race = Race(task, found, np.full(len(found), 1 / len(found)), 0)
    results = {}
    for k, c in enumerate([*tried, *early]):
        right = np.clip(0.55 + 0.08 * k + 0.2 * rng.normal(size=(2, N)), 0.05, 0.95)
        p = np.where(np.arange(2) == task.target[None, :, None], right[..., None], 1 - right[..., None])
        results[c.key] = [Result(p[r], seconds=(k + 1.0) * (1 + r)) for r in range(2 if c in tried else 1)]
    return StudyBoard(list(tried), list(early), results, list(left), race)


def own_of(task):
    return Ready(task, Scale.of("log_loss"), "learn/lda", "linear", {}, 3, 8, 0.5)


def study(**more: Any) -> Any:
    return SimpleNamespace(**{"id": "made-1", "asked": {"workers": 2}, "summary": {"seconds": 720.0}, **more})


# -- hours --


def test_a_search_is_told_by_the_first_repeat_of_what_was_measured(task):
    known = board_of(task)
    of = _measured(known)
    assert of == [*TRIED[1:], EARLY]
    search = _search(known, own_of(task), study())
    board = known.board(of, 1)
    log_t = choose(board, known.race.choice).log_t
    seen = [tempered(known.results[c.key][0].predictions, log_t[k]) for k, c in enumerate(of)]
    rows_NC = np.array([-np.log(p[np.arange(N), task.target]) for p in seen]).T
    assert search.losses_C == pytest.approx(np.log(rows_NC.mean(0)))
    rng, drawn = np.random.default_rng(derive_seed(3, "rows of a search")), []
    for _ in range(60):  # persons, with both of their rows
        who = rng.integers(0, N // 2, N // 2)
        log = np.log(rows_NC[np.concatenate([2 * who, 2 * who + 1])].mean(0))
        drawn.append(log - np.median(log))
    assert search.noise_C == pytest.approx(np.std(drawn, axis=0)) and search.noise_C.min() > 1e-3
    both = priors.excess(task, [*of, *LEFT])
    assert search.ranks_C == pytest.approx(both[:4]) and search.ranks_L == pytest.approx(both[4:])
    paces = [known.seconds[c.key] / (8 * c.seconds) for c in of]
    assert _paces(known, of) == pytest.approx(np.median(paces))
    assert known.race.repeats == 6  # of the further five, three in five are gone through
    folds = [8 * c.seconds * 4.0 + c.once for c in LEFT]
    assert search.hours_L * 3600 == pytest.approx(np.array(folds) * np.median(paces))


def test_what_takes_no_time_by_forecast_has_a_bounded_pace(task):
    quick = [Candidate("learn/lda", "linear"), Candidate("learn/knn", "linear", seconds=1.0)]
    known = board_of(task, tried=quick, early=())
    assert _paces(known, quick[:1]) == pytest.approx(1.5 / 1e-3) and _paces(known, quick[1:]) == pytest.approx(3.0 / 8)


def test_hours_are_those_of_a_quarter_a_half_and_all_of_what_is_left(task):
    known = board_of(task)
    search = _search(known, own_of(task), study())
    made = _hours(HOUR, known, own_of(task), study(), 50)
    assert isinstance(made, Other) and made.offer is HOUR
    how = (
        "5 methods were not tried (smidgen studies resume made-1 with more --time or --trials); what they bring is the "
        "search's luck, told from how far the 4 that were tried differ"
    )
    for step, count in zip(made.steps, (1, 2, 5), strict=True):
        hours = search.hours_L[:count]
        assert step.amount == pytest.approx(max(hours.sum() / 2, hours.max())) == wall_hours(hours, 2)
        assert step.total == pytest.approx(step.amount + 0.2) and step.how == how
        assert np.array_equal(step.change_K, search.change(count, 50, 3))
        assert made.cost(step) == pytest.approx(2 * step.amount)
    eight = _hours(HOUR, board_of(task, [*LEFT, *LEFT[:3]]), own_of(task), study(summary=None, asked={}), 9)
    assert isinstance(eight, Other) and len(eight.steps) == 3 and eight.steps[0].total == eight.steps[0].amount
    one = _hours(HOUR, board_of(task, LEFT[:1]), own_of(task), study(summary={"seconds": None}), 9)
    assert isinstance(one, Other) and len(one.steps) == 1
    assert one.steps[0].how.startswith("1 method was not tried (") and one.steps[0].total == one.steps[0].amount


def test_there_are_no_hours_where_all_was_tried_or_too_little(task):
    assert _hours(HOUR, board_of(task, []), own_of(task), study(), 9) == {
        "why": "all methods that suit were tried to the end, and more hours would only repeat that", "nothing": "yes"
    }  # fmt: skip
    few = board_of(task, tried=TRIED[:3], early=())
    assert _hours(HOUR, few, own_of(task), study(), 9) == {
        "why": "5 methods were not tried, and the 2 that were are too few to say what others bring: go on with the "
        "study (smidgen studies resume made-1 with more --time or --trials) and plan again"
    }
    three = board_of(task, tried=TRIED[:3])
    assert isinstance(_hours(HOUR, three, own_of(task), study(), 9), Other)


def test_losses_are_logarithms_and_never_of_nothing():
    scale = Scale.of("accuracy")
    p = np.array([[0.9, 0.1], [0.4, 0.6], [0.8, 0.2]])
    assert _log_loss(scale, np.array([0, 0, 0]), p) == pytest.approx(math.log(1 / 3))
    assert _log_loss(scale, np.array([0, 0, 0]), p, np.array([1.0, 3.0, 0.0])) == pytest.approx(math.log(0.75))
    assert _log_loss(scale, np.array([0, 1, 0]), p) == pytest.approx(math.log(1e-4))


def test_values_are_not_tempered():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=N), "y": rng.normal(size=N)})
    task = read(frame, "y", kind="regression")
    found = [Candidate(m, "linear", seconds=0.1) for m in ("learn/ridge", "learn/knn", "learn/svm")]
    race = Race(task, [*found, LEFT[0]], np.full(4, 0.25), 0)
    values = {c.key: [Result(task.target + k + 1.0, seconds=1.0)] for k, c in enumerate(found)}
    known = StudyBoard(found, [], values, LEFT[:1], race)
    own = Ready(task, Scale.of("rmse"), "learn/ridge", "linear", {}, 0, 8, 1.0)
    search = _search(known, own, study())
    assert search.losses_C == pytest.approx(np.log([1.0, 2.0, 3.0])) and (search.noise_C == 1e-3).all()
    assert isinstance(search, Search)


# -- megabytes --


def test_megabytes_above_a_bound(task, monkeypatch):
    rungs = [Rung(1_500_000, np.full(5, -0.1)), Rung(4_000_100, np.full(5, -0.2))]
    monkeypatch.setattr(module, "ladder", lambda known, scale, limit, draws, seed: rungs if limit == 10**6 else [])
    known, own = board_of(task), own_of(task)
    made = _megabytes(MB, known, own, study(asked={"size": "1MB"}), 5)
    assert isinstance(made, Other) and [(s.amount, s.total) for s in made.steps] == [(0.5, 1.5), (3.0001, 4.0001)]
    rest = "; its trials are there, and only the model is trained again"
    assert [s.how for s in made.steps] == [
        f"allow it with smidgen studies resume made-1 --size {size}KB{rest}" for size in (1500, 4001)
    ]
    assert [s.change_K for s in made.steps] == [r.change_K for r in rungs] and made.best is made.steps[1]
    assert _megabytes(MB, known, own, study(asked={"size": "2MB"}), 5) == {
        "why": "all that would be chosen fits into the 2.0 MB that are allowed", "nothing": "yes"
    }  # fmt: skip
    single = board_of(task, tried=TRIED[:1])
    assert _megabytes(MB, single, own, study(asked={"size": "1MB"}), 5) == {
        "why": "fewer than two methods were tried to the end, so that nothing is known of larger models"
    }
    assert isinstance(_megabytes(MB, board_of(task, tried=TRIED[:2]), own, study(asked={"size": "1MB"}), 5), Other)


@pytest.mark.parametrize(
    ("summary", "has"),
    [({"spent": {"model_bytes": 2500}}, " (it has 2.5 KB)"), ({"spent": {}}, ""), ({}, ""), (None, "")],
)
def test_an_unbounded_model_has_all_megabytes(task, summary, has):
    assert _megabytes(MB, board_of(task), own_of(task), study(summary=summary, asked={}), 5) == {
        "why": f"the study's model was not bounded in size{has}, and no larger one was left out", "nothing": "yes"
    }  # fmt: skip


def test_each_offer_is_told_or_the_reason_why_not(task, monkeypatch):
    reads = []
    monkeypatch.setattr(module, "study_board", lambda *given: reads.append(given) or board_of(task))
    offers = offers_of({"label": 1.0, "hour": 2.0, "mb@8": 1.0, "mb": 3.0})
    runs: Any = object()
    found = study()
    told, unknown = other_offers(offers, own_of(task), found, runs, 9)
    assert [o.offer.name for o in told] == ["hour"] and [u["purchase"] for u in unknown] == ["mb"]
    assert unknown[0]["nothing"] == "yes" and "not bounded" in unknown[0]["why"] and len(reads) == 1
    reads.clear()
    assert other_offers([offers[0], offers[2]], own_of(task), found, runs, 9) == ([], []) and reads == []


# -- what is bought beside rows --


def steps_of(name, price, *steps):
    (offer,) = offers_of({name: price})
    return Other(offer, tuple(Step(a, a, np.full(4, c), "") for a, c in steps))


def rows(money: float) -> Split:
    return Split(np.array([money]), np.full(4, math.exp(-0.1 * money)), np.ones(1))


def test_at_most_one_step_of_each_offer_and_none_that_is_less():
    hour, mb = steps_of("hour", 1.0, (1.0, -0.2), (2.0, -0.25)), steps_of("mb", 1.0, (-1.0, -9.0), (0.0, -0.05))
    split, way, log_K = with_others(rows, [hour, mb], 3.0, np.zeros(4))
    assert [(o.offer.name, s.amount) for o, s in way] == [("hour", 1.0), ("mb", 0.0)]
    assert split.money.tolist() == [2.0] and log_K == pytest.approx(-0.45)


def test_the_last_of_the_money_may_go_to_a_step():
    hour = steps_of("hour", 2.0, (1.0, -0.5), (1.5, -2.0))
    split, way, log_K = with_others(rows, [hour], 2.0, np.zeros(4))
    assert [s.amount for _, s in way] == [1.0] and split.money.tolist() == [LEAST_MONEY] and log_K.shape == (4,)
    assert log_K == pytest.approx(-0.5) and with_others(rows, [hour], 1.99, np.zeros(4))[1] == []


def test_a_model_is_bounded_at_one_width_of_its_weights():
    plain, eight = steps_of("mb", 1.0, (1.0, -0.3)), steps_of("mb@8", 1.0, (1.0, -0.4))
    _, way, log_K = with_others(rows, [plain, eight], 2.0, np.zeros(4))
    assert [o.offer.name for o, _ in way] == ["mb@8"] and log_K == pytest.approx(-0.5)


def test_no_loss_is_below_the_least_and_the_mean_decides():
    nothing = Split(np.zeros(1), np.zeros(4), np.zeros(1))
    assert with_others(lambda money: nothing, [], 1.0, np.zeros(4))[2] == pytest.approx(math.log(1e-12))
    one, other = (Other(HOUR, (Step(1.0, 1.0, np.array(c), ""),)) for c in ([-4.0, 1, 1, 1], [-0.1, -0.1, -0.1, 0.5]))
    flat = Split(np.zeros(1), np.ones(4), np.zeros(1))
    assert len(with_others(lambda money: flat, [one], 9.0, np.zeros(4))[1]) == 1
    assert with_others(lambda money: flat, [other], 9.0, np.zeros(4))[1] == []


def test_work_is_shared_and_one_method_is_not():
    assert wall_hours(np.array([3.0, 1.0]), 2) == 3.0 and wall_hours(np.array([3.0, 2.0, 3.0]), 2) == 4.0
