"""The coordinator's side of many machines: a study's data and trials are offered while there are workers to take them.

Without any nothing is written: a study on one machine leaves no copy of its data in the run store.
"""

import time
from collections.abc import Callable, Sequence

from smidgen.data.views.rows import Rows
from smidgen.kit.errors import BadInput
from smidgen.kit.files import digest
from smidgen.studies import offers, shipping
from smidgen.studies.database import again
from smidgen.studies.result import Result
from smidgen.studies.store import RunStore
from smidgen.studies.trial import Trial
from smidgen.tasks.task import Task

LOOK_SECONDS = 2.0  # between two looks for workers
BEAT_SECONDS = 10.0


def program() -> str:
    """What must be equal on both sides: equal methods give equal results, their versions stand in their trials."""
    from smidgen import __version__

    return __version__


class Sharing:
    """Offers a study's trials to `smidgen work`.

    Args:
        memory: bytes that the study allows a trial; None: any.
        always: offer whether or not a worker is there yet: nobody else will measure.
        tell: is told what a person should know.
        clock: of this process.

    Use as a context manager, or call `close`.
    """

    def __init__(
        self,
        store: RunStore,
        study: str,
        memory: int | None = None,
        *,
        always: bool = False,
        tell: Callable[[str], None] = lambda text: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.store, self.study, self.memory, self.always = store, study, memory, always
        self.tell, self.clock = tell, clock
        self.offering = False  # since the last `withdraw`
        self._data: tuple[Task, Rows] | None = None
        self._mark = ""  # of the data in the store; empty: not there yet
        self._last_look = self._last_beat = float("-inf")
        self._refused = False
        self._said = 0

    def load(self, task: Task, rows: Rows) -> None:
        """The data that the next trials need."""
        self._data, self._mark = (task, rows), ""

    def wanted(self) -> bool:
        """Whether trials are to be offered now and are not yet."""
        if self.offering or self._refused or self._data is None:
            return False
        now = self.clock()
        if now - self._last_look < LOOK_SECONDS:
            return False
        self._last_look = now
        count = again(lambda: offers.present(self.store, self.study))
        if count > self._said:
            self.tell(f"{count} {'worker takes' if count == 1 else 'workers take'} part")
        elif not count and self.always and not self._said:
            self.tell(f"Waiting for workers: smidgen work --store {self.store.name}")
        self._said = max(count, self._said)
        return bool(count) or self.always

    def offer(self, trials: Sequence[Trial], longest: float | None) -> bool:
        """Offers the trials, in this order. False: the data cannot be given away; raises that where nobody else will
        measure."""
        try:
            self._ship()
        except BadInput as error:
            if self.always:
                raise
            self._refused = True
            self.tell(f"Measured on this machine alone: {error}")
            return False
        again(lambda: offers.offer(self.store, trials, longest))
        self.offering = True
        return True

    def take(self, count: int) -> list[offers.Taken]:
        """Claims own trials that nobody has taken."""
        mine = self.store.owner
        return again(lambda: offers.take(self.store, count, program=program(), coordinator=mine, thorough=True))

    def outcomes(self, keys: Sequence[str]) -> dict[str, Result]:
        """What came of those of the trials that have ended, also of those that could not be done."""
        found = again(lambda: self.store.get(keys))
        for key, (_, reason) in again(lambda: offers.failures(self.store)).items():
            if key in keys:
                found.setdefault(key, Result(error=reason))
        return found

    def drop(self, key: str) -> None:
        """The trial is not wanted from others any more."""
        if self.offering:
            again(lambda: offers.drop(self.store, key))

    def beat(self) -> None:
        if self.offering and self.clock() - self._last_beat > BEAT_SECONDS:
            self._announce()

    def withdraw(self) -> None:
        if self.offering:
            self.offering, self._last_look = False, float("-inf")
            again(lambda: offers.withdraw(self.store))

    def close(self) -> None:
        if self._mark:
            self._mark = ""
            again(lambda: offers.retire(self.store))

    def __enter__(self) -> "Sharing":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # -- parts --

    def _ship(self) -> None:
        """The data lies in the store, also where it has been away for long and others took this process for dead."""
        assert self._data is not None
        body = b"" if self._mark else shipping.pack_data(*self._data)
        if body:
            mark = digest(body)
            self._announce(mark)  # first: data that nobody needs is removed
            again(lambda: shipping.put(self.store, body, mark))
            self._mark = mark
        self._announce()

    def _announce(self, mark: str = "") -> None:
        mark = mark or self._mark
        again(lambda: offers.announce(self.store, self.study, mark, self.memory, program()))
        self._last_beat = self.clock()
