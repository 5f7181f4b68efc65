"""What is compressed: a network, what it reads, and how much it loses.

All parts of `compress` that look at a whole network take one of these. The answer is what counts of a network's output
(an embedding, logits, probabilities); the distance of answers teaches and weighs layers, the loss is what a person is
told. Batches are whatever the network reads.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

Answer = Callable[[nn.Module, Any], Tensor]
Distance = Callable[[Tensor, Tensor, Any], Tensor]
Loss = Callable[[nn.Module, Sequence[Any]], float]


@dataclass(frozen=True)
class Subject:
    """
    Attributes:
        model: the network as it is. It is not changed.
        learn: batches to learn from. choose: batches that mixes are chosen by, and whether recovery is kept. check:
            batches that nothing is chosen by: what a person is told is measured on them.
        answer: of a network and a batch: `[rows, ...]`. rows: how many rows an answer counts for.
        distance: of answers said and wanted, and their batch: the mean over rows, at least 0, with gradients.
        loss: of a network on batches, in `unit`; lower is better.
        mask: of a batch, bool: the tokens that are no padding, as the layers see them.
    """

    model: nn.Module
    learn: Sequence[Any]
    choose: Sequence[Any]
    check: Sequence[Any]
    answer: Answer
    distance: Distance
    loss: Loss
    unit: str
    mask: Callable[[Any], Tensor | None] = lambda batch: None

    def distances(self, models: nn.Module, batches: Sequence[Any], wanted: Sequence[Tensor]) -> float:
        """Mean distance of a network's answers from these."""
        with torch.no_grad():
            pairs = zip(batches, wanted, strict=True)
            parts = [(float(self.distance(said := self.answer(models, b), w, b)), len(said)) for b, w in pairs]
        return sum(d * n for d, n in parts) / max(sum(n for _, n in parts), 1)

    @torch.no_grad()
    def answers(self, batches: Sequence[Any]) -> list[Tensor]:
        """What the network as it is says."""
        return [self.answer(self.model, b) for b in batches]


def blocks(model: nn.Module) -> list[nn.Module]:
    """The layers of the longest list of layers in a network (of a transformer its blocks), in order."""
    lists = [m for m in model.modules() if isinstance(m, nn.ModuleList) and len(m) > 1]
    return list(max(lists, key=len)) if lists else []
