"""Training by several processes, each a real one: the same weights as by one, the bytes of the formulas, checkpoints
between any numbers of them, and what must not go wrong in silence."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from smidgen.kit.errors import BadInput
from smidgen.train import sharding
from smidgen.train.checkpoint import CheckpointCorrupt, latest
from smidgen.train.muon import Muon
from smidgen.train.sharding import ConstantBuffer, ContiguousArena, MissingShards, ZeroOptimizer, needs_whole, reading
from smidgen.train.sharding.elementwise import ELEMENTWISE

JOBS = Path(__file__).with_name("sharding_jobs.py")


def in_ranks(job: str, size: int, place: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", JOBS, job, str(size), place],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture
def alone():
    """A process group of this process."""
    ranks = sharding.start()
    yield ranks
    sharding.stop()


def test_every_stage_gives_the_weights_of_one_process(tmp_path):
    in_ranks("parity", 4, tmp_path)


def test_the_loop_decides_the_same_everywhere(tmp_path):
    in_ranks("training", 2, tmp_path)


@pytest.mark.parametrize(("saved_by", "taken_up_by"), [(4, 2), (1, 3)])
def test_checkpoints_move_between_numbers_of_processes_and_ways(tmp_path, saved_by, taken_up_by):
    in_ranks("stored", saved_by, tmp_path)
    (tmp_path / "ranks").write_text(str(saved_by))
    in_ranks("taken_up", taken_up_by, tmp_path)
    source = latest(tmp_path / "2native")
    source.file(saved_by - 1).unlink()
    with pytest.raises(MissingShards, match=f"rank {saved_by - 1} are not there"):
        reading.read(source)
    assert issubclass(MissingShards, FileNotFoundError)
    with pytest.raises(CheckpointCorrupt, match="are not there"):
        reading.load_newest(tmp_path / "2native")
    assert reading.load_newest(tmp_path / "none") is None


def test_bytes_held_and_sent_are_those_of_the_formulas(tmp_path):
    in_ranks("counted", 2, tmp_path)


def test_norms_are_of_all_ranks_and_uneven_gradients_are_refused(tmp_path):
    in_ranks("care", 2, tmp_path)


def test_exact_copies_on_and_off_the_device(tmp_path):
    in_ranks("apart", 2, tmp_path)


def test_activations_in_parts_and_blocks_computed_again(tmp_path):
    in_ranks("activations", 2, tmp_path)


@pytest.mark.parametrize("kind", ELEMENTWISE)
def test_elementwise_optimizers_step_as_ever(alone, kind):
    torch.manual_seed(0)
    x, models = torch.randn(8, 4), [nn.Linear(4, 3), nn.Linear(4, 3)]
    models[1].load_state_dict(models[0].state_dict())
    plain = kind(models[0].parameters(), lr=1e-2)
    zero = ZeroOptimizer(models[1], kind, 2, bucket_bytes=16, lr=1e-2)
    for _ in range(3):
        models[0](x).square().mean().backward()
        plain.step()
        plain.zero_grad()
        zero.backward(models[1](x).square().mean())
        zero.step()
        zero.zero_grad()
    for a, b in zip(models[0].parameters(), models[1].parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-7)


def test_tensors_that_cannot_be_cut_are_refused_or_kept_whole():
    class Mine(torch.optim.AdamW):
        pass

    class Known(torch.optim.AdamW):
        elementwise = True

    class Below(Known):
        pass

    for kind in (torch.optim.Adafactor, torch.optim.LBFGS, torch.optim.SparseAdam, torch.optim.Muon, Mine, Below):
        with pytest.raises(BadInput, match=f"{kind.__name__}. Its tensors cannot be cut"):
            needs_whole(kind, {"params": []})
        assert needs_whole(kind, {"params": [], "whole_tensors": True})
    assert not needs_whole(Known, {}) and not needs_whole(Muon, {}) and needs_whole(Muon, {"orthogonal": True})


def test_what_is_wrong_is_named(alone, tmp_path):
    model, adam = nn.Linear(4, 3), torch.optim.AdamW
    for wrong, said in (({"stage": 4}, "stage"), ({"stage": 1, "bucket_bytes": 0}, "bucket_bytes")):
        with pytest.raises(BadInput, match=said):
            ZeroOptimizer(model, adam, **wrong)
    with pytest.raises(BadInput, match="native or fsdp"):
        ZeroOptimizer(model, adam, 3, backend="other")
    with pytest.raises(BadInput, match="native, for exact copies"):
        ZeroOptimizer(nn.Linear(4, 3).bfloat16(), adam, 3, backend="fsdp")
    with pytest.raises(BadInput, match="outside"):
        ZeroOptimizer(model, adam, 3, outside=["nothing"])
    zero = ZeroOptimizer(model, adam, 2)
    with pytest.raises(BadInput, match="closure"):
        zero.step(lambda: 0.0)
    other = ZeroOptimizer(nn.Sequential(nn.Linear(4, 3)), adam, 2)
    with pytest.raises(BadInput, match="other groups"):
        zero.load_state_dict(other.state_dict())
    larger = ZeroOptimizer(nn.Linear(5, 3), adam, 2)
    with pytest.raises(BadInput, match="12 elements, got 15"):
        zero.load_state_dict(larger.state_dict())


def test_without_a_group_nothing_begins():
    with pytest.raises(BadInput, match="torchrun"):
        ZeroOptimizer(nn.Linear(2, 2), torch.optim.AdamW, 1)


def test_memory_of_fixed_size():
    buffer = ConstantBuffer(64)
    assert buffer.held is None
    assert buffer.view(2, 4, torch.float32).data_ptr() == buffer.view(1, 3, torch.int64).data_ptr()
    with pytest.raises(BadInput, match="at least 68 bytes"):
        buffer.view(1, 17, torch.float32)
    arena = ContiguousArena(256)

    class Owner:
        pass

    first, second = Owner(), Owner()
    a, b = arena.put(torch.ones(10), first), arena.put(torch.ones(3), second)
    assert b.data_ptr() - a.data_ptr() == 64 and arena.used == 128
    assert arena.put(torch.ones(100), first).sum() == 100 and arena.spilled == 400
    del first
    assert arena.used == 128  # what lies behind is still there
    del second
    assert arena.used == 0
