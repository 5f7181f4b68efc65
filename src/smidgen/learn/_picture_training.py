"""Training a network on small labelled pictures from scratch: the recipe of compact transformers, of any length.

AdamW, warm-up and half a cosine, label smoothing, changed views, mixup or CutMix (Hassani et al., 2021, arXiv
2104.05704, and the recipe file of their CIFAR-10 weights: `published`). Not here: AutoAugment, which it has too.

Batches go by number and draw from their own seeds, so a training is the same again, whatever else runs.

Dims: n pictures in all, B of a batch, C channels, H, W height and width, K classes.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from smidgen.data.augment.pictures import ViewConfig, view
from smidgen.kit.errors import bad
from smidgen.kit.seeds import derive_seed
from smidgen.train.loop import LoopConfig, Run, train
from smidgen.train.mixup import Mix
from smidgen.train.precision import resolve
from smidgen.train.schedules import Cosine


@dataclass(frozen=True, kw_only=True)
class PictureTraining:
    """
    Attributes:
        updates, batch: how many, of how many pictures each: the cost, whatever the number of pictures.
        lr, weight_decay: of AdamW; vectors (biases, norms) and tables of positions do not decay.
        warmup, cooldown: updates before and after the cosine. least: rate at both ends.
        label_smoothing: share of each target that all classes get alike.
        views: how pictures are changed.
        mixup, cutmix: parameters of their beta distributions; 0: not at all. switch: how often CutMix is taken where
            both are on. mix_until: update from which neither is; None: to the end.
        clip: largest norm of the gradients; None: any.
    """

    updates: int = 300
    batch: int = 32
    lr: float = 3e-3
    weight_decay: float = 0.06
    warmup: int = 30
    cooldown: int = 0
    least: float = 1e-5
    label_smoothing: float = 0.1
    views: ViewConfig = ViewConfig(shift=0.0625, outside="border")
    mixup: float = 0.2
    cutmix: float = 0.0
    switch: float = 0.5
    mix_until: int | None = None
    clip: float | None = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("updates", "batch"):
            if getattr(self, name) < 1:
                raise bad(name, "at least 1", getattr(self, name))
        for name in ("warmup", "cooldown", "mixup", "cutmix", "weight_decay"):
            if not 0 <= getattr(self, name) < math.inf:
                raise bad(name, "0 or more", getattr(self, name))
        if self.warmup + self.cooldown > self.updates:
            raise bad("warmup and cooldown", f"at most the {self.updates} updates", self.warmup + self.cooldown)
        if not 0 < self.least <= self.lr < math.inf:
            raise bad("lr", "above 0 and not below `least`", f"{self.lr} and {self.least}")
        for name in ("label_smoothing", "switch"):
            if not 0 <= getattr(self, name) <= 1:
                raise bad(name, "from 0 to 1", getattr(self, name))

    @classmethod
    def published(cls, rows: int, epochs: int = 300, *, flip: bool = True, seed: int = 0) -> "PictureTraining":
        """The recipe of the authors' CIFAR-10 weights, without AutoAugment, for so many pictures. Its 10 epochs of
        warm-up and of cool-down and 175 of mixing, of 300, shrink with `epochs`."""
        each = -(-rows // 128)

        def part(of_300: int) -> int:
            return each * round(of_300 * epochs / 300)

        views = ViewConfig(crop=(0.8, 1.0), flip=0.5 * flip, outside="border", resample="bicubic")
        return cls(
            updates=each * epochs + part(10), batch=128, lr=5.5e-4, weight_decay=0.06, warmup=part(10),
            cooldown=part(10), least=1e-5, label_smoothing=0.1, views=views, mixup=0.8, cutmix=1.0, switch=0.5,
            mix_until=part(175), clip=None, seed=seed,
        )  # fmt: skip

    def rate(self, step: int) -> float:
        """Share of `lr` at an update, from 0."""
        least = self.least / self.lr
        cosine = Cosine(steps=self.updates - self.cooldown, warmup=self.warmup, least=least)
        return max(cosine(step), least)


def train_on_pictures(net: nn.Module, x_NCHW: Tensor, labels_N: Tensor, settings: PictureTraining) -> nn.Module:
    """The network, trained in place and left in evaluation mode.

    Args:
        x_NCHW: float, 0 to 1; what the network sees is normalised as `settings.views` says. labels_N: whole numbers;
            the network gives logits `[B, K]` for K above all of them.

    Raises:
        BadInput: shapes that do not fit, no picture. NonFinite: the loss is not a number.
    """
    if x_NCHW.ndim != 4 or not len(x_NCHW) or labels_N.shape != x_NCHW.shape[:1]:
        got = f"{tuple(x_NCHW.shape)} and {tuple(labels_N.shape)}"
        raise bad("pictures", "[n, channels, height, width] and labels [n], n at least 1", got)

    def batches(number: int) -> tuple[Tensor, Tensor, Tensor, float]:
        rows = _rows(len(x_NCHW), settings.batch, number, settings.seed)
        draw = torch.Generator().manual_seed(derive_seed(settings.seed, "views", number))
        on = settings.mix_until is None or number < settings.mix_until
        rng = np.random.default_rng(derive_seed(settings.seed, "mixing", number))
        return mixed(view(x_NCHW[rows], settings.views, draw), labels_N[rows], settings, rng, on)

    def loss_of(model: nn.Module, x: Tensor, own: Tensor, other: Tensor, share: float) -> tuple[Tensor, int]:
        logits_BK = model(x).float()
        losses = [
            weight * F.cross_entropy(logits_BK, y, reduction="sum", label_smoothing=settings.label_smoothing)
            for weight, y in ((share, own), (1 - share, other))
            if weight
        ]
        return torch.stack(losses).sum(), len(own)

    run = Run(net, optimizer_of(net, settings))
    config = LoopConfig(clip=settings.clip, precision=resolve("auto", x_NCHW.device.type))
    train(run, batches, loss_of, settings.rate, config, steps=settings.updates)
    return net.eval()


def optimizer_of(net: nn.Module, settings: PictureTraining) -> torch.optim.AdamW:
    """AdamW in two groups: what decays, and what does not."""
    groups: dict[bool, list[nn.Parameter]] = {True: [], False: []}
    for name, p in net.named_parameters():
        groups[p.ndim > 1 and not name.endswith(("positional_embedding", "class_token"))].append(p)
    kinds = [{"params": part, "weight_decay": settings.weight_decay * decays} for decays, part in groups.items()]
    return torch.optim.AdamW([kind for kind in kinds if kind["params"]], lr=settings.lr)


def mixed(
    x_BCHW: Tensor, labels_B: Tensor, settings: PictureTraining, rng: np.random.Generator, on: bool = True
) -> tuple[Tensor, Tensor, Tensor, float]:
    """Each picture mixed with its neighbour, one share for the whole batch: the pictures, their own labels, the
    neighbours', and the share of their own.

    Mixup adds them (Zhang et al., 2018, arXiv 1710.09412); CutMix puts a box of the neighbour in, whose size follows
    the share, and then the share what of it lies inside (Yun et al., 2019, arXiv 1905.04899).
    """
    cut = settings.cutmix > 0 and (settings.mixup == 0 or rng.random() < settings.switch)
    alpha = settings.cutmix if cut else settings.mixup
    if not on or alpha == 0:
        return x_BCHW, labels_B, labels_B, 1.0
    neighbour = torch.arange(len(x_BCHW), device=x_BCHW.device).roll(1)
    share = float(rng.beta(alpha, alpha))
    mix, others_B = Mix(share, neighbour), labels_B[neighbour]
    if not cut:
        return mix.rows(x_BCHW), labels_B, others_B, share
    H, W = x_BCHW.shape[2:]
    side = math.sqrt(1 - share)
    ends = []
    for n in (H, W):
        middle, half = rng.integers(n), n * side / 2
        ends.append((max(round(middle - half), 0), min(round(middle + half), n)))
    (top, bottom), (left, right) = ends
    x_BCHW = x_BCHW.clone()
    x_BCHW[:, :, top:bottom, left:right] = x_BCHW[neighbour, :, top:bottom, left:right]
    return x_BCHW, labels_B, others_B, 1 - (bottom - top) * (right - left) / (H * W)


def _rows(n: int, batch: int, number: int, seed: int) -> Tensor:
    """Batch `number` of an endless sequence of epochs, each a new order of all rows."""
    places = np.arange(number * batch, (number + 1) * batch)
    return torch.from_numpy(np.array([_order(n, int(p // n), seed)[p % n] for p in places]))


@lru_cache(maxsize=4)
def _order(n: int, epoch: int, seed: int) -> np.ndarray:
    return np.random.default_rng(derive_seed(seed, "epoch", epoch)).permutation(n)
