"""A number format by its name, as all parts of training name theirs.

- "float32": exact. "float16", "bfloat16": as torch's types; what float16 cannot hold becomes infinite.
- A grid alone ("e4m3fn", "fixed4.12", "posit16e1", "e5m2"): its numbers as they are, without a scale; what lies beyond
  becomes its end. Numbers too small become 0.
- A format with what shares a scale ("int8/channel", "e4m3fn/tensor", "e2m1/32/e8m0", "int8/16/e8m0"): see
  `formats.format`. Scales are those of the largest number, of one or three levels those of least squared error.
"""

import functools
from dataclasses import dataclass

import torch
from torch import Tensor

from smidgen.formats.format import Format, Scaled
from smidgen.formats.grid import Grid, grid
from smidgen.formats.rounding import Mode, round_to

CASTS = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
_GRIDS = {"float16": "e5m10", "bfloat16": "e8m7"}


@dataclass(frozen=True)
class Number:
    """
    Attributes:
        name: as given. format: where there is a scale, else None. unscaled: the name of the grid where there is none.
    """

    name: str
    format: Format | None = None
    unscaled: str | None = None

    @classmethod
    def parse(cls, name: str) -> "Number":
        """Raises BadInput for a name that says none."""
        return _parse(name)

    @property
    def exact(self) -> bool:
        return self.name == "float32"

    @property
    def bits(self) -> float:
        """Of a number, without scales."""
        if self.name in CASTS:
            return 8 * CASTS[self.name].itemsize
        return self.format.bits if self.format else self.grid.bits

    @property
    def grid(self) -> Grid:
        """Its levels; of float32 there is none."""
        return grid(self.unscaled or (self.format.grid if self.format else _GRIDS[self.name]))

    @property
    def of_a_tensor(self) -> bool:
        """Whether one scale is of the whole tensor, so that an older one may serve."""
        return self.format is not None and self.format.group == "tensor" and not self.format.offset

    def bytes(self, shape: tuple[int, ...]) -> int:
        """What a tensor takes, packed, with its scales."""
        if self.format:
            return self.format.bytes(shape)
        count = int(torch.Size(shape).numel())
        return -(-count * round(self.bits) // 8)

    def round(self, x: Tensor, mode: Mode = "nearest", scale: Tensor | None = None) -> Tensor:
        """The nearest numbers of the format, float32, or by chance one of the two next to it. Draws come from torch's
        own generator.

        Args:
            scale: of the whole tensor, in place of that of its largest number.
        """
        if self.exact:
            return x.float()
        x = x.detach().float()
        if self.name in CASTS:
            if mode == "nearest":
                return x.to(CASTS[self.name]).float()
            return _by_chance(x, self.name)
        if not bool(torch.isfinite(x).all()):
            return x  # left to whoever looks for it: no format of few bits says infinity
        if self.format is None:
            return round_to(x, self.grid, mode)
        if scale is not None:
            scaled = Scaled.keep(self.format, tuple(x.shape), scale.reshape(1, 1), None)
        else:
            few = len(self.grid.levels) <= 3
            scaled = self.format.fit(x, search="mse" if few else "absmax")
        return scaled.quantize(x, mode=mode).dequantize()


@functools.cache
def _parse(name: str) -> Number:
    if name in CASTS:
        return Number(name)
    if "/" in name:
        return Number(name, format=Format.parse(name))
    grid(name)
    return Number(name, unscaled=name)


def _by_chance(x: Tensor, name: str) -> Tensor:
    limit = torch.finfo(CASTS[name]).max
    out = round_to(x.clamp(-limit, limit), grid(_GRIDS[name]), "stochastic")
    return torch.where(x.abs() > limit, x.sign() * torch.inf, torch.where(x.isnan(), x, out))
