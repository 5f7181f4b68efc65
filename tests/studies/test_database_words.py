"""The run store's database by itself: every error in words, what is sent at the beginning of a transaction, retries."""

import json
import sqlite3
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DatabaseError, DisconnectionError, IntegrityError, InvalidRequestError, OperationalError

from smidgen.kit.errors import BadInput, SmidgenError
from smidgen.studies import database
from smidgen.studies.database import Database, StoreLost, again, hide_passwords
from smidgen.studies.listing import _place, _plain, list_studies, list_trials
from smidgen.studies.store import RunStore
from smidgen.studies.stored import columns_of, result_of, study_of, trial_of
from smidgen.studies.trial import Result


@pytest.fixture
def db(tmp_path):
    made = Database(tmp_path / "runs.db")
    yield made
    made.close()


def raised(db, error) -> SmidgenError:
    with pytest.raises(SmidgenError) as found, db._words():
        raise error
    return found.value


def operational(text, **more):
    made = OperationalError("SELECT", {}, sqlite3.OperationalError(text))
    for name, value in more.items():
        setattr(made, name, value)
    return made


@pytest.mark.parametrize(
    "text", ["file is not a database", "disk image is malformed", "no such table: x", "Could not decode to UTF-8"]
)
def test_a_file_that_is_no_store(db, text):
    found = raised(db, operational(text))
    assert isinstance(found, BadInput) and f"is not a whole run store ({text})" in str(found)
    db.sqlite = False
    assert "cannot be reached" in str(raised(db, operational(text)))


@pytest.mark.parametrize("text", ["unable to open database file", "attempt to write a READONLY database"])
def test_a_place_that_cannot_be_written(db, text):
    found = raised(db, operational(text))
    assert isinstance(found, BadInput) and f"cannot be written ({text})" in str(found)


def test_other_errors_are_one_line_each(db):
    assert "was held by another process for 60 s" in str(raised(db, operational("database is locked")))
    assert "was held by another" in str(raised(db, operational("the table is BUSY")))
    assert str(raised(db, operational("odd\nmore"))) == f"The run store {db.name} failed: odd."
    assert str(raised(db, operational("  "))).endswith("failed: no reason given.")
    assert str(raised(db, InvalidRequestError("one\ntwo"))).endswith("failed: InvalidRequestError: one.")
    assert "is not a whole run store" in str(raised(db, sqlite3.DatabaseError("malformed")))
    assert "is not a whole" in str(raised(db, UnicodeDecodeError("utf-8", b"x", 0, 1, "cannot decode")))
    with pytest.raises(KeyError), db._words():
        raise KeyError("ours")
    with db._words():
        pass


def test_a_server_that_is_away_is_lost_and_its_refusals_are_not(db):
    db.sqlite = False
    assert isinstance(raised(db, operational("gone")), StoreLost)
    plain = IntegrityError("INSERT", {}, Exception("twice"))
    assert not isinstance(raised(db, plain), StoreLost)
    for state, lost in (("40P01", True), ("40001", True), ("23505", False), (None, False)):
        origin = Exception("why")
        origin.sqlstate = state  # type: ignore[attr-defined]
        assert isinstance(raised(db, DatabaseError("X", {}, origin)), StoreLost) == lost
    cut = DatabaseError("X", {}, Exception("cut"))
    cut.connection_invalidated = True
    assert isinstance(raised(db, cut), StoreLost)
    assert "unable to open" in str(raised(db, IntegrityError("X", {}, Exception("unable to open"))))
    db.sqlite = True
    assert not isinstance(raised(db, operational("gone")), StoreLost)


def test_a_call_is_made_again_while_the_server_is_away(monkeypatch):
    naps, now, calls, until = [], [0.0], [], [0.0]

    def sleep(seconds):
        naps.append(seconds)
        now[0] += 10.0

    monkeypatch.setattr(database.time, "sleep", sleep)

    def call():
        calls.append(now[0])
        if now[0] < until[0]:
            raise StoreLost("away")
        return "here"

    for later, seconds, ends in ((30.0, 60.0, True), (60.0, 60.0, True), (61.0, 60.0, False), (1.0, 0.0, False)):
        now[0], until[0] = 0.0, later
        if ends:
            assert again(call, seconds, clock=lambda: now[0]) == "here"
        else:
            with pytest.raises(StoreLost):
                again(call, seconds, clock=lambda: now[0])
    assert set(naps) == {0.5} and calls[-1] == 0.0


