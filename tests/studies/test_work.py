"""Workers of other processes: the same results as without them, whatever becomes of one."""

import itertools
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pandas as pd
import postgres
import pytest

import smidgen
from smidgen.budget.meter import Meter
from smidgen.data.views.rows import Rows
from smidgen.kit.errors import SmidgenError
from smidgen.studies import offers
from smidgen.studies import trial as trial_module
from smidgen.studies.job import Failure
from smidgen.studies.pool import InlinePool
from smidgen.studies.runner import Runner
from smidgen.studies.sharing import Sharing, program
from smidgen.studies.store import RunStore
from smidgen.studies.trial import Result, Trial
from smidgen.studies.work import Worker
from smidgen.tasks.read import read

METHODS = "logistic,lda,naive_bayes"


@pytest.fixture
def task():
    rng = np.random.default_rng(0)
    return read(pd.DataFrame({"x": rng.normal(size=40), "target": rng.permutation(["a", "b"] * 20)}), "target")


def wanted(task, count, method="learn/logistic", version=None):
    from smidgen.kit import methods

    version = methods.card("learn/logistic").version if version is None else version
    made = {"task": task.fingerprint, "method": method, "version": version, "view": "linear", "seed": 0}
    return [Trial(draw=f"cv:k=3:r={i}", **made) for i in range(count)]


@pytest.fixture
def ran(monkeypatch):
    """The trials that were really run, in place of their work."""
    seen = []

    def run_trial(task, rows, trial):
        seen.append(trial.draw)
        return Result(np.full((len(task), 2), float(trial.draw[-1])), 0.01, 0.01, 100, 10)

    monkeypatch.setattr(trial_module, "run_trial", run_trial)
    return seen


class Failing(InlinePool):
    """Ends the first job as it is told to."""

    failure = None

    def wait(self, timeout=None):
        out = super().wait(timeout)
        if out and self.failure:
            out, Failing.failure = [(out[0][0], self.failure)], None
        return out


def study_of(store, task):
    return store.open_study("s", task.fingerprint, {}).id


def coordinate(place, task, trials, said=None, **options):
    """Runs the trials as a coordinator that measures nothing itself; the outcomes in their order."""
    got = []
    with RunStore(place) as store:
        study = study_of(store, task)
        with Sharing(store, study, always=True, tell=(said or []).append) as sharing:
            sharing.load(task, Rows(task.frame))
            runner = Runner(store, InlinePool(), Meter(lambda: 0.0), study, sharing=sharing, own=0, **options)
            whole = runner.run(trials, lambda trial, result: got.append((trial, result)))
        with store._db.read() as c:
            left = [c.exec_driver_sql(f"SELECT count(*) FROM {t}").scalar() for t in ("offers", "coordinators")]
            left.append(c.exec_driver_sql("SELECT count(*) FROM task_data").scalar())
    assert left == [0, 0, 0], "nothing is left in the store: no offer, no data"
    return whole, got, runner


def work(place, tmp_path, events=None, idle=300.0, **options):
    """A worker in a thread of its own; gives it and a function that ends it: by its clock, which then leaps."""
    store, over, leaps = RunStore(place), threading.Event(), itertools.count()
    told = [] if events is None else events
    options = {"pool": InlinePool, "cache": tmp_path / "cache", "tell": told.append, **options}
    clock = lambda: time.monotonic() + (2 * idle * next(leaps) if over.is_set() else 0)  # noqa: E731
    worker = Worker(store, 1, idle=idle, clock=clock, **options)

    def run():
        with store:
            worker.run()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()

    def end(leap=True):
        if leap:
            over.set()
        thread.join()

    return worker, end


def test_what_others_measure_comes_back_in_the_order_asked(place, task, ran, tmp_path):
    trials = wanted(task, 6)
    worker, end = work(place, tmp_path)
    whole, got, runner = coordinate(place, task, trials)
    end()
    assert whole and [t for t, _ in got] == trials and ran == [t.draw for t in trials] and worker.done == 6
    assert [r.predictions[0, 0] for _, r in got] == [0, 1, 2, 3, 4, 5]
    spent = runner.meter.spent()
    assert (spent["trials"], spent["reused"], spent["fits"]) == (6, 0, 18)
    assert len(list((tmp_path / "cache").glob("*.bin"))) == 1
    with RunStore(place) as store:
        assert offers.present(store, study_of(store, task)) == 0


def test_the_count_and_the_time_bind_all_workers(place, task, ran, tmp_path):
    _, end = work(place, tmp_path)
    whole, got, runner = coordinate(place, task, wanted(task, 6), trials_left=4)
    assert not whole and len(got) == 4 and runner.trials_left == 0 and len(ran) == 4
    clock = iter(np.arange(0.0, 1e6, 5.0))
    whole, got, _ = coordinate(place, task, wanted(task, 9)[6:], clock=lambda: float(next(clock)), stop_at=3.0)
    end()
    assert not whole and got == []


@pytest.mark.parametrize("kind", ["deadline", "memory", "died"])
def test_what_a_machine_forbids_is_not_held_against_the_trial(tmp_path, task, ran, monkeypatch, kind):
    place = f"sqlite:///{tmp_path}/runs.db"
    monkeypatch.setattr(Failing, "failure", Failure("why", kind))
    _, end = work(place, tmp_path, pool=Failing)
    _, got, _ = coordinate(place, task, wanted(task, 2))
    end()
    assert [r.error for _, r in got] == ["why", None]
    with RunStore(place) as store:
        assert len(store.get([t.key for t, _ in got])) == 1


