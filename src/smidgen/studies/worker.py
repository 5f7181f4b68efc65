"""One worker process: `python -P -m smidgen.studies.worker --parent PID [--memory BYTES] [MODULE ...]`.

It is a plain subprocess and not `multiprocessing`, so a person's script needs no main guard. Pickles go over the two
pipes that it was started with, only between our own processes. From the pool: `("data", values)` once, then
`("call", id, "module:function", args)`. To the pool: `("ready",)`, `("loaded",)`, then `("done", id, value, seconds,
cpu_seconds, peak_bytes)` or `("error", id, kind, message)`.
"""

import argparse
import contextlib
import ctypes
import gc
import importlib
import os
import pickle
import queue
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

MEMORY_EXIT = 73  # exit status: resident memory passed the bound
WATCH_SECONDS = 0.02
KEPT_BYTES = 30_000_000  # what a job may leave resident without a clean-up
PRELOAD = ("pandas", "scipy.sparse", "sklearn.linear_model", "sklearn.ensemble", "smidgen.studies.trial")


def resolve(name: str) -> Any:
    """The function of "module:function"."""
    module, _, path = name.partition(":")
    found: Any = importlib.import_module(module)
    for part in path.split("."):
        found = getattr(found, part)
    return found


def resident_bytes(pid: int | str = "self") -> int | None:
    """Resident memory of a process now; None where there is no /proc, or no such process."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        return None


def peak_bytes() -> int:
    """Peak resident memory of this process since `reset_peak`, or since its start where that cannot be reset.

    Linux's getrusage is only second best: its number is handed down from the parent that started the process.
    """
    with contextlib.suppress(OSError, IndexError, ValueError):
        return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) * 1024
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def reset_peak() -> None:
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _die_with(parent: int) -> None:
    """The kernel ends this process with its parent, even while native code holds the interpreter."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before the line above
        os._exit(1)


def _watch(memory: int | None, parent: int) -> None:
    """Exits the process when it is too big or alone. The pool looks too: this thread cannot run while native code
    holds the interpreter, and the pool cannot while it is stopped."""
    while True:
        if memory and (resident_bytes() or peak_bytes()) > memory:
            os._exit(MEMORY_EXIT)
        if os.getppid() != parent:
            os._exit(1)
        time.sleep(WATCH_SECONDS if memory else 0.5)


def _receive(source: Any, inbox: "queue.SimpleQueue[tuple]") -> None:
    """Passes messages on; the end of the stream ends the process, also in the middle of a job."""
    while True:
        try:
            message = pickle.load(source)
        except EOFError:
            os._exit(0)
        except Exception as error:
            inbox.put(("broken", f"{type(error).__name__}: {error}"))
            return
        inbox.put(message)


def run(number: int, name: str, args: tuple) -> tuple:
    """Calls the function; the message that answers a call."""
    reset_peak()
    start, cpu = time.perf_counter(), time.process_time()
    try:
        value = resolve(name)(*args)
    except KeyboardInterrupt:  # only in a process that has not left Ctrl-C to another
        raise
    except BaseException as error:  # any failure of a job, sys.exit too, is its answer and not the worker's end
        return ("error", number, type(error).__name__, f"{error}"[:2000])
    return ("done", number, value, time.perf_counter() - start, time.process_time() - cpu, peak_bytes())


def _trim(base: int) -> None:
    """Gives freed memory back to the system, else what one job freed would count as the next one's."""
    if (resident_bytes() or 0) > base + KEPT_BYTES:
        gc.collect()
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--memory", type=int)
    parser.add_argument("modules", nargs="*", help="imported before the worker says that it is ready")
    options = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to decide
    _die_with(options.parent)

    # Libraries that print, and children that read, must not reach the pipes.
    source, sink = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.dup2(2, 1)

    inbox: queue.SimpleQueue[tuple] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(source, inbox), daemon=True).start()
    threading.Thread(target=_watch, args=(options.memory, options.parent), daemon=True).start()
    for module in options.modules:
        with contextlib.suppress(Exception):  # what is really missing is reported by the job that needs it
            importlib.import_module(module)
    gc.freeze()

    def answer(message: tuple) -> None:
        try:
            packed = pickle.dumps(message, protocol=5)
        except Exception as error:
            packed = pickle.dumps(("error", message[1], type(error).__name__, f"its value cannot be sent: {error}"))
        sink.write(packed)
        sink.flush()

    data, base = (), resident_bytes() or 0
    try:
        answer(("ready",))
        while True:
            message = inbox.get()
            if message[0] == "data":
                data, base = message[1], resident_bytes() or 0
                answer(("loaded",))
            elif message[0] == "call":
                answer(run(message[1], message[2], data + message[3]))
                del message
                _trim(base)
            else:
                print(message[1], file=sys.stderr, flush=True)
                os._exit(1)
    except BrokenPipeError:  # the parent is gone
        os._exit(0)


if __name__ == "__main__":
    main()
