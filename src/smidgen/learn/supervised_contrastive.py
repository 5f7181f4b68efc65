"""Supervised contrastive loss (Khosla et al., 2020, arXiv 2004.11362, eq. 2): rows of one label near, others far.

With a memory of earlier batches (Wang et al., 2020, arXiv 1912.06798) there are positives and negatives enough where
batches are small. Dims: B rows of a batch, M of the memory, D width.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from smidgen.kit.errors import bad


class ContrastiveLoss(NamedTuple):
    """`loss`: mean over the anchors, rows that have a positive; 0 without any. `anchors`: how many there are."""

    loss: Tensor
    anchors: int

    @property
    def no_positives(self) -> bool:
        """Nothing could be learned from the batch: no two rows of it, or of the memory, have one label."""
        return self.anchors == 0


class CrossBatchMemory:
    """The newest `size` embeddings of earlier batches, with their labels: no gradient flows into them.

    They were made by weights of some steps ago: small rates, or little memory.
    """

    def __init__(self, size: int, width: int) -> None:
        if size < 1:
            raise bad("size of the memory", "at least 1", size)
        self.size = size
        self.z_MD, self.y_M = torch.zeros(0, width), torch.zeros(0, dtype=torch.int64)
        self.rows_M = torch.zeros(0, dtype=torch.int64)

    def __len__(self) -> int:
        return len(self.y_M)

    def add(self, z_BD: Tensor, y_B: Tensor, rows_B: Tensor | None = None) -> None:
        """Keeps a batch, after its loss was computed. `rows_B` tells which rows they are; -1 where it is not said."""
        rows_B = torch.full_like(y_B, -1) if rows_B is None else rows_B
        z_BD = F.normalize(z_BD.detach(), dim=1)
        self.z_MD = torch.cat([self.z_MD.to(z_BD), z_BD])[-self.size :]
        self.y_M = torch.cat([self.y_M, y_B])[-self.size :]
        self.rows_M = torch.cat([self.rows_M, rows_B])[-self.size :]


def supervised_contrastive_loss(
    z_BD: Tensor,
    y_B: Tensor,
    temperature: float = 0.1,
    memory: CrossBatchMemory | None = None,
    rows_B: Tensor | None = None,
) -> ContrastiveLoss:
    """Mean over anchors i of -1/|P(i)| sum_{p in P(i)} log(exp(z_i.z_p / t) / sum_{a != i} exp(z_i.z_a / t)).

    Args:
        z_BD: embeddings; they are normalised here. y_B: labels, int64. P(i): other rows of the same label.
        memory: rows that are compared with as well; they are no anchors.
        rows_B: which rows these are: one's own embedding of an earlier batch is then left out of the memory.
    Raises:
        BadInput: shapes differ, or a temperature that is not above 0.
    """
    if z_BD.ndim != 2 or y_B.shape != z_BD.shape[:1]:
        raise bad("y_B.shape", f"({len(z_BD)},), a label for each embedding", tuple(y_B.shape))
    if not temperature > 0:
        raise bad("temperature", "above 0", temperature)
    z_BD = F.normalize(z_BD, dim=1)
    others_AD, labels_A = z_BD, y_B
    self_BA = torch.eye(len(y_B), dtype=torch.bool, device=z_BD.device)
    if memory is not None and len(memory):
        others_AD, labels_A = torch.cat([z_BD, memory.z_MD.to(z_BD)]), torch.cat([y_B, memory.y_M])
        own_BM = torch.zeros(len(y_B), len(memory), dtype=torch.bool)
        if rows_B is not None:
            own_BM = (rows_B[:, None] == memory.rows_M) & (rows_B >= 0)[:, None]
        self_BA = torch.cat([self_BA, own_BM.to(self_BA.device)], 1)
    positive_BA = (y_B[:, None] == labels_A) & ~self_BA
    each_B = positive_BA.sum(1)
    anchors = int((each_B > 0).sum())
    if not anchors:
        return ContrastiveLoss(z_BD.sum() * 0.0, 0)
    scores_BA = (z_BD @ others_AD.T / temperature).masked_fill(self_BA, -torch.inf)
    share_BA = scores_BA - torch.logsumexp(scores_BA, 1, keepdim=True)
    loss_B = -share_BA.masked_fill(~positive_BA, 0.0).sum(1) / each_B.clamp_min(1)
    return ContrastiveLoss(loss_B[each_B > 0].mean(), anchors)
