"""Claim 079: a lost pipeline stage rebuilt from its two neighbours (CheckFree and CheckFree+, 2025)."""

import functools
import random
import tempfile
from collections.abc import Mapping
from typing import Any

from smidgen.papers.claim import Claim, Part, Published, Scale

FULL_SIZE = {"vocab": 1024, "hidden": 96, "heads": 4, "kv_heads": 4, "ffn": 256}
SMALL_SIZE = {"vocab": 40, "hidden": 8, "heads": 2, "kv_heads": 2, "ffn": 8}
STAGES, BATCH, MICRO, LENGTH, STEPS, RATE, WARM_UP = 6, 16, 2, 64, 320, 2e-3, 20
FAILURES, CHECKPOINT_EVERY, LOOK_EVERY, PROBE_ROWS, VALIDATION = 6, 100, 10, 64, 12_800
# Seconds of an iteration of 500 M weights, with and without redundant computation, and of a recovery (the paper's).
ITERATION, REDUNDANT_ITERATION, RECOVERY, RARE = 91.3, 151.0, 30.0, 0.05

CLAIM = Claim(
    title="CheckFree: recovery without checkpoints",
    year=2025,
    gives="Go on training when a machine that holds a block of layers dies: the lost layers are rebuilt from those "
    "before and after, without stored copies. Made for cheap, unreliable workers that fail now and then.",
    room="train",
    implements=(
        "train.recovery.rebuild",
        "train.recovery.plan",
        "train.recovery.methods",
        "train.recovery.pipeline",
        "train.recovery.worker",
        "train.recovery.failures",
        "train.recovery.history",
    ),
    keywords="machine failure, fault tolerance, spot instances, preemptible workers, pipeline parallel training, no "
    "checkpoint storage, distributed training, layer recovery, language model pre-training, decentralised training, "
    "volunteer computers, lost node, averaging neighbouring layers",
    says="A stage that is lost with its optimizer is replaced by the average of its neighbours, weighted by their "
    "gradient norms, and training goes on. At low and medium rates of failure this reaches a loss sooner than "
    "checkpoints or redundant computation. With the first two and the last two stages swapped in half of the "
    "micro-batches, the first and the last can be lost as well.",
    experiment="""
        A Llama-shaped model in 6 stages of one layer (width 96, 4 heads, feed-forward 256; embedding and output are one
        matrix) on GSM8K's questions and answers with a byte-level BPE of 1024 tokens: 16 x 64 tokens a step in two
        micro-batches, Adam, each stage clipped at a norm of 1. 320 steps, so that all seeds take minutes. After 20
        steps of warm-up the rate is 2e-3: the best of three, a factor of 2 apart, in 400 steps without failures on
        seed 1001, which is not judged. Six failures at drawn steps between 10 % and 95 % of the run, each of one of
        the 4 stages between the first and the last; all ways of recovery meet the same. A lost stage is overwritten
        with NaN, its optimizer starts anew and its rate is 1.1 times as high from then on. Norms are those before
        clipping. "Random" is a stage with first weights as all stages had them: the layers that end its residual
        branches begin small, so it hardly changes what passes through it.

        The jump is the loss on 4,096 fixed tokens of the test part just after a recovery, less that just before, mean
        over the failures; the final loss is of 12,800 tokens of it, in nats a token. Periodic checkpoints (every 100
        steps, read back from the disk, data not rewound) are reported and not judged.

        Time is computed from the paper's seconds an iteration (91.3; 151.0 with redundant computation) and 30 s a
        recovery, up to the loss at which the redundant run has made 90 % of its progress, looked at every 10 steps.
        Redundant computation loses nothing, so its losses are those of the run without failures. "Rare" has as many
        failures as 5 % an hour gives on average.

        For CheckFree+ a further model is trained with swaps and without failures, and the second stage is copied over
        the first, in it and in the model trained without; the loss is taken in the plain order of stages.
        Real processes that are killed come to the same bits as this simulation (tests/train/test_pipeline.py).
        """,
    published=(
        Published(
            value="367.8 / 405.9 / 563.0 CheckFree, 355.1 / 367.8 / 460.6 CheckFree+, 419.6 redundant at all rates, "
            "558.2 / 621.7 / 634.4 checkpoints",
            metric="hours to a validation loss of 2.85 at 5 / 10 / 16 % of failures an hour",
            data="LLaMA 500M on OpenWebText",
            where="arXiv 2506.15461",
        ),
        Published(
            value="16.07 without failures, 17.59 CheckFree, 17.07 CheckFree+",
            metric="perplexity after 30,000 iterations",
            data="LLaMA 1.5B, OpenWebText",
            where="arXiv 2506.15461",
        ),
        Published(
            value="random worst, copy better, uniform average better, weighted average best",
            metric="convergence by how a lost stage is made anew",
            data="LLaMA at 16 % of failures an hour",
            where="arXiv 2506.15461",
        ),
    ),
    parts=(
        Part(
            name="jump: below random",
            says="The loss jumps less when a stage is rebuilt of its neighbours than when it starts at random.",
            gain=("jump random", "jump weighted"),
            unit="nats a token",
        ),
        Part(
            name="loss: below random",
            says="The final loss is below that after random new stages.",
            gain=("loss random", "loss weighted"),
            unit="nats a token",
        ),
        Part(
            name="loss: as uniform",
            says="Weighting by gradient norms costs at most 0.02 against a plain average.",
            gain=("loss uniform", "loss weighted"),
            margin=-0.02,
            null=-0.02,
            unit="nats a token",
        ),
        Part(
            name="loss: below copy",
            says="The final loss is below that after copies of the stage before.",
            gain=("loss copy", "loss weighted"),
            unit="nats a token",
        ),
        Part(
            name="time: below redundant",
            says="With rare failures, computed time to 90 % of the progress is shorter than with redundant stages.",
            gain=("hours redundant", "hours weighted, rare"),
            unit="hours",
        ),
        Part(
            name="plus: first stage",
            says="A model trained with swaps bears a copy of its second stage in the place of the first better.",
            gain=("jump first plain", "jump first swapped"),
            unit="nats a token",
        ),
    ),
    seeds=3,
    minutes=8,
    data=("gsm8k",),
    added="2026-11-24",
)

