"""A trial: its key is its content, its parts never leak, and whatever a method does is its result."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smidgen.data.views.rows import Rows
from smidgen.learn import member
from smidgen.learn.base import ClassifierHead, RegressorHead
from smidgen.studies.trial import Trial, draw_in_words, fit_member, parts, run_trial, state_bytes
from smidgen.tasks.read import read

names = st.text(max_size=8)
settings_of = st.dictionaries(
    names,
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | names,
    max_size=3,
)
trials = st.builds(
    Trial,
    task=names,
    method=names,
    version=st.integers(),
    view=names,
    params=settings_of,
    draw=names,
    seed=st.integers(),
)


@given(trials)
def test_through_json(trial):
    again = Trial.from_json(trial.to_json())
    assert again == trial and again.key == trial.key
    assert again.key == replace(trial, params=dict(reversed(trial.params.items()))).key


@given(trials, st.sampled_from(["task", "method", "version", "view", "params", "draw", "seed"]))
def test_every_field_is_in_the_key(trial, name):
    old = getattr(trial, name)
    other = {**old, "more": 1} if name == "params" else old + (1 if isinstance(old, int) else "x")
    if name == "params" and old.get("more") == 1:
        other = {}
    assert replace(trial, **{name: other}).key != trial.key


def test_keys_must_not_drift():
    """A key that changes makes every run store worthless."""
    trial = Trial(task="t", method="learn/knn", version=1, view="linear", params={"k": 3}, draw="cv:k=5:r=0", seed=0)
    assert trial.key == "c0a1c3cf912470f21dde5925a8ca9ba0"


def frame_of(n=40, copies=0):
    rng = np.random.default_rng(n)
    frame = pd.DataFrame(
        {
            "x": rng.normal(size=n),
            "z": rng.normal(size=n),
            "who": rng.integers(0, 9, n).astype(str),
            "target": rng.choice(["a", "b", "c"], n),
        }
    )
    return pd.concat([frame, frame.iloc[:copies]], ignore_index=True)


DRAWS = ["cv:k=4:r=0", "cv:k=4:r=1", "cv:k=2:r=0", "sub:n=12:r=0", "sub:n=25:r=1"]


@pytest.mark.parametrize("group", [None, "who"])
@pytest.mark.parametrize("draw", DRAWS)
def test_parts_cover_and_never_leak(draw, group):
    task = read(frame_of(40, copies=10), "target", group=group)
    made = parts(task, draw, 3)
    tested = np.concatenate([test for _, test in made])
    assert len(tested) == len(set(tested.tolist()))
    if draw.startswith("cv"):
        assert sorted(tested) == list(range(len(task)))
    rows = task.frame.astype(str).agg("|".join, axis=1).to_numpy()
    for train, test in made:
        assert not set(train.tolist()) & set(test.tolist())
        assert len(train) + len(test) == len(task) and len(test)
        assert not set(rows[train]) & set(rows[test])  # duplicates together
        if group:
            who = frame_of(40, copies=10).who.to_numpy()
            assert not set(who[train]) & set(who[test])
            assert task.groups is not None and not set(task.groups[train]) & set(task.groups[test])


def test_a_part_of_the_rows_is_judged_on_the_folds_of_all_rows():
    task = read(pd.DataFrame({"x": np.arange(40.0) ** 2, "y": list("ab") * 20}), "y")
    for r in range(2):
        whole, some = parts(task, f"cv:k=4:r={r}", 3), parts(task, f"part:k=4:r={r}:n=10:m=2:u=3:e=50", 3)
        for (train, test), (few, judged) in zip(whole, some, strict=True):
            np.testing.assert_array_equal(test, judged)
            assert set(few) < set(train) and len(few) == 15
    assert [len(few) for few, _ in parts(task, "part:k=4:r=0:n=10", 3)] == [10] * 4


def test_parts_are_the_same_for_all_methods_and_other_for_each_repeat():
    task = read(frame_of(), "target")
    again = [[p.tolist() for part in parts(task, d, 0) for p in part] for d in [*DRAWS, *DRAWS]]
    assert again[:5] == again[5:] and len({json.dumps(a) for a in again}) == 5
    assert [p.tolist() for part in parts(task, DRAWS[0], 1) for p in part] != again[0]


class Spy(ClassifierHead):
    """Knows the rows that it was trained on, by their first column, and says in its probabilities whether one
    comes again.
    """

    def __init__(self, random_state=0):
        self.random_state = random_state

    def _fit(self, X, codes):
        self.known_ = X[:, 0].copy()
        self.seeds.append(self.random_state)

    def _proba(self, X):
        p = np.full((len(X), len(self.classes_)), 0.5 / (len(self.classes_) - 1))
        p[:, 0] = 0.5
        return np.where(np.isin(X[:, :1], self.known_), 1 / len(self.classes_), p)


@pytest.fixture
def spy(monkeypatch):
    Spy.seeds = []
    monkeypatch.setattr(member, "head_class", lambda method, kind: Spy)
    return Spy


def trial_of(task, draw="cv:k=4:r=0", method="learn/knn", **more):
    return Trial(task=task.fingerprint, method=method, version=1, view="linear", draw=draw, seed=0, **more)


def test_every_row_is_predicted_by_a_fit_that_did_not_see_it(spy):
    task = read(frame_of().drop(columns="who"), "target")
    result = run_trial(task, Rows(task.frame), trial_of(task))
    assert result.error is None and result.predictions.shape == (40, 3)
    np.testing.assert_array_equal(result.predictions, np.tile([0.5, 0.25, 0.25], (40, 1)))
    assert len(set(spy.seeds)) == 4
    assert result.model_bytes > 0 and result.peak_bytes > 0 and result.seconds > 0
    part = run_trial(task, Rows(task.frame), trial_of(task, "sub:n=12:r=0"))
    assert np.isnan(part.predictions).all(1).sum() == 12 and np.isfinite(part.predictions).all(1).sum() == 28


class Odd(ClassifierHead):
    how = "raises"

    def __init__(self, random_state=0):
        self.random_state = random_state

    def _fit(self, X, codes):
        if self.how == "raises":
            raise ArithmeticError("x" * 5000)
        if self.how == "leaves":
            raise MemoryError
        self.known_ = 1

    def _proba(self, X):
        p = np.full((len(X), len(self.classes_)), 1 / len(self.classes_))
        return {
            "nan": p * np.nan,
            "inf": p * np.inf,
            "shape": p[:, :1].repeat(9, 1),
            "fewer": p[1:],
            "sum": p * 1.01,
            "negative": p - [[0.5, -0.25, -0.25]],
        }[self.how]


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("raises", "ArithmeticError: xxx"),
        ("nan", "not finite"),
        ("inf", "not finite"),
        ("shape", "ValueError"),
        ("fewer", "ValueError"),
        ("sum", "do not sum to 1"),
        ("negative", "negative"),
    ],
)
def test_whatever_a_method_does_is_its_result(monkeypatch, how, said):
    monkeypatch.setattr(member, "head_class", lambda method, kind: Odd)
    monkeypatch.setattr(Odd, "how", how)
    task = read(frame_of().drop(columns="who"), "target")
    result = run_trial(task, Rows(task.frame), trial_of(task))
    assert result.predictions is None and said in result.error and len(result.error) <= 500


def test_too_little_memory_says_nothing_about_the_trial(monkeypatch):
    monkeypatch.setattr(member, "head_class", lambda method, kind: Odd)
    monkeypatch.setattr(Odd, "how", "leaves")
    task = read(frame_of().drop(columns="who"), "target")
    with pytest.raises(MemoryError):
        run_trial(task, Rows(task.frame), trial_of(task))


def test_values(monkeypatch):
    class Mean(RegressorHead):
        def __init__(self, random_state=0):
            self.random_state = random_state

        def _fit(self, X, y):
            self.mean_ = float(y.mean())

        def _value(self, X):
            return np.full(len(X), self.mean_)

    monkeypatch.setattr(member, "head_class", lambda method, kind: Mean)
    task = read(frame_of().drop(columns=["target", "who"]), "z", kind="regression")
    result = run_trial(task, Rows(task.frame), trial_of(task))
    for train, test in parts(task, "cv:k=4:r=0", 0):
        np.testing.assert_allclose(result.predictions[test], task.target[train].mean())


def test_equal_trials_give_equal_bits_and_the_size_is_that_of_the_state():
    task = read(frame_of(), "target")
    a, b = (run_trial(task, Rows(task.frame), trial_of(task, method="learn/forest")) for _ in range(2))
    assert a.predictions.tobytes() == b.predictions.tobytes() and a.model_bytes == b.model_bytes
    small = fit_member(task, Rows(task.frame), "learn/constant", "linear", {}, 0)
    assert state_bytes(small) < state_bytes(fit_member(task, Rows(task.frame), "learn/forest", "tree", {}, 0))
    assert state_bytes({"a": np.zeros(1000)}) == 8000 + len('{"a": {"$array": "a"}}')


def test_draws_are_said_in_words():
    said = {
        "cv:k=8:r=0": "all labels of 7 folds in 8",
        "part:k=5:r=1:n=20": "20 labels",
        "part:k=5:r=0:n=20:m=10:e=0.4": "20 labels, 10 more of which 0.4 % are wrong",
        "part:k=5:r=0:n=20:u=10": "20 labels, 10 rows without labels",
        "part:k=5:r=0:n=20:p=10": "20 labels, 10 rows without labels",
        "sub:n=25:r=0": "25 labels",
    }
    assert {draw: draw_in_words(draw) for draw in said} == said
