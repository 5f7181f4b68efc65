"""LARS against its formulas in numpy, and its two groups of rates under a schedule."""

import numpy as np
import pytest
import torch
from torch import nn

from smidgen.kit.errors import BadInput
from smidgen.train.lars import LARS, rate_groups
from smidgen.train.schedules import set_rate


def test_steps_are_those_of_the_formulas():
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    optimizer = LARS(rate_groups(net, 0.3, 0.02, 0.1), 1.0, momentum=0.8, eta=0.05)
    p = {k: v.detach().numpy().astype(float) for k, v in net.named_parameters()}
    moved = {k: np.zeros_like(v) for k, v in p.items()}
    rng = np.random.default_rng(0)
    for step in range(3):
        set_rate(optimizer, 0.5 if step == 2 else 1.0)
        for name, own in net.named_parameters():
            g = rng.normal(size=own.shape)
            own.grad = torch.from_numpy(g).float()
            lr = 0.02
            if own.ndim > 1:
                lr, g = 0.3, g + 0.1 * p[name]
                g = g * 0.05 * np.linalg.norm(p[name]) / np.linalg.norm(g)
            moved[name] = 0.8 * moved[name] + g
            p[name] -= lr * (0.5 if step == 2 else 1.0) * moved[name]
        optimizer.step()
    for name, own in net.named_parameters():
        assert np.allclose(own.detach().numpy(), p[name], atol=1e-6), name


def test_a_norm_of_zero_leaves_the_gradient_as_it_is():
    w = nn.Parameter(torch.zeros(2, 2))
    w.grad = torch.ones(2, 2)
    LARS([w], 0.1).step()
    assert torch.allclose(w, torch.full((2, 2), -0.1))
    w.grad = torch.zeros(2, 2)
    LARS([w], 0.1).step()
    assert torch.allclose(w, torch.full((2, 2), -0.1))


def test_vectors_are_scaled_too_where_asked_and_frozen_weights_are_in_no_group():
    b = nn.Parameter(torch.tensor([3.0, 4.0]))
    b.grad = torch.tensor([0.0, 2.0])
    LARS([b], 1.0, eta=0.1, exclude_1d=False).step()
    assert torch.allclose(b, torch.tensor([3.0, 3.5]))
    net = nn.Linear(2, 2).requires_grad_(False)
    assert rate_groups(net, 1, 1) == []
    with pytest.raises(BadInput, match="momentum"):
        LARS([b], 1.0, momentum=1.0)
