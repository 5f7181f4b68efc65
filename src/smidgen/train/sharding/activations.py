"""P_a: what a block needs for its second forward pass, kept once by a group instead of once by each rank.

In model parallelism all ranks of a group hold the same inputs of a block. Each keeps only its part of them (with
`offload` on the host), and all gather them just before the block is computed again for its backward pass: one
all-gather of batch x tokens x width a block (Rajbhandari et al., 2019, ZeRO, arXiv 1910.02054, section 6.1).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from smidgen.train.sharding.buffers import ContiguousArena
from smidgen.train.sharding.ranks import Ranks


class ActivationPartitioner:
    """Activation checkpoints of which each rank of a group keeps its part.

    Args:
        group: process group whose ranks have equal inputs, or `Ranks`. offload: parts lie on the host.
        arena: where parts lie; default: memory of their own.
    """

    def __init__(self, group: Any = None, offload: bool = False, arena: ContiguousArena | None = None) -> None:
        self.ranks = group if isinstance(group, Ranks) else Ranks(group)
        self.offload, self.arena = offload, arena

    def checkpoint(self, block: Callable[..., Any], *inputs: Any) -> Any:
        """`block(*inputs)`, which is computed again in the backward pass, with the same random numbers; only parts of
        its inputs are kept until then. All ranks of the group must do so in the same order."""
        with torch.autograd.graph.saved_tensors_hooks(self._keep, self._give):
            return checkpoint(block, *inputs, use_reentrant=False)

    def _keep(self, tensor: Tensor) -> "Tensor | _Part":
        if not tensor.is_floating_point() or tensor.numel() < self.ranks.size:
            return tensor
        length = -(-tensor.numel() // self.ranks.size)
        flat = tensor.detach().reshape(-1)
        own = flat[self.ranks.rank * length : (self.ranks.rank + 1) * length]
        part = _Part(tensor.shape, length, tensor.device)
        place = torch.device("cpu") if self.offload else tensor.device
        part.own = (
            self.arena.put(own, part) if self.arena is not None else torch.empty_like(own, device=place).copy_(own)
        )
        return part

    def _give(self, kept: "Tensor | _Part") -> Tensor:
        if isinstance(kept, Tensor):
            return kept
        assert kept.own is not None
        part = kept.own.new_zeros(kept.length, device=kept.device)
        part[: kept.own.numel()] = kept.own
        whole = part.new_empty(self.ranks.size * kept.length)
        self.ranks.gather(whole, part, "activations")
        return whole[: kept.shape.numel()].view(kept.shape)


@dataclass(eq=False)
class _Part:
    shape: torch.Size
    length: int  # of a part with its padding
    device: torch.device
    own: Tensor | None = None