class Connection:
    """Writes down what is sent."""

    def __init__(self, **options: Any) -> None:
        self.options, self.sent, self.info = options, [], {}

    def get_execution_options(self) -> dict[str, Any]:
        return self.options

    def exec_driver_sql(self, text: str) -> Any:
        self.sent.append(text)
        return SimpleNamespace(scalar=lambda: 12.5)


def test_a_transaction_begins_with_what_its_commit_waits_for():
    reads = Connection()
    database._begin_sqlite(reads)  # type: ignore[arg-type]
    assert reads.sent == ["BEGIN"]
    writes = Connection(smidgen_write=True)
    for durable in (True, False, False, True):
        writes.options["smidgen_durable"] = durable
        database._begin_sqlite(writes)  # type: ignore[arg-type]
    assert writes.sent == [
        "BEGIN IMMEDIATE", "PRAGMA synchronous=NORMAL", "BEGIN IMMEDIATE", "BEGIN IMMEDIATE", "PRAGMA synchronous=FULL",
        "BEGIN IMMEDIATE",
    ]  # fmt: skip
    plain = Connection(smidgen_write=True)
    database._begin_sqlite(plain)  # type: ignore[arg-type]
    assert plain.sent == ["BEGIN IMMEDIATE"]
    server, light = Connection(), Connection(smidgen_durable=False)
    for one in (server, light):
        database._begin_postgresql(one)  # type: ignore[arg-type]
        assert one.info == {"clock": 12.5}
    assert server.sent[0].endswith("BEGIN") and light.sent[0].endswith("BEGIN; SET LOCAL synchronous_commit = off")


def test_a_connection_that_lay_idle_is_asked_for_a_sign_of_life(monkeypatch):
    monkeypatch.setattr(database.time, "monotonic", lambda: 100.0)
    asked = []

    def execute(text):
        asked.append(text)
        if len(asked) > 2:
            raise OSError("gone")

    raw: Any = SimpleNamespace(execute=execute)
    for used, count in ((99.5, 0), (99.0, 1), (None, 2)):
        record: Any = SimpleNamespace(info={} if used is None else {"used": used})
        database._look_whether_it_is_there(raw, record, None)
        assert len(asked) == count
    with pytest.raises(DisconnectionError):
        database._look_whether_it_is_there(raw, record, None)
    database._note_when_used(raw, record)
    assert record.info == {"used": 100.0}
    database._set_up_postgresql(raw, record)
    assert raw.autocommit is True


def test_the_clock_of_a_server_is_its_own(db, monkeypatch):
    monkeypatch.setattr(database.time, "time", lambda: 77.0)
    with db.read() as c:
        assert db.now(c) == 77.0
    db.sqlite = False
    began = Connection()
    began.info["clock"] = 5.0
    began.scalar = lambda query: 9.0  # type: ignore[attr-defined]
    assert [db.now(began), db.now(began)] == [5.0, 9.0]  # type: ignore[list-item]


def test_only_secrets_of_some_length_are_taken_out(tmp_path):
    db = Database(tmp_path / "runs.db")
    db._secrets = {"abcd", "abcde"}
    assert db.scrub({"k": ["xabcdex", ("abcd", 5), None]}) == {"k": ["x***x", ["abcd", 5], None]}
    assert db.scrub("a\0b") == "ab" and db.scrub(1.5) == 1.5
    assert (
        hide_passwords("postgresql://me:se@cret@host/x?password=abc&b=1")
        == "postgresql://me:***@host/x?password=***&b=1"
    )
    assert hide_passwords("see https://host:80/x") == "see https://host:80/x"
    db.close()


