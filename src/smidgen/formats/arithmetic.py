"""A program as it would run in fewer bits: every operation on wrapped arrays is rounded.

    with precision(10, "stochastic", seeds=7) as arithmetic:
        x = arithmetic.array(x)
        for _ in range(1000):
            x += 0.01 * (1 - x)  # three roundings; the program is not changed
    arithmetic.counts.stagnated  # how many of these updates left no trace

Operations are computed in double precision and then rounded, which is what correct arithmetic of the format gives for +
- * / and square roots up to 24 bits (beyond, rounding twice may differ from rounding once). Constants and other plain
operands are rounded to nearest first, whatever the mode: a constant has one value. Contexts may be nested; the
innermost one counts. What is and is not rounded: `low_precision_array`. After Paxton et al. (2021, arXiv 2104.15076),
section 2.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from smidgen.formats.low_precision_array import ACTIVE, LowPrecisionArray
from smidgen.formats.significand import (
    LAYOUTS,
    WORD,
    Mode,
    Significand,
    check_mode,
    drop_bits_,
    library,
    limit_range,
    round_significand,
)
from smidgen.formats.streams import MemberStreams
from smidgen.kit.errors import bad

CONSTANTS = 4096  # that are kept rounded


@dataclass(frozen=True)
class Counts:
    """What was rounded, number by number.

    Attributes:
        operations: rounded results.
        additions: sums and differences of two arrays or an array and a constant among them.
        stagnated: those of these that equal their left operand though the right one is not 0: updates of a state that
            left no trace. Rounding to nearest loses small ones each time, stochastic rounding only most times.
    """

    operations: int = 0
    additions: int = 0
    stagnated: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        sums = (a + b for a, b in zip(self.tuple(), other.tuple(), strict=True))
        return Counts(*sums)

    def tuple(self) -> tuple[int, int, int]:
        return self.operations, self.additions, self.stagnated


def precision(
    sbits: int,
    mode: Mode = "nearest",
    *,
    seeds: int | Sequence[int] = 0,
    exponent_bits: int = 11,
    dtype: str = "float64",
) -> "Arithmetic":
    """A context in which wrapped arrays have `sbits` fraction bits.

    Args:
        seeds: of stochastic rounding. One: arrays of any shape draw from it. Several: arrays have an ensemble's members
            as their last axis, and each of these draws from a stream of its own.
        exponent_bits: 11 leaves the range of double precision.
        dtype: what is computed in; "float32", for up to 10 bits, where that is faster.

    Raises:
        BadInput: no such format, or equal seeds.
    """
    check_mode(mode)
    if dtype not in LAYOUTS:
        raise bad("dtype", " or ".join(LAYOUTS), dtype)
    return Arithmetic(Significand(sbits, exponent_bits), mode, [seeds] if isinstance(seeds, int) else seeds, dtype)


class Arithmetic:
    """What `precision` makes: the format, its random streams and its counts. `members`: how many have a stream."""

    def __init__(self, form: Significand, mode: Mode, seeds: Sequence[int], dtype: str = "float64") -> None:
        layout = LAYOUTS[dtype]
        self.form, self.mode, self.dtype, self.members = form, mode, dtype, len(seeds)
        self._integer, self._drop = layout.integer, layout.fraction - form.sbits
        self._limited = form.exponent_bits < layout.exponent
        bits = WORD if self._limited else max(self._drop, 1)  # no more than are used: one shift less each time
        self._streams = MemberStreams(seeds, bits) if mode == "stochastic" else None
        self._constants: dict[float, float] = {}
        self._operations = self._additions = self._stagnated = 0
        self._entered: list[tuple[Any, Any]] = []

    def __enter__(self) -> "Arithmetic":
        quiet = np.errstate(over="ignore", invalid="ignore", divide="ignore")  # an overflow is a result here
        quiet.__enter__()
        self._entered.append((ACTIVE.set(self), quiet))
        return self

    def __exit__(self, *exception: Any) -> None:
        token, quiet = self._entered.pop()
        ACTIVE.reset(token)
        quiet.__exit__(None, None, None)

    @property
    def full(self) -> bool:
        """Whether nothing is rounded; then `array` wraps nothing and nothing is counted."""
        return self._drop <= 0 and not self._limited

    @property
    def counts(self) -> Counts:
        return Counts(self._operations, self._additions, self._stagnated)

    def array(self, x: Any) -> Any:
        """A new array of `x` (array, tensor, number, or wrapped already), rounded to nearest, and wrapped."""
        x = self._typed(x.value if isinstance(x, LowPrecisionArray) else x, copy=True)
        return x if self.full else LowPrecisionArray(self._nearest(x))

    def operand(self, x: Any) -> Any:
        """The numbers of what stands beside a wrapped array."""
        if isinstance(x, LowPrecisionArray):
            return x.value
        if isinstance(x, (int, float)):
            if x not in self._constants:
                if len(self._constants) >= CONSTANTS:
                    self._constants.clear()
                self._constants[x] = float(self._nearest(np.array([x], self.dtype))[0])
            return self._constants[x]
        return self._nearest(self._typed(x))

    def settle(self, result: Any) -> Any:
        """A fresh result, rounded; in place where that can be."""
        if isinstance(result, np.generic):
            result = np.array(result)
        lib = library(result)
        self._operations += result.size if lib is np else result.numel()
        words = noise = None if self._streams is None else self._words(result, self._streams)
        exact = (result.copy() if lib is np else result.clone()) if self._limited else result
        if self._drop > 0:
            if words is not None and self._limited:
                noise = words >> (WORD - self._drop)
            if noise is not None and self._integer == "int32":
                noise = noise.astype(np.int32) if lib is np else noise.int()
            drop_bits_(result.view(getattr(lib, self._integer)), self._drop, noise)
        return limit_range(result, exact, self.form, words) if self._limited else result

    def added(self, left: Any, right: Any, result: Any) -> None:
        """Counts the stagnated among rounded sums."""
        lost = (result == left) & (right != 0)
        plain = isinstance(lost, np.ndarray | np.generic)
        self._additions += lost.size if plain else lost.numel()
        self._stagnated += int(np.count_nonzero(lost) if plain else lost.sum())

    def _words(self, result: Any, streams: MemberStreams) -> Any:
        shape = tuple(result.shape)
        if self.members > 1 and (not shape or shape[-1] != self.members):
            raise bad("array", f"{self.members} members on the last axis", f"shape {shape}")
        words = streams.take(shape)
        return words if isinstance(result, np.ndarray) else library(result).from_numpy(words).to(result.device)

    def _nearest(self, x: Any) -> Any:
        return round_significand(x, self.form.sbits, exponent_bits=self.form.exponent_bits)

    def _typed(self, x: Any, copy: bool = False) -> Any:
        if type(x).__module__.partition(".")[0] != "torch":
            return np.array(x, self.dtype, copy=copy or None)
        return x.to(getattr(library(x), self.dtype), copy=copy)
