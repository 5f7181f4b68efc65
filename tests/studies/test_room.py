"""What removed studies took goes back to the disk, and what stays is as it was."""

import sqlite3

import numpy as np
import pytest

from smidgen.studies import room
from smidgen.studies.removal import remove, undo
from smidgen.studies.room import give_back
from smidgen.studies.store import RunStore
from smidgen.studies.trial import Result


def add(store, name, rows):
    """A study of one trial that holds so many numbers, which do not pack."""
    study = store.open_study(name, name, {})
    fence = store.claim(name, "{}", study=study.id)
    store.finish(name, fence, Result(np.random.default_rng(rows).random(rows)))
    store.finish_study(study.id, "done", None, [name])
    return study.id


@pytest.fixture
def path(tmp_path):
    return tmp_path / "runs.db"


def size(path):
    with sqlite3.connect(path) as raw:
        raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    raw.close()
    return path.stat().st_size


def test_a_large_study_leaves_a_small_file(path):
    with RunStore(path) as store, RunStore(path) as other:
        add(store, "small", 2_000)
        before, kept = size(path), store.get(["small"])["small"].predictions.tobytes()
        large = add(store, "large", 50_000)
        assert size(path) > before + 300_000
        gone = remove(store, large)
        assert size(path) <= before + 8192 and other.get(["small"])["small"].predictions.tobytes() == kept
        undo(other, gone)
        assert len(store.get(["large"])["large"].predictions) == 50_000
        assert {s.task_name for s in other.studies()} == {"small", "large"}


def test_a_small_study_leaves_the_file_as_it_is(path):
    with RunStore(path) as store:
        add(store, "large", 50_000)
        small = add(store, "small", 2_000)
        before = size(path)
        store.remove(small)
        assert size(path) == before


def test_who_uses_the_file_goes_first(path, monkeypatch):
    monkeypatch.setattr(room, "PATIENCE", 0.01)
    with RunStore(path) as store:
        large = add(store, "large", 50_000)
        with monkeypatch.context() as m:
            m.setattr("smidgen.studies.study_rows.give_back", lambda path: None)
            store.remove(large)
        before = size(path)
        with store._db.write():
            give_back(path)  # says nothing
        assert size(path) == before
        give_back(path)
        assert size(path) < before / 2


def test_what_is_no_store_is_left_alone(path):
    path.write_bytes(b"not a database, but long enough to be looked at" * 100)
    before = path.read_bytes()
    give_back(path)
    assert path.read_bytes() == before
