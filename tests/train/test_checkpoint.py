"""Checkpoint files: what is read is what was saved, and damage never passes for it."""

import json
import os
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoint_samples import POOL, files, same

from smidgen.kit.errors import BadInput
from smidgen.train import checkpoint
from smidgen.train.checkpoint import CheckpointCorrupt, LazyCheckpointer


def test_any_state_comes_back_as_it_was(tmp_path):
    big = torch.randn(300, 400)
    state = {
        "dtypes": [torch.ones(3).to(d) for d in (torch.bfloat16, torch.float16, torch.int8, torch.bool, torch.uint16)],
        "complex": torch.randn(2, 2, dtype=torch.complex64),
        "odd": [torch.tensor(3.5), torch.empty(0, 4), big.t(), big[:, 5:9], torch.randn(2, 3, 4).permute(2, 0, 1)],
        "numpy": {
            "a": np.arange(6).reshape(2, 3)[:, ::2],
            "c": np.array([1 + 2j]),
            "s": np.float32(2),
            "0": np.array(1),
        },
        0: {1: (1, 2.5, True, None), "1": [float("inf"), -0.0], (1, "x"): b"\x00\xff", None: 1 + 2j, 2.0: 2**80},
        "$dict": {"$tensor": "mine", "a.b": torch.ones(2), "a": {"b": torch.zeros(2)}, "__crc32__": torch.ones(1)},
        "__metadata__": torch.arange(3),
        "counter": Counter({3: 2}),
        "kinds": [torch.float32, torch.device("cpu")],
        "rng": checkpoint.rng_state(),
        "": [],
    }
    checkpoint.save_file(state, tmp_path / "one.safetensors")
    assert files(tmp_path) == ["one.safetensors"]
    for mmap in (False, True):
        assert same(checkpoint.load_file(tmp_path / "one.safetensors", mmap=mmap), state)
    nan = checkpoint.load_file(tmp_path / "one.safetensors")
    nan["odd"][2].add_(1)  # what is loaded is the caller's
    with LazyCheckpointer(tmp_path / "run", **POOL) as saver:
        saver.save(state, 7)
    found = checkpoint.load_newest(tmp_path / "run")
    assert found is not None and found.step == 7 and same(found.state, state)

    from safetensors.torch import load_file

    plain = load_file(found.source.file())
    assert torch.equal(plain["odd.2"], big.t()) and checkpoint.inspect(found.source.file()).step == 7


def test_tied_tensors_stay_tied_and_are_stored_once(tmp_path):
    weight = torch.randn(100, 100)
    checkpoint.save_file({"in": weight, "out": weight, "view": weight[:50]}, tmp_path / "f")
    found = checkpoint.load_file(tmp_path / "f")
    assert found["in"] is found["out"] and torch.equal(found["view"], weight[:50])
    assert checkpoint.inspect(tmp_path / "f").body == 60_000


def test_random_generators_go_on_where_they_were():
    def draw():
        return torch.rand(2).tolist(), np.random.rand(), random.random()

    state = checkpoint.rng_state()
    first = draw()
    assert draw() != first
    checkpoint.set_rng_state(state)
    assert draw() == first


@pytest.mark.parametrize(
    "value", [object(), {1, 2}, lambda: 0, np.array(["x"]), np.array([None]), torch.eye(2).to_sparse()]
)
def test_objects_are_refused_by_place_before_anything_is_written(tmp_path, value):
    with LazyCheckpointer(tmp_path, **POOL) as saver, pytest.raises(BadInput, match=r"\['a'\]\[1\].*(cannot|dense)"):
        saver.save({"a": [0, value]}, 1)
    loop: dict = {}
    loop["self"] = loop
    with pytest.raises(BadInput, match="contain itself"):
        checkpoint.save_file(loop, tmp_path / "f")
    assert files(tmp_path) == []


def damages(folder: Path):
    """Ways to damage the newest checkpoint: each a name and a function."""
    source = checkpoint.latest(folder)
    assert source is not None
    file, manifest = source.file(), folder / f"checkpoint-{source.sequence:08d}.json"

    def flip(path, at):
        data = bytearray(path.read_bytes())
        data[at] ^= 1
        path.write_bytes(data)

    size = file.stat().st_size
    places = {"first": 0, "header": 9, "tree": 200, "middle": size // 2, "table": size - 9, "last": size - 1}
    return {
        **{name: lambda at=at: flip(file, at) for name, at in places.items()},
        "cut": lambda: os.truncate(file, size - 1),
        "empty": lambda: os.truncate(file, 0),
        "gone": file.unlink,
        "other": lambda: file.write_bytes(checkpoint.published(folder)[0].file().read_bytes()),
        "manifest": lambda: flip(manifest, 60),
        "manifest cut": lambda: os.truncate(manifest, 20),
    }


WAYS = [
    "first",
    "header",
    "tree",
    "middle",
    "table",
    "last",
    "cut",
    "empty",
    "gone",
    "other",
    "manifest",
    "manifest cut",
]


@pytest.mark.parametrize("name", WAYS)
def test_damage_is_named_and_the_one_before_loads(tmp_path, name):
    with LazyCheckpointer(tmp_path, **POOL) as saver:
        for step in (1, 2):
            saver.save({"step": step, "w": torch.full((1 << 16,), float(step))}, step)
            saver.before_update()
    damages(tmp_path)[name]()
    found = checkpoint.load_newest(tmp_path)
    assert found is not None and found.step == 1 and len(found.skipped) == 1 and str(tmp_path) in found.skipped[0]
    with pytest.raises(CheckpointCorrupt):
        [checkpoint.load(source, mmap=True) for source in checkpoint.published(tmp_path)]


def test_no_changed_byte_and_no_shorter_file_is_read(tmp_path):
    path = tmp_path / "f"
    checkpoint.save_file({"w": torch.arange(5), "b": torch.ones(3, dtype=torch.bool), "x": "text"}, path, step=3)
    data = path.read_bytes()
    assert len(data) < 1000
    for at in range(len(data)):
        for changed in (data[:at], data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]):
            path.write_bytes(changed)
            with pytest.raises(BadInput):
                checkpoint.load_file(path)
    path.write_bytes(data + b"\0")
    with pytest.raises(CheckpointCorrupt):
        checkpoint.load_file(path)


def test_a_newer_version_is_refused_not_skipped(tmp_path):
    with LazyCheckpointer(tmp_path, **POOL) as saver:
        saver.save([1], 1)
        saver.before_update()
        saver.save([2], 2)
    path = tmp_path / "checkpoint-00000002.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "version": 2}))
    for read in (checkpoint.latest, checkpoint.load_newest):
        with pytest.raises(BadInput, match=r"newer smidgen \(format 2") as caught:
            read(tmp_path)
        assert not isinstance(caught.value, CheckpointCorrupt)
    LazyCheckpointer(tmp_path, **POOL).close()  # and nothing of it is removed
    assert len(files(tmp_path)) == 4
    checkpoint.save_file([1], tmp_path / "f")
    (tmp_path / "f").write_bytes((tmp_path / "f").read_bytes().replace(b'"version":"1"', b'"version":"9"'))
    with pytest.raises(BadInput, match="newer smidgen"):
        checkpoint.load_file(tmp_path / "f")
