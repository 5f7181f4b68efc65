"""What lazy checkpoints are measured against, with the same interface: stand still for all of it, or for the copy."""

from pathlib import Path
from typing import Any

from smidgen.train.checkpoint.engine import LazyCheckpointer
from smidgen.train.checkpoint.handle import CheckpointHandle, CheckpointStats
from smidgen.train.checkpoint.tree import flatten


class SyncCheckpointer:
    """Training stands still until the checkpoint is on the disk."""

    def __init__(self, folder: Path, *, pool_bytes: int = 32 << 20, **options: Any) -> None:
        self._inner = LazyCheckpointer(folder, pool_bytes=pool_bytes, **options)

    @property
    def stats(self) -> CheckpointStats:
        return self._inner.stats

    def save(self, state: Any, step: int) -> CheckpointHandle:
        handle = self._inner.save(state, step)
        with self._inner.standing_still():
            self._inner.wait_durable(handle)
        return handle

    def before_update(self) -> None:
        self._inner.before_update()

    def wait_durable(self, handle: CheckpointHandle | None = None) -> None:
        self._inner.wait_durable(handle)

    def close(self) -> None:
        self._inner.close()


class SnapshotThenWrite:
    """Training stands still while the whole state is copied to memory; it is written in the background.

    The buffer is as large as the first state, so a save may also wait until the one before has left it.
    """

    def __init__(self, folder: Path, *, pool_bytes: int | None = None, **options: Any) -> None:
        self._make = lambda size: LazyCheckpointer(folder, pool_bytes=pool_bytes or max(size, 1 << 20), **options)
        self._made: LazyCheckpointer | None = None

    @property
    def stats(self) -> CheckpointStats:
        return self._made.stats if self._made else CheckpointStats()

    def save(self, state: Any, step: int) -> CheckpointHandle:
        if self._made is None:
            self._made = self._make(flatten(state).nbytes)
        handle = self._made.save(state, step)
        self._made.before_update()
        return handle

    def before_update(self) -> None:
        """Nothing is left to wait for."""

    def wait_durable(self, handle: CheckpointHandle | None = None) -> None:
        if self._made:
            self._made.wait_durable(handle)

    def close(self) -> None:
        if self._made:
            self._made.close()
