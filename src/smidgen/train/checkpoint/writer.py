"""The thread that takes copied chunks out of the pool, writes them, and publishes what is complete."""

import contextlib
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from smidgen.kit.errors import SmidgenError
from smidgen.train.checkpoint.errors import CheckpointFailed
from smidgen.train.checkpoint.folder import Folder, shard_name
from smidgen.train.checkpoint.handle import CheckpointHandle, CheckpointStats
from smidgen.train.checkpoint.layout import Layout
from smidgen.train.checkpoint.pool import Pool, Region
from smidgen.train.checkpoint.shard import ShardFile, Throttle

POLL = 0.02  # seconds between two looks for the files of other ranks


@dataclass(eq=False)
class Job:
    """A checkpoint on its way to the disk. `error`: why it ends without one, set by whoever meets it first."""

    handle: CheckpointHandle
    started: float
    index: int  # in the statistics
    layout: Layout | None = None
    data: str = ""  # folder
    file: ShardFile | None = None
    error: BaseException | None = None


@dataclass(frozen=True)
class Item:
    """A chunk of a job in the pool; without a region, the job's end."""

    job: Job
    index: int = 0
    region: Region | None = None


class Writer:
    """Writes items in the order in which they come. `on_failed` is called in this thread."""

    def __init__(
        self,
        folder: Folder,
        pool: Pool,
        stats: CheckpointStats,
        throttle: Throttle,
        on_failed: Callable[[CheckpointFailed], None],
        *,
        fsync: bool,
        peers_seconds: float,
    ) -> None:
        self._folder, self._pool, self._stats, self._throttle = folder, pool, stats, throttle
        self._on_failed, self._fsync, self._peers_seconds = on_failed, fsync, peers_seconds
        self._items: queue.Queue[Item | None] = queue.Queue()
        self._waiting: list[tuple[Job, float]] = []  # written here, not yet by all ranks; until when they may take
        self._thread = threading.Thread(target=self._run, name="checkpoint-write", daemon=True)
        self._thread.start()

    def put(self, item: Item) -> None:
        self._items.put(item)
        self._stats.queued = max(self._stats.queued, self._items.qsize())

    def close(self) -> None:
        """Returns when everything given before is written or failed."""
        self._items.put(None)
        self._thread.join()

    def _run(self) -> None:
        while True:
            with contextlib.suppress(queue.Empty):
                item = self._items.get(timeout=POLL if self._waiting else None)
                if item is None:
                    break
                if self._write(item):
                    self._waiting.append((item.job, time.monotonic() + self._peers_seconds))
            self._commit()
        while self._waiting:
            self._commit()
            time.sleep(POLL if self._waiting else 0)

    def _write(self, item: Item) -> bool:
        """True where an item completes this rank's file. After an error the rest of a job only leaves the pool."""
        job = item.job
        try:
            if job.error is None:
                job.file = job.file or self._begin(job)
                if item.region is None:
                    written = job.file.finish(self._fsync)
                    self._folder.add(job.data, written, self._fsync)
                    self._stats.nbytes[job.index] = written.bytes
                    return True
                job.file.put(item.index, self._pool.view(item.region).numpy().data, self._fsync)
        except BaseException as error:
            job.error = error
        finally:
            if item.region is not None:
                self._pool.release(item.region)
        if item.region is None:
            self._fail(job, job.error)
        return False

    def _begin(self, job: Job) -> ShardFile:
        assert job.layout is not None
        job.data = self._folder.begin(job.handle.step, job.index)
        return ShardFile(self._folder.path / job.data / shard_name(self._folder.rank), job.layout, self._throttle)

    def _commit(self) -> None:
        """Publishes in the order of saves; what remains waits for other ranks."""
        while self._waiting:
            job, until = self._waiting[0]
            try:
                if self._folder.publish(job.data, job.handle.step, self._fsync):
                    self._stats.flushed[job.index] = time.perf_counter() - job.started
                    job.handle.ended_event.set()
                elif time.monotonic() < until:
                    return
                else:
                    raise CheckpointFailed(f"Other ranks took more than {self._peers_seconds:.0f} s for their files.")
            except BaseException as error:
                self._fail(job, error)
            self._waiting.pop(0)

    def _fail(self, job: Job, error: BaseException | None) -> None:
        if job.file is not None:
            job.file.abandon()
        if job.data:
            self._folder.give_up(job.data)
        said = str(error) if isinstance(error, SmidgenError) else f"{type(error).__name__}: {error}"
        failure = CheckpointFailed(
            f"Checkpoint of step {job.handle.step} was not written; those before it stay. {said}"
        )
        failure.__cause__ = error
        job.handle.error = failure
        self._stats.failures.append(str(failure))
        self._on_failed(failure)
        job.handle.ended_event.set()
