"""A folder's lock: one holder, in this process or another, until it lets go or ends."""

import signal
import subprocess
import sys

import pytest

from smidgen.kit.errors import BadInput
from smidgen.kit.lock import FolderLock

HOLD = """
import sys
from pathlib import Path
from smidgen.kit.errors import BadInput
from smidgen.kit.lock import FolderLock
try:
    lock = FolderLock(Path(sys.argv[1]), "taken")
except BadInput as error:
    print(error, flush=True)
else:
    print("held", flush=True)
    sys.stdin.read()
"""


def other(folder):
    """Another process that takes the lock, and holds it until its input ends; what it said."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def test_a_second_holder_is_refused_and_the_first_keeps_it(tmp_path):
    with FolderLock(tmp_path, "taken") as lock:
        for same in (tmp_path, tmp_path / ".." / tmp_path.name):
            with pytest.raises(BadInput, match="^taken$"):
                FolderLock(same, "taken")
        process, said = other(tmp_path)  # the refused ones did not let go of it
        assert said == "taken"
        process.communicate()
        lock.release()
    again = FolderLock(tmp_path, "taken")
    lock.release()  # no longer the holder
    with pytest.raises(BadInput):
        FolderLock(tmp_path, "taken")
    again.release()


def test_a_holder_that_is_killed_lets_go(tmp_path):
    process, said = other(tmp_path)
    assert said == "held"
    for _ in range(2):
        with pytest.raises(BadInput, match="^taken$"):
            FolderLock(tmp_path, "taken")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    FolderLock(tmp_path, "taken").release()
