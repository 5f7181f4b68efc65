"""Settings of an in-context encoder's training, and what follows from them: optimizer and rate."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from smidgen.kit.errors import bad
from smidgen.kit.seeds import derive_seed
from smidgen.learn._encoder_episodes import EpisodeSampler, Subject
from smidgen.nets.hypernetwork import HypernetworkConfig
from smidgen.train.muon import Muon
from smidgen.train.precision import Precision
from smidgen.train.schedules import WSD


@dataclass(frozen=True, kw_only=True)
class EncoderTrainingConfig:
    """
    Attributes:
        net: sizes of the network; None: small ones, for the embeddings at hand.
        updates: at most. batch, context, queries: units an update; least and most pairs; queries of each unit.
        lr, weight_decay, optimizer: "adamw" as published (there with lr 1e-4, for 20 layers), or "muon" (`train.muon`).
        schedule: "wsd": rate constant, then falling to 0 over the last `fall` of the updates. "plateau", as published:
            a tenth of the rate when validation loss stands still, down to 1e-5; the training ends when it stands still
            there.
        warmup: updates in which the rate rises. clip: of the gradients' norm.
        weights_loss: weight of the distance to ridge weights (1 - cosine, plus mean square) beside the squared error.
        look_every, looks: updates between validations, and batches of each context size there.
        precision, device: "fp32", or "mixed" (bfloat16 products). seed: of weights and episodes.
    """

    net: HypernetworkConfig | None = None
    updates: int = 2000
    batch: int = 64
    context: tuple[int, int] = (5, 100)
    queries: int = 100
    lr: float = 2e-3
    weight_decay: float = 0.1
    optimizer: Literal["adamw", "muon"] = "adamw"
    schedule: Literal["wsd", "plateau"] = "wsd"
    fall: float = 0.3
    warmup: int = 100
    clip: float = 1.0
    weights_loss: float = 0.0
    look_every: int = 200
    looks: int = 2
    precision: Precision = "fp32"
    device: str = "cpu"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("updates", "batch", "queries", "look_every", "looks"):
            if getattr(self, name) < 1:
                raise bad(name, "at least 1", getattr(self, name))
        if not self.lr > 0:
            raise bad("lr", "above 0", self.lr)
        for name in ("weight_decay", "warmup", "weights_loss"):
            if getattr(self, name) < 0:
                raise bad(name, "0 or more", getattr(self, name))
        if not 0 < self.fall <= 1:
            raise bad("fall", "a share above 0, at most 1", self.fall)
        for name, known in (("optimizer", ("adamw", "muon")), ("schedule", ("wsd", "plateau"))):
            if getattr(self, name) not in known:
                raise bad(name, " or ".join(known), getattr(self, name))

    def sampler(self, subjects: Sequence[Subject], purpose: str) -> EpisodeSampler:
        """Episodes of these subjects, others for each purpose."""
        return EpisodeSampler(
            subjects,
            context=self.context,
            queries=self.queries,
            batch=self.batch,
            seed=derive_seed(self.seed, purpose),
        )


@dataclass
class Plateau:
    """The factor of a rate that falls to a tenth when a loss stands still, as torch's ReduceLROnPlateau has it.

    Attributes:
        least: factor that it does not fall below. still: looks without a better loss; cooling: looks left in which none
            is counted.
    """

    least: float = 0.0
    factor: float = 0.1
    patience: int = 5
    cooldown: int = 2
    better_by: float = 1e-4
    scale: float = 1.0
    best: float = math.inf
    still: int = 0
    cooling: int = 0
    over: bool = False

    def look(self, loss: float) -> None:
        """One more loss. `over` is set when it stands still at the least rate."""
        if loss < self.best * (1 - self.better_by):
            self.best, self.still = loss, 0
        else:
            self.still += 1
        if self.cooling:
            self.cooling, self.still = self.cooling - 1, 0
        if self.still > self.patience:
            self.over = self.scale <= self.least
            self.scale, self.cooling, self.still = max(self.scale * self.factor, self.least), self.cooldown, 0


def optimizer_of(net: nn.Module, config: EncoderTrainingConfig) -> torch.optim.Optimizer:
    """Matrices inside the network decay, registers, norms and biases do not."""
    inner = [p for name, p in net.named_parameters() if p.ndim == 2 and name != "registers"]
    known = {id(p) for p in inner}
    rest = [p for p in net.parameters() if id(p) not in known]
    groups = [{"params": inner, "weight_decay": config.weight_decay}, {"params": rest, "weight_decay": 0.0}]
    if config.optimizer == "muon":
        return Muon([{**groups[0], "orthogonal": True}, groups[1]], config.lr)
    return torch.optim.AdamW(groups, lr=config.lr, fused=True)


def schedule_of(config: EncoderTrainingConfig) -> WSD:
    """The rate by count; of "plateau" its warm-up alone."""
    warmup = min(config.warmup, config.updates // 2)
    if config.schedule == "plateau":
        return WSD(warmup=warmup, decay=0)
    decay = min(max(1, round(config.fall * config.updates)), config.updates - warmup)
    return WSD(warmup=warmup, decay=decay, stable_until=config.updates - decay, shape="linear")
