"""A worker's loop, one step at a time: what it asks of the store, what it takes, says, ends and gives back."""

import os
from typing import Any

import pytest

from smidgen.kit.errors import BadInput, SmidgenError
from smidgen.studies import offers, shipping
from smidgen.studies import work as module
from smidgen.studies.job import STOPPED, Job
from smidgen.studies.result import Result
from smidgen.studies.sharing import program
from smidgen.studies.trial import Trial
from smidgen.studies.work import Worker, _bounded


def trial(method="learn/logistic", view="linear"):
    return Trial(task="t", method=method, version=1, view=view, draw="cv:k=2:r=0", seed=0)


def taken(key, data="d", method=None, memory=None, study="s"):
    from smidgen.kit import methods

    own = f"learn/logistic@{methods.card('learn/logistic').version}" if method is None else method
    return offers.Taken(
        key=key, trial=trial().to_json(), method=own, fence=3, coordinator="c", study=study, data=data, memory=memory,
        longest=7.0,
    )  # fmt: skip


class Jobs:
    """In place of a pool: jobs end when the test says so."""

    broken = False

    def __init__(self, count, memory):
        self.made, self.loaded, self.waits, self.killed, self.ended = (count, memory), [], [], [], []
        self.jobs: list[Any] = []
        self.closed = 0

    def load(self, *data):
        self.loaded.append(data)

    def submit(self, function, args, longest):
        self.jobs.append(Job(function, args, longest, seconds=0.9))
        return self.jobs[-1]

    def wait(self, patience):
        self.waits.append(patience)
        out, self.ended = self.ended, []
        return out

    def kill(self, job):
        self.killed.append(job)

    def close(self):
        self.closed += 1


class Store:
    """The store's side: what is offered, and what was asked."""

    owner = "me"

    def __init__(self):
        self.open, self.wanted, self.asked, self.beats, self.back, self.strangers = [], set(), [], [], [], []
        self.finished, self.left = [], 0

    def finish_all(self, ended):
        self.finished += ended


@pytest.fixture
def store(monkeypatch):
    made = Store()

    def exchange(store, ended, free, **choice):
        made.asked.append((ended, free, choice))
        out = made.open[: max(free, 0)]
        del made.open[: max(free, 0)]
        return [], out

    def beat(store, running, study):
        made.beats.append(([t.key for t in running], study))
        return made.wanted

    def leave(store):
        made.left += 1

    monkeypatch.setattr(offers, "exchange", exchange)
    monkeypatch.setattr(offers, "beat", beat)
    monkeypatch.setattr(offers, "leave", leave)
    monkeypatch.setattr(offers, "give_back", lambda store, t, *why, **more: made.back.append((t.key, *why, more)))
    monkeypatch.setattr(offers, "strangers", lambda store, own: [s for s in made.strangers if own == program()])
    monkeypatch.setattr(shipping, "fetch", lambda store, mark: mark.encode())
    monkeypatch.setattr(shipping, "unpack_data", lambda body: ("task", body.decode()))
    return made


def worker_of(store, count=2, **more):
    now, said = [100.0], []
    worker = Worker(store, count, cache=None, pool=Jobs, clock=lambda: now[0], tell=said.append, **more)  # type: ignore[arg-type]
    return worker, now, said


def test_a_beat_a_second_ends_what_nobody_wants(store):
    worker, now, _ = worker_of(store, study="s")
    store.open = [taken("a"), taken("b")]
    worker._take()
    store.wanted = {"b"}
    worker._beat()
    assert store.beats == [(["a", "b"], "s")] and worker._pool.killed == [worker._pool.jobs[0]]
    for passed, count in ((0.99, 1), (1.0, 2), (1.5, 2), (2.0, 3)):
        now[0] = 100.0 + passed
        worker._beat()
        assert len(store.beats) == count


