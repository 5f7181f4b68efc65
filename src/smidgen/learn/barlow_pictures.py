"""Barlow Twins on your pictures: a small network learns once from those without labels, a light classifier on what it
sees from those with (Zbontar et al., 2021, arXiv 2103.03230; the loss is `barlow_twins`).

The network is trained from scratch, on rows without labels alone, so that one training serves every fit of a study:
no fold's network has seen the pictures that judge it. `pretrain` is that training; a study makes it once and hands it
to every `fit`. A fit that is handed none makes its own, from its rows without labels (where it has none, from all of
its pictures).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from smidgen.kit.config import from_mapping
from smidgen.kit.errors import bad
from smidgen.kit.extras import need
from smidgen.kit.seeds import derive_seed
from smidgen.learn.base import SemiSupervisedHead
from smidgen.learn.logistic import LogisticClassifier
from smidgen.learn.picture_rows import arrays_of, as_tensor, edge_of, load_arrays, without_colour

CARD = {
    "title": "Barlow Twins on pictures",
    "tldr": "A small network learns once from pictures without labels; a light classifier on top learns the labels.",
    "features": "picture",
    "modalities": ("image",),
    "tasks": ("classification",),
    "extra": "text",
    "package": "torch",
    "unlabelled": True,
    "needs_unlabelled": True,
    "max_classes": 500,
    "seconds": (0.3, 0.0, 0.0, 3.0),
    "pretraining": (95.0, 3.0),
    "papers": ("015",),
}

PROJECTOR = (256, 256)
EPS = 1e-3  # added to the spread of a feature that never varies


@dataclass(frozen=True, kw_only=True)
class BarlowPicturesConfig:
    """updates, batch: of the training without labels, of so many pictures each, whatever their number; fewer a batch
    where there are fewer. width: channels of the first stage. rate: of AdamW. flip: whether mirrored pictures are of
    the same class."""

    updates: int = 400
    batch: int = 128
    width: int = 32
    rate: float = 2e-3
    flip: bool = False

    def __post_init__(self):
        if not 1 <= self.updates <= 100_000:
            raise bad("updates", "1 to 100000", self.updates)
        if not 2 <= self.batch <= 4096:
            raise bad("batch", "2 to 4096", self.batch)
        if self.width < 1:
            raise bad("width", "at least 1", self.width)
        if not 0 < self.rate <= 1:
            raise bad("rate", "above 0, at most 1", self.rate)


class BarlowPicturesClassifier(SemiSupervisedHead):
    """On rows of pixels `[n, edge * edge * 3]`, 0 to 255; the edge is even. A label of -1 (of texts: None) is none.

    Attributes:
        classes_; share_: the class frequencies; labelled_: how many rows had a label. edge_, grey_: of the pictures;
        where those without labels have no colour one channel is read. weights_: of the network, by name; mean_,
        spread_: of its features, of the pictures without labels. probe_: state of the classifier on them.
    """

    Config = BarlowPicturesConfig

    def __init__(
        self,
        updates: int = 400,
        batch: int = 128,
        width: int = 32,
        rate: float = 2e-3,
        flip: bool = False,
        random_state: int = 0,
    ):
        self.updates = updates
        self.batch = batch
        self.width = width
        self.rate = rate
        self.flip = flip
        self.random_state = random_state

    def fit(self, X: Any, y: Any, pretrained: dict[str, Any] | None = None) -> "BarlowPicturesClassifier":
        """As of every method that learns from rows without labels. pretrained: what `pretrain` gave; rows without
        labels are then not looked at."""
        self._pretrained = pretrained
        try:
            super().fit(X, y)
        finally:
            del self._pretrained
        return self

    def _fit(self, X: np.ndarray, codes: np.ndarray) -> None:
        known = codes >= 0
        params = {k: v for k, v in self.get_params(deep=False).items() if k != "random_state"}
        bare = X if known.all() else X[~known]
        found = self._pretrained or pretrain(bare, params, self.random_state)
        if found["edge"] != edge_of(X.shape[1]):
            raise bad(
                "X", f"pictures of {found['edge']} pixels a side, as the network learnt from", edge_of(X.shape[1])
            )
        self.edge_, self.grey_, self.weights_ = int(found["edge"]), bool(found["grey"]), dict(found["weights"])
        self.mean_, self.spread_ = found["mean"], found["spread"]
        self.share_ = np.bincount(codes[known]) / known.sum()
        self.labelled_ = int(known.sum())
        self.probe_ = LogisticClassifier().fit(self.features(X[known]), codes[known]).get_state()

    def features(self, X: np.ndarray) -> np.ndarray:
        """What the network sees in pictures, float64 `[n, features]`: of mean 0 and spread 1 among the pictures without
        labels."""
        net = load_arrays(_network(self.width, self.grey_, 0)[0], self.weights_)
        return (_embedded(net, as_tensor(X, self.grey_)) - self.mean_) / self.spread_

    def _proba(self, X: np.ndarray) -> np.ndarray:
        probe: Any = LogisticClassifier.from_state(self.probe_)
        weight = 0.5 / (0.5 + self.labelled_)
        return (1 - weight) * probe.predict_proba(self.features(X)) + weight * self.share_


def pretrain(X: np.ndarray, params: dict[str, Any], seed: int) -> dict[str, Any]:
    """The training without labels, as a state for `BarlowPicturesClassifier.fit(..., pretrained=)`.

    Args:
        X: rows of pixels of pictures without labels. params: settings of the classifier that differ from the defaults.
    Raises:
        BadInput: no square pictures, of an odd edge, or fewer than 2. MissingExtra: torch is not installed.
    """
    need("torch", extra="text", why="Barlow Twins")
    from smidgen.data.augment.pictures import small_pair
    from smidgen.learn.barlow_twins import BarlowTwins, balanced_lambda
    from smidgen.learn.pretraining import PretrainingConfig
    from smidgen.learn.pretraining import pretrain as train
    from smidgen.train.device import on_best_device
    from smidgen.train.precision import bf16_units

    config = from_mapping(BarlowPicturesConfig, dict(params))
    edge, grey = edge_of(X.shape[1]), without_colour(X)
    if edge % 2:
        raise bad("X", "pictures of an even edge", edge)
    if len(X) < 2:
        raise bad("pictures without labels", "at least 2", len(X))
    x_NCHW = as_tensor(X, grey)
    batch = min(config.batch, len(X))
    epochs = -(-config.updates // (len(X) // batch))

    def job(device: str) -> Any:
        net, width = _network(config.width, grey, derive_seed(seed, "weights"))
        lambd = balanced_lambda(PROJECTOR[-1])
        twins = BarlowTwins(net, width, PROJECTOR, lambd, seed=derive_seed(seed, "projector"))
        order = PretrainingConfig(
            epochs=epochs, batch=batch, lr=config.rate, precision="mixed" if bf16_units(device) else "fp32",
            device=device, seed=derive_seed(seed, "batches"),
        )  # fmt: skip
        train(twins, x_NCHW, small_pair(float(config.flip) / 2), order)
        return net.cpu().eval()

    net = on_best_device(job, "Barlow Twins")
    seen = _embedded(net, x_NCHW)
    scale = {"mean": seen.mean(0), "spread": seen.std(0) + EPS}
    return {"edge": edge, "grey": grey, "weights": arrays_of(net), **scale}


def _network(width: int, grey: bool, seed: int) -> tuple[Any, int]:
    """A small residual network on a quarter of the places, with as many numbers; and how many features it gives."""
    import torch

    from smidgen.nets.small_convnet import SmallResNet

    body = SmallResNet((width, 2 * width, 4 * width), channels=4 if grey else 12, seed=seed)
    return torch.nn.Sequential(torch.nn.PixelUnshuffle(2), body), body.feature_dim


def _embedded(net: Any, x_NCHW: Any) -> np.ndarray:
    from smidgen.learn.pretraining import embed

    return embed(net, x_NCHW, batch=256).astype(np.float64)


CLASSIFIER = BarlowPicturesClassifier
