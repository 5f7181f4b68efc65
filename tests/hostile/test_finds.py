"""What once hung, broke or filled the memory: it does so no more."""

import gzip
import json

import numpy as np
import pandas as pd
import pytest
from finds import made
from hostile_help import cli, files_in

from smidgen.data.views.image import decode
from smidgen.kit.errors import BadInput
from smidgen.kit.files import parse_tensors, read_json
from smidgen.papers import evidence
from smidgen.studies.owner import new_owner, runs_here
from smidgen.studies.store import RunStore
from smidgen.tasks import file_bytes, files
from smidgen.tasks.images import unreadable
from smidgen.tasks.read import read, read_new

pytestmark = pytest.mark.timeout(100)  # a guard against what would not end; each takes under a second or two
TABLES = made.tables()
REFUSED = {
    "names_as_values.jsonl": "Write what varies as a value",
    "bomb.csv.gz": "unpacks to more than",
}


@pytest.mark.parametrize("name", TABLES)
def test_tables(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(TABLES[name])
    before = files_in(tmp_path)
    if name in REFUSED:
        assert REFUSED[name] in cli("fit", str(path), "--target", "label", "--dry-run").sentence()
    else:
        assert len(read(path, "label")) in (4, 6)
    assert files_in(tmp_path) == before


def test_columns_of_one_name():
    names = files._unique(["a", "a.1"] * 20_000, files.Loaded(pd.DataFrame(), "t"))  # was cubic: hours
    assert len(set(names)) == 40_000 and names[:4] == ["a", "a.1", "a.2", "a.1.1"]


def test_cells_that_look_like_dates_and_are_none():
    frame = pd.DataFrame({"a": ["0000/0/0", "0000-00-00", "0000/0/0", "x 1"] * 30, "label": ["u", "v"] * 60})
    frame["a"] = frame["a"].where(frame["a"] != "x 1", "0000/0/1")
    task = read(frame, "label")  # was a column of dates, of which none could be read again
    assert task.columns[0].kind == "category" and len(read_new(frame, task.columns, "label")) == 120


def test_a_packed_table_may_grow_a_hundredfold(tmp_path, monkeypatch):
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(b"a,label\n" + b"1,u\n2,v\n" * 10_000))
    monkeypatch.setattr(file_bytes, "ROOM", 1000)
    assert len(path.read_bytes()) < 800
    with pytest.raises(BadInput, match="unpacks to more than"):
        read(path, "label")
    monkeypatch.setattr(file_bytes, "GROWTH", 1000)
    assert len(read(path, "label")) == 20_000


def test_a_parquet_file_of_a_billion_equal_rows(tmp_path, monkeypatch):
    path = tmp_path / "t.parquet"
    pd.DataFrame({"a": np.zeros(300_000), "label": 1}).to_parquet(path, index=False)
    monkeypatch.setattr(file_bytes, "ROOM", 1 << 20)
    with pytest.raises(BadInput, match="300,000 rows of 2 columns, far more than its"):
        read(path, "label")


@pytest.mark.parametrize("data", made.tensors().values(), ids=made.tensors())
def test_tensors(data):
    with pytest.raises(BadInput, match="its table does not match its contents"):
        parse_tensors(data)


@pytest.mark.parametrize("data", made.values().values(), ids=made.values())
def test_json(tmp_path, data):
    (tmp_path / "model.json").write_bytes(data)
    with pytest.raises(BadInput, match="more than 2,000,000 values"):
        read_json(tmp_path / "model.json")


@pytest.mark.parametrize("name", made.tokenizer_parts())
def test_tokenizers(name):
    """A library of another language broke off, some while it read them, with its own trace; no `except Exception` saw
    it."""
    pytest.importorskip("tokenizers")
    from smidgen.lm import tokenizer
    from smidgen.nets.tokenizer_parts import BYTES, WORD_PIECES, read_tokenizer

    good, evil = tokenizer.train(["some words and some more words"], 257), made.tokenizer_parts()[name]
    data = json.dumps(json.loads(good.json) | evil).encode()
    for allowed in (BYTES, WORD_PIECES):
        with pytest.raises(BadInput, match="is not a tokenizer of this program: its .* is of the kind"):
            read_tokenizer(data, allowed, "tokenizer.json")
    assert tokenizer.parse(good.json).encode("some words") == good.encode("some words")


@pytest.mark.parametrize(("column", "value"), [("owner", b"\xff"), ("lease_until", "soon"), ("fingerprint", b"f")])
def test_rows_of_a_study_that_runs(tmp_path, column, value):
    """Was a TypeError."""
    with RunStore(tmp_path / "runs.db") as store:
        study = store.open_study("s", "f", {})
        with store._db.write() as c:
            c.exec_driver_sql(f"UPDATE studies SET owner = 'elsewhere:1:2:3', lease_until = 5, {column} = ?", (value,))
        for look in (store.studies, lambda: store.study(study.id)):
            with pytest.raises(BadInput, match="is damaged or was edited"):
                look()
        said = cli("studies", "ls", "--store", str(tmp_path / "runs.db"))
        assert "is damaged or was edited" in said.sentence()


def test_evidence_whose_numbers_are_too_large_to_be_judged(tmp_path):
    said = json.loads((evidence.folder() / "005.json").read_text())
    said["runs"][0]["values"] = dict.fromkeys(said["runs"][0]["values"], 1e300) | {"C-C-C-T, 100": -1e300}
    (tmp_path / "005.json").write_text(json.dumps(said))
    with pytest.raises(BadInput, match="is damaged or was edited"):  # was an OverflowError
        evidence.read_file(tmp_path / "005.json", "005")


def test_an_owner_whose_number_no_process_can_have():
    machine, _, start, own = new_owner().split(":")
    assert runs_here(f"{machine}:{10**30}:{start}:{own}") is None  # was an OverflowError


def test_a_tokenizer_whose_template_names_a_word_that_is_not_there():
    """Broke off at the first text."""
    pytest.importorskip("tokenizers")
    from smidgen.lm import tokenizer

    said = json.loads(tokenizer.train(["some words and some more words"], 257).json)
    said["post_processor"]["single"][0]["SpecialToken"]["id"] = "<none>"
    with pytest.raises(BadInput, match="is not a tokenizer .*the file is damaged"):
        tokenizer.parse(json.dumps(said).encode())


@pytest.mark.parametrize(("name", "why"), [("program.png", "cannot identify image"), ("black.png", "too many pixels")])
def test_pictures(tmp_path, monkeypatch, name, why):
    monkeypatch.setattr("subprocess.Popen", None)  # no program is started
    path = tmp_path / name
    path.write_bytes(made.pictures()[name])
    assert why in unreadable(path)
    with pytest.raises(BadInput):
        decode(path)