def test_it_takes_as_many_as_there_is_room_for(store):
    worker, now, said = worker_of(store, memory=50)
    store.open = [taken("a", memory=40), taken("b", memory=40)]
    worker._take()
    ask = {"program": program(), "study": None, "data": "", "only": False, "memory": 50, "refused": set()}
    assert store.asked == [([], 2, ask | {"thorough": True})]
    assert [t.key for t in worker._running.values()] == ["a", "b"]
    pool = worker._pool
    assert pool.made == (2, 40) and pool.loaded == [("task", "d")]
    assert [(j.function, j.args, j.deadline_seconds) for j in pool.jobs] == [
        ("smidgen.studies.trial:run_trial", (trial(),), 7.0)
    ] * 2
    worker._take()
    assert len(store.asked) == 1  # there is no room, and nothing to record
    worker._ended = [(taken("x"), Result(error="why")), (taken("y"), Result(seconds=1.234))]
    now[0] += 5.0
    worker._take()
    ended, free, choice = store.asked[1]
    assert [(key, fence) for key, fence, _ in ended] == [("x", 3), ("y", 3)] and free == 0
    assert (choice["data"], choice["only"], choice["thorough"]) == ("d", True, False)
    assert worker.done == 2 and worker._ended == []
    assert said == [
        {"kind": "trial", "text": f"s: learn/logistic on linear: {how}", "done": 2, "total": None, "seconds_left": None}
        for how in ("failed", "1.23 s")
    ]
    worker._ahead.note(0.1)  # short ones are held ready
    now[0] += 0.001
    worker._take()
    assert store.asked[2][1] == worker._ahead.count > 0 and store.asked[2][2]["thorough"]


def test_of_several_studies_the_first_one_s_are_done_first(store):
    worker, _, said = worker_of(store, 5)
    store.open = [taken("a"), taken("b", "other"), taken("c"), taken("d", method="learn/logistic@99"), taken("e")]
    worker._take()
    assert [t.key for t in worker._running.values()] == ["a", "c", "e"]
    assert store.back == [("b", {}), ("d", {})] and worker._refused == {"learn/logistic@99"}
    own = taken("a").method.partition("@")[2]
    assert [e["text"] for e in said] == [
        f"The study s tries learn/logistic in version 99, and this worker has version {own}: its trials are left "
        "alone; install the same smidgen and the same packages on both sides."
    ]
    assert said[0] == {"kind": "note", "text": said[0]["text"], "done": 0, "total": None, "seconds_left": None}
    store.open = [taken("f", method="learn/none@1", study="z")]
    worker._take()
    assert said[-1]["text"].startswith("The study z tries learn/none in version 1, and this worker has no such method:")
    worker._known(taken("g", method="learn/logistic@99"))
    assert len(said) == 2  # each is said once


def test_one_that_allows_other_memory_waits_until_nothing_runs(store):
    worker, _, _ = worker_of(store, 4, memory=50)
    store.open = [taken("a"), taken("b", memory=40), taken("c", memory=80)]
    worker._take()
    assert [t.key for t in worker._running.values()] == ["a", "c"] and store.back == [("b", {})]
    pool = worker._pool
    assert pool.made == (4, 50) and pool.closed == 0
    pool.ended = [(job, STOPPED) for job in pool.jobs]
    worker._collect(0.0)
    store.open = [taken("b", memory=40)]
    worker._take()
    assert worker._pool.made == (4, 40) and pool.closed == 1 and len(worker._running) == 1


def test_data_that_is_gone_is_said_and_its_trial_given_back(store, monkeypatch):
    worker, _, said = worker_of(store)

    def gone(store, mark):
        raise BadInput("The data d is not whole.")

    monkeypatch.setattr(shipping, "fetch", gone)
    store.open = [taken("a")]
    worker._take()
    assert store.back == [("a", {})] and worker._running == {} and worker._data == ""
    assert [e["text"] for e in said] == ["The data d is not whole."]


