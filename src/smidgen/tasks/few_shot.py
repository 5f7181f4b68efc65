"""Few-shot draws of labelled pictures as benchmarks make them: so many of each class, the rest without labels.

Reads the files of MedMNIST (Yang et al., 2023), `<name>.npz` with `train_images`, `train_labels`, `val_...` and
`test_...`. What is drawn comes from the training rows alone; validation and test rows stay whole and apart.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from smidgen.kit.errors import bad
from smidgen.kit.seeds import derive_seed

PARTS = ("train", "val", "test")


@dataclass(frozen=True)
class FewShot:
    """Rows of the training part, int64: `labelled` `[shots x K]`, in rounds of one of each class; `unlabelled`, the
    others, ascending."""

    labelled: np.ndarray
    unlabelled: np.ndarray


def few_shot_split(labels: np.ndarray, shots: int, *, seed: int = 0, most_unlabelled: int | None = None) -> FewShot:
    """Draws `shots` rows of each class. For one seed fewer shots are the beginning of more.

    Args:
        labels: class codes `[N]`, or `[N, 1]` as MedMNIST has them.
    Raises:
        BadInput: several labels a row, or a class with fewer rows than shots.
    """
    y = single_labels(labels)
    if shots < 1:
        raise bad("shots", "at least 1", shots)
    rounds = []
    for code in np.unique(y):
        own = np.flatnonzero(y == code)
        if len(own) < shots:
            raise bad(f"rows of class {code}", f"at least the {shots} shots", len(own), "Take fewer shots.")
        rounds.append(np.random.default_rng(derive_seed(seed, "shots", int(code))).permutation(own)[:shots])
    labelled = np.stack(rounds, 1).ravel()
    rest = np.setdiff1d(np.arange(len(y)), labelled)
    if most_unlabelled is not None and most_unlabelled < len(rest):
        rest = np.sort(np.random.default_rng(derive_seed(seed, "unlabelled")).permutation(rest)[:most_unlabelled])
    return FewShot(labelled.astype(np.int64), rest.astype(np.int64))


def single_labels(labels: np.ndarray) -> np.ndarray:
    """Class codes int64 `[N]`. Raises BadInput: a data set of several labels a row, such as ChestMNIST."""
    y = np.asarray(labels)
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1 or y.dtype.kind not in "iu":
        raise bad(
            "labels", "one class code a row, [N] or [N, 1]", f"{y.dtype} {y.shape}",
            "Of several labels a row (ChestMNIST) make one task each.",
        )  # fmt: skip
    return y.astype(np.int64)


def read_medmnist(path: str | Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """By part ("train", "val", "test"): pictures uint8 `[N, H, W]` or `[N, H, W, 3]`, class codes int64 `[N]`.

    Raises:
        BadInput: no such file, not such a file, or several labels a row.
    """
    path = Path(path)
    if not path.is_file():
        raise bad("MedMNIST file", "a file", f"{path}, which is none")
    try:
        with np.load(path) as file:
            held = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError) as error:  # not an archive, or one of objects, which are never read
        raise bad("MedMNIST file", "an .npz file of arrays", f"{path} ({error})") from None
    return {part: _part(held, part, path) for part in PARTS}


def _part(held: Mapping[str, np.ndarray], part: str, path: Path) -> tuple[np.ndarray, np.ndarray]:
    for name in (f"{part}_images", f"{part}_labels"):
        if name not in held:
            raise bad(f"arrays of {path}", name, ", ".join(sorted(held)))
    images, labels = held[f"{part}_images"], single_labels(held[f"{part}_labels"])
    if images.ndim not in (3, 4) or images.dtype != np.uint8 or len(images) != len(labels):
        raise bad(f"{part}_images", f"uint8 pictures, {len(labels)} of them", f"{images.dtype} {images.shape}")
    return images, labels
