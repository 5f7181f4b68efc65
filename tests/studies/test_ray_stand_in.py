"""Our side of a Ray cluster, against a stand-in for Ray that answers when it is told: what is started, sent, lost and
left behind. Real clusters: `test_ray_pool`."""

import contextlib
import os
import pickle
import signal
import subprocess
import sys
import threading
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from smidgen.kit.errors import BadInput, MissingExtra, SmidgenError
from smidgen.studies import ray_cluster, ray_pool, worker
from smidgen.studies.executor import RayExecutor
from smidgen.studies.job import STOPPED, Failure, Job, outcome
from smidgen.studies.ray_cluster import Cluster
from smidgen.studies.ray_pool import RayPool
from smidgen.studies.ray_worker import Host, versions

SOON = 30.0  # only a test that fails waits so long


class RayError(Exception):
    pass


class RayTaskError(RayError):
    pass


class Call:
    """A method of an actor: each call is written down, and answered at once or by the test."""

    def __init__(self, actor: "Actor", name: str) -> None:
        self.actor, self.name = actor, name

    def remote(self, *args: Any) -> Any:
        future: Future = Future()
        self.actor.calls.append((self.name, args, future))
        self.actor.ray.answer(self.actor, self.name, args, future)
        with self.actor.ray.heard:
            self.actor.ray.heard.notify_all()
        return SimpleNamespace(future=lambda: future)


class Actor:
    def __init__(self, ray: "StandIn", args: tuple) -> None:
        self.ray, self.args, self.calls, self.data = ray, args, [], ()
        self.hello, self.load, self.run, self.stop = (Call(self, name) for name in ("hello", "load", "run", "stop"))


class StandIn:
    """What of the module `ray` is used."""

    exceptions = SimpleNamespace(RayError=RayError, RayTaskError=RayTaskError)

    def __init__(self, up: bool = True, cpus: float | None = 3.0) -> None:
        self.up, self.cpus, self.began, self.actors, self.killed = up, cpus, [], [], []
        self.heard = threading.Condition()
        self.silent: set[str] = set()
        self.error: Exception | None = None
        self.closed = 0
        self._private = SimpleNamespace(worker=SimpleNamespace(_worker_logs_enabled=True))

    def is_initialized(self) -> bool:
        return self.up

    def init(self, address: str, **options: Any) -> None:
        self.began.append((address, options, os.environ.get("PYTHONPATH")))
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # as Ray does
        if self.error:
            raise self.error
        self.up = True

    def shutdown(self) -> None:
        self.up, self.closed = False, self.closed + 1

    def cluster_resources(self) -> dict[str, float]:
        return {} if self.cpus is None else {"CPU": self.cpus}

    def remote(self, **options: Any) -> Any:
        self.options = options

        def made(*args: Any) -> Actor:
            self.actors.append(Actor(self, args))
            return self.actors[-1]

        return lambda host: SimpleNamespace(remote=made)

    def put(self, message: Any) -> bytes:
        return bytes(message)

    def kill(self, actor: Actor) -> None:
        self.killed.append(actor)
        if len(self.killed) % 2:
            raise RayError("it is gone")

    def answer(self, actor: Actor, name: str, args: tuple, future: Future) -> None:
        if name in self.silent:
            return
        if name == "hello":
            future.set_result(versions())
        elif name == "load":
            actor.data = pickle.loads(args[0])[1]
            future.set_result(None)
        elif name == "run":
            _, _, function, own = pickle.loads(args[1])
            job = Job(function, own)
            _, value = outcome(job, worker.run(0, function, actor.data + own))
            future.set_result(pickle.dumps((value, 1.5, 2.5, 77)))

    def calls(self, name: str, count: int) -> list[tuple]:
        """So many calls of a method, once they were made."""

        def found() -> list[tuple]:
            return [(a, args, future) for a in self.actors for n, args, future in a.calls if n == name]

        with self.heard:
            assert self.heard.wait_for(lambda: len(found()) >= count, SOON)
        return found()


