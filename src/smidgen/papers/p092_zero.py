"""Claim 092: optimizer state, gradients and weights shared out over workers change what each keeps, not what is learnt
(ZeRO, 2019)."""

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from smidgen.papers.claim import Claim, Part, Published, Scale

WORLDS = (4, 1, 2)  # what 4 workers save 2 load
PAPER = {0: 120.0, 1: 31.4, 2: 16.6, 3: 1.9}  # GB a device: 7.5e9 parameters, 64 of them

CLAIM = Claim(
    title="ZeRO: training state split over workers",
    year=2019,
    gives="Train a model too big for one worker by splitting optimizer state, gradients and weights over several, with "
    "the outcome of ordinary data parallelism. A calculator says in advance what fits on how many devices.",
    room="train",
    implements=(
        "train.sharding.zero",
        "train.sharding.flat",
        "train.sharding.unit",
        "train.sharding.reducer",
        "train.sharding.gatherer",
        "train.sharding.saved",
        "budget.memory",
    ),
    keywords="out of memory, model too large for one GPU, several GPUs, data parallel training, sharding, FSDP, "
    "DeepSpeed, optimizer state, gradient memory, memory calculator, how big a model fits, distributed training, Adam, "
    "activation memory, communication volume",
    says="Data-parallel workers need not keep copies of the same optimizer states, gradients and weights: with each "
    "kept by one of N, memory falls up to N-fold, the result is that of plain data parallelism, and messages grow only "
    "where weights are shared out too, by half.",
    experiment="""
        World sizes 1, 2 and 4, as processes on one machine that talk by gloo. Two networks: a multilayer perceptron
        (784-512-256-10, 0.54 M parameters) on MNIST digits (Fashion-MNIST is not in our data), 64 images a batch, and a
        Llama-shaped transformer (4 blocks of width 128, 0.94 M parameters, the output tied to the embedding) on GSM8K,
        16 x 64 tokens. 30 steps of AdamW at 1e-3 in float32; each worker has its rows of the batch. Messages of
        256 KiB.

        Weights: the largest difference to torch's DistributedDataParallel at the same world size after 30 steps, each
        stage and network, must be at most 1e-6. Its gradients are added up in the order of workers, by a communication
        hook, as ours are. gloo's own all-reduce adds up in an order that depends on the size of DDP's buckets, and
        Adam magnifies what that rounds of a gradient near 0: in development 2 of 940,000 weights ended 5e-6 apart for
        that alone. The differences to gloo's order, and between two of them (buckets of 25 MB and 50 KB), are measured
        beside and not judged.

        Bytes: storages of all tensors that came with model and optimizer, found by the garbage collector right after a
        backward pass, without the two message buffers, against 4 bytes a weight, 4 a gradient and 8 of state; off by
        at most 5 %, or one message. Sent: bytes that a worker sends in a step, all kinds, against 2 P (stages 1 and 2)
        and 3 P (stage 3) times (N - 1) / N, as rings count; off by at most 2 %. Checkpoints: 4 workers save after 15
        steps and go on; 2 workers load and go on; each loss of the last 15 steps must agree to 1e-5. Calculator: the
        paper's case to the digits printed.

        Judged is how many of these comparisons fail: none may. Speed is no part of it.
        """,
    published=(
        Published(
            value="120 GB, 31.4 with P_os, 16.6 with P_os+g, 1.9 with P_os+g+p",
            metric="bytes of model states a device",
            data="7.5 B parameters, 64 devices, mixed-precision Adam",
            where="arXiv 1910.02054, figure 1",
        ),
        Published(
            value="1 and 1.5 times",
            metric="communication, of plain data parallelism's",
            data="P_os+g; P_os+g+p",
            where="arXiv 1910.02054, section 7",
        ),
        Published(
            value="8 times larger models, up to 10 times the throughput",
            metric="against the state of the art then",
            data="400 V100 GPUs, up to 170 B parameters",
            where="arXiv 1910.02054, abstract and section 10",
        ),
    ),
    parts=(
        Part(
            name="same weights",
            says="After 30 steps all weights are those of plain data parallelism, to 1e-6.",
            gain=(0.0, "weights that differ"),
            null=-0.5,
            unit="comparisons",
        ),
        Part(
            name="bytes a worker",
            says="Weights, gradients and states in memory are what the formulas say.",
            gain=(0.0, "bytes off the formula"),
            null=-0.5,
            unit="comparisons",
        ),
        Part(
            name="bytes sent",
            says="A worker sends 2 P elements a step, and 3 P where weights are shared out.",
            gain=(0.0, "messages off the formula"),
            null=-0.5,
            unit="comparisons",
        ),
        Part(
            name="other world size",
            says="What 4 workers saved 2 go on with, to the same losses.",
            gain=(0.0, "losses that differ"),
            null=-0.5,
            unit="comparisons",
        ),
        Part(
            name="calculator",
            says="It gives the paper's 120, 31.4, 16.6 and 1.9 GB.",
            gain=(0.0, "figures that differ"),
            null=-0.5,
            unit="figures",
        ),
    ),
    seeds=3,
    minutes=6,
    data=("mnist10k", "gsm8k"),
    added="2026-11-24",
)


