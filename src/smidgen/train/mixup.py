"""Mixup and label smoothing: targets as shares of classes (Zhang et al., 2018, arXiv 1710.09412; Szegedy et al., 2016).

A batch is mixed with itself in another order: pictures by one share, targets by the same. Dims: B rows, C classes.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from smidgen.kit.errors import bad


def soft_targets(labels_B: Tensor, classes: int, smoothing: float = 0.0) -> Tensor:
    """Shares `[B, C]`, float32: 1 - smoothing for the label, the rest spread over all classes.

    Raises:
        BadInput: a smoothing outside 0 to 1, or a label that is no class.
    """
    if not 0 <= smoothing < 1:
        raise bad("smoothing", "from 0, below 1", smoothing)
    if len(labels_B) and not 0 <= int(labels_B.min()) <= int(labels_B.max()) < classes:
        raise bad("labels", f"0 to {classes - 1}", f"{int(labels_B.min())} to {int(labels_B.max())}")
    return F.one_hot(labels_B.long(), classes) * (1 - smoothing) + smoothing / classes


def mixup(
    x: Tensor, targets_BC: Tensor, alpha: float = 0.8, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """Rows `[B, ...]` and targets, each with those of a row drawn without return; one share a batch, from
    Beta(alpha, alpha); 0: as they came.

    Raises:
        BadInput: an alpha below 0, targets for another number of rows.
    """
    if not alpha >= 0:
        raise bad("alpha", "0 or more", alpha)
    if len(x) != len(targets_BC):
        raise bad("targets", f"one row for each of {len(x)}", len(targets_BC))
    if not alpha:
        return x, targets_BC
    seed = int(torch.randint(2**31, (), generator=generator))  # torch's own Beta takes no generator
    share = float(np.random.default_rng(seed).beta(alpha, alpha))
    other = torch.randperm(len(x), generator=generator).to(x.device)
    return x * share + x[other] * (1 - share), targets_BC * share + targets_BC[other] * (1 - share)


def soft_cross_entropy(scores_BC: Tensor, targets_BC: Tensor) -> Tensor:
    """Sum over rows of the cross-entropy against shares of classes."""
    return -(targets_BC * scores_BC.log_softmax(-1)).sum()
