"""A job for the workers, what it may end as, and how its function is named."""

import pickle
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True)
class Failure:
    """A job that gave no value. `kind`: "error" (it raised), "memory", "deadline", "died" or "stopped" (killed by us).

    Only "error" and "died" say something about the job itself; the others depend on what it was allowed.
    """

    reason: str
    kind: str = "error"


STOPPED = Failure("stopped", "stopped")


@dataclass(eq=False)
class Job:
    """A handle. Its measurements are 0 until the job has ended well."""

    function: str
    args: tuple
    deadline_seconds: float | None = None
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_bytes: int = 0  # resident, of the whole process: what was loaded counts
    packed: bytes = field(default=b"", repr=False)

    def pack(self) -> None:
        """Makes the message that a worker gets. Raises whatever pickle does at arguments that cannot be sent."""
        self.packed = pickle.dumps(("call", 0, self.function, self.args), protocol=5)


def name_of(function: str | Callable) -> str:
    """ "module:function"; raises ValueError for what another process could not find under its name."""
    if isinstance(function, str):
        return function
    name = f"{function.__module__}:{function.__qualname__}"
    if "<" in name or function.__module__ == "__main__":
        raise ValueError(f"a job must be a function of an importable module, got {name}")
    return name


def outcome(job: Job, message: tuple) -> tuple[Job, Any]:
    """The job, with its measurements, and what its answer means."""
    if message[0] == "done":
        _, _, value, job.seconds, job.cpu_seconds, job.peak_bytes = message
        return job, value
    _, _, kind, text = message
    if kind == "MemoryError":
        return job, Failure(f"out of memory: {text or 'an allocation failed'}", "memory")
    return job, Failure(f"{kind}: {text}")


class AnyPool(Protocol):
    """What runs jobs: `Pool` (processes here), `InlinePool` (this process), `RayPool` (a cluster)."""

    workers: int

    def load(self, *data: Any) -> None: ...

    def submit(self, function: str | Callable, args: tuple = (), deadline_seconds: float | None = None) -> Job: ...

    def wait(self, timeout: float | None = None) -> list[tuple[Job, Any]]: ...

    @property
    def outstanding(self) -> int: ...

    @property
    def ready(self) -> int: ...

    def kill(self, job: Job) -> None: ...

    def close(self) -> None: ...
