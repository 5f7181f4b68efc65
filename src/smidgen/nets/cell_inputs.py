"""A table as numbers that the cell transformer reads: each column in the units of its labelled rows.

A number comes as its distance from the mean, drawn in where it is far, and as its rank among the labelled rows; a code
without order as one of 32 signs; an unknown cell as such. Targets that are numbers come as smooth functions of them,
and what is said of them is a histogram over bins with fixed edges.

Dims: B tables, R rows, N labelled rows, F columns, S tokens of P columns each, I numbers a column, C bins.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as Fn
from torch import Tensor

SIGNS = 32  # for codes; more codes than that share signs
NUMBERS_A_COLUMN = 3 + SIGNS + 1  # distance, rank, unknown, sign, that it is a number
FAR = 4.0  # mean absolute deviations at which a distance is half drawn in
ROUNDING = {torch.float32: 1e-7, torch.float64: 1e-12}
EDGE, BEND = 4.0, 2.2  # of bins: the outermost edges, in standard deviations, and how much wider bins get outwards


@dataclass(frozen=True)
class CellInputs:
    """
    Attributes:
        distance, rank: `[B, R, F]`, float32; 0 where unknown or a code. unknown: bool `[B, R, F]`.
        sign: int64 `[B, R, F]`, SIGNS where the cell is a number.
    """

    distance: Tensor
    rank: Tensor
    unknown: Tensor
    sign: Tensor

    def tokens(self, group: int) -> Tensor:
        """`[B, S, R, P I]`: columns in groups, in their order; places of the last group that stay empty are 0."""
        parts = [torch.stack([self.distance, self.rank, self.unknown.float()], -1)]
        sign = torch.where(self.unknown, SIGNS, self.sign)  # an unknown code is none
        parts.append(Fn.one_hot(sign, SIGNS + 1).float())
        all_BRFI = torch.cat(parts, -1)
        B, R, F, _ = all_BRFI.shape
        all_BRFI = Fn.pad(all_BRFI, (0, 0, 0, -F % group))
        return all_BRFI.view(B, R, -1, group * NUMBERS_A_COLUMN).transpose(1, 2)

    def rows(self, part: slice) -> "CellInputs":
        """Some of the rows."""
        return CellInputs(self.distance[:, part], self.rank[:, part], self.unknown[:, part], self.sign[:, part])

    def to(self, device: str) -> "CellInputs":
        """The same on a device."""
        return CellInputs(*(t.to(device) for t in (self.distance, self.rank, self.unknown, self.sign)))


@dataclass(frozen=True)
class ColumnScales:
    """What is known of columns from labelled rows. `ordered`: `[B, F, N]`, unknown cells last, as infinity.

    Attributes:
        mean, spread, count: `[B, 1, F]`; the spread is the mean absolute deviation, 1 where that is 0.
        categorical: bool `[B, 1, F]`. turn: int64 `[B, 2, F]`: codes become signs as `code * odd number + shift`.
    """

    ordered: Tensor
    mean: Tensor
    spread: Tensor
    count: Tensor
    categorical: Tensor
    turn: Tensor

    def inputs(self, x_BRF: Tensor) -> CellInputs:
        """Cells of any rows; NaN: unknown."""
        unknown = x_BRF.isnan() | (self.count == 0)  # there is nothing to compare with
        absent = unknown | self.categorical
        filled = torch.where(unknown, self.mean, x_BRF)
        z = (filled - self.mean) / self.spread
        distance = torch.where(absent, 0.0, z / torch.hypot(torch.ones_like(z), z / FAR)).float()
        wanted_BFR = filled.transpose(1, 2).contiguous()
        below = torch.searchsorted(self.ordered, wanted_BFR) + torch.searchsorted(self.ordered, wanted_BFR, right=True)
        rank = (below.transpose(1, 2).clamp(max=2 * self.count) / self.count.clamp(min=1) - 1) * math.sqrt(3)
        code = torch.where(self.categorical & ~unknown, filled, 0.0).round().long()
        sign = torch.where(self.categorical, (code * self.turn[:, :1] + self.turn[:, 1:]) % SIGNS, SIGNS)
        return CellInputs(distance, torch.where(absent, 0.0, rank).float(), unknown, sign)


def column_scales(x_BNF: Tensor, categorical_BF: Tensor, turn_B2F: Tensor) -> ColumnScales:
    """Of labelled rows; NaN: unknown. Signs of codes are drawn by the caller, see `ColumnScales.turn`."""
    known = ~x_BNF.isnan()
    count = known.sum(1, keepdim=True)
    filled = torch.where(known, x_BNF, 0.0)
    mean = filled.sum(1, keepdim=True) / count.clamp(min=1)
    spread = (torch.where(known, x_BNF - mean, 0.0).abs()).sum(1, keepdim=True) / count.clamp(min=1)
    tiny = spread <= ROUNDING[x_BNF.dtype] * mean.abs()  # a constant
    spread = torch.where(tiny | (spread == 0), 1.0, spread)
    ordered = torch.where(known, x_BNF, torch.inf).transpose(1, 2).contiguous().sort(-1).values
    return ColumnScales(ordered, mean, spread, count, categorical_BF[:, None], turn_B2F)


def number_features(y_BN: Tensor) -> Tensor:
    """Smooth functions of standardised targets, `[B, N, 18]`: distance, saturated distance, 16 bumps."""
    centre = torch.linspace(-3, 3, 16, device=y_BN.device)
    bumps = torch.exp(-0.5 * ((y_BN[..., None] - centre) / 0.4) ** 2)
    return torch.cat([(y_BN / torch.sqrt(1 + (y_BN / 6) ** 2))[..., None], torch.tanh(y_BN)[..., None], bumps], -1)


def bin_edges(bins: int) -> Tensor:
    """The `bins - 1` edges between bins, in standard deviations: narrow in the middle, the outermost bins open."""
    u = torch.linspace(-1, 1, bins - 1, dtype=torch.float64)
    return (EDGE * torch.sinh(BEND * u) / math.sinh(BEND)).float()
