"""The saved model: bit-equal wherever it is loaded, and never a way in for anyone's code."""

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smidgen.data.views.rows import Rows
from smidgen.kit import methods
from smidgen.kit.errors import BadInput, MissingExtra
from smidgen.kit.files import digest, parse_tensors, tensor_bytes
from smidgen.learn import model as model_module
from smidgen.learn.blend import blend, tempered
from smidgen.learn.member import Member
from smidgen.learn.model import Model
from smidgen.tasks.read import read

KINDS = {"logistic": "linear", "knn": "linear", "forest": "tree", "boosting": "tree"}


def frame_of(n: int = 50, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    return pd.DataFrame(
        {
            "height": [f"{v:.3f}".replace(".", ",") for v in x],
            "when": [f"{1 + i % 12:02}/0{1 + i % 9}/2024" for i in range(n)],
            "colour": rng.choice(["red", "blue"], n),
            "size": rng.normal(size=n),
            "target": np.where(x + rng.normal(size=n) / 3 > 0, "up", "down"),
        }
    )


@pytest.fixture(scope="module")
def task():
    return read(frame_of(), "target")


@pytest.fixture(scope="module")
def made(task):
    states = [
        Member(f"learn/{m}", v, task.kind, 2).fit(Rows(task.frame), task.target, task.columns, 1).get_state()
        for m, v in KINDS.items()
    ]
    return Model.assemble(
        task, states, [0.4, 0.3, 0.2, 0.1], [0.2, 0.0, -0.1, 0.5], {"metric": "log_loss", "estimate": float("nan")}
    )


@pytest.fixture(scope="module")
def folder(made, tmp_path_factory):
    return made.save(tmp_path_factory.mktemp("saved") / "model", {"report.html": "<p>"})


@pytest.fixture
def copy(folder, tmp_path):
    """A copy to be tampered with, and how to write it."""
    import shutil

    return Path(shutil.copytree(folder, tmp_path / "copy"))


def edit(copy: Path, change, *, forge: bool = True) -> None:
    """Changes model.json; a forger also makes the digests fit."""
    head = json.loads((copy / "model.json").read_text())
    head = change(head) or head
    if forge and isinstance(head, dict):
        if isinstance(head.get("arrays"), dict):
            head["arrays"]["sha256"] = digest((copy / "arrays.safetensors").read_bytes())
        head.pop("sha256", None)
        head["sha256"] = digest(json.dumps(head, sort_keys=True))
    (copy / "model.json").write_text(json.dumps(head))


def refused(path: Path) -> str:
    with pytest.raises(BadInput) as error:
        Model.load(path)
    text = str(error.value)
    assert "\n" not in text and text.endswith(".") and len(text) < 600
    return text


# -- the same everywhere --


def test_in_another_process_bit_for_bit(made, folder, tmp_path):
    new = frame_of(30, 9)
    new.to_csv(tmp_path / "new.csv", index=False)
    code = (
        "import sys, smidgen; m = smidgen.load(sys.argv[1]); p = m.predict_proba(sys.argv[2]);"
        "print(p.tobytes().hex(), *m.predict(sys.argv[2]))"
    )
    out = subprocess.run(
        [sys.executable, "-c", code, str(folder), str(tmp_path / "new.csv")],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p), "OMP_NUM_THREADS": "2"},
    ).stdout.split()
    assert out[0] == made.predict_proba(new).tobytes().hex()
    assert out[1:] == list(made.predict(new))


def test_what_is_loaded_is_what_was_saved(made, folder, tmp_path):
    again = Model.load(folder)
    assert again.columns == made.columns and {c.form for c in made.columns} & {
        "decimal comma",
        "day first",
        "month first",
    }
    assert (again.kind, again.classes, again.target_name, again.weights, again.log_t) == (
        "classification",
        ("down", "up"),
        "target",
        made.weights,
        made.log_t,
    )
    again.save(tmp_path / "twice")
    assert (tmp_path / "twice" / "arrays.safetensors").read_bytes() == (folder / "arrays.safetensors").read_bytes()
    assert (tmp_path / "twice" / "model.json").read_text() == (folder / "model.json").read_text()
    assert made.saved_bytes() == sum((folder / n).stat().st_size for n in ("model.json", "arrays.safetensors"))


