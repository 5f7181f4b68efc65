"""What a compressed encoder is given room for, and what a method learns once: kept, read again, ended in time."""

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from smidgen.compress.fitting import Limit
from smidgen.kit.errors import BadInput
from smidgen.kit.seeds import derive_seed
from smidgen.studies import compress_encoder, pretraining
from smidgen.studies.candidates import Candidate
from smidgen.studies.compress_encoder import Encoding, Judged, texts_of
from smidgen.studies.job import Failure
from smidgen.studies.pretraining import Spent, Unfinished, pretrain_within


def test_texts_of_rows_are_distinct_and_not_blank():
    frame = pd.DataFrame({"t": [" a ", "b", None, "a", " "], "n": [1, 2, 3, 4, 5], "u": ["c", "b", "d", None, "c"]})
    columns = [SimpleNamespace(name=n, kind=k) for n, k in (("t", "text"), ("n", "number"), ("u", "text"))]
    opened: Any = SimpleNamespace(
        choose=SimpleNamespace(frame=frame), learn=None, model=SimpleNamespace(columns=columns)
    )
    assert texts_of(opened, "choose") == ["a", "b", "c", "d"] and texts_of(opened, "learn") == []


def encoding_of(monkeypatch, own=False):
    made = object.__new__(Encoding)
    asked: list[dict[str, Any]] = []
    layer = SimpleNamespace(name="l", kind="linear", others=("o",), shape=(64, 64), numbers=4096)
    tried = SimpleNamespace(name="mixed", bytes=500, loss=0.1, recovered=True)
    result = SimpleNamespace(
        model=None, mixture={"l": "int4/64"}, layers=[layer], tried=[tried], recovery_steps=7, notes=["n"]
    )

    def fit(subject, limit, count, **how):
        asked.append({"limit": limit, **how})
        return result

    monkeypatch.setattr(compress_encoder.fitting, "fit", fit)
    monkeypatch.setattr(compress_encoder.compress_folder, "write", lambda *given: 0)
    monkeypatch.setattr(compress_encoder, "files_of", lambda at: {"a": b"xx", "b": b"yyy"})
    monkeypatch.setattr(compress_encoder, "described", lambda files, identity: {"of": sorted(files), "id": identity})
    monkeypatch.setattr(compress_encoder, "PackedMiniLM", lambda at, told: ("packed", told))
    monkeypatch.setattr(compress_encoder.minilm, "load", lambda: SimpleNamespace(identity="me"))
    monkeypatch.setattr(
        compress_encoder, "best_mix", lambda choices, *, most_loss: SimpleNamespace(options={"loss": most_loss})
    )
    made.opened = SimpleNamespace(  # type: ignore[assignment]
        beside=None,
        read_with=lambda encoder: asked.append({"read": encoder}),
        lost=lambda options, part: asked.append({"part": part}),
    )
    made.seen = SimpleNamespace(smallest=300, uniforms=[("int4", None, 50), ("int8", None, 90)])  # type: ignore[assignment]
    made.subject = made.count = made.config = made.carried = made.tell = made.work_folder = None  # type: ignore[assignment]
    made.seed, made.own = 3, own
    work: Any = SimpleNamespace(choices=[], size=lambda options: 1000 + round(1e6 * options["loss"]))
    return made, work, asked


