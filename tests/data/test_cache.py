"""The cache of encoded values: nothing twice, nothing wrong, whatever happened to its files."""

import multiprocessing

import numpy as np
import pandas as pd
import pytest

from smidgen.data.views import cache, encoders
from smidgen.data.views.rows import Rows
from smidgen.tasks.task import Column

TEXT = (Column(name="text", kind="text"), Column(name="n", kind="number"))


def slow(name, values, progress=None, threads=None):
    """Stands for an encoder: letters of a text, counted."""
    slow.calls += [*values]
    return np.array([[len(v), v.count("e"), v.count("a")] for v in values], np.float32).reshape(-1, 3)


@pytest.fixture(autouse=True)
def encoder(monkeypatch):
    slow.calls = []
    monkeypatch.setattr(cache, "encode", slow)
    monkeypatch.setattr(cache, "identity", lambda name: f"{name}-test")


def blocks(texts, folder, **more):
    rows = Rows(pd.DataFrame({"text": texts, "n": range(len(texts))}))
    cache.fill(rows, ["minilm"], folder, columns=TEXT, **more)
    assert list(rows.blocks) == ["minilm:text"]
    return rows.blocks["minilm:text"]


def test_each_value_is_encoded_once_ever(tmp_path):
    first = blocks(["tea", "coffee", "tea"], tmp_path)
    assert sorted(slow.calls) == ["coffee", "tea"]
    slow.calls = []
    again = blocks(["coffee", "juice", "tea"], tmp_path)
    assert slow.calls == ["juice"]
    assert np.array_equal(again[[2, 0, 2]], first)
    assert np.array_equal(blocks(["tea"], None), first[:1])


@pytest.mark.parametrize("harm", ["cut", "flip", "empty", "keys", "gone", "text"])
def test_damaged_shards_are_made_anew(tmp_path, harm):
    good = blocks(["tea", "coffee"], tmp_path)
    shard, keys = next(tmp_path.rglob("*.npy")), next(tmp_path.rglob("*.keys"))
    data = shard.read_bytes()
    {
        "cut": lambda: shard.write_bytes(data[:-3]),
        "flip": lambda: shard.write_bytes(data[:-2] + bytes([data[-2] ^ 1]) + data[-1:]),
        "empty": lambda: shard.write_bytes(b""),
        "keys": lambda: keys.write_bytes(keys.read_bytes()[:-5]),
        "gone": shard.unlink,
        "text": lambda: keys.write_text("no keys"),
    }[harm]()
    slow.calls = []
    assert np.array_equal(blocks(["tea", "coffee"], tmp_path), good)
    assert len(slow.calls) >= 1
    slow.calls = []
    assert np.array_equal(blocks(["tea", "coffee"], tmp_path), good)
    assert slow.calls == []  # repaired


def test_a_kill_between_chunks_loses_only_the_rest(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "CHUNK", 4)
    texts = [f"text {i}" for i in range(10)]

    def killed(name, values, progress=None, threads=None):
        if len(slow.calls) >= 8:
            raise KeyboardInterrupt
        return slow(name, values)

    monkeypatch.setattr(cache, "encode", killed)
    with pytest.raises(KeyboardInterrupt):
        blocks(texts, tmp_path)
    slow.calls = []
    monkeypatch.setattr(cache, "encode", slow)
    assert len(blocks(texts, tmp_path)) == 10
    assert slow.calls == texts[8:]


def test_progress_and_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    told: list[tuple[int, int]] = []
    assert blocks(
        ["tea", "tea", "coffee"], tmp_path / "file", progress=lambda done, total: told.append((done, total))
    ).shape == (3, 3)
    assert told[-1] == (3, 3)
    assert [d for d, _ in told] == sorted(d for d, _ in told)


def _worker(folder, start, done):
    done.put(cache.cached("minilm", [f"text {i}" for i in range(start, start + 300)], folder).sum())


def test_two_processes_share_it(tmp_path):
    context = multiprocessing.get_context("fork")
    done = context.SimpleQueue()
    workers = [context.Process(target=_worker, args=(tmp_path, s, done)) for s in (0, 100, 0)]
    [w.start() for w in workers]
    [w.join() for w in workers]
    assert [w.exitcode for w in workers] == [0, 0, 0]
    slow.calls = []
    assert cache.cached("minilm", [f"text {i}" for i in range(400)], tmp_path).shape == (400, 3)
    assert slow.calls == []


def test_content_is_the_bytes_of_an_image(tmp_path):
    for name in "ab":
        (tmp_path / name).write_bytes(b"same")
    assert (
        encoders.content("hog", str(tmp_path / "a"))
        == encoders.content("hog", str(tmp_path / "b"))
        == encoders.content("hog", b"same")
    )
    assert encoders.content("minilm", None) != encoders.content("minilm", "")
