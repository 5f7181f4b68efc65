"""Few-shot draws: nested, balanced, apart from the unlabelled; the files of MedMNIST."""

import numpy as np
import pytest

from smidgen.kit.errors import BadInput
from smidgen.tasks.few_shot import few_shot_split, read_medmnist


def test_draws_are_balanced_nested_and_apart():
    y = np.random.default_rng(0).choice(3, 90, p=[0.7, 0.2, 0.1])[:, None]
    few, many = (few_shot_split(y, n, seed=4) for n in (2, 5))
    assert np.bincount(y[many.labelled, 0]).tolist() == [5, 5, 5]
    assert np.array_equal(few.labelled, many.labelled[:6])
    assert np.array_equal(np.sort(np.r_[many.labelled, many.unlabelled]), np.arange(90))
    assert not np.array_equal(few.labelled, few_shot_split(y, 2, seed=5).labelled)
    less = few_shot_split(y, 5, seed=4, most_unlabelled=20)
    assert len(less.unlabelled) == 20 and set(less.unlabelled) < set(many.unlabelled)
    with pytest.raises(BadInput, match="rows of class 1"):
        few_shot_split(y, 60)


def test_files_of_medmnist(tmp_path):
    arrays = {}
    for part, n in (("train", 6), ("val", 3), ("test", 4)):
        arrays[f"{part}_images"] = np.full((n, 8, 8, 3), n, np.uint8)
        arrays[f"{part}_labels"] = np.arange(n, dtype=np.uint8)[:, None] % 2
    np.savez(tmp_path / "own.npz", **arrays)
    got = read_medmnist(tmp_path / "own.npz")
    assert [len(y) for _, y in got.values()] == [6, 3, 4] and got["val"][1].tolist() == [0, 1, 0]
    arrays["test_labels"] = np.zeros((4, 14), np.uint8)
    np.savez(tmp_path / "chest.npz", **arrays)
    with pytest.raises(BadInput, match="one class code a row"):
        read_medmnist(tmp_path / "chest.npz")
    np.savez(tmp_path / "objects.npz", train_images=np.array([{}], object))
    with pytest.raises(BadInput, match=r"an \.npz file of arrays"):
        read_medmnist(tmp_path / "objects.npz")
    with pytest.raises(BadInput, match="which is none"):
        read_medmnist(tmp_path / "absent.npz")


def test_a_real_set(data_folder):
    with np.load(data_folder / "pneumoniamnist_balanced" / "train.npz") as file:
        y = file["labels"]
    draw = few_shot_split(y, 10, most_unlabelled=500)
    assert y[draw.labelled].sum() == 10 and len(draw.unlabelled) == 500
