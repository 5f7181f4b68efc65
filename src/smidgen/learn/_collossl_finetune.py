"""From an encoder and few labels to a classifier: first convolutions frozen, the last one and a head learn.

Dims: N windows, T samples, C channels, K classes.
"""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from smidgen.kit.errors import bad
from smidgen.kit.files import digest
from smidgen.kit.seeds import derive_seed
from smidgen.learn._collossl_training import FINE_TUNING, EpochsConfig, batches_of, train_epochs
from smidgen.nets.tpn_encoder import TPNClassifier, TPNEncoder


@dataclass(frozen=True, kw_only=True)
class FineTuneConfig:
    """Published: the first two convolutions are frozen, hidden layer of 1024, a fifth of the labels chooses the epoch.

    Attributes:
        frozen: convolutions that stay as they are; 0: training from scratch, with a fresh encoder. hidden: units.
        validation: share of the labelled windows by whose loss the epoch is chosen; 0: all are learned from, and the
            last epoch counts.
    """

    frozen: int = 2
    hidden: int = 1024
    validation: float = 0.2
    training: EpochsConfig = FINE_TUNING

    def __post_init__(self) -> None:
        if self.frozen < 0:
            raise bad("frozen", "0 or more convolutions", self.frozen)
        if self.hidden < 1:
            raise bad("hidden", "at least 1 unit", self.hidden)
        if not 0 <= self.validation < 1:
            raise bad("validation", "a share from 0, below 1", self.validation)


def fine_tune(
    encoder: TPNEncoder,
    x_NTC: np.ndarray,
    y_N: np.ndarray,
    config: FineTuneConfig | None = None,
    *,
    classes: int | None = None,
    folder: Path | str | None = None,
    resume: bool = False,
    go_on: Callable[[], bool] = lambda: True,
) -> TPNClassifier:
    """A classifier on a copy of the encoder, with the weights of the epoch of the least validation loss.

    Windows are shuffled; of that order the first share is for validation, the rest is learned from. (The published code
    reports the better of two epochs by its test score; the test set has no say here.)

    Args:
        y_N: whole numbers from 0. classes: K; None: the largest + 1. folder, resume, go_on: as `train_epochs`.
    Raises:
        BadInput: lengths differ, fewer than 2 labelled windows, a label outside 0 to K - 1, one class.
    """
    config, N = config or FineTuneConfig(), len(x_NTC)
    if len(y_N) != N or N < 2:
        raise bad("labels", f"{max(N, 2)}, one a window, at least 2", len(y_N))
    K = int(y_N.max()) + 1 if classes is None else classes
    if y_N.min() < 0 or y_N.max() >= K:
        raise bad("labels", f"whole numbers from 0 to {K - 1}", f"{y_N.min()} to {y_N.max()}")
    t = config.training
    net = TPNClassifier(copy.deepcopy(encoder), K, config.hidden, derive_seed(t.seed, "head")).to(t.device)
    net.encoder.requires_grad_(True).freeze(config.frozen)
    order = torch.randperm(N, generator=torch.Generator().manual_seed(derive_seed(t.seed, "split")))
    held = min(max(int(N * config.validation), 1), N - 1) if config.validation else 0
    x, y = torch.from_numpy(np.ascontiguousarray(x_NTC, np.float32)), torch.from_numpy(y_N.astype(np.int64))
    seen, kept = (x[order[held:]], y[order[held:]]), (x[order[:held]].to(t.device), y[order[:held]].to(t.device))
    per_epoch = math.ceil((N - held) / t.batch)

    def at(number: int) -> tuple[Tensor, Tensor]:
        epoch, place = divmod(number, per_epoch)
        rows = batches_of(N - held, t.batch, t.seed, epoch)[place]
        return seen[0][rows].to(t.device), seen[1][rows].to(t.device)

    @torch.no_grad()
    def look() -> float:
        net.eval()
        loss = float(F.cross_entropy(net(kept[0]), kept[1]))
        net.train()
        return loss

    first = [v.numpy().tobytes() for v in encoder.cpu().state_dict().values()] if folder is not None else []
    whose = digest(repr((config, K)), x_NTC.tobytes(), y_N.tobytes(), *first)
    watched, t = (look, t) if held else (None, replace(t, keep="last"))
    train_epochs(net, at, per_epoch, _loss, t, look=watched, folder=folder, whose=whose, resume=resume, go_on=go_on)
    return net.eval()


def _loss(model: nn.Module, x_BTC: Tensor, y_B: Tensor) -> tuple[Tensor, int]:
    return F.cross_entropy(model(x_BTC), y_B, reduction="sum"), len(y_B)
