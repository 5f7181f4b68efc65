"""The training of the in-context learner: a constant rate without a planned end, then its fall; and on from before it.

    OUT/stable      checkpoints of the phase of constant rate; from here a training is made longer
    OUT/fall        those of the fall, while it goes on and of its end
    OUT/log.jsonl   each update's loss; every `look_every` updates, surprise on the held-in tasks
    OUT/logistic.json              the surprise of logistic regression on them
    OUT/incontext.safetensors      weights after the fall

A training that is stopped by count and resumed gives the same bits as one that never stopped. With a time limit the
fall begins when the clock says so, which then is part of the checkpoint.
"""

import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from smidgen.kit.errors import BadInput, bad
from smidgen.kit.files import write_bytes, write_json
from smidgen.learn._incontext_batches import Batches, CellBatch, surprise
from smidgen.learn._incontext_held import held_surprise, logistic_surprise
from smidgen.learn._incontext_weights import weight_bytes
from smidgen.nets.cells import Cells, CellsConfig
from smidgen.train.checkpoint import Keep, LazyCheckpointer, load_newest
from smidgen.train.guard import SpikeGuard
from smidgen.train.journal import Journal
from smidgen.train.loop import LoopConfig, Run, Update, train
from smidgen.train.muon import Muon
from smidgen.train.schedules import WSD

WEIGHTS = "incontext.safetensors"
NUMBER_FORMATS = {"fp32": torch.float32, "bf16": torch.bfloat16}  # of the layers; weights stay float32
CHECKPOINT_SECONDS = 120.0
NUMBERS_WEIGH = 0.3  # of a batch of numbers: its loss is of 64 bins, and its gradient several times as long
HUGE = 1e9  # batches of numbers have several times the loss of classes: only what is not finite is left out


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """
    Attributes:
        net: sizes of the network. seed: of weights and tasks.
        hours: of this sitting, with the fall; or updates: in all, whichever is given.
        fall: share of the sitting, or of all updates, in which the rate falls to 0. lr, lr_rest: peak, of the matrices
        that Muon moves, and of all else. accumulate: batches an update, each of another shape, which all count alike.
        tokens: about so many a batch. grown: batches until tasks have all sizes.
        precision: number format of the layers, "fp32" or "bf16". look_every: updates between looks at held-in tasks.
    """

    net: CellsConfig = CellsConfig()
    seed: int = 0
    hours: float | None = None
    updates: int | None = None
    fall: float = 0.2
    lr: float = 1e-2
    lr_rest: float = 2e-3
    warmup: int = 50
    accumulate: int = 4
    tokens: int = 8000
    grown: int = 6000
    precision: str = "fp32"
    device: str = "cpu"
    look_every: int = 200

    def __post_init__(self) -> None:
        if (self.hours is None) == (self.updates is None):
            raise bad("--hours, --updates", "one of them", "both or none")
        for name in ("hours", "updates", "lr", "lr_rest", "accumulate", "tokens", "grown", "look_every"):
            if getattr(self, name) is not None and not getattr(self, name) > 0:
                raise bad(f"--{name}", "above 0", getattr(self, name))
        if not 0 < self.fall <= 1:
            raise bad("--fall", "above 0, at most 1", self.fall)
        if self.precision not in NUMBER_FORMATS:
            raise bad("--precision", " or ".join(NUMBER_FORMATS), self.precision)

    def batches(self) -> Batches:
        net = self.net
        return Batches(
            seed=self.seed, tokens=self.tokens, grown=self.grown, group=net.group, ids=net.ids, classes=net.classes
        )


@dataclass
class _Course:
    """The rate, and when there is enough: by count, or by a clock that starts with the sitting."""

    config: TrainingConfig
    wsd: WSD
    begun: float
    first: int = 0

    def __call__(self, step: int) -> float:
        hours = self.config.hours
        if self.wsd.stable_until is None and hours is not None:
            spent = time.monotonic() - self.begun
            if spent >= (1 - self.config.fall) * hours * 3600:
                done = max(step - self.first, 1)
                self.wsd = self.wsd.start_decay(step, max(1, round(done * self.config.fall / (1 - self.config.fall))))
        return self.wsd(step)

    def falls(self, step: int) -> bool:
        return self.wsd.stable_until is not None and step >= self.wsd.stable_until

    def goes_on(self, step: int) -> bool:
        return self.wsd.end is None or step < self.wsd.end