def run(scale: Scale, seed: int) -> dict[str, float]:
    """One seed. At smoke scale tiny networks, numbers in place of data, and one worker: this process."""
    full = scale == Scale.FULL
    found: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as place:
        for values in _in_processes(Path(place), seed) if full else [_here(Path(place), seed)]:
            for name, value in values.items():
                found.setdefault(name, []).append(value)
    largest = {name: max(v) for name, v in found.items() if name.startswith("largest")}
    counts = {name: sum(v) for name, v in found.items() if not name.startswith("largest")}
    return {**counts, **largest, "figures that differ": float(_figures())}


def _figures() -> int:
    """How many of the paper's figures the calculator does not give."""
    from smidgen.budget.memory import model_state_bytes

    given = {stage: model_state_bytes(7_500_000_000, stage, 64)["total"] / 1e9 for stage in PAPER}
    return sum(round(given[stage], 1) != figure for stage, figure in PAPER.items())


def _in_processes(place: Path, seed: int) -> list[dict[str, float]]:
    """What rank 0 of each world size measured."""
    import torch

    from smidgen.kit.errors import SmidgenError
    from smidgen.kit.files import read_json

    torch.save(_data(), place / "data.pt")
    code = "import sys; from smidgen.papers.zero_workers import work; work(sys.argv[1], *map(int, sys.argv[2:]))"
    for size in WORLDS:
        ranks = [
            subprocess.Popen(
                [sys.executable, "-c", code, str(place), str(seed), str(size), str(rank)], stderr=subprocess.PIPE
            )
            for rank in range(size)
        ]
        said = [process.communicate()[1].decode() for process in ranks]
        failed = [text for process, text in zip(ranks, said, strict=True) if process.returncode]
        if failed:
            raise SmidgenError(f"A worker of {size} failed: {failed[0][-2000:]}")
    return [read_json(place / f"world-{size}.json") for size in WORLDS]


def _data() -> dict[str, Any]:
    """Images `[n, 784]` with labels, and the tokens of GSM8K."""
    import numpy as np
    import torch

    from smidgen.papers.gsm8k_tokens import tokens
    from smidgen.tasks import known

    with np.load(known.place("mnist10k") / "train.npz") as file:
        images, labels = torch.from_numpy(file["images"]), torch.from_numpy(file["labels"])
    return {"images": images.float().flatten(1) / 255, "labels": labels.long(), "tokens": tokens()[0]}


def _here(place: Path, seed: int) -> dict[str, float]:
    import torch

    from smidgen.papers.zero_workers import SMALL, measured
    from smidgen.train import sharding

    g = torch.Generator().manual_seed(seed)
    labels = torch.randint(SMALL.layers[-1], (64,), generator=g)
    data = {"images": torch.randn(64, SMALL.layers[0], generator=g), "labels": labels}
    ranks = sharding.start()
    try:
        return measured(ranks, {**data, "tokens": torch.arange(600) * 7 % SMALL.vocab}, SMALL, place, seed)
    finally:
        sharding.stop()
