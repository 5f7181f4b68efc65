"""A worker's own parts, run in this process: what it measures, when it ends, and how it answers."""

import contextlib
import gc
import importlib
import io
import os
import pickle
import queue
import re
import signal
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from smidgen.studies import worker

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


class Ended(SystemExit):
    """In place of the end of the process."""


@pytest.fixture(autouse=True)
def ends(monkeypatch):
    def end(status):
        raise Ended(status)

    monkeypatch.setattr(os, "_exit", end)


def own(name):
    """Kilobytes of this process, as bytes."""
    return 1024 * int(re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())[1])


class Nowhere:
    """A system without /proc."""

    def __init__(self, path):
        raise FileNotFoundError(path)


def test_functions_are_found_by_name():
    assert worker.resolve("os:path.join") is os.path.join and worker.resolve("math:pi") > 3
    for wrong in ("os:path.no", "no_such_module:f", "math:pi:x"):
        with pytest.raises((AttributeError, ImportError)):
            worker.resolve(wrong)


def test_memory_of_a_process(monkeypatch):
    assert worker.resident_bytes() == pytest.approx(own("VmRSS"), rel=0.1)
    assert worker.resident_bytes(os.getpid()) == pytest.approx(own("VmRSS"), rel=0.1)
    assert worker.resident_bytes(2**30) is None
    held = np.ones(15_000_000)
    high = worker.peak_bytes()
    assert high == pytest.approx(own("VmHWM"), rel=0.05) and high >= worker.resident_bytes() >= held.nbytes
    del held
    worker.reset_peak()
    assert worker.peak_bytes() < high - 80_000_000
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    monkeypatch.setattr(worker, "Path", Nowhere)
    assert worker.resident_bytes() is None and worker.peak_bytes() == 1024 * most
    worker.reset_peak()
    monkeypatch.setattr(sys, "platform", "darwin")
    assert worker.peak_bytes() == most  # there it is bytes
    monkeypatch.setitem(sys.modules, "resource", None)
    assert worker.peak_bytes() == 0


@pytest.mark.parametrize("text", ["", "1", "1 many 2"])
def test_what_proc_says_otherwise_is_not_known(monkeypatch, text):
    monkeypatch.setattr(worker, "Path", lambda path: SimpleNamespace(read_bytes=text.encode, read_text=lambda: text))
    assert worker.resident_bytes() is None
    assert worker.peak_bytes() > 1_000_000  # the second best


def test_the_kernel_is_told_to_end_it_with_its_parent(monkeypatch):
    asked = []
    monkeypatch.setattr(worker.ctypes, "CDLL", lambda name: SimpleNamespace(prctl=lambda *a: asked.append((name, *a))))
    worker._die_with(os.getppid())
    assert asked == [(None, 1, signal.SIGKILL, 0, 0, 0)]
    with pytest.raises(Ended) as ended:
        worker._die_with(os.getppid() + 1)
    assert ended.value.code == 1
    for missing in (OSError, AttributeError):

        def none(name, missing=missing):
            raise missing

        monkeypatch.setattr(worker.ctypes, "CDLL", none)
        worker._die_with(os.getppid())
    monkeypatch.setattr(sys, "platform", "darwin")
    worker._die_with(os.getppid())
    assert len(asked) == 2


def test_it_looks_now_and_then_whether_it_is_too_big_or_alone(monkeypatch):
    naps, size, peak = [], [100], [0]
    monkeypatch.setattr(worker, "resident_bytes", lambda: size[0])
    monkeypatch.setattr(worker, "peak_bytes", lambda: peak[0])

    def watched(memory, parent=None, looks=3):
        naps.clear()

        def sleep(seconds):
            naps.append(seconds)
            if len(naps) == looks:
                raise InterruptedError

        monkeypatch.setattr(worker.time, "sleep", sleep)
        with pytest.raises((Ended, InterruptedError)) as ended:
            worker._watch(memory, os.getppid() if parent is None else parent)
        return ended.value.code if isinstance(ended.value, Ended) else list(naps)

    assert watched(100) == [0.02] * 3 and watched(None) == [0.5] * 3
    assert watched(99) == 73 and naps == []
    assert watched(None, 2**30) == 1 and watched(100, 2**30) == 1
    size[0], peak[0] = None, 100  # where the system does not tell the one
    assert watched(100) == [0.02] * 3 and watched(99) == 73


def test_messages_go_on_until_the_stream_ends():
    inbox = queue.SimpleQueue()
    source = io.BytesIO(pickle.dumps(("data", (1,))) + pickle.dumps(("call", 2)))
    with pytest.raises(Ended) as ended:
        worker._receive(source, inbox)
    assert ended.value.code == 0 and [inbox.get(), inbox.get()] == [("data", (1,)), ("call", 2)] and inbox.empty()
    worker._receive(io.BytesIO(b"cno_such_module\nf\n." + pickle.dumps(1)), inbox)
    assert inbox.get() == ("broken", "ModuleNotFoundError: No module named 'no_such_module'") and inbox.empty()


def raise_long():
    raise LookupError("x" * 3000)


def interrupt():
    raise KeyboardInterrupt


