"""Who holds a lease: one running process, named so that another on the same machine can tell that it is gone."""

import hashlib
import os
import secrets
import socket
from functools import cache
from pathlib import Path

LEASE_SECONDS = 60.0  # a holder that has not been heard of for so long has lost what it held


def new_owner() -> str:
    """A name "machine:pid:start:random" for a run in this process. The machine is a digest: no host name is stored."""
    pid = os.getpid()
    return f"{_machine()}:{pid}:{_start(pid)}:{secrets.token_hex(4)}"


def is_gone(owner: str) -> bool:
    """Whether the owner was a process on this machine, since this boot, that no longer runs. False when unknown."""
    return runs_here(owner) is False


def runs_here(owner: str) -> bool | None:
    """Whether the owner, a process on this machine since this boot, still runs. None: another machine's, or unknown."""
    try:
        machine, pid_text, start, _ = owner.split(":")
        pid = int(pid_text)
        if machine != _machine() or pid <= 0:
            return None
        if os.name != "posix":  # there this signal is not a mere question
            return None
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (ValueError, OverflowError, OSError):  # not our form; another person's process
        return None
    return start == _start(pid)  # else the number went to a new process


@cache
def _machine() -> str:
    """Process numbers mean the same to two processes exactly where this is equal: host, boot, process namespace."""
    parts = [socket.gethostname()]
    for path in ("/proc/sys/kernel/random/boot_id", "/proc/self/ns/pid"):
        try:
            parts.append(str(Path(path).readlink()) if path.endswith("pid") else Path(path).read_text())
        except OSError:
            parts.append("")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


def _start(pid: int) -> str:
    """When the process started, in ticks since boot; "0" where the system does not tell; "gone" for a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (OSError, ValueError):
        return "0"
    return "gone" if fields[0] in "ZX" else fields[19]
