"""Workers on a real Ray cluster: the same numbers, and what is lost, late, big or stopped harms nothing else."""

import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("ray", reason="the extra 'ray' is not installed")

from smidgen.kit.errors import BadInput, MissingExtra
from smidgen.studies import executor, ray_pool
from smidgen.studies.executor import executor_named
from smidgen.studies.fit import fit, resume
from smidgen.studies.job import Failure, Job
from smidgen.studies.ray_cluster import Cluster
from smidgen.studies.ray_pool import RayPool

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes through /proc")
GRACE = 60.0  # seconds for what should be quick: only a test that fails waits so long
FOREVER = ("time:sleep", (100_000,))
STUCK = ("re:match", (r"(a+)+$", "a" * 60 + "b"))  # native code that never gives the interpreter back
METHODS = "logistic,lda,naive_bayes"

HELPERS = """
import os, signal
import numpy as np

def total(array, add):
    array += 0  # may be written to, as in a process here
    return float(array.sum()) + add

def lose_the_worker_once(mark):
    try:
        os.close(os.open(mark, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return "taken up"
    os.kill(os.getppid(), signal.SIGKILL)
    signal.pause()

def eat(size):
    return len([np.ones(size // 80) for _ in range(10)])
"""


@pytest.fixture(scope="module")
def helpers(tmp_path_factory):
    """A module that workers find because this process could when the cluster began."""
    folder = tmp_path_factory.mktemp("jobs")
    (folder / "ray_helpers.py").write_text(HELPERS)
    sys.path.insert(0, str(folder))
    yield "ray_helpers"
    sys.path.remove(str(folder))


@pytest.fixture(scope="module")
def cluster(helpers):
    """A cluster of this module's own, stopped with all that belongs to it."""
    sigterm = signal.getsignal(signal.SIGTERM)
    before = children()
    made = Cluster("local", 4)
    folder, ray = Path(made._folder), made.ray
    assert folder.is_dir() and made.cpus == 4 and children() > before
    assert signal.getsignal(signal.SIGTERM) is sigterm
    yield made
    assert ray.is_initialized(), "pools leave a cluster that was there alone"
    made.close()
    assert not ray.is_initialized() and not folder.exists() and children() <= before


@pytest.fixture(scope="module")
def shared(cluster):
    with RayPool(2, preload=()) as pool:
        yield pool


@pytest.fixture
def pool(shared):
    shared.load()
    yield shared
    assert shared.outstanding == 0, "a test must leave the pool idle"
    assert shared.wait(0) == []


@pytest.fixture(scope="module")
def few(table):
    return table("tab_wine", 60)


def children() -> set[str]:
    return set(Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split())


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


def test_values_and_errors_come_back_each_to_its_job(pool):
    jobs = {pool.submit("operator:truediv", (i, 1)): i for i in range(20)}
    jobs[pool.submit("operator:truediv", (1, 0))] = Failure("ZeroDivisionError: division by zero")
    jobs[pool.submit("os:getenv", ("OMP_NUM_THREADS",))] = "1"
    jobs[pool.submit("os:getenv", ("CUDA_VISIBLE_DEVICES",))] = ""
    assert collect(pool) == jobs
    while pool.ready < pool.workers == 2:
        assert pool.wait(0) == []


def test_data_comes_first_and_new_data_replaces_it(pool, helpers):
    pool.load(np.ones(200_000))
    assert one(pool, f"{helpers}:total", (1,)) == 200_001
    pool.load(np.zeros(3))
    jobs = [pool.submit(f"{helpers}:total", (i,)) for i in range(6)]
    assert list(map(collect(pool).get, jobs)) == [0, 1, 2, 3, 4, 5]


def test_a_lost_workers_job_is_taken_up_with_the_data_and_at_most_a_few_times(pool, helpers, tmp_path):
    jobs = [pool.submit(f"{helpers}:lose_the_worker_once", (str(tmp_path / f"mark{i}"),)) for i in range(2)]
    after = pool.submit("operator:add", (1, 1))
    assert collect(pool) == {**dict.fromkeys(jobs, "taken up"), after: 2}
    pool.load(np.ones(5))
    assert one(pool, f"{helpers}:total", (1,)) == 6
    pool.load()
    always = one(pool, "builtins:exec", ("import os; os.kill(os.getpid(), 9)", {}))
    assert always.kind == "died" and "signal 9" in always.reason
    assert one(pool, "operator:add", (1, 2)) == 3


@pytest.mark.parametrize("job", [FOREVER, STUCK])
def test_a_job_without_end_is_ended_at_its_deadline_or_when_killed(pool, job):
    late, quick = pool.submit(*job, 0.3), pool.submit("operator:add", (1, 1), GRACE)
    assert collect(pool) == {late: Failure("took longer than its 0.3 s", "deadline"), quick: 2}
    stopped, queued = [pool.submit(*job), pool.submit(*job)], pool.submit(*job)
    pool.wait(0.1)
    for one_of_them in [queued, *stopped]:
        pool.kill(one_of_them)
    assert collect(pool) == dict.fromkeys([*stopped, queued], Failure("stopped", "stopped"))
    assert one(pool, "operator:add", (1, 2)) == 3, "the workers are free again"


