"""What the run store waits for the disk for, what a coordinator takes itself, and what a worker keeps on its disk."""

import os
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from smidgen.budget.meter import Meter
from smidgen.data.views.rows import Rows
from smidgen.kit.errors import BadInput, SmidgenError
from smidgen.kit.files import digest
from smidgen.studies import offers, sharing, shipping
from smidgen.studies import trial as trial_module
from smidgen.studies import work as work_module
from smidgen.studies.ahead import Ahead
from smidgen.studies.inline import InlinePool
from smidgen.studies.job import STOPPED, Failure, Job, name_of, outcome
from smidgen.studies.owner import is_gone, new_owner, runs_here
from smidgen.studies.removal import can_undo, remove, undo
from smidgen.studies.runner import Runner
from smidgen.studies.sharing import Sharing
from smidgen.studies.store import RunStore
from smidgen.studies.trial import Result, Trial
from smidgen.studies.work import Worker, _bounded
from smidgen.tasks.read import read


@pytest.fixture
def store(tmp_path):
    with RunStore(tmp_path / "runs.db") as made:
        yield made


@pytest.fixture(scope="module")
def task():
    return read(
        pd.DataFrame({"x": np.sin(np.arange(20.0)), "target": np.arange(20) % 2}), "target", kind="classification"
    )


@pytest.fixture
def ran(monkeypatch):
    seen = []

    def run_trial(task, rows, trial):
        seen.append(trial.draw)
        return Result(np.full((len(task), 2), 0.5), 0.01, 0.01, 100, 10)

    monkeypatch.setattr(trial_module, "run_trial", run_trial)
    return seen


def trials_of(task, count):
    return [
        Trial(task=task.fingerprint, method="learn/lda", version=1, view="linear", draw=f"cv:k=3:r={i}", seed=0)
        for i in range(count)
    ]


def test_only_results_and_studies_wait_for_the_disk(store, task, monkeypatch):
    study = store.open_study("s", task.fingerprint, {}).id
    seen: list[bool] = []
    write = store._db.write

    def writing(*, durable: bool = True):
        seen.append(durable)
        return write(durable=durable)

    monkeypatch.setattr(store._db, "write", writing)

    def waits(act: Any) -> set[bool]:
        seen.clear()
        act()
        return set(seen)

    first, second = trials_of(task, 2)
    for act in (
        lambda: store.claim(first.key, first.to_json()), store.beat, lambda: store.beat_study(study), store.release,
        lambda: offers.announce(store, study, "d", None, "1"), lambda: offers.offer(store, [first, second]),
        lambda: offers.beat(store, [], None), lambda: offers.withdraw(store), lambda: offers.drop(store, first.key),
        lambda: offers.leave(store), lambda: offers.retire(store), lambda: offers.exchange(store, [], 1, program="1"),
    ):  # fmt: skip
        assert waits(act) == {False}
    offers.announce(store, study, "d", None, "1")
    offers.offer(store, [first, second])
    (taken,) = offers.take(store, 1, program="1")
    assert waits(lambda: offers.give_back(store, taken)) == {False}
    (taken,) = offers.take(store, 1, program="1")
    done = Result(np.zeros((2, 2)))
    assert waits(lambda: offers.exchange(store, [(taken.key, taken.fence, done)], 0, program="1")) == {True}
    fence = store.claim(second.key, second.to_json())
    for act in (
        lambda: store.finish(second.key, fence, done), lambda: store.open_study("s", "f", {}),
        lambda: store.use(study, [first.key]), lambda: store.finish_study(study, "done", {}, [first.key]),
        lambda: store.note_plan(study, {}), lambda: store.remove(study),
    ):  # fmt: skip
        assert waits(act) == {True}


def test_a_coordinator_takes_what_nobody_else_does(store, task, ran):
    study = store.open_study("s", task.fingerprint, {}).id
    trials, got, said = trials_of(task, 5), [], []
    with Sharing(store, study, always=True, tell=said.append) as shared:
        shared.load(task, Rows(task.frame))
        pool = InlinePool()
        pool.load(task, Rows(task.frame))
        runner = Runner(store, pool, Meter(lambda: 0.0), study, sharing=shared)
        assert runner.run(trials, lambda trial, result: got.append(trial))
        assert shared._mark and not shared.offering
    assert got == trials and sorted(ran) == sorted(t.draw for t in trials) and runner.cut == []
    assert said == [f"Waiting for workers: smidgen work --store {store.name}"]
    spent = runner.meter.spent()
    assert (spent["trials"], spent.get("reused", 0), spent["fits"]) == (5, 0, 15)
    with store._db.read() as c:
        left = [
            c.exec_driver_sql(f"SELECT count(*) FROM {t}").scalar() for t in ("offers", "coordinators", "task_data")
        ]
    assert left == [0, 0, 0]


