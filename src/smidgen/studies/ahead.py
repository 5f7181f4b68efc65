"""How many trials are held ready beyond those that run, so that short ones do not wait for the run store."""

import math

SECONDS = 0.5  # of work that is held ready; no trial that takes longer is


class Ahead:
    """`count` for so many processes, from the trials' own seconds so far; 0 before any is known."""

    def __init__(self, processes: int) -> None:
        self._processes = processes
        self._mean: float | None = None

    def note(self, seconds: float) -> None:
        self._mean = seconds if self._mean is None else 0.8 * self._mean + 0.2 * seconds

    @property
    def count(self) -> int:
        if self._mean is None or self._mean >= SECONDS:
            return 0
        return min(math.ceil(self._processes * SECONDS / max(self._mean, 1e-3)), 16 * self._processes)
