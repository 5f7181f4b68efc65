"""Claim 076: checkpoints copied while tensors cannot change hardly stop training (DataStates-LLM, 2024)."""

import contextlib
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smidgen.papers.claim import Claim, Part, Published, Scale

DISK = 60e6  # bytes a second
POOL = 256_000_000
PACE = 1.2  # computation of a step over the time that writing its state takes

CLAIM = Claim(
    title="DataStates-LLM: checkpoints in the background",
    year=2024,
    gives="Save the state of training as often as every step with hardly a pause: tensors are copied while they cannot "
    "change and go to disk through a bounded buffer. For long runs on machines that crash or are taken away.",
    room="train",
    implements=(
        "train.checkpoint.engine",
        "train.checkpoint.writer",
        "train.checkpoint.folder",
        "train.checkpoint.pool",
        "train.checkpoint.baselines",
        "train.checkpoint.load",
    ),
    keywords="checkpointing, save training state, crash recovery, preemptible machines, spot instances, resume "
    "training, asynchronous write, slow disk, LLM training, optimizer state, fault tolerance, bounded memory, lost "
    "progress, background copy",
    says="Weights and optimizer states do not change during the forward and the backward pass. Copied then, in the "
    "background, through a bounded buffer, checkpoints block training up to 48 times less than with the engines "
    "compared, and training as a whole is up to 2.2 times as fast.",
    experiment="""
        A byte-level transformer of 7.9 M weights on GSM8K, AdamW: 95 MB of state, saved after every step, two blocks
        of 4 steps for each way of saving, the ways in turn within a block and the order drawn. All ways write the
        same file with the same engine to a disk held to 60 MB/s: "sync" waits until it is on the disk, "snapshot"
        for a copy of the whole state, "lazy" for what of the copy the next forward and backward pass left undone
        (pool of 256 MB). A block's time includes the wait for its last checkpoint.

        Before each block the micro-batches of a step are counted anew, so that computing takes 1.2 times as long as
        writing. That is the condition: where the disk is slower than the steps, every way must wait for it in the
        end. Steps of half the writing time are measured beside ("short steps") and not judged. In plain memory the
        copy itself is cheap, so that lazy gains little on a snapshot; the paper copies from GPUs. Both are reported.

        Exactness: every one of 5 checkpoints against a deep copy taken when it was saved, with training going on.
        Memory: the peak of a fresh process that saves at each step, over its peak before, as a share of the pool.
        Kills: 4 a seed, SIGKILL of a process that trains and saves at random moments; survived means that the newest
        checkpoint it said to be on the disk, or a newer one, loads with every byte right. Exactness and kills allow
        no failure: their gain is minus the share that failed.
        """,
    published=(
        Published(
            value="up to 48 times faster",
            metric="time that checkpoints block training",
            data="large language models on up to 180 GPUs",
            where="arXiv 2406.10707, abstract",
        ),
        Published(
            value="up to 2.2 times faster",
            metric="training time, end to end",
            data="large language models on up to 180 GPUs",
            where="arXiv 2406.10707, abstract",
        ),
    ),
    parts=(
        Part(
            name="exact",
            says="Every checkpoint equals the state at its step, to the last bit.",
            gain=("exact", 1.0),
            null=-0.001,
            unit="share",
        ),
        Part(
            name="standing still",
            says="Training stands still for at most a fifth of the time that synchronous saving takes.",
            gain=(0.2, "blocked lazy / sync"),
            unit="share",
        ),
        Part(
            name="whole time",
            says="Training with a checkpoint at every step takes at most three quarters of the time.",
            gain=(0.75, "time lazy / sync"),
            unit="share",
        ),
        Part(
            name="memory",
            says="The peak of memory grows by the pool and at most a tenth of it.",
            gain=(1.1, "memory / pool"),
            unit="share of the pool",
        ),
        Part(
            name="kills",
            says="After a kill at any moment the newest published checkpoint loads.",
            gain=("survived", 1.0),
            null=-0.001,
            unit="share",
        ),
    ),
    seeds=3,
    minutes=8,
    data=("gsm8k",),
    added="2026-11-24",
)


@dataclass(frozen=True)
class Sizes:
    """Of one run. `disk` in bytes a second, `pool` in bytes; blocks of `steps` steps."""

    hidden: int = 256
    layers: int = 10
    length: int = 128
    batch: int = 2
    disk: float = DISK
    pool: int = POOL
    blocks: int = 2
    steps: int = 4
    kills: int = 4


