"""Where the run store's rows lie: connecting, transactions, and errors in words for people.

One code for SQLite (WAL, every write a `BEGIN IMMEDIATE`, each commit on disk before it is acknowledged) and for
PostgreSQL.
"""

import contextlib
import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, unquote

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError, DisconnectionError, OperationalError, SQLAlchemyError

from smidgen.kit.errors import BadInput, MissingExtra, SmidgenError
from smidgen.studies import DEFAULT_STORE, SCHEMA
from smidgen.studies.store_place import make_room
from smidgen.studies.tables import HEAD, metadata, revision_table, store_table

T = TypeVar("T")
BUSY_SECONDS = 60.0
LOST_SECONDS = 60.0
PING_SECONDS = 1.0
_PASSING = ("40P01", "40001")  # PostgreSQL ended one of two that waited for each other


class StoreLost(SmidgenError):
    """The store's server cannot be reached now; nothing of the transaction was done, or it was but its answer was
    lost."""


def again(call: Callable[[], T], seconds: float = LOST_SECONDS, *, clock: Callable[[], float] = time.monotonic) -> T:
    """`call()`, again while the server of the store is away (it restarts, say). For what may be done twice."""
    end = clock() + seconds
    while True:
        try:
            return call()
        except StoreLost:
            if clock() >= end:
                raise
            time.sleep(0.5)


