"""Rows without labels: which are named and drawn, how far apart they are, encoders within their time."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from bare_races import Race

from smidgen.kit.errors import BudgetSpent
from smidgen.kit.seeds import derive_seed
from smidgen.studies import encoding, unlabelled
from smidgen.studies.candidates import BASELINE, Candidate
from smidgen.studies.encoding import encode_within, while_opened
from smidgen.studies.unlabelled import _different, _map, _named, another_kind, dense, pool_of, told_apart


def test_a_pool_is_all_rows_or_so_many_drawn_at_random(monkeypatch):
    frame = pd.DataFrame({"x": np.arange(30.0)}, index=np.arange(30)[::-1])
    task: Any = SimpleNamespace(unlabelled=frame, pool_groups=np.arange(30) // 3)
    for most, count in ((30, 30), (29, 29), (7, 7)):
        monkeypatch.setattr(unlabelled, "MOST_POOL", most)
        rows, said = pool_of(task, 2)
        taken = np.arange(30)
        if count < 30:
            taken = np.sort(np.random.default_rng(derive_seed(2, "pool")).permutation(30)[:count])
            assert [f.text for f in said] == [
                f"{count} of the 30 rows without labels, drawn at random, are learnt from."
            ]
            assert said[0].level == "note"
        else:
            assert said == []
        assert rows.frame["x"].tolist() == taken.tolist() and rows.groups.tolist() == (taken // 3).tolist()


def test_rows_of_another_kind_are_told_apart():
    rng = np.random.default_rng(0)
    own, same, apart = rng.normal(size=(60, 30)), rng.normal(size=(60, 30)), rng.normal(size=(60, 30)) + 2
    assert abs(told_apart(own, same, 0) - 0.5) < 0.15 and told_apart(own, apart, 0) > 0.99
    assert (
        told_apart(own[:15], apart, 0) is None is told_apart(own, apart[:15], 0)
        and told_apart(own[:16], apart, 0) > 0.9
    )
    assert another_kind(own, same, 0) == [] == another_kind(own[:15], apart, 0)
    (warned,) = another_kind(own, apart, 0)
    assert warned.level == "warning" and "another kind" in warned.text
    few = told_apart(rng.normal(size=(2000, 2)), rng.normal(size=(20, 2)) + 1, 0)
    assert 0.7 < few < 0.95  # so few of one kind do not weigh less


def test_only_sure_differences_are_warned_of(monkeypatch):
    for auc, warned in ((0.969, 0), (0.971, 1), (None, 0)):
        monkeypatch.setattr(unlabelled, "told_apart", lambda *given, auc=auc: auc)
        assert len(another_kind(np.zeros((1, 1)), np.zeros((1, 1)), 0)) == warned


def test_the_least_sure_comes_first_and_then_the_farthest_of_the_least_sure():
    doubt = np.array([0.5, 0.9, 0.1, 0.8, 0.7] + [0.0] * 100)
    x = np.array([[0.0], [1.0], [100.0], [4.0], [2.0]] + [[50.0]] * 100)
    got = _different(doubt, x)
    assert got[:2] == [1, 2] and len(got) == len({float(x[i, 0]) for i in got}) == 6  # no place twice
    assert [float(x[i, 0]) for i in got] == [1.0, 100.0, 50.0, 4.0, 0.0, 2.0] or got[2] >= 5
    assert _different(np.array([0.2]), np.zeros((1, 1))) == [0]
    rng = np.random.default_rng(0)
    many, doubts = rng.normal(size=(200, 3)), rng.random(200)
    chosen = _different(doubts, many)
    least = set(np.argsort(-doubts)[:60].tolist())
    assert len(chosen) == len(set(chosen)) == 12 and set(chosen) <= least and chosen[0] == doubts.argmax()
    for k in range(1, 12):
        apart = {i: min(float(((many[i] - many[j]) ** 2).sum()) for j in chosen[:k]) for i in least}
        assert apart[chosen[k]] == pytest.approx(max(apart.values()))


def test_the_map_shows_the_first_two_components():
    rng = np.random.default_rng(0)
    x, own = rng.normal(size=(50, 4)) * [9, 3, 1, 0.1], rng.normal(size=(30, 4)) * [9, 3, 1, 0.1]
    chance = rng.dirichlet([1, 1, 1], 50)
    task: Any = SimpleNamespace(target=np.arange(30) % 3)
    place, drawn = _map(task, x, own, chance, np.random.default_rng(1))
    whole = np.vstack([x, own])
    centred = whole - whole.mean(0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    assert np.abs(place) == pytest.approx(np.abs(centred[:50] @ axes[:2].T))
    assert drawn["x"] == pytest.approx(place[:, 0], rel=1e-2, abs=1e-3) and drawn["y"] == pytest.approx(
        place[:, 1], rel=1e-2, abs=1e-3
    )
    assert drawn["predicted"] == chance.argmax(1).tolist() and drawn["probability"] == pytest.approx(
        chance.max(1), rel=1e-2
    )
    assert drawn["own"]["label"] == task.target.tolist() and len(drawn["own"]["x"]) == len(drawn["own"]["y"]) == 30
    one, flat = _map(task, x[:, :1], own[:, :1], chance, np.random.default_rng(1))
    assert one.shape == (50, 2) and (one[:, 1] == 0).all() and set(flat["own"]["y"]) == {0}
    many = rng.normal(size=(900, 2))
    _, few = _map(task, many, own[:, :2], rng.dirichlet([1, 1], 900), np.random.default_rng(1))
    assert len(few["x"]) == 400 and len(few["own"]["x"]) == 30


def test_rows_are_named_as_a_person_finds_them():
    frame = pd.DataFrame({"photo": ["/a/b/c/d.png", None], "x": [1.0, 2.0]})
    image, plain = SimpleNamespace(name="photo", kind="image"), SimpleNamespace(name="x", kind="number")
    task: Any = SimpleNamespace(unlabelled=frame, columns=[plain, image], pool_rows=np.array([7, 9]))
    assert [_named(task, i) for i in (0, 1)] == [{"row": None, "name": "c/d.png"}, {"row": 9, "name": ""}]
    task.columns, task.pool_rows = [plain], np.array([-1, 0])
    assert _named(task, 0) == {"row": None, "name": "row 1 of the rows without labels"}
    assert _named(task, 1) == {"row": 0, "name": ""}
    task.pool_rows = None
    assert _named(task, 0) == {"row": None, "name": ""}


def test_sparse_features_keep_their_distances():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(6, 300)) * (rng.random((6, 300)) < 0.2)
    thin = dense(scipy.sparse.csr_matrix(x))
    assert thin.shape == (6, 64)
    whole, now = (np.array([np.linalg.norm(a - b) for a in of for b in of]) for of in (x, thin))
    assert np.corrcoef(whole, now)[0, 1] > 0.95 and now[whole > 0].mean() == pytest.approx(
        whole[whole > 0].mean(), rel=0.15
    )
    assert dense([[np.nan, 2.0]]).tolist() == [[0.0, 2.0]]


# -- encoders --


@pytest.fixture
def now(monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(encoding.time, "monotonic", lambda: clock[0])
    return clock


def test_pictures_are_opened_for_half_of_the_time(now):
    said: list[dict[str, Any]] = []
    opened = while_opened(20.0, 100.0, said.append)
    for done in range(1, 41):
        opened(done, 40)
    assert [(e["done"], e["total"], e["seconds_left"]) for e in said] == [
        (16, 40, 20.0),
        (32, 40, 20.0),
        (40, 40, 20.0),
    ]
    now[0] = 110.0
    opened(16, 40)
    assert said[-1]["seconds_left"] == 10.0 and said[-1]["kind"] == "encode"
    now[0] = 110.1
    opened(40, 40)  # all are
    with pytest.raises(BudgetSpent, match=r"17 of 40 are"):
        opened(17, 40)
    free = while_opened(None, 0.0, said.append)
    free(17, 40)
    free(32, 40)
    assert said[-1]["seconds_left"] is None and said[-1]["done"] == 32


def plan_of(race, seconds, said):
    return SimpleNamespace(
        race=race,
        begun=100.0,
        budget=SimpleNamespace(seconds=seconds),
        progress=said.append,
        task=SimpleNamespace(columns=()),
    )


def test_encoders_that_take_too_long_leave_with_their_candidates(now, monkeypatch):
    text, other = Candidate("learn/logistic", "minilm"), Candidate("learn/lda", "linear")
    filled = []

    def fill(rows, names, folder, tell, columns):
        filled.append(names)
        tell(0, 9)
        now[0] += 6.0
        tell(5, 9)
        now[0] += 5.0
        tell(9, 9)
        if names[0].startswith("minilm"):
            tell(1, 9)

    monkeypatch.setattr(encoding, "fill", fill)
    said: list[dict[str, Any]] = []
    race = Race(other, text)
    encode_within(plan_of(race, 30.0, said), None, ("minilm-x", "words"))
    assert filled == [("words",), ("minilm-x",)]  # the quickest first
    assert [(e["text"], e["done"], e["seconds_left"]) for e in said[:4]] == [
        ("Encoding (words)", 0, 30.0), ("Encoding (words)", 5, 24.0), ("Encoding (words)", 9, 19.0),
        ("Encoding (minilm-x)", 0, 19.0)
    ]  # fmt: skip
    assert race.out == {} or list(race.out) == [text.key]
    monkeypatch.setattr(encoding, "encoders_of", lambda view: ["minilm-x"] if view == "minilm" else [])
    now[0], race = 100.0, Race(other, text)
    encode_within(plan_of(race, 30.0, said), None, ("minilm-x", "words"))
    assert race.out == {text.key: "not tried: encoding (minilm-x) takes more than half of the time"}
    now[0] = 100.0
    with pytest.raises(BudgetSpent, match="while texts or images were encoded"):
        encode_within(plan_of(Race(text), 20.0, said), None, ("minilm-x",))
    now[0], race = 100.0, Race(Candidate(BASELINE, "linear"), text)
    with pytest.raises(BudgetSpent):
        encode_within(plan_of(race, 20.0, said), None, ("minilm-x",))  # the baseline alone is no study
    alone = Race(Candidate(BASELINE, "linear"))
    encode_within(plan_of(alone, None, said), None, ("minilm-x",))  # unless it is all that was wanted
    assert said[-1]["seconds_left"] is None
    now[0], race = 100.0, Race(other, text)
    encode_within(plan_of(race, 20.0, said), None, ("minilm-x",), of_pool=True)
    assert race.out == {}  # logistic regression does not read the pool