def test_sqlite_is_set_up_to_keep_its_word(db):
    with db.read() as c:
        assert c.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert (
            c.exec_driver_sql("PRAGMA synchronous").scalar() == 2
            and c.exec_driver_sql("PRAGMA trusted_schema").scalar() == 0
        )
        assert c.exec_driver_sql("SELECT lower('ÄB')").scalar() == "äb" and c.exec_driver_sql(
            "SELECT lower(5)"
        ).scalar() in (5, "5")
    assert db._engine.dialect.create_connect_args(db._engine.url)[1].get("timeout", 60) == 60


def test_a_mode_that_is_locked_is_asked_for_again(monkeypatch):
    naps = []
    monkeypatch.setattr(database.time, "sleep", naps.append)

    class Cursor:
        def __init__(self, fails, text="database is locked"):
            self.fails, self.text, self.sent, self.closed = fails, text, [], False

        def execute(self, text):
            self.sent.append(text)
            if self.fails:
                self.fails -= 1
                raise sqlite3.OperationalError(self.text)
            return SimpleNamespace(fetchone=lambda: ["delete"])

        def close(self):
            self.closed = True

    def set_up(cursor):
        raw: Any = SimpleNamespace(
            cursor=lambda: cursor, create_function=lambda *given, **more: None, isolation_level=""
        )
        database._set_up_sqlite(raw, None)
        return raw

    good = Cursor(3)
    assert set_up(good).isolation_level is None and len(naps) == 3 and good.closed
    assert good.sent[-3:] == ["PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL", "PRAGMA trusted_schema=OFF"]
    for bad in (Cursor(100), Cursor(1, "disk I/O error")):
        with pytest.raises(sqlite3.OperationalError):
            set_up(bad)
        assert bad.closed
    assert len(naps) == 3 + 99 and set(naps) == {0.02}


# -- rows and lists --


class Row(dict):
    def __getattr__(self, name):
        return self[name]

    @property
    def _mapping(self):
        return self


def test_a_damaged_row_is_one_sentence_whatever_it_holds():
    import numpy as np

    whole = columns_of(Result(np.arange(6.0).reshape(3, 2), 1.5, 0.5, 7, 8, None, ("n",)), lambda v: v)
    row = Row(key="k", created=1.0, finished=2.0, **whole)
    back = result_of(row, "s")  # type: ignore[arg-type]
    assert back.predictions.tolist() == [[0, 1], [2, 3], [4, 5]] and (back.seconds, back.cpu_seconds) == (1.5, 0.5)
    assert (back.peak_bytes, back.model_bytes, back.error, back.notes) == (7, 8, None, ("n",))
    assert whole["state"] == "done" and columns_of(Result(error="x"), lambda v: f"<{v}>")["error"] == "<x>"
    for wrong in (
        *({"shape": s} for s in ("[3]", "[3, 2, 1]", "[]", "[-3, 2]", "[3.0, 2]", "x", "[3, 3]", "[2, 2]", None)),
        {"predictions": b"x"}, {"notes": "{}"}, {"notes": "x"}, {"seconds": "1"}, {"model_bytes": b""},
        {"predictions": whole["predictions"][:-2]},
    ):  # fmt: skip
        with pytest.raises(BadInput, match="the row 'k' is damaged"):
            result_of(Row({**row, **wrong}), "s")  # type: ignore[arg-type]
    told = {"key": "k", "trial": "{}", "state": "done", "error": None, "seconds": 1, "cpu_seconds": 1, "peak_bytes": 1,
            "model_bytes": None, "created": 1.0, "finished": None}  # fmt: skip
    assert trial_of(told, "s").trial == {}
    for wrong in ({"trial": "[]"}, {"trial": "{"}, {"state": 5}, {"error": b"x"}, {"created": "now"}, {"finished": []}):
        with pytest.raises(BadInput, match="damaged"):
            trial_of({**told, **wrong}, "s")


