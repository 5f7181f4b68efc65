"""The pool's rules, with processes that say what they are told to: who is given what, replaced, ended, given up."""

import pickle
import threading

import pytest

from smidgen.kit.errors import SmidgenError
from smidgen.studies import pool as module
from smidgen.studies.job import STOPPED, Failure
from smidgen.studies.pool import Pool
from smidgen.studies.worker import PRELOAD

SOON = 30.0  # only a test that fails waits so long


class Fake:
    """In the place of `Process`: keeps what it is sent."""

    made: list["Fake"]
    changed: threading.Condition
    size = 0

    def __init__(self, memory, preload, heard, lost):
        self.given, self.heard, self.lost = (memory, preload), heard, lost
        self.state, self.version, self.deadline = "starting", 0, float("inf")
        self.sent, self.killed, self.joined = [], 0, 0

    def note(self, do, *args):
        with Fake.changed:
            do(*args)
            Fake.changed.notify_all()

    def start(self):
        self.note(Fake.made.append, self)

    def resident(self):
        return self.size

    def send(self, message):
        self.note(self.sent.append, message)

    def kill(self):
        self.killed += 1

    def join(self, timeout=10.0):
        self.joined += 1

    def ready(self):
        self.heard(self, ("ready",))

    def done(self, value):
        self.heard(self, ("done", 0, value, 1.0, 2.0, 3))


def made(count):
    """So many processes, once they were started."""
    with Fake.changed:
        assert Fake.changed.wait_for(lambda: len(Fake.made) >= count, SOON)
    return Fake.made


def sent(process, count):
    with Fake.changed:
        assert Fake.changed.wait_for(lambda: len(process.sent) >= count, SOON)
    return [pickle.loads(m)[2:] if isinstance(m, bytes) else m for m in process.sent]


@pytest.fixture
def fake(monkeypatch):
    Fake.made, Fake.changed, Fake.size = [], threading.Condition(), 0
    monkeypatch.setattr(module, "Process", Fake)


def quiet(pool):
    """The manager has nothing left to do."""
    for _ in range(3):
        assert pool.wait(0) == []
    return len(Fake.made)


@pytest.mark.usefixtures("fake")
def test_workers_are_made_at_once_and_given_jobs_in_order():
    with Pool(2, 5000, ["a"]) as pool:
        first, second = made(2)
        assert first.given == second.given == (5000, ["a"]) and pool.ready == 0 and not pool.broken
        jobs = [pool.submit("operator:add", (i, 1), 60.0 if i else None) for i in range(3)]
        assert pool.outstanding == 3 and pool.wait(0) == []
        first.ready()
        assert sent(first, 1) == [("operator:add", (0, 1))] and pool.ready == 1
        assert first.state == "busy" and first.deadline == float("inf")
        second.ready()
        assert sent(second, 1) == [("operator:add", (1, 1))] and second.deadline < float("inf")
        second.done(2)  # and is given the next at once
        assert sent(second, 2)[1] == ("operator:add", (2, 1)) and pool.outstanding == 2
        assert pool.wait() == [(jobs[1], 2)] and (jobs[1].seconds, jobs[1].cpu_seconds, jobs[1].peak_bytes) == (1, 2, 3)
        first.heard(first, ("error", 0, "KeyError", "x"))
        second.done(9)
        assert pool.wait() == [(jobs[0], Failure("KeyError: x")), (jobs[2], 9)] and pool.outstanding == 0
        assert pool.wait() == [] and quiet(pool) == 2
    assert [p.killed for p in Fake.made] == [1, 1] and [p.joined for p in Fake.made] == [1, 1]
    with pytest.raises(SmidgenError, match=r"^The pool of workers is closed\.$"):
        pool.submit("operator:add")
    with pytest.raises(ValueError, match="a pool needs at least 1 worker, got 0"):
        Pool(0)
    with Pool(1):
        assert made(3)[2].given == (None, PRELOAD)


@pytest.mark.usefixtures("fake")
def test_who_lacks_the_latest_data_gets_it_before_any_job():
    with Pool(1, preload=()) as pool:
        (worker,) = made(1)
        job = pool.submit("operator:add", (1,))
        pool.load(1)
        pool.load(2, 3)
        worker.ready()
        assert sent(worker, 1) == [("data", (2, 3))] and worker.state == "loading" and pool.ready == 1
        pool.load_packed(b"of another")
        worker.heard(worker, ("loaded",))  # not the latest any more
        with Fake.changed:
            assert Fake.changed.wait_for(lambda: len(worker.sent) == 2, SOON)
        assert worker.sent[1] == b"of another" and worker.state == "loading"
        worker.heard(worker, ("loaded",))
        with Fake.changed:
            assert Fake.changed.wait_for(lambda: len(worker.sent) == 3, SOON)
        assert worker.state == "busy" and pickle.loads(worker.sent[2])[2:] == ("operator:add", (1,))
        worker.done(0)
        assert pool.wait() == [(job, 0)]


