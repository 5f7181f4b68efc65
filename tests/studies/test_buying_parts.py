"""A plan's own steps on a small study: what it tells while it measures, what it refuses, where its report lies."""

import contextlib
import json
import math
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

import smidgen
from smidgen.data.views.rows import Rows
from smidgen.kit.errors import BadInput, BudgetSpent
from smidgen.studies import buying
from smidgen.studies import fit as fitting
from smidgen.studies.buying import _check_spend, _event, _id, _pretrain, _remember, plan, study_of
from smidgen.studies.fitted import Fitted
from smidgen.studies.inline import InlinePool
from smidgen.studies.losses import Scale
from smidgen.studies.other_offers import Other, Step
from smidgen.studies.pretraining import Spent, Unfinished
from smidgen.studies.prices import offers_of
from smidgen.studies.ready import Ready
from smidgen.studies.runner import Runner
from smidgen.studies.store import RunStore

N = 32


class Loaded(InlinePool):
    """Keeps what it was given, and how many workers were asked for."""

    given: list[Any] = []

    def __init__(self, workers=1, memory=None):
        super().__init__(workers, memory)
        self.given.append(workers)

    def load(self, *data):
        self.given.append(data)
        super().load(*data)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A store with studies of a small table: `made` by one quick method, `spread` with rows that have no label."""
    folder = tmp_path_factory.mktemp("buying")
    rng = np.random.default_rng(0)
    y = np.arange(N) % 2
    frame = pd.DataFrame({"a": rng.normal(size=N) + y, "b": rng.normal(size=N), "y": y})
    frame.to_csv(folder / "few.csv", index=False)
    pd.DataFrame(rng.normal(size=(20, 2)), columns=["a", "b"]).to_csv(folder / "more.csv", index=False)
    order = {"trials": 1, "workers": 1, "store": str(folder / "runs.db"), "metric": "accuracy"}
    with pytest.MonkeyPatch.context() as patch, contextlib.chdir(folder):
        patch.setattr(fitting, "Pool", InlinePool)
        made = smidgen.fit("few.csv", "y", out=folder / "model", methods="naive_bayes", render=lambda s: "r", **order)
        spread = smidgen.fit("few.csv", "y", unlabelled="more.csv", methods="label_spreading", **order)
    return SimpleNamespace(path=folder, made=made, spread=spread, store=order["store"])


@pytest.fixture
def planned(folder, monkeypatch, tmp_path):
    """`planned(study, prices, spend, ..)` in this process; `.told`: the events; `.given`: what workers were given."""
    monkeypatch.setattr(buying, "Pool", Loaded)
    monkeypatch.setattr(Loaded, "given", [])
    monkeypatch.chdir(folder.path)

    def run(study, prices, spend=10.0, **more):
        run.told = []
        return plan(study, prices, spend, store=run.store, progress=run.told.append, **more)

    run.given, run.store = Loaded.given, str(shutil.copy(folder.store, tmp_path))
    return run


def test_what_is_measured_is_told_one_by_one(folder, planned):
    out = planned(folder.made, {"label": 1.0, "label@0.2": 0.1}, time="5m", workers=3)
    draws = len(out["curve"]) * 4 + 4  # every size four times, half and a third of right labels twice
    assert out["measured"] == {"trainings": draws, "of": draws, "failed": 0, "ended": False, "rounded": 0}
    assert 0 < out["seconds"] < 300 and out["seconds"] == round(out["seconds"], 2)
    assert planned.given[0] == 3 and [len(g) for g in planned.given[1:]] == [2]
    told = planned.told
    assert {e["kind"] for e in told} == {"plan"} and {e["total"] for e in told} == {draws}
    assert [e["done"] for e in told] == list(range(1, len(told) + 1)) and len(told) == draws - 1  # one is known
    assert all(200 < e["seconds_left"] <= 300 and e["seconds_left"] == round(e["seconds_left"], 1) for e in told)
    size = int(out["curve"][-2]["n"])
    assert told[0]["text"] == f"learn/naive_bayes on {size} labels"
    again = planned(folder.made.study, {"label": 1.0, "label@0.2": 0.1}, dry_run=True)
    assert again["fits"] == draws * 8 and len(again["would_measure"]) == draws and planned.told == []
    assert again["purchases"] == ["label", "label@0.2"] and len(planned.given) == 2


def test_a_plan_without_rows_measures_nothing(folder, planned):
    out = planned(folder.made, {"hour": 1.0}, dry_run=False)
    assert out["measured"]["trainings"] == 0 and planned.given == [] and planned.told == []
    with RunStore(planned.store) as runs:
        assert runs.study(folder.made.study).summary["plan"]["asked"]["prices"] == {"hour": 1.0}
    dry = planned(folder.made, {"hour": 1.0}, dry_run=True)
    assert dry["would_measure"] == [] and dry["purchases"] == [] and [u["purchase"] for u in dry["unknown"]] == ["hour"]


def test_a_method_that_learns_from_rows_without_labels_is_given_them(folder, planned, monkeypatch):
    monkeypatch.setattr(Runner, "_time_is_up", lambda self: True)
    with pytest.raises(BudgetSpent, match="before two sizes"):
        planned(folder.spread, {"label": 1.0})
    task, rows = planned.given[1]
    assert len(rows.pool) == len(task.unlabelled) == 20 and len(rows) == N
    with pytest.raises(BudgetSpent, match="before two sizes"):
        planned(folder.made, {"label": 1.0})
    assert planned.given[-1][1].pool is None


def test_what_failed_is_told_apart_from_what_was_cut(folder, planned, monkeypatch):
    real = Runner._time_is_up
    monkeypatch.setattr(Runner, "_time_is_up", lambda self: len(self._mine) >= 3 or real(self))
    out = planned(folder.made, {"label": 1.0, "label@0.35": 0.1})
    assert out["measured"]["ended"] and out["measured"]["trainings"] == 4  # all sizes, and one mixture
    assert out["measured"]["failed"] == 0
    monkeypatch.setattr(Runner, "_time_is_up", lambda self: (_ for _ in ()).throw(KeyboardInterrupt))
    stopped = planned(folder.made, {"label": 1.0, "label@0.45": 0.1})
    assert stopped["measured"]["ended"] and stopped["measured"]["trainings"] == 3  # as known


@pytest.mark.parametrize("spend", [True, "5", 0, -1.0, math.inf, math.nan, None])
def test_money_is_a_number_above_nothing(planned, folder, spend):
    with pytest.raises(BadInput, match=r"^spend: expected a number above 0"):
        planned(folder.made, {"label": 1.0}, spend)


def test_texts_that_take_all_the_time_to_encode_are_kept(folder, planned, monkeypatch):
    words = ["good and long words", "bad and other words", "so many words here", "less of them here"]
    texts = pd.DataFrame({"text": [f"{words[i % 4]} and {i}" for i in range(N)], "y": np.arange(N) % 2})
    texts.to_csv("texts.csv", index=False)
    monkeypatch.setattr(fitting, "Pool", InlinePool)
    made = smidgen.fit("texts.csv", "y", trials=1, methods="naive_bayes", store=planned.store)
    out = planned(made, {"label": 1.0})
    encoders = planned.told[0]["text"]
    assert encoders.startswith("Encoding (") and encoders.endswith(")") and planned.told[0]["done"] == 0
    assert planned.told[0]["seconds_left"] == 60.0 and planned.told[0]["total"] == out["measured"]["of"]
    seen = []

    def filled(rows, encoders, cache, in_time, *, columns):
        seen.append((rows, tuple(encoders), columns))
        in_time(5, 5)  # all are done: no matter how late
        in_time(4, 5)

    monkeypatch.setattr(buying, "fill", filled)
    with pytest.raises(BudgetSpent, match=r"^The time ended while rows were encoded\. Give more time; what is done is"):
        planned(made, {"label": 1.0}, time="0.000001s")
    assert f"Encoding ({', '.join(seen[0][1])})" == encoders and len(seen[0][0]) == N


# -- parts --


def test_a_study_is_named_by_its_id_its_model_or_its_result(folder, tmp_path):
    study = folder.made.study
    assert _id(folder.made) == _id(folder.path / "model") == _id(str(folder.path / "model")) == study
    assert _id("few-3") == "few-3" and study_of(folder.path / "model") == study
    other = Fitted(None, {}, "x-1")  # type: ignore[arg-type]
    assert _id(other) == "x-1"
    for text in ("{}", '{"about": {}}', '{"about": null}', "no json", None):
        if text is not None:
            (tmp_path / "model.json").write_text(text)
            with pytest.raises(BadInput, match="does not say of which study it is: name the study"):
                _id(tmp_path)
        else:
            (tmp_path / "model.json").unlink()
        assert study_of(tmp_path) is None
    (tmp_path / "model.json").write_text(json.dumps({"about": {"study": 7}}))
    assert _id(tmp_path) == "7"


@pytest.mark.parametrize(
    ("cheapest", "said"),
    [
        (1.0, "1"), (0.4, "0.4"), (0.12341, "0.124"), (0.123, "0.123"), (99.91, "100"), (1234.0, "1.24e+03"),
        (2e-7, "2e-07"),
    ],
)  # fmt: skip
def test_the_cheapest_purchase_is_told_in_three_digits_and_never_too_low(cheapest, said):
    known = offers_of({"label": cheapest, "unlabelled": 2000.0})
    _check_spend(cheapest, known, [])
    _check_spend(1e-9, [], [])
    with pytest.raises(BadInput, match=rf"^spend: expected at least {said.replace('+', '[+]')}, the cheapest purchase"):
        _check_spend(cheapest * 0.999999, known, [])
    (hour,) = offers_of({"hour": 2 * cheapest})
    steps = tuple(Step(a, a, np.zeros(1), "") for a in (0.5, 3.0))
    _check_spend(cheapest, [], [Other(hour, steps)])
    with pytest.raises(BadInput, match="the cheapest purchase"):
        _check_spend(cheapest * 0.999999, [], [Other(hour, steps)])


def test_an_event_of_a_plan():
    told = {"kind": "plan", "text": "as it is", "done": 2, "total": 5, "seconds_left": 9.5}
    assert _event("as it is", 2, 5, 9.5) == told


def test_what_is_learnt_once_is_made_again_within_the_time(monkeypatch):
    asked, loaded = [], []
    pool: Any = SimpleNamespace(load=lambda *data: loaded.append(data))
    task: Any = object()
    own = Ready(task, Scale.of("accuracy"), "learn/barlow_pictures", "picture", {"width": 4}, 3, 8, 0.5)
    rows = Rows(pd.DataFrame({"a": [1]}))

    def within(*given, folder, seconds):
        asked.append((*given[:3], given[3].method, given[3].view, given[3].params, given[4], seconds))
        return Spent()

    monkeypatch.setattr(buying, "pretrain_within", within)
    for left, seconds in ((9.0, 9.0), (0.5, 1.0), (-5.0, 1.0)):
        _pretrain(own, pool, rows, left)
        assert asked[-1] == (pool, task, rows, "learn/barlow_pictures", "picture", {"width": 4}, 3, seconds)
    assert loaded == [(task, rows)] * 3

    def late(*given, **more):
        raise Unfinished("took longer than its 9 s")

    monkeypatch.setattr(buying, "pretrain_within", late)
    said = "The pretraining of learn/barlow_pictures could not be made again: it took longer than its 9 s. Give more"
    with pytest.raises(BudgetSpent) as told:
        _pretrain(own, pool, rows, 9.0)
    assert str(told.value) == f"{said} time." and len(loaded) == 3


# -- the report --


def remembered(folder: Path, *, asked=None, state="done", study="s-1", of="s-1", page="p" * 50, **summary: Any):
    """What `_remember` notes of a plan, with a report of so many letters."""
    noted: list[Any] = []
    kept: Any = SimpleNamespace(state=state, asked=asked or {}, summary={"model": str(folder), **summary})

    def note(name, out):
        noted.append((name, dict(out)))
        return kept

    runs: Any = SimpleNamespace(note_plan=note)
    found: Any = SimpleNamespace(id=study)
    (folder / "model.json").write_text(json.dumps({"about": {"study": of}}))
    out: dict[str, Any] = {"split": {}}
    _remember(runs, found, out, lambda told: page if told is kept.summary else "?")
    assert noted == [(study, {"split": {}})]
    return out.get("report")


def test_a_report_is_made_anew_where_it_lies_and_within_the_bound(tmp_path):
    folder = tmp_path / "m"
    folder.mkdir()
    inside, beside = folder / "report.html", tmp_path / "m-report.html"
    assert remembered(folder) is None and not inside.exists() and not beside.exists()  # there was none
    inside.write_text("old")
    assert remembered(folder) == str(inside) and inside.read_text() == "p" * 50
    rest = len((folder / "model.json").read_text())
    assert remembered(folder, asked={"size": str(rest + 50)}) == str(inside)
    inside.write_text("old")
    assert remembered(folder, asked={"size": str(rest + 49)}) == str(beside)
    assert inside.read_text() == "old" and beside.read_text() == "p" * 50
    inside.unlink()
    assert remembered(folder, page="q") == str(beside) and beside.read_text() == "q" and not inside.exists()


def test_no_report_is_made_of_another_study_or_of_one_that_runs(tmp_path):
    (tmp_path / "report.html").write_text("old")
    assert remembered(tmp_path, of="s-2") is None and remembered(tmp_path, state="running") is None
    assert remembered(tmp_path, model=None) is None and (tmp_path / "report.html").read_text() == "old"
    runs: Any = SimpleNamespace(note_plan=lambda *given: None)
    found: Any = SimpleNamespace(id="s-1")
    out: dict[str, Any] = {}
    _remember(runs, found, out, lambda told: "?")  # the study is gone
    kept: Any = SimpleNamespace(state="done", asked={}, summary={"model": str(tmp_path)})
    runs.note_plan = lambda *given: kept
    _remember(runs, found, out, None)
    kept.summary = None
    _remember(runs, found, out, lambda told: "?")
    assert out == {} and (tmp_path / "report.html").read_text() == "old"
