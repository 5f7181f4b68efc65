"""Label-free pretraining of any method on pictures: batches by number, views, schedule, log, checkpoints; and features.

    OUT/training.ckpt   the newest state; a training that is stopped anywhere goes on to the same bits
    OUT/log.jsonl       of each update: loss, its parts by name, rate; at looks, what `look` says

A method is a module with `training_loss(*views) -> (loss, parts)`, such as `learn.barlow_twins.BarlowTwins` or
`learn.selfie.Selfie`. What is drawn at random (views, masks) is drawn outside of it, by `views(x_BCHW, generator)`,
from a generator of the batch's number: nothing else need be kept to go on.

Dims: N pictures, B of a batch, C channels, H x W pixels, F features.
"""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from smidgen.kit.errors import BadInput, bad
from smidgen.kit.files import digest, tensor_bytes, write_bytes
from smidgen.kit.seeds import derive_seed
from smidgen.train.checkpoint import load_file, save_file
from smidgen.train.journal import Journal
from smidgen.train.lars import LARS, rate_groups
from smidgen.train.loop import LoopConfig, Run, Update, train
from smidgen.train.precision import Precision, context
from smidgen.train.schedules import Cosine

CHECKPOINT = "training.ckpt"
OPTIMIZERS = ("adamw", "lars", "sgd")
Views = Callable[[Tensor, torch.Generator], Any]  # one tensor, or several