def test_data_that_cannot_be_given_away_is_measured_here_alone(store, task, monkeypatch):
    def refuse(*_):
        raise BadInput("too large")

    monkeypatch.setattr(shipping, "pack_data", refuse)
    monkeypatch.setattr(offers, "present", lambda store, study: 1)
    said: list[str] = []
    now = [0.0]
    shared = Sharing(store, "s", tell=said.append, clock=lambda: now[0])
    assert not shared.wanted()  # nothing to give yet
    shared.load(task, Rows(task.frame))
    assert shared.wanted() and not shared.offer(trials_of(task, 1), None)
    assert said[-1] == "Measured on this machine alone: too large" and not shared.offering
    now[0] = 100.0
    assert not shared.wanted()  # never again
    only = Sharing(store, "s", always=True)
    only.load(task, Rows(task.frame))
    with pytest.raises(BadInput, match="too large"):
        only.offer(trials_of(task, 1), None)


def test_a_coordinator_says_now_and_then_that_it_is_there(store, task, monkeypatch):
    beats: list[Any] = []
    monkeypatch.setattr(offers, "announce", lambda *given: beats.append(given[2:4]))
    monkeypatch.setattr(shipping, "put", lambda *given: None)
    now = [100.0]
    shared = Sharing(store, "s", 7, clock=lambda: now[0])
    shared.load(task, Rows(task.frame))
    shared.beat()
    assert beats == []  # it offers nothing
    shared.offer([], None)
    mark = digest(shipping.pack_data(task, Rows(task.frame)))
    assert beats == [(mark, 7), (mark, 7)]
    for passed, count in ((10.0, 2), (10.5, 3), (20.0, 3), (20.6, 4)):
        now[0] = 100.0 + passed
        shared.beat()
        assert len(beats) == count
    shared.withdraw()
    now[0] = 200.0
    shared.beat()
    assert len(beats) == 4
    shared.offer([], None)
    assert len(beats) == 5  # the data is there already
    shared.load(task, Rows(task.frame))
    shared.offer([], None)
    assert len(beats) == 7


def test_what_others_could_not_do_is_an_outcome_and_a_result_goes_before_it(store, task):
    study = store.open_study("s", task.fingerprint, {}).id
    trials = trials_of(task, 3)
    shared = Sharing(store, study)
    offers.announce(store, study, "d", None, sharing.program())
    offers.offer(store, trials, 2.5)
    taken = offers.take(store, 2, program=sharing.program())
    assert [t.longest for t in taken] == [2.5, 2.5] and [t.key for t in taken] == [t.key for t in trials[:2]]
    offers.give_back(store, taken[0], ("deadline", "took longer"))
    store.finish(taken[1].key, taken[1].fence, Result(np.ones((2, 2))))
    found = shared.outcomes([t.key for t in trials])
    assert found[trials[0].key].error == "took longer" and found[trials[1].key].predictions is not None
    assert set(found) == {t.key for t in trials[:2]} and shared.outcomes([trials[2].key]) == {}
    assert offers.held(store, [t.key for t in trials]) == set()
    shared.drop(trials[2].key)  # it offers nothing by itself yet
    assert len(offers.take(store, 9, program=sharing.program())) == 1
    shared.offering = True
    shared.drop(trials[2].key)
    assert offers.held(store, [t.key for t in trials]) == set()


# -- a worker's disk and its data --


def test_the_cache_keeps_what_was_used_last(tmp_path):
    for i, size in enumerate((40, 30, 20, 10)):
        file = tmp_path / f"{i}.bin"
        file.write_bytes(b"x" * size)
        os.utime(file, (100 - i, 100 - i))  # the first is the latest
    (tmp_path / "other").write_bytes(b"x" * 500)
    _bounded(tmp_path, 90)
    assert sorted(f.name for f in tmp_path.iterdir()) == ["0.bin", "1.bin", "2.bin", "other"]
    _bounded(tmp_path, 1)
    assert sorted(f.name for f in tmp_path.glob("*.bin")) == ["0.bin"]  # the latest stays, however large


