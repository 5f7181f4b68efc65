"""Workers on a Ray cluster, with the interface of `Pool`: an actor each, and under it a process (`ray_worker`).

What must be kept, is kept where the process is: its memory, its deadline. What can be lost are whole workers and
nodes: their jobs are taken up by others. Everything else (run store, budget, choice) stays with the caller.
"""

import pickle
import queue
import threading
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np

from smidgen.kit.errors import BadInput, SmidgenError
from smidgen.studies.job import STOPPED, Failure, Job, name_of
from smidgen.studies.ray_cluster import Cluster
from smidgen.studies.ray_worker import Host, versions
from smidgen.studies.worker import PRELOAD

_GIVE_UP = 3  # workers in a row that were lost before they were ready: there is something wrong with all of them
_TAKES = 3  # workers that one job may cost: it may be the job that ends them


@dataclass(eq=False)
class _Worker:
    """An actor, and the one call that it answers next. state: "starting", "idle", "loading" or "busy"."""

    actor: Any
    answer: Any = None
    state: str = "starting"
    version: int = 0  # of the data
    job: Job | None = None
    number: int = 0  # of the job


class RayPool:
    """Workers on a cluster, asked for at once; each begins when the cluster has a free CPU for it.

    Args:
        workers: how many, at least 1; None: as many as the cluster has CPUs.
        memory: bytes, resident, that the process of each worker may take; None: no bound.
        address: see `Cluster`. preload: modules that each worker imports while the caller still reads its file.
    Raises:
        MissingExtra, BadInput: see `Cluster`. A `wait` raises BadInput where the workers have other versions.

    Use as a context manager, or call `close`. When this process dies, the cluster ends the workers.
    """

    def __init__(
        self,
        workers: int | None = None,
        memory: int | None = None,
        address: str | None = None,
        preload: Sequence[str] = PRELOAD,
    ) -> None:
        if workers is not None and workers < 1:
            raise ValueError(f"a pool needs at least 1 worker, got {workers}")
        self._cluster = Cluster(address, workers)
        self._ray = self._cluster.ray
        self.workers, self.memory, self._preload = workers or self._cluster.cpus, memory, tuple(preload)
        self._class = self._ray.remote(num_cpus=1, max_concurrency=4, scheduling_strategy="SPREAD")(Host)
        self._changed = threading.Condition()
        self._inbox: queue.SimpleQueue[tuple[_Worker, Any] | None] = queue.SimpleQueue()  # answers; None: look around
        self._workers: list[_Worker] = []
        self._queue: deque[Job] = deque()
        self._finished: deque[tuple[Job, Any]] = deque()
        self._stops: list[_Worker] = []
        self._lost: Counter[Job] = Counter()
        self._version, self._data, self._count = 0, None, 0
        self._missing = self.workers
        self._early_losses = 0
        self._broken: Failure | None = None
        self._error: BaseException | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._manage, daemon=True)
        self._thread.start()

    # -- what the study calls; a Ctrl-C may come at any moment, so nothing here calls an actor --

    def load(self, *data: Any) -> None:
        """Data that every later job gets first. Sent to each node once; must not be changed afterwards."""
        try:
            message = pickle.dumps(("data", data), protocol=5)
        except Exception as error:
            self._broken = Failure(f"the data cannot be sent: {type(error).__name__}: {error}")
            return
        held = self._ray.put(np.frombuffer(message, np.uint8))
        with self._changed:
            self._version, self._data = self._version + 1, held
        self._inbox.put(None)

    def submit(self, function: str | Callable, args: tuple = (), deadline_seconds: float | None = None) -> Job:
        """Queues a job. Its deadline counts from the moment a process that has the data starts it."""
        job = Job(name_of(function), args, deadline_seconds)
        job.pack()  # what cannot be sent fails here, at the caller
        with self._changed:
            if self._closed:
                raise SmidgenError("The pool of workers is closed.")
            self._queue.append(job)
        self._inbox.put(None)
        return job

    def wait(self, timeout: float | None = None) -> list[tuple[Job, Any]]:
        """Jobs that ended since the last call, each with its value or a `Failure`, in the order they ended.

        Blocks until there is one; returns an empty list after `timeout` seconds, or when no job is outstanding.
        """
        self._inbox.put(None)  # a Ctrl-C may have come between a job and the word of it
        with self._changed:
            self._changed.wait_for(lambda: self._finished or self._error or not self.outstanding, timeout)
            if self._error is not None:
                raise self._error
            out = list(self._finished)
            self._finished.clear()
        return out

    @property
    def outstanding(self) -> int:
        """Jobs queued or running."""
        with self._changed:
            return len(self._queue) + sum(w.job is not None for w in self._workers)

    @property
    def ready(self) -> int:
        """Workers that have answered."""
        with self._changed:
            return sum(w.state != "starting" for w in self._workers)

    def kill(self, job: Job) -> None:
        """Ends the job now; `wait` then gives a `Failure` of kind "stopped". A job that has ended is left alone."""
        with self._changed:
            if job in self._queue:
                self._queue.remove(job)
                self._end(job, STOPPED)
            for worker in self._workers:
                if worker.job is job:
                    worker.job = None  # what it still answers to that call is nothing to anyone
                    self._stops.append(worker)
                    self._end(job, STOPPED)
        self._inbox.put(None)

    def close(self) -> None:
        """Ends all workers; they hold nothing that is not in the run store. Then leaves or stops the cluster."""
        with self._changed:
            self._closed = True
        self._inbox.put(None)
        self._thread.join()
        self._cluster.close()

    def __enter__(self) -> "RayPool":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # -- the manager thread, which alone calls the actors --

    def _manage(self) -> None:
        try:
            while not self._closed:
                with self._changed:
                    self._step()
                found = self._inbox.get()
                with self._changed:
                    if found is not None and found[0] in self._workers:
                        self._heard(*found)
                    self._changed.notify_all()
        except BaseException as error:  # the caller's next `wait` raises it
            with self._changed:
                self._error = error
        with self._changed:
            for worker in list(self._workers):
                self._remove(worker)
                if worker.job is not None:
                    self._end(worker.job, STOPPED)
            while self._queue:
                self._end(self._queue.popleft(), STOPPED)
            self._data = None
            self._changed.notify_all()

    def _start(self) -> None:
        try:
            worker = _Worker(self._class.remote(self.memory, self._preload))
        except ModuleNotFoundError as error:  # Ray Client: the far side makes it
            self._check_installed(f"{error}")
            raise
        self._workers.append(worker)
        self._ask(worker, worker.actor.hello.remote())

    def _ask(self, worker: _Worker, answer: Any) -> None:
        """Has a call's answer put into the inbox, whichever thread of Ray brings it."""
        worker.answer = answer
        answer.future().add_done_callback(lambda future: self._inbox.put((worker, future)))

    def _remove(self, worker: _Worker) -> None:
        self._workers.remove(worker)
        try:
            self._ray.kill(worker.actor)
        except Exception:  # it is gone, or the cluster is
            return

    def _end(self, job: Job, outcome: Any) -> None:
        """A job's outcome; where it was lost with its process, another worker takes it up."""
        if isinstance(outcome, Failure) and outcome.kind == "died" and not self._broken:
            self._lost[job] += 1
            if self._lost[job] < _TAKES:
                self._queue.appendleft(job)
                return
        self._lost.pop(job, None)
        self._finished.append((job, outcome))
        self._changed.notify_all()

    def _heard(self, worker: _Worker, future: Any) -> None:
        """What a worker answers, or why it does not."""
        errors = self._ray.exceptions
        try:
            value = future.result()
        except errors.RayTaskError as error:
            self._failed(worker, f"{error}")
            return
        except errors.RayError as error:
            self._gone(worker, f"{error}")
            return
        measured: list[Any] = []
        if worker.state == "busy":
            value, *measured = pickle.loads(value)
        job, was = worker.job, worker.state
        worker.state, worker.answer, worker.job = "idle", None, None
        self._early_losses = 0
        if was == "starting":
            self._compare(value)
        elif job is not None:
            job.seconds, job.cpu_seconds, job.peak_bytes = measured
            self._end(job, value)

    def _compare(self, there: dict[str, str]) -> None:
        """Refuses workers with other versions than here."""
        differ = []
        for name, here in versions().items():
            exact = name == "smidgen"
            if there.get(name, "").split(".")[: None if exact else 2] != here.split(".")[: None if exact else 2]:
                differ.append(f"{name} is {there.get(name, 'missing')} there and {here} here")
        if differ:
            self._refuse(f"The workers of the Ray cluster have other versions: {'; '.join(differ)}.")

    def _check_installed(self, why: str) -> None:
        if "No module named 'smidgen" in why:
            self._refuse(f"The nodes of the Ray cluster lack smidgen {versions()['smidgen']}.")

    def _refuse(self, text: str) -> NoReturn:
        raise BadInput(f"{text} Install the same on all machines, else their numbers differ.")

    def _failed(self, worker: _Worker, why: str) -> None:
        """The actor lives, and could not do what it was asked."""
        self._check_installed(why)
        self._remove(worker)
        last = why.strip().rpartition("\n")[2][:300]
        if worker.state != "busy":
            self._broken = Failure(f"no worker could start: {last}", "died")
        if worker.job is not None:
            self._end(worker.job, Failure(last))

    def _gone(self, worker: _Worker, why: str) -> None:
        """The worker, or its node, is lost."""
        self._check_installed(why)
        self._remove(worker)
        first = why.strip().partition("\n")[0][:300]
        if worker.state in ("starting", "loading"):
            self._early_losses += 1
            if self._early_losses >= _GIVE_UP:
                self._broken = Failure(f"no worker could start: {first}", "died")
        if worker.job is not None:
            self._end(worker.job, Failure(f"its worker was lost {_TAKES} times: {first}", "died"))

    def _step(self) -> None:
        """Hands out data and jobs; replaces lost workers when there is work that no other will soon be free for."""
        for worker in self._stops:
            worker.actor.stop.remote(worker.number)
        self._stops.clear()
        while self._broken and self._queue:
            self._end(self._queue.popleft(), self._broken)
        for worker in self._workers:
            if worker.state != "idle":
                continue
            if worker.version != self._version:
                worker.state, worker.version = "loading", self._version
                self._ask(worker, worker.actor.load.remote(self._data))
            elif self._queue:
                self._count += 1
                job = self._queue.popleft()
                worker.state, worker.job, worker.number = "busy", job, self._count
                self._ask(worker, worker.actor.run.remote(self._count, job.packed, job.deadline_seconds))
        free = sum(w.state != "busy" for w in self._workers)
        self._missing = max(self._missing, min(self.workers - len(self._workers), len(self._queue) - free))
        while self._missing:
            self._missing -= 1
            self._start()
