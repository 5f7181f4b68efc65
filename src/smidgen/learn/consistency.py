"""Consistency training: what a network is sure of in a picture must hold for a strongly changed view of it.

With a few labelled pictures and many without, a small network is trained from scratch on both: labelled ones as they
are, and unlabelled ones by the class that a running average of the network gives a weakly changed view, where it is
sure enough (FixMatch: Sohn et al., 2020, arXiv 2001.07685; the average as teacher: Tarvainen and Valpola, 2017, arXiv
1703.01780; classes kept as frequent as labels say: Berthelot et al., 2020, arXiv 1911.09785). Without unlabelled
pictures it is plain training on strongly changed views.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from smidgen.kit.errors import bad
from smidgen.kit.extras import need
from smidgen.learn.base import SemiSupervisedHead

CARD = {
    "title": "Consistency training",
    "tldr": "A small network learns from labelled pictures and from views of unlabelled ones.",
    "features": "picture",
    "modalities": ("image",),
    "tasks": ("classification",),
    "extra": "text",
    "package": "torch",
    "unlabelled": True,
    "max_classes": 500,
    "seconds": (25.0, 0.0, 0.0, 20.0),
}


@dataclass(frozen=True, kw_only=True)
class ConsistencyConfig:
    """updates: of the weights; None: 400, and one more for every second labelled picture, 1500 at most. batch: labelled
    pictures of an update; ratio: unlabelled ones for each. threshold: chance from which the teacher is sure. weight: of
    the unlabelled loss. width: channels of the first stage. rate, decay: of AdamW. flip: whether mirrored pictures are
    of the same class."""

    updates: int | None = None
    batch: int = 32
    ratio: int = 3
    threshold: float = 0.9
    weight: float = 1.0
    width: int = 24
    rate: float = 3e-3
    decay: float = 0.02
    flip: bool = False

    def __post_init__(self):
        for name in ("updates", "batch", "width"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise bad(name, "at least 1", getattr(self, name))
        if not 0 <= self.threshold < 1:
            raise bad("threshold", "0 or more and below 1", self.threshold)
        for name in ("ratio", "weight", "decay"):
            if getattr(self, name) < 0:
                raise bad(name, "0 or more", getattr(self, name))
        if not self.rate > 0:
            raise bad("rate", "above 0", self.rate)


class ConsistencyClassifier(SemiSupervisedHead):
    """On rows of pixels `[n, edge * edge * 3]`, 0 to 255. A label of -1 (of texts: None) is none.

    Attributes:
        classes_; share_: the class frequencies; labelled_: how many rows had a label; grey_: whether one channel is
        read; edge_; weights_: of the averaged network, by name; kept_: share of unlabelled views that were sure enough,
        in the last fifth of the updates.
    """

    Config = ConsistencyConfig

    def __init__(
        self,
        updates: int | None = None,
        batch: int = 32,
        ratio: int = 3,
        threshold: float = 0.9,
        weight: float = 1.0,
        width: int = 24,
        rate: float = 3e-3,
        decay: float = 0.02,
        flip: bool = False,
        random_state: int = 0,
    ):
        self.updates = updates
        self.batch = batch
        self.ratio = ratio
        self.threshold = threshold
        self.weight = weight
        self.width = width
        self.rate = rate
        self.decay = decay
        self.flip = flip
        self.random_state = random_state

    def _fit(self, X: np.ndarray, codes: np.ndarray) -> None:
        need("torch", extra="text", why="Consistency training")
        from smidgen.learn._consistency_training import train_consistency
        from smidgen.learn.picture_rows import arrays_of, as_tensor, edge_of, without_colour
        from smidgen.train.device import on_best_device

        self.edge_, self.grey_ = edge_of(X.shape[1]), without_colour(X)
        known = codes >= 0
        self.share_ = np.bincount(codes[known]) / known.sum()
        self.labelled_ = int(known.sum())
        x = as_tensor(X, self.grey_)
        updates = self._config.updates or min(400 + self.labelled_ // 2, 1500)
        config, seed = replace(self._config, updates=updates), self.random_state

        def job(device: str) -> tuple[Any, float]:
            rows = x[known].to(device), codes[known], x[~known].to(device)
            return train_consistency(self._network().to(device), *rows, config, seed)

        net, self.kept_ = on_best_device(job, "Consistency training")
        self.weights_ = arrays_of(net)

    def _network(self) -> Any:
        import torch

        from smidgen.nets.small_convnet import SmallResNet, with_head

        w = self.width
        body = SmallResNet((w, 2 * w, 4 * w), channels=4 if self.grey_ else 12, seed=self.random_state)
        quarters = torch.nn.Sequential(torch.nn.PixelUnshuffle(2), body)  # a quarter of the places, as many numbers
        return with_head(quarters, body.feature_dim, len(self.classes_), seed=self.random_state)

    def _proba(self, X: np.ndarray) -> np.ndarray:
        import torch

        from smidgen.learn.picture_rows import as_tensor, load_arrays

        net = load_arrays(self._network(), self.weights_)
        x = as_tensor(X, self.grey_)
        with torch.inference_mode():
            said = [net(part - 0.5).double().softmax(1).numpy() for part in x.split(256)]
        chances = np.concatenate(said) if said else np.zeros((0, len(self.classes_)))
        weight = 0.5 / (0.5 + self.labelled_)
        return (1 - weight) * chances + weight * self.share_


CLASSIFIER = ConsistencyClassifier
