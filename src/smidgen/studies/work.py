"""A worker: takes trials that studies offer through a run store, and measures them on this machine.

It holds one study's data at a time, in memory and as a file of the cache, and runs trials in a `Pool`: a memory bound,
a deadline or a crash ends one process. A trial that is not wanted any more is ended; what it holds when it stops is
free at once, and when it is killed, when its lease ends.
"""

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from smidgen.kit import methods
from smidgen.kit.errors import BadInput, SmidgenError
from smidgen.kit.files import digest, read_bytes, write_bytes
from smidgen.studies import offers, shipping
from smidgen.studies.ahead import Ahead
from smidgen.studies.database import again
from smidgen.studies.job import Failure
from smidgen.studies.offers import Taken
from smidgen.studies.pool import InlinePool, Pool
from smidgen.studies.result import Result
from smidgen.studies.sharing import program
from smidgen.studies.store import RunStore
from smidgen.studies.trial import Trial

CACHE = Path(".smidgen/cache/tasks")
CACHE_BYTES = 4 << 30
BEAT_SECONDS = 1.0  # a trial that is not wanted any more ends within this
THOROUGH_SECONDS = 5.0  # between two looks for what dead processes held
NAP = (0.05, 1.0)  # seconds between two looks for trials when idle, growing
Progress = Callable[[dict[str, Any]], None]


