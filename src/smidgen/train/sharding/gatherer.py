"""Stage 3: weights are all in one place only while their module computes, forward and again backward.

Hooks of a module gather before its forward and release after it. A hook of its last operations gathers before its
backward, a mark in the graph before its first ones releases after it; where no input needs a gradient, the end of the
whole backward pass does. Under activation checkpointing the second forward runs inside the backward and leaves the
weights where they are.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from smidgen.train.sharding.unit import Unit


class Gatherer:
    """Hooks on the modules that own units. Inputs are looked for among the arguments, outputs in containers too."""

    def __init__(self, units: dict[nn.Module, list[Unit]]) -> None:
        self._places = [_Place(module, own) for module, own in units.items() if own]

    def end(self) -> None:
        """The backward pass is over."""
        for place in self._places:
            place.after_backward()


class _Place:
    def __init__(self, module: nn.Module, units: list[Unit]) -> None:
        self.units, self.in_backward = units, False
        module.register_forward_pre_hook(self._before_forward, with_kwargs=True)
        module.register_forward_hook(self._after_forward)

    def before_backward(self, *_: Any) -> None:
        self.in_backward = True
        self._gather()

    def after_backward(self) -> None:
        self.in_backward = False
        self._release()

    def _before_forward(self, _: nn.Module, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
        self._gather()
        inputs = [v for v in [*args, *kwargs.values()] if isinstance(v, Tensor) and v.requires_grad]
        if not (inputs and torch.is_grad_enabled()):
            return args, kwargs
        marked = iter(_Mark.apply(self, *inputs))

        def change(value: Any) -> Any:
            return next(marked) if isinstance(value, Tensor) and value.requires_grad else value

        return tuple(change(v) for v in args), {k: change(v) for k, v in kwargs.items()}

    def _after_forward(self, _: nn.Module, args: tuple, output: Any) -> None:
        if not self.in_backward:
            self._release()
        for tensor in _tensors(output):
            for made in (tensor, tensor._base):  # an operation in place on a view leaves the view's own node out
                if made is not None and made.grad_fn is not None:
                    made.grad_fn.register_prehook(self.before_backward)

    def _gather(self) -> None:
        for unit in self.units:
            unit.gather()

    def _release(self) -> None:
        for unit in self.units:
            unit.release()


class _Mark(torch.autograd.Function):
    """Gives its inputs back; its backward runs when that of all that was computed from them has."""

    @staticmethod
    def forward(ctx: Any, place: _Place, *inputs: Tensor) -> tuple[Tensor, ...]:
        ctx.place = place
        return inputs

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        ctx.place.after_backward()
        return None, *grads


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for v in value.values():
            yield from _tensors(v)
    elif isinstance(value, list | tuple):
        for v in value:
            yield from _tensors(v)