def test_strangers_are_named(store):
    worker, _, said = worker_of(store)
    store.strangers = [("s", "9.9"), ("s", "9.9")]
    worker._say_strangers()
    assert [e["text"] for e in said] == [
        f"The study s is run by smidgen 9.9, and this worker is {program()}: its trials are left alone; install the "
        "same version on both sides."
    ]


def test_it_waits_for_what_runs_and_records_what_ends(store, monkeypatch):
    worker, now, _ = worker_of(store, idle=3.0)
    naps = []

    def sleep(seconds):
        naps.append(seconds)
        now[0] += seconds

    monkeypatch.setattr(module.time, "sleep", sleep)
    store.open = [taken("a")]
    wait = Jobs.wait

    def ends(self, patience):
        if len(self.waits) == 2:
            now[0] += 0.5
            self.ended = [(self.jobs[0], Result(seconds=2.0)), (Job("f", (), seconds=1.0), Result())]
        return wait(self, patience)

    monkeypatch.setattr(Jobs, "wait", ends)
    closed = []
    monkeypatch.setattr(Jobs, "close", lambda self: closed.append(self.waits))
    assert worker.run() == 1
    assert closed == [[0.05, 0.05, 0.05]] and store.left == 1 and store.finished == []
    assert sum(len(ended) for ended, _, _ in store.asked) == 1
    assert naps[:3] == [0.05, 0.1, 0.2] and 2.5 < sum(naps) < 3.6
    assert worker._ahead._mean == 0.9  # of its own jobs alone


@pytest.mark.parametrize("store_is_gone", [False, True])
def test_an_interruption_records_what_ended_and_frees_the_rest(store, monkeypatch, store_is_gone):
    worker, _, _ = worker_of(store)
    store.open = [taken("a"), taken("b")]

    def interrupted(self, patience):
        assert patience == 1.0  # all are busy
        worker._ended = [(taken("a"), Result(seconds=1.0))]
        raise KeyboardInterrupt

    def gone(*given):
        raise SmidgenError("gone")

    monkeypatch.setattr(Jobs, "wait", interrupted)
    if store_is_gone:
        monkeypatch.setattr(Store, "finish_all", gone)
        monkeypatch.setattr(offers, "leave", gone)
    with pytest.raises(KeyboardInterrupt):
        worker.run()
    assert (worker.done, len(store.finished), store.left) == ((0, 0, 0) if store_is_gone else (1, 1, 1))
    assert worker._pool is None and worker._data == ""


def test_a_broken_pool_is_left_once_nothing_runs(store):
    worker, _, _ = worker_of(store)
    store.open = [taken("a"), taken("b")]
    worker._take()
    pool = worker._pool
    pool.broken = True
    pool.ended = [(pool.jobs[0], STOPPED)]
    worker._collect(0.0)
    assert worker._pool is pool and pool.waits == [0.0]
    pool.ended = [(pool.jobs[1], STOPPED)]
    worker._collect(0.0)
    assert worker._pool is None and pool.closed == 1 and [b[0] for b in store.back] == ["a", "b"]
    store.open = [taken("c")]
    worker._take()
    assert worker._pool.loaded == [("task", "d")]  # the new one has nothing yet


def test_the_cache_is_bounded_to_the_byte(tmp_path):
    for limit, kept in ((60, 3), (59, 2), (30, 2), (29, 1), (0, 1)):
        for i, size in enumerate((10, 20, 30)):
            (tmp_path / f"{i}.bin").write_bytes(b"x" * size)
            os.utime(tmp_path / f"{i}.bin", (100 - i, 100 - i))
        _bounded(tmp_path, limit)
        assert sorted(f.name for f in tmp_path.iterdir()) == [f"{i}.bin" for i in range(kept)]


def test_without_bounds_and_by_default(store):
    worker = Worker(store, 1)  # type: ignore[arg-type]
    assert (worker.idle, worker.memory, worker.study) == (None, None, None)
    assert str(worker.cache) == ".smidgen/cache/tasks" and worker.tell({}) is None
