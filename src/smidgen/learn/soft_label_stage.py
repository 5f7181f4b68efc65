"""One stage of training on soft labels of two classes: AdamW, warm-up and cosine, stopped by its own validation rows.

The recipe of "Balancing Label Quantity and Quality for Scalable Elicitation" (2024), arXiv 2410.13215. Labels are
probabilities of class 1. Dims: n rows of a stage, D features, B rows of a batch.
"""

import copy
import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from smidgen.kit.errors import bad
from smidgen.kit.seeds import derive_seed
from smidgen.tasks.metrics import METRICS
from smidgen.train.loop import LoopConfig, Run, Update, train
from smidgen.train.schedules import Cosine


@dataclass(frozen=True)
class Stage:
    """One stage of training: whose labels, which rows, how long. Defaults as published, but for the rate.

    Attributes:
        source: name of the label source.
        loss: "xent", or "logconf": see `log_confidence_targets`.
        sampling: of rows to be labelled. "random", or "least_confident": those of which the model is least sure after
            the stage before.
        presentations: of rows in all, repeated ones counted; at least each row once.
        lr: of AdamW, for features of norm 1 (published, for low-rank adapters of language models: 4e-5 to 5e-4).
        warmup: updates, cut to one epoch and to 2 at least.
        val_frac: of the rows that are paid for, at least 2 of them; 0: none, all presentations are made. Of fewer than
            3 rows none are taken, and training ends where the first look at them would be.
        every: updates between two looks at them, cut to one epoch. patience: looks without a gain of `gain` in AUROC
            that end the stage; the best look is kept. Where the validation rows are of one class, their mean loss
            stands in for the AUROC.
    """

    source: str
    loss: Literal["xent", "logconf"] = "xent"
    sampling: Literal["random", "least_confident"] = "random"
    presentations: int = 30_000
    batch: int = 32
    lr: float = 1e-2
    warmup: int = 40
    weight_decay: float = 0.01
    beta2: float = 0.95
    val_frac: float = 0.2
    every: int = 50
    patience: int = 4
    gain: float = 0.01

    def __post_init__(self) -> None:
        for name, allowed in (("loss", ("xent", "logconf")), ("sampling", ("random", "least_confident"))):
            if getattr(self, name) not in allowed:
                raise bad(name, " or ".join(allowed), getattr(self, name))
        for name in ("presentations", "batch", "every", "patience"):
            if getattr(self, name) < 1:
                raise bad(name, "at least 1", getattr(self, name))
        for name in ("warmup", "weight_decay", "gain"):
            if not getattr(self, name) >= 0:
                raise bad(name, "0 or more", getattr(self, name))
        if not 0 < self.lr < math.inf:
            raise bad("lr", "above 0", self.lr)
        if not 0 <= self.beta2 < 1:
            raise bad("beta2", "0 to below 1", self.beta2)
        if not 0 <= self.val_frac < 1:
            raise bad("val_frac", "0 to below 1", self.val_frac)

    @classmethod
    def without_stopping(cls, source: str, rows: int, **settings: Any) -> "Stage":
        """A stage as services fine-tune: small batches (1, 2 or 8), 3 to 1 epochs, no validation. From how many rows
        on there are 2 and 8 a batch is not published; 100 and 1000 are ours."""
        batch, epochs = (1, 3) if rows < 100 else (2, 2) if rows < 1000 else (8, 1)
        return cls(source, presentations=epochs * max(rows, 1), batch=batch, val_frac=0.0, **settings)


def log_confidence_targets(p_B: Tensor, y_B: Tensor, step: int, weight: float = 0.5, warmup: int = 200) -> Tensor:
    """Labels pulled to what the model says already: (1 - c) y + c [p > threshold], c = weight min(1, step / warmup),
    `[B]`. The threshold is such that the batch has as many of class 1 as its labels sum to.

    In a batch of one row that quantile is the row itself, and would always say class 0; 0.5 stands in for it.
    """
    c = weight * min(1.0, step / warmup)
    threshold = torch.quantile(p_B, 1 - y_B.mean()) if len(p_B) > 1 else p_B.new_tensor(0.5)
    return (1 - c) * y_B + c * (p_B > threshold).to(y_B)


