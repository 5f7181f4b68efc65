"""Losses of few-shot image translation, as means over the batch (SPARSE: Manni et al., 2025, arXiv 2508.06429).

All take live logits, before any softmax: each has a gradient. Dims: B rows, K classes.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from smidgen.kit.errors import bad


def class_loss(logits_BK: Tensor, labels: Tensor) -> Tensor:
    """Binary cross-entropy of each class, summed over them; labels are codes `[B]` or shares `[B, K]`."""
    return F.binary_cross_entropy_with_logits(logits_BK, shares(labels, logits_BK), reduction="sum") / len(logits_BK)


def prototype_loss(logits_BK: Tensor, labels_B: Tensor, temperature: float = 0.1) -> Tensor:
    """Cross-entropy of -|p - prototype of class c|^2, p being the sharpened probabilities, prototypes their means.

    Classes that the batch lacks have no prototype, and take no part.
    """
    p_BK = (logits_BK / temperature).softmax(1)
    there, own_B = labels_B.unique(return_inverse=True)
    member_BC = F.one_hot(own_B, len(there)).to(p_BK)
    prototypes_CK = member_BC.T @ p_BK / member_BC.sum(0)[:, None]
    distance_BC = (p_BK[:, None] - prototypes_CK).square().sum(2)
    return F.cross_entropy(-distance_BC, own_B)


def mutual_losses(
    logits: Sequence[Tensor], labels_B: Tensor, temperature: float = 0.1, weight: float = 0.1
) -> list[Tensor]:
    """Of each network: its cross-entropy + weight x KL(mean of the others || its own), at this temperature.

    Each learns from its own term alone: what the others say is a target and has no gradient (deep mutual learning,
    Zhang et al., 2018).
    """
    if len(logits) < 2:
        raise bad("networks", "at least 2, to learn from each other", len(logits))
    log_p = [(own_BK / temperature).log_softmax(1) for own_BK in logits]
    found = []
    for i, own_BK in enumerate(log_p):
        others_BK = torch.stack([p.detach().exp() for j, p in enumerate(log_p) if j != i]).mean(0)
        kl = F.kl_div(own_BK, others_BK, reduction="batchmean")
        found.append(F.cross_entropy(logits[i], labels_B) + weight * kl)
    return found


def entropy_loss(logits_BK: Tensor) -> Tensor:
    """Mean entropy of the probabilities, nats."""
    log_p_BK = logits_BK.log_softmax(1)
    return -(log_p_BK.exp() * log_p_BK).sum(1).mean()


def mixed(x: Tensor, labels_BK: Tensor, share: float, order_B: Tensor) -> tuple[Tensor, Tensor]:
    """Mixup (Zhang et al., 2018): rows, and shares of classes, of share x own + (1 - share) x that of another row."""
    return share * x + (1 - share) * x[order_B], share * labels_BK + (1 - share) * labels_BK[order_B]


def soft_cross_entropy(logits_BK: Tensor, labels_BK: Tensor) -> Tensor:
    """Cross-entropy with shares of classes."""
    return -(labels_BK * logits_BK.log_softmax(1)).sum(1).mean()


def gradient_penalty(critic: nn.Module, real: Tensor, fake: Tensor, random: torch.Generator | None = None) -> Tensor:
    """Mean of (|gradient of the score| - 1)^2 at points between real and fake pictures (WGAN-GP: Gulrajani et al.,
    2017). A picture's score is the mean of its patches."""
    share = torch.rand(len(real), 1, 1, 1, generator=random).to(real)
    between = (share * real + (1 - share) * fake).detach().requires_grad_()
    score = critic(between)[0].flatten(1).mean(1).sum()
    (slope,) = torch.autograd.grad(score, between, create_graph=True)
    return (slope.flatten(1).norm(dim=1) - 1).square().mean()


def shares(labels: Tensor, logits_BK: Tensor) -> Tensor:
    """Codes `[B]` as shares `[B, K]` like the logits."""
    if labels.ndim == 1:
        labels = F.one_hot(labels.long(), logits_BK.shape[1])
    return labels.to(logits_BK)
