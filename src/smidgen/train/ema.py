"""A running average of a model's weights: what one predicts or samples with after a training on noisy gradients.

Its half-life is in examples, so that it means the same at any batch size. While little was seen the half-life is a
share of that, and the first, random weights are soon forgotten (Karras et al., 2022, arXiv 2206.00364, whose code
takes 5 %).
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from smidgen.kit.errors import bad


class EMA:
    """The average of a model's floating-point weights and buffers; whole numbers among them are copied.

    Args:
        half_life: examples after which a weight of today counts half. ramp: the half-life is at most this share of
            the examples seen; None: no such limit.

    Raises:
        BadInput: either is not above 0.
    """

    def __init__(self, model: nn.Module, half_life: float, ramp: float | None = 0.05) -> None:
        if not half_life > 0:
            raise bad("half_life", "examples, above 0", half_life)
        if ramp is not None and not ramp > 0:
            raise bad("ramp", "a share above 0, or None", ramp)
        self.half_life, self.ramp, self.seen = half_life, ramp, 0
        self.weights = {name: _wide(value) for name, value in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module, examples: int) -> None:
        """Takes in the weights after an update on so many examples."""
        self.seen += examples
        half_life = self.half_life if self.ramp is None else min(self.half_life, self.ramp * self.seen)
        new = 1 - 0.5 ** (examples / half_life)
        for name, value in model.state_dict().items():
            mine = self.weights[name]
            if mine.is_floating_point():
                mine.lerp_(value.to(mine), new)
            else:
                mine.copy_(value)

    def copy_to(self, model: nn.Module) -> None:
        """The model's weights become the average."""
        model.load_state_dict(self.weights)

    @contextlib.contextmanager
    def within(self, model: nn.Module) -> Iterator[nn.Module]:
        """Within the block the model has the averaged weights, afterwards its own again."""
        own = {name: value.clone() for name, value in model.state_dict().items()}
        self.copy_to(model)
        try:
            yield model
        finally:
            model.load_state_dict(own)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint must hold: `Run.extra` is a place for it. The tensors are the average's own."""
        return {"seen": self.seen, "weights": self.weights}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Raises BadInput: the average of another model."""
        if state["weights"].keys() != self.weights.keys():
            other = sorted(state["weights"].keys() ^ self.weights.keys())
            raise bad("averaged weights", "those of this model", f"a difference in {other[0]}")
        self.seen = state["seen"]
        self.weights = {name: _wide(value) for name, value in state["weights"].items()}


def _wide(value: Tensor) -> Tensor:
    """A copy, in float32 at least: small changes would be lost in 16 bits."""
    value = value.detach().clone()
    return value.float() if value.dtype in (torch.float16, torch.bfloat16) else value