class Pretrainable(Protocol):
    """A module that `pretrain` trains."""

    def training_loss(self, *views: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean loss of a batch, and what else is worth writing down of it."""
        ...


@dataclass(frozen=True, kw_only=True)
class PretrainingConfig:
    """
    Attributes:
        epochs: passes over the pictures. batch: pictures an update; a last short batch is left out.
        optimizer: "adamw", "lars", or "sgd" with Nesterov's momentum.
        lr: peak rate of weights; lr_rest: of biases and norms, which never decay; None: the same.
        warmup: epochs of linear rise; then half a cosine down to `least` times the peak.
        momentum: of "lars" and "sgd". clip: largest norm of the gradients together; None: not clipped.
        look_every: epochs between looks, the last one included; checkpoints are written then too.
        seed: of order and views.
    """

    epochs: int = 15
    batch: int = 256
    optimizer: Literal["adamw", "lars", "sgd"] = "adamw"
    lr: float = 1e-3
    lr_rest: float | None = None
    weight_decay: float = 1e-6
    momentum: float = 0.9
    warmup: float = 1.0
    least: float = 1e-3
    clip: float | None = None
    precision: Precision = "fp32"
    device: str = "cpu"
    look_every: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "look_every"):
            if getattr(self, name) < 1:
                raise bad(name, "at least 1", getattr(self, name))
        if self.batch < 2:
            raise bad("batch", "at least 2 pictures", self.batch)
        if self.optimizer not in OPTIMIZERS:
            raise bad("optimizer", " or ".join(OPTIMIZERS), self.optimizer)
        if not self.lr > 0 or (self.lr_rest is not None and not self.lr_rest > 0):
            raise bad("lr, lr_rest", "above 0", f"{self.lr}, {self.lr_rest}")
        if not 0 <= self.warmup <= self.epochs:
            raise bad("warmup", f"0 to {self.epochs} epochs", self.warmup)

    def optimizer_of(self, net: nn.Module) -> torch.optim.Optimizer:
        groups = rate_groups(net, self.lr, self.lr if self.lr_rest is None else self.lr_rest, self.weight_decay)
        if self.optimizer == "lars":
            return LARS(groups, self.lr, self.weight_decay, self.momentum)
        if self.optimizer == "sgd":
            return torch.optim.SGD(groups, self.lr, self.momentum, nesterov=self.momentum > 0)
        return torch.optim.AdamW(groups, lr=self.lr, fused=True)


@dataclass
class Pretraining:
    """What a training came to.

    Attributes:
        updates: done. finished: whether that is all of them.
        log: of each update of this sitting: step, loss, parts, rate; and of each look what it said.
        best: the highest value that was chosen by. best_step: when; -1: nothing was chosen by.
        best_weights: of the method at that look.
    """

    updates: int = 0
    finished: bool = False
    log: list[dict[str, Any]] = field(default_factory=list)
    best: float = -math.inf
    best_step: int = -1
    best_weights: dict[str, Tensor] = field(default_factory=dict)


def published_lars(batch: int = 2048, *, epochs: int = 300, seed: int = 0) -> PretrainingConfig:
    """LARS as Barlow Twins was trained with it (Zbontar et al., 2021): 0.2 for weights and 0.0048 for all else, times
    batch / 256; 10 epochs of warm-up, then down to a thousandth."""
    scale = batch / 256
    return PretrainingConfig(
        epochs=epochs,
        batch=batch,
        optimizer="lars",
        lr=0.2 * scale,
        lr_rest=0.0048 * scale,
        warmup=min(10, epochs),
        seed=seed,
    )


def pretrain(
    method: nn.Module,
    images: Tensor,
    views: Views,
    config: PretrainingConfig | None = None,
    *,
    out: Path | str | None = None,
    resume: bool = False,
    look: Callable[[nn.Module], dict[str, float]] | None = None,
    choose: str | None = None,
    go_on: Callable[[], bool] = lambda: True,
    say: Callable[[str], None] = lambda text: None,
) -> Pretraining:
    """Trains the method in place, or goes on with what is in the folder.

    Args:
        images: `[N, C, H, W]`, uint8, or float in 0 to 1. views: of a batch of floats and a generator, what
            `method.training_loss` takes.
        out: folder of checkpoint and log; None: nothing is written. resume: go on, where there is something.
        look: measures the method (in eval mode) at every `look_every`-th epoch. choose: one of its names; the weights
            with the highest value are put into the method at the end. Measure on pictures that judge nothing later.
        go_on: asked before each update. say: told of each look.
    Raises:
        BadInput: too few pictures for a batch; the folder holds a training and `resume` is not set, or another one.
        NonFinite: the loss is not a number.
    """
    config = config or PretrainingConfig()
    batches = _Batches(images, views, config)
    run = Run(method.to(config.device), config.optimizer_of(method))
    found, folder = Pretraining(), None if out is None else Path(out)
    whose = "" if folder is None else _identity(config, batches, method)
    if folder is not None and (folder / CHECKPOINT).is_file():
        _take_up(run, found, folder, whose, resume)
        say(f"going on from update {run.step}")
    journal = None if folder is None else Journal(folder / "log.jsonl", after=run.step + 1)
    updates, parts = config.epochs * batches.each, {}

    def loss_of(model: Any, *seen: Tensor) -> tuple[Tensor, int]:
        with context(config.precision, config.device):
            loss, named = model.training_loss(*seen)
        parts.clear()
        parts.update(named)
        return loss, 1

    def keep() -> None:
        if folder is not None:
            chosen = {"best": found.best, "best_step": found.best_step, "best_weights": found.best_weights}
            run.extra = {"chosen": chosen}
            save_file({"training": whose, "run": run.state_dict()}, folder / CHECKPOINT, run.step)

    def after(update: Update) -> None:
        values = {k: v for k, v in asdict(update).items() if k not in ("step", "action", "targets")}
        values |= {k: float(v) for k, v in parts.items()}
        epoch, rest = divmod(update.step, batches.each)
        looks = not rest and (epoch % config.look_every == 0 or epoch == config.epochs)
        if looks and look is not None:
            values |= _look(method, look, choose, update.step, found)
            say(f"epoch {epoch}: " + ", ".join(f"{k} {v:.4g}" for k, v in values.items()))
        found.log.append({"step": update.step, **values})
        if journal is not None:
            journal.write(update.step, **values)
        if looks:
            keep()

    schedule = Cosine(steps=updates, warmup=round(config.warmup * batches.each), least=config.least)
    loop = LoopConfig(clip=config.clip, precision=config.precision)
    try:
        train(run, batches.at, loss_of, schedule, loop, steps=updates, on_update=after, go_on=go_on)
    finally:
        if journal is not None:
            journal.close()
    keep()
    found.updates, found.finished = run.step, run.step >= updates
    if found.finished and choose is not None:
        method.load_state_dict(found.best_weights)
    return found


@torch.no_grad()
def embed(net: Callable[[Tensor], Tensor], images: Tensor, *, batch: int = 500, device: str = "cpu") -> np.ndarray:
    """Features float32 `[N, F]` of pictures, uint8 or float in 0 to 1, by a backbone in eval mode. `net` is left in the
    mode that it was in."""
    training = isinstance(net, nn.Module) and net.training
    if isinstance(net, nn.Module):
        net.eval()
    try:
        made = [net(as_floats(part.to(device))).float().cpu().numpy() for part in images.split(batch)]
    finally:
        if isinstance(net, nn.Module):
            net.train(training)
    return np.concatenate(made)


def export_embeddings(net: Callable[[Tensor], Tensor], images: Tensor, path: Path | str, **settings: Any) -> Path:
    """Writes `features` `[N, F]` as safetensors, row i of picture i. Settings as of `embed`."""
    write_bytes(Path(path), tensor_bytes({"features": embed(net, images, **settings)}))
    return Path(path)


class _Batches:
    """Batch by number: each epoch its own order, each batch its own draws of views."""

    def __init__(self, images: Tensor, views: Views, config: PretrainingConfig) -> None:
        if images.ndim != 4:
            raise bad("images", "[N, C, H, W]", list(images.shape))
        if len(images) < config.batch:
            raise bad("batch", f"at most the {len(images)} pictures that there are", config.batch)
        self.images, self.views, self.config = images, views, config
        self.each = len(images) // config.batch  # batches an epoch

    def at(self, number: int) -> tuple[Tensor, ...]:
        epoch, place = divmod(number, self.each)
        order = torch.randperm(len(self.images), generator=self._generator("order", epoch))
        rows = order[place * self.config.batch : (place + 1) * self.config.batch]
        x_BCHW = as_floats(self.images[rows].to(self.config.device))
        seen = self.views(x_BCHW, self._generator("views", number))
        return (seen,) if isinstance(seen, Tensor) else tuple(seen)

    def _generator(self, *names: object) -> torch.Generator:
        return torch.Generator().manual_seed(derive_seed(self.config.seed, *names))


def as_floats(x: Tensor) -> Tensor:
    """Pictures in 0 to 1, of uint8 or of floats that are so already."""
    return x.float().div_(255) if x.dtype == torch.uint8 else x


def _look(
    method: nn.Module, look: Callable[[nn.Module], dict[str, float]], choose: str | None, step: int, found: Pretraining
) -> dict[str, float]:
    method.eval()
    values = look(method)
    method.train()
    if choose is not None:
        if choose not in values:
            raise bad("choose", " or ".join(values), choose)
        if not found.best_weights or values[choose] > found.best:
            found.best, found.best_step = values[choose], step
            found.best_weights = {k: v.detach().cpu().clone() for k, v in method.state_dict().items()}
    return values


def _take_up(run: Run, found: Pretraining, folder: Path, whose: str, resume: bool) -> None:
    if not resume:
        raise BadInput(f"{folder} holds a training: set resume to go on with it, or take another folder.")
    state = load_file(folder / CHECKPOINT)
    if not isinstance(state, dict) or state.get("training") != whose:
        raise BadInput(f"{folder} holds a training with other pictures or settings: take another folder.")
    run.load_state_dict(state["run"])
    for name, value in run.extra["chosen"].items():
        setattr(found, name, value)


def _identity(config: PretrainingConfig, batches: _Batches, method: nn.Module) -> str:
    """Which training this is: settings, views where they can be told, pictures and first weights."""
    first = [p.detach().cpu().float().numpy().tobytes() for p in method.parameters()]
    pixels = np.ascontiguousarray(batches.images.cpu().numpy()).tobytes()
    kind = type(batches.views).__name__
    views = repr(batches.views) if hasattr(batches.views, "__dataclass_fields__") else kind
    return digest(repr(config), views, pixels, *first)
