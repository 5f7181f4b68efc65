"""How a weight is written down: a grid of levels, what shares a scale, and how the scales themselves are kept.

A weight of any shape is a matrix here: its first axis are the rows (outputs), the rest lies behind each other
(columns, what is summed over). Groups are numbers in a row that lie behind each other.
Names: "int4/64", "int4+offset/64", "nf4/64/double", "e2m1/32/e8m0" (MXFP4), "e2m1/16/e4m3fn" (NVFP4), "int8/channel",
"ternary/tensor"; scales are float16 where a name does not say them.
Dims: R rows, C columns, G groups of a row.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from smidgen.formats import packing, rounding, scales
from smidgen.formats.grid import Grid, grid
from smidgen.formats.scales import Kind, Search, from_units, to_units
from smidgen.kit.errors import BadInput, bad

Group = int | Literal["channel", "tensor"]


@dataclass(frozen=True)
class Format:
    """
    Attributes:
        grid: the name of a grid (see `formats.grid`).
        group: numbers that share a scale: so many of a row, a row ("channel") or all ("tensor").
        offset: groups have an offset too (an asymmetric format).
        scales: how scales and offsets are kept.
    """

    grid: str = "int4"
    group: Group = 64
    offset: bool = False
    scales: Kind = "float16"

    def __post_init__(self) -> None:
        grid(self.grid)
        scales.check_kind(self.scales, self.offset)
        if self.group not in ("channel", "tensor") and not (isinstance(self.group, int) and self.group >= 1):
            raise bad("group", "a number of at least 1, 'channel' or 'tensor'", self.group)

    @classmethod
    def parse(cls, name: str) -> "Format":
        """The format of a name. Raises BadInput for one that says none."""
        first, *rest = name.split("/")
        if len(rest) > 2:
            raise bad("format", "GRID[+offset][/GROUP[/SCALES]], as in int4+offset/64/float16", name)
        made: dict[str, Any] = {"grid": first.removesuffix("+offset"), "offset": first.endswith("+offset")}
        if rest:
            made["group"] = int(rest[0]) if rest[0].isdigit() else rest[0]
        if rest[1:]:
            made["scales"] = rest[1]
        return cls(**made)

    @property
    def name(self) -> str:
        kind = "" if self.scales == "float16" else f"/{self.scales}"
        return f"{self.grid}{'+offset' if self.offset else ''}/{self.group}{kind}"

    @property
    def levels(self) -> Grid:
        return grid(self.grid)

    @property
    def bits(self) -> float:
        """Of a code, as packed: 1.6 of a ternary one."""
        return 8 / packing.TRITS if self.grid == "ternary" else self.levels.bits

    def groups(self, columns: int) -> int:
        """Groups of a row."""
        return 1 if isinstance(self.group, str) else max(1, -(-columns // self.group))

    def bytes(self, shape: tuple[int, ...]) -> int:
        """What a weight of this shape takes, scales and offsets included."""
        rows, columns = matrix_shape(shape)
        kept = scales.stored_bytes(*self.scale_shape(rows, columns), self.scales) * (2 if self.offset else 1)
        return rows * packing.packed_columns(columns, self.levels.bits, self.grid == "ternary") + kept

    def bits_per_weight(self, shape: tuple[int, ...]) -> float:
        return 8 * self.bytes(shape) / max(math.prod(shape), 1)

    def empty(self, shape: tuple[int, ...]) -> dict[str, Tensor]:
        """Tensors as `Quantized.pack` gives them for a weight of this shape, all zeros: to be filled."""
        rows, columns = matrix_shape(shape)
        codes = torch.zeros(
            rows, packing.packed_columns(columns, self.levels.bits, self.grid == "ternary"), dtype=torch.uint8
        )
        parts, kept = {"codes": codes}, scales.empty(*self.scale_shape(rows, columns), self.scales)
        for name in ("scales", "offsets") if self.offset else ("scales",):
            parts |= {f"{name}.{k}": v.clone() for k, v in kept.items()}
        return parts

    def fit(self, weight: Tensor, *, search: Search = "mse", importance: Tensor | None = None) -> "Scaled":
        """Scales and offsets for a weight.

        Args:
            search: see `formats.scales`.
            importance: how much the error of each column (or number) counts, `[C]` or `[R, C]`.

        Raises:
            BadInput: NaN or infinity in the weight.
        """
        x_RC = as_matrix(weight)
        if not bool(torch.isfinite(x_RC).all()):
            raise BadInput("The weight holds NaN or infinity: it cannot be quantized.")
        grouped = self.grouped(x_RC)
        w = torch.ones_like(x_RC) if importance is None else importance.to(x_RC).expand_as(x_RC)
        s, o = scales.choose(
            grouped, self.levels, offset=self.offset, kind=self.scales, search=search, weights=self.grouped(w, fill=0)
        )
        return Scaled.keep(self, tuple(weight.shape), s, o)

    def quantize(
        self,
        weight: Tensor,
        *,
        search: Search = "mse",
        importance: Tensor | None = None,
        mode: rounding.Mode = "nearest",
        generator: torch.Generator | None = None,
    ) -> "Quantized":
        """A weight in this format, each number by itself. Arguments and errors: see `fit` and `formats.rounding`."""
        made = self.fit(weight, search=search, importance=importance)
        return made.quantize(weight, mode=mode, generator=generator)

    def scale_shape(self, rows: int, columns: int) -> tuple[int, int]:
        """Of the scales of a matrix: rows and groups of each."""
        return (1, 1) if self.group == "tensor" else (rows, self.groups(columns))

    def grouped(self, x_RC: Tensor, fill: float | None = None) -> Tensor:
        """`[R, G, S]`; a last group that is short is filled with its row's last number, or as said."""
        rows, columns = x_RC.shape
        if self.group == "tensor":
            return x_RC.reshape(1, 1, -1)
        if self.group == "channel":
            return x_RC[:, None]
        lacking = -columns % self.group
        if lacking:
            more = x_RC[:, -1:].expand(-1, lacking) if fill is None else x_RC.new_full((rows, lacking), fill)
            x_RC = torch.cat([x_RC, more], 1)
        return x_RC.reshape(rows, -1, self.group)


