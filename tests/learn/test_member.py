"""A member answers for all classes of its task, learns from its own rows alone, and is all in its state."""

import json

import numpy as np
import pandas as pd
import pytest

from smidgen.data.views.rows import Rows
from smidgen.kit.errors import BadInput
from smidgen.kit.files import parse_tensors, tensor_bytes
from smidgen.kit.state import pack, unpack
from smidgen.learn.member import Member, head_class
from smidgen.tasks.read import read

METHODS = ["learn/logistic", "learn/naive_bayes", "learn/knn", "learn/lda", "learn/forest", "learn/constant"]


def mixed(n: int = 60, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {"x": rng.normal(size=n), "y": rng.normal(size=n), "colour": rng.choice(["red", "blue", "green"], n)}
    )
    frame.loc[rng.choice(n, 8, replace=False), "x"] = np.nan
    frame["target"] = np.where(
        frame.x.fillna(0) + (frame.colour == "red") > 0.4, "yes", np.where(frame.y > 0.9, "maybe", "no")
    )
    return frame


@pytest.fixture(scope="module")
def task():
    return read(mixed(), "target")


def view_of(method: str) -> str:
    return "tree" if method.endswith("forest") else "linear"


@pytest.mark.parametrize("method", METHODS)
def test_through_a_folder_bit_for_bit(task, method):
    rows = Rows(task.frame)
    member = Member(method, view_of(method), task.kind, len(task.classes)).fit(rows, task.target, task.columns, 3)
    p = member.predict(rows)
    assert p.shape == (60, 3) and p.dtype == np.float64 and (p > 0).all()
    np.testing.assert_allclose(p.sum(1), 1, atol=1e-12)
    arrays: dict[str, np.ndarray] = {}
    text = json.dumps(pack(member.get_state(), arrays))
    again = Member.from_state(unpack(json.loads(text), parse_tensors(tensor_bytes(arrays))), task.columns)
    assert again.predict(rows).tobytes() == p.tobytes()
    fresh = mixed(20, 5).drop(columns="target").assign(colour="violet")  # a category of its own
    assert again.predict(Rows(fresh)).tobytes() == member.predict(Rows(fresh)).tobytes()


@pytest.mark.parametrize("method", METHODS)
def test_classes_that_it_has_not_seen_get_half_a_row(task, method):
    rows = np.flatnonzero(task.target != 0)
    full = Rows(task.frame)
    member = Member(method, view_of(method), task.kind, 3).fit(full.take(rows), task.target[rows], task.columns, 0)
    p = member.predict(full)
    share = 0.5 / (len(rows) + 1.5)
    np.testing.assert_array_equal(p[:, 0], share)
    np.testing.assert_allclose(p.sum(1), 1, atol=1e-12)
    known = member.head_.predict_proba(member.view_.transform(full))
    np.testing.assert_allclose(p[:, 1:], known * (1 - share))


def test_one_class_alone_is_still_an_answer(task):
    rows = np.flatnonzero(task.target == 1)
    member = Member("learn/logistic", "linear", task.kind, 3).fit(
        Rows(task.frame).take(rows), task.target[rows], task.columns, 0
    )
    p = member.predict(Rows(task.frame))
    share = 0.5 / (len(rows) + 1.5)
    np.testing.assert_allclose(p, np.tile([share, 1 - 2 * share, share], (60, 1)))
    again = Member.from_state(member.get_state(), task.columns)
    assert again.predict(Rows(task.frame)).tobytes() == p.tobytes()


def test_rows_that_it_was_not_given_change_nothing(task):
    train = np.arange(40)
    other = task.frame.copy()
    other.loc[40:, "x"] = 1e9
    other.loc[40:, "colour"] = "infrared"
    a, b = (
        Member("learn/logistic", "linear", task.kind, 3).fit(Rows(f).take(train), task.target[train], task.columns, 0)
        for f in (task.frame, other)
    )
    rows = Rows(task.frame).take(train)
    assert a.predict(rows).tobytes() == b.predict(rows).tobytes()


def test_regression(task):
    y = task.frame.y.to_numpy() * 3 + 1
    member = Member("learn/ridge", "linear", "regression", 0).fit(Rows(task.frame), y, task.columns, 0)
    got = member.predict(Rows(task.frame))
    assert got.shape == (60,) and np.corrcoef(got, y)[0, 1] > 0.99


def test_settings_reach_the_head_and_wrong_ones_are_said(task):
    made = Member("learn/knn", "linear", task.kind, 3, {})
    made.fit(Rows(task.frame), task.target, task.columns, 0)
    with pytest.raises(BadInput, match="there is no setting 'neighbors_typo'"):
        Member("learn/knn", "linear", task.kind, 3, {"neighbors_typo": 3}).fit(
            Rows(task.frame), task.target, task.columns, 0
        )
    from dataclasses import fields
    from typing import get_type_hints

    config = head_class("learn/knn", "classification").Config
    name = next(
        f.name for f in fields(config) if get_type_hints(config)[f.name] in (int, float, int | None, float | None)
    )
    value = 1.0 if get_type_hints(config)[name] in (float, float | None) else 1
    other = Member("learn/knn", "linear", task.kind, 3, {name: value}).fit(
        Rows(task.frame), task.target, task.columns, 0
    )
    assert getattr(other.head_, name) == value


def test_a_method_without_this_kind_of_task():
    with pytest.raises(BadInput, match="'learn/ridge' does no classification"):
        head_class("learn/ridge", "classification")
