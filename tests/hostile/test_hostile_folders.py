"""Model folders that lie: each is refused in a sentence or answers with numbers, and none makes the program do anything
but read that folder. Digests are right in all of them: whoever can write a folder can compute them.
"""

import copy
import json
import os
import pickle
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from finds import made
from hostile_help import TIMES, cli, forge, read_parts, small_models

from smidgen.kit.errors import BadInput
from smidgen.learn.model import Model
from smidgen.learn.packed_arrays import unpacked

VALUES: list[Any] = [None, True, 0, -1, 1, 2**31, 2**63, 10**30, 1e308, "", "x", "\x00", [], {}, [[]], -1e9,
                     float("nan"), {"$array": "x"}, {"$list": [1, "a"]}, {"$float": "nan"}, "../../x"]  # fmt: skip


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> list[Path]:
    return small_models(tmp_path_factory.mktemp("models"))


def places(value: Any, path: tuple = ()) -> Iterator[tuple]:
    yield path
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield from places(child, (*path, key))


def changed_text(head: dict[str, Any], draw: random.Random) -> None:
    found = [p for p in places(head) if p and p[0] not in ("arrays", "about", "schema")]
    for _ in range(draw.choice([1, 1, 2])):
        path, inner = draw.choice(found), head
        try:
            for key in path[:-1]:
                inner = inner[key]
            if draw.random() < 0.2:
                del inner[path[-1]]
            else:
                inner[path[-1]] = copy.deepcopy(draw.choice(VALUES))
        except (KeyError, IndexError, TypeError):
            continue  # the first change took the second's place away


def changed_array(arrays: dict[str, np.ndarray], draw: random.Random) -> None:
    name = draw.choice(sorted(arrays))
    old = arrays[name]
    largest = np.iinfo(old.dtype).max if old.dtype.kind in "iu" else 1e30 if old.dtype.kind == "f" else 1
    arrays[name] = draw.choice([
        lambda: old.reshape(-1), lambda: old[:-1], lambda: old[:0], lambda: np.full_like(old, largest),
        lambda: old.astype(np.float16), lambda: -1 - old.astype(np.int64), lambda: np.zeros((0,) * old.ndim, old.dtype),
        lambda: np.full(old.shape, np.nan), lambda: np.resize(old, (3, 1000)), lambda: old.astype(np.uint8),
    ])() if old.ndim else old  # fmt: skip


@pytest.mark.parametrize("part", range(4 * TIMES))
@pytest.mark.filterwarnings("ignore")  # numbers out of all bounds overflow
def test_a_forged_model_answers_in_numbers_or_in_a_sentence(models, tmp_path, part):
    draw, table = random.Random(part), models[0].parent / "small.csv"
    answered = 0
    for _ in range(40):
        source = draw.choice(models)
        head, arrays = read_parts(source)
        if draw.random() < 0.55:
            changed_text(head, draw)
        else:
            changed_array(arrays, draw)
        forge(source, tmp_path / "forged", head, arrays)
        try:
            model = Model.load(tmp_path / "forged")
            found = model.predict_proba(table)
        except BadInput:
            continue
        answered += 1
        assert found.shape == (30, 2) and np.isfinite(found).all()
    assert 5 < answered < 35  # some changes do no harm; most are noticed


def test_the_command_line_says_so_in_one_sentence(models, tmp_path):
    head, arrays = read_parts(models[0])
    arrays["0.head_state.learned.coef_"] = arrays["0.head_state.learned.coef_"][:, :-1]
    forge(models[0], tmp_path / "forged", head, arrays)
    said = cli("predict", tmp_path / "forged", models[0].parent / "small.csv", "--out", tmp_path / "p.csv")
    assert "cannot answer" in said.sentence() and not (tmp_path / "p.csv").exists()


@pytest.mark.parametrize("name", ["int4", "float16", "e4m3fn", "int99", "", "../x"])
@pytest.mark.parametrize("shape", [[10**12, 10**6], [-1], ["x"], [0], [3, 3], None, [2**63]])
def test_a_description_of_packed_arrays_that_does_not_fit(name, shape):
    told = {"a": {"format": name, "shape": shape, "dtype": "float32", "parts": ["", "codes"]}}
    with pytest.raises(BadInput):
        unpacked({"a|": np.zeros(4, np.float32), "a|codes": np.zeros(4, np.uint8)}, told, "model.json")


