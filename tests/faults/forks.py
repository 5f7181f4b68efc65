"""Processes to be killed: a server that has imported what they need forks one for each order, so they start in
milliseconds. `python forks.py MODULE...` is the server; `Forks` speaks with it."""

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import traceback
from pathlib import Path

from calls import LIBRARY


class Forks:
    """The server, with these modules imported. Use as a context manager."""

    def __init__(self, library: Path | None, *modules: str) -> None:
        environment = dict(os.environ) | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
        if library is not None:
            environment |= {"LD_PRELOAD": str(library), LIBRARY: str(library)}
        self._server = subprocess.Popen(
            [sys.executable, __file__, *modules], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=environment,
        )  # fmt: skip
        self._ended: dict[int, int] = {}
        assert self._line() == ["up"]

    def start(self, function: str, log: Path, **arguments) -> int:
        """The number of a new process that runs `module:function` and adds what it prints to the log."""
        self._server.stdin.write(json.dumps({"function": function, "log": str(log), "arguments": arguments}) + "\n")
        self._server.stdin.flush()
        while (line := self._line())[0] != "started":
            self._ended[int(line[1])] = int(line[2])
        return int(line[1])

    def wait(self, pid: int) -> int:
        """Its exit status; minus the signal that ended it."""
        while pid not in self._ended:
            line = self._line()
            self._ended[int(line[1])] = int(line[2])
        return self._ended.pop(pid)

    def run(self, function: str, log: Path, **arguments) -> int:
        return self.wait(self.start(function, log, **arguments))

    def kill(self, pid: int) -> int:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        return self.wait(pid)

    def __enter__(self) -> "Forks":
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stdin.close()
        self._server.wait()
        self._server.stdout.close()

    def _line(self) -> list[str]:
        words = self._server.stdout.readline().split()
        assert words, "the server is gone"
        return words


def say(*words: object) -> None:
    """A line that is written when this returns, whatever becomes of the process."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def _child(order: dict) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    empty = os.open(os.devnull, os.O_RDONLY)
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for number, file in ((0, empty), (1, log), (2, log)):
        os.dup2(file, number)
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")  # noqa: PTH123, SIM115
    status = 70
    try:
        module, _, name = order["function"].partition(":")
        status = getattr(importlib.import_module(module), name)(**order["arguments"]) or 0
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def main() -> None:
    mine = os.dup(1)
    os.dup2(2, 1)

    def tell(text: str) -> None:
        os.write(mine, (text + "\n").encode())

    def ended(*_: object) -> None:
        with contextlib.suppress(ChildProcessError):
            while (found := os.waitpid(-1, os.WNOHANG))[0]:
                tell(f"ended {found[0]} {os.waitstatus_to_exitcode(found[1])}")

    for name in sys.argv[1:]:
        importlib.import_module(name)
    signal.signal(signal.SIGCHLD, ended)
    tell("up")
    for line in sys.stdin:
        # Until it is told, no end of it is.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
        pid = os.fork()
        if pid == 0:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
            os.close(mine)
            _child(json.loads(line))
        tell(f"started {pid}")
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})


if __name__ == "__main__":
    main()
