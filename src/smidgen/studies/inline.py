"""The pool's interface without subprocesses."""

from collections import deque
from collections.abc import Callable
from typing import Any

from threadpoolctl import threadpool_limits

from smidgen.kit.errors import SmidgenError
from smidgen.studies.job import STOPPED, Job, name_of, outcome
from smidgen.studies.worker import run


class InlinePool:
    """The same interface without subprocesses, for tests and notebooks: `wait` runs one queued job, here.

    Nothing can be taken away from a job that runs here: deadlines and memory bounds are not kept.
    """

    def __init__(self, workers: int = 1, memory: int | None = None) -> None:
        self.workers, self.memory = 1, memory
        self._data: tuple = ()
        self._queue: deque[Job] = deque()
        self._finished: list[tuple[Job, Any]] = []
        self._closed = False

    def load(self, *data: Any) -> None:
        self._data = data

    def submit(self, function: str | Callable, args: tuple = (), deadline_seconds: float | None = None) -> Job:
        if self._closed:
            raise SmidgenError("The pool of workers is closed.")
        job = Job(name_of(function), args, deadline_seconds)
        self._queue.append(job)
        return job

    def wait(self, timeout: float | None = None) -> list[tuple[Job, Any]]:
        if self._queue and not self._finished:
            job = self._queue.popleft()
            with threadpool_limits(1):  # as in the workers: the same numbers
                self._finished.append(outcome(job, run(0, job.function, self._data + job.args)))
        out, self._finished = self._finished, []
        return out

    @property
    def outstanding(self) -> int:
        return len(self._queue)

    ready = 1
    broken = False

    def kill(self, job: Job) -> None:
        if job in self._queue:
            self._queue.remove(job)
            self._finished.append((job, STOPPED))

    def close(self) -> None:
        self._closed = True
        self._finished += [(job, STOPPED) for job in self._queue]
        self._queue.clear()

    def __enter__(self) -> "InlinePool":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
