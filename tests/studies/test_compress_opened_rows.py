"""Rows that choose, judge and are learnt from; and what a model says with one member's arrays changed."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from smidgen.data.views.rows import Rows
from smidgen.kit.errors import BadInput
from smidgen.kit.files import json_bytes, tensor_bytes
from smidgen.learn.member import Member
from smidgen.learn.model import Model
from smidgen.studies import compress_opened
from smidgen.studies.compress_opened import Opened, encoders, open_fitted, reads_texts
from smidgen.tasks.task import Column

pytest.importorskip("torch")
COLUMNS = tuple(Column(name=n, kind="number") for n in ("place", *(f"x{i}" for i in range(7))))


def frame_of(n: int) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame({"place": np.arange(n) / 100.0, **{f"x{i}": rng.normal(size=n) for i in range(7)}})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten members, so that one is called 1 and one 10."""
    rows = frame_of(40)
    members = []
    for i in range(11):
        codes = (np.arange(40) * (i + 1) // 3) % 9  # nine classes: 72 coefficients
        made = Member("learn/logistic", "linear", "classification", 9)
        members.append(made.fit(Rows(rows), codes, COLUMNS, seed=i))
    model = Model("classification", tuple(range(9)), COLUMNS, "target", members, [1 / 11] * 11, [0.0] * 11)
    return model.save(tmp_path_factory.mktemp("opened") / "m")


def places(rows: Rows | None) -> list[int]:
    assert rows is not None
    return [round(100 * v) for v in rows.frame["place"]]


@pytest.mark.parametrize(
    ("n", "choose", "check", "learn"),
    [(8, 4, 4, 4), (9, 4, 5, 4), (399, 199, 200, 199), (400, 200, 200, 200), (401, 200, 200, 201),
     (499, 200, 200, 299), (500, 200, 200, 100), (530, 200, 200, 130)],
)  # fmt: skip
def test_half_of_at_most_400_rows_choose_and_half_judge(folder, n, choose, check, learn) -> None:
    told: list[tuple[str, float]] = []
    opened = open_fitted(folder, frame_of(n), 0, lambda *said: told.append(said))
    own = [places(rows) for rows in (opened.choose, opened.check, opened.learn)]
    assert [len(p) for p in own] == [choose, check, learn] and all(p == sorted(set(p)) for p in own)
    assert not set(own[0]) & set(own[1]) and not set(own[1]) & set(own[2])  # what judges teaches nothing
    if n < 500:
        assert set(own[0]) <= set(own[2])
    else:
        assert not set(own[0]) & set(own[2]) and len({*own[0], *own[1], *own[2]}) == n
    assert told == [("reading rows", 0.0)] * 2
    again = open_fitted(folder, frame_of(n))
    assert places(again.check) == own[1] and places(open_fitted(folder, frame_of(n), 1).check) != own[1]


def test_too_few_rows_are_refused_and_none_measure_nothing(folder) -> None:
    with pytest.raises(BadInput, match=r"expected at least 8 rows to calibrate by, got 7\. Better a hundred\."):
        open_fitted(folder, frame_of(7))
    opened = open_fitted(folder, None)
    assert opened.choose is opened.check is opened.learn is None
    assert opened.lost({"0.head.coef": "int8/64"}) == 0.0 == opened.lost({}, "check")
    assert opened.folder == folder and opened.beside == (None, 0) and opened.encoder is None
    assert encoders(opened.model) == [] and not reads_texts(opened.model)


def test_a_changed_array_is_said_by_its_member_and_computed_once(folder, monkeypatch) -> None:
    opened = open_fitted(folder, frame_of(30))
    name = next(n for n, a in opened.arrays.items() if n.startswith("10.") and a.dtype.kind == "f" and a.size >= 64)
    assert opened.member_of(name) == 10 and opened.member_of(name[1:]) == 0
    built: list[int] = []
    make = Opened._member
    monkeypatch.setattr(Opened, "_member", lambda self, i, own: (built.append(i), make(self, i, own))[1])
    assert opened.lost({}) == 0.0 and built == list(range(11))
    built.clear()
    lost = opened.lost({name: "int2+offset/32/double"})
    assert lost > 0 and built == [10] and opened.lost({name: "int2+offset/32/double"}) == lost and built == [10]
    whole, other = opened.model.chances(opened.choose), opened._says(10, {name: "int2+offset/32/double"}, "choose")
    members = [m.predict(opened.choose) for m in opened.model.members]
    now = opened.model.blended([*members[:10], other])
    assert lost == pytest.approx(np.abs(whole - now).sum(1).mean() / 2)
    assert opened.lost({name: "float32"}) < 1e-6

    def broken(self: Any, i: int, own: Any) -> Any:
        raise np.linalg.LinAlgError("singular")

    monkeypatch.setattr(Opened, "_member", broken)
    assert opened.lost({name: "int3+offset/32/double"}) == float("inf")
    monkeypatch.setattr(Opened, "_member", lambda self, i, own: 1 / 0)
    assert opened.lost({name: "int4+offset/32/double"}) == float("inf")

    def other_fault(self: Any, i: int, own: Any) -> Any:
        raise KeyError("a fault of ours is none of the rounding's")

    monkeypatch.setattr(Opened, "_member", other_fault)
    with pytest.raises(KeyError):
        opened.lost({name: "int5+offset/64/double"})


def test_another_encoder_forgets_what_was_said_and_keeps_what_was(folder) -> None:
    opened = open_fitted(folder, frame_of(30))
    before = opened.choose
    assert opened.lost({}) == 0.0 and opened.said and "check" not in opened.was
    opened.read_with("another")
    assert opened.said == {} and opened.was.keys() == {"choose", "check"} and opened.encoder == "another"
    assert opened.choose is not before and opened.choose.frame is before.frame  # type: ignore[union-attr]
    blind = open_fitted(folder, None)
    blind.read_with("another")
    assert blind.was == {} and blind.choose is None and blind.encoder == "another"


def test_bytes_of_a_folder_are_those_of_its_files_for_every_kind_of_array() -> None:
    rng = np.random.default_rng(0)
    arrays = {
        "0.a": rng.normal(size=(40, 40)), "0.b": rng.random(70).astype(np.float32), "0.mask": rng.random(9) > 0.5,
        "0.counts": np.arange(300), "0.low": -np.arange(100), "0.few": np.arange(5),
        "0.codes": np.arange(90, dtype="u2"), "0.half": rng.random(65).astype(np.float16),
    }  # fmt: skip
    head = {"schema": 1, "kind": "classification", "ä": "é"}
    opened = Opened(Path("m"), head, arrays, SimpleNamespace(members=[]))  # type: ignore[arg-type]
    for options in ({}, {"0.a": "float16"}, {"0.a": "int4+offset/64/double", "0.b": "int8/64"}, {"0.b": "float16"}):
        opened.beside = (None, 0)
        body, text = opened.written(options)
        assert opened.size(options) == len(body) + len(text)
        opened.beside = ({"files": {"x": "y"}}, 77)
        assert opened.size(options) == sum(map(len, opened.written(options))) + 77
    plain = compress_opened.head_bytes(head)
    assert plain == '{"schema":1,"kind":"classification","ä":"é"}\n'.encode() and len(plain) < len(json_bytes(head))
    assert len(tensor_bytes(arrays)) > opened.size({}) - len(opened.written({})[1]) - 77  # whole numbers in fewer bytes
    kinds = {"bool": "BOOL", "uint8": "U8", "int64": "I64", "float16": "F16", "float32": "F32"}
    assert {k: compress_opened._kind(np.dtype(k)) for k in kinds} == kinds


def test_texts_are_read_by_members_whose_view_stands_on_them(monkeypatch) -> None:
    views = {"a": ["minilm"], "b": ["tokens/64"], "c": ["picture", "pixels"], "d": []}
    monkeypatch.setattr(compress_opened, "encoders_of", views.__getitem__)

    def model(*names: str) -> Any:
        return SimpleNamespace(members=[SimpleNamespace(view=n) for n in names])

    assert encoders(model("c", "a", "a", "d")) == ["minilm", "picture", "pixels"]
    assert [reads_texts(model(*names)) for names in ("a", "b", "c", "d", "cb")] == [True, True, False, False, True]
