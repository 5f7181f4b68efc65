"""Mixup and label smoothing: targets as shares of classes (Zhang et al., 2018, arXiv 1710.09412; Szegedy et al., 2016).

A batch is mixed with itself in another order: rows (pictures, vectors, states of texts) by one share or by one each,
targets by the same. Dims: B rows, C classes, S tokens, D width.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from smidgen.kit.errors import bad


@dataclass(frozen=True)
class Mix:
    """Who is mixed with whom. `share`: of each row itself, one for all or `[B, 1]`; `partner`: `[B]`, place of the
    other."""

    share: float | Tensor
    partner: Tensor

    def rows(self, x: Tensor) -> Tensor:
        """Of each row of `[B, ...]` its share, and of its partner the rest."""
        share = self.share
        if isinstance(share, Tensor):
            share = share.reshape(len(share), *[1] * (x.ndim - 1))
        return share * x + (1 - share) * x[self.partner]

    def states(self, x_BSD: Tensor, mask_BS: Tensor) -> tuple[Tensor, Tensor]:
        """Mixed states `[B, S, D]` and where they are: at tokens of either, `[B, S]`. Behind the end of a text they
        count as 0, so that padding has no part in it."""
        mixed_BSD = self.rows(x_BSD * mask_BS[:, :, None].to(x_BSD.dtype))
        return mixed_BSD, torch.maximum(mask_BS, mask_BS[self.partner])

    def cross_entropy(self, logits_BC: Tensor, y_B: Tensor) -> Tensor:
        """share CE(own label) + (1 - share) CE(the other's), `[B]`."""
        own, other = (F.cross_entropy(logits_BC, y, reduction="none") for y in (y_B, y_B[self.partner]))
        share = self.share[:, 0] if isinstance(self.share, Tensor) else self.share
        return share * own + (1 - share) * other


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
    mix = Mix(share, torch.randperm(len(x), generator=generator).to(x.device))
    return mix.rows(x), mix.rows(targets_BC)


def soft_cross_entropy(scores_BC: Tensor, targets_BC: Tensor) -> Tensor:
    """Sum over rows of the cross-entropy against shares of classes."""
    return -(targets_BC * scores_BC.log_softmax(-1)).sum()
