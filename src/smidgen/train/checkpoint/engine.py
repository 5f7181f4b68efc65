"""Checkpoints while training goes on (DataStates-LLM, Maurya et al., HPDC 2024, arXiv 2406.10707).

Weights and optimizer states do not change between the end of one update and the start of the next. So `save` only
notes which tensors there are; one thread copies them chunk by chunk into a bounded pool during the next forward and
backward pass, a second writes the chunks to disk. The update waits for the copies (`before_update`), never for the
disk, unless the pool is too small to take what the disk has not. CPU tensors are copied too: without that the next
update would be written into this checkpoint.

    checkpointer = LazyCheckpointer(folder, pool_bytes=512 << 20, on_failure=log)
    attach(checkpointer, optimizer)          # waits for copies before each step
    for step, batch in ...:
        loss(batch).backward(); optimizer.step(); optimizer.zero_grad()
        if step % 100 == 0:
            checkpointer.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), ...}, step)
    checkpointer.close()                     # waits until all is on the disk
"""

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from smidgen.kit.errors import bad
from smidgen.train.checkpoint.errors import CheckpointFailed
from smidgen.train.checkpoint.folder import Folder, Keep
from smidgen.train.checkpoint.handle import CheckpointHandle, CheckpointStats
from smidgen.train.checkpoint.layout import plan, source_bytes
from smidgen.train.checkpoint.pool import Pool
from smidgen.train.checkpoint.shard import Throttle
from smidgen.train.checkpoint.tree import Flat, flatten
from smidgen.train.checkpoint.unchanged import Unchanged
from smidgen.train.checkpoint.writer import Item, Job, Writer


@dataclass
class _Copy:
    """A state still to be copied."""

    job: Job
    flat: Flat
    unchanged: Unchanged


