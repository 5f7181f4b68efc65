"""A layer whose inputs are rounded before they are multiplied: what 8-bit activations do, in any arithmetic.

Dynamic: each token has the scale of its own largest number. Static: one scale for all, from calibration; what is beyond
it is cut off. Numbers beyond the largest of E4M3 (448, it has no infinity) become the largest.
(For integers in both factors, multiplied as such, see `nets.packed_activations`.)
"""

import torch
from torch import Tensor, nn

from smidgen.formats.grid import Grid, grid
from smidgen.formats.rounding import round_to
from smidgen.kit.errors import BadInput, bad


def round_inputs(x: Tensor, to: Grid, scale: float | None = None) -> Tensor:
    """x `[..., C]` as a grid says it; `scale` None: a token's own. A token of zeros stays zero."""
    x32 = x.float()
    top = x32.abs().amax(-1, keepdim=True) / float(to.levels[-1]) if scale is None else x32.new_tensor(scale)
    s = torch.where(top > 0, top, 1.0)
    units = x32 / s
    if to.name == "e4m3fn":  # torch's own rounding, the same numbers (it makes NaN of what lies beyond 448)
        return (units.clamp(-448, 448).to(torch.float8_e4m3fn).float() * s).to(x.dtype)
    return (round_to(units, to) * s).to(x.dtype)


class RoundedInputs(nn.Module):
    """A linear layer, packed or not, after the rounding of what it is given.

    Args:
        to: the name of a grid. largest: the largest input that a static scale can say; None: dynamic.
    Raises:
        BadInput: a grid without a level above 0, or a packed weight with `inputs`, which come after the rounding.
    """

    def __init__(self, layer: nn.Module, to: str, largest: float | None = None) -> None:
        super().__init__()
        self.layer, self.grid = layer, grid(to)
        if float(self.grid.levels[-1]) <= 0:
            raise bad("grid of inputs", "levels above 0", to)
        if getattr(getattr(layer, "weight", None), "inputs", None) is not None:
            raise BadInput("Inputs that are scaled within the layer cannot be rounded before it.")
        self.scale = None if largest is None else max(largest, 1e-30) / float(self.grid.levels[-1])

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(round_inputs(x, self.grid, self.scale))