ARMS = ("none", "random", "copy", "uniform", "weighted", "checkpoint", "weighted, rare", "swapped")

CURVES = {"none": "redundant"} | {name: name for name in ("weighted", "weighted, rare", "checkpoint")}  # for the time
WITH_COPY = {"none": "plain", "swapped": "swapped"}  # where the first stage is replaced by the second in the end


def run(scale: Scale, seed: int) -> dict[str, float]:
    """All arms on the same batches from the same first weights, two at a time. At smoke scale a tiny model."""
    from concurrent.futures import ThreadPoolExecutor

    import torch

    full = scale == Scale.FULL
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        experiment = Experiment(full, seed)
        with ThreadPoolExecutor(2) as pool:
            arms = {name: pool.submit(experiment.trained, name) for name in ARMS}
            found = {name: arm.result() for name, arm in arms.items()}
    finally:
        torch.set_num_threads(threads)
    values = {f"loss {name}": arm["loss"] for name, arm in found.items()}
    values |= {f"jump {name}": arm["jump"] for name, arm in found.items() if "jump" in arm}
    values |= {f"jump first {said}": found[name]["jump first"] for name, said in WITH_COPY.items()}
    return values | _hours(found)


def _hours(found: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Computed time to the loss at which the run without failures has made 90 % of its progress."""
    from smidgen.train.recovery import first_at, wallclock

    curve = [loss for _, loss in found["none"]["curve"]]
    level = curve[0] - 0.9 * (curve[0] - curve[-1])
    values = {"level": level}
    for name, said in CURVES.items():
        steps, losses = zip(*found[name]["curve"], strict=True)
        seconds = wallclock(found[name]["history"], REDUNDANT_ITERATION if name == "none" else ITERATION, RECOVERY)
        place = first_at(losses, level)
        values[f"hours {said}"] = float("nan") if place is None else seconds[steps[place]] / 3600
    return values


class Experiment:
    """What all arms of a seed share."""

    def __init__(self, full: bool, seed: int) -> None:
        import torch

        from smidgen.nets.decoder import DecoderConfig
        from smidgen.papers.gsm8k_tokens import tokens

        size: dict[str, Any] = FULL_SIZE if full else SMALL_SIZE
        self.config = DecoderConfig(**size, layers=STAGES, max_len=LENGTH)
        self.seed, self.steps = seed, STEPS if full else 5
        self.train_N, test_N = tokens() if full else (torch.arange(600) * 7 % 40, torch.arange(193) * 7 % 40)
        self.val_N = test_N[: VALIDATION + 1]
        self.often = failures(FAILURES if full else 1, self.steps, seed)
        self.rare = failures(_rare_count(self.steps), self.steps, seed)

    def trained(self, arm: str) -> dict[str, Any]:
        """One run: final loss, mean jump, the curve of (step, loss) and the history."""
        import torch

        from smidgen.nets.decoder import loss
        from smidgen.train.recovery import staged_decoder, train_through

        model = staged_decoder(self.config, STAGES, self.seed, swap_ends=arm == "swapped")
        optimizer = functools.partial(torch.optim.Adam, lr=RATE)
        curve: list[tuple[int, float]] = []

        def look(step: Any) -> None:
            if arm in CURVES and (step.number % LOOK_EVERY == 0 or step.number == self.steps - 1):
                curve.append((step.number, self.loss(model, PROBE_ROWS)))

        schedule = self.rare if arm == "weighted, rare" else self.often
        with tempfile.TemporaryDirectory() as folder:
            recovery = self._recovery(arm, model, optimizer, folder)
            history = train_through(recovery, self.batches, loss, schedule, probe=self.probe, on_step=look)
            recovery.close()
        out = {"loss": self.loss(model), "curve": curve, "history": history}
        if arm in WITH_COPY:
            return out | {"jump first": self._copied(model)}
        return out | {"jump": sum(f.jump or 0.0 for f in history.failures) / len(history.failures)}

    def _recovery(self, arm: str, model: Any, optimizer: Any, folder: str) -> Any:
        from smidgen.kit.seeds import derive_seed
        from smidgen.train.recovery import CheckFreeRecovery, NoFailure, PeriodicCheckpoint, fresh_stage
        from smidgen.train.schedules import WSD

        settings: dict[str, Any] = {"schedule": WSD(warmup=WARM_UP, decay=0)}
        if arm in ("none", "swapped"):
            return NoFailure(model, optimizer, **settings)
        if arm == "checkpoint":
            return PeriodicCheckpoint(model, optimizer, CHECKPOINT_EVERY, folder, **settings)
        mode: Any = arm.split(",")[0]
        fresh = functools.partial(fresh_stage, self.config, STAGES, derive_seed(self.seed, "fresh"))
        return CheckFreeRecovery(model, optimizer, mode=mode, fresh=fresh, **settings)

    def batches(self, step: int) -> list[tuple[Any, Any]]:
        """The micro-batches of a step, the same in all arms."""
        import torch

        from smidgen.kit.seeds import derive_seed

        generator = torch.Generator().manual_seed(derive_seed(self.seed, "batch", step))
        starts_B1 = torch.randint(len(self.train_N) - LENGTH, (BATCH, 1), generator=generator)
        rows = self.train_N[starts_B1 + torch.arange(LENGTH + 1)]
        return [(part[:, :-1], part[:, 1:]) for part in rows.chunk(MICRO)]

    def probe(self, model: Any) -> float:
        return self.loss(model, PROBE_ROWS)

    def loss(self, model: Any, rows: int | None = None) -> float:
        """On the first rows of the test part, or on all; stages in the plain order."""
        import torch

        from smidgen.nets.decoder import loss

        count = min(rows or len(self.val_N), (len(self.val_N) - 1) // LENGTH)
        ids_BT, targets_BT = (self.val_N[s : s + count * LENGTH].view(count, LENGTH) for s in (0, 1))
        with torch.no_grad():
            return float(loss(model(ids_BT), targets_BT))

    def _copied(self, model: Any) -> float:
        """How much the loss rises when the second stage stands in the first one's place as well."""
        before = self.loss(model)
        model.stages[0].load_state_dict(model.stages[1].state_dict())
        return self.loss(model) - before


def failures(count: int, steps: int, seed: int) -> Any:
    """So many single failures, at drawn steps between 10 % and 95 %, of drawn stages between the first and the last."""
    from smidgen.kit.seeds import derive_seed
    from smidgen.train.recovery import FailureSchedule

    draw = random.Random(derive_seed(seed, "failures", count))
    when = sorted(draw.sample(range(steps // 10, steps - steps // 20), count))
    return FailureSchedule(STAGES, steps, tuple((step, (draw.randint(1, STAGES - 2),)) for step in when))


def _rare_count(steps: int) -> int:
    """Failures that 5 % an hour gives on average, at least one."""
    from smidgen.train.recovery import rate_per_iteration

    return max(1, round(rate_per_iteration(RARE, ITERATION) * (STAGES - 2) * steps))
