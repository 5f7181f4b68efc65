"""Pseudo-labels by a vote of several networks that remembers earlier votes of the same picture.

SPARSE (Manni et al., 2025, arXiv 2508.06429), the unsupervised phase; memory after temporal ensembling (Laine and
Aila, 2017). Memory is kept by the picture's index in the data set, so batches may come in any order.
Dims: B rows of a batch, K classes, N rows of the data set.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from smidgen.kit.errors import bad


def confident_votes(logits: Sequence[Tensor], temperature: float = 0.5) -> Tensor:
    """Mean over the networks of confidence x probability `[B, K]`; rows sum to the mean confidence, 0 to 1.

    Args:
        logits: of each network `[B, K]`. Their confidence is 1 - entropy / log K of softmax(logits / temperature).
    """
    votes = []
    for logits_BK in logits:
        log_p_BK = (logits_BK / temperature).log_softmax(1)
        p_BK = log_p_BK.exp()
        entropy_B = -(p_BK * log_p_BK).sum(1)
        votes.append((1 - entropy_B / math.log(logits_BK.shape[1])).clamp(0, 1)[:, None] * p_BK)
    return torch.stack(votes).mean(0)


def most_confident(votes_BK: Tensor, percentile: float) -> tuple[Tensor, Tensor]:
    """(labels `[B]`, which rows are kept `[B]` bool): those whose largest vote reaches that quantile of the batch."""
    most_B, labels_B = votes_BK.max(1)
    return labels_B, most_B >= most_B.quantile(percentile)


class TemporalEnsemble:
    """An exponential moving average of each row's votes, by its index.

    The average forgets that it began at 0 (it is divided by 1 - decay ** visits), so that a row seen twice has the
    mean of two votes, and not 2 % of them.

    Args:
        n_items: rows of the data set. decay: what is kept of the average at a visit. mix: its share in the answer.
    Raises:
        BadInput: settings out of their range.
    """

    def __init__(self, n_items: int, num_classes: int, *, decay: float = 0.99, mix: float = 0.3) -> None:
        if n_items < 1 or num_classes < 2:
            raise bad("n_items, num_classes", "at least 1 and 2", f"{n_items}, {num_classes}")
        if not 0 <= decay < 1:
            raise bad("decay", "from 0 to below 1", decay)
        if not 0 <= mix <= 1:
            raise bad("mix", "from 0 to 1", mix)
        self.decay, self.mix = decay, mix
        self.sums_NK = torch.zeros(n_items, num_classes)
        self.visits_N = torch.zeros(n_items, dtype=torch.int64)

    def average(self, index_B: Tensor) -> Tensor:
        """What is remembered `[B, K]`; zeros for rows never seen."""
        index_B = self._checked(index_B)
        share_B = 1 - self.decay ** self.visits_N[index_B].double()
        return (self.sums_NK[index_B].double() / share_B.clamp(min=1e-300)[:, None]).float()

    def update(self, index_B: Tensor, votes_BK: Tensor) -> Tensor:
        """Votes mixed with the average of earlier ones `[B, K]` (alone, for a row never seen); then remembers them.

        Raises:
            BadInput: an index beyond the data set, or twice in the batch; another shape of votes.
        """
        index_B = self._checked(index_B)
        if tuple(votes_BK.shape) != (len(index_B), self.sums_NK.shape[1]):
            raise bad("shape of votes", str((len(index_B), self.sums_NK.shape[1])), str(tuple(votes_BK.shape)))
        new_BK = votes_BK.detach().cpu().float()
        seen_B = (self.visits_N[index_B] > 0)[:, None]
        mixed_BK = torch.where(seen_B, (1 - self.mix) * new_BK + self.mix * self.average(index_B), new_BK)
        self.sums_NK[index_B] = self.decay * self.sums_NK[index_B] + (1 - self.decay) * new_BK
        self.visits_N[index_B] += 1
        return mixed_BK.to(votes_BK.device)

    def state_dict(self) -> dict[str, Any]:
        return {"sums": self.sums_NK, "visits": self.visits_N}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Raises BadInput: of another data set."""
        if state["sums"].shape != self.sums_NK.shape:
            raise bad("remembered votes", str(tuple(self.sums_NK.shape)), str(tuple(state["sums"].shape)))
        self.sums_NK, self.visits_N = state["sums"].clone(), state["visits"].clone()

    def _checked(self, index_B: Tensor) -> Tensor:
        if index_B.ndim != 1 or index_B.is_floating_point() or index_B.dtype == torch.bool:
            raise bad("index", "whole numbers [B], a row's place in the data set", f"{index_B.dtype} {index_B.shape}")
        index_B = index_B.cpu().long()
        wrong = index_B[(index_B < 0) | (index_B >= len(self.visits_N))]
        if len(wrong):
            raise bad("index", f"0 to {len(self.visits_N) - 1}", int(wrong[0]), "Is it the place in the data set?")
        if len(index_B.unique()) < len(index_B):
            raise bad("index", "each row once in a batch", "one twice", "Number the rows of the data set.")
        return index_B
