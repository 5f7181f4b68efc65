"""Folders of language models, folders of transformers, evidence files and rows of the run store that lie."""

import contextlib
import json
import random
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from hostile_help import TIMES, cli
from liars import spoilt

from smidgen.kit.errors import BadInput, SmidgenError
from smidgen.papers import evidence
from smidgen.studies.store import RunStore


@pytest.fixture(scope="module")
def decoder(tmp_path_factory) -> Path:
    pytest.importorskip("torch")
    from smidgen.nets import folder
    from smidgen.nets.decoder import Decoder, DecoderConfig

    place = tmp_path_factory.mktemp("lm") / "model"
    config = DecoderConfig(vocab=32, hidden=16, layers=2, heads=2, kv_heads=2, ffn=32, max_len=16)
    folder.save(Decoder(config), place)
    return place


WRONG = {
    "layers": {"num_hidden_layers": 10**7},  # they were all made: hours
    "sizes": {"intermediate_size": 10**400},  # was an error of torch's
    "vocabulary": {"vocab_size": 10**13},
    "schema": {"smidgen": {"schema": "x"}},  # was a TypeError
    "positions": {"rope_parameters": [1]},  # was an AttributeError
    "packing": {"quantization_config": "abc"},  # and this
}


@pytest.mark.parametrize("change", WRONG.values(), ids=WRONG)
@pytest.mark.timeout(60)
def test_a_description_of_a_language_model_that_cannot_be(decoder, tmp_path, change):
    from smidgen.nets import folder

    shutil.copytree(decoder, tmp_path / "m")
    said = json.loads((decoder / "config.json").read_text())
    (tmp_path / "m" / "config.json").write_text(json.dumps(said | change))
    with pytest.raises(BadInput):
        folder.load(tmp_path / "m")


@pytest.mark.parametrize("part", range(TIMES))
def test_a_spoilt_description_of_a_language_model(decoder, tmp_path, part):
    from smidgen.nets import folder

    draw, said, refused = random.Random(part), json.loads((decoder / "config.json").read_text()), 0
    shutil.copytree(decoder, tmp_path / "m")
    for _ in range(60):
        (tmp_path / "m" / "config.json").write_text(json.dumps(spoilt(said, draw)))
        try:
            folder.load(tmp_path / "m")
        except BadInput:
            refused += 1
    assert refused > 20


def test_weights_that_are_a_link(decoder, tmp_path):
    from smidgen.nets import folder

    shutil.copytree(decoder, tmp_path / "m")
    (tmp_path / "m" / "model.safetensors").unlink()
    (tmp_path / "m" / "model.safetensors").symlink_to(decoder / "model.safetensors")
    with pytest.raises(BadInput, match="found a link"):
        folder.load(tmp_path / "m")


ELSEWHERE = {
    "code": ({"config.json": {"architectures": ["X"], "auto_map": {"AutoModel": "evil.X"}}}, "never run here"),
    "adapter": ({"config.json": {}, "adapter_config.json": {"base_model_name_or_path": "/x"}}, "leads to a model"),
    "up": ({"config.json": {}, "model.safetensors.index.json": {"weight_map": {"a": "../x.safetensors"}}}, "beside it"),
    "absolute": (
        {"config.json": {}, "model.safetensors.index.json": {"weight_map": {"a": "/x.safetensors"}}},
        "beside",
    ),
    "pickle": ({"config.json": {}, "model.safetensors.index.json": {"weight_map": {"a": "pytorch.bin"}}}, "beside it"),
    "no object": ({"config.json": []}, "does not describe a model"),
}


@pytest.mark.parametrize(("files", "why"), ELSEWHERE.values(), ids=ELSEWHERE)
def test_a_folder_of_transformers_that_leads_elsewhere(tmp_path, files, why):
    pytest.importorskip("torch")
    from smidgen.nets.packed_pretrained import checked_folder

    for name, said in files.items():
        (tmp_path / name).write_text(json.dumps(said))
    with pytest.raises(BadInput, match=why):
        checked_folder(tmp_path)


def test_code_of_a_tokenizer_is_not_even_offered(tmp_path, monkeypatch):
    """transformers would ask at the terminal whether to run it."""
    pytest.importorskip("transformers")
    from smidgen.studies.compress_pretrained import tokenizer_of

    monkeypatch.setattr("builtins.input", lambda *a: "y")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass X: pass\n")
    told = {"tokenizer_class": "X", "auto_map": {"AutoTokenizer": ["evil.X", None]}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(told))
    (tmp_path / "config.json").write_text('{"model_type": "nothing-known"}')
    with pytest.raises(BadInput, match="has no tokenizer that can be opened"):
        tokenizer_of(tmp_path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("part", range(TIMES))
def test_spoilt_evidence(tmp_path, part):
    source = sorted(evidence.folder().glob("*.json"))[part % 5]
    draw, whole, refused = random.Random(part), json.loads(source.read_text()), 0
    for _ in range(60):
        (tmp_path / source.name).write_text(json.dumps(spoilt(whole, draw)))
        try:
            evidence.read_file(tmp_path / source.name, source.stem)
        except BadInput:
            refused += 1
    assert refused > 20


@pytest.mark.parametrize("part", range(TIMES))
def test_spoilt_rows_of_a_run_store(tmp_path, part):
    """Whatever a column holds: one sentence, or an answer."""
    draw, path = random.Random(part), tmp_path / "runs.db"
    with RunStore(path) as store:
        study = store.open_study("s", "f", {"a": 1})
        assert store.claim("k", '{"method": "learn/knn"}', study=study.id) is not None
        store.finish_study(study.id, "done", {"estimate": 0.5, "metric": "log_loss"}, ["k"])
    columns = {
        "studies": ["created", "updated", "options", "asked", "state", "summary", "trials", "task_name", "owner"],
        "trials": ["trial", "state", "error", "notes", "created", "shape", "predictions", "seconds"],
    }
    values: list[Any] = ["", "x", "[]", "{", "null", "7", '"x"', "[" * 100_000, '{"method": 5}', -1, 2**62, 1e308]
    values += [b"\xff\xfe", "\0"]
    clean = path.read_bytes()
    assert not (tmp_path / "runs.db-wal").exists()
    for _ in range(40):
        path.write_bytes(clean)
        table = draw.choice(sorted(columns))
        with sqlite3.connect(path) as raw:
            raw.execute(f"UPDATE {table} SET {draw.choice(columns[table])} = ?", (draw.choice(values),))
        raw.close()
        for line in (["studies", "ls"], ["studies", "show", study.id]):
            said = cli(*line, "--store", path)
            assert said.status == 0 or said.sentence()
        with RunStore(path) as store, contextlib.suppress(SmidgenError):
            store.get(["k"])