@pytest.fixture
def ray(monkeypatch, tmp_path):
    made = StandIn()
    monkeypatch.setattr(ray_cluster, "need", lambda name, **why: made)
    monkeypatch.setenv("PYTHONPATH", "as it was")
    for name in ("RAY_ADDRESS", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_USAGE_STATS_ENABLED"):
        monkeypatch.setenv(name, "x")  # so that it is as it was afterwards
        monkeypatch.delenv(name)
    monkeypatch.setattr(ray_cluster.tempfile, "tempdir", "/tmp")
    before = signal.getsignal(signal.SIGTERM)
    yield made
    signal.signal(signal.SIGTERM, before)


# -- the connection --


def test_a_cluster_of_our_own_begins_and_ends_with_all_that_is_its(ray, monkeypatch):
    ray.up = False
    marked = signal.signal(signal.SIGTERM, lambda *_: None)
    mine = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(sys, "path", ["", "/elsewhere"])
    made = Cluster(None, 2)
    address, options, path = ray.began[0]
    folder = Path(options.pop("_temp_dir"))
    assert address == "local" and path == os.pathsep.join([str(Path.cwd()), "/elsewhere"])
    assert options == {
        "num_cpus": 2, "include_dashboard": False, "log_to_driver": False, "logging_level": "ERROR"
    }  # fmt: skip
    assert os.environ["PYTHONPATH"] == "as it was" and os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
    assert len(os.environ["RAY_AUTH_TOKEN"]) == 64 and signal.getsignal(signal.SIGTERM) is mine
    assert folder.is_dir() and ray._private.worker._worker_logs_enabled is False and made.cpus == 3
    (folder / "log").write_text("x")
    child = subprocess.Popen([sys.executable, "-c", ""])
    ray._private.worker._global_node = SimpleNamespace(all_processes={"raylet": [SimpleNamespace(process=child)]})
    made.close()
    assert not folder.exists() and ray.closed == 1 and child.returncode == 0
    made.close()  # a second time it does nothing
    assert ray.closed == 1
    signal.signal(signal.SIGTERM, marked)


def test_what_was_there_is_left_as_it_is(ray):
    made = Cluster("ray://there:1", 2)
    assert ray.began == [] and made.cpus == 3
    made.close()
    assert ray.closed == 0 and ray.up
    ray.cpus = 0.5
    assert Cluster(None, None).cpus == 1
    ray.cpus = None
    assert Cluster(None, None).cpus == 1


def test_a_start_that_fails_leaves_the_environment_and_is_a_sentence(ray, monkeypatch):
    ray.up, ray.error = False, OSError("no room.")
    monkeypatch.delenv("PYTHONPATH")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "/own")
    with pytest.raises(BadInput, match=r"A Ray cluster on this machine does not answer: no room\.$"):
        Cluster("local", None)
    assert "PYTHONPATH" not in os.environ and "RAY_AUTH_TOKEN" not in os.environ
    assert ray.began[0][1]["num_cpus"] == ray_cluster.cores()


def test_a_long_path_is_not_given_to_ray(ray, monkeypatch):
    ray.up = False
    for length, given in ((40, True), (41, False)):
        monkeypatch.setattr(ray_cluster.tempfile, "mkdtemp", lambda prefix, n=length: "f" * n)
        ray.up = False
        Cluster("local", 1)
        assert (ray.began[-1][1]["_temp_dir"] is not None) == given


def test_addresses_are_tried_first_and_errors_are_told(ray, monkeypatch):
    tried = []

    def connect(place, seconds):
        tried.append((place, seconds))
        return contextlib.nullcontext()

    monkeypatch.setattr(ray_cluster.socket, "create_connection", connect)
    for address, place in (("ray://h.x-1:10", ("h.x-1", 10)), ("[::1]:7", ("::1", 7)), ("auto", None)):
        ray.up = False
        made = Cluster(address, None)
        assert ray.began[-1][:2] == (address, {"log_to_driver": False, "logging_level": "ERROR"})
        assert tried[-1:] == ([(place, 10.0)] if place else tried[-1:])
        made.close()
        assert not ray.up
    assert len(tried) == 2
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    Cluster(None, None)
    assert ray.began[-1][0] == "auto"
    for text, kind, said in (
        ("pip install ray[client]", MissingExtra, "reached through Ray Client"),
        ("The Version mismatch: 2 and 3.", BadInput, r"another Ray or Python than this process \(2 and 3\)"),
        ("", BadInput, r"does not answer: OSError\. Is it up"),
        ("a\n  b" + "c" * 400, BadInput, r"answer: a b" + "c" * 297 + r"\. Is it up"),
    ):
        ray.up, ray.error = False, OSError(text)
        with pytest.raises(kind, match=said):
            Cluster("auto", None)
    with pytest.raises(BadInput, match="A Ray cluster at 'nonsense': expected auto"):
        Cluster("nonsense", None)
    with pytest.raises(BadInput, match="The Ray cluster at h:1"):
        Cluster("h:1", None)
    assert "h:1, on 2 workers" in RayExecutor("h:1").sentence(2) and "RAY_ADDRESS" in RayExecutor().sentence(None)


