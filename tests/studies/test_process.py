"""The pool's side of a worker, with shell scripts in the worker's place: how it is started, heard, told, and how it
ends."""

import os
import pickle
import select
import signal
import sys
import threading
from pathlib import Path

import pytest

from smidgen.studies import process as module
from smidgen.studies.process import Process

pytestmark = pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="watches processes through Linux's pidfd")
SOON = 30.0  # only a test that fails waits so long


@pytest.fixture
def start(monkeypatch, tmp_path):
    """`start(script, ...)`: a process of it that listens; `said` is what it says, its end last."""
    made = []

    def go(script, *, memory=None, preload=(), listen=True):
        file = tmp_path / f"worker{len(made)}"
        file.write_text(f"#!/bin/sh\n{script}\n")
        file.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(file))
        said, over = [], threading.Event()

        def lost(process, *why):
            said.append((process, *why))
            if why[0] != "error":
                over.set()

        process = Process(memory, preload, lambda *heard: said.append(heard), lost)
        process.said, process.over = said, over
        made.append(process)
        if listen:
            process.start()
        return process

    yield go
    for process in made:
        process.kill()
        if process._threads[2].ident is not None:
            process.join(SOON)


def end_of(process):
    """What was heard, and (kind, why) of its end."""
    assert process.over.wait(SOON)
    process.join(SOON)
    assert all(of is process for of, *_ in process.said)
    heard = [rest for _, *rest in process.said]
    return heard[:-1], tuple(heard[-1])


def test_it_is_started_alone_with_one_thread_and_our_paths(start, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "path", ["", "/some where", "/b"])
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.setenv("OF_OURS", "kept")
    report = f'printf "%s\\n" "$@" > {tmp_path}/args; env > {tmp_path}/env; cut -d" " -f6 /proc/$$/stat > {tmp_path}/of'
    process = start(report, memory=12.9, preload=("a.b", "c"))
    assert (process.state, process.version, process.deadline) == ("starting", 0, float("inf"))
    assert end_of(process) == ([], ("died", "ended with status 0"))
    command = ["-P", "-m", "smidgen.studies.worker", "--parent", str(os.getpid())]
    assert (tmp_path / "args").read_text().split("\n")[:-1] == [*command, "--memory", "12", "a.b", "c"]
    env = dict(line.split("=", 1) for line in (tmp_path / "env").read_text().splitlines())
    threads = ("OMP", "OPENBLAS", "MKL", "NUMEXPR")
    assert [env[f"{name}_NUM_THREADS"] for name in threads] == ["1"] * 4
    assert (env["VECLIB_MAXIMUM_THREADS"], env["LOKY_MAX_CPU_COUNT"], env["PYTHONHASHSEED"]) == ("1", "1", "0")
    assert (env["TOKENIZERS_PARALLELISM"], env["PYTHONWARNINGS"], env["OF_OURS"]) == ("false", "ignore", "kept")
    assert env["PYTHONPATH"] == f"{Path.cwd()}:/some where:/b"
    assert int((tmp_path / "of").read_text()) == process.pid != os.getsid(0)  # a session of its own
    for none in (None, 0):
        end_of(start(report, memory=none))
        assert (tmp_path / "args").read_text().split("\n")[:-1] == command


