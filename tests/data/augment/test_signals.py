"""Changes of signals: what each must keep."""

from functools import partial

import pytest
import torch

from smidgen.data.augment.signals import TRANSFORMS, permutation, random_rotations, rotation, scale, time_warp
from smidgen.kit.errors import BadInput

X = torch.randn(5, 40, 6, generator=torch.Generator().manual_seed(1))


def g(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("name", TRANSFORMS)
def test_each_changes_the_signal_by_the_generator_alone(name):
    change, before = TRANSFORMS[name], X.clone()
    made = change(X, g())
    assert made.shape == X.shape and not torch.equal(made, X) and torch.equal(X, before)
    assert torch.equal(made, change(X, g()))


def test_rotation_keeps_lengths_and_differs_by_window():
    made = rotation(X, g(), vectors=[3])
    assert torch.equal(made[..., :3], X[..., :3])
    torch.testing.assert_close(made[..., 3:].norm(dim=2), X[..., 3:].norm(dim=2))
    turn = random_rotations(2000, g(), torch.float64)
    torch.testing.assert_close(turn @ turn.mT, torch.eye(3, dtype=torch.float64).expand(2000, 3, 3))
    torch.testing.assert_close(torch.linalg.det(turn), torch.ones(2000, dtype=torch.float64))
    assert turn.mean(0).abs().max() < 0.05  # no direction is preferred


def test_permutation_moves_whole_segments_and_scale_is_one_factor_a_channel():
    x = torch.arange(40.0).reshape(1, 40, 1)
    for seed in range(20):
        made = permutation(x, g(seed), segments=4)[0, :, 0]
        assert sorted(made.tolist()) == x[0, :, 0].tolist()
        assert 1 <= int((made.diff() != 1).sum()) <= 3  # breaks between four segments
    factor = scale(X, g()) / X
    torch.testing.assert_close(factor, factor[:, :1].expand_as(factor))


def test_time_warp_runs_forward_between_the_same_ends():
    x = torch.linspace(0, 1, 40).reshape(1, 40, 1).repeat(3, 1, 1)
    made = time_warp(x, g())
    assert (made.diff(dim=1) > 0).all()
    torch.testing.assert_close(made[:, [0, -1]], x[:, [0, -1]])


@pytest.mark.parametrize(
    "change", [partial(rotation, vectors=[4]), lambda x, g: rotation(x[..., :4], g), partial(permutation, segments=1)]
)
def test_bad_input(change):
    with pytest.raises(BadInput):
        change(X, g())