class Database:
    """A store by path or URL: `sqlite:///path`, `postgresql://user@host/name`; a bare path is SQLite.

    Raises:
        BadInput: not a store, a newer schema, a damaged file, a network disk under SQLite.
        MissingExtra: the driver for PostgreSQL is not installed.
    """

    def __init__(self, url_or_path: str | Path | None = None) -> None:
        text = str(DEFAULT_STORE if url_or_path is None else url_or_path)
        if "://" in text:
            try:
                url = sa.engine.make_url(text)
            except (SQLAlchemyError, ValueError):
                raise BadInput(
                    f"'{hide_passwords(text)}' is not a run store's URL: write sqlite:///path or "
                    "postgresql://user:password@host/name."
                ) from None
        elif re.search(r":[^/]*@", text):  # a mistyped URL as a file's name would put its password into every message
            raise BadInput(
                "The name of the run store looks like a URL without '://': write sqlite:///path or "
                "postgresql://user:password@host/name."
            )
        else:
            url = sa.engine.URL.create("sqlite", database=text)
        secrets = [str(s) for s in (url.password, url.query.get("password")) if s]
        self._secrets = {form for s in secrets for form in (s, quote(s, safe=""), unquote(s))}
        backend = url.get_backend_name()
        if backend == "sqlite":
            if not url.database or url.database == ":memory:":
                raise BadInput("A run store in SQLite needs a file: write sqlite:///path.")
            if url.host or url.username or url.password:
                raise BadInput("A run store in SQLite has no host and no password: write sqlite:///path.")
            self.name = url.database
            make_room(Path(url.database))
            # Only the path is taken from a URL: its options could change what a commit promises.
            url = sa.engine.URL.create("sqlite", database=str(Path(url.database).absolute()))
            self._engine = sa.create_engine(url, connect_args={"timeout": BUSY_SECONDS})
            event.listen(self._engine, "connect", _set_up_sqlite)
            event.listen(self._engine, "begin", _begin_sqlite)
        elif backend == "postgresql":
            self.name = hide_passwords(url.render_as_string(hide_password=True))
            if "+" not in url.drivername:
                url = url.set(drivername="postgresql+psycopg")
            try:
                self._engine = sa.create_engine(url)
            except ImportError:
                raise MissingExtra(
                    "A run store in PostgreSQL needs the package 'psycopg': pip install 'smidgen[postgres]'"
                ) from None
            event.listen(self._engine, "connect", _set_up_postgresql)
            event.listen(self._engine, "checkout", _look_whether_it_is_there)
            event.listen(self._engine, "checkin", _note_when_used)
            event.listen(self._engine, "begin", _begin_postgresql)
        else:
            raise BadInput(
                f"A run store lies in SQLite or PostgreSQL, not in {backend}: "
                "write sqlite:///path or postgresql://user:password@host/name."
            )
        self.sqlite = backend == "sqlite"
        self._inserts: dict[str, Any] = {}
        self._prepare()

    @contextlib.contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A transaction that only reads: one consistent state."""
        with self._words(), self._engine.connect() as connection, connection.begin():
            yield connection

    @contextlib.contextmanager
    def write(self, durable: bool = True) -> Iterator[sa.Connection]:
        """A transaction that writes. When the block has ended without an error, it is on disk.

        durable: False where the last such transactions may be lost in a power cut, never in part and never in a
        process's end: a claim that is lost is free again. It does not wait for the disk.
        """
        with self._words(), self._engine.connect() as connection:
            connection = connection.execution_options(smidgen_write=True, smidgen_durable=durable)
            with connection.begin():
                yield connection

    def now(self, connection: sa.Connection) -> float:
        """Seconds since 1970, from the one clock that all users of the store share."""
        if self.sqlite:
            return time.time()
        if (began := connection.info.pop("clock", None)) is not None:
            return began
        return float(connection.scalar(sa.select(sa.extract("epoch", sa.func.clock_timestamp()))) or 0)

    def insert(self, table: sa.Table) -> Any:
        """An INSERT that leaves a row that is there alone; its `rowcount` says how many were made."""
        if table.name not in self._inserts:
            if self.sqlite:
                from sqlalchemy.dialects.sqlite import insert
            else:
                from sqlalchemy.dialects.postgresql import insert
            # Of an INSERT SQLAlchemy does not keep the count unless it is asked to.
            made = insert(table).on_conflict_do_nothing().execution_options(preserve_rowcount=True)
            self._inserts[table.name] = made
        return self._inserts[table.name]

    def close(self) -> None:
        self._engine.dispose()

    def _prepare(self) -> None:
        try:
            with self.read() as connection:
                known = set(sa.inspect(connection).get_table_names())
                version = connection.scalar(sa.select(store_table.c.version)) if store_table.name in known else None
            if version is None:
                if self.sqlite and known and store_table.name not in known:
                    raise BadInput(f"{self.name} is a database of another program: name another file with --store.")
                self._create()
            elif version == SCHEMA:
                return
            elif not isinstance(version, int) or not 1 <= version < SCHEMA:
                age = "a newer" if isinstance(version, int) and version > SCHEMA else "an unknown"
                raise BadInput(
                    f"{self.name} was written by {age} smidgen (schema {version}, this one reads {SCHEMA}): "
                    "update smidgen, or name another file with --store."
                )
            else:
                from smidgen.studies.migrate import upgrade

                with self.write() as connection:
                    self._alone(connection)
                    upgrade(connection)
        except BaseException:
            self.close()
            raise

    def _create(self) -> None:
        with self.write() as connection:
            self._alone(connection)
            metadata.create_all(connection)
            if connection.scalar(sa.select(store_table.c.version)) is None:
                connection.execute(store_table.insert().values(version=SCHEMA))
                connection.execute(revision_table.insert().values(version_num=HEAD))

    def _alone(self, connection: sa.Connection) -> None:
        if not self.sqlite:  # two creations of one table at once are an error there
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(7364)"))

    @contextlib.contextmanager
    def _words(self) -> Iterator[None]:
        """Errors of the database as one sentence for a person, without passwords."""
        lost = False
        try:
            yield
        except DBAPIError as error:
            state = getattr(error.orig, "sqlstate", None) or ""
            lost = error.connection_invalidated or isinstance(error, OperationalError) or state in _PASSING
            why = self.scrub(str(error.orig).strip().splitlines()[0] if str(error.orig).strip() else "no reason given")
        except (SQLAlchemyError, sqlite3.Error, UnicodeError) as error:  # a damaged file even has damaged error texts
            why = self.scrub(f"{type(error).__name__}: {error}".splitlines()[0])
        else:
            return
        low = why.lower()
        if not self.sqlite and lost:
            raise StoreLost(f"The run store {self.name} cannot be reached: {why}.") from None
        if self.sqlite and ("not a database" in low or "malformed" in low or "no such" in low or "decode" in low):
            raise BadInput(
                f"{self.name} is not a whole run store ({why}): it is damaged or another kind of file; "
                "move it away, or name another with --store.",
                see="store",
            ) from None
        if self.sqlite and ("unable to open" in low or "readonly" in low):
            raise BadInput(
                f"The run store {self.name} cannot be written ({why}): check its folder's permissions, "
                "or name another with --store.",
                see="store",
            ) from None
        if "locked" in low or "busy" in low:
            raise SmidgenError(
                f"The run store {self.name} was held by another process for {BUSY_SECONDS:.0f} s: "
                "try again when it has ended.",
                see="store",
            ) from None
        raise SmidgenError(f"The run store {self.name} failed: {why}.") from None

    def scrub(self, value: Any) -> Any:
        """The text, or every text in a JSON value, without this store's password and any other in a URL."""
        if isinstance(value, dict):
            return {key: self.scrub(v) for key, v in value.items()}
        if isinstance(value, list | tuple):
            return [self.scrub(v) for v in value]
        if not isinstance(value, str):
            return value
        for secret in self._secrets:
            if len(secret) >= 5:  # a shorter one stands in ordinary words by chance
                value = value.replace(secret, "***")
        return hide_passwords(value).replace("\0", "")  # PostgreSQL takes no NUL


