"""A disk that is full or cannot be written, a store that another holds, a clock that jumps: one sentence, nothing is
damaged, and the work goes on where that is over."""

import contextlib
import sqlite3
import subprocess
import threading
import time

import numpy as np
import pytest
from deeds import FIT, predictions, wanted, write_rows

from smidgen.kit.errors import SmidgenError
from smidgen.learn.model import read_parts
from smidgen.studies import database, offers
from smidgen.studies.database import Database
from smidgen.studies.owner import LEASE_SECONDS
from smidgen.studies.result import Result
from smidgen.studies.store import RunStore


@contextlib.contextmanager
def small_disk(folder, size):
    """The folder, on a disk of its own of so many bytes."""
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "smidgen", folder], capture_output=True)
    if made.returncode:
        pytest.skip("a small disk in memory cannot be mounted here (needs root)")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def fill(disk, leave):
    """A file that takes all of the disk but so many bytes."""
    import os

    free = os.statvfs(disk)
    (disk / "full").write_bytes(bytes(max(free.f_bavail * free.f_frsize - leave, 0)))


def said(log):
    return [line for line in log.read_text().splitlines() if line.startswith("smidgen:") or "Traceback" in line]


def test_a_full_disk_ends_a_command_and_its_end_lets_it_go_on(big_forks, tmp_path, rounds):
    with small_disk(tmp_path / "disk", 4 << 20) as disk:
        write_rows(disk / "rows.csv")
        told = 0
        for i, leave in enumerate([0, 40_000, 80_000, 130_000, 200_000, 300_000][:: 1 if rounds.long else 2]):
            fill(disk, leave)
            log = tmp_path / f"{i}.log"
            status = big_forks.run("deeds:command", log, words=FIT, folder=str(disk))
            (disk / "full").unlink()
            lines = said(log)
            assert (status, len(lines)) in [(0, 0), (1, 1), (2, 1)] and "Traceback" not in str(lines), log.read_text()
            told += status > 0
            assert not [p for p in disk.iterdir() if p.name.startswith(".model")], "nothing half made"
            assert status or read_parts(disk / "model")
        assert told
        status = big_forks.run("deeds:command", tmp_path / "log", words=FIT, folder=str(disk))
        assert status == 0 and read_parts(disk / "model"), (tmp_path / "log").read_text()
        with sqlite3.connect(disk / ".smidgen" / "runs.db") as raw:
            assert raw.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        raw.close()
        rounds.note(f"{told} commands ended by a full disk")


def test_a_disk_that_can_only_be_read(big_forks, tmp_path):
    with small_disk(tmp_path / "disk", 8 << 20) as disk:
        write_rows(disk / "rows.csv")
        first = tmp_path / "first.log"
        assert big_forks.run("deeds:command", first, words=FIT, folder=str(disk)) == 0, first.read_text()
        before = {p: p.read_bytes() for p in disk.rglob("*") if p.is_file()}
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        for words in (FIT, [*FIT[:-3], "--out", str(tmp_path / "m"), "--json"], ["studies", "rm", "x"]):
            log = tmp_path / f"{words[0]}{len(words[-2])}.log"
            status = big_forks.run("deeds:command", log, words=words, folder=str(disk))
            assert status in (1, 2) and len(said(log)) == 1 and "Traceback" not in log.read_text(), log.read_text()
        assert {p: p.read_bytes() for p in disk.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize("patience", ["too little", "enough"])
def test_a_store_that_another_process_holds(tmp_path, monkeypatch, rounds, patience):
    """For 30 s in `make faults`; on a push for a twentieth of it, and patience is as much shorter."""
    held = 30.0 if rounds.long else 1.5
    seconds = held / 3 if patience == "too little" else database.BUSY_SECONDS
    monkeypatch.setattr(database, "BUSY_SECONDS", seconds)
    path = tmp_path / "runs.db"
    with RunStore(path) as store:
        fence = store.claim("k", "{}")
        other = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        timer = threading.Timer(held, other.rollback)
        timer.start()
        began, result = time.monotonic(), Result(np.zeros((2, 2)), 1.0)
        if patience == "too little":
            with pytest.raises(SmidgenError, match="was held by another process for .* s: try again"):
                store.finish("k", fence, result)
            timer.join()
        else:
            assert store.finish("k", fence, result) and time.monotonic() - began >= held - 0.2
        timer.join()
        other.close()
        assert store.finish("k", fence, result) == (patience == "too little")
        assert set(store.get(["k"])) == {"k"}


@pytest.mark.parametrize("jump", [-86400.0, -1.0, LEASE_SECONDS * 0.5, 86400.0 * 365])
def test_a_clock_that_jumps_loses_and_doubles_nothing(place, monkeypatch, jump):
    """Forward leases end too early: who is refused was replaced. Backward they end late, but a worker that gives back,
    or is known to be gone, frees its trials at once."""
    clock = [1.9e9]
    monkeypatch.setattr(Database, "now", lambda self, connection: clock[0])
    with RunStore(place) as boss, RunStore(place) as one, RunStore(place) as two:
        offers.announce(boss, "s", "d", None, "1")
        trials = wanted(4)
        offers.offer(boss, trials)
        held = offers.take(one, 2, program="1")
        clock[0] += jump
        offers.announce(boss, "s", "d", None, "1")
        second = offers.take(two, 9, program="1")
        rows = [(two, t) for t in second] + [(one, t) for t in held]
        taken = [store.finish(t.key, t.fence, Result(predictions(t.key), 1.0)) for store, t in rows]
        assert sum(taken) == 4 and len(boss.get([t.key for t in trials])) == 4
        assert len(second) == (4 if jump > LEASE_SECONDS else 2)