SMALL = Sizes(hidden=64, layers=1, length=16, disk=20e6, pool=2_000_000, blocks=1, steps=3, kills=1)


def run(scale: Scale, seed: int) -> dict[str, float]:
    """One seed. At smoke scale a small network, random bytes instead of GSM8K, and one kill."""
    full = scale == Scale.FULL
    sizes = Sizes() if full else SMALL
    training = Training(sizes, _text() if full else random.Random(0).randbytes(4000), seed)
    with tempfile.TemporaryDirectory() as place:
        values = compared(training, Path(place), seed)
        values["exact"] = exact(training, Path(place) / "exact")
        values["survived"] = killed(sizes.kills, Path(place) / "killed", seed)
        values["memory / pool"] = _memory_apart() if full else memory(training, Path(place) / "memory") / sizes.pool
    return {**values, "state bytes": float(training.nbytes)}


class Training:
    """A causal transformer over bytes, and its steps."""

    def __init__(self, sizes: Sizes, text: bytes, seed: int) -> None:
        import torch
        from torch import nn

        torch.manual_seed(seed)
        layer = nn.TransformerEncoderLayer(
            sizes.hidden, max(1, sizes.hidden // 64), 4 * sizes.hidden, 0.0, batch_first=True, norm_first=True
        )
        self.body = nn.TransformerEncoder(layer, sizes.layers, enable_nested_tensor=False)
        self.model = nn.ModuleList([nn.Embedding(256, sizes.hidden), self.body, nn.Linear(sizes.hidden, 256)])
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=3e-4)
        self.mask_TT = nn.Transformer.generate_square_subsequent_mask(sizes.length)
        self.text_N = torch.frombuffer(bytearray(text), dtype=torch.uint8).long()
        self.draw = torch.Generator().manual_seed(seed)
        self.sizes = sizes
        self.step(1)

    def step(self, micro: int) -> None:
        """A step over `micro` micro-batches."""
        import torch

        embed, body, head = self.model
        length = self.sizes.length
        for _ in range(micro):
            starts_B = torch.randint(len(self.text_N) - length, (self.sizes.batch, 1), generator=self.draw)
            ids_BT = self.text_N[starts_B + torch.arange(length + 1)]
            logits_BTV = head(body(embed(ids_BT[:, :-1]), self.mask_TT, is_causal=True))
            torch.nn.functional.cross_entropy(logits_BTV.flatten(0, 1), ids_BT[:, 1:].flatten()).div(micro).backward()
        self.optimizer.step()
        self.optimizer.zero_grad()

    def micro_batches(self, seconds: float) -> int:
        """How many micro-batches take so long, at least 1."""
        spent = []
        for _ in range(5):
            start = time.perf_counter()
            self.step(4)
            spent.append((time.perf_counter() - start) / 4)
        return max(1, round(seconds / sorted(spent)[2]))

    def state(self) -> dict[str, Any]:
        return {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}

    @property
    def nbytes(self) -> int:
        return sum(3 * p.nbytes for p in self.model.parameters())


def compared(training: Training, place: Path, seed: int) -> dict[str, float]:
    """Seconds that a save blocks, and seconds of a block of steps, for each way of saving; shares of "sync"."""
    from smidgen.train.checkpoint import LazyCheckpointer, SnapshotThenWrite, SyncCheckpointer

    ways = {"sync": SyncCheckpointer, "snapshot": SnapshotThenWrite, "lazy": LazyCheckpointer}
    blocked: dict[str, list[float]] = {way: [] for way in [*ways, "short"]}
    seconds: dict[str, list[float]] = {way: [] for way in [*ways, "short"]}
    micro = 1
    for block in range(training.sizes.blocks):
        order = [*ways]
        random.Random(1000 * seed + block).shuffle(order)
        micro = training.micro_batches(PACE * training.nbytes / training.sizes.disk)
        for way in order + (["short"] if block == 0 else []):
            make = ways.get(way, LazyCheckpointer)
            count = max(1, round(micro / (2 * PACE))) if way == "short" else micro
            with _saving(make, training, place / f"{way}{block}") as saver:
                start = time.perf_counter()
                for number in range(training.sizes.steps):
                    training.step(count)
                    saver.save(training.state(), number)
                saver.wait_durable()
                seconds[way].append(time.perf_counter() - start)
                blocked[way] += saver.stats.blocked
    values = {"micro-batches": float(micro)}
    values |= {f"blocked {way}": sum(b) / len(b) for way, b in blocked.items()}
    values |= {f"time {way}": sum(s) / len(s) for way, s in seconds.items()}
    for way in ("lazy", "snapshot"):
        values |= {
            f"{what} {way} / sync": values[f"{what} {way}"] / values[f"{what} sync"] for what in ("blocked", "time")
        }
    return values


