"""The processes of a group, what they tell each other, and how many bytes each one sends for it.

Volumes are what a rank sends: S bytes reduced and scattered, or gathered, are S (N - 1) / N over N ranks. gloo's own
reduce-scatter is an all-reduce inside and sends twice that (measured on its sockets, torch 2.13); so gradients travel
by `exchange`, an all-to-all, and the receiver adds them up in the order of ranks. That order is fixed, so that equal
runs are equal to the bit.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from smidgen.kit.errors import bad
from smidgen.train.sharding.errors import FailedElsewhere

T = TypeVar("T")


class Ranks:
    """A process group. `sent`: bytes that this rank sent, by kind: "gradients", "weights", "activations", "control".

    Raises:
        BadInput: torch.distributed is not initialised.
    """

    def __init__(self, group: Any = None) -> None:
        if not (dist.is_available() and dist.is_initialized()):
            raise bad("process group", "an initialised one", "none", "Start with torchrun, or call sharding.start().")
        self.group = group
        self.rank, self.size = dist.get_rank(group), dist.get_world_size(group)
        self.sent: Counter[str] = Counter()

    def exchange(self, out: Tensor, data: Tensor, kind: str = "gradients") -> Any:
        """Begins to send the r-th of N equal parts of `data` to rank r; the r-th part of `out` will be what rank r
        sent here. Both must stay as they are until `wait()` of what this returns; None: it is done."""
        if self.size == 1:
            out.copy_(data)
            return None
        self._count(kind, data)
        return dist.all_to_all_single(out, data, group=self.group, async_op=True)

    def gather(self, whole: Tensor, part: Tensor, kind: str = "weights") -> None:
        """The equal parts of all ranks, in their order, into `whole`; `part` may be its place there."""
        if self.size == 1:
            if whole.data_ptr() != part.data_ptr():
                whole.copy_(part)
            return
        self._count(kind, whole)
        dist.all_gather_single(whole, part, group=self.group)

    def broadcast(self, tensor: Tensor) -> None:
        """Rank 0's values on all ranks."""
        if self.size > 1:
            dist.broadcast(tensor, group_src=0, group=self.group)

    def combine(self, vector: Tensor) -> Tensor:
        """Puts together a vector on the host, of which each element is 0 on all ranks but one, to the bit."""
        if self.size == 1:
            return vector
        whole = vector.to(self._device())
        dist.all_reduce(whole.view(torch.uint8), group=self.group)
        return whole.to(vector.device)

    def everyone(self, value: Any) -> list[Any]:
        """A small value of each rank, on all ranks."""
        found: list[Any] = [value] * self.size
        if self.size > 1:
            dist.all_gather_object(found, value, group=self.group)
        return found

    def counts(self, tensor: Tensor) -> Tensor:
        """The sum of whole numbers over the ranks."""
        if self.size > 1:
            self._count("control", tensor, 2)
            dist.all_reduce(tensor, group=self.group)
        return tensor

    def totals(self, *values: float) -> list[float]:
        """Sums over the ranks, in their order and in float64: the same on all, to the bit."""
        if self.size == 1:
            return list(values)
        own = torch.tensor(values, dtype=torch.float64, device=self._device())
        found = own.new_empty(self.size * len(values))
        self.gather(found, own, "control")
        return [sum(column) for column in zip(*found.view(self.size, -1).tolist(), strict=True)]

    def first(self, value: Any) -> Any:
        """Rank 0's value (a number, a text, a list of those), on all ranks."""
        if self.size == 1:
            return value
        said = [value]
        dist.broadcast_object_list(said, group_src=0, group=self.group)
        return said[0]

    def on_first(self, work: Callable[[], T]) -> T:
        """What rank 0 makes of it while the others wait, on all ranks (data that can be pickled).

        Raises:
            FailedElsewhere: on the others, where rank 0 raised something.
        """
        made: Any = None
        if self.rank == 0:
            try:
                made = work()
            except BaseException as error:
                self.first([getattr(error, "exit_code", 1), None])
                raise
        code, made = self.first([None, made])
        if code is not None:
            raise FailedElsewhere(code)
        return made

    def _count(self, kind: str, tensor: Tensor, times: int = 1) -> None:
        self.sent[kind] += times * tensor.nbytes * (self.size - 1) // self.size

    def _device(self) -> str:
        return "cuda" if dist.get_backend(self.group) == "nccl" else "cpu"
