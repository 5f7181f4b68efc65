"""The recipe: what it mixes, in which order, at which rate."""

import numpy as np
import pytest
import torch

from smidgen.kit.errors import BadInput
from smidgen.learn._picture_training import PictureTraining, _rows, mixed, optimizer_of, train_on_pictures
from smidgen.nets.compact_presets import create


def test_mixup_adds_and_cutmix_pastes_with_the_share_of_the_area():
    x = torch.arange(4.0)[:, None, None, None].expand(4, 2, 9, 7).contiguous()
    labels = torch.arange(4)
    shares = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        out, own, other, share = mixed(x, labels, PictureTraining(mixup=0.8), rng)
        torch.testing.assert_close(out[:, 0, 0, 0], share * own.float() + (1 - share) * other.float())
        out, own, other, share = mixed(x, labels, PictureTraining(mixup=0, cutmix=1.0), rng)
        for picture, a, b in zip(out, own, other, strict=True):
            assert set(picture.unique().tolist()) <= {float(a), float(b)}
            assert float((picture == a).float().mean()) == pytest.approx(share, abs=1e-6)
        shares.append(share)
        assert (own != other).all()
    assert 0 < min(shares) < 0.3 and 0.7 < max(shares) <= 1
    assert mixed(x, labels, PictureTraining(mixup=0.8), rng, on=False)[3] == 1.0
    assert torch.equal(x[:, 0, 0, 0], torch.arange(4.0))  # the pictures themselves stay


def test_every_picture_comes_once_an_epoch_in_another_order():
    seen = torch.cat([_rows(10, 4, number, seed=3) for number in range(5)])
    assert sorted(seen[:10].tolist()) == sorted(seen[10:].tolist()) == list(range(10))
    assert seen[:10].tolist() != seen[10:].tolist()
    assert torch.equal(_rows(10, 4, 3, seed=3), seen[12:16])  # by number alone


def test_the_published_recipe_is_that_of_the_file():
    made = PictureTraining.published(50_000)
    each = 391
    assert (made.updates, made.warmup, made.cooldown, made.mix_until) == (310 * each, 10 * each, 10 * each, 175 * each)
    assert (made.batch, made.lr, made.weight_decay, made.mixup, made.cutmix) == (128, 5.5e-4, 0.06, 0.8, 1.0)
    rates = [made.lr * made.rate(step) for step in (0, 10 * each, 155 * each, 300 * each, 310 * each - 1)]
    assert rates == pytest.approx([1e-5, 5.5e-4, (5.5e-4 + 1e-5) / 2, 1e-5, 1e-5], rel=1e-6)
    assert PictureTraining.published(1000, epochs=30).warmup == 8


def test_norms_biases_and_positions_do_not_decay():
    net = create("vit_lite_2/4", image_size=8)
    decays, stays = (group["params"] for group in optimizer_of(net, PictureTraining()).param_groups)
    named = {id(p): name for name, p in net.named_parameters()}
    kept = {named[id(p)] for p in stays}
    assert {"encoder.positional_embedding", "encoder.class_token", "head.bias", "encoder.norm.weight"} <= kept
    assert all(named[id(p)].endswith("weight") and "norm" not in named[id(p)] for p in decays)
    assert len(decays) + len(stays) == len(named)


def test_mistakes_are_told():
    for settings in ({"lr": 0.0}, {"warmup": 301}, {"batch": 0}, {"mixup": -1.0}, {"label_smoothing": 2.0}):
        with pytest.raises(BadInput):
            PictureTraining(**settings)
    with pytest.raises(BadInput, match="labels"):
        train_on_pictures(create("cct_2/3x2"), torch.zeros(3, 3, 32, 32), torch.zeros(2), PictureTraining())