# -- the workers --


def collect(pool: RayPool) -> dict[Job, Any]:
    out: dict[Job, Any] = {}
    while pool.outstanding:
        found = dict(pool.wait(SOON))
        assert found
        out |= found
    return out | dict(pool.wait(0))


def test_jobs_get_the_data_and_their_measurements(ray):
    with RayPool(2, memory=5, preload=("a",)) as pool:
        assert ray.options == {"num_cpus": 1, "max_concurrency": 4, "scheduling_strategy": "SPREAD"}
        jobs = {pool.submit("operator:truediv", (i, 2), 9.0): i / 2 for i in range(6)}
        assert collect(pool) == jobs
        assert [a.args for a in ray.actors] == [(5, ("a",))] * 2 and pool.ready == pool.workers == 2
        assert {(j.seconds, j.cpu_seconds, j.peak_bytes) for j in jobs} == {(1.5, 2.5, 77)}
        assert sorted(args[0] for _, args, _ in ray.calls("run", 6)) == [1, 2, 3, 4, 5, 6]
        assert {args[2] for _, args, _ in ray.calls("run", 6)} == {9.0}
        pool.load(8)
        pool.load(10)
        more = {pool.submit("operator:sub", (i,)): 10 - i for i in range(4)}
        assert collect(pool) == more and all(a.data == (10,) for a in ray.actors if a.data)
        bad = pool.submit("operator:truediv", (0,))
        assert collect(pool) == {bad: Failure("ZeroDivisionError: division by zero")}
    assert ray.killed == ray.actors and not pool.outstanding
    with pytest.raises(SmidgenError, match="closed"):
        pool.submit("operator:add", (1, 1))
    with pytest.raises(ValueError, match="at least 1 worker"):
        RayPool(0)
    with RayPool() as every:
        assert every.workers == 3
    with RayPool(1) as pool:
        pool.load(lambda: 1)
        job = pool.submit("operator:add", (1, 1))
        assert collect(pool)[job].reason.startswith("the data cannot be sent: ")


def test_who_is_lost_is_replaced_and_costs_a_job_three_workers_at_most(ray):
    ray.silent = {"run"}
    with RayPool(1, preload=()) as pool:
        job = pool.submit("operator:add", (1, 1))
        for count in (1, 2, 3):
            actor, _, future = ray.calls("run", count)[-1]
            assert actor is ray.actors[count - 1] and pool.outstanding == 1
            future.set_exception(RayError("node died\nmore"))
        assert collect(pool) == {job: Failure("its worker was lost 3 times: node died", "died")}
        assert len(ray.actors) == 3  # nobody waits for a fourth
        ray.silent = set()
        assert collect(pool) == {} and ray.killed == ray.actors
        after = pool.submit("operator:add", (1, 2))
        assert collect(pool) == {after: 3} and len(ray.actors) == 4
        died = Failure("died by signal 9", "died")
        ray.silent = {"run"}
        other = pool.submit("operator:add", (1, 1))
        for count in (5, 6, 7):
            ray.calls("run", count)[-1][2].set_result(pickle.dumps((died, 0.0, 0.0, 0)))
        assert collect(pool) == {other: died} and len(ray.actors) == 4


def test_three_that_never_begin_are_enough_and_one_that_does_counts_anew(ray):
    ray.silent = {"hello"}
    with RayPool(1, preload=()) as pool:
        job = pool.submit("operator:add", (1, 1))
        assert pool.ready == 0
        for count in (1, 2):
            ray.calls("hello", count)[-1][2].set_exception(RayError("no room"))
        ray.calls("hello", 3)[-1][2].set_result(versions())
        assert collect(pool) == {job: 2}
        ray.silent = {"hello", "load"}
        pool.load(1)
        again = pool.submit("operator:add", (1,))
        for count in (1, 2, 3):
            call = ray.calls("load", count) if count == 1 else ray.calls("hello", 2 + count)
            call[-1][2].set_exception(RayError("no room"))
        assert collect(pool) == {again: Failure("no worker could start: no room", "died")}
        at_once = pool.submit("operator:add", (1,))
        assert collect(pool)[at_once].kind == "died"


