"""Galaxy10 DECals: 17,736 colour pictures of galaxies in ten shapes; a reader, a fixed split, and made-up ones.

The published set has no split; here it is a pure function of the labels and a seed. Source of the set: Leung and Bovy,
astroNN, from Galaxy Zoo and the DESI Legacy Surveys. Made-up galaxies are for tests and first trials: bright bulges,
discs, bars and arms drawn from formulas, with noise. They say nothing of how a model does on the sky.

Dims: N pictures of S x S pixels.
"""

import importlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from smidgen.kit.errors import BadInput, MissingExtra, bad
from smidgen.kit.extras import installed
from smidgen.kit.seeds import derive_seed

CLASSES = (
    "disturbed",
    "merging",
    "round smooth",
    "in-between round smooth",
    "cigar-shaped smooth",
    "barred spiral",
    "unbarred tight spiral",
    "unbarred loose spiral",
    "edge-on without bulge",
    "edge-on with bulge",
)
SIDE = 256
SPLIT_SEED = 10  # of the split that results should name


class Galaxies(NamedTuple):
    """uint8 `[N, S, S, 3]` and classes 0 to 9 `[N]`, int64."""

    images: np.ndarray
    labels: np.ndarray


def load_galaxy10(path: Path | str) -> Galaxies:
    """The set from its HDF5 file (fields "images" and "ans"; needs h5py), or from an .npz with "images" and "labels".

    Raises:
        BadInput: no such file, or one that holds something else. MissingExtra: an HDF5 file without h5py.
    """
    path = Path(path)
    if not path.is_file():
        raise BadInput(f"There is no file {path}: give Galaxy10_DECals.h5, or an .npz with images and labels.")
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as file:
            held = {k: file[k] for k in file.files}
    else:
        if not installed("h5py"):  # in no extra: only this file needs it
            raise MissingExtra(f"Reading {path} needs the package 'h5py': pip install h5py, or give an .npz.")
        h5py: Any = importlib.import_module("h5py")
        with h5py.File(path, "r") as file:
            held = {k: np.asarray(file[k]) for k in file}
    labels = held.get("labels", held.get("ans"))
    if "images" not in held or labels is None:
        raise BadInput(f"{path} holds {', '.join(sorted(held)) or 'nothing'}, not images and labels (or ans).")
    return checked(Galaxies(held["images"], labels.astype(np.int64)), str(path))


def checked(galaxies: Galaxies, where: str = "galaxies") -> Galaxies:
    """The same. Raises BadInput: not uint8 `[N, S, S, 3]` with one label from 0 to 9 each."""
    images, labels = galaxies
    if images.ndim != 4 or images.shape[1] != images.shape[2] or images.shape[3] != 3 or images.dtype != np.uint8:
        raise bad(f"images of {where}", "uint8 [N, S, S, 3]", f"{images.dtype} {images.shape}")
    if labels.shape != (len(images),):
        raise bad(f"labels of {where}", f"one for each of {len(images)} pictures", f"shape {labels.shape}")
    if len(labels) and not (labels.min() >= 0 and labels.max() < len(CLASSES)):
        raise bad(f"labels of {where}", "0 to 9", f"{labels.min()} to {labels.max()}")
    return galaxies


def split(labels: Any, *, test: float = 0.2, seed: int = SPLIT_SEED) -> tuple[np.ndarray, np.ndarray]:
    """Rows to train and to test on, each in ascending order: of each class the same share, rounded, is for testing.

    The rule: rows of class c are permuted by `derive_seed(seed, "galaxy split", c)`, the first ones are for testing.
    """
    if not 0 < test < 1:
        raise bad("test", "a share between 0 and 1", test)
    labels = np.asarray(labels)
    asked = np.zeros(len(labels), bool)
    for c in np.unique(labels):
        rows = np.flatnonzero(labels == c)
        order = np.random.default_rng(derive_seed(seed, "galaxy split", int(c))).permutation(len(rows))
        asked[rows[order[: round(test * len(rows))]]] = True
    return np.flatnonzero(~asked), np.flatnonzero(asked)


def made_galaxies(count: int, side: int = SIDE, seed: int = 0) -> Galaxies:
    """Made-up pictures of the same schema, classes in turn (the i-th is of class i modulo 10), each of its own seed:
    the first ones of a larger set are those of a smaller one."""
    if count < 1 or side < 8:
        raise bad("count and side", "at least 1, and 8 pixels", (count, side))
    labels = np.arange(count) % len(CLASSES)
    images = [_draw(int(c), side, np.random.default_rng(derive_seed(seed, i))) for i, c in enumerate(labels)]
    return Galaxies(np.stack(images), labels)


def _draw(kind: int, side: int, rng: np.random.Generator) -> np.ndarray:
    axis = (np.arange(side) + 0.5) / side * 2 - 1
    x, y = np.meshgrid(axis - rng.normal(0, 0.03), axis - rng.normal(0, 0.03))
    turn, size = rng.uniform(0, 2 * np.pi), rng.uniform(0.8, 1.2)
    u, v = (x * np.cos(turn) + y * np.sin(turn)) / size, (y * np.cos(turn) - x * np.sin(turn)) / size

    def blob(radius: float, flat: float = 1.0, at: tuple[float, float] = (0.0, 0.0)) -> np.ndarray:
        return np.exp(-np.hypot(u - at[0], (v - at[1]) / flat) / radius)

    name, blue = CLASSES[kind], np.zeros_like(u)
    if name == "disturbed":
        spots = rng.normal(0, 0.2, (5, 2))
        red = 0.7 * blob(0.15, 0.8)
        blue = sum((rng.uniform(0.2, 0.5) * blob(0.08, 1.0, (a, b)) for a, b in spots), blue)
    elif name == "merging":
        apart = rng.uniform(0.2, 0.35)
        red = blob(0.1, 0.8, (-apart, 0.0)) + rng.uniform(0.5, 1.0) * blob(0.1, 0.7, (apart, 0.1))
    elif "smooth" in name:
        flat = {"round smooth": (0.9, 1.0), "in-between round smooth": (0.5, 0.7), "cigar-shaped smooth": (0.2, 0.35)}
        red = blob(0.18, rng.uniform(*flat[name]))
    elif "spiral" in name:
        radius, angle = np.hypot(u, v), np.arctan2(v, u)
        winds = rng.uniform(7, 9) if "tight" in name else rng.uniform(3, 4)
        hand = rng.choice([-1, 1])
        arms = np.cos(2 * (angle - hand * winds * np.log(radius + 0.1) / 2)) ** 4
        blue = 0.9 * arms * np.exp(-radius / 0.3) * (radius > 0.12)
        red = blob(0.08) + (0.8 * np.exp(-((u / 0.25) ** 4) - (v / 0.05) ** 2) if name.split()[0] == "barred" else 0)
    else:
        red = 0.9 * blob(0.3, 0.07)
        if name.endswith("with bulge"):
            red = red + blob(0.08, 0.9)
    light = np.stack([red + 0.5 * blue, 0.9 * red + 0.7 * blue, 0.7 * red + blue], -1)
    noisy = light * rng.uniform(0.8, 1.2) + rng.normal(0.04, 0.02, light.shape)
    return (np.clip(noisy, 0, 1) * 255).round().astype(np.uint8)
