"""`kill -9` of a worker at random moments: what the store acknowledged is there, once, and the work ends."""

import random
import sqlite3
import time

import numpy as np
import pandas as pd
from deeds import predictions, wanted

from smidgen.data.views.rows import Rows
from smidgen.studies.sharing import Sharing
from smidgen.studies.store import RunStore
from smidgen.tasks.read import read

BATCH = 40


def shared(store, study):
    """Offers trials of a small task to any worker."""
    frame = pd.DataFrame({"x": np.random.default_rng(0).normal(size=12), "target": ["a", "b"] * 6})
    sharing = Sharing(store, study, always=True)
    sharing.load(read(frame, "target"), Rows(frame))
    return sharing


def words(log, begin=0):
    """(word, key) of each whole line that the workers wrote from that byte on, and the byte where they end."""
    text = log.read_bytes()[begin:] if log.exists() else b""
    whole = text[: text.rfind(b"\n") + 1]
    return [line.split(" ", 1) for line in whole.decode().splitlines()], begin + len(whole)


def whole(place):
    """Whether SQLite finds its file whole; PostgreSQL is taken at its word."""
    if place.startswith("sqlite"):
        with sqlite3.connect(place.removeprefix("sqlite:///")) as raw:
            assert raw.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        raw.close()


def test_no_kill_of_a_worker_loses_or_doubles_a_trial(place, forks, tmp_path, rounds):
    log, rng = tmp_path / "log", random.Random(1)
    kills, offered, acknowledged, ran, at = 0, [], [], 0, 0
    with RunStore(place) as store:
        study = store.open_study("kill", "f", {}).id
        sharing = shared(store, study)

        def fill():
            left = [t for t in offered if t.key not in known]
            if len(left) < BATCH:
                left += wanted(BATCH, begin=len(offered))
                offered.extend(left[-BATCH:])
                sharing.offer(left, None)
            sharing.beat()

        def look():
            nonlocal at, ran
            found, at = words(log, at)
            assert not [line for line in found if line[0] not in ("ran", "done")], found
            ran += sum(word == "ran" for word, _ in found)
            new = [key for word, key in found if word == "done"]
            acknowledged.extend(new)
            known.update(new)
            results = store.get(new)
            assert set(results) == set(new), "an acknowledged trial is lost"
            for key, result in results.items():
                assert (result.predictions == predictions(key)).all()

        known: set[str] = set()
        for _ in rounds(20, 2000, 0.3):
            fill()
            pid = forks.start("deeds:work", log, store=place, idle=60.0)
            size, lines = log.stat().st_size if log.exists() else 0, rng.randrange(9)
            end = time.monotonic() + 10.0
            while lines and time.monotonic() < end and words(log, size)[0][lines - 1 :] == []:
                time.sleep(0.002)
            time.sleep(rng.uniform(0.0, 0.02))  # within what follows a line: a claim, a trial, its record
            assert forks.kill(pid) == -9
            kills += 1
            look()
            if kills % 50 == 0:
                whole(place)
        fill()
        assert forks.run("deeds:work", log, store=place, idle=1.0) == 0
        look()
        whole(place)
        results = store.get([t.key for t in offered])
        assert set(results) == {t.key for t in offered}, "the work came to its end"
        assert all((r.predictions == predictions(key)).all() for key, r in results.items())
        assert len(acknowledged) == len(set(acknowledged)), "one trial was acknowledged to two"
        assert len(store.trials(study)) == len(offered)
        assert ran - len(offered) <= kills, "at most one trial is run again for each kill"
        unsaid = len(offered) - len(acknowledged)
        sharing.close()
    assert len(acknowledged) > kills and unsaid <= kills
    again = ran - len(offered)
    rounds.note(f"{kills} kills, {len(acknowledged)} trials acknowledged, 0 lost, 0 doubled, {again} run again")
