"""Older run stores: each schema that there was, as that program wrote it, is raised and keeps all it held."""

import sqlite3
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

from smidgen.kit.errors import SmidgenError
from smidgen.studies import SCHEMA, migrate
from smidgen.studies.database import Database
from smidgen.studies.store import RunStore
from smidgen.studies.tables import HEAD, metadata, revision_table, store_table
from smidgen.studies.trial import Result

OLD = Path(__file__).parent / "old_stores"
STORES = sorted(path.stem for path in OLD.glob("*.sql"))


def old(path: Path, name: str) -> Path:
    with sqlite3.connect(path) as raw:
        raw.executescript((OLD / f"{name}.sql").read_text())
    raw.close()
    return path


def shape(path: Path) -> list[tuple]:
    """Everything that the file says of its tables, and their rows."""
    with sqlite3.connect(path) as raw:
        made = sorted(raw.execute("SELECT type, name, sql FROM sqlite_master"))
        rows = [(name, sorted(raw.execute(f"SELECT * FROM {name}"))) for kind, name, _ in made if kind == "table"]
    raw.close()
    return [made, rows]


def differences(c: sa.Connection) -> list:
    """Between the database and what the tables say of one of its kind."""
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    def meant(thing, name, kind, reflected, other) -> bool:
        only = getattr(thing, "_ddl_if", None)  # Alembic does not look at it
        return only is None or only.dialect == c.dialect.name

    return compare_metadata(MigrationContext.configure(c, opts={"include_object": meant}), metadata)


def test_there_is_a_store_of_each_schema_before_this_one():
    assert STORES == ["first", "machines", "notes"]


@pytest.mark.parametrize("name", STORES)
def test_an_old_store_is_raised_and_keeps_what_it_held(tmp_path, name):
    with RunStore(old(tmp_path / "runs.db", name)) as store, RunStore(tmp_path / "runs.db") as other:
        study = other.study("iris")
        assert study.summary == {"estimate": 0.25, "metric": "log_loss"} and len(study.trials) == 3
        found = store.get(study.trials)
        for i, key in enumerate(study.trials[:2]):
            expected = np.random.default_rng(i).dirichlet(np.ones(3), 5)
            assert found[key].predictions.tobytes() == expected.tobytes()
        assert found[study.trials[1]].notes == (() if name == "first" else ("on the processor",))
        assert found[study.trials[2]].error == "ValueError: no"
        running = [row.key for row in store.trials(study.id) if row.state == "running"]
        fence = store.claim(running[0], "{}")  # by a lease of long ago
        assert store.finish(running[0], fence, Result(np.zeros(2), notes=("new",)))
        assert other.get(running)[running[0]].notes == ("new",)
        with store._db.read() as c:
            assert c.scalar(sa.select(store_table.c.version)) == SCHEMA
            assert c.scalar(sa.select(revision_table.c.version_num)) == HEAD


def test_a_study_that_an_older_program_left_running_elsewhere_shows_as_stopped(tmp_path):
    with RunStore(old(tmp_path / "runs.db", "machines")) as store:
        assert store.study("moons").state == "stopped"  # it was begun in 2025


def test_raised_and_new_stores_are_what_the_tables_say(tmp_path, place):
    stores = [old(tmp_path / f"{name}.db", name) for name in STORES]
    for url in [*stores, place]:
        database = Database(url)
        with database.read() as c:
            assert differences(c) == []
        database.close()


def test_all_revisions_from_nothing_make_the_tables(place):
    """Also in PostgreSQL, of which there is no old store."""
    from alembic import command

    database = Database(place)
    with database.write() as c:
        metadata.drop_all(c)
        command.upgrade(migrate.configuration(c), "0002")
    database.close()
    with RunStore(place) as store, store._db.read() as c:
        assert differences(c) == []
        assert c.scalars(sa.select(store_table.c.version)).all() == [SCHEMA]


def test_a_raise_that_breaks_off_leaves_the_old_store(tmp_path, monkeypatch):
    path = old(tmp_path / "runs.db", "notes")
    before = shape(path)
    folder = tmp_path / "migrations"
    import shutil

    shutil.copytree(migrate.FOLDER, folder)
    last = folder / "versions" / "0004_pulse_and_lists.py"
    last.write_text(last.read_text() + '    raise RuntimeError("killed here")\n')
    monkeypatch.setattr(migrate, "FOLDER", folder)
    with pytest.raises(RuntimeError, match="killed here"):
        RunStore(path)
    assert shape(path) == before
    monkeypatch.undo()
    with RunStore(path) as store:
        assert store.study("iris").state == "done"


def test_a_program_that_has_the_old_store_open_goes_on(tmp_path):
    """What it writes is what the older program wrote: it names its columns."""
    path = old(tmp_path / "runs.db", "notes")
    raw = sqlite3.connect(path)
    raw.execute("SELECT count(*) FROM trials").fetchone()
    with RunStore(path) as store:
        raw.execute(
            "INSERT INTO trials (key, trial, state, owner, fence, lease_until, created) "
            "VALUES ('k', '{}', 'running', 'o', 1, 0, 0)"
        )
        raw.commit()
        assert store.claim("k", "{}") == 2
    raw.close()


def test_alembic_is_imported_only_where_a_store_is_old(tmp_path):
    import subprocess
    import sys

    old(tmp_path / "old.db", "first")
    code = (
        "import sys; from smidgen.studies.store import RunStore; RunStore(sys.argv[1]).close(); "
        "RunStore(sys.argv[1]).close(); print('alembic' in sys.modules)"
    )
    said = [
        subprocess.run([sys.executable, "-c", code, str(tmp_path / name)], capture_output=True, text=True).stdout
        for name in ("new.db", "old.db")
    ]
    assert said == ["False\n", "True\n"]


def test_a_version_that_makes_no_sense_is_one_sentence(tmp_path):
    path = old(tmp_path / "runs.db", "notes")
    with sqlite3.connect(path) as raw:
        raw.execute("UPDATE smidgen_store SET version = -3")
    raw.close()
    with pytest.raises(SmidgenError, match="unknown smidgen"):
        RunStore(path)