def test_the_encoder_has_the_room_that_arrays_leave(monkeypatch):
    made, work, asked = encoding_of(monkeypatch)
    assert made.fit(work, None, 9000, 12.0, None) == ["n"]
    first = asked[0]
    assert first["limit"] == Limit(bytes=9000 - 3000) and first["seconds"] == 12.0 and first["recovery_steps"] is None
    assert first["seed"] == 3 and made.recovery_steps == 7 and made.files == {"a": b"xx", "b": b"yyy"}
    assert made.opened.beside == ({"of": ["a", "b"], "id": "me"}, 5) and [a["part"] for a in asked if "part" in a] == [
        "choose",
        "check",
    ]
    assert made.tried == [{"name": "encoder: mixed", "bytes": 3500, "loss": 0.1, "recovered": True}]
    (layer,) = made.layers
    assert layer["name"] == "encoder.l" and layer["bits"] == pytest.approx(4.25) and layer["shared_with"] == ["o"]
    assert layer["bytes"] == 4096 * 4.25 / 8 and layer["format"] == "int4/64"
    assert (
        compress_encoder._layer(
            SimpleNamespace(name="l", kind="k", others=(), shape=(2, 2), numbers=4), compress_encoder.KEPT
        )["bits"]
        == 16
    )
    made.fit(work, None, 3200, None, 5)
    fits = [a for a in asked if "limit" in a]
    assert fits[1]["limit"] == Limit(bytes=300) and fits[1]["seconds"] == 1e9 and fits[1]["recovery_steps"] == 5
    made.fit(work, 0.05, None, None, None)
    third = [a for a in asked if "limit" in a][2]
    assert third["limit"].loss == pytest.approx(0.04) and third["recovery_steps"] == 0
    assert made.tried[0]["bytes"] == 500 + 1000 + 10_000  # arrays may lose a fifth of 0.05
    assert made.uniforms(1000) == [
        {"name": "encoder in int4", "bytes": 1050},
        {"name": "encoder in int8", "bytes": 1090},
    ]
    own, work, _ = encoding_of(monkeypatch, own=True)
    notes = own.fit(work, None, 9000, 1.0, None)
    assert "random words stood in" in notes[0] and notes[1:] == ["n"]
    assert math.isnan(compress_encoder._unknown(None, []))  # type: ignore[arg-type]


def test_mixes_are_judged_by_the_model_on_the_rows_that_choose(monkeypatch):
    read: list[Any] = []
    opened: Any = SimpleNamespace(choose=1, read_with=read.append, lost=lambda options: 0.25)
    monkeypatch.setattr(compress_encoder, "MiniLM", lambda place, weights, identity: (place, weights, identity))
    monkeypatch.setattr(compress_encoder, "weights_of", lambda model: f"of {model}")
    monkeypatch.setattr(compress_encoder.minilm, "load", lambda: SimpleNamespace(identity="me"))
    monkeypatch.setattr(compress_encoder.Subject, "distances", lambda self, *given: 9.0)
    choose: list[Any] = [{"a": 1}]
    given: Any = (None, [], choose, [], None, None, None, "")
    one = Judged(*given, opened=opened, place="here")  # type: ignore[arg-type]
    assert one.distances("m", choose, []) == 0.25 and read == [("here", "of m", "me")]  # type: ignore[arg-type]
    assert one.distances("m", list(choose), []) == 9.0  # type: ignore[arg-type]
    assert Judged(*given, opened=opened).distances("m", choose, []) == 9.0  # type: ignore[arg-type]
    opened.choose = None
    assert one.distances("m", choose, []) == 9.0 and len(read) == 1  # type: ignore[arg-type]


# -- what is learnt once --

LEARNT = {"learnt": {"w": np.arange(6.0).reshape(2, 3), "k": 3}, "notes": ["thin"]}


class Workers:
    """Ends the job at the n-th look."""

    def __init__(self, looks, value):
        self.looks, self.value, self.asked, self.killed = looks, value, [], []

    def submit(self, function, args, seconds):
        self.asked.append((function, args, seconds))
        return SimpleNamespace(seconds=5.0, cpu_seconds=4.0, peak_bytes=99)

    def wait(self, patience):
        self.looks -= 1
        assert patience == pretraining.LOOK_SECONDS
        if self.looks == 0:
            return [(Self.job, self.value)]
        return []

    def kill(self, job):
        self.killed.append(job)


class Self:
    job: Any = None


def made_of(monkeypatch, looks, value, folder, seconds=9.0):
    monkeypatch.setattr(pretraining, "_key", lambda *given: "key")
    workers, told, ticks = Workers(looks, value), [], iter(range(100))
    submit = workers.submit

    def submitted(*given):
        class Job(SimpleNamespace):
            __hash__ = object.__hash__

        made = submit(*given)
        Self.job = Job(**vars(made))
        return Self.job

    workers.submit = submitted  # type: ignore[method-assign]
    rows: Any = SimpleNamespace(learnt={})
    candidate = Candidate("learn/x", "v", {"p": 1})
    spent = pretrain_within(
        workers,
        None,
        rows,
        candidate,
        4,
        folder=folder,
        seconds=seconds,
        tell=told.append,
        clock=lambda: float(next(ticks)),  # type: ignore[arg-type]
    )
    return workers, rows, spent, told