def train_stage(
    model: nn.Module, x_nD: Tensor, y_n: Tensor, stage: Stage, seed: int
) -> tuple[list[int], int, int, float]:
    """Trains the model, `[B, 1]` logits of features, in place; deterministic in `seed`.

    Returns:
        Numbers of the rows that it was validated on and did not learn from; updates; the update that was kept, and its
        AUROC on these rows (minus the loss where they are of one class, NaN where there are none).
    """
    n = len(y_n)
    order = np.random.default_rng(derive_seed(seed, "validation")).permutation(n)
    held = max(int(stage.val_frac * n), 2) if stage.val_frac and n >= 3 else 0
    own, kept_out = torch.from_numpy(order[held:]), torch.from_numpy(order[:held])
    x, y, val_x, val_y = x_nD[own], y_n[own], x_nD[kept_out], y_n[kept_out]
    per_epoch = -(-len(y) // stage.batch)
    every = min(stage.every, per_epoch)
    steps = math.ceil(max(stage.presentations / n, 1.0) * per_epoch)
    if stage.val_frac and not held:
        steps = min(steps, every)
    schedule = Cosine(steps=steps, warmup=min(max(min(stage.warmup, per_epoch), 2), steps), least=0.0)
    run = Run(model, _adamw(model, stage))
    looks = _Looks(model, val_x, val_y, stage)

    def batches(number: int) -> tuple[Tensor, Tensor]:
        if per_epoch == 1:
            return x, y  # all of them: no order
        epoch, place = divmod(number, per_epoch)
        if epoch != shuffled[0]:
            shuffled[:] = epoch, np.random.default_rng(derive_seed(seed, "epoch", epoch)).permutation(len(y))
        some = torch.from_numpy(shuffled[1][place * stage.batch : (place + 1) * stage.batch])
        return x[some], y[some]

    shuffled: list[Any] = [-1, None]

    def loss_of(model: nn.Module, x_BD: Tensor, y_B: Tensor) -> tuple[Tensor, int]:
        logits_B = model(x_BD)[:, 0]
        if stage.loss == "logconf":
            y_B = log_confidence_targets(logits_B.detach().sigmoid(), y_B, run.step)
        return binary_cross_entropy_with_logits(logits_B, y_B, reduction="sum"), len(y_B)

    def on_update(update: Update) -> None:
        if held and (update.step % every == 0 or update.step == steps):
            looks.look(update.step)

    train(run, batches, loss_of, schedule, LoopConfig(), steps=steps, on_update=on_update, go_on=looks.go_on)
    if held:
        model.load_state_dict(looks.state)
    return order[:held].tolist(), run.step, looks.best if held else run.step, looks.score


def _adamw(model: nn.Module, stage: Stage) -> torch.optim.Optimizer:
    return torch.optim.AdamW(
        model.parameters(), stage.lr, betas=(0.9, stage.beta2), weight_decay=stage.weight_decay, fused=True
    )


class _Looks:
    """Looks at validation rows: the best so far, and when to stop."""

    def __init__(self, model: nn.Module, x: Tensor, y: Tensor, stage: Stage) -> None:
        self.model, self.x, self.y, self.stage = model, x, y, stage
        self.truth = (y.numpy() > 0.5).astype(int)
        self.score, self.best, self.state = math.nan, 0, {}
        self._level, self._missed = -math.inf, 0

    def go_on(self) -> bool:
        return self._missed < self.stage.patience

    def look(self, step: int) -> None:
        score = self._measure()
        if not self.best or score > self.score:
            self.score, self.best, self.state = score, step, copy.deepcopy(self.model.state_dict())
        if score >= self._level + self.stage.gain:
            self._level, self._missed = score, 0
        else:
            self._missed += 1

    def _measure(self) -> float:
        if 0 < self.truth.sum() < len(self.truth):
            p = probabilities(self.model, self.x)
            return METRICS["auc"].score(self.truth, np.stack([1 - p, p], 1))
        with torch.no_grad():
            return -float(binary_cross_entropy_with_logits(self.model(self.x)[:, 0], self.y))


def probabilities(model: nn.Module, x_nD: Tensor) -> np.ndarray:
    """Of class 1, float64 `[n]`."""
    with torch.no_grad():
        return model(x_nD)[:, 0].double().sigmoid().numpy()
