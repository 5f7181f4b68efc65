"""Eight bits a number with one scale a block: for optimizer moments and other arrays whose numbers span many decades.

Each block of consecutive numbers is divided by its largest magnitude, and each quotient becomes the nearest of 256
levels. The dynamic levels are those of a byte that is read as leading zeros, an indicator bit, and a fraction: a zero
more is a decade less, and a bit less for the fraction (Dettmers et al., 2022, arXiv 2110.02861, section 2.1). The
linear ones are equally spaced. The top level is 1 exactly, so that each block's extreme is kept to the bit and decoding
followed by encoding changes nothing.

NumPy arrays and torch tensors alike; what comes out is of the kind and on the device of what went in.
"""

import functools
import math
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from smidgen.kit.errors import bad


class Encoded(NamedTuple):
    """`codes`: uint8, shaped as the array that was encoded. `scales`: float32, one for each block of its flat form."""

    codes: Any
    scales: Any


@dataclass(frozen=True, kw_only=True)
class Blockwise:
    """A block-wise 8-bit format.

    Attributes:
        levels: "dynamic" (relative precision over about seven decades) or "linear" (equal steps).
        signed: False for numbers that are never negative: twice as many levels for them.
        block: numbers that share a scale.
        keep_positive: no number above 0 becomes 0, but the smallest level: for what something is divided by.
    """

    levels: Literal["dynamic", "linear"] = "dynamic"
    signed: bool = True
    block: int = 256
    keep_positive: bool = False

    def __post_init__(self) -> None:
        if self.levels not in ("dynamic", "linear"):
            raise bad("levels", "'dynamic' or 'linear'", self.levels)
        if self.block < 1:
            raise bad("block", "at least 1 number", self.block)
        if self.keep_positive and self.signed:
            raise bad("keep_positive", "an unsigned format", "a signed one")

    def encode(self, x: Any) -> Encoded:
        """Codes and scales of a floating array of any shape.

        Raises:
            BadInput: a number is not finite, or negative in an unsigned format.
        """
        flat = _blocks(_float(x).reshape(-1), self.block)
        scales = abs(flat).max(1) if isinstance(x, np.ndarray) else flat.abs().amax(1)
        if not _all_finite(scales):
            raise bad("array", "finite numbers", "NaN or infinity")
        if not self.signed and bool((flat < 0).any()):
            raise bad("array", "no negative number in an unsigned format", "negative numbers")
        unit = flat / _where_zero(scales, 1.0)[:, None]
        codes = _search(unit, self.borders()).reshape(-1)[: math.prod(x.shape)].reshape(x.shape)
        return Encoded(codes, scales)

    def decode(self, encoded: Encoded) -> Any:
        """float32, of the codes' shape."""
        codes, scales = encoded
        values = _take(self.table(), codes)
        blocks = _blocks(values.reshape(-1), self.block)
        return (blocks * scales[:, None]).reshape(-1)[: math.prod(codes.shape)].reshape(codes.shape)

    def bytes(self, count: int) -> int:
        """What `count` numbers take: a byte each, and four for each block."""
        return count + 4 * math.ceil(count / self.block)

    def table(self) -> np.ndarray:
        """The levels, ascending, float32; at most 256."""
        return _table(self.levels, self.signed)

    def borders(self) -> np.ndarray:
        """Between neighbouring levels; a number on the border takes the lower one."""
        return _borders(self.levels, self.signed, self.keep_positive)


@functools.cache
def _table(levels: str, signed: bool) -> np.ndarray:
    if levels == "linear":
        return (np.arange(-127, 128) / 127 if signed else np.arange(256) / 255).astype(np.float32)
    bits = 7 if signed else 8
    positive = np.sort(np.concatenate([_decade(e, bits - 1 - e) for e in range(bits)]))
    positive[-1] = 1.0  # in place of the middle of the last interval: a block's extreme is exact
    return np.concatenate([-positive[::-1] if signed else [], [0.0], positive]).astype(np.float32)


def _decade(zeros: int, bits: int) -> np.ndarray:
    """Middles of 2^bits equal intervals of [0.1, 1], `zeros` decades down."""
    edges = np.linspace(0.1, 1.0, 2**bits + 1)
    return (edges[1:] + edges[:-1]) / 2 * 10.0**-zeros


@functools.cache
def _borders(levels: str, signed: bool, keep_positive: bool) -> np.ndarray:
    table = _table(levels, signed).astype(np.float64)
    middles = ((table[1:] + table[:-1]) / 2).astype(np.float32)
    if keep_positive:
        middles[0] = 0.0
    return middles


def _float(x: Any) -> Any:
    """float32, a copy only where it is another type."""
    return x.astype(np.float32, copy=False) if isinstance(x, np.ndarray) else x.detach().float()


def _blocks(flat: Any, block: int) -> Any:
    """[blocks, block], padded with zeros."""
    lacking = -len(flat) % block
    if not lacking:
        return flat.reshape(-1, block)
    if isinstance(flat, np.ndarray):
        return np.concatenate([flat, np.zeros(lacking, flat.dtype)]).reshape(-1, block)
    return _torch().nn.functional.pad(flat, (0, lacking)).reshape(-1, block)


def _all_finite(x: Any) -> bool:
    return bool((np if isinstance(x, np.ndarray) else _torch()).isfinite(x).all())


def _where_zero(x: Any, value: float) -> Any:
    return np.where(x == 0, np.float32(value), x) if isinstance(x, np.ndarray) else x.masked_fill(x == 0, value)


def _search(x: Any, borders: np.ndarray) -> Any:
    """How many borders lie below each number, uint8."""
    if isinstance(x, np.ndarray):
        return np.searchsorted(borders, x, side="left").astype(np.uint8)
    torch = _torch()
    found = torch.bucketize(x, torch.from_numpy(borders).to(x.device), out_int32=True)
    return found.to(torch.uint8)


def _take(table: np.ndarray, codes: Any) -> Any:
    if isinstance(codes, np.ndarray):
        return table[codes]
    torch = _torch()
    return torch.from_numpy(table).to(codes.device)[codes.int()]


def _torch() -> Any:
    import torch

    return torch
