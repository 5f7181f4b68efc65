"""Random words for stochastic rounding, from a stream of each member's own.

An ensemble is computed as one array whose last axis is its members. What a member draws depends on its seed alone, not
on who runs beside it: split an ensemble over processes and every member rounds as before.
"""

from collections.abc import Sequence

import numpy as np

from smidgen.kit.errors import bad
from smidgen.kit.seeds import derive_seed

ROWS = 1024  # drawn at a time


class MemberStreams:
    """Uniform whole numbers below 2^`bits`.

    Args:
        seeds: one of each member. The streams are derived from them, and share nothing with what else these are used
            for, such as initial states.
    """

    def __init__(self, seeds: Sequence[int], bits: int) -> None:
        if not len(seeds):
            raise bad("seeds", "at least one", "none")
        if len(set(seeds)) < len(seeds):
            raise bad("seeds", "a different one for each member", "equal ones", "Equal streams round alike.")
        self._bits = [np.random.PCG64(derive_seed(seed, "rounding")) for seed in seeds]
        self._shift = np.uint64(64 - bits)
        self._words = np.empty((0, len(seeds)), np.int64)
        self._used = 0

    @property
    def members(self) -> int:
        return len(self._bits)

    def take(self, shape: tuple[int, ...]) -> np.ndarray:
        """int64 of a shape: the last axis is the members, or any where there is only one. Valid until the next call."""
        rows = int(np.prod(shape)) // self.members
        if self._used + rows > len(self._words):
            self._draw(max(ROWS, 4 * rows))
        taken = self._words[self._used : self._used + rows]
        self._used += rows
        return taken.reshape(shape)

    def _draw(self, rows: int) -> None:
        if len(self._words) != rows:
            self._words = np.empty((rows, self.members), np.int64)
        for member, bits in enumerate(self._bits):
            self._words[:, member] = bits.random_raw(rows) >> self._shift
        self._used = 0
