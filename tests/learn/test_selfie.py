"""Selfie: the pretext task by its definition, picture by picture; masks, places, transfer; it learns on digits."""

import numpy as np
import pytest
import torch
from torch import nn

from smidgen.data.augment.pictures import ViewConfig, as_pictures
from smidgen.kit.errors import BadInput
from smidgen.learn.pretraining import PretrainingConfig, pretrain
from smidgen.learn.selfie import Selfie, community_sgd, cut, joined, pretext, transfer_trunk
from smidgen.nets.attention_pool import AttentionPool
from smidgen.nets.small_convnet import SmallResNet


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Flat(nn.Module):
    """The pixels of a patch as its features."""

    def forward(self, x):
        return x.flatten(1)


def selfie(**settings) -> Selfie:
    """Of pictures 8 x 8, one channel, patches 2 x 2: 16 of 4 features."""
    return Selfie(Flat(), 4, image_size=8, patch_size=2, depth=2, heads=2, ffn_dim=8, dropout=0.0, **settings)


def test_patches_are_squares_row_by_row():
    x = torch.rand(3, 2, 6, 6, generator=seeded())
    patches = cut(x, 2)
    assert torch.equal(patches[9 + 5], x[1, :, 2:4, 4:6]) and torch.equal(joined(patches, 3), x)


@pytest.mark.parametrize("settings", [{}, {"factored_pos": True, "context_pos": False, "logit_scale": 0.5}])
def test_the_loss_is_the_choice_among_hidden_patches_of_the_same_picture(settings):
    net = selfie(**settings)
    with torch.no_grad():
        net.places.normal_(generator=seeded(1))
    x, order, *_ = net.draw(torch.rand(5, 1, 8, 8, generator=seeded()), seeded(2))
    made, losses, right = net(x, order), [], []
    places = net.positions()
    for b in range(5):
        h = cut(x[b : b + 1], 2).flatten(1)
        hidden, seen = order[b, :4], order[b, 4:]
        context = h[seen] + (places[seen] if net.context_pos else 0)
        u = net.pool(context[None])[0]
        for k, place in enumerate(hidden):
            logits = (h[hidden] @ (u + places[place])) * net.logit_scale
            losses.append(-logits.log_softmax(0)[k])
            right.append(float(logits.argmax() == k))
    assert made.loss.item() == pytest.approx(torch.stack(losses).mean().item(), rel=1e-5)
    assert made.accuracy.item() == pytest.approx(np.mean(right))


def test_places_are_single_for_sixteen_patches_and_factored_for_more():
    assert selfie().places.shape == (16, 4)
    whole = Selfie(Flat(), 4, image_size=14, patch_size=2, heads=2)
    assert whole.places.shape == (2, 7, 4) and whole.hidden == 12
    rows, columns = whole.places
    assert torch.equal(whole.positions()[2 * 7 + 5], rows[2] + columns[5])


def test_draws_hide_a_quarter_anywhere_and_noise_fills_what_is_hidden():
    x = torch.rand(400, 1, 8, 8, generator=seeded())
    net = selfie(fill="noise")
    _, order, noise = net.draw(x, seeded(3))
    assert torch.equal(order, net.draw(x, seeded(3))[1]) and noise.shape == (400, 4, 4)
    assert torch.equal(order.sort(1).values, torch.arange(16).expand(400, 16))
    counts = torch.bincount(order[:, :4].flatten(), minlength=16)
    assert counts.min() > 60 and counts.max() < 140
    base = net(x, order, noise).loss
    assert not torch.equal(base, net(x, order, -noise).loss)
    changed = x.clone()
    row, column = divmod(int(order[0, 0]), 4)
    changed[0, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2] += 1.0
    seen = []
    net.pool.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    net(x, order, noise), net(changed, order, noise)
    assert torch.equal(*seen) and seen[0].shape == (400, 16, 4)  # what is hidden does not reach the summary


def test_patches_are_changed_one_by_one_in_training_alone():
    net = selfie(patch_views=ViewConfig(brightness=0.5))
    x = torch.full((2, 1, 8, 8), 0.5)
    changed = net.draw(x, seeded())[0]
    means = cut(changed, 2).flatten(1)
    assert torch.allclose(means, means[:, :1].expand_as(means)) and len(means[:, 0].unique()) == 32
    assert torch.equal(net.eval().draw(x, seeded())[0], x)


