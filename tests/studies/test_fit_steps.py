"""The main job's own steps: what it hands to its parts, tells and keeps, and how a study is taken up again."""

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from smidgen.data.views.rows import Rows
from smidgen.kit.errors import BadInput
from smidgen.studies import fit as module
from smidgen.studies.candidates import Candidate
from smidgen.studies.fit import GIVEN, _encoders, _kinds, fit, resume
from smidgen.studies.inline import InlinePool
from smidgen.studies.race import Race
from smidgen.studies.sharing import Sharing
from smidgen.studies.store import RunStore
from smidgen.tasks.read import read

N = 24


def table(n=N):
    rng = np.random.default_rng(0)
    y = np.arange(n) % 2
    return pd.DataFrame({"a": rng.normal(size=n) + y, "b": rng.normal(size=n), "who": np.arange(n) // 2, "y": y})


@pytest.fixture
def made(monkeypatch, tmp_path):
    """Pools that were made, as (workers, memory); in a folder with a small table."""
    monkeypatch.chdir(tmp_path)
    table().to_csv("few.csv", index=False)
    table(6).drop(columns="y").to_csv("more.csv", index=False)
    pools: list[Any] = []

    def pool(workers, memory):
        pools.append((workers, memory))
        return InlinePool(workers, memory)

    monkeypatch.setattr(module, "Pool", pool)
    return pools


def a_fit(source: Any = "few.csv", **more: Any):
    order = {"methods": "naive_bayes", "trials": 1, "store": "runs.db", **more}
    return fit(source, "y", **order)


def study_of(name):
    with contextlib.closing(RunStore("runs.db")) as runs:
        return runs.study(name)


def test_what_it_is_asked_is_told_and_kept(made):
    said: list[dict[str, Any]] = []
    done = a_fit(progress=said.append, group="who", metric="accuracy", seed=3, memory="4GB", size="50MB",
                 workers=2, out="m", kind="classification")  # fmt: skip
    assert made == [(2, 4 * 10**9)] and done.path == Path("m").absolute()
    read = {"kind": "read", "text": "24 labelled rows; table; target 'y': 2 classes"}
    assert said[0] == {**read, "done": 0, "total": None, "seconds_left": None}
    assert said[1]["kind"] == "plan" and said[1]["text"].startswith("1 candidates, 8 folds, up to 6 repeats: about ")
    assert (said[1]["done"], said[1]["total"], said[1]["seconds_left"]) == (0, None, None)
    kept = study_of(done.study)
    assert kept.options == {
        "source": str(Path("few.csv").absolute()), "target": "y", "metric": "accuracy", "kind": "classification",
        "group": "who", "methods": ["learn/naive_bayes"], "settings": {}, "seed": 3, "unlabelled": None,
        "named_kind": "classification", "named_metric": "accuracy",
    }  # fmt: skip
    assert kept.asked == {"time": None, "trials": 1, "memory": "4GB", "size": "50MB", "workers": 2, "executor": None,
                          "out": str(Path("m").absolute())}  # fmt: skip
    assert done.summary["seed"] == 3 and done.summary["name"] == "few"


def test_a_frame_has_no_folder_and_a_file_its_own(made):
    assert a_fit(table()).path is None and a_fit().path == Path("few-model").absolute()
    assert study_of(a_fit(table()).study).asked["out"] is None


def test_time_is_a_minute_unless_something_else_is_named(made, monkeypatch):
    monkeypatch.setattr(module, "_clock", lambda: 1000.0)
    budgets, left = [], []
    real = module.Plan

    def plan(**given):
        budgets.append(given["budget"].seconds)
        return real(**given)

    monkeypatch.setattr(module, "Plan", plan)
    tell = {"progress": lambda e: left.append(e["seconds_left"]), "dry_run": True, "methods": "naive_bayes"}
    fit("few.csv", "y", **tell)
    fit("few.csv", "y", time="2m", **tell)
    fit("few.csv", "y", trials=5, **tell)
    fit("few.csv", "y", replay="few-1", **tell)
    fit("few.csv", "y", time=30, begun=990.06, **tell)
    fit("few.csv", "y", time=30, begun=100.0, **tell)
    assert budgets == [60.0, 120.0, None, None, 30.0, 30.0] and left == [60.0, 120.0, None, None, 20.1, 0.0]
    assert made == []  # a dry run starts nobody


@pytest.mark.parametrize(("asked", "cores", "count"), [(None, 4, 4), (None, 16, 8), (3, 1, 3), (0, 4, 1), (1, 4, 1)])
def test_workers_are_as_many_as_asked_or_one_a_core(made, monkeypatch, asked, cores, count):
    monkeypatch.setattr(module, "cores", lambda: cores)
    shared: list[Any] = []

    class Told(Sharing):
        def __init__(self, store, study, memory, *, always, tell):
            shared.append((always, memory))
            tell("as it is")
            super().__init__(store, study, memory, always=False, tell=tell)

    class Noted(module.Run):
        def __init__(self, *given, own):
            shared.append(own)
            super().__init__(*given, own=None)

    monkeypatch.setattr(module, "Sharing", Told)
    monkeypatch.setattr(module, "Run", Noted)
    said: list[dict[str, Any]] = []
    a_fit(workers=asked, progress=said.append)
    assert made == [(count, None)] and shared == [(asked == 0, None), 0 if asked == 0 else None]
    note = {"kind": "note", "text": "as it is", "done": 0, "total": None, "seconds_left": None}
    assert note in said


def test_what_cannot_be_asked(made, tmp_path):
    with pytest.raises(BadInput, match=r"^Give --time or --trials, not both: a budget by count does not depend on"):
        fit("few.csv", "y", time=5, trials=5)
    with pytest.raises(BadInput, match=r"^workers: expected at least 0, got -1"):
        fit("few.csv", "y", workers=-1)
    with pytest.raises(BadInput) as told:
        fit("few.csv", "y", memory="1MB", dry_run=True, methods="naive_bayes,lda")
    small = "needs 0.35 GB of memory, there are 0.00 GB"
    assert str(told.value) == f"No method can be tried: learn/lda {small}; learn/naive_bayes {small}."
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("x")
    with pytest.raises(BadInput):
        a_fit(out="full")
    assert a_fit(out="full", dry_run=True).summary["plan"][0]["tried"] and made == []


def test_a_replay_has_the_folds_and_trials_of_then(made):
    first = a_fit(trials=2, methods="naive_bayes,lda")
    folds = {(r["method"], r["view"]): r["folds"] for r in first.summary["leaderboard"]}
    seen: list[Any] = []
    again = fit("few.csv", "y", methods="naive_bayes,lda", replay=first.study, store="runs.db",
                progress=lambda e: seen.append(e["seconds_left"]))  # fmt: skip
    assert again.summary["estimate"] == first.summary["estimate"] and set(seen) == {None}
    assert {(r["method"], r["view"]): r["folds"] for r in again.summary["leaderboard"]} == folds


def test_rows_without_labels_are_given_to_who_learns_from_them(made, monkeypatch):
    loaded: list[Any] = []
    real = InlinePool.load
    monkeypatch.setattr(InlinePool, "load", lambda self, *data: loaded.append(data) or real(self, *data))
    a_fit(unlabelled="more.csv", methods="label_spreading")
    task, rows = loaded[0]
    assert len(rows.pool) == len(task.unlabelled) > 0 and len(rows) == N
    loaded.clear()
    done = a_fit(unlabelled="more.csv")
    assert loaded[0][1].pool is None
    assert study_of(done.study).options["unlabelled"] == str(Path("more.csv").absolute())


# -- taken up again --


@pytest.fixture
def resumed(made, monkeypatch):
    """`resumed(asked, options, **overrides)`: what `fit` is then called with."""

    def run(asked: dict[str, Any], options: dict[str, Any], **overrides: Any):
        kept = {
            "source": str(Path("few.csv").absolute()), "target": "y", "group": None, "methods": ["learn/lda"],
            "seed": 4, "unlabelled": None, "named_kind": "classification", "named_metric": None, "kind": "x",
            "metric": "x", "settings": {"learn/lda": {"shrinkage": 0.5}},
        }  # fmt: skip
        with contextlib.closing(RunStore("runs.db")) as runs:
            study = runs.open_study("few", "f", kept | options, asked)
        calls: list[Any] = []
        monkeypatch.setattr(module, "fit", lambda *given, **more: calls.append((given, more)))
        resume(study.id, store="runs.db", **overrides)
        return calls[0]

    return run


def test_a_study_is_taken_up_with_its_options_and_its_budget(resumed):
    asked = {"time": None, "trials": 7, "memory": "1GB", "size": None, "workers": 2, "executor": None, "out": "m"}
    given, more = resumed(asked, {"group": "who"})
    assert given == (str(Path("few.csv").absolute()), "y")
    assert more == {
        "store": "runs.db", "trials": 7, "memory": "1GB", "workers": 2, "out": "m", "group": "who", "seed": 4,
        "methods": ["learn/lda"], "unlabelled": None, "kind": "classification", "metric": None,
        "settings": {"learn/lda.shrinkage": 0.5},
    }  # fmt: skip


def test_a_new_budget_takes_the_place_of_the_old_one(resumed):
    for overrides in ({"trials": 9}, {"time": "5m"}):
        _, more = resumed({"time": "60s", "trials": 7, "workers": 1}, {}, **overrides)
        assert {k: more[k] for k in ("time", "trials") if k in more} == overrides and more["workers"] == 1
    _, more = resumed({"time": "60s"}, {}, size="5MB", seed=8)
    assert (more["time"], more["size"], more["seed"]) == ("60s", "5MB", 8)


def test_what_was_no_file_must_be_given_again(resumed, tmp_path):
    with pytest.raises(BadInput, match=r"had further rows without labels, which were no file: call smidgen\.fit again"):
        resumed({}, {"unlabelled": GIVEN})
    assert resumed({}, {"unlabelled": GIVEN}, unlabelled="more.csv")[1]["unlabelled"] == "more.csv"
    with pytest.raises(BadInput, match=r"was made from gone\.csv, which is not there: call smidgen\.fit with the data"):
        resumed({}, {"source": "gone.csv"})


# -- parts --


def test_encoders_are_those_of_all_views_once():
    views = ("linear", "linear+minilm", "tfidf", "minilm", "tokens")
    found = [Candidate(f"learn/{k}", view) for k, view in enumerate(views)]
    assert _encoders(found) == ("chars", "minilm", "tokens", "words") and _encoders(found[:1]) == ()


def test_kinds_are_compared_as_the_first_that_uses_both_sees_them(monkeypatch):
    rng = np.random.default_rng(0)
    task = read(table().drop(columns="who"), "y", kind="classification")
    raw, first, second = (Candidate(f"learn/{k}", v) for k, v in (("a", "picture"), ("b", "linear"), ("c", "tree")))
    race = Race(task, [raw, first, second], np.full(3, 1 / 3), 5)
    pool = Rows(pd.DataFrame(rng.normal(size=(30, 2)) + 1, columns=["a", "b"]))
    rows = Rows(task.frame, pool=pool)
    asked: list[Any] = []
    monkeypatch.setattr(module, "another_kind", lambda own, far, seed: asked.append((own, far, seed)) or ["told"])
    monkeypatch.setattr(module, "MOST", 10)
    assert _kinds(race, [raw, first, second], rows) == ["told"]  # type: ignore[comparison-overlap]
    own, far, seed = asked[0]
    some = np.random.default_rng(5).permutation(30)[:10]
    plain = task.frame[["a", "b"]].to_numpy(float)
    scaled = (pool.frame.to_numpy() - plain.mean(0)) / plain.std(0)
    assert own.std(0) == pytest.approx(1) and far == pytest.approx(scaled[some], rel=1e-6) and seed == 5
    assert _kinds(race, [raw], rows) == [] and _kinds(race, [first], Rows(task.frame)) == []
    race.drop(first, "slow")
    assert _kinds(race, [first], rows) == [] and len(asked) == 1
    _kinds(race, [first, second], rows)
    assert len(asked) == 2
