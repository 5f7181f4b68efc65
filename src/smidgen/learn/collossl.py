"""ColloSSL (Jain et al., 2022, arXiv 2202.00758): another device's simultaneous signal is the augmentation.

Several devices record one body (or one plant, one grid) at the same time, without labels. For an anchor device, the
device whose motion is most like its own is the positive view, and devices at other moments are the contrast, the more
weight the more alike they are. What is learned is an encoder of the anchor's windows; it is then fine-tuned with few
labels (`fine_tune`). `leave_groups_out` compares it with its baselines, new users held out.

    pretrained = pretrain(windows, "watch", ColloSSLConfig())
    classifier = fine_tune(pretrained.encoder, *windows.labelled("watch"))

Dims: D devices, B windows, T samples, C channels, E embedding width.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Generator, Tensor, nn

from smidgen.kit.errors import bad
from smidgen.kit.files import write_json
from smidgen.kit.seeds import derive_seed
from smidgen.learn._collossl_batches import UserBatches, identity, new_encoder
from smidgen.learn._collossl_devices import (
    POLICIES,
    DeviceAssignment,
    Metric,
    SelectionLog,
    assign,
    device_distances,
    mean_distances,
    select_devices,
)
from smidgen.learn._collossl_finetune import FineTuneConfig, fine_tune
from smidgen.learn._collossl_loss import (
    SAMPLINGS,
    Sampling,
    contrast_weights,
    cyclic_shift,
    multi_view_contrastive_loss,
    random_cycle,
)
from smidgen.learn._collossl_training import PRETRAINING, EpochsConfig, EpochsFound, train_epochs
from smidgen.nets.tpn_encoder import TPNConfig, TPNEncoder, dense_head
from smidgen.tasks.device_windows import MultiDeviceWindows

__all__ = [
    "POLICIES",
    "ColloSSL",
    "ColloSSLConfig",
    "DeviceAssignment",
    "EpochsConfig",
    "FineTuneConfig",
    "Pretrained",
    "SelectionLog",
    "UserBatches",
    "cyclic_shift",
    "fine_tune",
    "multi_view_contrastive_loss",
    "pretrain",
    "random_cycle",
    "select_devices",
]


@dataclass(frozen=True, kw_only=True)
class ColloSSLConfig:
    """Published defaults.

    Attributes:
        net: of the encoder. projector: sizes of the layers between it and the loss, dropped afterwards; (): none.
        temperature: of the cosines.
        dynamic_selection: devices are chosen for each batch; otherwise once, by mean distances over a first epoch.
        metric, strategy: of `select_devices`.
        sampling: "unsync_neg": positive windows are simultaneous with the anchor's, negative ones are not; "sync_all":
            both are; "unsync_all": neither is.
        neg_sample_size: orders of each negative device's batch. weighted: negatives by 1 / distance.
        training: epochs, rates and so on.
    """

    net: TPNConfig = field(default_factory=TPNConfig)
    projector: tuple[int, ...] = (256, 128, 50)
    temperature: float = 0.05
    dynamic_selection: bool = True
    metric: Metric = "acc_norm"
    strategy: str = "closest_pos_all_neg"
    sampling: Sampling = "unsync_neg"
    neg_sample_size: int = 1
    weighted: bool = True
    training: EpochsConfig = PRETRAINING

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise bad("temperature", "above 0", self.temperature)
        if self.neg_sample_size < 1:
            raise bad("neg_sample_size", "at least 1", self.neg_sample_size)
        for name, known in (("sampling", SAMPLINGS), ("strategy", POLICIES), ("metric", ("acc_norm", "per_channel"))):
            if getattr(self, name) not in known:
                raise bad(name, " or ".join(known), getattr(self, name))


class ColloSSL(nn.Module):
    """Encoder, projector and loss; `log` counts which devices were chosen.

    `fixed`: the assignment of every batch, where devices are chosen once (`choose_once`).
    """

    def __init__(self, encoder: TPNEncoder, config: ColloSSLConfig | None = None, *, motion: int = 3) -> None:
        super().__init__()
        self.config, self.motion = config or ColloSSLConfig(), motion
        self.encoder = encoder
        self.projector = dense_head(
            encoder.width, self.config.projector, derive_seed(self.config.training.seed, "projector")
        )
        self.log = SelectionLog()
        self.fixed: DeviceAssignment | None = None

    def forward(self, x_DBTC: Tensor, anchor: int, generator: Generator) -> Tensor:
        """The loss of simultaneous windows of one user. The generator: of orders, and of policies that draw."""
        c = self.config
        chosen = self.fixed or select_devices(
            x_DBTC, anchor, metric=c.metric, strategy=c.strategy, motion=self.motion, generator=generator
        )
        self.log.add(chosen)
        used = sorted({anchor, *chosen.positive, *chosen.negative})  # the others are not even encoded
        B = x_DBTC.shape[1]
        z = self.projector(self.encoder(x_DBTC[used].flatten(0, 1))).float().unflatten(0, (len(used), B))
        z_BE = dict(zip(used, z, strict=True))

        def moved(device: int) -> Tensor:
            return z_BE[device][random_cycle(B, generator).to(z.device)]

        positives = [moved(d) if c.sampling == "unsync_all" else z_BE[d] for d in chosen.positive]
        repeated = [d for d in chosen.negative for _ in range(c.neg_sample_size)]
        negatives = [z_BE[d] if c.sampling == "sync_all" else moved(d) for d in repeated]
        weights, own = contrast_weights([chosen.distance[d] for d in repeated], weighted=c.weighted)
        return multi_view_contrastive_loss(
            z_BE[anchor],
            torch.stack(positives),
            torch.stack(negatives),
            neg_weights=weights.to(z.device),
            pos_weight=own,
            temperature=c.temperature,
        )

    def choose_once(self, batches: UserBatches, anchor: int) -> DeviceAssignment:
        """Chooses devices for all batches, by each one's mean distance over an epoch's batches."""
        c = self.config
        found = [
            device_distances(batches.at(i)[0], anchor, metric=c.metric, motion=self.motion)
            for i in range(batches.per_epoch)
        ]
        generator = torch.Generator().manual_seed(derive_seed(c.training.seed, "choose once"))
        self.fixed = assign(mean_distances(found), strategy=c.strategy, generator=generator)
        return self.fixed


@dataclass(frozen=True)
class Pretrained:
    """`encoder`, of the epoch with the least loss; `found`: losses; `log`: devices chosen, by number in `devices`."""

    encoder: TPNEncoder
    found: EpochsFound
    log: SelectionLog
    devices: list[str]


def pretrain(
    windows: MultiDeviceWindows,
    anchor: str,
    config: ColloSSLConfig | None = None,
    *,
    folder: Path | str | None = None,
    resume: bool = False,
    go_on: Callable[[], bool] = lambda: True,
    say: Callable[[str], None] = lambda text: None,
) -> Pretrained | None:
    """Learns an encoder of the anchor's windows without labels; None where `go_on` stopped it.

    Args:
        windows: of the users to learn from alone, scaled. folder, resume, go_on, say: as `train_epochs`.
    Raises:
        BadInput: no such anchor, windows too short for the encoder, and as `train_epochs`.
    """
    config = config or ColloSSLConfig()
    place, train = windows.place(anchor), config.training
    encoder = new_encoder(windows, config.net, train.seed)
    batches = UserBatches(windows, batch=train.batch, seed=train.seed)
    net = ColloSSL(encoder, config, motion=windows.motion)

    def at(number: int) -> tuple[Tensor, Generator]:
        generator = torch.Generator().manual_seed(derive_seed(train.seed, "contrast", number))
        return batches.at(number)[0].to(train.device), generator

    def loss_of(model: nn.Module, x_DBTC: Tensor, generator: Generator) -> tuple[Tensor, int]:
        B = x_DBTC.shape[1]
        return model(x_DBTC, place, generator) * B, B

    if not config.dynamic_selection:
        net.choose_once(batches, place)
    found = train_epochs(
        net,
        at,
        batches.per_epoch,
        loss_of,
        train,
        extra=vars(net.log),
        folder=folder,
        whose=identity(windows, anchor, config),
        resume=resume,
        go_on=go_on,
        say=say,
    )
    if folder is not None:
        shown = {**vars(net.log), "mean_distance": net.log.mean_distance, "devices": windows.devices}
        write_json(Path(folder) / "devices.json", shown)
    return Pretrained(net.encoder, found, net.log, windows.devices) if found.done else None