def fit_network(
    config: TrainingConfig,
    out: Path,
    *,
    resume: bool = False,
    say: Callable[[str], None] = print,
    stopped: Callable[[], bool] = lambda: False,
) -> Path | None:
    """Trains, or goes on; the file of weights, or None where it was stopped before its end.

    Raises:
        BadInput: the folder holds a training and `resume` is not set, or it is of another network.
    """
    out.mkdir(parents=True, exist_ok=True)
    found = load_newest(out / "fall") or load_newest(out / "stable")
    if found is not None and not resume:
        raise BadInput(
            f"{out} holds a training of {found.step} updates: add --resume to go on, or take another folder."
        )
    ended = found is not None and found.state["extra"]["ended"]
    if ended:  # made longer: on from before the fall
        before = load_newest(out / "stable")
        if before is not None:
            found = before
            shutil.rmtree(out / "fall")
    net = Cells(config.net, config.seed).to(config.device)
    run = Run(net, optimizer_of(net, config.lr, config.lr_rest), SpikeGuard(factor=HUGE))
    course = _Course(config, _schedule(config), time.monotonic())
    if found is not None:
        if found.state["extra"]["net"] != asdict(config.net):
            raise BadInput(f"{out} holds a training of another network: {found.state['extra']['net']}.")
        run.load_state_dict(found.state)
        kept = found.state["extra"]["course"]
        if kept["stable_until"] is not None and run.step >= kept["stable_until"] and not ended:
            course.wsd = replace(course.wsd, **kept)
        say(f"going on from update {run.step}")
    course.first = run.step
    batches = config.batches()
    if not (out / "logistic.json").is_file():
        write_json(out / "logistic.json", logistic_surprise(batches))
    _train(run, course, config, batches, out, say, stopped)
    if course.goes_on(run.step):
        return None
    write_bytes(out / WEIGHTS, weight_bytes(net))
    return out / WEIGHTS


def _train(
    run: Run,
    course: _Course,
    config: TrainingConfig,
    batches: Batches,
    out: Path,
    say: Callable[[str], None],
    stopped: Callable[[], bool],
) -> None:
    compute = NUMBER_FORMATS[config.precision]
    journal = Journal(out / "log.jsonl", after=run.step + 1)
    savers: dict[str, LazyCheckpointer] = {}
    saved = time.monotonic()

    def keep(stable: bool, ended: bool = False) -> None:
        name = "stable" if stable else "fall"
        if name not in savers:
            savers[name] = LazyCheckpointer(out / name, keep=Keep(last=2), pool_bytes=32 << 20)
        kept = replace(course.wsd, stable_until=None) if stable else course.wsd
        state = {k: getattr(kept, k) for k in ("stable_until", "decay", "warmup")}
        run.extra = {"course": state, "net": asdict(config.net), "ended": ended, "seed": config.seed}
        savers[name].save(run.state_dict(), run.step)

    def schedule(step: int) -> float:
        factor = course(step)
        if step == course.wsd.stable_until and step > course.first:
            keep(stable=True)  # the last state before the fall
        return factor

    def after(update: Update) -> None:
        nonlocal saved
        values = {k: v for k, v in asdict(update).items() if k != "step"} | {"batch": run.batch}
        if update.action is None and update.step % config.look_every == 0:
            run.model.eval()
            values["held"] = held_surprise(run.model, batches, compute)  # pyright: ignore
            run.model.train()
            say(f"update {update.step}, {update.spent / 60:.0f} min: {values['held']}")
        journal.write(update.step, **values)
        if update.action is None and time.monotonic() - saved > CHECKPOINT_SECONDS:
            if update.step != course.wsd.stable_until:  # that one is kept before the next update
                keep(stable=not course.falls(update.step))
            saved = time.monotonic()

    def copied() -> None:
        for saver in savers.values():
            saver.before_update()

    try:
        train(
            run,
            lambda number: (batches.at(number),),
            partial(_loss, compute=compute, device=config.device),
            schedule,
            LoopConfig(accumulate=config.accumulate),
            on_update=after,
            before_update=copied,
            go_on=lambda: course.goes_on(run.step) and not stopped(),
        )
        for saver in savers.values():
            saver.wait_durable()
        keep(stable=not course.falls(run.step), ended=not course.goes_on(run.step))
    finally:
        for saver in savers.values():
            saver.close()
        journal.close()


def _loss(net: Any, batch: CellBatch, compute: torch.dtype, device: str) -> tuple[Tensor, int]:
    weight = 1.0 if batch.used is not None else NUMBERS_WEIGH
    return weight * surprise(net, batch.to(device), compute).mean(), 1


def _schedule(config: TrainingConfig) -> WSD:
    if config.updates is None:
        return WSD(warmup=config.warmup, decay=0)
    decay = max(1, round(config.fall * config.updates))
    return WSD(warmup=min(config.warmup, config.updates - decay), decay=decay, stable_until=config.updates - decay)


def optimizer_of(net: nn.Module, lr: float, lr_rest: float) -> Muon:
    """Muon for matrices between layers; AdamW, without decay, for what enters and leaves, vectors and norms."""
    inner = [
        p
        for name, p in net.named_parameters()
        if p.ndim == 2 and name.startswith(("layers.", "bend.", "read_", "guess_classes."))
    ]
    known = {id(p) for p in inner}
    rest = [p for p in net.parameters() if id(p) not in known]
    return Muon([{"params": inner, "orthogonal": True}, {"params": rest, "weight_decay": 0.0, "lr": lr_rest}], lr)