def exact(training: Training, place: Path) -> float:
    """The share of checkpoints that equal a deep copy of the state at their step."""
    import copy

    import torch

    from smidgen.train.checkpoint import Keep, LazyCheckpointer, load, published

    copies = []
    with _saving(LazyCheckpointer, training, place, keep=Keep(last=99), throttle=None) as saver:
        for number in range(5):
            training.step(1)
            copies.append(copy.deepcopy(training.state()))
            saver.save(training.state(), number)

    def equal(a: Any, b: Any) -> bool:
        if isinstance(a, dict):
            return a.keys() == b.keys() and all(equal(v, b[k]) for k, v in a.items())
        if isinstance(a, list | tuple):
            return len(a) == len(b) and all(map(equal, a, b))
        return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b

    found = {source.step: load(source) for source in published(place)}
    return sum(number in found and equal(state, found[number]) for number, state in enumerate(copies)) / len(copies)


def memory(training: Training, place: Path) -> float:
    """Bytes by which the peak of this process grows when checkpoints begin."""
    from smidgen.train.checkpoint import LazyCheckpointer

    for _ in range(3):
        training.step(2)
    before = _peak()
    with _saving(LazyCheckpointer, training, place, throttle=None) as saver:
        for number in range(6):
            training.step(2)
            saver.save(training.state(), number)
    return _peak() - before


def _peak() -> float:
    """The most memory that this program held. `ru_maxrss` may be that of the process which started it."""
    import re
    import resource

    status = Path("/proc/self/status")
    found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text()) if status.exists() else None
    return 1024.0 * (int(found[1]) if found else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def killed(trials: int, place: Path, seed: int) -> float:
    """The share of kills after which the newest published checkpoint loads. Each run resumes from the one before."""
    from smidgen.train.checkpoint import load_newest

    draw, survived, last = random.Random(seed), 0, 0
    for _ in range(trials):
        code = f"from smidgen.papers.p076_datastates import train_until_killed as t; t({str(place)!r})"
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            said = [process.stdout.readline()]
            time.sleep(draw.uniform(0, 0.5))
            process.kill()
            said += process.stdout.readlines()
        last = max([last, *(int(line) for line in said if line.strip())])
        found = load_newest(place)
        whole = found is not None and not found.skipped and bool((found.state["weights"] == found.step).all())
        survived += found is not None and whole and found.step >= last
    return survived / trials


def train_until_killed(place: str) -> None:
    """A stand-in for training: weights that equal the step, 8 MB, saved at every step; prints what is on the disk."""
    import torch

    from smidgen.train.checkpoint import LazyCheckpointer, load_newest

    found = load_newest(Path(place))
    step = found.step if found else 0
    weights = torch.full((1 << 21,), float(step))
    saver = LazyCheckpointer(Path(place), pool_bytes=4 << 20, chunk_bytes=1 << 20)
    handles = []
    while True:
        saver.before_update()
        weights.add_(1)
        step += 1
        handles.append(saver.save({"weights": weights}, step))
        while handles and handles[0].durable:
            print(handles.pop(0).step, flush=True)


def measure_memory() -> None:
    """Prints the share of the pool by which the peak of a fresh process grows."""
    with tempfile.TemporaryDirectory() as place:
        print(memory(Training(Sizes(), _text(), 0), Path(place)) / POOL)


def _memory_apart() -> float:
    code = "from smidgen.papers.p076_datastates import measure_memory as m; m()"
    return float(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)


@contextlib.contextmanager
def _saving(make: Any, training: Training, place: Path, **options: Any) -> Iterator[Any]:
    """A checkpointer at work, attached to the optimizer."""
    from smidgen.train.checkpoint import SnapshotThenWrite, attach

    sized = {} if make is SnapshotThenWrite else {"pool_bytes": training.sizes.pool}
    saver = make(place, **{"throttle": training.sizes.disk, **sized, **options})
    hook = attach(saver, training.optimizer)
    try:
        yield saver
    finally:
        hook.remove()
        saver.close()


def _text() -> bytes:
    from smidgen.tasks import known

    return "\n\n".join(f"{line['question']}\n{line['answer']}" for line in known.lines("gsm8k")).encode()
