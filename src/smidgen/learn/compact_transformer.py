"""A compact transformer (CCT-2/3x2, 0.28 M weights) trained from scratch on your pictures: nothing pre-trained.

Convolutions make the tokens, two transformer blocks compare them, pooling by attention says which count
(`nets.compact_transformer`; Hassani et al., 2021, arXiv 2104.05704). The training has a fixed number of updates, so
that its cost is known before; its recipe is the published one made short (`_picture_training`). Mirrored pictures are
not shown, since letters and digits may be among them.

Rows are small square pictures, height, width, channel: 3072 numbers are 32 x 32 in colour, 1024 in grey. A training set
whose channels are all equal is read as grey.

Dims: n pictures, S side in pixels, C channels, K classes.
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

CARD = {
    "title": "Compact transformer",
    "tldr": "A small transformer with a convolutional front, trained on your pictures alone.",
    "features": "picture",
    "modalities": ("image",),
    "tasks": ("classification",),
    "extra": "text",
    "package": "torch",
    "seconds": (60.0, 0.0, 0.0, 1.0),
    "papers": ("073",),
}

AT_ONCE = 256  # pictures of a forward pass


@dataclass(frozen=True, kw_only=True)
class CompactTransformerConfig:
    """updates, batch: of the training, of so many pictures each, whatever the number of pictures. lr, weight_decay: of
    AdamW. label_smoothing, mixup, shift: see `_picture_training`."""

    updates: int = 300
    batch: int = 64
    lr: float = 1e-3
    weight_decay: float = 0.06
    label_smoothing: float = 0.1
    mixup: float = 0.2
    shift: int = 2

    def __post_init__(self):
        if not 1 <= self.updates <= 100_000:
            raise bad("updates", "1 to 100000", self.updates)
        if not 2 <= self.batch <= 4096:
            raise bad("batch", "2 to 4096", self.batch)
        if not 0 < self.lr <= 1:
            raise bad("lr", "above 0, at most 1", self.lr)
        for name in ("weight_decay", "mixup", "shift"):
            if not 0 <= getattr(self, name) < math.inf:
                raise bad(name, "0 or more", getattr(self, name))
        if not 0 <= self.label_smoothing < 1:
            raise bad("label_smoothing", "from 0, below 1", self.label_smoothing)


class CompactTransformerClassifier(ClassifierHead):
    """Classes of small pictures.

    Attributes:
        weights_: of the network, by name, float32. mean_, spread_ `[C]`: of the training pictures; C is 1 for grey.
        share_ `[K]`: the class frequencies, which each answer has a trace of. rows_: training pictures. side_: S.
    """

    Config = CompactTransformerConfig

    def __init__(
        self,
        updates: int = 300,
        batch: int = 64,
        lr: float = 1e-3,
        weight_decay: float = 0.06,
        label_smoothing: float = 0.1,
        mixup: float = 0.2,
        shift: int = 2,
        random_state: int = 0,
    ):
        self.updates = updates
        self.batch = batch
        self.lr = lr
        self.weight_decay = weight_decay
        self.label_smoothing = label_smoothing
        self.mixup = mixup
        self.shift = shift
        self.random_state = random_state

    def fit(self, X: Any, y: Any) -> "CompactTransformerClassifier":
        """Trains on pictures X `[n, S * S * 3]` or `[n, S * S]`, finite, and y `[n]` of at least two classes.

        Raises:
            BadInput: X holds text, NaN or no square pictures. MissingExtra: torch is not installed.
        """
        need("torch", extra="text", why="The compact transformer")
        check_pictures(X)
        super().fit(X, y)
        return self

    def _fit(self, X: np.ndarray, codes: np.ndarray) -> None:
        import torch

        from smidgen.learn._picture_training import PictureTraining, train_on_pictures

        config = self._config
        x_NSSC = as_pictures(X)
        if x_NSSC.shape[3] == 3 and (x_NSSC == x_NSSC[..., :1]).all():
            x_NSSC = x_NSSC[..., :1]
        self.side_ = x_NSSC.shape[1]
        self.mean_ = x_NSSC.mean((0, 1, 2))
        spread = x_NSSC.std((0, 1, 2))
        self.spread_ = np.where(spread > 1e-6 * np.maximum(np.abs(self.mean_), 1e-300), spread, 1.0)
        self.share_, self.rows_ = np.bincount(codes) / len(codes), len(codes)
        net = self._network(len(self.share_))
        net.draw_from(torch.Generator().manual_seed(derive_seed(self.random_state, "depth")))
        settings = PictureTraining(
            updates=config.updates,
            batch=config.batch,
            lr=config.lr,
            weight_decay=config.weight_decay,
            warmup=config.updates // 10,
            least=config.lr / 100,
            label_smoothing=config.label_smoothing,
            mixup=config.mixup,
            shift=min(config.shift, x_NSSC.shape[1] // 8),
            seed=derive_seed(self.random_state, "training"),
        )
        train_on_pictures(net, self._inputs(x_NSSC), torch.from_numpy(codes.astype(np.int64)), settings)
        self.weights_ = {name: value.numpy() for name, value in net.state_dict().items()}

    def _proba(self, X: np.ndarray) -> np.ndarray:
        net, weight = self._trained(), 0.5 / (0.5 + self.rows_)
        said = softmax(self._chunks(X, net.forward, (len(self.share_),)))
        return (1 - weight) * said + weight * self.share_

    def attention(self, X: Any) -> np.ndarray:
        """Where it looks: how much each place counts in the last pooling, `[n, rows, columns]`; each sums to 1."""
        check_pictures(X)
        checked, net = self._check_X(X), self._trained()
        return self._chunks(checked, net.pool_weights, net.grid())

    def export_attention(self, X: Any, path: Path | str) -> None:
        """Writes `attention(X)` as `attention`, and `predict_proba(X)` as `probabilities`, to one safetensors file."""
        arrays = {"attention": self.attention(X), "probabilities": self.predict_proba(X)}
        write_bytes(Path(path), tensor_bytes(arrays))

    def _check_X(self, X: Any) -> np.ndarray:
        check_pictures(X)
        return super()._check_X(X)

    def _network(self, classes: int) -> Any:
        """CCT-2/3x2; without dropout of attention, which torch's fused attention lacks on a processor."""
        need("torch", extra="text", why="The compact transformer")
        from smidgen.nets.compact_presets import create

        seed = derive_seed(self.random_state, "weights")
        shape = {"image_size": self.side_, "in_channels": len(self.mean_), "num_classes": classes}
        return create("cct_2/3x2", **shape, attn_dropout=0.0, seed=seed)

    def _trained(self) -> Any:
        import torch

        net = self._network(len(self.share_))
        net.load_state_dict({name: torch.from_numpy(np.asarray(value)) for name, value in self.weights_.items()})
        return net.eval()

    def _inputs(self, x_NSSC: np.ndarray) -> Any:
        """What the network reads, `float32[n, C, S, S]`."""
        import torch

        if len(self.mean_) == 1:
            x_NSSC = x_NSSC.mean(3, keepdims=True)
        scaled = ((x_NSSC - self.mean_) / self.spread_).astype(np.float32)
        return torch.from_numpy(scaled.transpose(0, 3, 1, 2))

    def _chunks(self, X: np.ndarray, forward: Any, shape: tuple[int, ...]) -> np.ndarray:
        """What `forward` says of all pictures, a few at a time, float64."""
        import torch

        made = [np.zeros((0, *shape))]
        with torch.inference_mode():
            for start in range(0, len(X), AT_ONCE):
                made.append(forward(self._inputs(as_pictures(X[start : start + AT_ONCE]))).double().numpy())
        return np.concatenate(made)