class Worker:
    """Works until it is idle for long, or interrupted.

    Args:
        count: processes. memory: bytes that each may take; None: any.
        study: the only one that it works for; None: any.
        idle: seconds without a trial after which it ends; None: never.
        tell: is told of each trial and of what a person should know.
        cache: folder for the data of tasks; None: nothing is kept. pool: makes one of so many processes and bytes.
    """

    def __init__(
        self,
        store: RunStore,
        count: int,
        *,
        memory: int | None = None,
        study: str | None = None,
        idle: float | None = None,
        tell: Progress = lambda event: None,
        cache: Path | None = CACHE,
        pool: Callable[[int, int | None], Pool | InlinePool] = Pool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.store, self.count, self.memory, self.study, self.idle = store, count, memory, study, idle
        self.tell, self.cache, self.clock, self._new_pool = tell, cache, clock, pool
        self.done = 0
        self._ahead = Ahead(count)
        self._pool: Pool | InlinePool | None = None
        self._bound: int | None = None  # of the pool's processes
        self._data = ""  # what they have loaded
        self._running: dict[Any, Taken] = {}
        self._ended: list[tuple[Taken, Result]] = []  # not recorded yet
        self._refused: set[str] = set()
        self._told: set[str] = set()
        self._last_beat = self._last_thorough = float("-inf")

    def run(self) -> int:
        """Works; gives the number of trials that it measured. When it is interrupted, it gives its trials back.

        Raises:
            SmidgenError: the store is gone, or no process can run trials on this machine.
        """
        busy, nap = self.clock(), NAP[0]
        try:
            while True:
                self._beat()
                self._take()
                if self._running:
                    busy, nap = self.clock(), NAP[0]
                    self._collect(0.05 if len(self._running) < self.count else BEAT_SECONDS)
                    continue
                if self.idle is not None and self.clock() - busy > self.idle:
                    return self.done
                self._say_strangers()
                time.sleep(nap)
                nap = min(2 * nap, NAP[1])
        finally:
            self._close_pool()
            with contextlib.suppress(SmidgenError):
                if self._ended:
                    self.store.finish_all([(taken.key, taken.fence, result) for taken, result in self._ended])
                    self.done += len(self._ended)
            with contextlib.suppress(SmidgenError):  # else the lease's end frees them
                offers.leave(self.store)

    # -- parts --

    def _beat(self) -> None:
        if self.clock() - self._last_beat < BEAT_SECONDS:
            return
        self._last_beat = self.clock()
        wanted = again(lambda: offers.beat(self.store, list(self._running.values()), self.study))
        for job, taken in list(self._running.items()):
            if taken.key not in wanted and self._pool is not None:
                self._pool.kill(job)  # `_collect` hears of it

    def _take(self) -> None:
        """Records what has ended, and takes as many as there is room for."""
        free = self.count + self._ahead.count - len(self._running)
        if free < 1 and not self._ended:
            return
        thorough = self.clock() - self._last_thorough > THOROUGH_SECONDS
        if thorough:
            self._last_thorough = self.clock()
        _, found = again(
            lambda: offers.exchange(
                self.store,
                [(taken.key, taken.fence, result) for taken, result in self._ended],
                free,
                program=program(),
                study=self.study,
                data=self._data,
                only=bool(self._running),  # others' data would take the place of what these still need
                memory=self.memory,
                refused=self._refused,
                thorough=thorough,
            )
        )
        ended, self._ended = self._ended, []
        self.done += len(ended)
        for taken, result in ended:
            self._say(taken, "failed" if result.error else f"{result.seconds:.2f} s")
        for taken in found:
            # Of one query, but perhaps of several studies: the first one's are done first.
            other = taken.data != self._data or self._bound_of(taken) != self._bound
            if not self._known(taken) or (self._running and other) or not self._ready(taken):
                again(lambda taken=taken: offers.give_back(self.store, taken))
                continue
            assert self._pool is not None
            job = self._pool.submit("smidgen.studies.trial:run_trial", (Trial.from_json(taken.trial),), taken.longest)
            self._running[job] = taken

    def _known(self, taken: Taken) -> bool:
        """Whether this program has that method, in that version."""
        name, _, version = taken.method.rpartition("@")
        try:
            own = methods.card(name).version
        except BadInput:
            own = None
        if str(own) == version:
            return True
        self._refused.add(taken.method)
        has = f"version {own}" if own is not None else "no such method"
        self._note(
            f"The study {taken.study} tries {name} in version {version}, and this worker has {has}: its trials are "
            "left alone; install the same smidgen and the same packages on both sides."
        )
        return False

    def _say_strangers(self) -> None:
        for study, version in again(lambda: offers.strangers(self.store, program())):
            self._note(
                f"The study {study} is run by smidgen {version}, and this worker is {program()}: its trials are left "
                "alone; install the same version on both sides."
            )

    def _note(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            self.tell({"kind": "note", "text": text, "done": self.done, "total": None, "seconds_left": None})

    def _ready(self, taken: Taken) -> bool:
        """A pool that has the trial's data, with the study's memory bound or this worker's, whichever is smaller."""
        bound = self._bound_of(taken)
        if self._pool is None or bound != self._bound:
            self._close_pool()
            self._pool, self._bound = self._new_pool(self.count, bound), bound
        if taken.data != self._data:
            try:
                body = self._body(taken.data)
                self._pool.load(*shipping.unpack_data(body))
            except BadInput as error:  # its run ended meanwhile, or it is damaged
                self._note(str(error))
                return False
            self._data = taken.data
        return True

    def _bound_of(self, taken: Taken) -> int | None:
        return min((b for b in (taken.memory, self.memory) if b is not None), default=None)

    def _body(self, mark: str) -> bytes:
        """The data of this digest: from the cache, else from the store."""
        place = None if self.cache is None else self.cache / f"{mark}.bin"
        if place is not None and place.exists():
            with contextlib.suppress(BadInput, OSError):
                body = read_bytes(place, shipping.MAX_BYTES + (64 << 20))
                if digest(body) == mark:
                    os.utime(place)
                    return body
        body = again(lambda: shipping.fetch(self.store, mark))
        if place is not None:
            with contextlib.suppress(OSError):  # a full disk costs time, not the trial
                place.parent.mkdir(parents=True, exist_ok=True)
                write_bytes(place, body)
                _bounded(place.parent, CACHE_BYTES)
        return body

    def _collect(self, patience: float) -> None:
        assert self._pool is not None
        for job, outcome in self._pool.wait(patience):
            if (taken := self._running.pop(job, None)) is not None:
                self._ended += self._end(taken, outcome)
                self._ahead.note(job.seconds)
        if self._pool.broken and not self._running:
            self._close_pool()  # the next data may be smaller

    def _end(self, taken: Taken, outcome: Any) -> list[tuple[Taken, Result]]:
        """What is to be recorded of a trial that ended here. One that did not, but for a reason that is not its own,
        goes back, or its coordinator is told."""
        if not isinstance(outcome, Failure):
            return [(taken, outcome)]
        if outcome.kind == "error":
            return [(taken, Result(error=outcome.reason))]
        if outcome.kind == "died" and self._pool is not None and self._pool.broken:  # nobody's fault but ours
            raise SmidgenError(f"This machine can run no trial: {outcome.reason}.")
        failure, small = (outcome.kind, outcome.reason), None
        if outcome.kind == "stopped":
            failure = None
        elif outcome.kind == "memory" and self._bound is not None and self._bound != taken.memory:
            failure, small = None, self._bound  # its study allows more than this worker has
        again(lambda: offers.give_back(self.store, taken, failure, too_small=small))
        self._say(taken, outcome.reason)
        return []

    def _say(self, taken: Taken, how: str) -> None:
        trial = Trial.from_json(taken.trial)
        text = f"{taken.study}: {trial.method} on {trial.view}: {how}"
        self.tell({"kind": "trial", "text": text, "done": self.done, "total": None, "seconds_left": None})

    def _close_pool(self) -> None:
        if self._pool is not None:
            self._pool.close()
            self._pool, self._data = None, ""


def _bounded(folder: Path, limit: int) -> None:
    """Keeps the files that were used last, up to so many bytes, and always the latest."""
    files = sorted(folder.glob("*.bin"), key=lambda f: f.stat().st_mtime, reverse=True)
    total = 0
    for i, file in enumerate(files):
        total += file.stat().st_size
        if i and total > limit:
            file.unlink(missing_ok=True)
