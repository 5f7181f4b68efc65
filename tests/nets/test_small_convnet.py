"""Small networks for pictures: shapes, equal weights for equal seeds, names that let a trunk move; the projector."""

import pytest
import torch
from torch import nn

from smidgen.kit.errors import BadInput
from smidgen.nets.projector import projector
from smidgen.nets.small_convnet import ConvNet, SmallResNet, begin_as_identity, with_head


def test_the_plain_network_has_a_tenth_of_a_million_parameters_and_any_size_of_picture():
    net = ConvNet()
    assert sum(p.numel() for p in net.parameters()) == 9 * (32 + 32 * 64 + 64 * 128) + 2 * (32 + 64 + 128)
    for edge in (20, 33):
        assert net(torch.rand(3, 1, edge, edge)).shape == (3, net.feature_dim) == (3, 128)
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), ConvNet().parameters(), strict=True))
    assert not torch.equal(next(net.parameters()), next(ConvNet(seed=1).parameters()))


def test_pooling_before_the_norm_is_pooling_after_the_relu():
    net = ConvNet((4, 6)).eval()
    for m in net.modules():
        if isinstance(m, nn.BatchNorm2d):
            m.running_mean.normal_(generator=torch.Generator().manual_seed(0))
    conv, _, norm, _ = net.layers[:4]
    x = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(net.layers[:4](x), nn.functional.max_pool2d(norm(conv(x)).relu(), 2))


def test_patches_keep_two_places_after_three_stages_and_blocks_can_begin_as_the_identity():
    net = SmallResNet((16, 32, 64), channels=3)
    x = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert net.trunk(x).shape == (4, 64, 2, 2) and net(x).shape == (4, 64)
    flat = begin_as_identity(SmallResNet((16,), blocks=3, channels=3))
    assert torch.equal(flat.trunk(x), flat.stem(x))
    flat(x).square().sum().backward()
    assert all(block.conv2.weight.grad.abs().sum() > 0 for block in flat.stages[0])


def test_a_shorter_network_has_the_names_of_the_longer_one():
    short, whole = SmallResNet((16, 32, 64)).state_dict(), SmallResNet().state_dict()
    shared = {k for k in short if not k.startswith("norm.")}
    assert all(short[k].shape == whole[k].shape for k in shared) and short["norm.weight"].shape != (128,)
    net = with_head(ConvNet((4,)), 4, 3)
    assert net(torch.rand(2, 1, 8, 8)).shape == (2, 3) and {k.split(".")[0] for k in net.state_dict()} == {
        "backbone",
        "head",
    }


def test_the_projector_has_no_biases_and_ends_in_a_linear_layer():
    head = projector(5, (7, 8, 9))
    kinds = [type(m) for m in head]
    assert kinds == [nn.Linear, nn.BatchNorm1d, nn.ReLU] * 2 + [nn.Linear]
    assert [m.weight.shape for m in head if isinstance(m, nn.Linear)] == [(7, 5), (8, 7), (9, 8)]
    assert all(m.bias is None for m in head if isinstance(m, nn.Linear))
    assert projector(5, (6,))(torch.ones(2, 5)).shape == (2, 6)
    for wrong in (lambda: projector(5, ()), lambda: ConvNet(()), lambda: SmallResNet((4, 4), blocks=[1])):
        with pytest.raises(BadInput):
            wrong()
