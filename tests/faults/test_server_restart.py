"""PostgreSQL is restarted, and killed, while workers measure: they wait for it and go on, and nothing is lost.

A worker that hangs, one that eats memory and one that dies by a signal are tested where the pool is (tests/studies/
test_pool.py: deadline in Python and in compiled code, SIGKILL, SIGSEGV, memory; test_work.py: what becomes of the
trial)."""

import os
import pwd
import subprocess
import time
from pathlib import Path

import pytest
import sqlalchemy as sa
from deeds import predictions, wanted
from postgres import _user, database, programs, server
from test_worker_kills import shared, words

from smidgen.studies.database import again
from smidgen.studies.store import RunStore

PATIENCE = 60.0  # only a test that fails waits so long


def runs(pid):
    """Whether that fork has not ended yet; its server takes its status at once."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def restart(url, mode):
    """Of a server that `server` made."""
    folder = Path(sa.engine.make_url(url).query["host"])
    user = _user()
    who = {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []} if user else {}
    options = f"-c fsync=off -c listen_addresses= -c unix_socket_directories={folder}"
    command = [programs() / "pg_ctl", "-D", folder / "data", "-w", "-l", folder / "log", "-m", mode]
    subprocess.run([*command, "-o", options, "restart"], check=True, capture_output=True, cwd=folder, **who)


def test_the_server_restarts_in_the_middle(forks, tmp_path, rounds):
    pytest.importorskip("psycopg")
    if programs() is None:
        pytest.skip("PostgreSQL is not installed")
    log, count, restarts = tmp_path / "log", 60, 0
    with server("fsync=off") as own, database(own) as place, RunStore(place) as store:
        study, trials = store.open_study("restart", "f", {}).id, wanted(count)
        sharing = shared(store, study)
        sharing.offer(trials, None)
        running = [forks.start("deeds:work", log, store=place, idle=3.0, pause=0.05) for _ in range(2)]
        for mode in rounds(2, 6, 1.0):
            until = time.monotonic() + PATIENCE
            while len([w for w, _ in words(log)[0] if w == "done"]) < (restarts + 1) * count // 8:
                assert time.monotonic() < until and any(map(runs, running)), log.read_text()[-3000:]
                time.sleep(0.02)
            restart(own, "immediate" if mode % 2 else "fast")
            restarts += 1
            again(sharing.beat)
        assert [forks.wait(pid) for pid in running] == [0, 0], log.read_text()[-3000:]
        found, _ = words(log)
        assert {word for word, _ in found} <= {"ran", "done", "late"}, log.read_text()[-3000:]
        done = [key for word, key in found if word == "done"]
        results = again(lambda: store.get([t.key for t in trials]))
        assert set(results) == {t.key for t in trials} and set(done) <= set(results)
        assert len(done) == len(set(done)), "acknowledged to two"
        assert all((r.predictions == predictions(key)).all() for key, r in results.items())
        sharing.close()
    late = sum(word == "late" for word, _ in found)
    rounds.note(f"{restarts} restarts, {count} of {count} trials, {late} whose acknowledgement was lost")
