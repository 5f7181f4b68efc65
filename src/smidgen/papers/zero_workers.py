"""Claim 092's workers: each trains the networks with every stage, and measures what it keeps and sends."""

import gc
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

STAGES, SAVED_BY, TAKEN_UP_BY = (1, 2, 3), 4, 2
RATE, CLOSE, SAME_LOSS, BYTES_OFF, SENT_OFF = 1e-3, 1e-6, 1e-5, 0.05, 0.02


@dataclass(frozen=True)
class Sizes:
    """Of one run."""

    layers: tuple[int, ...] = (784, 512, 256, 10)
    vocab: int = 1024
    hidden: int = 128
    blocks: int = 4
    ffn: int = 352
    images: int = 64
    rows: int = 16
    tokens: int = 64
    steps: int = 30
    bucket: int = 256 << 10


SMALL = Sizes((12, 16, 4), 40, 16, 1, 32, 4, 4, 8, 4, 4096)


def work(place: str, seed: int, size: int, rank: int) -> None:
    """One worker: all stages and networks of a world size; rank 0 writes what it measured."""
    import torch
    import torch.distributed as dist

    from smidgen.kit.files import write_json
    from smidgen.train.sharding import Ranks

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{place}/meet-{size}", rank=rank, world_size=size)
    data = torch.load(Path(place) / "data.pt", weights_only=True)
    values = measured(Ranks(), data, Sizes(), Path(place), seed)
    if rank == 0:
        write_json(Path(place) / f"world-{size}.json", values)
    dist.destroy_process_group()


def measured(ranks: Any, data: dict[str, Any], sizes: Sizes, place: Path, seed: int) -> dict[str, float]:
    """All stages against plain data parallelism on both networks, and checkpoints of the transformer."""
    values = dict.fromkeys(("weights that differ", "bytes off the formula", "messages off the formula"), 0.0)
    values |= {"losses that differ": 0.0, "largest weight difference": 0.0, "largest share of bytes off": 0.0}
    values |= {"largest share of messages off": 0.0, "largest loss difference": 0.0}

    gc.freeze()  # what the libraries hold need not be looked through each time

    def count(name: str, largest: str, off: float, limit: float, failed: bool | None = None) -> None:
        values[name] += off > limit if failed is None else failed
        values[largest] = max(values[largest], off)

    for kind in ("perceptron", "transformer"):
        make, batch = _task(kind, data, sizes, ranks, seed)
        plain = Plain(make(), ranks)
        for step in range(sizes.steps):
            plain.step(batch(step), _rate(step, sizes.steps))
        for stage in STAGES:
            spread = Spread(make, ranks, stage, sizes.bucket)
            folder = place / f"saved-{stage}" if kind == "transformer" else None
            losses = spread.train(batch, 0, sizes.steps, folder if ranks.size == SAVED_BY else None)
            count("weights that differ", "largest weight difference", spread.difference(plain.model), CLOSE)
            off, too_far = spread.bytes_off(batch(0))
            count("bytes off the formula", "largest share of bytes off", off, BYTES_OFF, too_far)
            if ranks.size > 1:
                off = spread.messages_off(batch(0))
                count("messages off the formula", "largest share of messages off", off, SENT_OFF)
            if folder is not None and ranks.size == SAVED_BY:
                _keep(losses, folder, ranks)
            elif folder is not None and ranks.size == TAKEN_UP_BY:
                off = _gone_on(Spread(make, ranks, stage, sizes.bucket), batch, folder, sizes.steps)
                count("losses that differ", "largest loss difference", off, SAME_LOSS)
            del spread  # or its memory would be taken for what was there before the next
    gc.unfreeze()
    return values


def _task(
    kind: str, data: dict[str, Any], sizes: Sizes, ranks: Any, seed: int
) -> tuple[Callable[[], Any], Callable[[int], Any]]:
    """What makes the network with its loss, and this worker's rows of a step's batch."""
    import torch
    from torch import nn

    from smidgen.nets.decoder import Decoder, DecoderConfig, mean_loss

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(seed)
            if kind == "transformer":
                shape = (sizes.vocab, sizes.hidden, sizes.blocks, 4, 4, sizes.ffn, sizes.tokens)
                self.net: Any = Decoder(DecoderConfig(*shape), seed)
            else:
                pairs = list(zip(sizes.layers[:-1], sizes.layers[1:], strict=True))
                linear = [nn.Sequential(nn.Linear(a, b), nn.Tanh()) for a, b in pairs[:-1]]
                self.net = nn.Sequential(*linear, nn.Linear(*pairs[-1]))

        def forward(self, x: Any, y: Any) -> Any:
            if kind == "transformer":
                return mean_loss(self.net, x, y)
            return nn.functional.cross_entropy(self.net(x), y)

    def batch(step: int) -> tuple[Any, Any]:
        g = torch.Generator().manual_seed(100_000 * seed + step)
        if kind == "transformer":
            starts = torch.randint(len(data["tokens"]) - sizes.tokens, (sizes.rows, 1), generator=g)
            rows = data["tokens"][starts + torch.arange(sizes.tokens + 1)].chunk(ranks.size)[ranks.rank]
            return rows[:, :-1].contiguous(), rows[:, 1:].contiguous()
        chosen = torch.randint(len(data["labels"]), (sizes.images,), generator=g).chunk(ranks.size)[ranks.rank]
        return data["images"][chosen], data["labels"][chosen]

    return Net, batch


