"""What ranks do in `test_sharding.py`, in processes of their own: torch is imported once, then they are forked.

python sharding_jobs.py JOB RANKS FOLDER
"""

import copy
import importlib
import os
import sys
import traceback
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.utils.checkpoint import checkpoint, set_checkpoint_early_stop

from smidgen.budget.memory import comm_volume, model_state_bytes
from smidgen.nets.decoder import Decoder, DecoderConfig, matrix_like
from smidgen.train.checkpoint import Keep, LazyCheckpointer
from smidgen.train.guard import SpikeGuard
from smidgen.train.loop import LoopConfig, Run, train
from smidgen.train.muon import Muon
from smidgen.train.sharding import (
    ActivationPartitioner,
    ContiguousArena,
    Ranks,
    Sharding,
    UnevenGradients,
    ZeroOptimizer,
    reading,
    saved,
)

VOCAB, ACCUMULATE = 11, 2
WAYS = [(0, "native"), (1, "native"), (2, "native"), (3, "native"), (3, "fsdp")]


class Net(nn.Module):
    """Tied output, a weight of two blocks, a frozen layer, a buffer, a parameter that only some micro-batches use, odd
    sizes that no number of ranks divides."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Embedding(VOCAB, 5)
        layers = [nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 5), nn.Tanh()) for _ in range(3)]
        layers[1][0].weight = layers[0][0].weight
        self.blocks = nn.ModuleList(layers)
        self.frozen = nn.Linear(5, 5)
        self.frozen.requires_grad_(False)
        self.register_buffer("seen", torch.zeros(1))
        self.rare = nn.Parameter(torch.ones(5))
        self.unused = nn.Parameter(torch.ones(3))

    def forward(self, ids: torch.Tensor, rare: bool = False) -> torch.Tensor:
        x = self.embed(ids)
        for block in self.blocks:
            x = x + self.frozen(block(x))
        return (x * self.rare if rare else x) @ self.embed.weight.T


def grouped(model: nn.Module) -> torch.optim.Optimizer:
    """Weights decay, biases do not."""
    trained = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    groups = [
        {"params": [p for n, p in trained if "bias" not in n], "weight_decay": 0.3},
        {"params": [p for n, p in trained if "bias" in n], "weight_decay": 0.0, "lr": 3e-2},
    ]
    return torch.optim.AdamW(groups, lr=1e-2)


def batch(step: int, number: int, rank: int) -> torch.Tensor:
    g = torch.Generator().manual_seed(1000 * step + 10 * number + rank)
    return torch.randint(VOCAB, (3, 4), generator=g)


def loss_of(model: nn.Module, ids: torch.Tensor, rare: bool = False) -> tuple[torch.Tensor, int]:
    """Sum and count: ranks have different counts."""
    keep = 3 if int(ids[0, 0]) % 2 else 2
    logits = model(ids[:keep, :-1], rare)
    return nn.functional.cross_entropy(logits.flatten(0, 1), ids[:keep, 1:].flatten(), reduction="sum"), 3 * keep


def alone(size: int, steps: int) -> nn.Module:
    """One process that takes the batches of all ranks, one after another."""
    model = Net()
    optimizer = grouped(model)
    for step in range(steps):
        count = 0
        for number in range(ACCUMULATE):
            for rank in range(size):
                loss, n = loss_of(model, batch(step, number, rank), rare=number == 0)
                loss.backward()
                count += n
        for p in model.parameters():
            if p.grad is not None:
                p.grad.div_(count)
        optimizer.step()
        optimizer.zero_grad()
    return model


def together(zero: ZeroOptimizer, steps: range) -> None:
    for step in steps:
        count = 0.0
        for number in range(ACCUMULATE):
            loss, n = loss_of(zero.model, batch(step, number, zero.ranks.rank), rare=number == 0)
            zero.backward(loss, last=number + 1 == ACCUMULATE)
            count += n
        zero.finish(zero.totals(count)[0])
        zero.step()
        zero.zero_grad()


def parity(ranks: Ranks, place: Path) -> None:
    """All ways give what one process gives; native stages 2 and 3 to the bit."""
    expected = alone(ranks.size, 4).state_dict()
    for stage, backend in WAYS:
        model = Net()
        if ranks.rank:
            nn.init.zeros_(model.embed.weight)  # rank 0's weights count
        zero = ZeroOptimizer.of(model, grouped(model), stage, backend=backend, bucket_bytes=128)
        together(zero, range(4))
        found = saved.model_state(zero)
        if ranks.rank == 0:
            assert found.keys() == expected.keys()
            for name, value in expected.items():
                exact = stage >= 2 and backend == "native"
                same = torch.equal(found[name], value) if exact else torch.allclose(found[name], value, atol=2e-6)
                assert same, (stage, backend, name, (found[name] - value).abs().max())


def stored(ranks: Ranks, place: Path) -> None:
    """Saves half-way in each way, and goes on."""
    for stage, backend in WAYS:
        folder = place / f"{stage}{backend}"
        model = Net()
        zero = ZeroOptimizer.of(model, grouped(model), stage, backend=backend, bucket_bytes=128)
        together(zero, range(2))
        run = Run(model, zero, step=2)
        torch.manual_seed(100 + ranks.rank)
        saver = LazyCheckpointer(folder, rank=ranks.rank, world=ranks.size, attempt="a", keep=Keep(last=9))
        saver.save(run.state_dict(), 2)
        saver.close()


def taken_up(ranks: Ranks, place: Path) -> None:
    """Any way goes on from what any number of ranks saved in any way, as if nothing had happened."""
    size = int((place / "ranks").read_text())
    expected = alone(size, 2)
    for (stage, backend), folder in zip(WAYS, sorted(p for p in place.iterdir() if p.is_dir())[::-1], strict=True):
        model = Net()
        zero = ZeroOptimizer.of(model, grouped(model), stage, backend=backend, bucket_bytes=96)
        nn.init.zeros_(model.seen)
        run = Run(model, zero)
        found = reading.load_newest(folder, ranks)
        assert found is not None and found.source.world == size
        run.load_state_dict(found.state)
        assert torch.equal(torch.rand(3), torch.rand(3, generator=torch.manual_seed(100 + ranks.rank % size)))
        whole, states = saved.model_state(zero), zero.state_dict(consolidate=True)
        one = Net()
        alone_run = Run(one, grouped(one))
        alone_run.load_state_dict(reading.load_newest(folder).state)  # one process takes it up as well
        if ranks.rank == 0:
            for name, value in expected.state_dict().items():
                assert torch.allclose(whole[name], value, atol=2e-6), (folder, name)
                assert torch.equal(whole[name], one.state_dict()[name])
            plain = alone_run.optimizer.state_dict()
            assert states["param_groups"] == plain["param_groups"] and states["state"].keys() == plain["state"].keys()
            for i, entry in plain["state"].items():
                assert all(torch.equal(v, states["state"][i][k]) for k, v in entry.items())
        again = ZeroOptimizer.of(one, grouped(one), stage, backend=backend)
        again.load_state_dict(alone_run.optimizer.state_dict())  # and ranks take up what one process had
        together(again, range(2, 3))
        together(zero, range(2, 3))
        a, b = saved.model_state(again), saved.model_state(zero)
        assert all(torch.allclose(a[n], b[n], atol=1e-6) for n in a)


def training(ranks: Ranks, place: Path) -> None:
    """The loop, with matrices that Muon moves whole, a broken row on the last rank, and ranks of other opinions."""
    config = DecoderConfig(VOCAB, 8, 2, 2, 2, 12, 8)

    def rows(number: int) -> tuple[torch.Tensor, torch.Tensor]:
        g = torch.Generator().manual_seed(number)
        scale = torch.ones(4)
        scale[3] = float("nan") if number == 3 else 1.0
        return torch.randint(VOCAB, (4, 9), generator=g), scale

    def loss(model: nn.Module, ids: torch.Tensor, scale: torch.Tensor) -> tuple[torch.Tensor, int]:
        targets = ids[:, 1:].contiguous()
        return model(ids[:, :-1].contiguous(), targets_BT=targets) * scale.prod(), targets.numel()

    def run(stage: int | None) -> Run:
        model = Decoder(config, seed=1)
        inner = [p for n, p in model.named_parameters() if matrix_like(n)]
        rest = [p for n, p in model.named_parameters() if not matrix_like(n)]
        optimizer = Muon([{"params": inner, "orthogonal": True}, {"params": rest, "weight_decay": 0.0}], 1e-2)
        guard, settings = SpikeGuard(factor=1e6), LoopConfig(accumulate=2, clip=0.5)
        if stage is None:
            made = Run(model, optimizer, guard)
            return train(made, rows, loss, lambda step: 1.0, settings, steps=6)
        sharding = Sharding(stage, bucket_bytes=512)
        part, leads = sharding.rows(4), ranks.rank == 0
        made = Run(model, sharding.optimizer(model, optimizer), guard)
        return train(
            made,
            lambda n: tuple(v[part] for v in rows(n)),
            loss,
            lambda step: 1.0 if leads else 0.5,
            settings,
            go_on=lambda: made.step < 6 if leads else made.step < 2,
        )

    expected = run(None)
    for stage in (0, 1, 2, 3):
        found = run(stage)
        assert (found.step, found.batch, found.targets) == (6, 14, 6 * 2 * 32) and len(found.guard.seen) == 1
        whole = saved.model_state(found.optimizer)
        for name, value in expected.model.state_dict().items() if ranks.rank == 0 else ():
            assert torch.allclose(whole[name], value, atol=5e-4), (stage, name, (whole[name] - value).abs().max())


def care(ranks: Ranks, place: Path) -> None:
    """Norms, overflow, gradients on some ranks only, and what user code sees."""
    for stage in (1, 2, 3):
        model, one = Net(), Net()
        zero = ZeroOptimizer.of(model, grouped(model), stage, bucket_bytes=128)
        for rank in range(ranks.size):
            (loss_of(one, batch(0, 0, rank))[0] / ranks.size).backward()
        norm = float(torch.nn.utils.get_total_norm([p.grad for p in one.parameters() if p.grad is not None]))
        zero.backward(loss_of(model, batch(0, 0, ranks.rank))[0])
        if stage > 1:
            assert all(p.grad is None for p in model.parameters())  # torch's own clipping finds nothing to spoil
        assert abs(zero.clip_grad_norm_(norm / 2) - norm) < 1e-4 * norm
        assert abs(zero.clip_grad_norm_(None) - norm / 2) < 1e-4 * norm and not zero.overflow()
        zero.zero_grad()
        zero.backward(loss_of(model, batch(0, 0, 0))[0] * (float("inf") if ranks.rank else 1.0))
        assert zero.overflow()
        zero.zero_grad()
        extra = model.unused.sum() if ranks.rank else 0.0
        zero.backward(loss_of(model, batch(0, 0, 0))[0] + extra)
        with pytest.raises(UnevenGradients, match="unused"):
            zero.step()


def counted(ranks: Ranks, place: Path) -> None:
    """Bytes held and sent are those of the formulas, up to padding."""
    for stage in (0, 1, 2, 3):
        model = nn.Sequential(nn.Linear(100, 90), nn.Tanh(), nn.Linear(90, 100))
        zero = ZeroOptimizer(model, torch.optim.Adam, stage, bucket_bytes=4096, lr=1e-3)
        count, padding = sum(p.numel() for p in model.parameters()), 16 * ranks.size
        for _ in range(2):
            zero.ranks.sent.clear()
            zero.backward(model(torch.ones(2, 100)).sum())
            held = zero.nbytes()
            zero.step()
            zero.zero_grad()
        expected = model_state_bytes(count, stage, ranks.size, 1, 4, 4, 8)
        for kind in ("weights", "grads", "optimizer"):
            assert 0 <= held[kind] - expected[kind] <= padding, (stage, kind, held, expected)
        sent = zero.ranks.sent["gradients"] + zero.ranks.sent["weights"]
        assert 0 <= sent - 4 * comm_volume(count, stage, ranks.size) <= 3 * padding
        assert held["buffers"] <= 4 * 4096 and zero.ranks.sent["control"] < 100


def apart(ranks: Ranks, place: Path) -> None:
    """Exact copies of bfloat16 weights, on the host or not, are updated as one process updates its own."""
    torch.manual_seed(0)
    first = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)).bfloat16()
    x = torch.randn(ranks.size, 4, 6, generator=torch.Generator().manual_seed(1)).bfloat16()
    one = copy.deepcopy(first)
    exact = [p.detach().float().requires_grad_() for p in one.parameters()]
    optimizer = torch.optim.AdamW(exact, lr=1e-2)
    for _ in range(3):
        grads = [torch.autograd.grad(one(part).square().mean(), list(one.parameters())) for part in x]
        for own, *parts in zip(exact, *grads, strict=True):
            own.grad = sum(g.float() for g in parts) / ranks.size
        optimizer.step()
        for own, p in zip(exact, one.parameters(), strict=True):
            p.data.copy_(own.detach())
    for stage in (0, 1, 2, 3):
        for offload in (False, True):
            model = copy.deepcopy(first)
            zero = ZeroOptimizer(model, torch.optim.AdamW, stage, bucket_bytes=32, offload=offload, lr=1e-2)
            for _ in range(3):
                zero.backward(model(x[ranks.rank]).square().mean())
                zero.step()
                zero.zero_grad()
            with zero.whole():
                assert all(torch.equal(a, b) for a, b in zip(model.parameters(), one.parameters(), strict=True))
            if stage < 3:  # weights set from outside are taken up
                nn.init.zeros_(model[0].weight)
                zero.refresh()
                zero.backward(0 * model(x[ranks.rank]).sum())
                zero.step()
                assert model[0].weight.abs().max() < 0.05


def activations(ranks: Ranks, place: Path) -> None:
    """P_a keeps a part, gathers it once, restores random numbers; stage 3 computes blocks again in its backward pass,
    and stands an operation in place on what a block returned."""
    arena = ContiguousArena(1 << 12)
    parts = ActivationPartitioner(arena=arena)
    results = []
    for run in (lambda block, x: block(x), parts.checkpoint):
        torch.manual_seed(5)
        blocks = nn.ModuleList([nn.Sequential(nn.Linear(7, 7), nn.Dropout(0.5), nn.Tanh()) for _ in range(3)])
        x = start = torch.randn(3, 7, requires_grad=True)
        for block in blocks:
            x = run(block, x * 1.0)
        held = arena.used
        x.square().sum().backward()
        results.append([start.grad, *(p.grad for p in blocks.parameters())])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))
    assert 3 * 21 * 4 / ranks.size <= held <= 3 * 64 and arena.used == 0 and arena.spilled == 0
    part = -(-21 // ranks.size) * 4
    assert parts.ranks.sent["activations"] == 3 * part * (ranks.size - 1)

    class Deep(nn.Module):
        def __init__(self, again: bool) -> None:
            super().__init__()
            torch.manual_seed(2)
            self.blocks, self.again = nn.ModuleList([nn.Linear(7, 7) for _ in range(3)]), again

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for block in self.blocks:
                y = checkpoint(block, x, use_reentrant=False) if self.again else block(x)
                y += 1  # a linear layer of three dimensions returns a view
                y.register_hook(lambda _: held.append(zero.nbytes()["weights"]))
                x = y.tanh()
            return x

    x = torch.randn(2, 3, 7, generator=torch.Generator().manual_seed(ranks.rank))
    found, held = [], []
    for again, stage in ((False, 1), (False, 3), (True, 3)):
        model = Deep(again)
        zero = ZeroOptimizer(model, torch.optim.AdamW, stage, lr=1e-2)
        for _ in range(2):
            with set_checkpoint_early_stop(False):
                zero.backward(model(x).sum())
            owned = 4 * 3 * 56 / ranks.size + 64
            assert stage < 3 or max(held) < owned + 4 * 56 and zero.nbytes()["weights"] < owned
            held.clear()
            zero.step()
            zero.zero_grad()
        with zero.whole():
            found.append([p.detach().clone() for p in model.parameters()])
    assert all(torch.allclose(a, b, atol=1e-6) for other in found[1:] for a, b in zip(found[0], other, strict=True))


def main() -> None:
    job, size, place = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    if job in ("parity", "stored", "taken_up"):
        importlib.import_module("torch._dynamo")  # what FSDP needs, once for all
        importlib.import_module("torch.distributed.fsdp")
    children = [os.fork() or _rank(job, r, size, place) for r in range(size)]
    failed = [r for r, child in enumerate(children) if os.waitpid(child, 0)[1]]
    sys.exit(f"ranks {failed} failed" if failed else 0)


def _rank(job: str, rank: int, size: int, place: Path) -> int:
    code = 1
    try:
        torch.set_num_threads(1)
        dist.init_process_group("gloo", init_method=f"file://{place}/.meet-{job}", rank=rank, world_size=size)
        globals()[job](Ranks(), place)
        dist.destroy_process_group()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
