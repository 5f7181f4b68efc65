"""The numbers that a code of a few bits can stand for: integers, floats of any split, tables.

A grid has a value for each code. Codes of floats are their bit patterns (sign, exponent, fraction), so that eight-bit
ones are the bytes of torch's own float8 types; codes of integers are the integers moved up to start at 0.

Names: "int1" to "int16" (two's complement; "int1" is -1 and 1), "uint1" to "uint16", "eXmY" (no code is reserved, the
grids of van Baalen et al., 2023, arXiv 2303.17951), "e4m3fn" and "e5m2ieee" (the two of OCP FP8, with NaN and infinity
reserved), "nf4" (quantiles of a normal distribution; Dettmers et al., 2023, arXiv 2305.14314, appendix E), "fp4" (the
four-bit float of bitsandbytes, whose order of codes is not that of e2m1), "ternary", "fixedI.F" (fixed point, I bits
before the point with the sign, F after it), "positNeS" (N bits, S of them exponent at most; Gustafson and Yonemoto,
2017; the nearest value is taken, where the standard rounds the bit pattern).
"""

import functools
import re
from dataclasses import dataclass

import numpy as np

from smidgen.kit.errors import bad

_NAMED = ("e4m3fn", "e5m2ieee", "nf4", "fp4", "ternary")
_FLOAT = re.compile(r"e(\d+)m(\d+)")
_INTEGER = re.compile(r"(u?)int([1-9]\d?)")
_FIXED = re.compile(r"fixed(\d+)\.(\d+)")
_POSIT = re.compile(r"posit(\d+)e(\d)")
MOST_BITS = 16  # of a grid; packed storage takes up to 8
# Seven quantiles of a normal distribution below 0, 0, eight above, divided by the largest; as they were published:
# computed anew they differ in the last bit.
_NF4 = (
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
    -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Grid:
    """
    Attributes:
        name. bits: of a code.
        values: float32 `[codes]`, what each code stands for; NaN: reserved.
        levels: float32, the distinct finite values, ascending. codes: int64, the code of each level.
        borders: float64 `[levels - 1]`, halfway between neighbours.
        upper: bool `[levels - 1]`: a number just on that border goes up (to the level whose code is even).
    """

    name: str
    bits: int
    values: np.ndarray
    levels: np.ndarray
    codes: np.ndarray
    borders: np.ndarray
    upper: np.ndarray

    @property
    def largest(self) -> float:
        """The largest magnitude."""
        return float(np.abs(self.levels).max())

    @property
    def integer(self) -> bool:
        """Whether the levels are all whole numbers between the first and the last."""
        return _INTEGER.fullmatch(self.name) is not None and self.name != "int1"


@functools.cache
def grid(name: str) -> Grid:
    """The grid of a name. Raises BadInput for a name that says none."""
    values = _values(name)
    finite = np.flatnonzero(np.isfinite(values))
    order = finite[np.argsort(values[finite], kind="stable")]
    levels, first = np.unique(values[order] + 0.0, return_index=True)  # -0 is 0
    codes = order[first]
    zero = np.flatnonzero(levels == 0)
    if len(zero):  # of the two zeros the one without a sign
        codes[zero[0]] = finite[values[finite] == 0].min()
    wide = levels.astype(np.float64)
    bits = max(1, int(np.ceil(np.log2(len(values)))))
    return Grid(name, bits, values, levels, codes, (wide[1:] + wide[:-1]) / 2, codes[1:] % 2 == 0)


def float_values(exponent: int, fraction: int) -> np.ndarray:
    """What the bit patterns of a float mean, float64 `[2^(1 + E + M)]`: bias 2^(E - 1) - 1, numbers below the smallest
    normal one kept, no code reserved. E = 0: equal steps. M = 0: powers of two, and no zero but the one of the lowest
    pattern."""
    bits = np.arange(2 ** (exponent + fraction))
    e, m = bits >> fraction, bits & (2**fraction - 1)
    bias = 2 ** (exponent - 1) - 1 if exponent else 0
    if exponent == 0:
        positive = m * 2.0**-fraction
    else:
        share = m * 2.0**-fraction
        normal = (1 + share) * 2.0 ** (e - bias)
        positive = np.where(e == 0, share * 2.0 ** (1 - bias), normal)
    return np.concatenate([positive, -positive])


def posit_values(bits: int, exponent: int) -> np.ndarray:
    """What the bit patterns of a posit mean, float64 `[2^bits]`; the one without a value is NaN.

    After the sign a run of equal bits says how often 2^(2^exponent) is a factor, then come the exponent's bits, as far
    as there is room, then the fraction. Patterns below zero are two's complements.
    """
    values = np.zeros(2**bits)
    for pattern in range(1, 2 ** (bits - 1)):
        body = f"{pattern:0{bits - 1}b}"
        run = len(body) - len(body.lstrip(body[0]))
        rest = body[run + 1 :]
        power = (run - 1 if body[0] == "1" else -run) * 2**exponent
        power += int(rest[:exponent].ljust(exponent, "0") or "0", 2)
        fraction = rest[exponent:]
        values[pattern] = (1 + (int(fraction, 2) / 2 ** len(fraction) if fraction else 0)) * 2.0**power
    values[2 ** (bits - 1)] = np.nan
    values[2 ** (bits - 1) + 1 :] = -values[1 : 2 ** (bits - 1)][::-1]
    return values


def _values(name: str) -> np.ndarray:
    """float32 `[codes]`."""
    if name == "nf4":
        return np.array(_NF4, np.float32)
    if name == "fp4":
        positive = np.array([0, 0.0625, 8, 12, 4, 6, 2, 3]) / 12
        return np.concatenate([positive, -positive]).astype(np.float32)
    if name == "ternary":
        return np.array([-1, 0, 1], np.float32)
    if name == "int1":
        return np.array([-1, 1], np.float32)
    if (found := _INTEGER.fullmatch(name)) and int(found[2]) <= MOST_BITS:
        bits = int(found[2])
        return (np.arange(2**bits) - (0 if found[1] else 2 ** (bits - 1))).astype(np.float32)
    if name in ("e4m3fn", "e5m2ieee"):
        e, m = (4, 3) if name == "e4m3fn" else (5, 2)
        values = float_values(e, m)
        last = (np.arange(len(values)) & (2 ** (e + m) - 1)) >= (2 ** (e + m) - (1 if name == "e4m3fn" else 2**m))
        return np.where(last, np.nan, values).astype(np.float32)
    if (found := _FLOAT.fullmatch(name)) and 0 < int(found[1]) + int(found[2]) < MOST_BITS and int(found[1]) <= 8:
        values = float_values(int(found[1]), int(found[2]))
        return np.where(np.abs(values) < 2.0**128, values, np.nan).astype(np.float32)  # what float32 itself can say
    if (found := _FIXED.fullmatch(name)) and int(found[1]) >= 1 and (n := int(found[1]) + int(found[2])) <= MOST_BITS:
        return ((np.arange(2**n) - 2 ** (n - 1)) * 2.0 ** -int(found[2])).astype(np.float32)
    if (found := _POSIT.fullmatch(name)) and 3 <= int(found[1]) <= MOST_BITS and int(found[2]) <= 2:
        return posit_values(int(found[1]), int(found[2])).astype(np.float32)
    known = f"int1 to int16, uint1 to uint16, eXmY, fixedI.F or positNeS of at most {MOST_BITS} bits"
    raise bad("format", f"{known}, {', '.join(_NAMED)}", name)
