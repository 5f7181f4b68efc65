"""Runs trials: from the run store where they are known, else on the workers; claimed, so two processes can share
a study.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from smidgen.budget.meter import Meter
from smidgen.studies.job import AnyPool, Failure
from smidgen.studies.store import RunStore
from smidgen.studies.trial import Result, Trial

BEAT_SECONDS = 10.0
LEASE_SECONDS = 60.0
POLL_SECONDS = 0.2


@dataclass
class Runner:
    """Executes trials and records them.

    Attributes:
        stop_at: clock time after which nothing new starts and what runs is ended; None: no limit.
        longest: seconds that one trial may take; None: no limit.
        trials_left: how many more trials may be used; None: no limit.
    """

    store: RunStore
    pool: AnyPool
    meter: Meter
    study: str
    clock: Callable[[], float] = time.monotonic
    stop_at: float | None = None
    longest: float | None = None
    trials_left: int | None = None
    live: Callable[[Trial, Result], None] = lambda trial, result: None  # as each ends, in any order: for progress only
    cut: list[Trial] = field(default_factory=list)  # what ran when the time ended
    _mine: set[str] = field(default_factory=set)  # keys of the trials that were run here

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
        results = {key: r for key, r in self.store.get([t.key for t in wanted]).items() if r is not None}
        self.store.use(self.study, list(results))
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
        last_beat = self.clock()
        try:
            while todo or running or waiting:
                if self._time_is_up():
                    return False
                while todo and len(running) < self.pool.workers:
                    self._start(todo.pop(0), running, waiting, results)
                for job, outcome in self.pool.wait(self._patience(bool(waiting or todo))) if running else []:
                    if job in running:
                        self._end(job, outcome, *running.pop(job), results)
                if waiting and not running and not todo:
                    waiting = self._look_again(waiting, todo, results)
                if self.clock() - last_beat > BEAT_SECONDS:
                    self.store.beat()
                    last_beat = self.clock()
            return True
        finally:
            for job, (trial, _) in running.items():
                self.pool.kill(job)
                self.cut.append(trial)
            self.store.release()

    def _start(self, trial: Trial, running: dict, waiting: list[Trial], results: dict[str, Result]) -> None:
        fence = self.store.claim(trial.key, trial.to_json(), lease_seconds=LEASE_SECONDS, study=self.study)
        if fence is None:
            found = self.store.get([trial.key]).get(trial.key)
            if found is None:
                waiting.append(trial)
            else:
                results[trial.key] = found
            return
        # The end of the time is no deadline of the trial: `_measure` ends what runs then, and it says nothing about it.
        job = self.pool.submit("smidgen.studies.trial:run_trial", (trial,), self.longest)
        running[job] = (trial, fence)

    def _end(self, job: Any, outcome: Any, trial: Trial, fence: int, results: dict[str, Result]) -> None:
        self._mine.add(trial.key)
        if isinstance(outcome, Failure):
            result = Result(error=outcome.reason)
            if outcome.kind != "error":  # it says nothing about the trial, only about this budget or this machine
                if outcome.kind != "stopped":
                    results[trial.key] = result
                return
        else:
            result = outcome
        self.meter.add(cpu_seconds=result.cpu_seconds, peak_memory_bytes=result.peak_bytes, fits=_fits(trial))
        self.live(trial, result)
        if self.store.finish(trial.key, fence, result):
            results[trial.key] = result
        else:  # someone else finished it while this process slept; equal keys give equal results
            results[trial.key] = self.store.get([trial.key]).get(trial.key) or result

    def _look_again(self, waiting: list[Trial], todo: list[Trial], results: dict[str, Result]) -> list[Trial]:
        found = self.store.get([t.key for t in waiting])
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
    return int(rest[0].split("=")[1]) if kind == "cv" else 1
