"""The database of a run store: how long it is asked again, whole sentences on what is wrong, the first fence."""

import sqlite3

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, InvalidRequestError, OperationalError

from smidgen.kit.errors import BadInput, MissingExtra, SmidgenError
from smidgen.studies import SCHEMA, database, offers
from smidgen.studies import store as store_module
from smidgen.studies.database import Database, StoreLost, again, hide_passwords
from smidgen.studies.store import RunStore
from smidgen.studies.trial import Trial


@pytest.fixture
def store(tmp_path):
    with RunStore(tmp_path / "runs.db") as made:
        yield made


def test_a_call_is_made_again_for_a_minute(monkeypatch):
    naps = []
    monkeypatch.setattr(database.time, "sleep", naps.append)

    def lost():
        raise StoreLost("away")

    ticks = iter([100.0, 100.0, 159.9, 160.0])
    with pytest.raises(StoreLost):
        again(lost, clock=lambda: next(ticks))
    assert naps == [0.5, 0.5]
    answers = iter([StoreLost("away"), 7])

    def at_last():
        got = next(answers)
        if isinstance(got, Exception):
            raise got
        return got

    assert again(at_last, 5.0, clock=lambda: 0.0) == 7 and len(naps) == 3
    with pytest.raises(KeyError):
        again(lambda: {}["x"])


def said(db, error):
    with pytest.raises(SmidgenError) as caught, db._words():
        raise error
    return type(caught.value), str(caught.value), caught.value.see


def of_driver(kind, text):
    return kind("SELECT", {}, sqlite3.OperationalError(text))


def test_errors_of_a_file_in_whole_sentences(store):
    db, name = store._db, store.name
    for text in ("file is not a database", "malformed", "No such table: x", "could not decode"):
        assert said(db, of_driver(DBAPIError, text)) == (
            BadInput,
            f"{name} is not a whole run store ({text}): it is damaged or another kind of file; move it away, or name "
            "another with --store.",
            "store",
        )
    for text in ("unable to open database file", "a READONLY database"):
        assert said(db, of_driver(OperationalError, text)) == (
            BadInput,
            f"The run store {name} cannot be written ({text}): check its folder's permissions, or name another with "
            "--store.",
            "store",
        )
    for text in ("Database is locked", "the file is busy"):
        assert said(db, of_driver(OperationalError, text)) == (
            SmidgenError,
            f"The run store {name} was held by another process for 60 s: try again when it has ended.",
            "store",
        )
    assert said(db, of_driver(DBAPIError, "disk full\nmore")) == (
        SmidgenError, f"The run store {name} failed: disk full.", ""
    )  # fmt: skip


def test_a_server_is_lost_by_its_connection_only(store):
    db = store._db
    db.sqlite = False
    away = (StoreLost, f"The run store {store.name} cannot be reached: no route.", "")
    failed = (SmidgenError, f"The run store {store.name} failed: no route.", "")
    assert said(db, of_driver(OperationalError, "no route")) == away
    assert said(db, of_driver(DBAPIError, "no route")) == failed
    cut = of_driver(DBAPIError, "no route")
    cut.connection_invalidated = True
    assert said(db, cut) == away
    for state, lost in (("40P01", True), ("40001", True), ("23505", False), (None, False)):
        error = of_driver(DBAPIError, "no route")
        error.orig.sqlstate = state
        assert said(db, error) == (away if lost else failed)
    assert said(db, InvalidRequestError("odd")) == (
        SmidgenError, f"The run store {store.name} failed: InvalidRequestError: odd.", ""
    )  # fmt: skip
    assert said(db, of_driver(DBAPIError, "malformed"))[1].endswith("failed: malformed.")
    db.sqlite = True


def test_places_that_are_no_store(tmp_path, monkeypatch):
    how = "write sqlite:///path or postgresql://user:password@host/name."
    for place, text in (
        ("postgresql://me:secret@h:x/d", f"'postgresql://me:***@h:x/d' is not a run store's URL: {how}"),
        ("postgresql:me:secret@h/d", f"The name of the run store looks like a URL without '://': {how}"),
        ("sqlite://", "A run store in SQLite needs a file: write sqlite:///path."),
        ("sqlite:///:memory:", "A run store in SQLite needs a file: write sqlite:///path."),
        ("mysql://me:secret@h/d", f"A run store lies in SQLite or PostgreSQL, not in mysql: {how}"),
    ):
        with pytest.raises(BadInput) as caught:
            Database(place)
        assert str(caught.value) == text

    def no_driver(url, **options):
        assert url.drivername == "postgresql+psycopg"
        raise ImportError

    monkeypatch.setattr(database.sa, "create_engine", no_driver)
    for place in ("postgresql://me:secret@h/d", "postgresql+psycopg://h/d"):
        with pytest.raises(MissingExtra) as missing:
            Database(place)
        assert str(missing.value) == (
            "A run store in PostgreSQL needs the package 'psycopg': pip install 'smidgen[postgres]'"
        )


def test_stores_of_other_programs(tmp_path):
    for version, age in ((SCHEMA + 1, "a newer"), (0, "an unknown"), (-3, "an unknown")):
        path = tmp_path / f"{version}.db"
        RunStore(path).close()
        with sqlite3.connect(path) as raw:
            raw.execute("UPDATE smidgen_store SET version = ?", (version,))
        raw.close()
        with pytest.raises(BadInput) as caught:
            RunStore(path)
        assert str(caught.value) == (
            f"{path} was written by {age} smidgen (schema {version}, this one reads {SCHEMA}): update smidgen, or name "
            "another file with --store."
        )
    other = tmp_path / "photos.db"
    with sqlite3.connect(other) as raw:
        raw.execute("CREATE TABLE photos (id)")
    raw.close()
    with pytest.raises(BadInput) as caught:
        RunStore(other)
    assert str(caught.value) == f"{other} is a database of another program: name another file with --store."


def test_passwords_are_hidden_wherever_they_stand(store):
    for text, shown in (
        ("a://me:pw@h/d", "a://me:***@h/d"), ("a+b.c-1://:p@w@h", "a+b.c-1://:***@h"), ("http://h:80/x", "http://h:80/x"),
        ("?password=x&a=1", "?password=***&a=1"), ("&SSLPassword=x'", "&SSLPassword=***'"), ("?pwd=1", "?pwd=***"),
        ("?token=a b", "?token=*** b"), ("?secret=z", "?secret=***"), ("?passwd=z", "?passwd=***"),
        ("?pass=z", "?pass=z"),
    ):  # fmt: skip
        assert hide_passwords(text) == shown
    store._db._secrets = {"hunter", "shrt"}
    value = {"a": ["my hunter", ("shrt", 3, None)], "b": "a\0b"}
    assert store._db.scrub(value) == {"a": ["my ***", ["shrt", 3, None]], "b": "ab"}


def test_a_first_fence_is_by_chance_and_above_0(store, monkeypatch):
    asked = []
    monkeypatch.setattr(store_module.secrets, "randbelow", lambda n: asked.append(n) or 0)
    assert store.claim("k", "{}") == 1
    offers.announce(store, "s", "d", None, "1")
    offers.offer(store, [Trial(task="t", method="m", version=1, view="v", draw="cv:k=2:r=0", seed=0)])
    assert [t.fence for t in offers.take(store, 1, program="1")] == [1] and asked == [2**40] * 2
    store.release()
    assert store.claim("k", "{}") == 2
    with store._db.read() as c:
        assert c.scalar(sa.text("SELECT count(*) FROM trials")) == 2
