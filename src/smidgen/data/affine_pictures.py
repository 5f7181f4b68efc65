"""Upright pictures to train on and transformed ones to test on: random affine maps, or homographies, of given pictures.

As affNIST (Tieleman, 2013) is made of MNIST: a picture is centred on a larger canvas; test pictures are rotated,
sheared, stretched and shifted there, training pictures are not. The original files, where they lie on the disk, are
read by `load_affnist`.

Maps are `[N, 3, 3]` in pixels about the centre of the picture, (x to the right, y down): a place p of the old picture
goes to map p. Dims: N pictures, H, W pixels.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from smidgen.kit.errors import BadInput, bad
from smidgen.kit.seeds import derive_seed


@dataclass(frozen=True, kw_only=True)
class AffineRanges:
    """Each drawn evenly; affNIST's by default.

    Attributes:
        rotation: degrees, to either side. shear: tangent, to either side. scale: of each axis by itself.
        shift: share of the free room around the picture that it is moved by at most, 0 to 1: it stays on the canvas
            unless it was made larger than that.
        tilt: of homographies: how much nearer an edge of the canvas may come, 0 for affine maps, below 1.
    """

    rotation: float = 20.0
    shear: float = 0.2
    scale: tuple[float, float] = (0.8, 1.2)
    shift: float = 1.0
    tilt: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.scale[0] <= self.scale[1]:
            raise bad("scale", "two factors above 0, the smaller first", self.scale)
        if not (self.rotation >= 0 and self.shear >= 0 and 0 <= self.shift <= 1 and 0 <= self.tilt < 1):
            raise bad("ranges", "0 or more, shift up to 1, tilt below 1", self)

    def draw(self, count: int, canvas: int, size: float, rng: np.random.Generator) -> np.ndarray:
        """Maps `[count, 3, 3]` for pictures whose ink lies within `size` pixels in the middle of the canvas."""
        turn = np.radians(rng.uniform(-self.rotation, self.rotation, count))
        shear = rng.uniform(-self.shear, self.shear, count)
        stretch = rng.uniform(*self.scale, (count, 2))
        maps = np.zeros((count, 3, 3))
        c, s = np.cos(turn), np.sin(turn)
        rotation = np.stack([np.stack([c, -s], 1), np.stack([s, c], 1)], 1)
        sheared = np.stack([np.stack([stretch[:, 0], shear * stretch[:, 1]], 1)] * 2, 1)
        sheared[:, 1] = np.stack([np.zeros(count), stretch[:, 1]], 1)
        maps[:, :2, :2] = rotation @ sheared
        reach = np.abs(maps[:, :2, :2]).sum(2) * size / 2  # of the corners, on each axis
        maps[:, :2, 2] = rng.uniform(-1, 1, (count, 2)) * self.shift * np.maximum(canvas / 2 - reach, 0)
        tilt = rng.uniform(-1, 1, (count, 2)) * self.tilt / canvas  # |x| + |y| is at most the canvas: w stays above 0
        maps[:, 2, :2], maps[:, 2, 2] = tilt, 1.0
        return maps


AFFNIST = AffineRanges()
SHEARED = AffineRanges(rotation=0.0, shear=0.5, shift=0.0)  # what rotations alone do not undo
HOMOGRAPHIES = AffineRanges(tilt=0.4)


class AffineSplit(NamedTuple):
    """float32 `[N, H, H]` from 0 to 1 and labels `[N]`. `clean` are the test pictures before they were transformed by
    `maps`."""

    train: np.ndarray
    train_labels: np.ndarray
    test: np.ndarray
    clean: np.ndarray
    test_labels: np.ndarray
    maps: np.ndarray


def affine_split(
    pictures: np.ndarray,
    labels: Any,
    *,
    train: int,
    test: int,
    canvas: int = 40,
    size: int = 28,
    ranges: AffineRanges = AFFNIST,
    seed: int = 0,
) -> AffineSplit:
    """Training pictures upright in the middle, test pictures transformed; equal arguments, equal pictures.

    The rule: rows are permuted by `derive_seed(seed, "rows")`; the first `train` are for training, the last `test` for
    testing; maps come from `derive_seed(seed, "maps")`, in the order of the test rows. So a larger training set holds
    each smaller one, and the test set stays.

    Args:
        pictures: `[N, H, W]`, uint8 or from 0 to 1; the background is 0. size: edge on the canvas, after resizing.
    Raises:
        BadInput: more rows than there are, or a picture that does not fit the canvas.
    """
    labels = np.asarray(labels)
    if len(labels) != len(pictures):
        raise bad("labels", f"one for each of {len(pictures)} pictures", len(labels))
    if train < 1 or test < 1 or train + test > len(pictures):
        raise bad("train and test", f"at least 1 each, {len(pictures)} together at most", (train, test))
    order = np.random.default_rng(derive_seed(seed, "rows")).permutation(len(pictures))
    known, asked = order[:train], order[len(order) - test :]
    maps = ranges.draw(test, canvas, size, np.random.default_rng(derive_seed(seed, "maps")))
    clean = centred(pictures[asked], canvas, size)
    return AffineSplit(
        centred(pictures[known], canvas, size), labels[known], warped(clean, maps), clean, labels[asked], maps
    )


def centred(pictures: np.ndarray, canvas: int, size: int | None = None) -> np.ndarray:
    """float32 `[N, canvas, canvas]` from 0 to 1: pictures resized to `size` (between pixels bilinear), zeros around."""
    if pictures.ndim != 3:
        raise bad("pictures", "[N, H, W]", f"shape {pictures.shape}")
    x = _unit(pictures)
    height, width = x.shape[1:]
    edge = max(height, width) if size is None else size
    if not 1 <= edge <= canvas:
        raise bad("size", f"1 to {canvas}, the canvas", edge)
    factor = edge / max(height, width)
    places = np.arange(canvas) - (canvas - 1) / 2
    y, x_ = np.meshgrid(places / factor + (height - 1) / 2, places / factor + (width - 1) / 2, indexing="ij")
    shape = (len(x), canvas, canvas)
    return _sampled(x, np.broadcast_to(x_, shape), np.broadcast_to(y, shape))


def warped(pictures: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """float32 `[N, H, W]`: each picture moved by its map; between pixels bilinear, outside 0."""
    if pictures.ndim != 3 or maps.shape != (len(pictures), 3, 3):
        raise bad("pictures and maps", "[N, H, W] and [N, 3, 3]", f"shapes {pictures.shape} and {maps.shape}")
    x = _unit(pictures)
    height, width = x.shape[1:]
    y, x_ = np.meshgrid(np.arange(height) - (height - 1) / 2, np.arange(width) - (width - 1) / 2, indexing="ij")
    places = np.stack([x_.ravel(), y.ravel(), np.ones(y.size)])
    old = np.linalg.inv(maps) @ places
    old = old[:, :2] / old[:, 2:]
    shape = x.shape
    return _sampled(x, (old[:, 0] + (width - 1) / 2).reshape(shape), (old[:, 1] + (height - 1) / 2).reshape(shape))


def load_affnist(folder: Path | str, part: str) -> tuple[np.ndarray, np.ndarray]:
    """The original pictures of affNIST, uint8 `[N, 40, 40]`, and labels `[N]`.

    Args:
        folder: with "just_centered/" (for training) and "transformed/", as unpacked.
        part: "train" (centred, MNIST's first 50,000), "validation" (centred, the other 10,000), or "test" (transformed,
            in batches, in their order).
    Raises:
        BadInput: another part, no such file, or one that does not hold pictures of 40 x 40.
    """
    folder = Path(folder)
    if part not in ("train", "validation", "test"):
        raise bad("part", "'train', 'validation' or 'test'", part)
    if part == "test":
        found = (folder / "transformed" / "test_batches").glob("*.mat")
        files = sorted(found, key=lambda p: (len(p.stem), p.stem))  # 2 before 10
    else:
        files = [folder / "just_centered" / "training_and_validation.mat"]
    if not files or not files[0].is_file():
        raise BadInput(f"{folder} holds no affNIST files for '{part}': unpack its archives there.")
    read = [_read_mat(path) for path in files]
    images, labels = (np.concatenate(each) for each in zip(*read, strict=True))
    rows = {"train": slice(50_000), "validation": slice(50_000, None), "test": slice(None)}[part]
    return images[rows], labels[rows]


def _read_mat(path: Path) -> tuple[np.ndarray, np.ndarray]:
    from scipy.io import loadmat

    try:
        held = loadmat(path, squeeze_me=True, struct_as_record=False)["affNISTdata"]
        images = np.asarray(held.image, np.uint8)
        labels = np.atleast_1d(np.asarray(held.label_int, np.int64))
        images = images.reshape(1600, -1).T.reshape(-1, 40, 40)
    except Exception as error:  # readers of this format raise many kinds
        raise BadInput(f"{path} is no affNIST file ({str(error)[:80]}): unpack it again.") from None
    if len(images) != len(labels):
        raise BadInput(f"{path} holds {len(images)} pictures and {len(labels)} labels: unpack it again.")
    return images, labels


def _unit(pictures: np.ndarray) -> np.ndarray:
    x = np.asarray(pictures, np.float32)
    return x / np.float32(255) if pictures.dtype == np.uint8 else x


def _sampled(x_NHW: np.ndarray, across: np.ndarray, down: np.ndarray) -> np.ndarray:
    """Values at places (in pixels from the first) between pixels, of the same shape as the places `[N, ...]`."""
    N, H, W = x_NHW.shape
    padded = np.pad(x_NHW, ((0, 0), (1, 1), (1, 1)))
    u, v = np.clip(across, -1, W) + 1, np.clip(down, -1, H) + 1
    left, top = np.minimum(np.floor(u).astype(int), W), np.minimum(np.floor(v).astype(int), H)
    a, b = (u - left).astype(np.float32), (v - top).astype(np.float32)
    n = np.arange(N).reshape(-1, *[1] * (u.ndim - 1))
    upper = padded[n, top, left] * (1 - a) + padded[n, top, left + 1] * a
    lower = padded[n, top + 1, left] * (1 - a) + padded[n, top + 1, left + 1] * a
    return upper * (1 - b) + lower * b