@pytest.mark.parametrize(
    ("script", "kind", "why"),
    [
        ("exit 0", "died", "ended with status 0"),
        ("echo first >&2; echo ' the last  ' >&2; exit 3", "died", "ended with status 3:  the last"),
        ("printf '\\n \\n' >&2; exit 4", "died", "ended with status 4"),
        ("kill -9 $$", "died", "died by signal 9 (the system may have run out of memory)"),
        ("echo why >&2; kill -15 $$", "died", "died by signal 15"),
        ("exit 73", "memory", ""),
        ("exec >&-; sleep 0.03; exit 5", "died", "ended with status 5"),  # it may still be at its end
        ("exit 72", "died", "ended with status 72"),
        ("printf '\\377\\376 b' >&2; exit 1", "died", "ended with status 1: \ufffd\ufffd b"),
        (f"printf 'a{'b' * 500}' >&2; exit 1", "died", f"ended with status 1: a{'b' * 299}"),
        (f"printf 'a{'b' * 3999}' >&2; exit 1", "died", f"ended with status 1: a{'b' * 299}"),
        (f"printf 'a{'b' * 4000}' >&2; exit 1", "died", f"ended with status 1: {'b' * 300}"),
        ("printf 'garbage'; exit 2", "died", "its answer cannot be read: UnpicklingError: "),
        ("printf 'cno_such\\nf\\n.'; exec sleep 1000", "died",
         "its answer cannot be read: ModuleNotFoundError: No module named 'no_such'"),
        ("printf 'cno_such\\nf\\n.'; trap '' TERM; exec sleep 1000", "died",
         "its answer cannot be read: ModuleNotFoundError: No module named 'no_such'"),
    ],
)  # fmt: skip
def test_how_it_ended(start, script, kind, why):
    heard, end = end_of(start(script))
    assert heard == [] and end[0] == kind
    assert end[1] == why if not why.endswith(": ") else end[1].startswith(why)


def test_messages_are_heard_in_their_order(start, tmp_path):
    (tmp_path / "said").write_bytes(pickle.dumps(("ready",)) + pickle.dumps(("done", 1, 2.5)))
    heard, end = end_of(start(f"cat {tmp_path}/said; exit 5"))
    assert heard == [[("ready",)], [("done", 1, 2.5)]] and end == ("died", "ended with status 5")


def test_what_is_sent_reaches_it_and_what_cannot_be_is_told(start, tmp_path):
    process = start(f"cat > {tmp_path}/in; exit 6")
    process.send(pickle.dumps("bytes"))
    process.send(memoryview(pickle.dumps("view")))
    process.send(("data", [1]))
    process.send(("data", lambda: 0))
    heard, end = end_of(process)
    (error,) = heard
    assert error[0] == "error" and error[1].startswith("the data cannot be sent: ") and "lambda" in error[1]
    assert end == ("died", "ended with status 6")  # its input ended: nothing more is sent
    with (tmp_path / "in").open("rb") as file:
        assert [pickle.load(file) for _ in range(3)] == ["bytes", "view", ("data", [1])]


def test_who_does_not_listen_ends_as_any_other(start):
    process = start("exec <&-; exec sleep 1000")
    process.send(b"x" * 1_000_000)  # more than a pipe holds
    assert not process.over.wait(0.05)
    process.kill()
    assert end_of(process) == ([], ("died", "died by signal 9 (the system may have run out of memory)"))


def test_all_that_it_started_ends_with_it_and_its_number_is_not_used_again(start, tmp_path, monkeypatch):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDWR)
    process = start(f"sleep 1000 > /dev/null 2>&1 & echo $! > {fifo}; read line; exit 0")
    child = os.pidfd_open(int(os.read(reader, 100)))
    assert process.resident() > 100_000
    process.send(b"go on\n")
    assert end_of(process)[1] == ("died", "ended with status 0")
    assert select.select([child], [], [], SOON)[0]
    assert process.resident() == 0
    used = []
    monkeypatch.setattr(os, "killpg", lambda *given: used.append(given))
    process.kill()
    assert used == []
    os.close(child)
    os.close(reader)


def test_a_kill_is_of_the_group_and_of_the_process_alone_where_there_are_none(start, monkeypatch):
    process = start("exec sleep 1000")
    monkeypatch.delattr(os, "killpg")
    process.kill()
    assert end_of(process)[1][1].startswith("died by signal 9")
    monkeypatch.undo()
    used = []

    def gone(pid, number):
        used.append((pid, number))
        raise ProcessLookupError

    other = Process.__new__(Process)
    other._lock, other._reaped = threading.Lock(), False
    other._proc = type("Popen", (), {"pid": 77})()
    monkeypatch.setattr(module.os, "killpg", gone)
    other.kill()
    assert used == [(77, signal.SIGKILL)]