def test_a_call_is_measured_and_its_error_is_its_answer(monkeypatch):
    reset = []
    monkeypatch.setattr(worker, "reset_peak", lambda: reset.append(1))
    monkeypatch.setattr(worker, "peak_bytes", lambda: 77)
    wall, processor = iter([5.0, 7.5] * 9), iter([1.0, 1.25] * 9)
    clocks = SimpleNamespace(perf_counter=lambda: next(wall), process_time=lambda: next(processor))
    monkeypatch.setattr(worker, "time", clocks)
    assert worker.run(4, "operator:sub", (9, 2)) == ("done", 4, 7, 2.5, 0.25, 77) and reset == [1]
    assert worker.run(5, "operator:truediv", (9, 0)) == ("error", 5, "ZeroDivisionError", "division by zero")
    assert worker.run(6, "sys:exit", (3,)) == ("error", 6, "SystemExit", "3")
    assert worker.run(7, f"{__name__}:raise_long", ()) == ("error", 7, "LookupError", "x" * 2000)
    with pytest.raises(KeyboardInterrupt):
        worker.run(8, f"{__name__}:interrupt", ())


def test_freed_memory_is_given_back_where_it_is_much(monkeypatch):
    size, done = [0], []
    monkeypatch.setattr(worker, "resident_bytes", lambda: size[0])
    monkeypatch.setattr(gc, "collect", lambda: done.append("collect"))
    library = SimpleNamespace(malloc_trim=lambda pad: done.append((pad,)))
    monkeypatch.setattr(worker.ctypes, "CDLL", lambda name: library if name is None else None)
    for resident, does in ((50_000_000, False), (50_000_001, True), (None, False)):
        size[0] = resident
        done.clear()
        worker._trim(20_000_000)
        assert done == (["collect", (0,)] if does else [])
    library.malloc_trim = None
    size[0] = 10**9
    with pytest.raises(TypeError):  # only what is not there is passed over
        worker._trim(0)
    del library.malloc_trim
    worker._trim(0)


@pytest.fixture
def main(monkeypatch):
    """`main(options, *messages)`: what the worker answers on its pipes, its end, and what was seen of it."""
    seen = SimpleNamespace(imported=[], bases=[], watched=[], frozen=0, parents=[], opened=[])
    kept, before = [os.dup(0), os.dup(1)], signal.getsignal(signal.SIGINT)
    real, load, sizes = os.fdopen, importlib.import_module, iter(range(100, 200, 10))

    def opened(*args):
        seen.opened.append(real(*args))
        return seen.opened[-1]

    def imported(name, *more):
        seen.imported.append(name)
        return load(name, *more)

    def freeze():
        seen.frozen += 1

    monkeypatch.setattr(os, "fdopen", opened)
    monkeypatch.setattr(importlib, "import_module", imported)
    monkeypatch.setattr(gc, "freeze", freeze)
    monkeypatch.setattr(worker, "_die_with", seen.parents.append)
    monkeypatch.setattr(worker, "_watch", lambda *given: seen.watched.append(given))
    monkeypatch.setattr(worker, "resident_bytes", lambda: next(sizes))
    monkeypatch.setattr(worker, "_trim", seen.bases.append)

    def go(options, *messages, deaf=False):
        (here, there), (back, out), others = os.pipe(), os.pipe(), set(threading.enumerate())
        os.write(there, b"".join(m if isinstance(m, bytes) else pickle.dumps(m) for m in messages))
        os.dup2(here, 0)
        os.dup2(out, 1)
        if deaf:
            os.close(back)
        monkeypatch.setattr(sys, "argv", ["worker", *options])
        with pytest.raises(Ended) as ended:
            worker.main()
        seen.ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        seen.input = os.read(0, 10)
        seen.printed = os.fstat(1) == os.fstat(2) or os.fstat(1).st_ino == os.fstat(2).st_ino
        os.close(there)
        for thread in set(threading.enumerate()) - others:
            thread.join(30)
        for file in seen.opened:
            with contextlib.suppress(BrokenPipeError):
                file.close()
        for fd in (here, out):
            os.close(fd)
        answers = []
        if not deaf:
            with real(back, "rb") as stream:
                os.dup2(kept[1], 1)
                while True:
                    try:
                        answers.append(pickle.load(stream))
                    except EOFError:
                        break
        return answers, ended.value.code, seen

    yield go
    signal.signal(signal.SIGINT, before)
    for fd, to in zip(kept, (0, 1), strict=True):
        os.dup2(fd, to)
        os.close(fd)


BROKEN = b"cno_such_module\nf\n."


def test_the_whole_worker(main, capfd):
    answers, status, seen = main(
        ["--parent", "12", "--memory", "345", "json", "no_such_module", "wave"],
        ("call", 1, "operator:neg", (4,)),
        ("data", (10, 3)),
        ("call", 2, "operator:sub", ()),
        ("call", 3, "threading:Lock", ()),
        ("data", (5,)),
        ("call", 4, "operator:sub", (1,)),
        BROKEN,
    )
    assert answers[:3] == [("ready",), ("done", 1, -4, *answers[1][3:]), ("loaded",)]
    assert [a[:3] for a in answers[3:]] == [
        ("done", 2, 7), ("error", 3, "TypeError"), ("loaded",), ("done", 4, 4)
    ]  # fmt: skip
    assert status == 1 and "No module named 'no_such_module'" in capfd.readouterr().err
    assert seen.parents == [12] and seen.watched == [(345, 12)] and seen.frozen == 1
    assert seen.imported[:3] == ["json", "no_such_module", "wave"]
    assert seen.bases == [100, 110, 110, 120]  # what was resident before the job's own
    assert seen.ignored and seen.input == b"" and seen.printed


def test_a_value_that_cannot_be_sent_and_a_parent_that_is_gone(main):
    answers, status, seen = main(["--parent", "7"], ("call", 9, "threading:Lock", ()), BROKEN)
    assert answers[1][:3] == ("error", 9, "TypeError") and status == 1
    assert answers[1][3].startswith("its value cannot be sent: cannot pickle") and seen.watched == [(None, 7)]


def test_nobody_hears_it(main):
    assert main(["--parent", "7"], BROKEN, deaf=True)[:2] == ([], 0)
