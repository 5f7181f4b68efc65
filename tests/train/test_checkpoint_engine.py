"""Checkpoints while training goes on: exact, never torn, in bounded memory, and a full disk stops nothing."""

import copy
import random
import resource
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from checkpoint_samples import POOL, files, same, training

from smidgen.kit.errors import BadInput
from smidgen.kit.files import write_json
from smidgen.train import checkpoint
from smidgen.train.checkpoint import CheckpointFailed, Keep, LazyCheckpointer, attach
from smidgen.train.checkpoint.pool import Pool


@pytest.mark.parametrize(
    ("optimizer", "options"),
    [(torch.optim.AdamW, {}), (torch.optim.AdamW, {"fused": True}), (torch.optim.SGD, {"momentum": 0.9})],
)
def test_every_step_exact_while_training_goes_on(tmp_path, optimizer, options):
    """The pool is smaller than the state and the disk is slow, so that each copy meets the next step."""
    model, optimizer, step = training(optimizer, lr=0.1, **options)
    copies = {}
    with LazyCheckpointer(tmp_path, keep=Keep(last=99), throttle=40e6, **POOL) as saver:
        attach(saver, optimizer)
        for number in range(1, 6):
            step()
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": number}
            copies[number] = copy.deepcopy(state)
            saver.save(state, number)
    found = checkpoint.published(tmp_path)
    assert [p.step for p in found] == [1, 2, 3, 4, 5] and not saver.stats.failures
    for source in found:
        assert same(checkpoint.load(source), {**copies[source.step], "model": dict(copies[source.step]["model"])})
    optimizer.load_state_dict(checkpoint.load(found[0])["optimizer"])
    numbers = saver.stats
    assert all(0 < c <= f for c, f in zip(numbers.copied, numbers.flushed, strict=True)) and numbers.queued > 0
    assert all(n > 200_000 for n in numbers.nbytes) and len(numbers.blocked) == 5


@pytest.mark.parametrize("fused", [False, True])
def test_a_state_that_changed_too_early_is_never_published(tmp_path, fused):
    _, optimizer, step = training(lr=0.1, fused=fused)
    step()
    saver = LazyCheckpointer(tmp_path, throttle=2e6, **POOL)  # no attach
    handle = saver.save(optimizer.state_dict(), 1)
    step()
    with pytest.raises(CheckpointFailed, match="changed before it was copied"):
        saver.wait_durable(handle)
    assert not handle.durable and checkpoint.latest(tmp_path) is None and files(tmp_path) == []
    with saver.guard():  # after this, any code may change weights
        step()
    saver.close()


def test_update_waits_for_copies_and_not_for_the_disk(tmp_path):
    weights = torch.zeros(1 << 18)
    with LazyCheckpointer(tmp_path, pool_bytes=2 << 20, chunk_bytes=1 << 18, throttle=2e6) as saver:
        handle = saver.save([weights], 1)
        saver.before_update()
        assert handle.copied and not handle.ended and checkpoint.latest(tmp_path) is None
        weights.fill_(1)
        with pytest.raises(CheckpointFailed, match="written already"):
            saver.save([weights], 1)
        saver.wait_durable(handle)
        assert handle.durable and checkpoint.latest(tmp_path) is not None
    found = checkpoint.load_newest(tmp_path)
    assert found is not None and not found.state[0].any()
    with pytest.raises(CheckpointFailed, match="closed"):
        saver.save([weights], 2)


@pytest.mark.parametrize("make", [checkpoint.SyncCheckpointer, checkpoint.SnapshotThenWrite])
def test_baselines_write_the_same(tmp_path, make):
    weights = torch.zeros(1 << 18)
    saver = make(tmp_path, throttle=5e6)
    handle = saver.save([weights], 3)
    assert handle.durable == (make is checkpoint.SyncCheckpointer) and (saver.stats.blocked[0] > 0.15) == handle.durable
    weights.fill_(1)  # both allow it at once
    saver.wait_durable()
    saver.close()
    found = checkpoint.load_newest(tmp_path)
    assert found is not None and not found.state[0].any()


def test_a_full_disk_leaves_the_old_one_and_training_goes_on(tmp_path):
    heard = []
    saver = LazyCheckpointer(tmp_path, on_failure=heard.append, **POOL)
    saver.wait_durable(saver.save([torch.ones(1 << 18)], 1))
    before = files(tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 19, hard))  # the system refuses files of more than half a MB
    try:
        failed = saver.save([torch.ones(1 << 18)], 2)
        saver.before_update()
        failed.ended_event.wait()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert heard == [] and not failed.durable and files(tmp_path) == before
    good = saver.save([torch.full((1 << 18,), 3.0)], 3)  # reports, and is written
    assert len(heard) == 1 and "step 2 was not written" in str(heard[0]) and "File too large" in str(heard[0])
    saver.close()
    assert good.durable and saver.stats.failures == [str(heard[0])] and saver._pool.used == 0
    assert [p.step for p in checkpoint.published(tmp_path)] == [1, 3]


def test_a_manifest_that_cannot_be_written_publishes_nothing(tmp_path, monkeypatch):
    def full(path, value):
        if Path(path).name.startswith("checkpoint-"):
            raise OSError(28, "No space left on device")
        write_json(path, value)

    with LazyCheckpointer(tmp_path, **POOL) as saver:
        saver.save([torch.ones(9)], 1)
        saver.wait_durable()
        monkeypatch.setattr(checkpoint.folder, "write_json", full)
        saver.save([torch.ones(9)], 2)
        with pytest.raises(CheckpointFailed, match="No space left"):
            saver.wait_durable()
    assert [p.step for p in checkpoint.published(tmp_path)] == [1] and len(files(tmp_path)) == 2


def test_pool_waits_never_overlaps_and_takes_returns_in_any_order():
    pool, draw = Pool(1000), random.Random(0)
    held = []
    for _ in range(3000):
        size = draw.choice([1, 100, 333, 500, 1000])
        while held and (pool.used + 2 * size > pool.size or draw.random() < 0.4):
            pool.release(held.pop(draw.randrange(len(held))))
        if pool.used == 0 or size < 100:
            held.append(pool.allocate(size))
        taken = sorted((r.start, r.start + r.size) for r in held)
        assert all(a[1] <= b[0] for a, b in zip(taken, taken[1:], strict=False)) and (not taken or taken[-1][1] <= 1000)
    while held:
        pool.release(held.pop())
    first, second = pool.allocate(600), pool.allocate(400)
    got = threading.Event()
    waiter = threading.Thread(target=lambda: (pool.allocate(500), got.set()))
    waiter.start()
    pool.release(second)
    assert not got.wait(0.05)  # what is free is behind `first`
    pool.release(first)
    assert got.wait(5)
    waiter.join()
    with pytest.raises(BadInput, match="of the pool"):
        pool.allocate(1001)


def test_state_larger_than_the_pool_takes_no_more_memory_than_it(tmp_path):
    code = f"""
import re, torch
from pathlib import Path
from smidgen.train.checkpoint import LazyCheckpointer
def peak():
    return int(re.search("VmHWM: *\\t* *([0-9]+)", Path("/proc/self/status").read_text())[1])
state = [torch.ones(8 << 20) for _ in range(4)]  # 134 MB
with LazyCheckpointer({str(tmp_path)!r}, pool_bytes=16 << 20, chunk_bytes=4 << 20) as saver:
    saver.save([torch.ones(9)], 0)
    saver.wait_durable()
    before = peak()
    saver.save(state, 1)
    saver.wait_durable()
print(peak() - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) * 1024 < 5 << 20  # the pool itself was touched before
