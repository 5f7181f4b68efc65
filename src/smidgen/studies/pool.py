"""Workers that jobs can be taken away from: a deadline, a memory bound or a crash ends one process, not the study.

`Pool` runs jobs in subprocesses (`studies.worker`); `InlinePool` has the same interface and runs them here, one by one.
A job is the name of a function, "module:function", called with the loaded data and then its own arguments.
"""

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from smidgen.budget.budget import show_bytes
from smidgen.kit.errors import SmidgenError
from smidgen.studies.inline import InlinePool
from smidgen.studies.job import STOPPED, Failure, Job, name_of, outcome
from smidgen.studies.process import Process
from smidgen.studies.worker import PRELOAD, WATCH_SECONDS

__all__ = ["Failure", "InlinePool", "Job", "Pool"]

_GIVE_UP = 3  # workers in a row that died before they were ready: there is something wrong with all of them


class Pool:
    """Subprocess workers, started at once in the background.

    Args:
        workers: how many processes, at least 1.
        memory: bytes, resident, that each worker may take; None: no bound.
        preload: modules that each worker imports while the caller still reads its file.

    Use as a context manager, or call `close`. When this process dies, however it dies, the workers go as well.
    """

    def __init__(self, workers: int, memory: int | None = None, preload: Sequence[str] = PRELOAD) -> None:
        if workers < 1:
            raise ValueError(f"a pool needs at least 1 worker, got {workers}")
        self.workers, self.memory, self._preload = workers, memory, preload
        self._changed = threading.Condition()
        self._processes: list[Process] = []
        self._queue: deque[Job] = deque()
        self._running: dict[Process, Job] = {}
        self._finished: deque[tuple[Job, Any]] = deque()
        self._version = 0
        self._data: Any = ("data", ())  # the message
        self._missing = workers
        self._early_deaths = 0
        self._broken: Failure | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._manage, daemon=True)
        self._thread.start()

    # -- what the study calls --

    def load(self, *data: Any) -> None:
        """Data that every later job gets first. Sent to each worker once; must not be changed afterwards."""
        self._load(("data", data))

    def load_packed(self, message: bytes | memoryview) -> None:
        """The same, of a pickle of `("data", values)`."""
        self._load(message)

    def submit(self, function: str | Callable, args: tuple = (), deadline_seconds: float | None = None) -> Job:
        """Queues a job. Its deadline counts from the moment a worker that has the data starts it."""
        job = Job(name_of(function), args, deadline_seconds)
        job.pack()  # what cannot be sent fails here, at the caller
        return self.queue(job)

    def queue(self, job: Job) -> Job:
        """Queues a packed job."""
        with self._changed:
            if self._closed:
                raise SmidgenError("The pool of workers is closed.")
            self._queue.append(job)
            self._changed.notify_all()
        return job

    def wait(self, timeout: float | None = None) -> list[tuple[Job, Any]]:
        """Jobs that ended since the last call, each with its value or a `Failure`, in the order they ended.

        Blocks until there is one; returns an empty list after `timeout` seconds, or when no job is outstanding.
        """
        with self._changed:
            self._changed.notify_all()  # a Ctrl-C may have come between a job and the word of it
            self._changed.wait_for(lambda: self._finished or not (self._queue or self._running), timeout)
            out = list(self._finished)
            self._finished.clear()
        return out

    @property
    def outstanding(self) -> int:
        """Jobs queued or running."""
        with self._changed:
            return len(self._queue) + len(self._running)

    @property
    def ready(self) -> int:
        """Workers that have finished their imports."""
        with self._changed:
            return sum(p.state not in ("starting", "dead") for p in self._processes)

    @property
    def broken(self) -> bool:
        """Whether every job fails, as no worker can start or hold the data."""
        with self._changed:
            return self._broken is not None

    def kill(self, job: Job) -> None:
        """Ends the job now; `wait` then gives a `Failure` of kind "stopped". A job that has ended is left alone."""
        with self._changed:
            if job in self._queue:
                self._queue.remove(job)
                self._end(job, STOPPED)
            for process, running in list(self._running.items()):
                if running is job:
                    self._stop(process, STOPPED)

    def close(self) -> None:
        """Kills all workers and waits for their end; they hold nothing that is not in the run store."""
        with self._changed:
            self._closed = True
            processes = list(self._processes)
            for process in processes:
                self._stop(process, STOPPED)
            while self._queue:
                self._end(self._queue.popleft(), STOPPED)
            self._changed.notify_all()
        self._thread.join()
        for process in processes:
            process.join()

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _load(self, message: Any) -> None:
        with self._changed:
            self._version, self._data = self._version + 1, message
            self._changed.notify_all()

    # -- called by the threads; each holds the lock --

    def _end(self, job: Job, outcome: Any) -> None:
        self._finished.append((job, outcome))
        self._changed.notify_all()

    def _give(self, process: Process) -> None:
        """The next job goes to an idle worker that has the data."""
        job = self._queue.popleft()
        process.state, self._running[process] = "busy", job
        process.deadline = time.monotonic() + (math.inf if job.deadline_seconds is None else job.deadline_seconds)
        process.send(job.packed)

    def _stop(self, process: Process, failure: Failure) -> None:
        """Kills the worker and gives its job, if any, the failure."""
        process.kill()
        self._processes.remove(process)
        job = self._running.pop(process, None)
        if job is not None:
            self._end(job, failure)

    def _heard(self, process: Process, message: tuple) -> None:
        """A worker's message."""
        with self._changed:
            if process not in self._processes:
                return  # killed meanwhile; its job has its outcome
            process.state = "idle"
            if message[0] in ("ready", "loaded"):
                self._early_deaths = 0
            else:
                self._end(*outcome(self._running.pop(process), message))
            if process.version == self._version and self._queue and not (self._broken or self._closed):
                self._give(process)  # here: the manager's thread would wake first, and wait for its turn
            self._changed.notify_all()

    def _lost(self, process: Process, kind: str, why: str) -> None:
        """A worker ended on its own, or passed its memory."""
        with self._changed:
            if process not in self._processes:
                return
            early = process.state in ("starting", "loading")
            if kind == "memory":
                why = f"needed more than {show_bytes(self.memory or 0)}"
                why = f"out of memory: the data alone {why}" if early else f"out of memory: {why}"
            self._stop(process, Failure(why, kind))
            if early:
                self._early_deaths += 1
                if kind != "died":  # another worker would fare the same
                    self._broken = Failure(why, kind)
                elif self._early_deaths >= _GIVE_UP:
                    self._broken = Failure(f"no worker could start: {why}", kind)
            self._changed.notify_all()

    def _manage(self) -> None:
        """The manager thread: starts all processes (each dies with the thread that started it) and keeps the rules."""
        while True:
            with self._changed:
                if self._closed:
                    return
                pause = self._step()
                if not self._missing:
                    self._changed.wait(pause)
                    continue
                self._missing -= 1
            process = Process(self.memory, self._preload, self._heard, self._lost)  # takes a while: not under the lock
            with self._changed:
                closed = self._closed
                if not closed:
                    self._processes.append(process)
            process.start()
            if closed:
                process.kill()
                process.join()
                return

    def _step(self) -> float | None:
        """Enforces and hands out; gives the seconds until it must look again even if nothing is heard."""
        now = time.monotonic()
        for process, job in list(self._running.items()):
            if process.deadline <= now:
                self._stop(process, Failure(f"took longer than its {job.deadline_seconds:.3g} s", "deadline"))
        for process in list(self._processes) if self.memory else ():
            if process.resident() > (self.memory or 0):
                self._lost(process, "memory", "")
        while self._broken and self._queue:
            self._end(self._queue.popleft(), self._broken)
        for process in self._processes:
            if process.state == "idle" and process.version != self._version:
                process.state, process.version = "loading", self._version
                process.send(self._data)
            elif process.state == "idle" and self._queue:
                self._give(process)
        # A lost worker is replaced when there is work that no other will soon be free for.
        free = sum(p.state != "busy" for p in self._processes)
        room = self.workers - len(self._processes)
        self._missing = max(self._missing, min(room, len(self._queue) - free))
        pauses = [p.deadline - now for p in self._running]
        if self.memory and self._processes:
            pauses.append(WATCH_SECONDS)
        pause = min(pauses, default=math.inf)
        return None if pause == math.inf else max(pause, 0.0)