def test_data_comes_from_the_cache_while_it_is_what_it_says(store, tmp_path, monkeypatch):
    asked = []
    body = b"data"

    def fetch(store, mark):
        asked.append(mark)
        return body

    monkeypatch.setattr(shipping, "fetch", fetch)
    worker = Worker(store, 1, cache=tmp_path / "c" / "d")
    mark = digest(body)
    place = tmp_path / "c" / "d" / f"{mark}.bin"
    assert worker._body(mark) == body and asked == [mark] and place.read_bytes() == body
    os.utime(place, (1, 1))
    assert worker._body(mark) == body and len(asked) == 1 and place.stat().st_mtime > 1
    place.write_bytes(b"daza")
    assert worker._body(mark) == body and len(asked) == 2 and place.read_bytes() == body
    assert Worker(store, 1, cache=None)._body(mark) == body and len(asked) == 3


def test_a_worker_gives_each_study_the_smaller_of_both_bounds(store, monkeypatch):
    made = []

    class Pool(InlinePool):
        def __init__(self, count, memory):
            super().__init__(count, memory)
            made.append((count, memory))

    monkeypatch.setattr(shipping, "unpack_data", lambda body: (1, 2))
    monkeypatch.setattr(Worker, "_body", lambda self, mark: b"")
    worker = Worker(store, 3, memory=50, pool=Pool)

    def ready(memory, data="d"):
        return worker._ready(SimpleNamespace(memory=memory, data=data))

    assert ready(None) and ready(80) and ready(50) and made == [(3, 50)]
    assert ready(20) and made[-1] == (3, 20) and worker._data == "d" and worker._pool._data == (1, 2)
    free = Worker(store, 1, pool=Pool)
    assert free._ready(SimpleNamespace(memory=None, data="d")) and made[-1] == (1, None)


def test_what_a_worker_makes_of_an_outcome(store, monkeypatch):
    given, said = [], []
    monkeypatch.setattr(
        offers, "give_back", lambda store, taken, failure, *, too_small: given.append((failure, too_small))
    )
    worker = Worker(store, 1, tell=said.append)
    trial = Trial(task="t", method="learn/m", version=1, view="v", draw="cv:k=2:r=0", seed=0)
    taken: Any = SimpleNamespace(key="k", fence=1, memory=80, study="s", trial=trial.to_json())
    good = Result(np.ones(2))
    assert worker._end(taken, good) == [(taken, good)]
    ((_, failed),) = worker._end(taken, Failure("odd"))
    assert failed.error == "odd" and given == []
    worker._bound = 50
    assert worker._end(taken, STOPPED) == [] and given[-1] == (None, None)
    assert worker._end(taken, Failure("big", "memory")) == [] and given[-1] == (None, 50)
    worker._bound = 80
    assert worker._end(taken, Failure("big", "memory")) == [] and given[-1] == (("memory", "big"), None)
    assert worker._end(taken, Failure("late", "deadline")) == [] and given[-1] == (("deadline", "late"), None)
    assert said[-1]["text"] == "s: learn/m on v: late"
    worker._pool = SimpleNamespace(broken=False)  # type: ignore[assignment]
    assert worker._end(taken, Failure("gone", "died")) == [] and given[-1] == (("died", "gone"), None)
    worker._pool = SimpleNamespace(broken=True)  # type: ignore[assignment]
    with pytest.raises(SmidgenError, match="can run no trial: gone"):
        worker._end(taken, Failure("gone", "died"))


def test_naps_grow_and_idleness_ends_the_worker(store, monkeypatch):
    naps: list[float] = []
    now = [0.0]

    def sleep(seconds):
        naps.append(seconds)
        now[0] += seconds

    monkeypatch.setattr(work_module.time, "sleep", sleep)
    worker = Worker(store, 1, idle=5.0, clock=lambda: now[0], cache=None, pool=InlinePool)
    assert worker.run() == 0
    assert naps[:6] == [0.05, 0.1, 0.2, 0.4, 0.8, 1.0] and set(naps[6:]) == {1.0} and 5.0 < sum(naps) < 6.1
    with store._db.read() as c:
        assert c.exec_driver_sql("SELECT count(*) FROM workers").scalar() == 0


def test_columns_behind_one_that_is_not_used_are_sent_too():
    frame = pd.DataFrame({"same": ["a"] * 20, "x": np.sin(np.arange(20.0)), "target": np.arange(20) % 2})
    task = read(frame, "target", kind="classification")
    assert [c.used for c in task.columns] == [False, True]
    made, rows = shipping.unpack_data(shipping.pack_data(task, Rows(task.frame)))
    assert list(rows.frame) == ["x"] and rows.frame["x"].tolist() == frame["x"].tolist() and len(made) == 20


