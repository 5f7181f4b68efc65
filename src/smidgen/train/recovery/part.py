"""One part of a staged model with its own optimizer, as its machine holds it."""

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from smidgen.kit.errors import bad
from smidgen.train.loop import clip
from smidgen.train.schedules import set_rate

MakeOptimizer = Callable[[Iterable[Tensor]], torch.optim.Optimizer]


def steady(_: int) -> float:
    """A rate that does not change."""
    return 1.0


@dataclass(frozen=True)
class Boost:
    """Factor of the rate of a rebuilt stage, by updates since then.

    Attributes:
        factor: 1.1 in the paper. updates: over which it falls to 1 in a line; None: it stays, as in the paper's code.
    """

    factor: float = 1.1
    updates: int | None = None

    def __post_init__(self) -> None:
        if not self.factor > 0:
            raise bad("boost", "a factor above 0", self.factor)

    def __call__(self, since: int) -> float:
        if self.updates is None:
            return self.factor
        return 1 + (self.factor - 1) * max(0.0, 1 - since / max(1, self.updates))


@dataclass(frozen=True, kw_only=True)
class Updating:
    """How every part is updated.

    Attributes:
        make_optimizer: of the part's parameters. clip: largest gradient norm of one part; None: not clipped.
        schedule: factor of the rate by update. boost: of a rebuilt stage; several multiply.
    """

    make_optimizer: MakeOptimizer
    clip: float | None = 1.0
    schedule: Callable[[int], float] = steady
    boost: Callable[[int], float] = Boost()


@dataclass
class Part:
    """A part's module and optimizer.

    Attributes:
        norm: of the last gradient, before clipping. rebuilt: the updates before which it was rebuilt.
    """

    module: nn.Module
    updating: Updating
    norm: float = 0.0
    rebuilt: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """A fresh optimizer: moments zero."""
        self.optimizer = self.updating.make_optimizer(self.module.parameters())

    def update(self, number: int) -> None:
        """Update number `number`, from 0, with the gradients that are there."""
        factor = self.updating.schedule(number)
        for before in self.rebuilt:
            factor *= self.updating.boost(number - before)
        set_rate(self.optimizer, factor)
        self.norm = clip(list(self.module.parameters()), self.updating.clip)
        self.optimizer.step()
        self.drop_gradients()

    def drop_gradients(self) -> None:
        self.optimizer.zero_grad(set_to_none=True)

    def rebuild(self, state: dict[str, Tensor], norm: float, number: int) -> None:
        """New weights before update `number`; the optimizer forgets, the rate is boosted from here."""
        self.module.load_state_dict(state)
        self.renew()
        self.norm = norm
        self.rebuilt.append(number)

    @torch.no_grad()
    def lose(self) -> None:
        """All that dies with the machine: weights (NaN, so that nothing can use them), moments, the norm."""
        for tensor in [*self.module.parameters(), *self.module.buffers()]:
            tensor.fill_(float("nan") if tensor.is_floating_point() else 0)
        self.renew()
        self.norm = float("nan")

    def state_dict(self) -> dict[str, Any]:
        return {
            "module": dict(self.module.state_dict()),
            "optimizer": self.optimizer.state_dict(),
            "norm": self.norm,
            "rebuilt": list(self.rebuilt),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.module.load_state_dict(state["module"])
        self.renew()
        self.optimizer.load_state_dict(copy.deepcopy(state["optimizer"]))  # it would share the tensors
        self.norm, self.rebuilt = state["norm"], list(state["rebuilt"])


def flat_gradients(module: nn.Module) -> Tensor:
    """All gradients in one vector; 0 where a parameter has none."""
    return torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in module.parameters()])


def set_gradients(module: nn.Module, flat: Tensor) -> None:
    """The inverse of `flat_gradients`."""
    parameters = list(module.parameters())
    for p, grad in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
        p.grad = grad.view_as(p).clone()
