"""Pictures and targets are mixed by one share; smoothing adds up to one."""

import pytest
import torch
import torch.nn.functional as F

from smidgen.kit.errors import BadInput
from smidgen.train.mixup import Mix, mixup, soft_cross_entropy, soft_targets


def test_pictures_and_targets_share_their_share():
    y = torch.arange(6)
    x, hard = torch.eye(6), soft_targets(y, 6)
    mixed, targets = mixup(x, hard, 0.8, torch.Generator().manual_seed(0))
    assert torch.allclose(mixed, targets) and torch.allclose(targets.sum(1), torch.ones(6))
    assert torch.allclose(targets.sum(0), torch.ones(6))  # each row is given away once
    assert 0 < int((targets > 0).sum()) - 6 <= 6
    again = mixup(x, hard, 0.8, torch.Generator().manual_seed(0))[0]
    assert torch.equal(mixed, again) and mixup(x, hard, 0)[0] is x
    shares = [float(mixup(x, hard, 0.2, torch.Generator().manual_seed(i))[0].max()) for i in range(40)]
    assert min(shares) < 0.75 < sum(shares) / 40  # Beta(0.2, 0.2) lies near its ends


def test_one_share_for_all_or_one_for_each():
    x = torch.randn(3, 2, 4, generator=torch.Generator().manual_seed(1))
    each = Mix(torch.tensor([[0.25], [0.5], [1.0]]), torch.tensor([1, 2, 0]))
    assert torch.equal(each.rows(x), torch.stack([0.25 * x[0] + 0.75 * x[1], 0.5 * x[1] + 0.5 * x[2], x[2]]))
    assert torch.equal(Mix(0.25, each.partner).rows(x)[0], each.rows(x)[0])
    scores, y = x[:, 0], torch.tensor([0, 3, 1])
    loss = F.cross_entropy(scores, y, reduction="none")
    wanted = 0.25 * loss + 0.75 * F.cross_entropy(scores, y[each.partner], reduction="none")
    assert torch.equal(Mix(0.25, each.partner).cross_entropy(scores, y), wanted)
    assert torch.equal(each.cross_entropy(scores, y)[[0, 2]], torch.stack([wanted[0], loss[2]]))


def test_smoothing_and_its_loss():
    y, scores = torch.tensor([2, 0]), torch.randn(2, 4, generator=torch.Generator().manual_seed(0))
    targets = soft_targets(y, 4, 0.1)
    assert torch.allclose(targets[0], torch.tensor([0.025, 0.025, 0.925, 0.025]))
    want = F.cross_entropy(scores, y, label_smoothing=0.1, reduction="sum")
    assert torch.allclose(soft_cross_entropy(scores, targets), want)


def test_errors():
    for call in (
        lambda: soft_targets(torch.tensor([4]), 4),
        lambda: soft_targets(torch.tensor([1]), 4, 1.0),
        lambda: mixup(torch.zeros(3), torch.zeros(2, 4)),
        lambda: mixup(torch.zeros(3), torch.zeros(3, 4), -1),
    ):
        with pytest.raises(BadInput, match="expected"):
            call()
