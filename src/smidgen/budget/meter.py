"""What was spent: one ledger, written to from any thread."""

import math
import threading
from collections.abc import Callable

_PEAKS = ("peak_memory_bytes", "model_bytes")  # largest seen; all other entries add up


class Meter:
    """A ledger of what was spent. Thread-safe.

    Args:
        clock: seconds, monotonic (`time.monotonic`); wall time is counted from the making of the meter.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock, self._start = clock, clock()
        self._lock = threading.Lock()
        self._spent: dict[str, float] = {}

    def add(self, **amounts: float) -> None:
        """Adds `labels=`, `trials=`, `fits=`, `cpu_seconds=`, `bytes=`...; of `peak_memory_bytes` and `model_bytes`
        the largest counts. All amounts of one call become visible together.

        Raises:
            ValueError: an amount that is negative or not finite, or `seconds`, which the clock counts.
        """
        for name, amount in amounts.items():
            if name == "seconds" or not math.isfinite(amount) or amount < 0:
                raise ValueError(f"a meter takes finite amounts from 0 up and counts seconds itself: {name}={amount!r}")
        with self._lock:
            for name, amount in amounts.items():
                old = self._spent.get(name, 0)
                self._spent[name] = max(old, amount) if name in _PEAKS else old + amount

    @property
    def seconds(self) -> float:
        """Wall seconds since the meter was made."""
        return self._clock() - self._start

    def spent(self) -> dict[str, float]:
        """The ledger: JSON numbers by name, sorted; a copy that later spending leaves alone."""
        with self._lock:
            now = {**self._spent, "seconds": round(self.seconds, 3)}
        return {
            name: int(v) if isinstance(v, int) or name.endswith("bytes") else float(v)
            for name, v in sorted(now.items())
        }