def test_the_summary_does_not_depend_on_the_order_and_reads_every_patch():
    pool = AttentionPool(8, 2, 2, 16).eval()
    h = torch.randn(3, 5, 8, generator=seeded(), requires_grad=True)
    assert torch.allclose(pool(h), pool(h.flip(1)), atol=1e-5) and pool(h).shape == (3, 8)
    pool(h).square().sum().backward()
    assert (h.grad.abs().amax(2) > 0).all() and pool.query.grad.abs().min() > 0


def test_a_trunk_moves_whole_or_not_at_all():
    patch, full = SmallResNet((4, 6), seed=1), SmallResNet((4, 6, 8), seed=2)
    patch(torch.rand(8, 1, 8, 8, generator=seeded()))  # running statistics of its own
    made = Selfie(patch, 6, image_size=16, patch_size=8, mask_fraction=0.5, heads=2)
    before = {k: v.clone() for k, v in full.state_dict().items()}
    parts = {"stem.": "stem.", "stages.": "stages."}
    for prefix_map, leave, said in (
        (parts, (), "norm.weight of the patch network has no place"),
        ({**parts, "norm.": "norm."}, (), r"norm.weight of the whole network: expected \[6\], .* got \[8\]"),
        ({**parts, "head.": "head."}, ("norm.",), "prefix_map"),
        ({"stem.": "root.", "stages.": "stages."}, ("norm.",), "nothing of this name"),
        ({**parts, "stages.0.": "stages.1."}, ("norm.",), "stages.1.0"),
    ):
        with pytest.raises(BadInput, match=said):
            transfer_trunk(made, full, prefix_map, leave=leave)
    assert all(torch.equal(v, before[k]) for k, v in full.state_dict().items())
    twice = Selfie(nn.Sequential(Flat(), nn.Linear(4, 4), nn.Linear(4, 4)), 4, image_size=8, patch_size=2, heads=2)
    with pytest.raises(BadInput, match="two weights into 0.weight"):
        transfer_trunk(twice, nn.Sequential(nn.Linear(4, 4)), {"1.": "0.", "2.": "0."})
    moved = transfer_trunk(made, full, parts, leave=("norm.",))
    for name, value in full.state_dict().items():
        from_patch = name in moved
        assert from_patch == name.startswith(("stem", "stages.0", "stages.1"))
        assert torch.equal(value, patch.state_dict()[name] if from_patch else before[name])


def test_it_learns_on_digits_and_keeps_its_best(data_folder):
    with np.load(data_folder / "mnist10k" / "train.npz") as file:
        x = as_pictures(file["images"][:900])[:, :, 2:26, 2:26]
    net = Selfie(SmallResNet((8, 12)), 12, image_size=24, patch_size=6, heads=2, depth=1, ffn_dim=16)
    look = pretext(x[600:])
    first = look(net.eval())["accuracy"]
    config = PretrainingConfig(epochs=3, batch=40, lr=1e-2)
    done = pretrain(net, x[:600], net.draw, config, look=look, choose="accuracy")
    assert first < 0.32 and done.best > first + 0.08  # chance is a quarter
    assert look(net.eval())["accuracy"] == pytest.approx(done.best, abs=1e-6)


def test_what_is_refused():
    for settings, said in (
        ({"patch_size": 3}, "divisor of the edge of 8"),
        ({"mask_fraction": 0.05}, "at least 2 hidden patches"),
        ({"mask_fraction": 1.0}, "a visible one"),
        ({"heads": 3}, "divides the 4 features"),
        ({"fill": "zero"}, "drop or noise"),
    ):
        with pytest.raises(BadInput, match=said):
            Selfie(Flat(), 4, **{"image_size": 8, "patch_size": 2, "heads": 2} | settings)
    with pytest.raises(BadInput, match=r"features \[32, 5\]"):
        Selfie(Flat(), 5, image_size=8, patch_size=2, heads=5)(torch.rand(2, 1, 8, 8))
    with pytest.raises(BadInput, match="pictures"):
        selfie()(torch.rand(2, 1, 8, 10))
    config = community_sgd(8000)
    assert (config.lr, config.batch, round(config.warmup * (8000 // 128))) == (0.4, 128, 1000)
