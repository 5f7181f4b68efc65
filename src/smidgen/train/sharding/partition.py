"""What a model that is spread over ranks looks like to its optimizer, whichever way it is spread."""

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from smidgen.train.sharding.errors import UnevenGradients
from smidgen.train.sharding.ranks import Ranks


@dataclass(frozen=True, eq=False)
class Own:
    """Elements [start, start + length) of the parameter `name`, which this rank updates; `tensor` shares their memory
    and has its gradient when `Partition.finish` is done."""

    name: str
    start: int
    length: int
    tensor: nn.Parameter


class Partition(Protocol):
    """Trained and frozen parameters of a model, spread over ranks.

    Attributes:
        sizes: elements of each parameter by name. owns: of trained ones. keeps: weights of frozen ones, where those
            are spread too. names: of parameters, by identity.
    """

    ranks: Ranks
    sizes: dict[str, int]
    names: dict[int, str]
    owns: list[Own]
    keeps: list[Own]

    def backward(self, loss: Tensor, reduce: bool) -> None:
        """Gradients of the loss; `reduce`: none will be added to them, so they may go to their owners at once."""
        ...

    def finish(self) -> None:
        """Sums of all ranks in the `grad` of what each owns; None where no rank has any. Raises UnevenGradients."""
        ...

    def publish(self) -> None:
        """Weights that were updated, to where they are used."""
        ...

    def refresh(self) -> None:
        """Exact copies of weights anew, from weights that were set from outside."""
        ...

    def drop(self) -> None:
        """Forgets all gradients."""
        ...

    def whole(self) -> contextlib.AbstractContextManager[None]:
        """Inside, all weights are in the model as if nothing was spread; all ranks must go in together."""
        ...

    def nbytes(self) -> dict[str, int]:
        """Bytes in memory now: "weights" (exact copies too), "grads", "buffers"."""
        ...


def agreed(names: list[str], got: set[str], ranks: Ranks) -> set[str]:
    """The parameters for which all ranks got a gradient. Raises UnevenGradients where only some did."""
    have = ranks.counts(torch.tensor([name in got for name in names], dtype=torch.int32)).tolist()
    some = [name for name, count in zip(names, have, strict=True) if 0 < count < ranks.size]
    if some:
        raise UnevenGradients(
            f"Only some ranks have a gradient for {', '.join(some[:5])}{', ...' if len(some) > 5 else ''}: every rank "
            "must use the same parameters in an update (add 0 times the unused one to the loss)."
        )
    return {name for name, count in zip(names, have, strict=True) if count}


def storage_bytes(tensors: Iterable[Tensor | None]) -> int:
    """Bytes of the storages of tensors, each once."""
    storages = {s.data_ptr(): s.nbytes() for t in tensors if t is not None for s in [t.untyped_storage()]}
    return sum(storages.values())
