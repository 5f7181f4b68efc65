"""File calls of a process that fail, are cut short or kill it, and memory that it does not get: by `calls.c` and
`memory.c` before its C library, so also in SQLite and in compiled libraries."""

import ctypes
import errno
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

SOURCES = [str(Path(__file__).with_name(name)) for name in ("calls.c", "memory.c")]
LIBRARY = "SMIDGEN_TEST_CALLS"
COUNT, ONCE, ON, SHORT, TORN, KILL, KILL_TORN = range(7)
FAULTS = {
    "ENOSPC": (ONCE, errno.ENOSPC),
    "EIO": (ONCE, errno.EIO),
    "EACCES": (ONCE, errno.EACCES),
    "short write": (SHORT, 0),
    "half written, then ENOSPC": (TORN, errno.ENOSPC),
    "ENOSPC from there on": (ON, errno.ENOSPC),
}


def build(folder: Path) -> Path | None:
    """The library; None: there is no C compiler, or not this system."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or os.uname().sysname != "Linux":
        return None
    made = folder / "calls.so"
    subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-o", str(made), *SOURCES, "-ldl"], check=True)
    return made


class Calls:
    """In a process that was started with the library."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(os.environ[LIBRARY])

    def arm(self, folder: Path | str, nth: int = 0, how: int = COUNT, code: int = 0) -> None:
        """From now on calls under the folder count, and the n-th (from 1) is met with `how`."""
        self._library.calls_arm(os.fsencode(folder), ctypes.c_long(nth), how, code)

    def disarm(self) -> tuple[int, int]:
        """How many calls there were, and how many of them were not let through."""
        return self._library.calls_disarm(), self._library.calls_fired()

    def record(self, file: int) -> None:
        """Writes each call to this file descriptor; -1: not any more."""
        self._library.calls_record(file)

    def refuse(self, size: int, nth: int = 0, on: bool = False) -> None:
        """From now on allocations of so many bytes and more count, and the n-th (from 1; `on`: each from there on) is
        refused."""
        self._library.memory_arm(ctypes.c_size_t(size), ctypes.c_long(nth), int(on))

    def grant(self) -> tuple[int, int]:
        """How many allocations counted, and how many were refused."""
        return self._library.memory_disarm(), self._library.memory_fired()

    def mark(self, text: str) -> None:
        self._library.calls_mark(text.encode())


def recorded(path: Path) -> Iterator[tuple[str, str, str, int, bytes]]:
    """(operation, path, other path or empty, offset or size, data) of each call recorded."""
    data, at = path.read_bytes(), 0
    while at < len(data):
        op, size = struct.unpack_from("=cI", data, at)
        one = data[at + 5 : at + 5 + size].decode()
        at += 5 + size
        (size,) = struct.unpack_from("=I", data, at)
        other = data[at + 4 : at + 4 + size].decode()
        at += 4 + size
        where, size = struct.unpack_from("=qq", data, at)
        at += 16
        body = data[at : at + size] if op == b"w" else b""
        at += len(body)
        yield op.decode(), one, other, where, body