def test_it_is_made_once_and_kept(monkeypatch, tmp_path):
    workers, rows, spent, told = made_of(monkeypatch, 3, LEARNT, tmp_path)
    assert spent == Spent(5.0, 4.0, 99, ("thin",)) and told == [1.0, 2.0, 3.0] and workers.killed == [Self.job]
    assert workers.asked == [(pretraining.pretrain, ("learn/x", "v", {"p": 1}, 4), 9.0)]
    assert rows.learnt["learn/x"] is LEARNT["learnt"]
    place = tmp_path / "pretrained" / "key.bin"
    again, other, nothing, _ = made_of(monkeypatch, 1, None, tmp_path)
    assert again.asked == [] and nothing == Spent(notes=("thin",)) and other.learnt["learn/x"]["k"] == 3
    assert other.learnt["learn/x"]["w"].tolist() == [[0, 1, 2], [3, 4, 5]]
    whole = place.read_bytes()
    for damaged in (whole[:-1], whole[:40], b"", whole[:32] + b"x" + whole[33:]):
        place.write_bytes(damaged)
        assert pretraining._read(place) is None
        assert made_of(monkeypatch, 1, LEARNT, tmp_path)[0].asked
    assert pretraining._read(tmp_path / "gone") is None
    assert made_of(monkeypatch, 1, LEARNT, None)[0].asked
    blocked = tmp_path / "file"
    blocked.write_text("x")
    assert made_of(monkeypatch, 1, LEARNT, blocked)[2].seconds == 5.0  # a cache that cannot be written


def test_what_ends_otherwise_is_told(monkeypatch, tmp_path):
    for failure, said in ((Failure("took longer than its 5 s", "deadline"), "took longer than its 5 s"),
                          (Failure("out of memory", "memory"), r"failed \(out of memory\)")):  # fmt: skip
        with pytest.raises(Unfinished, match=said):
            made_of(monkeypatch, 1, failure, tmp_path)
    assert not (tmp_path / "pretrained").exists()


def test_only_rows_of_no_labelled_group_are_learnt_from(monkeypatch):
    class Pool(SimpleNamespace):
        def __len__(self):
            return 6

    seen: list[Any] = []
    taken: list[Any] = []
    pool = Pool(groups=np.array([0, -1, 1, -2, -1, 0]), take=lambda rows: taken.append(rows.tolist()) or "part")

    class View:
        def __init__(self, name, columns):
            seen.append((name, columns))

        def fit(self, rows):
            return self

        def transform(self, rows):
            return rows

    monkeypatch.setattr(pretraining, "View", View)
    task: Any = SimpleNamespace(columns="c")
    assert pretraining._free(task, SimpleNamespace(pool=pool), "v") == "part" and taken == [[1, 3, 4]]  # type: ignore[arg-type]
    pool.groups = None
    assert pretraining._free(task, SimpleNamespace(pool=pool), "v") is pool and seen == [("v", "c")] * 2  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="no rows without labels"):
        pretraining._free(task, SimpleNamespace(pool=None), "v")  # type: ignore[arg-type]

    asked: list[Any] = []
    method = SimpleNamespace(pretrain=lambda *given: asked.append(given) or "made")
    monkeypatch.setattr(pretraining.methods, "load", lambda name: method)
    monkeypatch.setattr(pretraining, "_free", lambda *given: "features")
    assert pretraining.pretrain(task, None, "learn/x", "v", {"p": 1}, 3) == {"learnt": "made", "notes": []}  # type: ignore[arg-type]
    assert asked == [("features", {"p": 1}, derive_seed(3, "learn/x", "pretraining"))]


def test_equal_rows_and_settings_have_one_key(monkeypatch):
    features = np.ones((3, 2))
    monkeypatch.setattr(pretraining, "_free", lambda *given: features)
    monkeypatch.setattr(pretraining.methods, "card", lambda name: SimpleNamespace(version=2))

    def key(method="m", view="v", seed=0, **params):
        return pretraining._key(None, None, Candidate(method, view, params), seed)  # type: ignore[arg-type]

    known = {key(), key("n"), key(view="w"), key(seed=1), key(p=1)}
    assert len(known) == 5 and key() in known
    features = np.ones((2, 3))
    assert key() not in known
    features = np.ones((3, 2)) * 2
    assert key() not in known
