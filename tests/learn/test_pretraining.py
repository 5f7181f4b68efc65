"""The runner: it learns, a stopped training ends in the same bits, looks choose weights, and what is refused."""

import itertools
import json

import numpy as np
import pytest
import torch
from torch import nn

from smidgen.data.augment.pictures import small_pair, weak
from smidgen.kit.errors import BadInput
from smidgen.kit.files import read_tensors
from smidgen.learn.barlow_twins import BarlowTwins
from smidgen.learn.pretraining import PretrainingConfig, embed, export_embeddings, pretrain, published_lars
from smidgen.nets.small_convnet import ConvNet

CONFIG = PretrainingConfig(epochs=3, batch=16, optimizer="lars", lr=0.5, lr_rest=0.01)


@pytest.fixture(scope="module")
def images():
    g = torch.Generator().manual_seed(0)
    return (nn.functional.interpolate(torch.rand(50, 1, 3, 3, generator=g), size=12, mode="bilinear") * 255).byte()


def twins() -> BarlowTwins:
    return BarlowTwins(ConvNet((4, 6)), 6, (8, 8))


def test_a_stopped_training_ends_in_the_same_bits(images, tmp_path):
    whole = twins()
    done = pretrain(whole, images, small_pair(), CONFIG, out=tmp_path / "whole")
    assert done.finished and done.updates == 9  # 50 // 16 batches an epoch: the short one is left out
    ticks = itertools.count()
    half = pretrain(twins(), images, small_pair(), CONFIG, out=tmp_path / "half", go_on=lambda: next(ticks) < 5)
    assert not half.finished and half.updates == 5
    with pytest.raises(BadInput, match="set resume"):
        pretrain(twins(), images, small_pair(), CONFIG, out=tmp_path / "half")
    torch.rand(7)  # other draws do not matter
    again = twins()
    assert pretrain(again, images, small_pair(), CONFIG, out=tmp_path / "half", resume=True).finished
    assert all(torch.equal(a, b) for a, b in zip(whole.state_dict().values(), again.state_dict().values(), strict=True))
    logs = [(tmp_path / n / "log.jsonl").read_text().splitlines() for n in ("whole", "half")]
    kept = ("step", "loss", "lr", "on_diag", "off_diag")
    one, two = ([{k: json.loads(line)[k] for k in kept} for line in log] for log in logs)
    assert one == two and [v["step"] for v in one] == list(range(1, 10))
    assert one[0]["lr"] == pytest.approx(0.5 / 3) and one[-1]["lr"] < 0.05  # warm-up, and near the end of the cosine
    with pytest.raises(BadInput, match="other pictures or settings"):
        pretrain(twins(), images[:40], small_pair(), CONFIG, out=tmp_path / "half", resume=True)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_the_loss_falls(images, optimizer):
    rate = {"adamw": 1e-2, "sgd": 1e-3}[optimizer]
    config = PretrainingConfig(epochs=8, batch=25, optimizer=optimizer, lr=rate)
    log = pretrain(twins(), images, small_pair(), config).log
    assert np.mean([v["loss"] for v in log[-3:]]) < 0.8 * np.mean([v["loss"] for v in log[:3]])


def test_the_best_look_is_what_is_left(images):
    values, seen = iter([0.2, 0.9, 0.5]), []

    def look(method):
        assert not method.training
        seen.append(method.backbone.layers[0].weight.detach().clone())
        return {"score": next(values)}

    method = twins()
    done = pretrain(method, images, small_pair(), CONFIG, look=look, choose="score")
    assert (done.best, done.best_step) == (0.9, 6) and method.training
    assert torch.equal(method.backbone.layers[0].weight, seen[1]) and not torch.equal(seen[1], seen[2])
    assert [v["score"] for v in done.log if "score" in v] == [0.2, 0.9, 0.5]


def test_features_leave_the_network_as_it_was(images, tmp_path):
    net = ConvNet((4, 6))
    before = net.layers[2].running_mean.clone()
    features = embed(net, images, batch=7)
    assert net.training and torch.equal(net.layers[2].running_mean, before)
    assert np.allclose(features, net.eval()(images.float() / 255).detach().numpy(), atol=1e-6)
    path = export_embeddings(net, images, tmp_path / "features.safetensors")
    assert np.allclose(read_tensors(path)["features"], features, atol=1e-6)


def test_what_is_refused_and_the_published_rates(images):
    with pytest.raises(BadInput, match="at most the 50 pictures"):
        pretrain(twins(), images, small_pair(), PretrainingConfig(batch=64))
    with pytest.raises(BadInput, match="warmup"):
        PretrainingConfig(epochs=2, warmup=3)
    with pytest.raises(TypeError):
        pretrain(twins(), images, weak(), CONFIG)  # one view
    published = published_lars(2048)
    assert (published.lr, published.lr_rest) == pytest.approx((1.6, 0.0384))