def test_an_actor_that_cannot_do_as_asked_fails_its_job_or_all(ray):
    ray.silent = {"run"}
    with RayPool(1, preload=()) as pool:
        job = pool.submit("operator:add", (1, 1))
        ray.calls("run", 1)[0][2].set_exception(RayTaskError("Traceback\n  line\nTypeError: odd"))
        assert collect(pool) == {job: Failure("TypeError: odd")}
        ray.silent = {"hello"}
        other = pool.submit("operator:add", (1, 1))
        ray.calls("hello", 2)[-1][2].set_exception(RayTaskError("x\nImportError: numpy"))
        assert collect(pool) == {other: Failure("no worker could start: ImportError: numpy", "died")}


def test_a_killed_job_is_stopped_where_it_runs_and_its_answer_is_nobody_s(ray):
    ray.silent = {"run"}
    with RayPool(1, preload=()) as pool:
        first, second = pool.submit("operator:add", (1, 1)), pool.submit("operator:add", (1, 2))
        future = ray.calls("run", 1)[0][2]
        pool.kill(second)
        pool.kill(first)
        assert dict(pool.wait(SOON)) == {second: STOPPED, first: STOPPED} and pool.outstanding == 0
        assert ray.calls("stop", 1)[0][1] == (1,)
        ray.silent = set()
        third = pool.submit("operator:add", (1, 3))
        future.set_result(pickle.dumps((2, 0.0, 0.0, 0)))
        assert collect(pool) == {third: 4} and first.seconds == 0
        pool.kill(third)  # it has ended
        assert pool.wait(0) == []
        ray.silent = {"run"}
        running, queued = pool.submit("operator:add", (1, 3)), pool.submit("operator:add", (1, 3))
        ray.calls("run", 3)
    assert dict(pool.wait(0)) == {running: STOPPED, queued: STOPPED} and not ray.closed


def test_other_versions_are_refused(ray, monkeypatch):
    here = {"smidgen": "1.2.3", "numpy": "2.1.5", "torch": "2.0"}
    monkeypatch.setattr(ray_pool, "versions", lambda: here)
    ray.silent = {"hello"}
    for there, said in (
        ({"smidgen": "1.2.3", "numpy": "2.1.9", "torch": "2.0.1"}, None),
        (
            {"smidgen": "1.2.4", "numpy": "2.1.9", "torch": "2.0"},
            r"versions: smidgen is 1.2.4 there and 1.2.3 here\. In",
        ),
        ({"smidgen": "1.2.3", "numpy": "2.2.5"}, "numpy is 2.2.5 there and 2.1.5 here; torch is missing there and 2.0"),
    ):
        ray.actors.clear()
        with RayPool(1, preload=()) as pool:
            job = pool.submit("operator:add", (1, 1))
            ray.calls("hello", 1)[0][2].set_result(there)
            if said is None:
                assert collect(pool) == {job: 2}
            else:
                with pytest.raises(BadInput, match=said):
                    pool.wait(SOON)
    ray.actors.clear()
    with RayPool(1, preload=()) as pool:
        pool.submit("operator:add", (1, 1))
        ray.calls("hello", 1)[0][2].set_exception(RayTaskError("No module named 'smidgen.studies'"))
        with pytest.raises(BadInput, match="lack smidgen 1.2.3"):
            pool.wait(SOON)


def test_as_many_workers_are_kept_as_there_is_work(ray):
    ray.silent = {"run"}
    with RayPool(3, preload=()) as pool:
        ray.calls("hello", 3)
        jobs = [pool.submit("operator:add", (1, i)) for i in range(2)]
        for _, _, future in ray.calls("run", 2):
            future.set_exception(RayTaskError("odd"))
        assert set(collect(pool)) == set(jobs) and len(ray.actors) == 3
        more = [pool.submit("operator:add", (1, i)) for i in range(3)]
        assert len(ray.calls("run", 5)) == 5 and len(ray.actors) == 5 and pool.ready == 3  # one was left, two are new
        for _, _, future in ray.calls("run", 5)[-3:]:
            if not future.done():
                future.set_exception(RayTaskError("odd"))
        for _, _, future in ray.calls("run", 5):
            if not future.done():
                future.set_exception(RayTaskError("odd"))
        assert set(collect(pool)) == set(more)


def test_an_actor_runs_what_it_is_given_and_forgets_what_was_stopped_before():
    host = Host(None, ())
    try:
        host.stop(3)
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "" and host.hello() == versions()
        job = Job("operator:add", (1, 2))
        job.pack()
        assert pickle.loads(host.run(3, job.packed, None)) == (STOPPED, 0.0, 0.0, 0)
        value, seconds, cpu, peak = pickle.loads(host.run(4, job.packed, None))
        assert value == 3 and seconds >= 0 and cpu >= 0 and peak > 1_000_000
        host.stop(4)  # it has ended
    finally:
        host._pool.close()