def test_another_version_is_left_alone_and_said(tmp_path, task, ran, monkeypatch):
    place, events = f"sqlite:///{tmp_path}/runs.db", []
    with RunStore(place) as store:
        study = study_of(store, task)
        offers.announce(store, study, "d", None, program())
        offers.offer(store, [*wanted(task, 1, version=99), *wanted(task, 1, "learn/not_there")])
        _, end = work(place, tmp_path, events, idle=0.5)
        end(leap=False)  # it looks first, is idle then
        offers.announce(store, study, "d", None, "9.9")
        _, end = work(place, tmp_path, events, idle=0.5)
        end(leap=False)  # it looks first, is idle then
    said = [e["text"] for e in events if e["kind"] == "note"]
    assert ran == [] and len(said) == 3
    assert "version 99" in said[0] and "no such method" in said[1] and "smidgen 9.9" in said[2]


def test_a_machine_that_can_run_nothing_ends_and_sinks_no_study(tmp_path, task, ran, monkeypatch):
    place = f"sqlite:///{tmp_path}/runs.db"

    class Broken(Failing):
        broken = True

    monkeypatch.setattr(Failing, "failure", Failure("no worker could start: no module", "died"))
    with RunStore(place) as store, RunStore(place) as other:
        sharing = Sharing(store, study_of(store, task), always=True)
        sharing.load(task, Rows(task.frame))
        sharing.offer(wanted(task, 1), None)
        with pytest.raises(SmidgenError, match="can run no trial"):
            Worker(other, 1, cache=None, pool=Broken).run()
        assert len(sharing.take(1)) == 1 and offers.failures(store) == {}


def test_alone_a_study_writes_nothing_for_others(tmp_path, task, ran):
    with RunStore(tmp_path / "runs.db") as store:
        study = study_of(store, task)
        with Sharing(store, study) as sharing:
            sharing.load(task, Rows(task.frame))
            pool = InlinePool()
            pool.load(task, Rows(task.frame))
            runner = Runner(store, pool, Meter(lambda: 0.0), study, sharing=sharing)
            assert runner.run(wanted(task, 2), lambda trial, result: None)
            assert not sharing.offering and not sharing._mark


@pytest.fixture
def crowd(place, tmp_path):
    """`crowd()` starts a `smidgen work` process on the store."""
    made = []
    path = os.pathsep.join(p for p in sys.path if p)

    def start(*options):
        command = [sys.executable, "-m", "smidgen", "work", "--store", place, "--workers", "1", *options]
        environment = dict(os.environ) | {"PYTHONPATH": path}
        with (tmp_path / f"{len(made)}.log").open("w") as log:
            made.append(subprocess.Popen(command, stderr=log, cwd=tmp_path, env=environment))
        return made[-1]

    yield start
    for process in made:
        process.kill()
        process.wait()


def board(fitted):
    hidden = ("seconds", "peak_bytes")
    rows = [{k: v for k, v in row.items() if k not in hidden} for row in fitted.summary["leaderboard"]]
    return rows, fitted.summary["estimate"], fitted.summary["interval"]


def test_one_killed_one_that_stays_and_the_same_leaderboard(place, tmp_path, table, crowd):
    frame, options = table("tab_adult", 80), {"methods": METHODS, "trials": 9, "seed": 3}
    alone = smidgen.fit(frame, "target", store=f"sqlite:///{tmp_path}/alone.db", workers=1, **options)
    first, second = crowd(), []

    def progress(event):
        if event["kind"] == "trial" and not second:
            first.kill()
            second.append(crowd("--idle", "300s"))

    shared = smidgen.fit(frame, "target", store=place, workers=0, progress=progress, **options)
    assert second and board(shared) == board(alone)
    second[0].send_signal(signal.SIGTERM)
    assert second[0].wait() == 143
    said = (tmp_path / "1.log").read_text()
    assert "measured, the unfinished given back" in said and "learn/" in said


def _measure_forever(place):
    with RunStore(place) as store:
        Worker(store, 1, cache=None, pool=InlinePool).run()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="its workers begin as copies of this process")
def test_four_workers_give_what_none_gives(place, tmp_path, table):
    frame, options = table("tab_adult", 80), {"methods": METHODS, "trials": 9, "seed": 3}
    own = multiprocessing.get_context("fork")
    workers = [own.Process(target=_measure_forever, args=(place,), daemon=True) for _ in range(4)]
    for worker in workers:
        worker.start()
    try:
        shared = smidgen.fit(frame, "target", store=place, workers=0, **options)
        assert all(worker.is_alive() for worker in workers)
    finally:
        for worker in workers:
            worker.kill()
            worker.join()
    alone = smidgen.fit(frame, "target", store=f"sqlite:///{tmp_path}/alone.db", workers=1, **options)
    assert board(shared) == board(alone)


def test_postgresql_falls_and_comes_back_in_the_middle(task, ran, tmp_path):
    """Of its own server. Both sides go on, and each trial has one result."""
    pytest.importorskip("psycopg", reason="the driver of PostgreSQL is not installed")
    if postgres.programs() is None:
        pytest.skip("PostgreSQL is not installed")
    trials, fallen = wanted(task, 12), []

    def tell(event):
        if event["kind"] == "trial" and not fallen:
            fallen.append(event["text"])
            postgres.restart(url)

    with postgres.server() as url:
        _, end = work(url, tmp_path, tell=tell)
        whole, got, _ = coordinate(url, task, trials)
        end()
        with RunStore(url) as store:
            assert len(store.get([t.key for t in trials])) == 12
    assert fallen and whole and [r.predictions[0, 0] for _, r in got] == [float(t.draw[-1]) for t in trials]