def liars(folder: Path, models: list[Path]) -> list[Path]:
    """Folders that try something, each in its own way."""
    tried: list[Path] = []

    def new(source: Path = models[0]) -> Path:
        tried.append(folder / f"liar{len(tried)}")
        shutil.copytree(source, tried[-1])
        for name in ("sitecustomize.py", "numpy.py", "smidgen.py", "json.py", "__init__.py", "conftest.py"):
            (tried[-1] / name).write_text("raise SystemExit('ran')")
        return tried[-1]

    code = pickle.dumps(Runs())
    for name in ("model.json", "arrays.safetensors"):
        (new() / name).write_bytes(code)
        (new() / name).write_bytes(b"PK\x03\x04" + code)
        for target in ("/etc/passwd", "/dev/zero", "/dev/stdin", str(models[1] / name), "..", "gone"):
            place = new() / name
            place.unlink()
            place.symlink_to(target)
        place = new() / name
        place.unlink()
        os.mkfifo(place)
        place = new() / name
        place.unlink()
        place.mkdir()
        with (new() / name).open("r+b") as file:
            file.truncate(5 << 30)  # of nothing: takes no place on the disk
    for head in headers():
        (new() / "arrays.safetensors").write_bytes(len(head).to_bytes(8, "little") + head + b"\0" * 64)
    for text in texts():
        (new() / "model.json").write_bytes(text)
    draw = random.Random(0)
    for source in models * 3:
        parts, arrays = read_parts(source)
        changed_text(parts, draw)
        forge(source, new(source), parts, arrays)
    for method in (
        "os",
        "subprocess",
        "../../tmp/x",
        "learn/../cli/main",
        "learn/base",
        "lm/train",
        "builtins/eval",
        "learn/_trees",
    ):
        parts, arrays = read_parts(models[0])
        parts["members"][0]["method"] = method
        forge(models[0], new(), parts, arrays)
    return tried


class Runs:
    """What runs when it is unpickled."""

    def __reduce__(self) -> Any:
        return os.system, ("touch /tmp/smidgen-was-here",)


def headers() -> list[bytes]:
    """Of safetensors files."""
    one = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    tables: list[Any] = [
        {"a": one, "b": {**one, "data_offsets": [4, 12]}},  # overlapping
        {"a": one, "b": {**one, "data_offsets": [16, 24]}},  # with a gap
        {f"t{i}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(100_000)},
        *({"a": {**one, "shape": s}} for s in ([float("nan")], [float("inf")], [-2], [2**62, 2**62, 2**62], "2")),
        *({"a": {**one, "dtype": d}} for d in ("PICKLE", ["F32"], None)),
        *({"a": {**one, "data_offsets": o}} for o in ([8, 0], [0, 2**64], "ab", [0])),
        {"../../a": one}, {"a": [0, 8]}, {"a": "x"}, [], None, 7, {"__metadata__": {"a": "b" * 1000}}, {"": one},
    ]  # fmt: skip
    raw = [
        b"",
        b"{",
        b"[" * 1_000_000,
        b"\xff" * 100,
        b"{}" + b" " * (100 << 20),
        b"9" * 5000,
        *made.tensors().values(),
    ]
    return [json.dumps(t).encode() for t in tables] + raw


def texts() -> list[bytes]:
    """Of model.json."""
    deep = b"[" * 200_000 + b"]" * 200_000
    plain = [
        b"",
        b"null",
        b"[]",
        b"7",
        b'"x"',
        b"{}",
        b'{"schema": 1}',
        b'{"schema": 99}',
        b'{"schema": true}',
        b"\xff\xfe",
        deep,
    ]
    return [
        *plain,
        b'{"schema": 1, "arrays": ' + deep + b"}",
        b'{"schema": ' + b"1" * 10_000 + b"}",
        *made.values().values(),
    ]


WATCH = """
import json, os, resource, sys, time
import numpy, pandas, safetensors, threadpoolctl
import smidgen.learn.packed_arrays
from smidgen.kit import methods
from smidgen.kit.errors import SmidgenError
from smidgen.learn.model import Model
methods.names()
models, liars, table = json.loads(sys.stdin.read())
for model in models:
    Model.load(model).predict(table)
try:
    Model.load("/nowhere")
except SmidgenError:
    pass
seen, folder = [], ""
rooms = ("subprocess", "socket", "pickle", "os", "shutil", "ctypes", "marshal", "urllib", "ftplib", "sqlite3")
harmless = ("os.listdir", "os.scandir", "os.walk")
def hook(event, args):
    if not folder:
        return
    if event == "open":
        path = os.path.abspath(os.fsdecode(args[0])) if isinstance(args[0], (str, bytes)) else "a number"
        if not path.startswith(folder + "/") or (args[1] or "r") not in ("r", "rb"):
            seen.append((folder, event, path))
    elif event in ("exec", "compile", "import") or (event.split(".")[0] in rooms and event not in harmless):
        seen.append((folder, event, str(args)[:80]))
sys.addaudithook(hook)
slow, base = [], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
sentences = 0
for liar in liars:
    folder, begun = liar, time.process_time()
    try:
        Model.load(liar)
    except SmidgenError as error:
        sentences += len(str(error)) > 25
    folder, taken = "", time.process_time() - begun
    if taken > 2:
        slow.append((liar, taken))
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"seen": seen, "slow": slow, "mega": (peak - base) / 1000, "sentences": sentences}))
"""


def test_no_folder_makes_anything_but_itself_read(models, tmp_path):
    """Watched by the interpreter itself, in a fresh process: nothing made, started, connected, unpickled or opened."""
    used = [m for m in models if m.name.removeprefix("model_") in ("logistic", "forest", "knn", "lda")]
    tried = liars(tmp_path, used)
    given_to = json.dumps([[str(m) for m in used], [str(t) for t in tried], str(models[0].parent / "small.csv")])
    done = subprocess.run(
        [sys.executable, "-c", WATCH], input=given_to, capture_output=True, text=True, check=False, cwd="/"
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert (found["seen"], found["slow"]) == ([], [])
    assert found["mega"] < 256
    assert len(tried) > 85 and found["sentences"] > 75
    assert not Path("/tmp/smidgen-was-here").exists()
