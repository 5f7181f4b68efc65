"""What the run store does at its edges: other systems, rows that others hold, addresses, races that are lost."""

import os
import sys
from types import SimpleNamespace

import pytest
import sqlalchemy as sa

from smidgen.kit.errors import BadInput, MissingExtra
from smidgen.studies import migrate, offers, owner, store_place, study_rows
from smidgen.studies.database import Database
from smidgen.studies.store import RunStore
from smidgen.studies.tables import store_table, trials


def test_whether_a_process_runs_is_not_known_without_signals(tmp_path, monkeypatch):
    name = owner.new_owner()
    assert owner.runs_here(name) is True
    for module in (owner, store_place):
        monkeypatch.setattr(module, "os", SimpleNamespace(name="nt"))
    assert owner.runs_here(name) is None and owner.is_gone(name) is False
    monkeypatch.setattr(store_place, "network_kind", lambda *a: "nfs")  # not asked: there is no /proc to tell it
    store_place.make_room(tmp_path / "a" / "runs.db")
    assert (tmp_path / "a").is_dir()


def test_processes_are_told_apart_where_proc_says_nothing(monkeypatch):
    def fail() -> str:
        raise OSError

    monkeypatch.setattr(owner, "Path", lambda path: SimpleNamespace(readlink=fail, read_text=fail))
    name = owner._machine.__wrapped__()
    assert len(name) == 12 and name == owner._machine.__wrapped__() != owner._machine()
    assert owner._start(os.getpid()) == "0"


def test_a_url_without_its_beginning_is_not_taken_for_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInput, match="looks like a URL without '://': write sqlite:///path or"):
        Database("me:pass@host")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("url", ["sqlite://me:S3cret@host/runs.db", "sqlite://host/runs.db", "sqlite://me@/runs.db"])
def test_a_file_has_no_host_and_no_password(tmp_path, monkeypatch, url):
    """It was made here, under the last part of the address."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInput, match="no host and no password: write sqlite:///path") as said:
        Database(url)
    assert "S3cret" not in str(said.value) and not list(tmp_path.iterdir())


def test_postgresql_without_its_driver(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    for url in ("postgresql://me:S3cret@host/runs", "postgresql+psycopg://me:S3cret@host/runs"):
        with pytest.raises(MissingExtra, match=r"pip install 'smidgen\[postgres\]'") as said:
            Database(url)
        assert "S3cret" not in str(said.value)


def test_a_store_that_is_there_is_neither_made_nor_raised_again(place):
    with RunStore(place) as store:
        store.open_study("s", "f", {})
        with store._db.write() as c:
            migrate.upgrade(c, "no-such-revision")  # what another process did meanwhile
        store._db._create()
        with store._db.read() as c:
            assert c.scalar(sa.select(sa.func.count()).select_from(store_table)) == 1
        assert len(store.studies()) == 1


def test_a_trial_that_another_is_just_changing_is_not_claimed(postgres):
    with RunStore(postgres) as store, RunStore(postgres) as other:
        fence = store.claim("k", "{}", lease_seconds=-1)
        with other._db.write() as c:
            c.execute(sa.select(trials.c.fence).where(trials.c.key == "k").with_for_update())
            assert store.claim("k", "{}") is None  # at once: nobody waits
        assert store.claim("k", "{}") == fence + 1


def test_a_taker_that_always_comes_too_late_goes_on_with_its_work(tmp_path, monkeypatch):
    tried = []
    monkeypatch.setattr(offers, "_take", lambda *a: (tried.append(1) or 1, []))
    with RunStore(tmp_path / "runs.db") as store:
        assert offers.take(store, 1, program="0") == []
    assert len(tried) == offers._TRIES


def test_studies_of_one_short_form_are_told_apart(tmp_path, monkeypatch):
    digests = iter(["a" * 64, "a" * 8 + "b" * 56, "a" * 64])
    monkeypatch.setattr(study_rows, "digest", lambda *parts: next(digests))
    with RunStore(tmp_path / "runs.db") as store:
        ids = [store.open_study("My  Data!", "f", {}).id for _ in range(3)]
    assert ids == ["my-data-aaaaaa", "my-data-aaaaaaa", "my-data-aaaaaa"]


def test_a_study_ends_in_one_of_three_ways(tmp_path):
    with RunStore(tmp_path / "runs.db") as store:
        study = store.open_study("s", "f", {})
        with pytest.raises(ValueError, match="ends as one of"):
            store.finish_study(study.id, "running", None, [])
        assert store.study(study.id).state == "running"
