"""What the processes do that the tests of faults kill: work on a store, whole commands."""

import faulthandler
import os
from pathlib import Path

import numpy as np
import pandas as pd
from calls import LIBRARY, Calls
from forks import say

from smidgen.studies import offers
from smidgen.studies import trial as trial_module
from smidgen.studies import work as work_module
from smidgen.studies.inline import InlinePool
from smidgen.studies.result import Result
from smidgen.studies.sharing import program
from smidgen.studies.store import RunStore
from smidgen.studies.trial import Trial
from smidgen.studies.work import Worker

FIT = ["fit", "rows.csv", "--target", "target", "--trials", "6", "--methods", "logistic,knn", "--workers", "1"]
FIT += ["--out", "model", "--json"]

EXCHANGE = offers.exchange  # as it is, before `work` listens to it


def write_rows(path: Path, rows: int = 60) -> None:
    """Rows of numbers, of two kinds that overlap."""
    rng = np.random.default_rng(3)
    frame = pd.DataFrame(rng.normal(size=(rows, 12)).round(4), columns=list("abcdefghijkl"))
    frame["target"] = np.where(frame.a + rng.normal(size=rows) > 0, "yes", "no")
    frame.to_csv(path, index=False)


def predictions(key: str) -> np.ndarray:
    """What the trial of this key gives, whoever runs it."""
    return np.random.default_rng(int(key[:12], 16)).normal(size=(40, 3))


def wanted(count: int, task: str = "t", begin: int = 0) -> list[Trial]:
    from smidgen.kit import methods

    made = {"method": "learn/logistic", "version": methods.card("learn/logistic").version, "view": "linear", "seed": 0}
    return [Trial(task=task, draw=f"cv:k=3:r={i}", **made) for i in range(begin, begin + count)]


def work(store: str, idle: float = 0.0, pause: float = 0.0) -> int:
    """The real worker, but for what a trial computes. It says "ran KEY" and, when the store has acknowledged it, "done
    KEY"; "late KEY" where the store did not take it."""
    import time

    def run_trial(task, rows, trial):
        say("ran", trial.key)
        time.sleep(pause)
        return Result(predictions(trial.key), 0.01, 0.01, 100, 10)

    trial_module.run_trial = run_trial
    work_module.THOROUGH_SECONDS = 0.2  # what a killed one held is looked for often: kills come one after the other
    with RunStore(store) as opened:
        record = opened.finish_all

        def tell(rows, taken):
            for (key, _, _), was in zip(rows, taken, strict=True):
                say("done" if was else "late", key)

        def finish_all(rows):
            tell(rows, taken := record(rows))
            return taken

        def exchanged(store, rows, *args, **choice):
            taken, found = EXCHANGE(store, rows, *args, **choice)
            tell(rows, taken)
            return taken, found

        opened.finish_all, offers.exchange = finish_all, exchanged
        Worker(opened, 1, idle=idle, cache=None, pool=InlinePool).run()
    return 0


def command(words: list[str], folder: str, nth: int = 0, how: int = 0, code: int = 0, inline: bool = True) -> int:
    """`smidgen WORDS` in that folder, its trials in this process (or, not `inline`, in workers), with a fault at the
    n-th file call there."""
    from smidgen.cli.main import main
    from smidgen.studies import fit

    if inline:
        fit.Pool = InlinePool
    os.chdir(folder)
    calls = Calls() if LIBRARY in os.environ else None
    if calls:
        calls.arm(folder, nth, how, code)
    status = main(words)
    if calls:
        say("calls", *calls.disarm())
    return status


def short_of_memory(words: list[str], folder: str, size: int, nth: int = 0, on: bool = False) -> int:
    """`smidgen WORDS` in that folder, its trials in this process, with allocations of so many bytes and more refused:
    the n-th, or all from there on. Says "memory", how many there were and how many were refused."""
    from smidgen.cli.main import main
    from smidgen.studies import fit

    fit.Pool = InlinePool
    os.chdir(folder)
    calls = Calls()
    faulthandler.enable()
    calls.refuse(size, nth, on)
    try:
        status = main(words)
    finally:
        say("memory", *calls.grant())
    return status


def take_all(store: str, key: str = "") -> int:
    """Takes what is offered and holds it until it is killed."""
    with RunStore(store) as opened:
        for taken in offers.take(opened, 9, program=program()):
            say("took", taken.key)
        while True:
            import time

            time.sleep(1)