class LazyCheckpointer:
    """Writes checkpoints of one run (one rank of it) into a folder.

    Args:
        folder: as `folder.py` describes. pool_bytes: of the buffer. With room for a whole state, a slow disk costs
            nothing; with less, copies may have to wait for the disk, and the update for them.
        chunk_bytes: tensors are copied in chunks of this size, each with its own CRC.
        keep: which checkpoints stay. fsync: off only for measurements: nothing is durable without.
        throttle: bytes a second at most. rank, world, attempt: see `Folder`; `shared_attempt()` makes the last.
        on_failure: called with a `CheckpointFailed` by the next `save`, `wait_durable` or `close` after a checkpoint
            failed in the background, in the caller's thread; training goes on. Without it that call raises.
        peers_seconds: how long other ranks may take to finish their files after this one.
    """

    def __init__(
        self,
        folder: Path,
        *,
        pool_bytes: int = 256 << 20,
        chunk_bytes: int = 8 << 20,
        keep: Keep | None = None,
        fsync: bool = True,
        throttle: float | None = None,
        rank: int = 0,
        world: int = 1,
        attempt: str = "",
        on_failure: Callable[[CheckpointFailed], None] | None = None,
        peers_seconds: float = 600.0,
    ) -> None:
        if chunk_bytes < 1:
            raise bad("chunk_bytes", "at least 1", chunk_bytes)
        self.stats = CheckpointStats()
        self._pool, brake = Pool(pool_bytes), Throttle(throttle)
        self._folder = Folder(Path(folder), rank=rank, world=world, attempt=attempt, keep=keep)
        self._chunk, self._on_failure = min(chunk_bytes, pool_bytes), on_failure
        self._uncopied: list[tuple[CheckpointHandle, int]] = []  # with the place in the statistics
        self._running: list[CheckpointHandle] = []
        self._failed: queue.SimpleQueue[CheckpointFailed] = queue.SimpleQueue()
        self._stream = torch.cuda.Stream() if torch.cuda.is_available() else None
        self._closed = False
        self._writer = Writer(
            self._folder, self._pool, self.stats, brake, self._failed.put, fsync=fsync, peers_seconds=peers_seconds
        )
        self._copies: queue.SimpleQueue[_Copy | None] = queue.SimpleQueue()
        self._copier = threading.Thread(target=self._run, name="checkpoint-copy", daemon=True)
        self._copier.start()

    def save(self, state: Any, step: int) -> CheckpointHandle:
        """Begins a checkpoint and returns at once. Tensors of `state` must not change until `before_update` returned.

        Tensors under 64 KiB, numpy arrays, numbers and texts are taken now and may change at will.
        Raises:
            BadInput: something in the state is not data. CheckpointFailed: an earlier one failed (see `on_failure`),
            this step is being written already, or the checkpointer was closed.
        """
        start = time.perf_counter()
        self._report()
        self._running = [h for h in self._running if not h.ended]
        if self._closed or any(h.step == step for h in self._running):
            why = "the checkpointer is closed" if self._closed else "it is being written already"
            raise CheckpointFailed(f"Checkpoint of step {step} not begun: {why}.")
        flat = flatten(state)
        unchanged = Unchanged(flat)
        if self._stream is not None:
            self._stream.wait_stream(torch.cuda.current_stream())  # what is queued there comes first
        handle, index = CheckpointHandle(step), self.stats.begin()
        self._running.append(handle)
        self._uncopied.append((handle, index))
        self._copies.put(_Copy(Job(handle, start, index), flat, unchanged))
        self.stats.blocked[index] = time.perf_counter() - start
        return handle

    def before_update(self) -> None:
        """Waits until every tensor given to `save` is copied. Never for the disk, never raises for a failure."""
        while self._uncopied:
            handle, index = self._uncopied[0]
            start = time.perf_counter()
            handle.copied_event.wait()
            self.stats.blocked[index] += time.perf_counter() - start
            self._uncopied.pop(0)

    @contextlib.contextmanager
    def standing_still(self) -> Iterator[None]:
        """Adds the time of the block to what the last save cost."""
        start = time.perf_counter()
        yield
        self.stats.blocked[-1] += time.perf_counter() - start

    @contextlib.contextmanager
    def guard(self) -> Iterator[None]:
        """For code that changes weights outside the optimizer (averaging, re-initialising): the block may."""
        self.before_update()
        yield

    def wait_durable(self, handle: CheckpointHandle | None = None) -> None:
        """Waits until a checkpoint, or each one begun, is on the disk; a failure is reported as `on_failure` says."""
        for waited in [handle] if handle else list(self._running):
            waited.ended_event.wait()
        self._report()

    def close(self) -> None:
        """Finishes what was begun, frees the folder, reports failures. May be called twice."""
        if not self._closed:
            self._closed = True
            self._copies.put(None)
            self._copier.join()
            self._writer.close()
            self._folder.close()
        self._report()

    def __enter__(self) -> "LazyCheckpointer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _report(self) -> None:
        while not self._failed.empty():
            failure = self._failed.get()
            if self._on_failure is None:
                raise failure
            self._on_failure(failure)

    # the thread that copies

    def _run(self) -> None:
        while (copy := self._copies.get()) is not None:
            job = copy.job
            try:
                self._copy(copy)
            except BaseException as error:  # the writer reports it
                job.error = job.error or error
            del copy  # the state may go
            self.stats.copied[job.index] = time.perf_counter() - job.started
            job.handle.copied_event.set()
            self._writer.put(Item(job))

    def _copy(self, copy: _Copy) -> None:
        job, tensors = copy.job, copy.flat.tensors
        job.layout = layout = plan(copy.flat, job.handle.step, self._chunk)
        for index, parts in enumerate(layout.parts()):
            if job.error is not None:
                return
            start, stop = layout.span(index)
            region = self._pool.allocate(stop - start)
            try:
                self._fill(self._pool.view(region), parts, tensors)
            except BaseException:
                self._pool.release(region)
                raise
            self._writer.put(Item(job, index, region))
        copy.unchanged.check()

    def _fill(self, target: Tensor, parts: list[tuple[str, int, int]], tensors: dict[str, Tensor]) -> None:
        at, on_device = 0, False
        for name, start, stop in parts:
            source, place = tensors[name], target[at : at + stop - start]
            if source.device.type == "cpu":
                np.copyto(place.numpy(), source_bytes(source, start, stop).numpy())  # frees the interpreter
            else:
                on_device = source.device.type == "cuda"
                with torch.cuda.stream(self._stream):  # without a GPU it does nothing
                    place.copy_(source_bytes(source, start, stop), non_blocking=on_device)
            at += stop - start
        if on_device and self._stream is not None:
            self._stream.synchronize()


def attach(checkpointer: Any, optimizer: torch.optim.Optimizer) -> Any:
    """Has `optimizer.step` wait for copies; the returned handle's `remove()` ends it. For every optimizer that steps.

    With updates layer by layer inside the backward pass, attach each layer's optimizer: the first step waits.
    """
    return optimizer.register_step_pre_hook(lambda *_: checkpointer.before_update())


def shared_attempt() -> str:
    """A name for this start of the run, the same on all ranks of the process group, new each time."""
    import secrets

    import torch.distributed as dist

    number = torch.tensor([secrets.randbits(62)])
    if dist.is_initialized():
        number = number.to("cuda" if dist.get_backend() == "nccl" else "cpu")
        dist.broadcast(number, src=0)
    return f"{int(number.item()):016x}"
