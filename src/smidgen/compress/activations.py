"""Activations as integers of a few bits: a quantizer for a layer's inputs, one range for the whole tensor.

x is written as s (q - z) with whole q in 0 .. 2^b - 1; z is whole too, so that 0 (padding, what ReLU cuts) is exact.
The range comes from the least and largest input seen, or from a share of them, and can then be learned: gradients of
range and zero point are those of LSQ (Esser et al., 2020, arXiv 1902.08153) with a learned offset.
"""

import math

import torch
from torch import Tensor, nn

from smidgen.formats.grid import grid
from smidgen.formats.rounding import codes, through
from smidgen.kit.errors import BadInput, bad


class ActivationQuantizer(nn.Module):
    """Fake quantization of what passes through it: numbers stay floats, but only those that `bits` can say.

    Attributes:
        span: parameter, the width of the range. zero: parameter, the zero point, rounded where it is used.
        low, high: the least and largest number seen while `observing`.

    It does nothing until `settle` was called (or `load_state_dict`), and while `off`.
    """

    low: Tensor
    high: Tensor
    settled: Tensor

    def __init__(self, bits: int = 8) -> None:
        super().__init__()
        if not 2 <= bits <= 8:
            raise bad("bits of activations", "2 to 8", bits)
        self.bits = bits
        self.off = False
        self.observing = False
        self.span = nn.Parameter(torch.ones(()))
        self.zero = nn.Parameter(torch.zeros(()))
        self.register_buffer("low", torch.tensor(math.inf), persistent=False)
        self.register_buffer("high", torch.tensor(-math.inf), persistent=False)
        self.register_buffer("settled", torch.tensor(False))

    @property
    def steps(self) -> int:
        return 2**self.bits - 1

    @property
    def scale(self) -> Tensor:
        """The size of a step; at least a tiny number, whatever was learned."""
        return self.span.clamp(min=1e-8) / self.steps

    @property
    def zero_point(self) -> Tensor:
        """Whole, in 0 .. 2^b - 1, with the gradient of `zero`."""
        return through(self.zero, grid(f"uint{self.bits}"))

    def forward(self, x: Tensor) -> Tensor:
        if self.observing:
            self.observe(x)
        if self.off or self.observing or not self.settled:
            return x
        s, z = self.scale, self.zero_point
        return (through(x / s + z, grid(f"uint{self.bits}")) - z) * s

    @torch.no_grad()
    def observe(self, x: Tensor, share: float = 1.0) -> None:
        """Widens the range seen by these inputs.

        Args:
            share: of the inputs (about so many of each end are left out, half of them on each side).
        Raises:
            BadInput: NaN or infinity among them.
        """
        if not x.numel():
            return
        if not bool(torch.isfinite(x).all()):
            raise BadInput("The inputs of a layer hold NaN or infinity on the calibration data: they have no range.")
        low, high = x.min(), x.max()
        if share < 1.0:
            ordered = x.flatten().sort().values
            out = int(len(ordered) * (1 - share) / 2)
            low, high = ordered[out], ordered[len(ordered) - 1 - out]
        self.low = torch.minimum(self.low, low.float())
        self.high = torch.maximum(self.high, high.float())

    @torch.no_grad()
    def settle(self) -> None:
        """Takes the range seen, widened so that 0 is in it; a range without width becomes 1.

        Raises:
            BadInput: nothing was seen.
        """
        if not bool(self.high >= self.low):
            raise BadInput("An activation quantizer saw no inputs: run calibration data through its layer first.")
        low, high = min(float(self.low), 0.0), max(float(self.high), 0.0)
        span = high - low if high > low else 1.0
        self.span.fill_(span)
        self.zero.fill_(round(-low / span * self.steps))
        self.settled.fill_(True)

    @torch.no_grad()
    def codes(self, x: Tensor) -> Tensor:
        """The whole numbers q, uint8."""
        return codes(x / self.scale + self.zero_point, grid(f"uint{self.bits}"))

    def extra_repr(self) -> str:
        return f"bits={self.bits}"


def observe_only(model: nn.Module, on: bool = True) -> None:
    """All activation quantizers of a model watch, and pass on what they see; or go back to work, with new ranges."""
    for module in model.modules():
        if isinstance(module, ActivationQuantizer):
            module.observing = on
            if not on:
                module.settle()
