"""Ctrl-C at random moments of `fit`: status 130 and the best so far, or, before anything was measured, one sentence;
the same command afterwards ends as if nothing had been."""

import contextlib
import os
import random
import signal
import time

from deeds import FIT, write_rows
from test_command_kills import result

from smidgen.learn.model import Model


def test_a_stopped_fit_keeps_the_best_so_far(big_forks, tmp_path, rounds):
    def place(name):
        folder = tmp_path / name
        folder.mkdir()
        write_rows(folder / "rows.csv")
        return folder, {"words": FIT, "folder": str(folder)}

    folder, start = place("whole")
    began = time.monotonic()
    assert big_forks.run("deeds:command", folder / "log", **start) == 0, (folder / "log").read_text()
    seconds, whole = time.monotonic() - began, result(folder, folder / "log")
    rng, kept, early, late, slowest = random.Random(5), 0, 0, 0, 0.0
    for i in rounds(3, 20, 0.05):
        folder, start = place(f"{i}")
        pid = big_forks.start("deeds:command", folder / "first", **start)
        time.sleep(rng.uniform(0.05, 1.0) * seconds)
        stopped = time.monotonic()
        with contextlib.suppress(ProcessLookupError):  # it had just ended
            os.kill(pid, signal.SIGINT)
        status = big_forks.wait(pid)
        said = (folder / "first").read_text()
        assert "Traceback" not in said and status in (0, 130), f"{status}: {said}"
        if status == 130:
            slowest = max(slowest, time.monotonic() - stopped)
            if (folder / "model").exists():
                assert Model.load(folder / "model").members
                kept += 1
            else:
                early += 1
        else:
            late += 1
        assert big_forks.run("deeds:command", folder / "log", **start) == 0, (folder / "log").read_text()
        assert result(folder, folder / "log") == whole
    assert kept + early
    rounds.note(f"{kept} kept the best so far, {early} before there was one, {late} had ended; at most {slowest:.1f} s")
