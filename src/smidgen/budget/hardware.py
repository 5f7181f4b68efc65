"""What a multiplication costs in hardware by number format: bits of the accumulator, gates. Plain numbers, no torch.

After van Baalen et al. (2023), arXiv 2303.17951, section 3 (products of small floats added up in fixed point, as
Kulisch did). The counts are a model, and these are its assumptions:

- A signed product is exact. Of INTb it has 2 (b - 1) + 1 bits: codes reach from -(2^(b-1) - 1) to 2^(b-1) - 1. Of ExMy
  it is written in steps of the smallest product, so that its bits are 1 + those of (largest / smallest)^2.
- N products of the worst case need ceil(log2 N) bits more; 4096 of them 12.
- Gates have two inputs. An AND is 1, an XOR 3, a multiplexer 3 (two AND, one OR), a full adder 5 with its XORs as one
  gate each. No registers, wires, exceptions (NaN, infinity) or subnormal detection; one product a clock.
- A multiplier is an array: n x n AND, and n (n - 1) full adders. A float's is of M + 1 bits, and its exponents are
  added by E full adders.
- Accumulating in fixed point shifts each product to its place: a shifter of log2(places) stages whose width grows to
  that of a product, then a conditional negation, then an adder as wide as the accumulator. Integers only add.
- Accumulating in FP16 or FP32 aligns one of two fractions (a shifter of the accumulator's fraction and 3 bits more),
  adds, and normalises (a leading-zero count and another shifter), beside an adder for the exponents.
- What is stored in a format but multiplied in another saves memory, not gates: ask for the wider one.

Where public notes quote "37 bits" for E4M3 against 15 of INT8, that is a product; 4096 of them take 49 against 27.
"""

import math
import re
from dataclasses import dataclass
from typing import Literal, get_args

from smidgen.kit.errors import bad

Accumulate = Literal["fixed", "fp16", "fp32"]
AND, XOR, MUX, FULL_ADDER = 1, 3, 3, 5
_FRACTION = {"fp16": (5, 10), "fp32": (8, 23)}
_INTEGER = re.compile(r"int([1-9]\d?)")
_FLOAT = re.compile(r"e(\d+)m(\d+)(fn|ieee)?")


@dataclass(frozen=True)
class Number:
    """A format's split: bits of exponent (0 of an integer) and of magnitude (an integer's), or fraction (a float's)."""

    name: str
    exponent: int
    fraction: int

    @classmethod
    def parse(cls, name: str) -> "Number":
        """Of "int8", "e4m3", "e4m3fn" and the like. Raises BadInput for another name."""
        if (found := _INTEGER.fullmatch(name)) and 2 <= int(found[1]) <= 32:
            return cls(name, 0, int(found[1]) - 1)
        if (found := _FLOAT.fullmatch(name)) and 1 <= int(found[1]) <= 8 and int(found[2]) <= 23:
            return cls(name, int(found[1]), int(found[2]))
        raise bad("format", "int2 to int32 or eXmY", name)

    @property
    def bits(self) -> int:
        return 1 + self.exponent + self.fraction

    @property
    def steps(self) -> float:
        """The largest number in steps of the smallest."""
        if not self.exponent:
            return 2.0**self.fraction - 1
        reserved = self.name.endswith("ieee")  # the top exponent says infinity and NaN
        top = 2**self.exponent - (2 if reserved else 1)  # as a bit pattern; of e4m3fn one code less, the same bits
        return (2.0 ** (self.fraction + 1) - 1) * 2.0 ** (top - 1)


def product_bits(name: str) -> int:
    """Of one exact product in fixed point, with its sign: INT8 15, E4M3 37."""
    number = Number.parse(name)
    return 1 + math.ceil(2 * math.log2(number.steps))


def accumulator_bits(name: str, n_products: int = 4096) -> int:
    """Of a fixed-point accumulator that so many of the largest products do not overflow: INT8 27, E4M3 49.

    Raises:
        BadInput: a format that is none, or no products.
    """
    if n_products < 1:
        raise bad("n_products", "at least 1", n_products)
    return product_bits(name) + math.ceil(math.log2(n_products))


def mac_gates(name: str, accumulate: Accumulate = "fixed", n_products: int = 4096) -> dict[str, int]:
    """Gates of a multiply-accumulate: "multiply", "align", "add", "normalise" and their "total"."""
    number = Number.parse(name)
    if accumulate not in get_args(Accumulate):
        raise bad("accumulate", ", ".join(get_args(Accumulate)), accumulate)
    side = number.fraction + 1  # of the multiplier: an integer with its sign, a fraction with its leading bit
    found = {"multiply": _multiplier(side) + FULL_ADDER * number.exponent, "align": 0, "add": 0, "normalise": 0}
    if accumulate == "fixed":
        wide = product_bits(name)
        if number.exponent:
            found["align"] = _growing_shifter(2 * side, wide - 1) + XOR * wide
        found["add"] = FULL_ADDER * accumulator_bits(name, n_products)
    else:
        exponent, fraction = _FRACTION[accumulate]
        width = fraction + 1 + 3  # guard, round and sticky
        found["align"] = _shifter(width) + FULL_ADDER * exponent + MUX * 2 * width  # and the exchange of the two
        found["add"] = FULL_ADDER * (width + 1) + XOR * width
        found["normalise"] = _shifter(width) + MUX * width + FULL_ADDER * exponent
    return {**found, "total": sum(found.values())}


def mac_cost(name: str, accumulate: Accumulate = "fixed", n_products: int = 4096) -> float:
    """Gates relative to INT8 with a fixed-point accumulator of as many products."""
    whole = mac_gates("int8", "fixed", n_products)["total"]
    return mac_gates(name, accumulate, n_products)["total"] / whole


def _multiplier(side: int) -> int:
    return AND * side * side + FULL_ADDER * side * (side - 1)


def _shifter(width: int) -> int:
    """By up to its width."""
    return MUX * width * math.ceil(math.log2(width))


def _growing_shifter(inside: int, outside: int) -> int:
    """From the bits that come in to those that go out: stage k moves by 2^k and is as wide as what has come so far."""
    gates, width, k = 0, inside, 0
    while width < outside:
        width = min(outside, width + 2**k)
        gates += MUX * width
        k += 1
    return gates
