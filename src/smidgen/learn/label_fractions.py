"""The protocol of learning with few labels: draws of so many labels a class, a linear probe on frozen features, and
fine-tuning of the whole network with a rate of its own for the new head; means and spreads over draws.

    for rows in label_draws(y, per_class=10, draws=5, seed=0): ...
    linear_probe(features[rows], y[rows], test_features, test_y)
    net = finetune(backbone, 128, images[rows], y[rows], FinetuneConfig(epochs=40))
    accuracy(net, test_images, test_y)

Source: the evaluations of Zbontar et al. (2021, arXiv 2103.03230, section 3.1) and Trinh et al. (2019, arXiv
1906.02940, section 3). Dims: n labelled pictures, F features, K classes.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from smidgen.kit.errors import BadInput, bad
from smidgen.kit.seeds import derive_seed
from smidgen.learn.logistic import LogisticClassifier
from smidgen.learn.pretraining import as_floats, embed
from smidgen.nets.small_convnet import with_head
from smidgen.train.lars import rate_groups
from smidgen.train.loop import LoopConfig, Run, train
from smidgen.train.schedules import Cosine


@dataclass(frozen=True)
class DrawScores:
    """Scores of repeated draws. `std`: over draws, with n - 1; NaN of a single one."""

    each: tuple[float, ...]

    @property
    def mean(self) -> float:
        return float(np.mean(self.each))

    @property
    def std(self) -> float:
        return float(np.std(self.each, ddof=1)) if len(self.each) > 1 else float("nan")


def label_draws(
    y: Any, *, per_class: int | None = None, fraction: float | None = None, draws: int = 1, seed: int = 0
) -> list[np.ndarray]:
    """Rows `[n]` of each draw, ascending: so many of each class, or a share of each, at least one.

    A draw depends on the seed and its number alone, and a larger one holds the smaller ones of its number.

    Raises:
        BadInput: not exactly one of `per_class` and `fraction`; a class with fewer rows than asked.
    """
    if (per_class is None) == (fraction is None):
        raise bad("per_class, fraction", "one of them", "both or none")
    if per_class is not None and per_class < 1:
        raise bad("per_class", "at least 1", per_class)
    if fraction is not None and not 0 < fraction <= 1:
        raise bad("fraction", "above 0, at most 1", fraction)
    y = np.asarray(y)
    places = {c: np.flatnonzero(y == c) for c in np.unique(y)}
    made = []
    for draw in range(draws):
        rows = []
        for c, own in places.items():
            count = per_class if fraction is None else max(1, round(fraction * len(own)))
            assert count is not None
            if count > len(own):
                raise BadInput(f"Class {c} has {len(own)} rows, fewer than the {count} asked for.")
            rows.append(np.random.default_rng(derive_seed(seed, "labels", draw, c)).permutation(own)[:count])
        made.append(np.sort(np.concatenate(rows)))
    return made


def over_draws(measure: Callable[[np.ndarray, int], float], rows: Sequence[np.ndarray]) -> DrawScores:
    """Scores of `measure(rows, number)` on each draw."""
    return DrawScores(tuple(float(measure(r, i)) for i, r in enumerate(rows)))


def linear_probe(x_nF: Any, y_n: Any, test_x: Any, test_y: Any) -> float:
    """Accuracy, 0 to 1, of logistic regression on frozen features, its penalty chosen by leave-one-out on the labelled
    rows; features are standardised by them."""
    x_nF, test_x = np.asarray(x_nF, np.float64), np.asarray(test_x, np.float64)
    mean, std = x_nF.mean(0), x_nF.std(0)
    std = np.where(std > 1e-9, std, 1.0)
    fitted = LogisticClassifier().fit((x_nF - mean) / std, np.asarray(y_n))
    return float((fitted.predict((test_x - mean) / std) == np.asarray(test_y)).mean())


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig:
    """
    Attributes:
        epochs, batch: passes over the labelled pictures, and pictures an update (all of them, if there are fewer).
        lr: peak rate of the backbone. lr_head: of the new classifier.
        optimizer: "adamw", or "sgd" with Nesterov's momentum 0.9. weight_decay: of weights.
        warmup: share of the updates with a rising rate; half a cosine to 0 follows. seed: of head, order and views.
    """

    epochs: int = 40
    batch: int = 64
    lr: float = 1e-3
    lr_head: float = 1e-2
    optimizer: Literal["adamw", "sgd"] = "adamw"
    weight_decay: float = 1e-4
    warmup: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise bad("epochs", "at least 1", self.epochs)
        if self.batch < 2:
            raise bad("batch", "at least 2 pictures", self.batch)
        if not (self.lr > 0 and self.lr_head > 0):
            hint = "On a frozen backbone fit `linear_probe`."
            raise bad("lr, lr_head", "above 0", f"{self.lr}, {self.lr_head}", hint)
        if self.optimizer not in ("adamw", "sgd"):
            raise bad("optimizer", "adamw or sgd", self.optimizer)
        if not 0 <= self.warmup <= 1:
            raise bad("warmup", "a share from 0 to 1", self.warmup)


def finetune(
    backbone: nn.Module,
    feature_dim: int,
    images: Tensor,
    y: Any,
    config: FinetuneConfig | None = None,
    *,
    classes: int | None = None,
    views: Callable[[Tensor, torch.Generator], Tensor] | None = None,
) -> nn.Sequential:
    """A classifier (`backbone`, `head`) trained end to end on labelled pictures, from a copy of the backbone.

    Args:
        images: `[n, C, H, W]`, uint8 or float in 0 to 1. y: whole numbers from 0. classes: K; None: the largest + 1.
        views: changes a batch before the network sees it, `data.augment.pictures.weak()` say.
    Raises:
        BadInput: labels that are not 0 to K - 1, one for each picture; fewer than 2 pictures.
    """
    config = config or FinetuneConfig()
    y_n = torch.as_tensor(np.asarray(y), dtype=torch.int64)
    if len(images) != len(y_n) or len(y_n) < 2:
        raise bad("y", f"a label for each of at least 2 pictures, which are {len(images)}", len(y_n))
    K = int(y_n.max()) + 1 if classes is None else classes
    if int(y_n.min()) < 0 or int(y_n.max()) >= K:
        raise bad("y", f"whole numbers from 0 to {K - 1}", f"{int(y_n.min())} to {int(y_n.max())}")
    net = with_head(copy.deepcopy(backbone), feature_dim, K, seed=derive_seed(config.seed, "head"))
    net.requires_grad_(True)
    groups = rate_groups(net.backbone, config.lr, config.lr, config.weight_decay)  # pyright: ignore
    groups += rate_groups(net.head, config.lr_head, config.lr_head, config.weight_decay)  # pyright: ignore
    if config.optimizer == "sgd":
        optimizer: torch.optim.Optimizer = torch.optim.SGD(groups, config.lr_head, 0.9, nesterov=True)
    else:
        optimizer = torch.optim.AdamW(groups, lr=config.lr_head, fused=True)
    size = min(config.batch, len(y_n))
    each = max(1, len(y_n) // size)

    def batch(number: int) -> tuple[Tensor, Tensor]:
        epoch, place = divmod(number, each)
        order = torch.randperm(len(y_n), generator=_generator(config.seed, "order", epoch))
        rows = order[place * size : (place + 1) * size]
        x = as_floats(images[rows])
        return (x if views is None else views(x, _generator(config.seed, "views", number))), y_n[rows]

    def loss_of(model: nn.Module, x: Tensor, y_B: Tensor) -> tuple[Tensor, int]:
        return F.cross_entropy(model(x), y_B), 1

    updates = config.epochs * each
    schedule = Cosine(steps=updates, warmup=round(config.warmup * updates), least=0.0)
    train(Run(net, optimizer), batch, loss_of, schedule, LoopConfig(clip=None), steps=updates)
    return net.eval()


def accuracy(net: nn.Module, images: Tensor, y: Any) -> float:
    """Share of pictures, 0 to 1, whose largest logit is their class."""
    return float((embed(net, images).argmax(1) == np.asarray(y)).mean())


def _generator(seed: int, *names: object) -> torch.Generator:
    return torch.Generator().manual_seed(derive_seed(seed, *names))
