"""Transformed pictures: maps that a pixel grid knows are exact, splits follow their rule."""

import numpy as np
import pytest
from scipy.io import savemat
from sklearn.datasets import load_digits

from smidgen.data.affine_pictures import (
    AFFNIST,
    HOMOGRAPHIES,
    AffineRanges,
    affine_split,
    centred,
    load_affnist,
    warped,
)
from smidgen.kit.errors import BadInput

PICTURES, LABELS = load_digits().images / 16, load_digits().target


def maps(matrix, shift=(0, 0)):
    m = np.eye(3)
    m[:2, :2], m[:2, 2] = matrix, shift
    return m[None]


def test_grid_maps_are_exact():
    x = PICTURES[:1].astype(np.float32)
    assert np.allclose(warped(x, maps(np.eye(2))), x)
    turned = warped(x, maps([[0, -1], [1, 0]]))  # right goes down
    assert np.allclose(turned[0], np.rot90(x[0], -1), atol=1e-5)
    moved = warped(x, maps(np.eye(2), (2, -1)))  # to the right by 2, up by 1
    assert np.allclose(moved[0, :-1, 2:], x[0, 1:, :-2]) and np.all(moved[0, :, :2] == 0)
    assert np.array_equal(centred(x, 12)[0, 2:10, 2:10], x[0])
    assert np.allclose(centred(x, 40, 24).sum() / 9, x.sum(), rtol=0.02)


def test_a_homography_moves_places_as_it_says():
    m = HOMOGRAPHIES.draw(1, 41, 20, np.random.default_rng(0))
    x = np.zeros((1, 41, 41), np.float32)
    x[0, 17:20, 23:26] = 1.0  # about (4, -2) from the centre
    got = warped(x, m)[0]
    rows, columns = np.indices(got.shape)
    middle = np.array([(columns * got).sum(), (rows * got).sum()]) / got.sum() - 20
    place = m[0] @ [4, -2, 1]
    assert np.allclose(middle, place[:2] / place[2], atol=0.4)


def test_the_split_follows_its_rule():
    small = affine_split(PICTURES, LABELS, train=50, test=100, canvas=24, size=16, seed=3)
    large = affine_split(PICTURES, LABELS, train=200, test=100, canvas=24, size=16, seed=3)
    assert np.array_equal(large.train[:50], small.train) and np.array_equal(large.test, small.test)
    assert np.array_equal(small.test_labels, large.test_labels) and small.train.shape == (50, 24, 24)
    assert np.allclose(warped(small.clean, small.maps), small.test)
    known = {x.tobytes() for x in large.train}
    assert not any(x.tobytes() in known for x in small.clean)
    other = affine_split(PICTURES, LABELS, train=50, test=100, canvas=24, size=16, seed=4)
    assert not np.array_equal(other.train, small.train)


def test_ranges_hold_and_ink_stays_on_the_canvas():
    m = AFFNIST.draw(2000, 40, 20, np.random.default_rng(0))
    det = np.linalg.det(m[:, :2, :2])
    assert 0.64 <= det.min() < 0.7 and 1.35 < det.max() <= 1.44  # of both axes' factors
    angle = np.degrees(np.arctan2(m[:, 1, 0], m[:, 0, 0]))
    assert 19.5 < angle.max() <= 20 and -20 <= angle.min() < -19.5
    corners = np.array([[x, y, 1] for x in (-10, 10) for y in (-10, 10)]).T
    assert np.abs((m @ corners)[:, :2]).max() <= 20 + 1e-9
    assert np.abs(m[:, :2, 2]).max() > 8
    still = AffineRanges(rotation=0, shear=0, scale=(1, 1), shift=0).draw(3, 40, 20, np.random.default_rng(0))
    assert np.array_equal(still, np.repeat(np.eye(3)[None], 3, 0))


def test_affnist_files_are_read(tmp_path):
    def write(path, images, labels):
        path.parent.mkdir(parents=True, exist_ok=True)
        savemat(path, {"affNISTdata": {"image": images.reshape(len(images), 1600).T, "label_int": labels}})

    rng = np.random.default_rng(0)
    for name, count in (("10", 2), ("2", 3)):
        images = rng.integers(0, 256, (count, 40, 40), np.uint8)
        write(tmp_path / "transformed" / "test_batches" / f"{name}.mat", images, np.arange(count) + int(name))
    images, labels = load_affnist(tmp_path, "test")
    assert images.shape == (5, 40, 40) and labels.tolist() == [2, 3, 4, 10, 11]  # batch 2 before batch 10
    one = rng.integers(0, 256, (1, 40, 40), np.uint8)
    write(tmp_path / "just_centered" / "training_and_validation.mat", one, np.array([7]))
    assert np.array_equal(load_affnist(tmp_path, "train")[0], one)
    assert len(load_affnist(tmp_path, "validation")[1]) == 0
    (tmp_path / "just_centered" / "training_and_validation.mat").write_bytes(b"no")
    with pytest.raises(BadInput, match="unpack"):
        load_affnist(tmp_path, "train")


def test_errors():
    for call in (
        lambda: affine_split(PICTURES, LABELS, train=1000, test=1000),
        lambda: centred(PICTURES, 6),
        lambda: warped(PICTURES, np.eye(3)[None]),
        lambda: AffineRanges(scale=(0, 1)),
    ):
        with pytest.raises(BadInput, match="expected"):
            call()
