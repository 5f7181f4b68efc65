"""Losses of image translation against plain formulas, and that each has a gradient."""

import numpy as np
import torch
from torch import nn

from smidgen.learn import _translation_losses as losses

LOGITS = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 2, 2, 0, 2, 0])  # of classes 1 and 3 there is no row


def test_prototypes_are_of_the_classes_that_are_there():
    p = np.exp(LOGITS.numpy() / 0.5)
    p /= p.sum(1, keepdims=True)
    y = LABELS.numpy()
    prototypes = np.stack([p[y == c].mean(0) for c in (0, 2)])
    scores = -((p[:, None] - prototypes) ** 2).sum(2)
    own = scores[np.arange(6), y // 2]
    expected = (np.log(np.exp(scores).sum(1)) - own).mean()
    np.testing.assert_allclose(losses.prototype_loss(LOGITS, LABELS, 0.5), expected, rtol=1e-5)


def test_the_mutual_loss_has_the_gradient_of_live_logits():
    """d/dz KL(q || softmax(z / T)) = (p - q) / T for each network, its peers held still."""
    nets = [LOGITS.clone().requires_grad_(), LOGITS.flip(0).requires_grad_(), (-LOGITS).requires_grad_()]
    plain = [torch.nn.functional.cross_entropy(z, LABELS) for z in nets]
    found = losses.mutual_losses(nets, LABELS, temperature=0.7, weight=0.1)
    p = [(z / 0.7).softmax(1) for z in nets]
    for i, z in enumerate(nets):
        q = sum(p[j] for j in range(3) if j != i) / 2
        (got,) = torch.autograd.grad(found[i] - plain[i], z, retain_graph=True)
        torch.testing.assert_close(got, 0.1 * (p[i] - q).detach() / 0.7 / 6)
        assert got.abs().max() > 1e-4
        others = torch.autograd.grad(found[i], [n for n in nets if n is not z], retain_graph=True, allow_unused=True)
        assert others == (None, None)
    kl = (q * (q.log() - p[2].log())).sum(1).mean()
    torch.testing.assert_close(found[2] - plain[2], 0.1 * kl)


def test_class_loss_is_summed_over_classes():
    z, t = LOGITS.numpy(), np.eye(4)[LABELS]
    expected = -(t * -np.log1p(np.exp(-z)) + (1 - t) * -np.log1p(np.exp(z))).sum() / 6
    np.testing.assert_allclose(losses.class_loss(LOGITS, LABELS), expected, rtol=1e-5)


def test_entropy_and_mixup():
    np.testing.assert_allclose(losses.entropy_loss(torch.zeros(2, 4)), np.log(4), rtol=1e-6)
    x, one_hot = torch.arange(3.0), torch.eye(3)
    got, shares = losses.mixed(x, one_hot, 0.75, torch.tensor([1, 2, 0]))
    assert got.tolist() == [0.25, 1.25, 1.5] and shares[0].tolist() == [0.75, 0.25, 0]
    z = LOGITS[:3, :3]
    torch.testing.assert_close(losses.soft_cross_entropy(z, shares), -(shares * z.log_softmax(1)).sum(1).mean())


def test_gradient_penalty_of_a_known_slope():
    """The mean patch of a linear critic: its slope is the same everywhere, and the penalty can be followed back."""

    class Linear(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.full((8,), 0.5))

        def forward(self, x):
            score = x.flatten(1) @ self.w
            return torch.stack([score, 3 * score], 1), None  # two patches; their mean is twice the first

    critic = Linear()
    penalty = losses.gradient_penalty(critic, torch.rand(3, 2, 2, 2), torch.rand(3, 2, 2, 2))
    size = 2 * 0.5 * 8**0.5
    np.testing.assert_allclose(penalty.item(), (size - 1) ** 2, rtol=1e-5)
    penalty.backward()
    np.testing.assert_allclose(critic.w.grad, 2 * (size - 1) * 2 / 8**0.5, rtol=1e-5)
