"""Group convolutions against their sums written out; quarter turns, which a pixel grid knows, are exact."""

import math
from dataclasses import replace

import pytest
import torch

from smidgen.kit.errors import BadInput
from smidgen.nets.lie_groups import GL2, SL2, SO2, SPD2
from smidgen.nets.lie_layers import GlobalGroupPool, GroupConv2d, GroupMaxPool2d, LiftConv2d, Siren, SirenConfig
from smidgen.nets.lie_network import (
    GroupResNet,
    GroupResNetConfig,
    SampledModel,
    affine_equivariance_error,
    matched_plain,
    parameters,
    transformed,
)

SMALL = SirenConfig(hidden=8)
TINY = GroupResNetConfig(width=4, blocks=1, samples=4, hidden=8, kernel=SMALL, dropout=0.0)
GROUPS = (SO2("uniform"), SL2(spd=SPD2(traceless=True, bounds=0.5)), GL2(spd=SPD2(bounds=0.5)))


def random(seed=0):
    return torch.Generator().manual_seed(seed)


def kernel_at(layer, coordinates):
    """The layer's kernel [O, C] at one place of the grid."""
    return layer.kernel(coordinates).reshape(layer.channels[1], layer.channels[0])


@pytest.mark.parametrize("group", GROUPS)
def test_lifting_is_the_sum_that_it_says(group):
    layer = LiftConv2d(group, 2, 3, 3, 2, SMALL, generator=random())
    out, x = layer.draw(random(1)), torch.randn(1, 2, 3, 3, generator=random(2))
    got = layer(x, out)
    assert got.shape == (1, 3, 2, 1, 1)
    for q in range(2):
        want = torch.zeros(3)
        for row, y in enumerate((-2 / 3, 0.0, 2 / 3)):
            for column, across in enumerate((-2 / 3, 0.0, 2 / 3)):
                place = out.inverse[q] @ torch.tensor([across, y])
                if group.volume_preserving:
                    edge = float(place.norm() <= 1)
                else:
                    edge = torch.sigmoid(2 * (1 - place.norm())) * torch.linalg.det(out.inverse[q])
                want = want + edge * kernel_at(layer, place) @ x[0, :, row, column]
        assert torch.allclose(got[0, :, q, 0, 0], want, atol=1e-5)


@pytest.mark.parametrize("group", GROUPS)
def test_group_convolution_is_the_sum_that_it_says(group):
    layer = GroupConv2d(group, 2, 3, 3, 2, SMALL, padding=0, generator=random())
    into, out = group.sample_pair(3, random(1)), group.sample_pair(2, random(2))
    x = torch.randn(1, 2, 3, 3, 3, generator=random(3))
    got = layer(x, into, out)
    for q in range(2):
        want = torch.zeros(3)
        for g in range(3):
            apart = group.xi_inv(out.inverse[q] @ into.g[g]) / math.pi
            for row, y in enumerate((-2 / 3, 0.0, 2 / 3)):
                for column, across in enumerate((-2 / 3, 0.0, 2 / 3)):
                    at = torch.cat([out.inverse[q] @ torch.tensor([across, y]), apart])
                    if group.volume_preserving:
                        edge = float(at[:2].norm() <= 1)
                    else:
                        edge = torch.sigmoid(2 * (1 - at.norm())) / torch.linalg.det(into.g[g])
                    want = want + edge * kernel_at(layer, at) @ x[0, :, g, row, column] / 3
        assert torch.allclose(got[0, :, q, 0, 0], want, atol=1e-5)


def test_quarter_turns_move_features_and_leave_the_answer():
    net = GroupResNet(SO2(), 1, 3, TINY).eval()
    x = torch.rand(2, 1, 12, 12, generator=random())
    turned = transformed(x, SO2().sample_pair(4).g[1])
    assert torch.allclose(turned, x.rot90(-1, (2, 3)), atol=1e-5)  # y is down: the turn looks clockwise
    path = net.draw()
    before, after = net.lift(x, path.body), net.lift(turned, path.body)
    assert torch.allclose(after, before.roll(1, 2).rot90(-1, (3, 4)), atol=1e-5)
    before, after = (net.blocks[0](f, path.body) for f in (before, after))
    assert torch.allclose(after, before.roll(1, 2).rot90(-1, (3, 4)), atol=1e-5)
    assert torch.allclose(net(turned, path), net(x, path), atol=1e-5)
    assert affine_equivariance_error(net.pooled, x, SO2().sample_pair(4).g[1]) < 1e-4
    assert affine_equivariance_error(net.pooled, x, torch.tensor([[1.4, 0.0], [0.0, 0.7]])) > 1e-3
    plain = matched_plain(net, 3).eval()
    assert affine_equivariance_error(plain.pooled, x, SO2().sample_pair(4).g[1]) > 1e-2


