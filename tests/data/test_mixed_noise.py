"""Noise that stays: the same for an index in any order and process, as large as it says, clean rows nested."""

import numpy as np
import pytest
from torch.utils.data import DataLoader

from smidgen.data.mixed_noise import MixedNoiseDataset
from smidgen.kit.errors import BadInput

X = np.random.default_rng(0).uniform(-1, 1, (300, 1, 6, 6))


def made(noisy=0.8, sigma=0.4, seed=5, **settings):
    return MixedNoiseDataset(X, noisy, sigma, seed, **settings)


def test_noise_is_drawn_once_for_each_index():
    first, again = made(), made()
    forward = {i: first[i]["x"] for i in range(300)}
    for i in np.random.default_rng(1).permutation(300):  # another epoch, another order, another instance
        assert np.array_equal(first[int(i)]["x"], forward[i]) and np.array_equal(again[int(i)]["x"], forward[i])
    part = first.arrays(np.array([17, 3]))
    assert np.array_equal(part["x"], np.stack([forward[17], forward[3]]))
    assert np.array_equal(first[-1]["x"], forward[299])
    assert not np.allclose(made(seed=6).arrays()["x"], first.arrays()["x"])


def test_noise_is_what_it_says():
    own = np.linspace(0.1, 1.0, 300)
    data = made(0.5, own)
    rows = data.arrays()
    noisy = rows["sigma"] > 0
    assert noisy.sum() == 150 and np.array_equal(rows["sigma"][noisy], own[noisy].astype(np.float32))
    assert np.array_equal(rows["x"][~noisy], X[~noisy].astype(np.float32))
    z = ((rows["x"] - X) / np.maximum(rows["sigma"], 1e-9)[:, None, None, None])[noisy].reshape(150, 36)
    assert abs(z.mean()) < 4 / np.sqrt(z.size) and z.var() == pytest.approx(1, abs=4 * np.sqrt(2 / z.size))
    assert np.abs(np.corrcoef(z) - np.eye(150)).max() < 0.8  # no two rows share their noise
    assert rows["x"].dtype == rows["sigma"].dtype == np.float32


def test_clean_rows_of_a_smaller_share_are_among_those_of_a_larger_one():
    few, more = (made(noisy) for noisy in (0.9, 0.5))
    clean = few.sigma_N == 0
    assert clean.sum() == 30 and (more.sigma_N[clean] == 0).all()
    both = ~clean & (more.sigma_N > 0)
    assert all(np.array_equal(few[int(i)]["x"], more[int(i)]["x"]) for i in np.flatnonzero(both))
    assert (made(0.0).sigma_N == 0).all() and (made(1.0).sigma_N > 0).all()


def test_is_read_by_torch():
    rows = next(iter(DataLoader(made(labels=np.arange(300)), batch_size=4)))  # pyright: ignore
    assert rows["x"].shape == (4, 1, 6, 6) and rows["sigma"].shape == (4,)
    assert rows["label"].tolist() == [0, 1, 2, 3]


def test_what_is_refused():
    for arguments, said in (
        ((X, 1.1, 0.4, 0), "from 0 to 1"),
        ((X, 0.5, -0.1, 0), "0 or more"),
        ((X, 0.5, None, 0), "unknown level"),
        ((X, 0.5, np.full(299, 0.1), 0), r"\(300,\)"),
        ((X, 0.5, np.full(300, np.nan), 0), "0 or more"),
        (((X * 100).astype(int), 0.5, 0.4, 0), "Scale bytes"),
        ((X, 0.5, 0.4, 0, [1, 2]), "300, as there are rows"),
    ):
        with pytest.raises(BadInput, match=said):
            MixedNoiseDataset(*arguments)
    with pytest.raises(IndexError):
        made()[300]
