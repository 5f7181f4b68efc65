"""Fewer significant bits: what an array would hold if its numbers had a shorter significand, and perhaps exponent.

`sbits` counts the explicit fraction bits: double 52, single 23, half 10, bfloat16 7. Rounding works on the bits of the
number itself, so that it is exact: to nearest, ties to even, or stochastically, up with a probability equal to the
fraction that is dropped, so that the expected result is the number (Paxton et al., 2021, arXiv 2104.15076, section 2).

With fewer exponent bits numbers below the smallest normal one keep fewer and fewer bits, as subnormal numbers of that
format do, and those beyond its largest become infinite.

NumPy arrays and torch tensors alike; what comes out is of the kind, type and device of what went in.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from smidgen.kit.errors import bad

Mode = Literal["nearest", "stochastic"]
WORD = 62  # random bits that one stochastic rounding is given; at most 53 are used


@dataclass(frozen=True)
class Significand:
    """A binary format. `sbits`: explicit fraction bits, 1 to 52. `exponent_bits`: 2 to 11, IEEE's bias and ends."""

    sbits: int
    exponent_bits: int = 11

    def __post_init__(self) -> None:
        if isinstance(self.sbits, bool) or not isinstance(self.sbits, (int, np.integer)) or not 1 <= self.sbits <= 52:
            raise bad("sbits", "a whole number from 1 to 52", self.sbits)
        if not 2 <= self.exponent_bits <= 11:
            raise bad("exponent_bits", "2 to 11", self.exponent_bits)

    @property
    def tiny(self) -> float:
        """The smallest normal number."""
        return 2.0 ** (2 - 2 ** (self.exponent_bits - 1))

    @property
    def largest(self) -> float:
        """The largest finite number."""
        return (2.0 - 2.0**-self.sbits) * 2.0 ** (2 ** (self.exponent_bits - 1) - 1)


@dataclass(frozen=True)
class _Layout:
    """How a type of array keeps its numbers. `integer`: the name of the type of equal size."""

    fraction: int
    exponent: int
    integer: str


LAYOUTS = {"float64": _Layout(52, 11, "int64"), "float32": _Layout(23, 8, "int32")}
HALVES = ("float16", "bfloat16")


def round_significand(x: Any, sbits: int, mode: Mode = "nearest", *, exponent_bits: int = 11, rng: Any = None) -> Any:
    """`x` with `sbits` fraction bits.

    Args:
        x: floating array or tensor of any shape, left as it is. 0, infinities and NaN stay what they are. Where its own
            type has no more bits than are asked for, nothing is dropped.
        exponent_bits: the range of the format, where it is narrower than that of the array's type.
        rng: for stochastic rounding, a numpy Generator for an array, a torch one (of the same device) for a tensor.

    Raises:
        BadInput: `sbits` beyond 1 to 52, whole numbers, or stochastic rounding without a generator.
    """
    form = Significand(sbits, exponent_bits)
    check_mode(mode)
    name = type_name(x)
    if name in HALVES:  # through single precision, which holds every half exactly
        return _cast(round_significand(_cast(x, "float32"), sbits, mode, exponent_bits=exponent_bits, rng=rng), name)
    words = None if mode == "nearest" else _words(x, rng)
    rounded = round_words(x, form, words)
    lib = library(x)
    finite = lib.isfinite(x)
    return rounded if bool(finite.all()) else lib.where(finite, rounded, x)


def round_words(x: Any, form: Significand, words: Any = None) -> Any:
    """The same for float64 or float32 that holds no NaN but the usual one; stochastic where `words` are given.

    Args:
        words: int64, uniform below 2^`WORD`, one for each number.
    """
    layout = LAYOUTS[type_name(x)]
    drop = layout.fraction - form.sbits
    out = x.copy() if isinstance(x, np.ndarray) else x.clone()
    if drop > 0:
        noise = None if words is None else _cast(words >> (WORD - drop), layout.integer)
        drop_bits_(out.view(getattr(library(x), layout.integer)), drop, noise)
    return limit_range(out, x, form, words) if form.exponent_bits < layout.exponent else out


def drop_bits_(bits: Any, drop: int, noise: Any = None) -> None:
    """Clear the last `drop` bits in place, rounding what stays to nearest even, or by `noise`, uniform below 2^drop.

    The sum may carry into the exponent, which is then the right one: the numbers' bits are ordered as their magnitudes.
    """
    if noise is None:
        odd = bits >> drop
        odd &= 1
        odd += (1 << (drop - 1)) - 1
        bits += odd
    else:
        bits += noise
    bits &= -1 << drop


def limit_range(rounded: Any, x: Any, form: Significand, words: Any = None) -> Any:
    """Subnormal numbers and overflow: `rounded` where it is a normal number of the format, else `x` rounded to one."""
    lib = library(x)
    step = form.tiny * 2.0**-form.sbits  # between subnormal numbers
    size = lib.clip(abs(x), None, form.tiny) / step
    if words is None:
        whole = lib.round(size)
    else:  # 53 bits: what is dropped here may be longer than between normal numbers
        whole = lib.floor(size)
        whole += _cast(words >> (WORD - 53), "float64") * 2.0**-53 < size - whole
    low = lib.copysign(whole * step, x)
    out = lib.where(abs(x) < form.tiny, low, rounded)
    beyond = abs(out) > form.largest
    return lib.where(beyond, lib.copysign(lib.full_like(out, float("inf")), out), out)


def check_mode(mode: str) -> None:
    """Raises BadInput: neither "nearest" nor "stochastic"."""
    if mode not in ("nearest", "stochastic"):
        raise bad("mode", "'nearest' or 'stochastic'", mode)


def type_name(x: Any) -> str:
    """ "float64", "float32", "float16" or "bfloat16". Raises BadInput: another type of array, or no array."""
    name = str(getattr(x, "dtype", type(x).__name__)).removeprefix("torch.")
    if not hasattr(x, "view") or name not in (*LAYOUTS, *HALVES):
        raise bad("array", "a numpy array or torch tensor of floating numbers", name)
    return name


def library(x: Any) -> Any:
    """numpy or torch, whose array this is."""
    if isinstance(x, (np.ndarray, np.generic)):
        return np
    import torch

    return torch


def _cast(x: Any, name: str) -> Any:
    return x.astype(name, copy=False) if isinstance(x, (np.ndarray, np.generic)) else x.to(getattr(library(x), name))


def _words(x: Any, rng: Any) -> Any:
    if rng is None:
        raise bad("rng", "a random generator for stochastic rounding", rng, "Pass numpy's or torch's Generator.")
    if isinstance(x, np.ndarray):
        return rng.integers(0, 1 << WORD, x.shape, dtype=np.int64)
    torch = library(x)
    return torch.randint(0, 1 << WORD, x.shape, generator=rng, dtype=torch.int64, device=x.device)
