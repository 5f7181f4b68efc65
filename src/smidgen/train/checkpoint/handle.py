"""What a training loop holds of a checkpoint under way, and what checkpoints have cost so far."""

import threading
from dataclasses import dataclass, field

from smidgen.train.checkpoint.errors import CheckpointFailed


@dataclass
class CheckpointStats:
    """One number a save: seconds and bytes; NaN and 0 until known.

    Attributes:
        blocked: training stood still (in `save` and in waits for copies). copied: from `save` to the last copy.
        flushed: from `save` until published. nbytes: of the file. queued: most chunks that waited for the disk.
        failures: a sentence for each checkpoint that failed.
    """

    blocked: list[float] = field(default_factory=list)
    copied: list[float] = field(default_factory=list)
    flushed: list[float] = field(default_factory=list)
    nbytes: list[int] = field(default_factory=list)
    queued: int = 0
    failures: list[str] = field(default_factory=list)

    def begin(self) -> int:
        """The place of a new save in the lists."""
        for numbers in (self.copied, self.flushed):
            numbers.append(float("nan"))
        self.nbytes.append(0)
        self.blocked.append(0.0)
        return len(self.blocked) - 1


class CheckpointHandle:
    """One checkpoint under way: first `copied`, then `durable`, or failed with `error`."""

    def __init__(self, step: int) -> None:
        self.step = step
        self.error: CheckpointFailed | None = None
        self.copied_event, self.ended_event = threading.Event(), threading.Event()

    @property
    def copied(self) -> bool:
        """Whether the state may change."""
        return self.copied_event.is_set()

    @property
    def durable(self) -> bool:
        """Whether it is published and on the disk."""
        return self.ended and self.error is None

    @property
    def ended(self) -> bool:
        """Whether it is durable or failed."""
        return self.ended_event.is_set()
