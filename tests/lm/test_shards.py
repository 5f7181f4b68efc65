"""Shards give back what was written, over their borders, and a wrong byte is found and named."""

import json

import numpy as np
import pytest

from smidgen.kit.errors import BadInput
from smidgen.lm import shards
from smidgen.lm.shards import TokenShards, write


def documents(words=300, count=40, seed=0):
    random = np.random.default_rng(seed)
    return [np.r_[0, random.integers(1, words, random.integers(0, 60))] for _ in range(count)]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "CHUNK", 64)
    write(tmp_path / "s", documents(), 300, "tok", shard_tokens=200)
    return tmp_path / "s"


@pytest.mark.parametrize("words", [300, 70_000])
def test_what_was_written_is_read(words, tmp_path):
    made = documents(words)
    read = write(tmp_path / "s", made, words, "tok", shard_tokens=200)
    whole = np.concatenate(made)
    starts = np.cumsum([0, *map(len, made)])[:-1]
    assert len(read) == len(whole) and read.documents == 40 and len(list((tmp_path / "s").glob("*.tokens"))) > 3
    assert read.read(0, len(whole)).dtype == (np.uint16 if words == 300 else np.uint32)
    for a in range(0, len(whole), 7):
        for b in (a, a + 1, a + 250):
            b = min(b, len(whole))
            np.testing.assert_array_equal(read.read(a, b), whole[a:b])
            np.testing.assert_array_equal(read.starts(a, b), starts[(starts >= a) & (starts < b)])
    with pytest.raises(BadInput, match="within 0 to"):
        read.read(5, len(whole) + 1)


def flip(path, place):
    data = bytearray(path.read_bytes())
    data[place] ^= 4
    path.write_bytes(data)


def test_a_corrupt_shard_is_named_refused_or_skipped(folder):
    whole = TokenShards(folder)
    flip(folder / "00001.tokens", 70)
    with pytest.raises(BadInput, match=r"00001\.tokens is corrupt .* from 64"):
        TokenShards(folder)
    left = TokenShards(folder, corrupt="skip")
    assert len(left.skipped) == 1 and "00001.tokens" in left.skipped[0]
    first, second = (e["tokens"] for e in json.loads((folder / "shards.json").read_text())["shards"][:2])
    assert len(left) == len(whole) - second and left.fingerprint != whole.fingerprint
    np.testing.assert_array_equal(left.read(first, first + 50), whole.read(first + second, first + second + 50))


def test_unverified_shards_are_checked_when_read(folder):
    flip(folder / "00001.tokens", 70)
    lazy = TokenShards(folder, verify=False)
    first = json.loads((folder / "shards.json").read_text())["shards"][0]["tokens"]
    lazy.read(0, first + 32)
    with pytest.raises(BadInput, match=r"00001\.tokens is corrupt"):
        lazy.read(first + 30, first + 40)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda f: flip(f / "00002.starts", 8), r"00002\.starts is corrupt"),
        (lambda f: (f / "00000.tokens").write_bytes(b"ab"), "has 2 bytes, and should have"),
        (lambda f: (f / "00001.starts").unlink(), r"00001\.starts is missing"),
        (lambda f: (f / "shards.json").unlink(), r"shards\.json: expected a regular file"),
        (lambda f: (f / "shards.json").write_text('{"schema": 1}'), r"shards\.json is damaged"),
        (lambda f: (f / "shards.json").write_text('{"schema": 2}'), "newer version"),
    ],
)
def test_damage_is_named(spoil, says, folder):
    spoil(folder)
    with pytest.raises(BadInput, match=says):
        TokenShards(folder)


def test_what_does_not_belong_is_refused(folder, tmp_path):
    with pytest.raises(BadInput, match="another tokenizer"):
        TokenShards(folder, tokenizer="other")
    with pytest.raises(BadInput, match="0 to 299"):
        write(tmp_path / "t", [np.array([0, 300])], 300, "tok")
    with pytest.raises(BadInput, match="corpus is empty"):
        write(tmp_path / "t", [], 300, "tok")
    assert not (tmp_path / "t").exists()
    for path in folder.glob("*.tokens"):
        flip(path, 0)
    with pytest.raises(BadInput, match="no shard is whole"):
        TokenShards(folder, corrupt="skip")
