"""A PostgreSQL of the tests' own: a temporary cluster of what is installed, reached by a socket in its folder; and
fixtures for who needs a run store in each kind of database."""

import importlib.util
import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

GIVEN = "SMIDGEN_TEST_POSTGRES"  # URL of a server where databases may be made and dropped


def programs() -> Path | None:
    """The folder of `initdb` and `pg_ctl`."""
    found = shutil.which("pg_ctl")
    places = [Path(found).resolve().parent] if found else []
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((p for p in places if (p / "initdb").exists() and (p / "pg_ctl").exists()), None)


@contextmanager
def server(*settings: str) -> Iterator[str]:
    """The URL of a server that lives as long as the block; `settings`: "name=value", beside the defaults."""
    bin = programs()
    assert bin is not None
    folder = Path(tempfile.mkdtemp(prefix="pg", dir="/tmp"))  # a socket's path must be short
    user = _user()
    who = {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []} if user else {}
    if user:
        shutil.chown(folder, user)

    def call(*command: str) -> None:
        done = subprocess.run(command, capture_output=True, text=True, cwd=folder, **who)
        log = folder / "log"
        assert done.returncode == 0, done.stderr + (log.read_text() if log.exists() else "")

    options = "".join(f" -c {s}" for s in settings) + f" -c listen_addresses= -c unix_socket_directories={folder}"
    data = str(folder / "data")
    try:
        call(str(bin / "initdb"), "-D", data, "-U", "tester", "-A", "trust", "-E", "UTF8", "--no-locale", "-N")
        # Its output goes to a file: a pipe would stay open as long as the server.
        call(str(bin / "pg_ctl"), "-D", data, "-w", "-l", str(folder / "log"), "-o", options, "start")
        try:
            yield f"postgresql://tester@/postgres?host={folder}"
        finally:
            call(str(bin / "pg_ctl"), "-D", data, "-w", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def restart(url: str) -> None:
    """The server of `server` falls, as in a power cut, and comes back."""
    import sqlalchemy as sa

    bin, user = programs(), _user()
    assert bin is not None
    folder = Path(str(sa.engine.make_url(url).query["host"]))
    command = [str(bin / "pg_ctl"), "-D", str(folder / "data"), "-w", "-m", "immediate", "-l", str(folder / "log")]
    who = {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []} if user else {}
    subprocess.run([*command, "restart"], check=True, stdout=subprocess.DEVNULL, cwd=folder, **who)


@contextmanager
def database(url: str) -> Iterator[str]:
    """The URL of a new database on that server, dropped after the block."""
    import psycopg
    import sqlalchemy as sa

    name = f"smidgen_{secrets.token_hex(6)}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    try:
        yield sa.engine.make_url(url).set(database=name).render_as_string(hide_password=False)
    finally:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def _user() -> str | None:
    """Who may run it: PostgreSQL refuses root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            pwd.getpwnam(name)
        except KeyError:
            continue
        return name
    raise RuntimeError("no user but root to run PostgreSQL as")


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """URL of a PostgreSQL server: the one that is named, or an own one; absent: skip with the reason."""
    if importlib.util.find_spec("psycopg") is None:
        pytest.skip("psycopg is not installed")
    if given := os.environ.get(GIVEN):
        yield given
    elif programs() is None:
        pytest.skip(f"PostgreSQL is not installed, and {GIVEN} names no server")
    else:
        with server("fsync=off", "max_connections=60") as url:  # what survives a power cut is not asked here
            yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request, tmp_path) -> Iterator[str]:
    """URL of a run store that is not there yet, in each kind of database."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'runs.db'}"
    else:
        with database(request.getfixturevalue("postgres")) as url:
            yield url
