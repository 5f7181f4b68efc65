"""A compact transformer (CCT-2/3x2, 0.28 M weights) trained from scratch on your pictures: nothing pre-trained.

Convolutions make the tokens, two transformer blocks compare them, pooling by attention says which count
(`nets.compact_transformer`; Hassani et al., 2021, arXiv 2104.05704). The training has a fixed number of updates, so
that its cost is known before; its recipe is the published one made short (`_picture_training`). Mirrored pictures are
shown only on request: letters and digits may be among them.

Dims: n pictures, C channels, K classes.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from smidgen.kit.errors import BadInput, bad
from smidgen.kit.extras import need
from smidgen.kit.files import tensor_bytes, write_bytes
from smidgen.kit.seeds import derive_seed
from smidgen.learn.base import ClassifierHead, softmax
from smidgen.learn.picture_rows import arrays_of, as_tensor, edge_of, load_arrays, without_colour

CARD = {
    "title": "Compact transformer",
    "tldr": "A small transformer with a convolutional front, trained on your pictures alone.",
    "features": "picture",
    "modalities": ("image",),
    "tasks": ("classification",),
    "extra": "text",
    "package": "torch",
    "seconds": (40.0, 0.0, 0.0, 1.0),
    "papers": ("073",),
}

AT_ONCE = 256  # pictures of a forward pass
_WHY = "The compact transformer"


@dataclass(frozen=True, kw_only=True)
class CompactTransformerConfig:
    """updates, batch: of the training, of so many pictures each, whatever the number of pictures. lr, weight_decay: of
    AdamW. label_smoothing, mixup: see `_picture_training`. shift: share of the edge that pictures are moved by at most.
    flip: whether mirrored pictures are of the same class."""

    updates: int = 300
    batch: int = 32
    lr: float = 3e-3
    weight_decay: float = 0.06
    label_smoothing: float = 0.1
    mixup: float = 0.2
    shift: float = 0.0625
    flip: bool = False

    def __post_init__(self):
        if not 1 <= self.updates <= 100_000:
            raise bad("updates", "1 to 100000", self.updates)
        if not 1 <= self.batch <= 4096:
            raise bad("batch", "1 to 4096", self.batch)
        if not 0 < self.lr <= 1:
            raise bad("lr", "above 0, at most 1", self.lr)
        for name in ("weight_decay", "mixup"):
            if not 0 <= getattr(self, name) < math.inf:
                raise bad(name, "0 or more", getattr(self, name))
        for name in ("label_smoothing", "shift"):
            if not 0 <= getattr(self, name) < 1:
                raise bad(name, "from 0, below 1", getattr(self, name))


class CompactTransformerClassifier(ClassifierHead):
    """Classes of small pictures: rows of pixels `[n, edge * edge * 3]`, 0 to 255.

    Attributes:
        weights_: of the network, by name. edge_, grey_: of the pictures; where all are without colour one channel is
            read. mean_, spread_: of the training pictures by channel, in 0 to 1.
        share_ `[K]`: the class frequencies, of which each answer has a trace; rows_: training pictures.
    """

    Config = CompactTransformerConfig

    def __init__(
        self,
        updates: int = 300,
        batch: int = 32,
        lr: float = 3e-3,
        weight_decay: float = 0.06,
        label_smoothing: float = 0.1,
        mixup: float = 0.2,
        shift: float = 0.0625,
        flip: bool = False,
        random_state: int = 0,
    ):
        self.updates = updates
        self.batch = batch
        self.lr = lr
        self.weight_decay = weight_decay
        self.label_smoothing = label_smoothing
        self.mixup = mixup
        self.shift = shift
        self.flip = flip
        self.random_state = random_state

    def fit(self, X: Any, y: Any) -> "CompactTransformerClassifier":
        """Trains on X `[n, edge * edge * 3]`, finite, and y `[n]` of at least two classes.

        Raises:
            BadInput: X holds text or NaN, or no square pictures. MissingExtra: torch is not installed.
        """
        _check_pictures(X)
        super().fit(X, y)
        return self

    def _fit(self, X: np.ndarray, codes: np.ndarray) -> None:
        torch = need("torch", extra="text", why=_WHY)
        from smidgen.data.augment.pictures import ViewConfig
        from smidgen.learn._picture_training import PictureTraining, train_on_pictures
        from smidgen.train.device import on_best_device

        config = self._config
        self.edge_, self.grey_ = edge_of(X.shape[1]), without_colour(X)
        self.share_, self.rows_ = np.bincount(codes) / len(codes), len(codes)
        x_NCHW = as_tensor(X, self.grey_)
        spread, mean = torch.std_mean(x_NCHW.double(), (0, 2, 3), correction=0)
        self.mean_, self.spread_ = mean.tolist(), [s if s > 1e-6 else 1.0 for s in spread.tolist()]
        views = ViewConfig(
            shift=config.shift,
            flip=0.5 * config.flip,
            outside="border",
            mean=tuple(self.mean_),
            std=tuple(self.spread_),
        )
        settings = PictureTraining(
            updates=config.updates,
            batch=config.batch,
            lr=config.lr,
            weight_decay=config.weight_decay,
            warmup=config.updates // 10,
            least=config.lr / 100,
            label_smoothing=config.label_smoothing,
            views=views,
            mixup=config.mixup,
            seed=derive_seed(self.random_state, "training"),
        )
        codes_N = torch.from_numpy(codes.astype(np.int64))

        def job(device: str) -> Any:
            net = self._network()
            net.draw_from(torch.Generator().manual_seed(derive_seed(self.random_state, "depth")))
            return train_on_pictures(net.to(device), x_NCHW.to(device), codes_N.to(device), settings)

        self.weights_ = arrays_of(on_best_device(job, "Training a compact transformer"))

    def _proba(self, X: np.ndarray) -> np.ndarray:
        said = softmax(self._told(X, lambda net: net.forward, (len(self.share_),)))
        weight = 0.5 / (0.5 + self.rows_)
        return (1 - weight) * said + weight * self.share_

    def attention(self, X: Any) -> np.ndarray:
        """Where it looks: how much each place counts in the last pooling, `[n, rows, columns]`; each sums to 1."""
        checked = self._check_X(X)
        return self._told(checked, lambda net: net.pool_weights, self._network().grid())

    def export_attention(self, X: Any, path: Path | str) -> None:
        """Writes `attention(X)` as `attention`, and `predict_proba(X)` as `probabilities`, to one safetensors file."""
        arrays = {"attention": self.attention(X), "probabilities": self.predict_proba(X)}
        write_bytes(Path(path), tensor_bytes(arrays))

    def _check_X(self, X: Any) -> np.ndarray:
        _check_pictures(X)
        return super()._check_X(X)

    def _network(self) -> Any:
        """CCT-2/3x2, without dropout of attention, which torch's fused attention lacks on a processor."""
        need("torch", extra="text", why=_WHY)
        from smidgen.nets.compact_presets import create

        shape = {"image_size": self.edge_, "in_channels": len(self.mean_), "num_classes": len(self.share_)}
        return create("cct_2/3x2", **shape, attn_dropout=0.0, seed=derive_seed(self.random_state, "weights"))

    def _told(self, X: np.ndarray, way: Any, shape: tuple[int, ...]) -> np.ndarray:
        """What the trained network says of all pictures, a few at a time, float64."""
        net = load_arrays(self._network(), self.weights_)
        import torch

        mean, spread = (torch.tensor(v, dtype=torch.float32)[:, None, None] for v in (self.mean_, self.spread_))
        said = [np.zeros((0, *shape))]
        with torch.inference_mode():
            for part in as_tensor(X, self.grey_).split(AT_ONCE):
                said.append(way(net)((part - mean) / spread).double().numpy())
        return np.concatenate(said)


def _check_pictures(X: Any) -> None:
    """Raises BadInput: text, or numbers that are not known. What else is wrong other checks say."""
    values = np.asarray(X)
    if values.dtype.kind not in "biuf":
        try:
            values = values.astype(np.float64)
        except (TypeError, ValueError):
            raise BadInput(
                "X holds text where the pixels of pictures are due, and a compact transformer reads pictures only: "
                "take another method."
            ) from None
    if values.ndim != 2:
        return
    unknown = ~np.isfinite(values).all(1)
    if unknown.any():
        raise BadInput(
            f"The picture in row {int(unknown.argmax())} has pixels that are NaN or infinite ({int(unknown.sum())} "
            "pictures in all): leave these rows out."
        )


CLASSIFIER = CompactTransformerClassifier