@dataclass(frozen=True)
class Scaled:
    """Scales for a weight: with them its numbers can be rounded together or one column after the other.

    Attributes:
        shape: of the weight. kept: scales and offsets as they are stored, "scales.*" and "offsets.*".
        scales, offsets: what is read back of them, float32 `[R, G]` (`[1, 1]` of a whole tensor).
    """

    format: Format
    shape: tuple[int, ...]
    kept: Mapping[str, Tensor]
    scales: Tensor = field(init=False)
    offsets: Tensor | None = field(init=False)

    def __post_init__(self) -> None:
        for name in ("scales", "offsets"):
            parts = {k.removeprefix(f"{name}."): v for k, v in self.kept.items() if k.startswith(f"{name}.")}
            back = scales.restore(parts, self.format.scales) if name == "scales" or self.format.offset else None
            object.__setattr__(self, name, back)

    @classmethod
    def keep(cls, format: Format, shape: tuple[int, ...], scales_RG: Tensor, offsets_RG: Tensor | None) -> "Scaled":
        """Of scales and offsets as somebody chose them."""
        kept = {f"scales.{k}": v for k, v in scales.store(scales_RG, format.scales).items()}
        if offsets_RG is not None:
            kept |= {f"offsets.{k}": v for k, v in scales.store(offsets_RG, format.scales).items()}
        return cls(format, shape, kept)

    def spread(self, columns: slice | Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """The scale and the offset of each number `[R, columns]` (rows may be 1), of all columns or of these."""
        at = self.group_of(columns)
        return self.scales[:, at], None if self.offsets is None else self.offsets[:, at]

    def quantize(self, weight: Tensor, *, mode: rounding.Mode = "nearest", generator: Any = None) -> "Quantized":
        """All numbers of the weight rounded."""
        return self.with_codes(rounding.codes(self.units(as_matrix(weight)), self.format.levels, mode, generator))

    def units(self, x_RC: Tensor, columns: slice | Tensor | None = None) -> Tensor:
        """Numbers in units of the grid."""
        return to_units(x_RC, *self.spread(columns))

    def rounded(self, x_RC: Tensor, columns: slice | Tensor | None = None) -> Tensor:
        """The nearest numbers that the format can say, float32, of all columns or of these."""
        return from_units(rounding.round_to(self.units(x_RC, columns), self.format.levels), *self.spread(columns))

    def with_codes(self, codes_RC: Tensor) -> "Quantized":
        return Quantized(self, codes_RC)

    def group_of(self, columns: slice | Tensor | None) -> Tensor:
        """Of each column the place of its scale; one place where rows have one scale each."""
        size = self.format.group
        at = torch.arange(matrix_shape(self.shape)[1])
        at = at if columns is None else at[columns]
        return at // size if isinstance(size, int) else torch.zeros_like(at[:1])


@dataclass(frozen=True)
class Quantized:
    """A weight in a format: its scales, and codes uint8 `[R, C]` (int64 of grids over 8 bits)."""

    scaled: Scaled
    codes: Tensor

    @property
    def format(self) -> Format:
        return self.scaled.format

    @property
    def shape(self) -> tuple[int, ...]:
        return self.scaled.shape

    def dequantize(self) -> Tensor:
        """The weight, float32, in its shape."""
        return from_units(rounding.values(self.codes, self.format.levels), *self.scaled.spread()).reshape(self.shape)

    def pack(self) -> dict[str, Tensor]:
        """Plain tensors to keep: "codes" uint8 `[R, bytes]`, "scales.*", "offsets.*"."""
        if self.format.levels.bits > 8:
            raise bad("format", "at most 8 bits to be packed", self.format.name)
        return {
            "codes": packing.pack(self.codes, self.format.levels.bits, self.format.grid == "ternary"),
            **self.scaled.kept,
        }

    @classmethod
    def unpack(cls, parts: Mapping[str, Tensor], format: Format, shape: tuple[int, ...]) -> "Quantized":
        """What `pack` gave. Raises BadInput for tensors that do not fit the format and the shape."""
        rows, columns = matrix_shape(shape)
        try:
            codes = packing.unpack(parts["codes"], format.levels.bits, columns, format.grid == "ternary")
            scaled = Scaled(format, tuple(shape), {k: v for k, v in parts.items() if k != "codes"})
        except KeyError as error:
            raise BadInput(f"A packed weight lacks {error}: the folder is damaged or was edited.") from None
        if len(codes) != rows or tuple(scaled.scales.shape) != format.scale_shape(rows, columns):
            raise BadInput(f"A packed weight does not have the shape {list(shape)}: the folder was edited.")
        return cls(scaled, codes)

    @staticmethod
    def rows(parts: Mapping[str, Tensor], format: Format, shape: tuple[int, ...], at: Tensor | slice) -> Tensor:
        """Some rows of a packed weight `[rows, C]`, float32, without unpacking the others."""
        columns = matrix_shape(shape)[1]
        codes = packing.unpack(parts["codes"][at], format.levels.bits, columns, format.grid == "ternary")
        scaled = Scaled(format, shape, {k: v for k, v in parts.items() if k != "codes"})
        s, o = (v if v is None or format.group == "tensor" else v[at] for v in (scaled.scales, scaled.offsets))
        group = scaled.group_of(None)
        assert s is not None
        return from_units(rounding.values(codes, format.levels), s[:, group], None if o is None else o[:, group])


def matrix_shape(shape: tuple[int, ...]) -> tuple[int, int]:
    """Rows and columns of a weight of this shape; a vector is one row."""
    return (1, math.prod(shape)) if len(shape) < 2 else (shape[0], math.prod(shape[1:]))


def as_matrix(weight: Tensor) -> Tensor:
    """float32 `[R, C]`."""
    return weight.detach().float().reshape(matrix_shape(tuple(weight.shape)))


def through(
    weight: Tensor, scaled: Scaled, scales_RG: Tensor | None = None, offsets_RG: Tensor | None = None
) -> Tensor:
    """The weight as the format would say it, with straight-through gradients to the weight and, where they are given
    in place of the kept ones, to scales and offsets (those of LSQ; Esser et al., 2020, arXiv 1902.08153)."""
    x_RC = weight.reshape(matrix_shape(scaled.shape))
    at = scaled.group_of(None)
    s = (scaled.scales if scales_RG is None else scales_RG)[:, at]
    given = scaled.offsets if offsets_RG is None else offsets_RG
    o = None if given is None else given[:, at]
    return from_units(rounding.through(to_units(x_RC, s, o), scaled.format.levels), s, o).reshape(scaled.shape)


MXFP4 = Format("e2m1", 32, False, "e8m0")
NVFP4 = Format("e2m1", 16, False, "e4m3fn")
NF4 = Format("nf4", 64, False, "float32")
NF4_DOUBLE = Format("nf4", 64, False, "double")
