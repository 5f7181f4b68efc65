"""Workers: values come back, and no job, death or kill harms the next one or outlives us."""

import os
import select
import signal
import subprocess
import sys
import time
import types

import numpy as np
import pytest

from smidgen.studies.pool import Failure, InlinePool, Pool

pytestmark = pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="watches processes through Linux's pidfd")
GRACE = 30.0  # seconds for what should be quick: only a test that fails waits so long
FOREVER = ("time:sleep", (100_000,))
STUCK = ("re:match", (r"(a+)+$", "a" * 60 + "b"))  # native code that never gives the interpreter back

HELPERS = """
import os, re, signal, sys
import numpy as np

def total(array, add):
    return float(array.sum()) + add

def tell(fifo):
    with open(fifo, "w") as out:
        out.write(f"{os.getpid()}\\n")

def tell_and_stick(fifo, pattern, text):
    tell(fifo)
    re.match(pattern, text)

def noisy():
    print("on standard output", flush=True)
    os.write(1, b"raw bytes on 1")
    os.system("echo from a child")
    return sys.stdin.read()

def interrupted():
    os.kill(os.getpid(), signal.SIGINT)
    return "still here"

def eat(size):
    return len([np.ones(size // 80) for _ in range(10)])
"""


@pytest.fixture(scope="module")
def helpers(tmp_path_factory):
    """A module that workers find because this process can."""
    folder = tmp_path_factory.mktemp("jobs")
    (folder / "pool_helpers.py").write_text(HELPERS)
    sys.path.insert(0, str(folder))
    yield "pool_helpers"
    sys.path.remove(str(folder))


@pytest.fixture(scope="module")
def shared(helpers):
    with Pool(2, preload=()) as pool:
        yield pool


@pytest.fixture
def pool(shared):
    shared.load()
    yield shared
    assert shared.outstanding == 0, "a test must leave the pool idle"
    assert shared.wait(0) == []


def collect(pool):
    out = {}
    end = time.monotonic() + GRACE
    while pool.outstanding:
        assert time.monotonic() < end, f"{pool.outstanding} jobs never ended"
        out.update(pool.wait(GRACE))
    out.update(pool.wait(0))
    return out


def one(pool, function, args=(), deadline=None):
    job = pool.submit(function, args, deadline)
    return collect(pool)[job]


def gone(pidfds):
    """Whether all these processes end in time: waits for the event."""
    return all(select.select([fd], [], [], GRACE)[0] for fd in pidfds)


def test_values_come_back_each_to_its_job(pool):
    jobs = {pool.submit("operator:mul", (i, i)): i * i for i in range(50)}
    assert collect(pool) == jobs


def test_data_comes_first_and_new_data_replaces_it(pool, helpers):
    pool.load(np.ones(200_000))
    assert one(pool, f"{helpers}:total", (1,)) == 200_001
    pool.load(np.zeros(3))
    jobs = [pool.submit(f"{helpers}:total", (i,)) for i in range(6)]
    assert list(map(collect(pool).get, jobs)) == [0, 1, 2, 3, 4, 5]


def test_a_jobs_errors_are_its_own(pool):
    assert one(pool, "operator:truediv", (1, 0)) == Failure("ZeroDivisionError: division by zero")
    assert one(pool, "sys:exit", ("bye",)) == Failure("SystemExit: bye")
    assert one(pool, "no_such_module:f").reason.startswith("ModuleNotFoundError")
    assert "cannot be sent" in one(pool, "threading:Lock").reason
    assert one(pool, "operator:add", (1, 2)) == 3
    for wrong in (lambda: 0, test_values_come_back_each_to_its_job.__get__(1)):
        with pytest.raises(Exception, match=r"importable|pickle"):
            pool.submit(wrong, (types,))


def test_printing_and_reading_jobs_do_not_touch_the_pipes(pool, helpers):
    assert one(pool, f"{helpers}:noisy") == ""
    assert one(pool, f"{helpers}:interrupted") == "still here"


def test_numbers_cannot_depend_on_the_machines_threads(pool):
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        assert one(pool, "os:getenv", (name,)) == "1"


@pytest.mark.parametrize("job", [FOREVER, STUCK])
def test_a_job_without_end_is_ended_at_its_deadline(pool, job):
    one(pool, "operator:add", (1, 1))
    pidfds = [os.pidfd_open(p.pid) for p in pool._processes]
    start = time.monotonic()
    late, quick = pool.submit(*job, 0.3), pool.submit("operator:add", (1, 1), GRACE)
    assert collect(pool) == {late: Failure("took longer than its 0.3 s", "deadline"), quick: 2}
    assert 0.3 <= time.monotonic() - start < GRACE / 2
    assert len(select.select(pidfds, [], [], GRACE)[0]) == 1, "the process itself must be gone, and no other"
    list(map(os.close, pidfds))
    assert one(pool, "operator:add", (1, 2)) == 3


def test_a_dead_worker_is_replaced_with_the_data(pool, helpers):
    pool.load(np.ones(5))
    for number in (signal.SIGKILL, signal.SIGSEGV):
        failure = one(pool, "builtins:exec", (f"import os; os.kill(os.getpid(), {int(number)})", {}))
        assert failure.kind == "error", "with data in front this is no code"
        pool.load()
        failure = one(pool, "builtins:exec", (f"import os; os.kill(os.getpid(), {int(number)})", {}))
        assert failure.kind == "died"
        assert f"signal {int(number)}" in failure.reason
        pool.load(np.ones(5))
        jobs = [pool.submit(f"{helpers}:total", (i,)) for i in range(8)]
        assert list(map(collect(pool).get, jobs)) == [5 + i for i in range(8)]
    assert one(pool, "os:_exit", (9,)).kind == "error"


