"""What learning across devices is compared with: two ways to learn an encoder from the anchor device alone.

SimCLR (Chen et al., 2020, arXiv 2002.05709): two changed copies of a window must find each other in the batch.
Multi-task transform discrimination (Saeed et al., 2019, arXiv 1907.11879): was this change made to the window or not,
one small head for each change. Both see the windows of all users together.

Dims: B windows, T samples, C channels, E embedding width.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from smidgen.data.augment.signals import TRANSFORMS
from smidgen.kit.errors import bad
from smidgen.kit.seeds import derive_seed
from smidgen.learn._collossl_batches import identity, new_encoder
from smidgen.learn._collossl_training import PRETRAINING, EpochsConfig, batches_of, train_epochs
from smidgen.nets.tpn_encoder import TPNConfig, TPNEncoder, dense_head
from smidgen.tasks.device_windows import MultiDeviceWindows


def _known(what: str, names: tuple[str, ...] | None) -> None:
    for name in names if names is not None else tuple(TRANSFORMS):
        if name not in TRANSFORMS:
            raise bad(what, " or ".join(TRANSFORMS), name)
    if names is not None and not names:
        raise bad(what, "at least one change", names)


@dataclass(frozen=True, kw_only=True)
class SimCLRConfig:
    """
    Attributes:
        views: changes (`TRANSFORMS`) that make a copy, one after the other, drawn anew each time. Others as in
            `ColloSSLConfig`.
    """

    net: TPNConfig = field(default_factory=TPNConfig)
    projector: tuple[int, ...] = (256, 128, 50)
    temperature: float = 0.1
    views: tuple[str, ...] = ("jitter", "scale")
    training: EpochsConfig = PRETRAINING

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise bad("temperature", "above 0", self.temperature)
        _known("views", self.views)


@dataclass(frozen=True, kw_only=True)
class MultiTaskConfig:
    """
    Attributes:
        tasks: names of changes (`TRANSFORMS`); None: all that the channels allow. hidden: units of each head.
    """

    net: TPNConfig = field(default_factory=TPNConfig)
    tasks: tuple[str, ...] | None = None
    hidden: int = 256
    training: EpochsConfig = PRETRAINING

    def __post_init__(self) -> None:
        _known("tasks", self.tasks)


class SimCLR(nn.Module):
    """Encoder, projector and loss of two views."""

    def __init__(self, encoder: TPNEncoder, config: SimCLRConfig) -> None:
        super().__init__()
        self.config, self.encoder = config, encoder
        self.projector = dense_head(encoder.width, config.projector, derive_seed(config.training.seed, "projector"))

    def forward(self, x_BTC: Tensor, generator: Generator) -> Tensor:
        views = [x_BTC.cpu(), x_BTC.cpu()]
        for name in self.config.views:
            views = [TRANSFORMS[name](view, generator) for view in views]
        a_BE, b_BE = self.projector(self.encoder(torch.cat(views).to(x_BTC.device))).float().chunk(2)
        return nt_xent(a_BE, b_BE, self.config.temperature)


class TransformTasks(nn.Module):
    """Encoder and one head a change; the loss is the mean cross-entropy of telling changed windows from plain ones."""

    def __init__(self, encoder: TPNEncoder, config: MultiTaskConfig) -> None:
        super().__init__()
        self.encoder, C = encoder, encoder.in_channels
        self.tasks = config.tasks or tuple(
            t for t in TRANSFORMS if not (t == "rotation" and C % 3) and not (t == "channel_shuffle" and C == 1)
        )
        self.heads = nn.ModuleDict(
            {t: dense_head(encoder.width, (config.hidden, 1), derive_seed(config.training.seed, t)) for t in self.tasks}
        )

    def forward(self, x_BTC: Tensor, generator: Generator) -> Tensor:
        made = [x_BTC, *(TRANSFORMS[t](x_BTC.cpu(), generator).to(x_BTC.device) for t in self.tasks)]
        plain_BE, *changed = self.encoder(torch.cat(made)).chunk(len(made))
        losses = []
        for task, changed_BE in zip(self.tasks, changed, strict=True):
            logits = self.heads[task](torch.cat([plain_BE, changed_BE]))[:, 0].float()
            truth = torch.cat([torch.zeros(len(plain_BE)), torch.ones(len(changed_BE))]).to(logits)
            losses.append(F.binary_cross_entropy_with_logits(logits, truth))
        return torch.stack(losses).mean()


def nt_xent(a_BE: Tensor, b_BE: Tensor, temperature: float) -> Tensor:
    """Cross-entropy of finding a row's other view among all other rows of both views, mean over 2B rows."""
    z_NE = F.normalize(torch.cat([a_BE, b_BE]), dim=1)
    scores_NN = (z_NE @ z_NE.T / temperature).fill_diagonal_(-math.inf)
    B = len(a_BE)
    partner_N = torch.arange(2 * B, device=z_NE.device).roll(B)
    return F.cross_entropy(scores_NN, partner_N)


def pretrain_alone(
    windows: MultiDeviceWindows,
    anchor: str,
    config: SimCLRConfig | MultiTaskConfig,
    *,
    folder: Path | str | None = None,
    resume: bool = False,
    go_on: Callable[[], bool] = lambda: True,
    say: Callable[[str], None] = lambda text: None,
) -> TPNEncoder | None:
    """An encoder of the anchor's windows, learned without labels or other devices; None where `go_on` stopped it.

    Raises:
        BadInput: no such anchor, windows too short, fewer than 2 windows, and as `train_epochs`.
    """
    windows.place(anchor)
    t = config.training
    encoder = new_encoder(windows, config.net, t.seed)
    x_NTC = torch.from_numpy(np.concatenate([windows.X[anchor][u] for u in windows.users]))
    if len(x_NTC) < 2:
        raise bad("windows", "at least 2", len(x_NTC))
    net = SimCLR(encoder, config) if isinstance(config, SimCLRConfig) else TransformTasks(encoder, config)
    per_epoch = len(batches_of(len(x_NTC), t.batch, t.seed, 0))

    def at(number: int) -> tuple[Tensor, Generator]:
        epoch, place = divmod(number, per_epoch)
        rows = batches_of(len(x_NTC), t.batch, t.seed, epoch)[place]
        return x_NTC[rows].to(t.device), torch.Generator().manual_seed(derive_seed(t.seed, "views", number))

    def loss_of(model: nn.Module, x_BTC: Tensor, generator: Generator) -> tuple[Tensor, int]:
        return model(x_BTC, generator) * len(x_BTC), len(x_BTC)

    found = train_epochs(
        net,
        at,
        per_epoch,
        loss_of,
        t,
        folder=folder,
        whose=identity(windows, anchor, config),
        resume=resume,
        go_on=go_on,
        say=say,
    )
    return encoder if found.done else None
