"""The pool's side of one worker process: pipes, threads that read and write them, its end."""

import contextlib
import math
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from smidgen.studies.worker import MEMORY_EXIT, resident_bytes

# One thread each, always: sums in another order are other numbers, and these must not depend on the worker count.
_ENVIRONMENT = dict.fromkeys(
    (
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "MKL_NUM_THREADS",
        "NUMEXPR_NUM_THREADS",
        "VECLIB_MAXIMUM_THREADS",
        "LOKY_MAX_CPU_COUNT",
    ),
    "1",
)
_ENVIRONMENT |= {"TOKENIZERS_PARALLELISM": "false", "PYTHONHASHSEED": "0", "PYTHONWARNINGS": "ignore"}
_TAIL = 4000  # bytes of the worker's standard error that are kept, to say why it died


class Process:
    """A worker. `heard(process, message)` and `lost(process, kind, why)` are called from its reader thread.

    Must be made by a thread that lives as long as the worker may: on Linux the worker dies with that thread.

    Attributes:
        state: "starting", "idle", "loading" or "busy"; kept by the pool, as are version (of the data) and deadline.
    """

    def __init__(
        self, memory: int | None, preload: Sequence[str], heard: Callable[..., None], lost: Callable[..., None]
    ) -> None:
        self.state, self.version, self.deadline = "starting", 0, math.inf
        self._heard, self._lost = heard, lost
        path = os.pathsep.join(p or str(Path.cwd()) for p in sys.path)
        command = [sys.executable, "-P", "-m", "smidgen.studies.worker", "--parent", str(os.getpid())]
        if memory:
            command += ["--memory", str(int(memory))]
        command += preload
        # An own session: a terminal's Ctrl-C goes to us alone, and the group can be killed with what it started.
        environment = dict(os.environ) | _ENVIRONMENT | {"PYTHONPATH": path}
        self._proc = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            env=environment,
        )
        self._outbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._reaped = False
        self._tail = b""
        self._threads = [
            threading.Thread(target=target, daemon=True) for target in (self._write, self._read_errors, self._read)
        ]

    def start(self) -> None:
        """Begins to listen; from now on `heard` and `lost` may be called."""
        for thread in self._threads:
            thread.start()

    @property
    def pid(self) -> int:
        return self._proc.pid

    def resident(self) -> int:
        """Resident bytes now; 0 where the system does not tell."""
        return resident_bytes(self.pid) or 0

    def send(self, message: Any) -> None:
        """Queues a message: bytes as they are, anything else pickled straight into the pipe."""
        self._outbox.put(message)

    def kill(self) -> None:
        """Ends the process and all it started. Its pipes close behind it."""
        with self._lock:
            if not self._reaped:  # else its number may be another's by now
                self._signal_group()

    def join(self, timeout: float = 10.0) -> None:
        """Waits until the killed process is gone."""
        self._threads[2].join(timeout)

    def _signal_group(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if hasattr(os, "killpg"):
                os.killpg(self.pid, signal.SIGKILL)
            else:
                self._proc.kill()

    def _read(self) -> None:
        kind, why = "died", ""
        assert self._proc.stdout is not None
        with self._proc.stdout as stream:
            while True:
                try:
                    message = pickle.load(stream)
                except (EOFError, OSError):
                    break
                except Exception as error:  # cut in mid-message by its death, or a value of a class unknown here
                    why = f"its answer cannot be read: {type(error).__name__}: {error}"
                    if not isinstance(error, pickle.UnpicklingError):
                        self.kill()
                    break
                self._heard(self, message)
        if hasattr(os, "waitid"):  # see it end, end its children, and only then give its number back
            with contextlib.suppress(ChildProcessError):
                os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        with self._lock:
            self._signal_group()
            status = self._proc.wait()
            self._reaped = True
        self._outbox.put(None)
        self._threads[1].join(1.0)
        if status == MEMORY_EXIT:
            kind = "memory"
        elif status < 0:
            hint = " (the system may have run out of memory)" if status == -9 else ""
            why = why or f"died by signal {-status}{hint}"
        else:
            last = self._tail.decode(errors="replace").strip().rpartition("\n")[2]
            why = why or f"ended with status {status}" + (f": {last[:300]}" if last else "")
        self._lost(self, kind, why)

    def _write(self) -> None:
        assert self._proc.stdin is not None
        stream = self._proc.stdin
        with contextlib.suppress(OSError):  # the worker is gone: its reader tells
            while (message := self._outbox.get()) is not None:
                try:
                    if isinstance(message, bytes | memoryview):
                        stream.write(message)
                    else:
                        pickle.dump(message, stream, protocol=5)
                    stream.flush()
                except OSError:
                    break
                except Exception as error:
                    self._lost(self, "error", f"the data cannot be sent: {type(error).__name__}: {error}")
                    break
        with contextlib.suppress(OSError):
            stream.close()

    def _read_errors(self) -> None:
        assert self._proc.stderr is not None
        with self._proc.stderr as stream, contextlib.suppress(OSError):
            while chunk := os.read(stream.fileno(), 65536):
                self._tail = (self._tail + chunk)[-_TAIL:]
