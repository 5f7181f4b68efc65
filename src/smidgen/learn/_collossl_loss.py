"""The contrastive loss over devices, its weights, and which windows it compares.

Anchor and positive devices show the same moment, negative devices other moments. A negative device's batch is put in an
order in which no window keeps its place: in a plain random order about one does, and would be a false negative.

Dims: B windows, P positive devices, Q negative ones, E embedding width.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from smidgen.kit.errors import bad

Sampling = Literal["unsync_neg", "sync_all", "unsync_all"]
SAMPLINGS: tuple[Sampling, ...] = ("unsync_neg", "sync_all", "unsync_all")


def multi_view_contrastive_loss(
    anchor_BE: Tensor,
    positives_PBE: Tensor,
    negatives_QBE: Tensor,
    *,
    neg_weights: Tensor,
    pos_weight: float | Tensor = 1.0,
    temperature: float = 0.05,
) -> Tensor:
    """Mean over windows of -log(p / (p + n)): sums of exp(cos / temperature) over positives and (weighted) negatives.

    The cosine counts as it is: alike is near. (The published code takes a framework's cosine loss, which is minus the
    cosine, without turning its sign.) Only ratios of weights matter.

    Args:
        neg_weights: `[Q]`, of each negative device. pos_weight: of all positive ones.
    Returns:
        Scalar, float32 or wider, above 0.
    Raises:
        BadInput: shapes or weights that do not fit.
    """
    for name, x in (("positives", positives_PBE), ("negatives", negatives_QBE)):
        if x.ndim != 3 or not len(x) or x.shape[1:] != anchor_BE.shape:
            raise bad(name, f"at least one [{', '.join(map(str, anchor_BE.shape))}] like the anchor", tuple(x.shape))
    if neg_weights.shape != negatives_QBE.shape[:1] or not bool((neg_weights > 0).all()):
        raise bad("neg_weights", f"{len(negatives_QBE)} numbers above 0", tuple(neg_weights.tolist()))
    if not temperature > 0:
        raise bad("temperature", "above 0", temperature)
    anchor_BE = F.normalize(anchor_BE, dim=1)
    near_PB = (F.normalize(positives_PBE, dim=2) * anchor_BE).sum(2) / temperature
    far_QB = (F.normalize(negatives_QBE, dim=2) * anchor_BE).sum(2) / temperature
    near_PB = near_PB + torch.as_tensor(pos_weight, dtype=near_PB.dtype, device=near_PB.device).log()
    far_QB = far_QB + neg_weights.to(far_QB).log()[:, None]
    near_B = near_PB.logsumexp(0)
    return F.softplus(far_QB.logsumexp(0) - near_B).mean()


def contrast_weights(distances: list[float], *, weighted: bool = True) -> tuple[Tensor, float]:
    """Weights of negative devices, 1 / distance, and that of positive ones, 1, over the largest of all."""
    if not distances or not min(distances) > 0:
        raise bad("distances", "numbers above 0", distances)
    weights = torch.tensor([1 / d if weighted else 1.0 for d in distances], dtype=torch.float64)
    most = max(float(weights.max()), 1.0)
    return (weights / most).float(), 1.0 / most


def random_cycle(count: int, generator: Generator) -> Tensor:
    """An order `[count]` of places, drawn uniformly among those that are one cycle through all: none stays.

    Raises:
        BadInput: fewer than 2, of which one would have to stay.
    """
    if count < 2:
        raise bad("windows of a batch", "at least 2, so that there is another moment", count)
    places = torch.randperm(count, generator=generator)
    order = torch.empty_like(places)
    order[places] = places.roll(-1)
    return order


def cyclic_shift(count: int, generator: Generator) -> Tensor:
    """An order `[count]`: all places moved on by one number, from 1 to count - 1. Raises BadInput: fewer than 2."""
    if count < 2:
        raise bad("windows of a batch", "at least 2, so that there is another moment", count)
    return torch.arange(count).roll(-int(torch.randint(1, count, (), generator=generator)))