@pytest.mark.usefixtures("fake")
def test_who_dies_at_work_takes_its_job_along_and_is_replaced_when_there_is_more():
    with Pool(2, preload=()) as pool:
        first, second = made(2)
        first.ready()
        job = pool.submit("operator:add")
        sent(first, 1)
        first.lost(first, "died", "died by signal 9")
        assert pool.wait() == [(job, Failure("died by signal 9", "died"))] and quiet(pool) == 2
        first.lost(first, "died", "again")  # it was removed
        first.heard(first, ("ready",))
        assert quiet(pool) == 2 and pool.ready == 0
        waiting = pool.submit("operator:add")
        assert quiet(pool) == 2  # the other will soon be free for it
        more = pool.submit("operator:add")
        third = made(3)[2]
        second.ready()
        third.ready()
        sent(second, 1)
        sent(third, 1)
        for worker in (second, third):
            worker.done(0)
        assert sorted(map(id, (j for j, _ in pool.wait()))) == sorted(map(id, (waiting, more)))
        assert not pool.broken


@pytest.mark.usefixtures("fake")
def test_three_in_a_row_that_never_begin_are_enough():
    with Pool(1, preload=()) as pool:
        job = pool.submit("operator:add")
        for i in (0, 1):
            made(i + 1)[i].lost(Fake.made[i], "died", "odd")
        made(3)[2].ready()  # one that does counts anew
        sent(Fake.made[2], 1)
        Fake.made[2].done(5)
        assert pool.wait() == [(job, 5)] and not pool.broken
        Fake.made[2].lost(Fake.made[2], "died", "at rest")  # an idle one is no early death
        jobs = [pool.submit("operator:add") for _ in range(2)]
        for i in (3, 4, 5):
            assert not pool.broken and pool.wait(0) == []
            made(i + 1)[i].lost(Fake.made[i], "died", "no module")
        failure = Failure("no worker could start: no module", "died")
        found = dict(pool.wait())
        while pool.outstanding:
            found |= dict(pool.wait(SOON))
        assert found | dict(pool.wait(0)) == dict.fromkeys(jobs, failure) and pool.broken
        late = pool.submit("operator:add")
        assert pool.wait(SOON) == [(late, failure)]


@pytest.mark.usefixtures("fake")
def test_data_that_no_worker_can_hold_fails_all_at_once():
    for kind, why, reason in (
        ("error", "the data cannot be sent: odd", "the data cannot be sent: odd"),
        ("memory", "", "out of memory: the data alone needed more than 5.0 KB"),
    ):
        before = len(Fake.made)
        with Pool(1, 5000, ()) as pool:
            worker = made(before + 1)[-1]
            worker.ready()
            pool.load(1)
            sent(worker, 1)
            job = pool.submit("operator:add")
            worker.lost(worker, kind, why)
            assert pool.wait(SOON) == [(job, Failure(reason, kind))] and pool.broken and worker.killed == 1


@pytest.mark.usefixtures("fake")
def test_who_is_too_big_ends_with_its_job():
    with Pool(1, 5000, ()) as pool:
        (worker,) = made(1)
        worker.ready()
        worker.size = 5000  # as much as it may take
        job = pool.submit("operator:add")
        sent(worker, 1)
        assert pool.wait(0.05) == []
        worker.size = 5001
        assert pool.wait(SOON) == [(job, Failure("out of memory: needed more than 5.0 KB", "memory"))]
        assert worker.killed == 1 and not pool.broken
        other = pool.submit("operator:add")
        made(2)[1].ready()
        sent(Fake.made[1], 1)
        Fake.made[1].lost(Fake.made[1], "memory", "")  # its own word for it
        assert pool.wait(SOON)[0] == (other, Failure("out of memory: needed more than 5.0 KB", "memory"))
    assert len(Fake.made) == 2


@pytest.mark.usefixtures("fake")
def test_deadlines_count_from_the_start_of_a_job():
    with Pool(1, preload=()) as pool:
        (worker,) = made(1)
        late, after = pool.submit("operator:add", (), 0.0), pool.submit("operator:sub", (), 1234.5)
        assert pool.wait(0.05) == []  # nobody has begun it
        worker.ready()
        assert pool.wait(SOON) == [(late, Failure("took longer than its 0 s", "deadline"))] and worker.killed == 1
        second = made(2)[1]
        second.ready()
        assert sent(second, 1) == [("operator:sub", ())]
        assert pool.wait(0.05) == []
        with pool._changed:
            second.deadline = 0.0
        assert pool.wait(SOON) == [(after, Failure("took longer than its 1.23e+03 s", "deadline"))]


@pytest.mark.usefixtures("fake")
def test_a_job_is_ended_where_it_is():
    pool = Pool(2, preload=())
    first, second = made(2)
    first.ready()
    second.ready()
    jobs = [pool.submit("operator:add", (i,)) for i in range(5)]
    sent(first, 1)
    sent(second, 1)
    pool.kill(jobs[3])
    assert pool.wait() == [(jobs[3], STOPPED)] and first.killed == second.killed == 0 and pool.outstanding == 4
    own = jobs[pickle.loads(second.sent[0])[3][0]]
    pool.kill(own)
    assert pool.wait() == [(own, STOPPED)] and (first.killed, second.killed) == (0, 1)
    pool.kill(own)
    pool.kill(jobs[3])
    assert pool.wait(0) == []
    second.done(1)  # nobody waits for it
    assert pool.wait(0) == []
    third = made(3)[2]
    pool.close()
    left = [j for j in jobs if j not in (jobs[3], own)]
    assert dict(pool.wait()) == dict.fromkeys(left, STOPPED) and pool.outstanding == 0
    assert (first.killed, third.killed, first.joined, third.joined, second.joined) == (1, 1, 1, 1, 0)
