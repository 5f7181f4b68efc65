"""A folder of checkpoints: kills, retention, one writer, several ranks."""

import subprocess
import sys

import pytest
import torch
from checkpoint_samples import POOL, files

from smidgen.kit.errors import BadInput
from smidgen.train import checkpoint
from smidgen.train.checkpoint import Keep, LazyCheckpointer, Piece


def test_keeps_what_it_is_told_and_newest_is_by_time(tmp_path):
    with LazyCheckpointer(tmp_path, keep=Keep(last=2, every=10), **POOL) as saver:
        for step in (10, 11, 12, 20, 21, 5):  # 5: training was rolled back
            saver.wait_durable(saver.save({"step": step}, step))
    found = checkpoint.published(tmp_path)
    assert [p.step for p in found] == [10, 20, 21, 5] and len(files(tmp_path)) == 8
    newest = checkpoint.load_newest(tmp_path)
    assert newest is not None and newest.state == {"step": 5}


def test_opening_removes_what_a_killed_run_left_and_only_one_may_write(tmp_path):
    with LazyCheckpointer(tmp_path, **POOL) as saver:
        saver.save([1], 1)
        with pytest.raises(BadInput, match="another run"):
            LazyCheckpointer(tmp_path, **POOL)
        code = f"import sys; from smidgen.train.checkpoint.folder import Folder; Folder({str(tmp_path)!r})"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.returncode and "another run" in done.stderr
    (tmp_path / "step-0000000002-abc").mkdir()
    (tmp_path / ".checkpoint-00000002.json.xyz").touch()
    (tmp_path / "notes.txt").touch()
    LazyCheckpointer(tmp_path, **POOL).close()
    assert len(files(tmp_path)) == 3 and checkpoint.load_newest(tmp_path).state == [1]


def shards(folder, rank, world=2, **options):
    return LazyCheckpointer(folder, rank=rank, world=world, attempt="a1", **{**POOL, **options})


def test_ranks_make_one_checkpoint_of_their_pieces(tmp_path):
    flat, rows = torch.randn(100_001), torch.randn(10, 7)
    cut = {0: (0, 60_000, 0, 4), 1: (60_000, 100_001, 4, 10)}

    def state(rank):
        a, b, c, d = cut[rank]
        pieces = [Piece("flat", flat[a:b], (a,), (100_001,)), Piece("rows", rows[c:d], (c, 0), (10, 7))]
        return {"shared": 5, "pieces": pieces, "rank": rank}

    one = shards(tmp_path, 1)  # the faster rank comes before rank 0 has opened the folder
    handle = one.save(state(1), 4)
    zero = shards(tmp_path, 0)
    handle.copied_event.wait()
    assert not handle.ended_event.wait(0.1) and checkpoint.latest(tmp_path) is None  # durable when all are
    zero.save(state(0), 4)
    one.close(), zero.close()
    assert handle.durable
    source = checkpoint.latest(tmp_path)
    assert source is not None and source.world == 2 and checkpoint.load(source, 1)["rank"] == 1
    whole = checkpoint.gather(source)
    assert whole["shared"] == 5 and torch.equal(whole["pieces"][0], flat) and torch.equal(whole["pieces"][1], rows)
    with pytest.raises(BadInput, match="no rank 2"):
        checkpoint.load(source, 2)
    with pytest.raises(BadInput, match="not inside"):
        Piece("flat", flat, (1,), (100_001,))


def test_a_rank_that_fails_or_never_comes_publishes_nothing(tmp_path):
    heard = []
    options = {"peers_seconds": 0.1, "on_failure": heard.append}
    zero, one = shards(tmp_path, 0, **options), shards(tmp_path, 1, **options)
    zero.wait_durable(zero.save([1], 1))
    assert len(heard) == 1 and "Other ranks took" in str(heard[0])
    one.wait_durable(one.save([1], 1))  # late
    assert "rank-00000 could not write" in str(heard[1])
    (tmp_path / "step-0000000002-a1-1").mkdir()
    (tmp_path / "step-0000000002-a1-1" / "rank-00001.safetensors").touch()  # so that rank 1 cannot make it
    handles = [one.save([1], 2), zero.save([1], 2)]
    one.close(), zero.close()
    assert all(h.error for h in handles) and len(heard) == 4 and checkpoint.latest(tmp_path) is None


TRIALS = """
import os, random, signal, sys, time
import numpy as np, torch
from smidgen.train.checkpoint import LazyCheckpointer, load_newest

def train(folder, out):
    torch.set_num_threads(1)
    found = load_newest(folder)
    step = found.step if found else 0
    w = torch.full((1 << 18,), float(step))
    saver = LazyCheckpointer(folder, pool_bytes=1 << 20, chunk_bytes=1 << 18)
    handles = []
    while True:
        saver.before_update()
        w.add_(1)
        step += 1
        handles.append(saver.save({"w": w, "step": step}, step))
        while handles and handles[0].durable:
            os.write(out, b"%d\\n" % handles.pop(0).step)

draw, last = random.Random(1), 0
for trial in range(8):
    ours, theirs = os.pipe()
    if (pid := os.fork()) == 0:
        train(sys.argv[1], theirs)
    os.close(theirs)
    with os.fdopen(ours) as pipe:
        said = [int(pipe.readline())]
        time.sleep(draw.uniform(0, 0.05))
        os.kill(pid, signal.SIGKILL)
        said += [int(line) for line in pipe]
    os.waitpid(pid, 0)
    found = load_newest(sys.argv[1])
    assert found is not None and not found.skipped and found.step >= said[-1] > last, (found, said, last)
    assert found.state["step"] == found.step and (found.state["w"].numpy() == found.step).all()
    last = found.step
print("survived")
"""


def test_killed_at_any_moment_the_newest_that_was_published_loads(tmp_path):
    done = subprocess.run([sys.executable, "-c", TRIALS, tmp_path], capture_output=True, text=True, timeout=120)
    assert done.stdout == "survived\n", done.stderr


def test_of_regular_ones_as_many_stay_as_asked():
    steps = [0, 5, 10, 15, 20, 25]
    kept = {most: [steps[i] for i in sorted(Keep(last=1, every=10, most=most).staying(steps))] for most in (0, 1, 2)}
    assert kept == {0: [0, 10, 20, 25], 1: [20, 25], 2: [10, 20, 25]}
    assert Keep(last=2).staying(steps) == {4, 5}