def test_kernels_begin_with_the_variance_of_their_fan_in():
    net = Siren(5, 400, fan_in=50, generator=random())
    made = net(torch.rand(500, 5, generator=random(1)) * 2 - 1)
    assert float(made.detach().var()) == pytest.approx(1 / 50, rel=0.2)


def test_pools():
    x = torch.randn(2, 3, 4, 6, 6, generator=random())
    assert torch.equal(GroupMaxPool2d()(x)[:, :, 1, 0, 2], x[:, :, 1, :2, 4:].amax((2, 3)))
    assert torch.equal(GlobalGroupPool("max")(x), x.flatten(2).amax(2))
    assert torch.allclose(GlobalGroupPool("mean")(x), x.flatten(2).mean(2))


def test_draws_at_test_are_under_control():
    net = GroupResNet(GL2(so=SO2("uniform")), 1, 3, TINY)
    x = torch.rand(3, 1, 12, 12, generator=random())
    fixed, free = SampledModel(net, 3, False, samples=2).eval(), SampledModel(net, 3).eval()
    assert torch.equal(fixed(x), fixed(x)) and torch.allclose(fixed(x)[:1], fixed(x[:1]), atol=1e-5)
    assert not torch.equal(free(x), free(x))
    with torch.no_grad():
        draws = torch.Generator().manual_seed(0)
        each = [net(x, net.draw(draws, 2)).softmax(-1) for _ in range(3)]
        assert torch.allclose(fixed(x).exp(), sum(each) / 3, atol=1e-5)
    torch.manual_seed(0)
    first = fixed.train()(x)
    assert not torch.equal(first, fixed(x))  # in training each pass draws
    first.sum().backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in net.parameters())


def test_norms_over_the_batch_are_calibrated_for_each_draw():
    net = GroupResNet(SL2(so=SO2("uniform")), 1, 3, replace(TINY, norm="batch"))
    x = torch.rand(30, 1, 12, 12, generator=random())
    model = SampledModel(net, 2, False)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    model.calibrate(x)
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    got, draws = model.eval()(x).exp(), torch.Generator().manual_seed(0)
    with torch.no_grad():
        each = [net.train()(x, net.draw(draws)).softmax(-1) for _ in range(2)]  # as in training: of this very batch
    assert torch.allclose(got, sum(each) / 2, atol=2e-3)  # but for variances over n - 1
    assert torch.allclose(model.eval()(x[:4]).exp(), got[:4], atol=1e-5)
    with pytest.raises(BadInput, match="resample_eval"):
        SampledModel(net, 2).calibrate(x)


def test_the_plain_network_has_as_many_parameters_as_can_be():
    net = GroupResNet(SL2(), 1, 10, replace(TINY, width=6))
    plain = matched_plain(net, 10)
    off = [
        abs(parameters(type(plain)(1, 10, replace(plain.config, width=plain.config.width + d))) - parameters(net))
        for d in (-1, 0, 1)
    ]
    assert off[1] == min(off)


def test_errors():
    for call in (
        lambda: LiftConv2d(SO2(), 1, 2, 1),
        lambda: LiftConv2d(SO2(), 1, 2, 3, 0),
        lambda: GroupConv2d(SO2(), 1, 2, 4),
        lambda: GlobalGroupPool("sum"),
        lambda: GroupConv2d(SO2(), 1, 2, 3)(torch.zeros(1, 1, 3, 5, 5), SO2().sample_pair(4)),
        lambda: GroupResNet(SO2(), 1, 3, TINY)(torch.zeros(1, 1, 5, 5)),
        lambda: SampledModel(GroupResNet(SO2(), 1, 3, TINY), 0),
        lambda: affine_equivariance_error(lambda x: x, torch.zeros(3, 1, 4, 4), torch.eye(2)),
    ):
        with pytest.raises(BadInput, match="expected"):
            call()
