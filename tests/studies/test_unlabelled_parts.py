"""Rows without labels, part by part: which are named, in which order, where they lie on a map, what they are called."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from smidgen.data.views.rows import Rows
from smidgen.kit.seeds import derive_seed
from smidgen.studies import unlabelled
from smidgen.studies.unlabelled import (
    LEAST,
    MOST,
    _different,
    _map,
    _named,
    _view,
    another_kind,
    dense,
    look,
    pool_of,
    told_apart,
)
from smidgen.tasks.read import read
from smidgen.tasks.task import Column

OWN = pd.DataFrame(
    {"a": [0.0, 0.0, 1.0, 10.0, 10.0, 11.0], "b": [0.0, 1.0, 0.0, 0.0, 1.0, 0.0], "kind": list("xxxyyy")}
)
POOL = pd.DataFrame({"a": [0.5, 4.9, 5.5, 9.4, 5.2], "b": [0.5, 0.25, 0.75, 0.5, 9.0]})


class Line:
    """A model that is surer of "y" the farther to the right a row lies, and sees the rows as they are."""

    def __init__(self, views=("linear",), weights=(1.0,)):
        self.weights = list(weights)
        self.members = [SimpleNamespace(view=v, view_=SimpleNamespace(name=v, transform=self.seen)) for v in views]

    def seen(self, rows):
        return rows.frame[["a", "b"]].to_numpy(float)

    def chances(self, rows):
        y = np.clip(rows.frame["a"].to_numpy(float) / 10.0, 0.001, 0.999)
        return np.stack([1 - y, y], 1)


@pytest.fixture(scope="module")
def task():
    return read(OWN, "kind", kind="classification", unlabelled=POOL)


# -- the rows most worth a label --


def test_the_least_sure_first_then_the_farthest_of_the_least_sure(task):
    model: Any = Line()
    found = look(task, Rows(task.frame), model, 0)
    assert found is not None and (found["n"], found["looked"]) == (5, 5)
    # the second is the least sure; the one far above differs most from it, then the two ends, at last its neighbour
    assert [r["name"] for r in found["next"]] == [f"row {i} of the rows without labels" for i in (2, 5, 4, 1, 3)]
    first = found["next"][0]
    assert (first["row"], first["predicted"], first["probability"]) == (None, "x", 0.51)
    assert [(n["row"], n["label"]) for n in first["near"]] == [(3, "x"), (1, "x"), (2, "x")]
    last = found["next"][2]
    assert (last["predicted"], last["probability"]) == ("y", 0.94)
    assert [(n["row"], n["label"], n["name"]) for n in last["near"]] == [(4, "y", ""), (5, "y", ""), (6, "y", "")]
    at = np.array([r["at"] for r in found["next"]])
    drawn = np.stack([found["map"]["x"], found["map"]["y"]], 1)
    assert at == pytest.approx(drawn[[1, 4, 3, 0, 2]])
    assert found["map"]["predicted"] == [0, 0, 1, 1, 1] and found["map"]["own"]["label"] == [0, 0, 0, 1, 1, 1]


def test_nothing_is_said_without_such_rows_or_without_classes(task):
    model: Any = Line()
    bare = read(OWN, "kind", kind="classification")
    assert look(bare, Rows(bare.frame), model, 0) is None
    values = read(OWN[["a", "b"]], "b", kind="regression", unlabelled=POOL[["a"]])
    assert look(values, Rows(values.frame), model, 0) is None


def test_what_must_be_read_first_is_looked_at_briefly(monkeypatch):
    monkeypatch.setattr(unlabelled, "LOOKED_AT", 4)
    monkeypatch.setattr(unlabelled, "BRIEFLY", 2)
    words = ["good and long words", "bad and other words", "so many words here", "less of them here", "a word or two"]
    pool = POOL.assign(text=words)
    task = read(OWN.assign(text=[*words, "and one more of them"]), "kind", kind="classification", unlabelled=pool)
    rows = Rows(task.frame)
    model: Any = Line()
    assert look(task, rows, model, 0)["looked"] == 4  # a table needs no reading
    for k, views in enumerate((("linear+minilm",), ("linear", "minilm"))):
        reads: Any = Line(views, (1.0, 0.5)[: len(views)])
        assert look(task, rows, reads, 0)["looked"] == 2
        known = Rows(task.unlabelled.reset_index(drop=True), {"minilm:text": np.zeros((5, 2))})
        assert look(task, replace(rows, pool=known), reads, 0)["looked"] == 4
        part = known.take(np.arange(3))  # a pool that is not all of them says nothing of the others
        assert look(task, replace(rows, pool=part), reads, k)["looked"] == 2


def test_rows_are_drawn_at_random_and_kept_in_order(task, monkeypatch):
    monkeypatch.setattr(unlabelled, "LOOKED_AT", 3)
    model: Any = Line()
    chosen = np.sort(np.random.default_rng(derive_seed(4, "unlabelled")).permutation(5)[:3])
    found = look(task, Rows(task.frame), model, 4)
    assert found["n"] == 5 and found["looked"] == 3
    named = {f"row {i + 1} of the rows without labels" for i in chosen}
    assert {r["name"] for r in found["next"]} == named
    assert found["map"]["probability"] == pytest.approx(model.chances(Rows(POOL.iloc[chosen])).max(1).tolist())


def test_so_many_are_named_and_no_copy_of_one():
    doubt = np.linspace(1, 0, 100)
    x = np.arange(100.0)[:, None]
    found = _different(doubt, x)
    assert len(found) == 12 and found[:4] == [0, 59, 29, 44] and max(found) == 59  # of the 60 least sure
    assert _different(np.array([0.1, 0.9, 0.9]), np.array([[0.0], [5.0], [5.0]])) == [1, 0]
    assert _different(np.array([0.5, 0.4]), np.zeros((2, 3))) == [0]
    assert _different(np.array([0.5]), np.zeros((1, 3))) == [0]
    # each time the farthest from all that are chosen, not from the last one
    assert _different(np.array([9, 3, 2, 1.0]), np.array([[0.0], [10.0], [1.0], [6.0]])) == [0, 1, 3, 2]


# -- what the heaviest member sees --


@pytest.mark.parametrize(
    ("views", "weights", "seen"),
    [
        (("linear", "minilm"), (0.4, 0.6), "minilm"), (("linear", "minilm"), (0.5, 0.5), "linear"),
        (("tree", "linear"), (0.9, 0.1), "linear"), (("cells+minilm", "linear"), (0.9, 0.1), "linear"),
        (("picture", "hog"), (0.9, 0.1), "hog"), (("tokens", "tfidf"), (0.9, 0.1), "tfidf"),
    ],
)  # fmt: skip
def test_near_is_what_the_heaviest_member_sees_that_is_not_raw(task, views, weights, seen):
    model: Any = Line(views, weights)
    assert _view(model, task, Rows(task.frame)).name == seen


def test_where_all_see_raw_values_rows_are_seen_as_numbers(task):
    model: Any = Line(("tree", "cells"), (0.5, 0.5))
    made = _view(model, task, Rows(task.frame))
    assert made.name == "linear" and dense(made.transform(Rows(task.frame))).std(0) == pytest.approx(1.0)


# -- the map --


def test_places_are_the_first_two_principal_components(task):
    rng = np.random.default_rng(0)
    x, own = rng.normal(size=(5, 4)) * [9, 3, 1, 0.1], rng.normal(size=(6, 4)) * [9, 3, 1, 0.1]
    chance = rng.dirichlet([1, 1], 5)
    place, drawn = _map(task, x, own, chance, np.random.default_rng(1))
    both = np.vstack([x, own])
    centred = both - both.mean(0)
    values, vectors = np.linalg.eigh(centred.T @ centred)
    expected = centred @ vectors[:, np.argsort(-values)[:2]]
    seen = np.vstack([place, np.stack([drawn["own"]["x"], drawn["own"]["y"]], 1)])
    assert np.abs(seen) == pytest.approx(np.abs(expected), rel=1e-4, abs=1e-4)
    assert np.stack([drawn["x"], drawn["y"]], 1) == pytest.approx(place, rel=1e-4)
    assert drawn["predicted"] == chance.argmax(1).tolist() and drawn["probability"] == pytest.approx(chance.max(1))
    assert drawn["own"]["label"] == task.target.tolist()


def test_one_feature_is_a_line_and_a_crowd_is_thinned(task, monkeypatch):
    monkeypatch.setattr(unlabelled, "ON_MAP", 3)
    x, own, chance = np.arange(5.0)[:, None], np.arange(6.0)[:, None], np.full((5, 2), (0.75, 0.25))
    place, drawn = _map(task, x, own, chance, np.random.default_rng(1))
    rng = np.random.default_rng(1)
    some, mine = (np.sort(rng.permutation(n)[:3]) for n in (5, 6))
    assert place.shape == (5, 2) and (place[:, 1] == 0).all() and np.abs(np.diff(place[:, 0])) == pytest.approx(1)
    assert drawn["x"] == pytest.approx(place[some, 0], rel=1e-4) and drawn["y"] == [0, 0, 0] == drawn["own"]["y"]
    assert drawn["predicted"] == [0, 0, 0] and drawn["probability"] == [0.75] * 3
    assert drawn["own"]["label"] == task.target[mine].tolist() and len(drawn["own"]["x"]) == 3
    centre = np.concatenate([x[some], own[mine]]).mean()
    assert np.abs(place[:, 0]) == pytest.approx(np.abs(x[:, 0] - centre))


# -- names --


def test_a_row_is_named_by_its_number_or_its_picture(task):
    mixed = replace(task, pool_rows=np.array([8, -3, 0, -1, 1]))
    assert [_named(mixed, i) for i in range(4)] == [
        {"row": 8, "name": ""}, {"row": None, "name": "row 3 of the rows without labels"}, {"row": 0, "name": ""},
        {"row": None, "name": "row 1 of the rows without labels"},
    ]  # fmt: skip
    assert _named(replace(task, pool_rows=None), 0) == {"row": None, "name": ""}
    paths = pd.DataFrame({"a": [1.0] * 3, "photo": [str(Path("/in/a/b") / "c.png"), None, "d.png"]})
    columns = (Column(name="a", kind="number"), Column(name="photo", kind="image"))
    photos = replace(task, unlabelled=paths, columns=columns, pool_rows=np.array([4, -2, 6]))
    assert [_named(photos, i) for i in range(3)] == [
        {"row": None, "name": "b/c.png"}, {"row": None, "name": "row 2 of the rows without labels"},
        {"row": None, "name": "d.png"},
    ]  # fmt: skip


# -- another kind --


def test_too_few_rows_are_not_told_apart():
    rng = np.random.default_rng(0)
    near, far = rng.normal(size=(LEAST, 2)), rng.normal(size=(LEAST, 2)) + 9
    assert told_apart(near, far, 0) == 1.0 and told_apart(near[1:], far, 0) is None
    assert told_apart(near, far[1:], 0) is None


def test_the_same_kind_is_half_and_the_seed_decides_the_folds():
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(60, 3)), rng.normal(size=(300, 3))
    apart = told_apart(one, other, 0)
    assert apart is not None and 0.3 < apart < 0.7 and told_apart(one, other, 0) == apart != told_apart(one, other, 1)
    wide = np.concatenate([one, np.zeros((60, 40))], 1), np.concatenate([other + 0.7, np.zeros((300, 40))], 1)
    moved = told_apart(*wide, 0)
    assert moved is not None and 0.7 < moved < 0.95


def test_a_long_list_is_compared_by_five_hundred_rows():
    x = np.arange(2 * MOST, dtype=float)[:, None]
    drawn = np.random.default_rng(derive_seed(0, "another kind"))
    kept = [np.sort(drawn.permutation(2 * MOST)[:MOST]) for _ in range(2)]
    odd = np.where(np.isin(np.arange(2 * MOST), kept[0]), 0.0, 1e6)[:, None]  # only what is not compared differs
    assert abs(told_apart(x * 0 + odd, x * 0 + np.sin(x), 0) - 0.5) < 0.1


@pytest.mark.parametrize(("auc", "said"), [(None, False), (0.9699, False), (0.97, True)])
def test_another_kind_is_warned_of_from_a_bound_on(monkeypatch, auc, said):
    monkeypatch.setattr(unlabelled, "told_apart", lambda *given: auc)
    text = (
        "The rows without labels are of another kind than the labelled ones: they can be told apart almost always "
        "(area under the curve 0.970; 0.5 is not at all). What is learnt from them may mislead, and the estimate is "
        "about rows like the labelled ones: check where they come from."
    )
    found = another_kind(np.zeros((1, 1)), np.zeros((1, 1)), 0)
    assert [(f.level, f.text) for f in found] == ([("warning", text)] if said else [])


# -- parts --


def test_all_rows_are_learnt_from_or_some_in_their_order(task, monkeypatch):
    whole, said = pool_of(task, 0)
    assert whole.frame.equals(task.unlabelled) and said == []
    grouped = replace(task, pool_groups=np.array([3, -1, 2, 0, -1]))
    assert pool_of(grouped, 0)[0].groups.tolist() == [3, -1, 2, 0, -1]
    monkeypatch.setattr(unlabelled, "MOST_POOL", 4)
    chosen = np.sort(np.random.default_rng(derive_seed(1, "pool")).permutation(5)[:4])
    drawn, (note,) = pool_of(grouped, 1)
    assert drawn.frame.equals(task.unlabelled.iloc[chosen].reset_index(drop=True))
    assert drawn.groups.tolist() == grouped.pool_groups[chosen].tolist()
    text = "4 of the 5 rows without labels, drawn at random, are learnt from."
    assert (note.level, note.text) == ("note", text)
    monkeypatch.setattr(unlabelled, "MOST_POOL", 5)
    assert pool_of(task, 1)[1] == []


def test_random_directions_keep_distances_and_gaps_are_zeros():
    assert dense(np.array([[1.0, np.nan]])).tolist() == [[1.0, 0.0]]
    x = np.random.default_rng(1).normal(size=(30, 500))
    seen = dense(sparse.csr_matrix(x))
    assert seen.shape == (30, 64) and (dense(sparse.csr_matrix(x)) == seen).all()
    apart = [((m[:, None] - m[None]) ** 2).sum(2)[np.triu_indices(30, 1)] for m in (x, seen)]
    assert np.mean(apart[1] / apart[0]) == pytest.approx(1, abs=0.05)