def _rate(step: int, steps: int) -> float:
    return RATE * (step + 1) / steps


class Plain:
    """torch's DistributedDataParallel; of one worker it is the model itself."""

    def __init__(self, model: Any, ranks: Any) -> None:
        import torch

        self.model = self.parallel = model
        if ranks.size > 1:
            from torch.nn.parallel import DistributedDataParallel

            self.parallel = DistributedDataParallel(model)
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=RATE)

    def step(self, batch: tuple[Any, Any], rate: float) -> None:
        self.optimizer.param_groups[0]["lr"] = rate
        self.parallel(*batch).backward()
        self.optimizer.step()
        self.optimizer.zero_grad()


class Spread:
    """A stage of ZeRO. `before`: storages that were there before it."""

    def __init__(self, make: Callable[[], Any], ranks: Any, stage: int, bucket: int) -> None:
        import torch

        from smidgen.train.sharding import ZeroOptimizer

        self.before = set(_storages([]))
        self.model, self.ranks, self.stage, self.bucket = make(), ranks, stage, bucket
        self.count = sum(p.numel() for p in self.model.parameters())
        self.zero = ZeroOptimizer(self.model, torch.optim.AdamW, stage, bucket_bytes=bucket, lr=RATE)

    def train(self, batch: Callable[[int], Any], first: int, steps: int, folder: Path | None = None) -> list[float]:
        """Losses over all workers from step `first` on; with a folder, half-way a checkpoint."""
        losses = []
        for step in range(first, steps):
            if folder is not None and step == steps // 2:
                self._save(folder, step)
            self.zero.param_groups[0]["lr"] = _rate(step, steps)
            loss = self.model(*batch(step))
            self.zero.backward(loss, last=step % 2 == 0)  # reduced while, or after, gradients are made
            self.zero.step()
            self.zero.zero_grad()
            losses.append(self.zero.totals(float(loss.detach()))[0] / self.ranks.size)
        return losses

    def difference(self, plain: Any) -> float:
        """The largest of all weights, on rank 0."""
        from smidgen.train.sharding.saved import model_state

        found, expected = model_state(self.zero), plain.state_dict()
        return max((float((found[k] - expected[k]).abs().max()) for k in found), default=0.0)

    def bytes_off(self, batch: tuple[Any, Any]) -> tuple[float, bool]:
        """How far the bytes after a backward pass are off the formula, as a share; and whether by more than 5 % and
        one message."""
        from smidgen.budget.memory import model_state_bytes

        self.zero.backward(self.model(*batch))
        known = self.before | {t.untyped_storage().data_ptr() for t in batch}
        grads = [p.grad for p in self.model.parameters() if p.grad is not None]
        there = {k: n for k, n in _storages(grads).items() if k not in known}
        live = sum(there.values()) - self.zero.nbytes()["buffers"]
        self.zero.zero_grad()
        expected = model_state_bytes(self.count, self.stage, self.ranks.size, 1, 4, 4, 8)["total"]
        off = abs(live - expected)
        return off / expected, off > max(BYTES_OFF * expected, self.bucket)

    def messages_off(self, batch: tuple[Any, Any]) -> float:
        """How far the bytes sent in a step are off the formula, as a share."""
        from smidgen.budget.memory import comm_volume

        self.ranks.sent.clear()
        self.zero.ranks.sent.clear()
        self.zero.backward(self.model(*batch))
        self.zero.step()
        self.zero.zero_grad()
        expected = 4 * comm_volume(self.count, self.stage, self.ranks.size)
        return abs(sum(self.zero.ranks.sent.values()) - expected) / expected

    def _save(self, folder: Path, step: int) -> None:
        from smidgen.train.checkpoint import LazyCheckpointer
        from smidgen.train.sharding.saved import run_state

        ranks = self.ranks
        with LazyCheckpointer(folder, rank=ranks.rank, world=ranks.size, attempt="claim", fsync=False) as saver:
            saver.save(run_state(self.model, self.zero), step)


def _storages(tensors: list[Any]) -> dict[int, int]:
    """Bytes of the storages of these tensors and of all that the garbage collector knows, by address."""
    import torch

    gc.collect()
    known = [t for t in gc.get_objects() if type(t) in (torch.Tensor, torch.nn.Parameter) and not t.is_meta]
    storages = [t.untyped_storage() for t in [*known, *tensors]]
    return {s.data_ptr(): s.nbytes() for s in storages if s.nbytes()}


def _keep(losses: list[float], folder: Path, ranks: Any) -> None:
    from smidgen.kit.files import write_json

    if ranks.rank == 0:
        write_json(folder / "losses.json", losses)


def _gone_on(spread: Spread, batch: Callable[[int], Any], folder: Path, steps: int) -> float:
    """The largest difference of losses to those of the workers that saved."""
    from smidgen.kit.files import read_json
    from smidgen.train.sharding.reading import load_newest
    from smidgen.train.sharding.saved import load_run_state

    found = load_newest(folder, spread.ranks)
    assert found is not None and found.source.world == SAVED_BY
    load_run_state(spread.model, spread.zero, found.state)
    losses = spread.train(batch, found.step, steps)
    return max(abs(a - b) for a, b in zip(losses, read_json(folder / "losses.json")[found.step :], strict=True))
