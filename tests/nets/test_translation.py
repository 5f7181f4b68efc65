"""Networks of image translation: any divisible size, gates as published, rows that do not touch each other."""

import pytest
import torch
import torch.nn.functional as F

from smidgen.kit.errors import BadInput
from smidgen.nets.translation import AttentionUNet, PatchDiscriminator, PictureClassifier


def pictures(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_the_generator_redraws_any_divisible_size_and_names_classes():
    net = AttentionUNet(4, 3, (4, 8, 16))
    x = pictures(2, 3, 12, 20)
    made = net(x, torch.tensor([1, 3]))
    assert made.shape == x.shape and made.abs().max() <= 1
    assert not torch.equal(made, net(x, torch.tensor([1, 2])))  # the second was asked for another class
    assert torch.equal(made, net(x, F.one_hot(torch.tensor([1, 3]), 4)))
    assert net(x, mode="classify").shape == (2, 4)
    torch.testing.assert_close(net(x[1:], torch.tensor([3])), made[1:])  # no batch statistics
    made.sum().backward()
    assert net.enter_classify[0].weight.grad is None and net.enter_translate[0].weight.grad is not None


def test_the_gate_is_the_published_one():
    gate = AttentionUNet(2, 1, (6, 8)).gates[0]
    g, s = pictures(2, 6, 4, 4), pictures(2, 6, 4, 4, seed=1)
    w_g, w_s, w = (layer.weight[:, :, 0, 0] for layer in (gate.signal, gate.skip, gate.share))
    inner = torch.relu(torch.einsum("oc,bchw->bohw", w_g, g) + torch.einsum("oc,bchw->bohw", w_s, s))
    expected = torch.sigmoid(torch.einsum("oc,bchw->bohw", w, inner)) * s  # biases begin at 0
    torch.testing.assert_close(gate(g, s), expected)


def test_the_judge_sees_patches_and_all_of_the_picture():
    net = PatchDiscriminator((16, 32), 1, 5, width=4, n_strided=3)
    x = pictures(2, 1, 16, 32)
    real, logits = net(x)
    assert real.shape == (2, 1, 2, 4) and logits.shape == (2, 5)
    changed = x.clone()
    changed[:, :, -1, -1] = 5.0  # one corner
    moved = (net(changed)[0] != real).any(0)[0]
    assert moved[-1, -1] and not moved[:, 0].any()  # far patches do not see it; the classes do
    assert not torch.equal(net(changed)[1], logits)


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(BadInput, match="divisible by 4"):
        AttentionUNet(2, 1, (2, 2, 2))(pictures(1, 1, 8, 10), torch.tensor([0]))
    with pytest.raises(BadInput, match="divisible by 64"):
        PatchDiscriminator(96, 3, 2)
    with pytest.raises(BadInput, match="size of the pictures"):
        PatchDiscriminator(16, 1, 2, width=2, n_strided=2)(pictures(1, 1, 32, 32))
    with pytest.raises(BadInput, match="shape of cond"):
        AttentionUNet(2, 1, (2, 2))(pictures(1, 1, 8, 8))
    with pytest.raises(BadInput, match="classes 0 to 1"):
        AttentionUNet(2, 1, (2, 2))(pictures(1, 1, 8, 8), torch.tensor([2]))


def test_the_classifier_takes_odd_sizes():
    assert PictureClassifier(3, 2, (4, 8, 8))(pictures(2, 2, 9, 13)).shape == (2, 3)
