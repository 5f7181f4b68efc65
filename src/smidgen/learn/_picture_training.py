"""Training a network on small labelled pictures from scratch: the recipe of compact transformers, of any length.

AdamW, warm-up and half a cosine, label smoothing, random crops, mixup or CutMix (Hassani et al., 2021, arXiv
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

from smidgen.kit.errors import bad
from smidgen.kit.seeds import derive_seed
from smidgen.train.loop import LoopConfig, Run, train
from smidgen.train.schedules import Cosine


@dataclass(frozen=True, kw_only=True)
class PictureTraining:
    """
    Attributes:
        updates, batch: how many, of how many pictures each: the cost, whatever the number of pictures.
        lr, weight_decay: of AdamW; vectors (biases, norms) and tables of positions do not decay.
        warmup, cooldown: updates before and after the cosine. least: rate at both ends.
        label_smoothing: share of each target that all classes get alike.
        shift: most pixels that a picture is moved by, its rim repeated. crop: range of the share of the area that is
            cut out and enlarged; None: the whole. flip: mirror half of the pictures.
        mixup, cutmix: parameters of their beta distributions; 0: not at all. switch: how often CutMix is taken where
            both are on. mix_until: update from which neither is.
        clip: largest norm of the gradients; None: any.
    """

    updates: int = 300
    batch: int = 64
    lr: float = 1e-3
    weight_decay: float = 0.06
    warmup: int = 30
    cooldown: int = 0
    least: float = 1e-5
    label_smoothing: float = 0.1
    shift: int = 2
    crop: tuple[float, float] | None = None
    flip: bool = False
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
        for name in ("warmup", "cooldown", "shift", "mixup", "cutmix", "weight_decay"):
            if not 0 <= getattr(self, name) < math.inf:
                raise bad(name, "0 or more", getattr(self, name))
        if self.warmup + self.cooldown > self.updates:
            raise bad("warmup and cooldown", f"at most the {self.updates} updates", self.warmup + self.cooldown)
        if not 0 < self.least <= self.lr < math.inf:
            raise bad("lr", "above 0 and not below `least`", (self.lr, self.least))
        for name in ("label_smoothing", "switch"):
            if not 0 <= getattr(self, name) <= 1:
                raise bad(name, "from 0 to 1", getattr(self, name))
        if self.crop and not 0 < self.crop[0] <= self.crop[1] <= 1:
            raise bad("crop", "two shares, 0 < least <= most <= 1", self.crop)

    @classmethod
    def published(cls, rows: int, epochs: int = 300, *, flip: bool = True, seed: int = 0) -> "PictureTraining":
        """The recipe of the authors' CIFAR-10 weights, without AutoAugment, for so many pictures: lengths of 10 epochs
        of warm-up and cool-down and of 175 of 300 epochs with mixing, scaled to `epochs`."""
        each = -(-rows // 128)

        def part(of_300: int) -> int:
            return each * round(of_300 * epochs / 300)

        return cls(
            updates=each * epochs + part(10), batch=128, lr=5.5e-4, weight_decay=0.06, warmup=part(10),
            cooldown=part(10), least=1e-5, label_smoothing=0.1, shift=0, crop=(0.8, 1.0), flip=flip, mixup=0.8,
            cutmix=1.0, switch=0.5, mix_until=part(175), clip=None, seed=seed,
        )  # fmt: skip


def train_on_pictures(net: nn.Module, x: Tensor, labels: Tensor, settings: PictureTraining) -> nn.Module:
    """The network, trained in place and left in evaluation mode.

    Args:
        x: `float[n, C, H, W]`, of about mean 0 and deviation 1. labels: whole numbers `[n]`; the network gives logits
            `[B, K]` for K above all of them.

    Raises:
        BadInput: shapes that do not fit, no picture. NonFinite: the loss is not a number.
    """
    if x.ndim != 4 or not len(x) or labels.shape != x.shape[:1]:
        raise bad("pictures", "[n, channels, height, width] and labels [n]", f"{tuple(x.shape)}, {tuple(labels.shape)}")

    def batches(number: int) -> tuple[Tensor, Tensor, Tensor, float]:
        rows = _rows(len(x), settings.batch, number, settings.seed)
        random = np.random.default_rng(derive_seed(settings.seed, "views", number))
        views = augmented(x[rows], settings, random)
        return mixed(views, labels[rows], settings, random, settings.mix_until is None or number < settings.mix_until)

    def loss_of(model: nn.Module, views: Tensor, first: Tensor, second: Tensor, share: float) -> tuple[Tensor, int]:
        logits = model(views)
        parts = ((share, first), (1 - share, second)) if share < 1 else ((1.0, first),)
        smoothing = settings.label_smoothing
        losses = [w * F.cross_entropy(logits, y, reduction="sum", label_smoothing=smoothing) for w, y in parts]
        return sum(losses[1:], losses[0]), len(first)

    least = settings.least / settings.lr
    cosine = Cosine(steps=settings.updates - settings.cooldown, warmup=settings.warmup, least=least)
    run = Run(net, optimizer_of(net, settings))
    config = LoopConfig(clip=settings.clip)
    train(run, batches, loss_of, lambda step: max(cosine(step), least), config, steps=settings.updates)
    return net.eval()


def optimizer_of(net: nn.Module, settings: PictureTraining) -> torch.optim.AdamW:
    """AdamW in two groups: what decays, and what does not."""
    groups: dict[bool, list[nn.Parameter]] = {True: [], False: []}
    for name, p in net.named_parameters():
        groups[p.ndim > 1 and not name.endswith(("positional_embedding", "class_token"))].append(p)
    kinds = [{"params": part, "weight_decay": settings.weight_decay * decays} for decays, part in groups.items()]
    return torch.optim.AdamW([kind for kind in kinds if kind["params"]], lr=settings.lr, fused=True)


def augmented(x_BCHW: Tensor, settings: PictureTraining, random: np.random.Generator) -> Tensor:
    """Each picture moved, cut out and mirrored as the settings say."""
    B, _, H, W = x_BCHW.shape
    most = min(settings.shift, H - 1, W - 1)
    if most:
        down, right = (torch.from_numpy(random.integers(0, 2 * most + 1, (B, 1))) for _ in range(2))
        padded = F.pad(x_BCHW, (most,) * 4, mode="replicate").permute(0, 2, 3, 1)
        rows, columns = down + torch.arange(H), right + torch.arange(W)
        x_BCHW = padded[torch.arange(B)[:, None, None], rows[:, :, None], columns[:, None]].permute(0, 3, 1, 2)
    if settings.crop or settings.flip:
        low, high = settings.crop or (1.0, 1.0)
        side = torch.from_numpy(random.uniform(low, high, B)).sqrt()  # of the cut, in sides of the picture
        stretch = torch.from_numpy(np.exp(random.uniform(np.log(3 / 4), np.log(4 / 3), B))).sqrt()
        size = (side[:, None] * torch.stack([stretch, 1 / stretch], 1)).clamp_max(1) if settings.crop else side[:, None]
        size = size.expand(B, 2)
        middle = (1 - size) * torch.from_numpy(random.uniform(-1, 1, (B, 2)))
        mirror = torch.from_numpy(1 - 2.0 * (random.random(B) < 0.5 * settings.flip))
        theta = torch.zeros(B, 2, 3, dtype=torch.float64)
        theta[:, 0, 0], theta[:, 1, 1], theta[:, :, 2] = size[:, 0] * mirror, size[:, 1], middle
        grid = F.affine_grid(theta.to(x_BCHW.dtype), list(x_BCHW.shape), align_corners=False)
        x_BCHW = F.grid_sample(x_BCHW, grid, padding_mode="border", align_corners=False)
    return x_BCHW


def mixed(
    x_BCHW: Tensor, labels: Tensor, settings: PictureTraining, random: np.random.Generator, on: bool = True
) -> tuple[Tensor, Tensor, Tensor, float]:
    """Each picture mixed with its neighbour, one share for the whole batch: the pictures, their own labels, the
    neighbours', and the share of their own.

    Mixup adds them (Zhang et al., 2018, arXiv 1710.09412); CutMix puts a box of the neighbour in (Yun et al., 2019,
    arXiv 1905.04899).
    """
    cut = settings.cutmix > 0 and (settings.mixup == 0 or random.random() < settings.switch)
    alpha = settings.cutmix if cut else settings.mixup
    if not on or alpha == 0:
        return x_BCHW, labels, labels, 1.0
    share, other = float(random.beta(alpha, alpha)), x_BCHW.roll(1, 0)
    if not cut:
        return share * x_BCHW + (1 - share) * other, labels, labels.roll(1), share
    H, W = x_BCHW.shape[2:]
    side = math.sqrt(1 - share)
    ends = []
    for n in (H, W):
        middle, half = random.integers(n), n * side / 2
        ends.append((max(round(middle - half), 0), min(round(middle + half), n)))
    (top, bottom), (left, right) = ends
    x_BCHW = x_BCHW.clone()
    x_BCHW[:, :, top:bottom, left:right] = other[:, :, top:bottom, left:right]
    return x_BCHW, labels, labels.roll(1), 1 - (bottom - top) * (right - left) / (H * W)


def _rows(n: int, batch: int, number: int, seed: int) -> Tensor:
    """Batch `number` of an endless sequence of epochs, each a new order of all rows."""
    places = np.arange(number * batch, (number + 1) * batch)
    epochs = places // n
    orders = {e: _order(n, int(e), seed) for e in np.unique(epochs)}
    return torch.tensor([int(orders[e][p % n]) for e, p in zip(epochs, places, strict=True)])


@lru_cache(maxsize=8)
def _order(n: int, epoch: int, seed: int) -> np.ndarray:
    return np.random.default_rng(derive_seed(seed, "epoch", epoch)).permutation(n)
