"""What is learnt once: who makes it, how it is kept by content, what damage and failure do."""

import json
from dataclasses import replace
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from smidgen.data.views.rows import Rows
from smidgen.kit.errors import BadInput
from smidgen.kit.files import digest
from smidgen.kit.notes import note
from smidgen.kit.seeds import derive_seed
from smidgen.studies import pretraining as module
from smidgen.studies.candidates import Candidate
from smidgen.studies.inline import InlinePool
from smidgen.studies.job import Failure, Job
from smidgen.studies.pretraining import Spent, Unfinished, pretrain_within
from smidgen.tasks.read import read

X = np.random.default_rng(0).normal(size=(30, 2))
C = Candidate("learn/logistic", "linear", {"strength": 2.0})


@pytest.fixture
def data():
    frame = pd.DataFrame({"a": X[:, 0], "b": X[:, 1]})
    task = read(frame[:20].assign(y=["u", "v"] * 10), "y", unlabelled=frame[20:])
    return task, Rows(task.frame, pool=Rows(task.unlabelled.reset_index(drop=True)))


@pytest.fixture
def asked(monkeypatch):
    """What the method was asked to learn from; it learns the sum."""
    seen: list[Any] = []

    def pretrain(features, params, seed):
        seen.append((features, params, seed))
        note("slowly")
        return {"sum": features.sum(0), "seed": 3}

    fake: Any = ModuleType("made")
    fake.pretrain = pretrain
    monkeypatch.setattr(module.methods, "load", lambda name: fake)
    return seen


def within(data, workers=None, candidate=C, seed=5, **more):
    task, rows = data
    if workers is None:
        workers = InlinePool()
        workers.load(task, rows)
    return pretrain_within(workers, task, rows, candidate, seed, **({"folder": None, "seconds": None} | more))


def test_it_is_made_from_the_rows_without_labels(data, asked):
    got = module.pretrain(*data, C.method, "linear", {"x": 1}, 5)
    features, params, seed = asked[0]
    pool = X[20:]
    assert features == pytest.approx((pool - pool.mean(0)) / pool.std(0), abs=0.1) and params == {"x": 1}
    assert seed == derive_seed(5, "learn/logistic", "pretraining") and got["notes"] == ["slowly"]
    assert got["learnt"]["sum"] == pytest.approx(features.sum(0))
    task, rows = data
    grouped = replace(rows, pool=Rows(rows.pool.frame, groups=np.array([-1, 0, -1, -1, 5, -1, -1, -1, -1, -1])))
    module.pretrain(task, grouped, C.method, "linear", {}, 5)
    assert len(asked[1][0]) == 8
    for none in (Rows(task.frame), Rows(task.frame, pool=Rows(task.frame[:0]))):
        with pytest.raises(BadInput, match=r"^There are no rows without labels to learn from\.$"):
            module.pretrain(task, none, C.method, "linear", {}, 5)


def test_it_is_kept_by_what_it_is_made_of(data, asked, tmp_path):
    spent = within(data, folder=str(tmp_path / "c"))
    assert spent.notes == ("slowly",) and spent.peak_bytes > 0 and data[1].learnt[C.method]["seed"] == 3
    (place,) = (tmp_path / "c" / "pretrained").iterdir()
    learnt = data[1].learnt.pop(C.method)
    assert within(data, folder=tmp_path / "c") == Spent(notes=("slowly",)) and len(asked) == 1
    assert data[1].learnt[C.method]["sum"].tolist() == learnt["sum"].tolist()
    body = place.read_bytes()
    assert body[:32].decode() == digest(body[32:]) and place.suffix == ".bin" and len(place.stem) == 32
    for hurt in (body[:-1], body[:40] + b"?" + body[41:], b"", b"x" * 32 + body[32:]):
        place.write_bytes(hurt)
        within(data, folder=tmp_path / "c")
        assert place.read_bytes() == body
    odd = b"\x02" + bytes(7) + b"{}"
    place.write_bytes(digest(odd).encode() + odd)  # whole, and of another kind
    within(data, folder=tmp_path / "c")
    assert len(asked) == 6 and place.read_bytes() == body
    for more in ({"seed": 6}, {"candidate": replace(C, params={})}, {"candidate": replace(C, view="tree")}):
        within(data, folder=tmp_path / "c", **more)
    task, rows = data
    other = (task, Rows(rows.frame, pool=Rows(rows.pool.frame + 1.5)))
    within(other, folder=tmp_path / "c", candidate=replace(C, view="tree"))
    assert len(list((tmp_path / "c" / "pretrained").iterdir())) == 5 and len(asked) == 10


def test_where_nothing_can_be_kept_it_is_made_all_the_same(data, asked, tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (None, tmp_path / "file"):
        assert within(data, folder=folder).notes == ("slowly",)
    assert len(asked) == 2 and Spent() == Spent(0.0, 0.0, 0, ())


class Workers:
    """Ends its job after so many looks."""

    def __init__(self, ended, looks):
        self.ended, self.looks, self.killed, self.waits = ended, looks, [], []

    def submit(self, function, args, seconds):
        self.given = (function, args, seconds)
        self.job = Job("f", (), seconds=2.0, cpu_seconds=3.0, peak_bytes=4)
        return self.job

    def wait(self, patience):
        self.waits.append(patience)
        self.looks -= 1
        return [] if self.looks else [(Job("other", ()), 1), (self.job, self.ended)]

    def kill(self, job):
        self.killed.append(job)


def test_it_is_waited_for_told_of_and_ended(data):
    told, ticks = [], iter(range(100, 200, 7))
    workers: Any = Workers({"learnt": "all", "notes": []}, 3)
    got = within(data, workers, tell=told.append, clock=lambda: next(ticks), seconds=9.0)
    assert got == Spent(2.0, 3.0, 4, ()) and told == [7, 14, 21] and workers.waits == [5.0] * 3
    assert (
        workers.given == (module.pretrain, (C.method, "linear", C.params, 5), 9.0) and data[1].learnt[C.method] == "all"
    )
    assert workers.killed == [workers.job]
    for failure, said in (
        (Failure("took longer than its 5 s", "deadline"), "took longer than its 5 s"),
        (Failure("out of memory", "memory"), "failed (out of memory)"),
        (Failure("ArithmeticError: dark"), "failed (ArithmeticError: dark)"),
    ):
        with pytest.raises(Unfinished) as caught:
            within(data, Workers(failure, 1))
        assert str(caught.value) == said

    def interrupted(passed):
        raise KeyboardInterrupt

    stopped: Any = Workers({}, 2)
    with pytest.raises(KeyboardInterrupt):
        within(data, stopped, tell=interrupted)
    assert stopped.killed == [stopped.job]


def test_the_key_is_of_method_version_view_settings_seed_and_features(data, monkeypatch):
    task, rows = data
    features = np.ascontiguousarray(module._free(task, rows, "linear"), np.float32)
    card = module.methods.card(C.method)
    own = json.dumps([C.method, card.version, "linear", C.params, 5], sort_keys=True)
    assert module._key(task, rows, C, 5) == digest(own, str(features.shape), features.tobytes())
    monkeypatch.setattr(module.methods, "card", lambda name: SimpleNamespace(version=card.version + 1))
    assert module._key(task, rows, C, 5) != digest(own, str(features.shape), features.tobytes())
