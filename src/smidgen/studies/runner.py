"""Runs trials: from the run store where they are known, else on the workers of this process and, through the store, of
others (`sharing`); claimed, so two processes can share a study.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from smidgen.budget.meter import Meter
from smidgen.studies.ahead import Ahead
from smidgen.studies.database import again
from smidgen.studies.job import AnyPool, Failure
from smidgen.studies.offers import held
from smidgen.studies.owner import LEASE_SECONDS
from smidgen.studies.sharing import Sharing
from smidgen.studies.store import RunStore
from smidgen.studies.trial import Result, Trial

BEAT_SECONDS = 10.0
POLL_SECONDS = 0.2


@dataclass
class Runner:
    """Executes trials and records them.

    Attributes:
        stop_at: clock time after which nothing new starts and what runs is ended; None: no limit.
        longest: seconds that one trial may take; None: no limit.
        trials_left: how many more trials may be used; None: no limit.
        sharing: offers the trials to other processes; None: to none.
        own: how many run here at once; None: one on each worker of the pool. 0: all are left to others.
    """

    store: RunStore
    pool: AnyPool
    meter: Meter
    study: str
    clock: Callable[[], float] = time.monotonic
    stop_at: float | None = None
    longest: float | None = None
    trials_left: int | None = None
    sharing: Sharing | None = None
    own: int | None = None
    live: Callable[[Trial, Result], None] = lambda trial, result: None  # as each ends, in any order: for progress only
    cut: list[Trial] = field(default_factory=list)  # what ran when the time ended
    _mine: set[str] = field(default_factory=set)  # keys of the trials that were run for this run, here or elsewhere

    def run(self, trials: Iterable[Trial], each: Callable[[Trial, Result], None]) -> bool:
        """Runs the trials, starting them in order; calls `each` with every trial that has an outcome, in that same
        order
        once all have ended.

        Returns whether all of them were run: False when the time or the count ended first.
        """
        wanted = list(trials)
        whole = True
        if self.trials_left is not None and len(wanted) > self.trials_left:
            wanted, whole = wanted[: self.trials_left], False
        results = {key: r for key, r in again(lambda: self.store.get([t.key for t in wanted])).items() if r is not None}
        again(lambda: self.store.use(self.study, list(results)))
        try:
            whole &= self._measure([t for t in wanted if t.key not in results], results)
        finally:
            for trial in wanted:
                if trial.key in results:
                    result = results[trial.key]
                    if self.trials_left is not None:
                        self.trials_left -= 1
                    self.meter.add(trials=1, reused=int(trial.key not in self._mine))
                    each(trial, result)
        return whole

    def _measure(self, todo: list[Trial], results: dict[str, Result]) -> bool:
        running: dict[Any, tuple[Trial, int]] = {}
        waiting: list[Trial] = []  # another process has them
        offered: dict[str, Trial] = {}  # to any process, this one too
        last_beat = last_look = self.clock()
        own = self.pool.workers if self.own is None else self.own
        ahead = Ahead(own)
        try:
            while todo or running or waiting or offered:
                if self._time_is_up():
                    return False
                if self.sharing and self.sharing.wanted() and self.sharing.offer([*waiting, *todo], self.longest):
                    offered = {t.key: t for t in [*waiting, *todo]}
                    waiting, todo = [], []
                slots = own + ahead.count
                if offered and self.sharing and (free := slots - len(running)) > 0:
                    for taken in self.sharing.take(free):
                        self._submit(offered.pop(taken.key), taken.fence, running)
                while todo and len(running) < slots:
                    self._start(todo.pop(0), running, waiting, results)
                ended, patience = [], self._patience(bool(waiting or todo or offered))
                try:
                    for job, outcome in self.pool.wait(patience) if running else []:
                        if job in running:
                            ended += self._end(outcome, *running.pop(job), results)
                            ahead.note(job.seconds)
                finally:  # Ctrl-C in between loses nothing that was measured
                    self._record(ended, results)
                if offered and not (running and self.clock() - last_look < POLL_SECONDS):
                    last_look = self.clock()
                    if not self._ended_elsewhere(offered, results) and not running:
                        time.sleep(POLL_SECONDS)
                if waiting and not running and not todo:
                    waiting = self._look_again(waiting, todo, results)
                if todo and not slots and not offered:
                    time.sleep(POLL_SECONDS)
                if self.clock() - last_beat > BEAT_SECONDS:
                    again(lambda: self.store.beat(keys=[trial.key for trial, _ in running.values()]))
                    last_beat = self.clock()
                if self.sharing:
                    self.sharing.beat()
            return True
        finally:
            for job, (trial, _) in running.items():
                self.pool.kill(job)
                self.cut.append(trial)
            if offered:
                self.cut += [offered[key] for key in again(lambda: held(self.store, offered.keys()))]
            if self.sharing:
                self.sharing.withdraw()
            again(self.store.release)

    def _ended_elsewhere(self, offered: dict[str, Trial], results: dict[str, Result]) -> int:
        """Takes over what others measured; gives how many."""
        assert self.sharing is not None
        found = self.sharing.outcomes(list(offered))
        for key, result in found.items():
            self._count(offered.pop(key), result)
            results[key] = result
        return len(found)

    def _count(self, trial: Trial, result: Result) -> None:
        self._mine.add(trial.key)
        self.meter.add(cpu_seconds=result.cpu_seconds, peak_memory_bytes=result.peak_bytes, fits=_fits(trial))
        self.live(trial, result)

    def _start(self, trial: Trial, running: dict, waiting: list[Trial], results: dict[str, Result]) -> None:
        text = trial.to_json()
        fence = again(lambda: self.store.claim(trial.key, text, lease_seconds=LEASE_SECONDS, study=self.study))
        if fence is None:
            found = again(lambda: self.store.get([trial.key])).get(trial.key)
            if found is None:
                waiting.append(trial)
            else:
                results[trial.key] = found
            return
        self._submit(trial, fence, running)

    def _submit(self, trial: Trial, fence: int, running: dict) -> None:
        # The end of the time is no deadline of the trial: `_measure` ends what runs then, and it says nothing about it.
        job = self.pool.submit("smidgen.studies.trial:run_trial", (trial,), self.longest)
        running[job] = (trial, fence)

    def _end(
        self, outcome: Any, trial: Trial, fence: int, results: dict[str, Result]
    ) -> list[tuple[Trial, int, Result]]:
        """What is to be recorded of a trial that ended here."""
        self._mine.add(trial.key)
        if isinstance(outcome, Failure):
            result = Result(error=outcome.reason)
            if outcome.kind != "error":  # it says nothing about the trial, only about this budget or this machine
                if outcome.kind != "stopped":
                    results[trial.key] = result
                    if self.sharing:
                        self.sharing.drop(trial.key)
                return []
        else:
            result = outcome
        return [(trial, fence, result)]

    def _record(self, ended: list[tuple[Trial, int, Result]], results: dict[str, Result]) -> None:
        if not ended:
            return
        rows = [(trial.key, fence, result) for trial, fence, result in ended]
        for (trial, _, result), taken in zip(ended, again(lambda: self.store.finish_all(rows)), strict=True):
            # Not taken: someone else finished it while this process slept; equal keys give equal results.
            kept = result if taken else again(lambda key=trial.key: self.store.get([key])).get(trial.key)
            results[trial.key] = kept or result
        for trial, _, result in ended:  # told when it is on disk
            self._count(trial, result)

    def _look_again(self, waiting: list[Trial], todo: list[Trial], results: dict[str, Result]) -> list[Trial]:
        found = again(lambda: self.store.get([t.key for t in waiting]))
        for trial in waiting:
            if found.get(trial.key) is not None:
                results[trial.key] = found[trial.key]
            else:
                todo.append(trial)  # a claim tells whether its lease has ended
        if todo:
            time.sleep(POLL_SECONDS)
        return []

    def _patience(self, other_work: bool) -> float:
        limits = [BEAT_SECONDS]
        if other_work:
            limits.append(POLL_SECONDS)
        if self.stop_at is not None:
            limits.append(self.stop_at - self.clock())
        return max(0.0, min(limits))

    def _time_is_up(self) -> bool:
        return self.stop_at is not None and self.clock() >= self.stop_at


def _fits(trial: Trial) -> int:
    kind, *rest = trial.draw.split(":")
    return int(rest[0].split("=")[1]) if kind in ("cv", "part") else 1