def test_predictions_do_not_depend_on_what_stands_beside_a_row(made):
    new = frame_of(12, 4)
    together = made.predict_proba(new)
    alone = np.concatenate([made.predict_proba(new.iloc[[i]]) for i in range(12)])
    np.testing.assert_allclose(alone, together, rtol=1e-12)
    np.testing.assert_allclose(together.sum(1), 1, rtol=0, atol=1e-15)
    shuffled = new[["size", "target", "colour", "when", "height"]].assign(more=1)
    assert made.predict_proba(shuffled).tobytes() == together.tobytes()


def test_no_rows_have_no_answers(made, folder):
    for one in (made, Model.load(folder)):
        assert one.chances(Rows(frame_of().iloc[:0])).shape == (0, len(one.classes))


def test_what_a_folder_lacks_is_said_as_it_is(folder, monkeypatch):
    one, no = Model.load(folder), MissingExtra("Pictures need more: pip install 'smidgen[image]'")

    def fail(rows):
        raise no

    monkeypatch.setattr(one, "_chances", fail)
    with pytest.raises(MissingExtra, match="Pictures need more"):  # and not: the folder is damaged
        one.chances(Rows(frame_of().iloc[:2]))


def test_a_value_model(tmp_path):
    frame = frame_of().drop(columns="target").assign(value=np.arange(50.0))
    task = read(frame, "value")
    state = (
        Member("learn/ridge", "linear", "regression", 0).fit(Rows(task.frame), task.target, task.columns, 0).get_state()
    )
    made = Model.assemble(task, [state, state], [0.25, 0.75], [0.0, 0.0], {})
    again = Model.load(made.save(tmp_path / "v"))
    assert again.predict(frame).tobytes() == made.predict(frame).tobytes()
    with pytest.raises(BadInput, match="predicts numbers, not classes"):
        again.predict_proba(frame)


@given(st.lists(st.floats(0.001, 1), min_size=2, max_size=6), st.floats(-1, 2))
def test_tempering_keeps_probabilities_and_their_order(raw, log_t):
    p = np.array(raw) / np.sum(raw)
    q = tempered(p[None], log_t)[0]
    assert q.sum() == pytest.approx(1) and (q > 0).all()
    assert (np.argsort(q, kind="stable")[-1] == np.argsort(p, kind="stable")[-1]) or np.isclose(
        p.max(), np.sort(p)[-2], rtol=1e-3
    )
    expected = p ** np.exp(-log_t)
    np.testing.assert_allclose(q, expected / expected.sum(), rtol=1e-9)
    np.testing.assert_allclose(blend([p[None], p[None]], [0.3, 0.7], [log_t, log_t])[0], q, rtol=1e-12)


# -- the folder as data of a stranger --

