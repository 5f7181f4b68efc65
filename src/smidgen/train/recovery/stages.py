"""A model cut into stages of equal structure, as a pipeline of machines holds it.

Parts are named by number: stage 0, 1, ..., n - 1, and `ENDS`: the embedding and the head, which share a machine (where
they are one matrix, so they must).
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from smidgen.kit.errors import bad

ENDS = -1  # the part that holds embedding and head


class StagedModel(nn.Module):
    """Embedding, stages, head.

    Args:
        embed: from inputs to activations. stages: each from activations to activations of the same shape, as a sum
            onto them (residual), all with the same parameter names and shapes.
        head: from activations to what the criterion reads.
        swap_ends: micro-batches with odd numbers run with the first two and the last two stages swapped (CheckFree+,
            arXiv 2506.15461), so that each of a pair learns to stand in for the other.
    Raises:
        BadInput: fewer than 4 stages to swap.
    """

    def __init__(self, embed: nn.Module, stages: Sequence[nn.Module], head: nn.Module, swap_ends: bool = False) -> None:
        super().__init__()
        if swap_ends and len(stages) < 4:
            raise bad("stages", "at least 4 where the ends are swapped", len(stages))
        self.ends = nn.ModuleDict({"embed": embed, "head": head})
        self.stages = nn.ModuleList(stages)
        self.swap_ends = swap_ends

    def part(self, number: int) -> nn.Module:
        """A stage, or with `ENDS` embedding and head."""
        return self.ends if number == ENDS else self.stages[number]

    @property
    def numbers(self) -> range:
        """Of all parts: `ENDS`, then the stages."""
        return range(ENDS, len(self.stages))

    def forward(self, x: Any, microbatch_index: int = 0) -> Tensor:
        """What the head says of a micro-batch; its number decides the order of the stages."""
        x = self.ends["embed"](x)
        for number in route(len(self.stages), self.swap_ends and microbatch_index % 2 == 1):
            x = self.stages[number](x)
        return self.ends["head"](x)


def route(n_stages: int, swapped: bool = False) -> list[int]:
    """The stages in the order in which a micro-batch runs through them."""
    order = list(range(n_stages))
    if swapped:
        order[:2], order[-2:] = order[1::-1], order[:-3:-1]
    return order
