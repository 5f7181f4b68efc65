"""Sees whether a state changed before it was copied, and then lets no checkpoint be made of it."""

import torch
from torch import Tensor

from smidgen.train.checkpoint.errors import CheckpointFailed
from smidgen.train.checkpoint.tree import Flat

SMALL = 64 << 10  # bytes: such tensors are copied in `save` (statistics of batch norm change in the forward pass)
PROBED, PROBES = 32, 16  # the largest tensors of a state; about so many values of each are compared after the copy


class Unchanged:
    """A watch on the tensors of a state: their version counters, and a few of their values.

    Fused optimizers do not count versions, so some values of the largest CPU tensors are compared as well. Writing
    through `.data` counts none either. Small tensors are copied here and replaced in `flat`.
    """

    def __init__(self, flat: Flat) -> None:
        self._versions: dict[str, tuple[Tensor, int]] = {}
        for name, tensor in flat.tensors.items():
            if tensor.nbytes <= SMALL:
                flat.tensors[name] = tensor.clone()
            elif not tensor.is_inference():
                self._versions[name] = tensor, tensor._version
        large = [t for t in flat.tensors.values() if t.nbytes > SMALL and t.device.type == "cpu" and t.is_contiguous()]
        self._probes = [(t, _probe(t)) for t in sorted(large, key=lambda t: -t.nbytes)[:PROBED]]

    def check(self) -> None:
        """Raises CheckpointFailed when something changed since."""
        names = [name for name, (tensor, version) in self._versions.items() if tensor._version != version]
        if names or any(not torch.equal(_probe(t), old) for t, old in self._probes):
            which = f"'{names[0]}'" if names else "a tensor"
            raise CheckpointFailed(
                f"{which} changed before it was copied: call before_update() first, or attach() the optimizer."
            )


def _probe(tensor: Tensor) -> Tensor:
    """The bytes of a few values, spread over a contiguous tensor."""
    flat = tensor.reshape(-1)
    return flat[:: max(1, len(flat) // PROBES)].clone().view(torch.uint8)