# -- small parts --


def test_short_trials_are_held_ready_and_long_ones_are_not():
    ahead = Ahead(4)
    assert ahead.count == 0
    ahead.note(0.5)
    assert ahead.count == 0
    ahead.note(0.0)
    assert ahead._mean == pytest.approx(0.4) and ahead.count == 5
    for seconds, count in ((0.25, 8), (0.03, 64), (0.1, 20), (0.0, 64), (0.49, 5)):
        other = Ahead(4)
        other.note(seconds)
        assert other.count == count


def test_jobs_are_named_and_their_answers_read():
    assert name_of("a:b") == "a:b" and name_of(os.path.join) == "posixpath:join"
    with pytest.raises(ValueError, match="importable module"):
        name_of(lambda: 1)
    job = Job("f:g", (1,))
    assert (job.seconds, job.cpu_seconds, job.peak_bytes, job.deadline_seconds) == (0, 0, 0, None)
    assert outcome(job, ("done", 0, "v", 1.0, 2.0, 3)) == (job, "v")
    assert (job.seconds, job.cpu_seconds, job.peak_bytes) == (1.0, 2.0, 3)
    assert outcome(job, ("error", 0, "MemoryError", ""))[1] == Failure("out of memory: an allocation failed", "memory")
    assert outcome(job, ("error", 0, "MemoryError", "array"))[1].reason == "out of memory: array"
    assert outcome(job, ("error", 0, "KeyError", "x"))[1] == Failure("KeyError: x", "error")


def test_the_inline_pool_ends_what_is_left():
    assert (InlinePool(4, 9).workers, InlinePool(4, 9).memory, InlinePool().ready, InlinePool().broken) == (
        1,
        9,
        1,
        False,
    )
    with InlinePool() as pool:
        pool.load(1)
        jobs = [pool.submit("operator:add", (i,)) for i in range(3)]
        pool.kill(jobs[1])
        assert pool.outstanding == 2 and pool.wait() == [(jobs[1], STOPPED)]
        assert pool.wait() == [(jobs[0], 1)] and pool.wait(0) == [(jobs[2], 3)] and pool.wait() == []
        pool.kill(jobs[2])
        late = pool.submit("operator:add", (5,))
    assert pool.wait() == [(late, STOPPED)] and pool.outstanding == 0
    with pytest.raises(SmidgenError, match="closed"):
        pool.submit("operator:add")


def test_owners_name_a_process_of_this_machine():
    mine = new_owner()
    machine, pid, start, _ = mine.split(":")
    assert pid == str(os.getpid()) and runs_here(mine) is True and not is_gone(mine) and new_owner() != mine
    assert runs_here(f"{machine}:{pid}:{int(start) + 1}:x") is False  # the number went to another
    assert runs_here(f"other:{pid}:{start}:x") is None and runs_here(f"{machine}:0:{start}:x") is None
    assert runs_here("a:b") is None and runs_here(f"{machine}:x:{start}:x") is None
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
    assert is_gone(f"{machine}:{child}:{start}:x")


def test_a_removed_study_comes_back_whole(store, task, monkeypatch):
    made = store.open_study("s", task.fingerprint, {"seed": 1})
    trials = trials_of(task, 3)
    for t in trials:
        store.finish(t.key, store.claim(t.key, t.to_json(), study=made.id), Result(np.arange(4.0).reshape(2, 2)))
    store.finish_study(made.id, "done", {"a": 1}, [t.key for t in trials])
    before, rows = store.study(made.id), store.trials(made.id)
    gone = remove(store, made.id)
    assert gone.gone == 3 and store.studies() == []
    undo(store, gone)
    assert store.study(made.id) == before and store.trials(made.id) == rows
    assert store.get([trials[0].key])[trials[0].key].predictions.tolist() == [[0, 1], [2, 3]]
    with store._db.read() as c:
        size = c.exec_driver_sql("SELECT sum(length(predictions)) FROM trials").scalar()
    for most, can in ((size, True), (size - 1, False)):
        monkeypatch.setattr("smidgen.studies.removal.MAX_BYTES", most)
        assert can_undo(store, made.id) == can
    large = remove(store, made.id)
    assert large.parts is None and large.gone == 3
    with pytest.raises(BadInput, match="too large"):
        undo(store, large)
    store.open_study("s", task.fingerprint, {"seed": 1})
    with pytest.raises(BadInput, match="made anew"):
        undo(store, gone)