EDITS = {
    "a newer schema": (lambda h: h.update(schema=99), "newer smidgen .*99"),
    "no schema": (lambda h: h.pop("schema") and None, "does not describe a model"),
    "a schema in words": (lambda h: h.update(schema="1"), "does not describe a model"),
    "a list": (lambda h: [h], "does not describe a model"),
    "no members": (lambda h: h.update(members=[], weights=[], log_t=[]), "do not match"),
    "members without end": (
        lambda h: h.update(members=h["members"] * 30, weights=h["weights"] * 30, log_t=h["log_t"] * 30),
        "do not match",
    ),
    "a member less": (lambda h: h["members"].pop() and None, "do not match"),
    "members that are none": (lambda h: h.update(members={"a": 1}), "damaged or was edited"),
    "weights of more than one": (lambda h: h.update(weights=[1.0] * 4), "sum to 1"),
    "negative weights": (lambda h: h.update(weights=[2.0, -1.0, 0.0, 0.0]), "not negative"),
    "no number": (lambda h: h.update(log_t=[float("nan")] * 4), "finite"),
    "an unknown method": (
        lambda h: h["members"][0].update(method="learn/nothing_like_it"),
        "needs the method 'learn/nothing_like_it', which is not installed",
    ),
    "a module for a method": (lambda h: h["members"][0].update(method="os"), "needs the method 'os', which"),
    "a path for a method": (lambda h: h["members"][0].update(method="../../../tmp/evil"), "needs the method"),
    "another version": (lambda h: h["members"][0].update(version=77), "needs version 77"),
    "another kind": (lambda h: h.update(kind="regression", classes=[]), "another kind of task"),
    "a kind of its own": (lambda h: h.update(kind="magic"), "do not match"),
    "a class less": (lambda h: h["classes"].pop() and None, "another kind of task"),
    "a view that is none": (lambda h: h["members"][0]["view_state"].update(name="../../etc"), "no view"),
    "attributes of the class": (
        lambda h: h["members"][0]["head_state"]["learned"].update(predict_proba=1),
        "ending in _",
    ),
    "hidden attributes": (lambda h: h["members"][0]["head_state"]["learned"].update(__class__=1), "ending in _"),
    "classes that are none": (lambda h: h["classes"].__setitem__(0, {"a": 1}), "classes must be texts or numbers"),
    "columns that are none": (lambda h: h.update(columns=[1]), "damaged or was edited"),
    "arrays that are not there": (lambda h: h["members"].__setitem__(0, {"$array": "../../etc/passwd"}), "is missing"),
    "no description of the arrays": (lambda h: h.update(arrays=None), "not the file that model.json describes"),
}


@pytest.mark.parametrize(("change", "said"), EDITS.values(), ids=EDITS)
def test_a_forged_description_is_one_sentence(copy, change, said):
    edit(copy, change)
    import re

    assert re.search(said, refused(copy))


def test_any_edit_without_its_digest_is_noticed(copy):
    edit(copy, lambda h: h.update(weights=[0.39, 0.31, 0.2, 0.1]), forge=False)
    assert "not as it was saved" in refused(copy)
    edit(copy, lambda h: h["about"].update(estimate=0.01), forge=False)
    assert "not as it was saved" in refused(copy)


