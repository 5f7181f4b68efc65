"""Training by epochs over numbered batches: best epoch kept, early stop, checkpoints that go on to the same bits.

One way for all arms of a comparison: learning across devices, the baselines without labels, fine-tuning. A batch is a
function of its number, and dropout draws from a generator that the checkpoint holds.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from smidgen.kit.errors import BadInput, bad
from smidgen.kit.seeds import derive_seed
from smidgen.train.checkpoint import load_file, save_file
from smidgen.train.journal import Journal
from smidgen.train.loop import LoopConfig, Run, Update, train
from smidgen.train.precision import Precision
from smidgen.train.schedules import Cosine

CHECKPOINT, LOG = "training.ckpt", "log.jsonl"


@dataclass(frozen=True, kw_only=True)
class EpochsConfig:
    """
    Attributes:
        epochs: at most. lr: of Adam. batch: windows of a batch, at most.
        decay_steps: updates in which a cosine takes the rate to 0, where the training ends even if epochs are left;
            None: the rate stays.
        patience: epochs without a new least loss after which it ends, counted from epoch `patience_after` on; None:
            it never does.
        l2: times the sum of squares of the convolutions' kernels, added to the loss.
        keep: the weights of the epoch of the least loss, or of the last one.
    """

    epochs: int = 100
    lr: float = 1e-4
    batch: int = 512
    decay_steps: int | None = 1000
    patience: int | None = 20
    patience_after: int = 60
    l2: float = 1e-4
    keep: Literal["best", "last"] = "best"
    precision: Precision = "fp32"
    device: str = "cpu"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch"):
            if getattr(self, name) < 1:
                raise bad(name, "at least 1", getattr(self, name))
        if not self.lr > 0:
            raise bad("lr", "above 0", self.lr)
        for name in ("decay_steps", "patience"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise bad(name, "at least 1, or None", getattr(self, name))
        if self.keep not in ("best", "last"):
            raise bad("keep", "best or last", self.keep)
        for name in ("l2", "patience_after"):
            if getattr(self, name) < 0:
                raise bad(name, "0 or more", getattr(self, name))


PRETRAINING = EpochsConfig()
FINE_TUNING = EpochsConfig(batch=32, decay_steps=None, patience=None)


@dataclass
class EpochsFound:
    """`losses` of the epochs done, `best`: number of the one whose weights are kept; `done`: the training is over."""

    losses: list[float] = field(default_factory=list)
    best: int = -1
    waited: int = 0
    done: bool = False


def train_epochs(
    net: nn.Module,
    batch_at: Callable[[int], tuple[Any, ...]],
    per_epoch: int,
    loss_of: Callable[..., tuple[Tensor, int]],
    config: EpochsConfig,
    *,
    look: Callable[[], float] | None = None,
    extra: dict[str, Any] | None = None,
    folder: Path | str | None = None,
    whose: str = "",
    resume: bool = False,
    go_on: Callable[[], bool] = lambda: True,
    say: Callable[[str], None] = lambda text: None,
) -> EpochsFound:
    """Trains `net` in place; when it is over, it has the weights that `config.keep` says.

    Args:
        batch_at: arguments of `loss_of` (after the network), by number of the batch. loss_of: sum and count.
        look: the loss that epochs are compared by, asked after each; None: the mean training loss.
        extra: kept in the checkpoint; on resuming it is filled with what was kept.
        folder: for checkpoint and log, one an epoch; None: nothing is written. whose: what the training is of; a
            checkpoint of another is refused. resume: go on with what is in the folder.
        go_on: asked before each update; on no the training is left as it is, `done` is False.
    Raises:
        BadInput: the folder holds a training and `resume` is not set, or another training.
    """
    found, best, extra = EpochsFound(), {}, {} if extra is None else extra
    learning = [p for p in net.parameters() if p.requires_grad]
    run = Run(net.to(config.device), torch.optim.Adam(learning, lr=config.lr))
    kept = Path(folder) / CHECKPOINT if folder is not None else None
    steps = min(config.epochs * per_epoch, config.decay_steps or config.epochs * per_epoch)
    schedule = Cosine(steps=config.decay_steps, least=0.0) if config.decay_steps else lambda step: 1.0
    sums = [0.0, 0]  # of the epoch in the making
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(config.seed, "dropout"))
        if kept is not None:
            if kept.is_file():
                if not resume:
                    raise BadInput(f"{folder} holds a training: set resume to go on with it, or take another folder.")
                state = load_file(kept)
                if state.get("whose") != whose:
                    raise BadInput(f"{folder} holds a training of other windows or settings: take another folder.")
                run.load_state_dict(state["run"])
                found, best, sums = EpochsFound(**run.extra["found"]), run.extra["best"], run.extra["sums"]
                extra.update(run.extra["extra"])
                say(f"going on from epoch {len(found.losses)}")
            kept.parent.mkdir(parents=True, exist_ok=True)
        journal = Journal(kept.parent / LOG, after=len(found.losses) + 1) if kept is not None else None

        def keep() -> None:
            if kept is not None:
                run.extra = {"found": vars(found), "best": best, "sums": sums, "extra": extra}
                save_file({"whose": whose, "run": run.state_dict()}, kept, run.step)

        def after(update: Update) -> None:
            nonlocal best
            sums[0], sums[1] = sums[0] + update.loss, sums[1] + 1
            if update.step % per_epoch and update.step != steps:
                return
            trained = sums[0] / sums[1]
            sums[:] = [0.0, 0]
            loss = trained if look is None else look()
            if not found.losses or loss < min(found.losses):
                found.best, found.waited = len(found.losses), 0
                best = {k: v.detach().cpu().clone() for k, v in net.state_dict().items()}
            elif len(found.losses) >= config.patience_after:
                found.waited += 1
            found.losses.append(loss)
            found.done = update.step == steps or (config.patience is not None and found.waited >= config.patience)
            if journal:
                journal.write(len(found.losses), update=update.step, loss=trained, watched=loss, lr=update.lr)
            keep()
            say(f"epoch {len(found.losses)}: loss {loss:.4f}")

        def penalised(model: nn.Module, *batch: Any) -> tuple[Tensor, int]:
            total, count = loss_of(model, *batch)
            return total + config.l2 * count * _penalty(model), count

        loop = LoopConfig(clip=None, precision=config.precision)
        try:
            if not found.done:
                train(
                    run,
                    batch_at,
                    penalised if config.l2 else loss_of,
                    schedule,
                    loop,
                    steps=steps,
                    on_update=after,
                    go_on=lambda: not found.done and go_on(),
                )
                if not found.done:
                    keep()
        finally:
            if journal:
                journal.close()
    if found.done and config.keep == "best":
        net.load_state_dict(best)
    return found


def _penalty(model: nn.Module) -> Tensor | float:
    """Sum of squares of the kernels of all convolutions that learn."""
    kernels = [m.weight for m in model.modules() if isinstance(m, nn.Conv1d) and m.weight.requires_grad]
    return sum((k.square().sum() for k in kernels), 0.0)


def batches_of(count: int, most: int, seed: int, epoch: int) -> list[Tensor]:
    """Places of `count` rows in a new order each epoch, in batches of about equal size, at most `most`."""
    generator = torch.Generator().manual_seed(derive_seed(seed, "order", epoch))
    return list(torch.randperm(count, generator=generator).tensor_split(math.ceil(count / most)))