def side_of(columns: int) -> tuple[int, int]:
    """Side and channels of a square picture of so many numbers. Raises BadInput: it is none."""
    for channels in (3, 1):
        side = math.isqrt(columns // channels)
        if columns and side * side * channels == columns:
            return side, channels
    raise bad(
        "X", "square pictures: 3 x S x S numbers a row (3072 for 32 x 32), or S x S in grey", f"{columns} columns"
    )


def as_pictures(X: np.ndarray) -> np.ndarray:
    """Rows as pictures `[n, S, S, C]`."""
    side, channels = side_of(X.shape[1])
    return X.reshape(len(X), side, side, channels)


def check_pictures(X: Any) -> None:
    """Raises BadInput: text, or numbers that are not known. What else is wrong scikit-learn's checks say."""
    values = np.asarray(X)
    if values.dtype.kind not in "biuf":
        try:
            values = values.astype(np.float64)
        except (TypeError, ValueError):
            raise BadInput(
                "X holds text or other things where the numbers of pictures are due: a compact transformer reads "
                "pictures only."
            ) from None
    if values.ndim != 2:
        return
    side_of(values.shape[1])
    unknown = ~np.isfinite(values).all(1)
    if unknown.any():
        raise BadInput(
            f"The picture in row {int(unknown.argmax())} has numbers that are NaN or infinite ({int(unknown.sum())} "
            "pictures in all): leave these rows out."
        )


CLASSIFIER = CompactTransformerClassifier
