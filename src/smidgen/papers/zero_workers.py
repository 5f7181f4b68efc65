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
    """All stages against plain data parallelism on both networks, and checkpoints of the transformer.

    Returns:
        How many comparisons fail, by kind, and the largest of what was compared.
    """
    counts = ("weights that differ", "bytes off the formula", "messages off the formula", "losses that differ")
    values: dict[str, float] = dict.fromkeys(counts, 0.0)

    def note(name: str, value: float) -> None:
        values[f"largest {name}"] = max(values.get(f"largest {name}", 0.0), value)

    gc.freeze()  # what the libraries hold need not be looked through each time
    for kind in ("perceptron", "transformer"):
        make, batch = _task(kind, data, sizes, ranks, seed)
        plain = plain_weights(make(), ranks, batch, sizes.steps, in_order=True)
        glooed = plain_weights(make(), ranks, batch, sizes.steps)
        if ranks.size > 1:
            other = plain_weights(make(), ranks, batch, sizes.steps, bucket_mb=0.05)
            note("difference of gloo's orders", _apart(glooed, other))
        for stage in STAGES:
            spread = Spread(make, ranks, stage, sizes.bucket)
            folder = place / f"saved-{stage}" if kind == "transformer" else None
            losses = spread.train(batch, 0, sizes.steps, folder if ranks.size == SAVED_BY else None)
            weights = spread.weights()
            note("weight difference", _apart(weights, plain))
            note("difference to gloo's order", _apart(weights, glooed))
            values["weights that differ"] += _apart(weights, plain) > CLOSE
            del weights  # they are no part of what is counted next
            share, too_far = spread.bytes_off(batch(0))
            note("share of bytes off", share)
            values["bytes off the formula"] += too_far
            if ranks.size > 1:
                share = spread.messages_off(batch(0))
                note("share of messages off", share)
                values["messages off the formula"] += share > SENT_OFF
            if folder is not None and ranks.size == SAVED_BY:
                _keep(losses, folder, ranks)
            elif folder is not None and ranks.size == TAKEN_UP_BY:
                off = _gone_on(Spread(make, ranks, stage, sizes.bucket), batch, folder, sizes.steps)
                note("loss difference", off)
                values["losses that differ"] += off > SAME_LOSS
            del spread  # or its memory would be taken for what was there before the next
    gc.unfreeze()
    return values


def _apart(a: dict[str, Any], b: dict[str, Any]) -> float:
    """The largest difference of weights; 0 where there are none (all but rank 0)."""
    return max((float((a[name] - b[name]).abs().max()) for name in a), default=0.0)


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


def plain_weights(
    model: Any,
    ranks: Any,
    batch: Callable[[int], Any],
    steps: int,
    in_order: bool = False,
    bucket_mb: float = 25,
) -> dict[str, Any]:
    """Weights after training by torch's DistributedDataParallel (of one worker: the model itself).

    Args:
        in_order: gradients are added up in the order of workers; else as gloo does. bucket_mb: of DDP.
    """
    import torch

    parallel, optimizer = model, torch.optim.AdamW(model.parameters(), lr=RATE)
    if ranks.size > 1:
        from torch.nn.parallel import DistributedDataParallel

        parallel = DistributedDataParallel(model, bucket_cap_mb=bucket_mb)  # pyright: ignore
        if in_order:
            parallel.register_comm_hook(ranks.size, lambda size, bucket: _mean_in_order(bucket.buffer(), size))
    for step in range(steps):
        parallel(*batch(step)).backward()
        optimizer.step()
        optimizer.zero_grad()
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def _mean_in_order(own: Any, size: int) -> Any:
    """The mean of a bucket over the workers, as a future; rank 0's is first."""
    import torch
    import torch.distributed as dist

    parts = [torch.empty_like(own) for _ in range(size)]
    dist.all_gather(parts, own)
    total = parts[0]
    for part in parts[1:]:
        total.add_(part)
    done = torch.futures.Future()
    done.set_result(total.div_(size))
    return done


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
            loss = self.model(*batch(step))
            self.zero.backward(loss, last=step % 2 == 0)  # reduced while, or after, gradients are made
            self.zero.step()
            self.zero.zero_grad()
            losses.append(self.zero.totals(float(loss.detach()))[0] / self.ranks.size)
        return losses

    def weights(self) -> dict[str, Any]:
        """Of the whole model, on rank 0."""
        from smidgen.train.sharding.saved import model_state

        return model_state(self.zero)

    def bytes_off(self, batch: tuple[Any, Any]) -> tuple[float, bool]:
        """How far the bytes after a backward pass are off the formula, as a share; and whether by more than 5 % and by
        more than one message."""
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
