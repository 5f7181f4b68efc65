"""Draws of labels, the probe, and fine-tuning, on digits."""

import numpy as np
import pytest
import torch

from smidgen.kit.errors import BadInput
from smidgen.learn.label_fractions import (
    DrawScores,
    FinetuneConfig,
    accuracy,
    finetune,
    label_draws,
    linear_probe,
    over_draws,
)
from smidgen.nets.small_convnet import ConvNet


def test_draws_are_balanced_nested_and_their_own():
    y = np.repeat(["b", "a", "c"], [30, 50, 20])
    five, ten = (label_draws(y, per_class=n, draws=3, seed=1) for n in (5, 10))
    for small, large in zip(five, ten, strict=True):
        assert set(small) <= set(large) and np.unique(y[small], return_counts=True)[1].tolist() == [5, 5, 5]
    assert len({tuple(rows) for rows in five}) == 3
    assert np.array_equal(five[2], label_draws(y, per_class=5, draws=3, seed=1)[2])
    share = label_draws(y, fraction=0.1)[0]
    assert [(y[share] == c).sum() for c in "abc"] == [5, 3, 2]
    assert len(label_draws(y, fraction=0.001)[0]) == 3
    for wrong in ({}, {"per_class": 5, "fraction": 0.5}, {"per_class": 21}, {"fraction": 0.0}):
        with pytest.raises(BadInput):
            label_draws(y, **wrong)


def test_scores_over_draws():
    rows = label_draws(np.arange(20) % 2, per_class=3, draws=4)
    scores = over_draws(lambda r, i: len(r) + i, rows)
    assert (
        scores.each == (6, 7, 8, 9) and scores.mean == 7.5 and scores.std == pytest.approx(np.std([6, 7, 8, 9], ddof=1))
    )
    assert np.isnan(DrawScores((1.0,)).std)


def test_the_probe_reads_features_of_any_scale():
    rng = np.random.default_rng(0)
    y = np.arange(300) % 3
    x = rng.normal(size=(300, 6)) * 0.3 + np.eye(6)[y]
    x = np.hstack([x * np.geomspace(1e-3, 1e3, 6) + 5, np.ones((300, 1))])
    assert linear_probe(x[:60], y[:60], x[60:], y[60:]) > 0.9
    assert linear_probe(x[:60], y[:60], x[60:], rng.permutation(y[60:])) < 0.5


def test_finetuning_learns_digits_and_leaves_the_backbone_alone(data_folder):
    with np.load(data_folder / "mnist10k" / "train.npz") as file:
        images, y = torch.from_numpy(file["images"][:600])[:, None, 4:24, 4:24], file["labels"][:600].astype(int)
    net = ConvNet((8, 16), seed=3)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    rows = label_draws(y, per_class=20)[0]
    config = FinetuneConfig(epochs=20, batch=50, lr=1e-2)
    made = finetune(net, 16, images[rows], y[rows], config)
    rest = np.setdiff1d(np.arange(600), rows)
    assert accuracy(made, images[rest], y[rest]) > 0.35
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    again = finetune(net, 16, images[rows], y[rows], config)
    assert torch.equal(made(images[:5].float()), again(images[:5].float()))
    with pytest.raises(BadInput, match="0 to 4"):
        finetune(net, 16, images[rows], y[rows], config, classes=5)
    with pytest.raises(BadInput, match="linear_probe"):
        FinetuneConfig(lr=0.0)