def test_kill_ends_one_job_and_leaves_the_others(pool):
    stuck = [pool.submit(*FOREVER), pool.submit(*STUCK)]
    queued, after = pool.submit("operator:add", (1, 1)), pool.submit("operator:add", (2, 2))
    pool.kill(queued)
    for job in stuck:
        pool.kill(job)
    found = collect(pool)
    assert found == {**dict.fromkeys([*stuck, queued], Failure("stopped", "stopped")), after: 4}
    pool.kill(after)
    assert pool.wait(0) == [], "a job that has ended is left alone"


def test_a_job_that_eats_memory_ends_alone(helpers):
    with Pool(1, memory=450_000_000, preload=["numpy"]) as pool:
        eater = pool.submit(f"{helpers}:eat", (2_000_000_000,))
        modest = pool.submit(f"{helpers}:eat", (100_000_000,))
        found = collect(pool)
        assert found == {eater: Failure("out of memory: needed more than 450.0 MB", "memory"), modest: 10}
        assert 100_000_000 < modest.peak_bytes < 450_000_000
        small = pool.submit("operator:add", (1, 1))
        collect(pool)
        assert small.peak_bytes < modest.peak_bytes - 50_000_000, "the peak is the job's, not the process's"
        pool.load(np.ones(60_000_000))
        assert "the data alone" in one(pool, "operator:add", (1, 2)).reason


def test_workers_that_cannot_start_are_told_and_not_awaited(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with Pool(2) as pool:
        failure = one(pool, "operator:add", (1, 2))
    assert failure == Failure("no worker could start: ended with status 1", "died")


def test_data_that_cannot_be_sent_is_told():
    with Pool(1, preload=()) as pool:
        pool.load(lambda: 0)
        assert "cannot be sent" in one(pool, "operator:add", (1, 2)).reason


def test_close_leaves_no_process_and_ends_every_job():
    pool = Pool(2, preload=())
    jobs = [pool.submit(*FOREVER) for _ in range(3)]
    while pool.ready < 2:
        assert pool.wait(0.05) == []
    pidfds = [os.pidfd_open(p.pid) for p in pool._processes]
    assert len(pidfds) == 2
    pool.close()
    assert gone(pidfds)
    assert dict(pool.wait(0)) == dict.fromkeys(jobs, Failure("stopped", "stopped"))
    list(map(os.close, pidfds))
    Pool(1).close()  # also while it starts


SCRIPT = """
import os, sys, time
from smidgen.studies.pool import Pool
pool = Pool(2, preload=())
for _ in range(2):
    pool.submit(sys.argv[1] + ":tell_and_stick", (sys.argv[2], r"(a+)+$", "a" * 60 + "b"))
while True:
    pool.wait()
"""

GUARDLESS = """
import os, signal, sys, time
from smidgen.studies.pool import Pool
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs begin with it ignored
print("once", flush=True)
pool = Pool(1)
slow = pool.submit("time:sleep", (0.5,))
try:
    while not pool.ready:
        pool.wait(0.02)
    print("ready", flush=True)
    while True:
        time.sleep(1)
except KeyboardInterrupt:
    print(pool.wait(30)[0][1], flush=True)  # the worker did not hear it
"""


def script(text, *args, **options):
    path = os.pathsep.join(p for p in sys.path if p)
    return subprocess.Popen(
        [sys.executable, "-c", text, *args],
        stdout=subprocess.PIPE,
        text=True,
        env=dict(os.environ) | {"PYTHONPATH": path},
        **options,
    )


def test_kill_9_of_the_parent_leaves_no_worker_even_in_native_code(helpers, tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDWR)  # keeps it open between the two writers
    parent = script(SCRIPT, helpers, str(fifo))
    said = b""
    while said.count(b"\n") < 2:
        assert select.select([reader], [], [], GRACE)[0], "the workers never started"
        said += os.read(reader, 100)
    pidfds = [os.pidfd_open(int(pid)) for pid in said.split()]
    parent.kill()
    assert gone(pidfds)
    parent.communicate()
    list(map(os.close, [reader, *pidfds]))


def test_a_script_without_a_main_guard_and_ctrl_c():
    parent = script(GUARDLESS, start_new_session=True)
    assert [parent.stdout.readline(), parent.stdout.readline()] == ["once\n", "ready\n"]
    os.killpg(parent.pid, signal.SIGINT)  # as a terminal does: to the whole group
    assert parent.communicate(timeout=GRACE)[0] == "None\n"
    assert parent.returncode == 0


def test_the_inline_pool_gives_the_same(pool, helpers):
    jobs = [(f"{helpers}:total", (2,)), ("operator:getitem", (9,)), ("no_such:f", ())]
    outcomes = []
    for p in (pool, InlinePool()):
        p.load(np.ones(4))
        submitted = [p.submit(*job) for job in jobs]
        found = collect(p)
        outcomes.append([found[job] for job in submitted])
    assert outcomes[0] == outcomes[1]
    assert outcomes[0][0] == 6
    with InlinePool() as p:
        job = p.submit("operator:add", (1, 1))
        p.kill(job)
        assert p.wait() == [(job, Failure("stopped", "stopped"))]