def test_a_ctrl_c_at_any_moment_leaves_the_pool_whole(pool):
    def interrupt(number, frame):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        for i in range(25):
            with pytest.raises(KeyboardInterrupt):  # noqa: PT012
                signal.setitimer(signal.ITIMER_REAL, 0.002 * (i + 1))
                end = time.monotonic() + 1.0
                while time.monotonic() < end:
                    if pool.outstanding < 4:
                        pool.submit("operator:add", (i, i))
                    pool.wait(0.1)
                raise KeyboardInterrupt  # the other one came while Python cleared something away, and was lost there
            collect(pool)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert one(pool, "operator:add", (1, 2)) == 3


def test_a_job_of_which_nobody_was_told_is_done(pool):
    one(pool, "operator:add", (1, 1))
    job = Job("operator:add", (1, 2))
    job.pack()
    pool._queue.append(job)  # and then came the Ctrl-C
    assert dict(pool.wait(GRACE)) == {job: 3}


def test_a_job_that_eats_memory_ends_alone(cluster, helpers):
    with RayPool(1, memory=450_000_000, preload=["numpy"]) as pool:
        eater = pool.submit(f"{helpers}:eat", (2_000_000_000,))
        modest = pool.submit(f"{helpers}:eat", (100_000_000,))
        found = collect(pool)
    assert found == {eater: Failure("out of memory: needed more than 450.0 MB", "memory"), modest: 10}
    assert 100_000_000 < modest.peak_bytes < 450_000_000


def board(fitted):
    own = ("seconds", "remarks")
    return [{k: v for k, v in row.items() if k not in own} for row in fitted.summary["leaderboard"]]


def test_a_study_gives_the_same_on_the_cluster_and_goes_on_where_it_was_interrupted(cluster, few, tmp_path, inline):
    few.to_csv(tmp_path / "few.csv", index=False)
    order = {"target": "target", "trials": 6, "methods": METHODS, "metric": None}
    # The numbers of `inline` are those of the local pool: test_fit holds it to that.
    here = fit(tmp_path / "few.csv", **order, store=f"sqlite:///{tmp_path}/here.db", out=tmp_path / "here")

    def told(event):
        if event["kind"] == "trial" and event["done"] == 4:
            signal.raise_signal(signal.SIGINT)

    store = f"sqlite:///{tmp_path}/there.db"
    order_there = {**order, "store": store, "out": tmp_path / "there", "executor": "ray", "workers": 2}
    cut = fit(tmp_path / "few.csv", **order_there, progress=told)
    assert cut.interrupted and 3 <= cut.summary["spent"]["trials"] < 6 and cut.path == tmp_path / "there"
    whole = resume(cut.study, store=store, executor="local")
    assert not whole.interrupted and whole.summary["spent"]["reused"] >= 3
    assert board(whole) == board(here)
    arrays = [(tmp_path / name / "arrays.safetensors").read_bytes() for name in ("here", "there")]
    assert arrays[0] == arrays[1]


def test_workers_with_other_versions_are_refused_in_a_sentence(cluster, monkeypatch):
    real = ray_pool.versions()
    monkeypatch.setattr(ray_pool, "versions", lambda: {**real, "numpy": "1.99.0", "lightgbm-of-ours": "4.0"})
    with RayPool(1, preload=()) as pool:
        pool.submit("operator:add", (1, 1))
        with pytest.raises(BadInput, match=r"numpy is .* there and 1.99.0 here; .*missing"):
            pool.wait(GRACE)


def test_addresses_and_what_is_wrong_with_them(monkeypatch):
    assert [executor_named(n) for n in (None, "local")] == [None, None]
    for name, address in (("ray", None), ("ray:auto", "auto"), ("ray:h:1", "h:1"), ("ray://h:1", "ray://h:1")):
        assert executor_named(name).address == address
    for wrong in ("rays", "ray:", "dask", ""):
        with pytest.raises(BadInput, match="executor: expected local, ray"):
            executor_named(wrong)
    monkeypatch.setattr(executor, "installed", lambda name: False)
    monkeypatch.setattr("smidgen.kit.extras.installed", lambda name: False)
    with pytest.raises(MissingExtra, match=r"smidgen\[ray\]"):
        executor_named("ray")


def test_an_address_where_nothing_answers_is_one_sentence(monkeypatch):
    monkeypatch.undo()  # this one connects, to nothing
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    for wrong, said in (("ray://127.0.0.1:1", "refused"), ("127.0.0.1:1", "refused"), ("nonsense", "expected auto")):
        with pytest.raises(BadInput, match=said):
            Cluster(wrong, None)


def test_a_dry_run_asks_no_cluster(few, monkeypatch):
    monkeypatch.setattr(ray_pool, "Cluster", None)
    made = fit(few, "target", methods="logistic", executor="ray:there:6379", dry_run=True)
    assert "the Ray cluster at there:6379" in made.summary["executor"]
    assert "executor" not in fit(few, "target", methods="logistic", dry_run=True).summary