def test_a_study_that_is_not_heard_of_has_stopped(tmp_path):
    with RunStore(tmp_path / "r.db") as store:
        made = store.open_study("s", "f", {"a": 1})
        with store._db.read() as c:
            whole = Row(dict(c.execute(sa.text("SELECT * FROM studies")).mappings().one()))
    assert study_of(whole, 0.0, "s").state == "running" == made.state and made.options == {"a": 1}  # type: ignore[arg-type]
    for owner, lease, now, state in (
        ("other:1:2:x", 100.0, 99.0, "running"), ("other:1:2:x", 100.0, 100.0, "stopped"),
        ("other:1:2:x", None, 9e9, "running"),
        ("", 1.0, 9e9, "running"),
        (f"{whole['owner'].rsplit(':', 3)[0]}:999999999:1:x", 9e9, 1.0, "stopped"),
        (whole["owner"], 1.0, 9e9, "running"),
    ):  # fmt: skip
        assert study_of(Row({**whole, "owner": owner, "lease_until": lease}), now, "s").state == state  # type: ignore[arg-type]
    done = Row({**whole, "state": "done", "owner": "other:1:2:x", "lease_until": 1.0})
    assert study_of(done, 9e9, "s").state == "done"  # type: ignore[arg-type]
    wrongs = ({"created": -1.0}, {"updated": 1e11}, {"created": "x"}, {"options": "[]"}, {"summary": "[]"})
    for wrong in (*wrongs, {"trials": "{}"}, {"task_name": 5}, {"asked": "x"}):
        with pytest.raises(BadInput, match="damaged"):
            study_of(Row({**whole, **wrong}), 0.0, "s")  # type: ignore[arg-type]


def test_pages_exist_and_words_are_plain():
    assert [_place(page, 25, 10) for page in (-1, 0, 1, 3, 4)] == [(1, 3), (1, 3), (1, 3), (3, 3), (3, 3)]
    assert _place(1, 0, 10) == (1, 1) and _place(9, 30, 10) == (3, 3) and _place(9, 31, 10) == (4, 4)
    assert _plain("ab-1") and not _plain('a"b') and not _plain("a\\b") and not _plain("ä") and not _plain("a\x01")


def test_lists_are_cut_into_pages_in_their_order(tmp_path):
    with RunStore(tmp_path / "r.db") as store:
        for i in range(5):
            study = store.open_study(f"name {'abcde'[i]}", f"f{i}", {})
            for k in range(i):
                text = json.dumps({"method": f"learn/m{k}", "view": "v", "draw": "cv:k=2:r=0"})
                fence = store.claim(f"k{i}{k}", text, study=study.id)
                store.finish(f"k{i}{k}", fence, Result(seconds=float(9 - k), error="x" if k == 2 else None))
        second = list_studies(store, sort="name", down=False, page=2, size=2)
        assert [s.task_name for s, _ in second.rows] == ["name c", "name d"] and [n for _, n in second.rows] == [2, 3]
        assert (second.total, second.page, second.pages, second.first) == (5, 2, 3, 3)
        last = list_studies(store, sort="trials", size=2, page=9)
        assert [n for _, n in last.rows] == [0] and last.first == 5 and last.page == 3
        assert [s.task_name for s, _ in list_studies(store, search="NAME b").rows] == ["name b"]
        page = list_trials(store, study, sort="seconds", size=3)
        assert [t.seconds for t in page.rows] == [6.0, 7.0, 8.0] and (page.total, page.pages, page.first) == (4, 2, 1)
        assert [t.seconds for t in list_trials(store, study, sort="seconds", size=3, page=2).rows] == [9.0]
        assert [t.key for t in list_trials(store, study, down=True, size=2).rows] == ["k43", "k42"]
        assert [t.key for t in list_trials(store, study, page=2, size=2).rows] == ["k42", "k43"]
        assert [t.key for t in list_trials(store, study, state="failed").rows] == ["k42"]
        assert (
            len(list_trials(store, study, state="done").rows) == 3
            and list_trials(store, study, state="running").total == 0
        )
        assert [t.key for t in list_trials(store, study, search="M1 cv").rows] == ["k41"]
        for wrong in ({"sort": "x"}, {"state": "x"}):
            with pytest.raises(BadInput, match="expected"):
                list_trials(store, study, **wrong)
        with pytest.raises(BadInput, match="sort"):
            list_studies(store, sort="x")
