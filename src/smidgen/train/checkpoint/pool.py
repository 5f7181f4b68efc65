"""A buffer of fixed size between who copies and who writes: a ring of bytes with back-pressure."""

import threading
from collections import deque
from dataclasses import dataclass

import torch
from torch import Tensor

from smidgen.kit.errors import bad


@dataclass
class Region:
    """Bytes [start, start + size) of the pool, in use until released; `taken` counts a gap skipped before them."""

    start: int
    size: int
    taken: int
    free: bool = False


class Pool:
    """A ring of `size` bytes. Regions are handed out in order, never split over the end, and may return in any order.

    The memory is pinned where a GPU copies into it, and touched at once, so that no copy waits for the system to
    find pages.
    """

    def __init__(self, size: int) -> None:
        if size < 1:
            raise bad("pool_bytes", "at least 1", size)
        self.size = size
        self.memory: Tensor = torch.zeros(size, dtype=torch.uint8, pin_memory=torch.cuda.is_available())
        self.memory.fill_(0)
        self._changed = threading.Condition()
        self._regions: deque[Region] = deque()  # in use, oldest first
        self._end = 0  # where the next region may begin
        self._used = 0

    def allocate(self, size: int) -> Region:
        """A region of `size` bytes; waits until there is room."""
        if not 0 < size <= self.size:
            raise bad("size of a region", f"between 1 and the {self.size} bytes of the pool", size)
        with self._changed:
            while True:
                wraps = self._end + size > self.size
                gap = self.size - self._end if wraps else 0
                if self._used + gap + size <= self.size:
                    break
                self._changed.wait()
            start = 0 if wraps else self._end
            region = Region(start, size, gap + size)
            self._regions.append(region)
            self._end = start + size
            self._used += region.taken
            return region

    def release(self, region: Region) -> None:
        with self._changed:
            region.free = True
            while self._regions and self._regions[0].free:
                self._used -= self._regions.popleft().taken
            if not self._regions:
                self._end = 0
            self._changed.notify_all()

    def view(self, region: Region) -> Tensor:
        return self.memory[region.start : region.start + region.size]

    @property
    def used(self) -> int:
        """Bytes in use, skipped gaps among them."""
        with self._changed:
            return self._used