def test_arrays_edited_swapped_cut_or_not_arrays(copy, folder, made):
    path = copy / "arrays.safetensors"
    whole = path.read_bytes()
    arrays = parse_tensors(whole)
    names = sorted(arrays)
    a, b = next(
        (a, b)
        for a in names
        for b in names
        if a < b
        and arrays[a].shape == arrays[b].shape
        and arrays[a].tobytes() != arrays[b].tobytes()
        and arrays[a].dtype == arrays[b].dtype
    )
    tampered = {
        "one bit": whole[:-1] + bytes([whole[-1] ^ 1]),
        "swapped": tensor_bytes({**arrays, a: arrays[b], b: arrays[a]}),
        "more": whole + b"\0",
        "less": whole[:-8],
        "half": whole[: len(whole) // 2],
        "nothing": b"",
        "a pickle": pickle.dumps({"a": np.zeros(3)}),
    }
    for name, data in tampered.items():
        path.write_bytes(data)
        assert "damaged or was edited" in refused(copy), name
    path.unlink()
    assert "found none" in refused(copy)
    path.symlink_to(folder / "arrays.safetensors")
    assert "found a link" in refused(copy)


@given(st.integers(0, 10**6), st.binary(min_size=1, max_size=6))
@settings(max_examples=60)
def test_a_description_cut_or_spoilt_anywhere(folder, tmp_path_factory, where, junk):
    text = (folder / "model.json").read_bytes()
    at = where % len(text)
    target = tmp_path_factory.mktemp("spoilt")
    (target / "arrays.safetensors").write_bytes((folder / "arrays.safetensors").read_bytes())
    spoilt = text[:at] + junk + text[at + len(junk) :]
    if spoilt != text:
        (target / "model.json").write_bytes(spoilt)
        try:
            loaded = Model.load(target)
        except BadInput:
            pass
        else:  # the same JSON, otherwise written
            assert json.loads(spoilt) == json.loads(text) or loaded.to_parts()[0] == json.loads(text)
    (target / "model.json").write_bytes(text[:at])
    refused(target)


def test_what_is_no_model_folder(tmp_path):
    (tmp_path / "file").write_text("x")
    for path in (tmp_path, tmp_path / "gone", tmp_path / "file"):
        with pytest.raises(BadInput, match="is not a model folder"):
            Model.load(path)


def test_loading_runs_nothing_of_the_folder(copy):
    """Watched by the interpreter itself: no code is made, no process started, nothing unpickled, no file
    elsewhere opened.
    """
    (copy / "sitecustomize.py").write_text("raise SystemExit('ran')")
    (copy / "smidgen.py").write_text("raise SystemExit('ran')")
    code = """
import sys, numpy as np
import smidgen.learn.model, smidgen.learn.logistic, smidgen.learn.knn, smidgen.learn.forest, smidgen.learn.boosting
import smidgen.kit.methods as methods
names = methods.names()  # cards are read as text
import pandas, safetensors, threadpoolctl
seen = []
quiet = ("object.__getattr__", "os.listdir", "os.scandir", "open", "sys._getframe")
def hook(event, args):
    rooms = ("subprocess", "socket", "pickle", "os", "shutil", "ctypes")
    if event in ("exec", "compile", "marshal.loads", "import") or event.split(".")[0] in rooms:
        if event not in quiet:
            seen.append((event, str(args)[:80]))
    if event == "open" and not str(args[0]).startswith(sys.argv[1]):
        seen.append((event, str(args[0])))
sys.addaudithook(hook)
model = smidgen.learn.model.Model.load(sys.argv[1])
found = [e for e in seen]
print(len(model.members), found)
"""
    out = subprocess.run(
        [sys.executable, "-c", code, str(copy)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    ).stdout
    assert out.strip() == "4 []"


def test_a_method_that_is_not_installed_here(copy, monkeypatch):
    monkeypatch.setattr(
        methods, "_files", lambda real=methods._files: {k: v for k, v in real().items() if k != "learn/knn"}
    )
    methods.card.cache_clear()
    assert "needs the method 'learn/knn', which is not installed here" in refused(copy)
    methods.card.cache_clear()


# -- saving --


def test_saving_replaces_a_model_and_nothing_else(made, tmp_path):
    path = made.save(tmp_path / "m", {"report.html": "old"})
    made.save(path)
    assert sorted(p.name for p in path.iterdir()) == ["arrays.safetensors", "model.json"]
    (path / "notes.txt").write_text("mine")
    for place in (path, tmp_path):
        with pytest.raises(BadInput, match=r"holds other files \(.*\) and would be replaced"):
            made.save(place)
    assert (path / "notes.txt").read_text() == "mine"
    (tmp_path / "file").write_text("x")
    with pytest.raises(BadInput, match="this is a file"):
        made.save(tmp_path / "file")
    (tmp_path / "empty").mkdir()
    assert Model.load(made.save(tmp_path / "empty")).weights == made.weights


def test_saving_that_fails_leaves_the_old_model(made, tmp_path, monkeypatch):
    path = made.save(tmp_path / "m")
    before = (path / "model.json").read_bytes()
    real = model_module.write_json

    def full(*args):
        real(*args)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(model_module, "write_json", full)
    with pytest.raises(OSError, match="No space"):
        made.save(path)
    assert (path / "model.json").read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["m"]
    Model.load(path)