def _set_up_postgresql(raw, record) -> None:
    raw.autocommit = True  # the driver would ask for each transaction by a message of its own


def _look_whether_it_is_there(raw, record, proxy) -> None:
    """A connection that has lain idle is asked for a sign of life: the server may have been started anew."""
    if time.monotonic() - record.info.get("used", float("-inf")) < PING_SECONDS:
        return
    try:
        raw.execute("SELECT 1")
    except Exception as error:
        raise DisconnectionError from error  # another is opened in its place


def _note_when_used(raw, record) -> None:
    record.info["used"] = time.monotonic()


def _begin_postgresql(connection: sa.Connection) -> None:
    """One message begins the transaction, sets what its commit waits for, and brings the clock that `now` gives."""
    text = "SELECT extract(epoch FROM clock_timestamp()); BEGIN"
    if not connection.get_execution_options().get("smidgen_durable", True):
        text += "; SET LOCAL synchronous_commit = off"
    connection.info["clock"] = float(connection.exec_driver_sql(text).scalar() or 0)


def hide_passwords(text: str) -> str:
    """Passwords in URLs as ***, also one that has an @ which should have been quoted."""
    text = re.sub(r"([A-Za-z][\w+.-]*://[^\s:/@\"']*):[^\s\"']*@", r"\1:***@", text)
    return re.sub(r"(?i)([?&](?:\w*password|passwd|pwd|token|secret)=)[^&\s\"']+", r"\1***", text)


def _set_up_sqlite(raw, record) -> None:
    raw.isolation_level = None  # the driver would open transactions of its own, and not IMMEDIATE
    # SQLite's own knows ASCII letters only
    raw.create_function("lower", 1, lambda text: text.lower() if isinstance(text, str) else text, deterministic=True)
    cursor = raw.cursor()
    try:
        # Changing the mode takes a lock that does not always wait its turn, so ask first.
        tries = 0
        while True:
            tries += 1
            try:
                if cursor.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
                    cursor.execute("PRAGMA journal_mode=WAL")
                break
            except Exception as error:
                if "locked" not in str(error) or tries == 100:
                    raise
                time.sleep(0.02)
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA trusted_schema=OFF")  # a file from elsewhere is data, its views run nothing
    finally:
        cursor.close()


def _begin_sqlite(connection: sa.Connection) -> None:
    options = connection.get_execution_options()
    if not options.get("smidgen_write"):
        connection.exec_driver_sql("BEGIN")
        return
    wanted = "FULL" if options.get("smidgen_durable", True) else "NORMAL"
    if connection.info.get("synchronous", "FULL") != wanted:  # as the connection was left by the one before
        connection.exec_driver_sql(f"PRAGMA synchronous={wanted}")
        connection.info["synchronous"] = wanted
    connection.exec_driver_sql("BEGIN IMMEDIATE")
