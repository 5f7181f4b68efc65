"""Widths against what formats can really say, and the order of costs."""

import math

import pytest

from smidgen.budget.hardware import Number, accumulator_bits, mac_cost, mac_gates, product_bits
from smidgen.formats.grid import grid
from smidgen.kit.errors import BadInput

FORMATS = ("int4", "int8", "e2m5", "e3m4", "e4m3", "e5m2", "e5m2ieee", "e2m1")


@pytest.mark.parametrize("name", FORMATS)
def test_every_product_fits_and_one_bit_less_would_not(name):
    levels = grid(name).levels.astype(float)
    above = levels[levels > 0]
    if name.startswith("int"):
        above = above[above <= 2 ** (int(name[3:]) - 1) - 1]
    smallest, largest = above.min(), above.max()
    assert Number.parse(name).steps == largest / smallest
    most = int((largest / smallest) ** 2)
    assert most.bit_length() + 1 == product_bits(name)
    assert (4096 * most).bit_length() + 1 <= accumulator_bits(name)


def test_published_widths():
    assert (product_bits("int8"), product_bits("e4m3"), accumulator_bits("int8")) == (15, 37, 27)
    assert accumulator_bits("e5m2") > accumulator_bits("e4m3") > accumulator_bits("e3m4") > accumulator_bits("int8")
    assert accumulator_bits("int8", 1) == 15 and accumulator_bits("int8", 5000) == 15 + math.ceil(math.log2(5000))


def test_floats_of_as_many_bits_cost_more_and_wide_sums_most():
    assert mac_cost("int8") == 1.0
    assert 1.2 < mac_cost("e4m3") < 2 < mac_cost("e5m2") < 2.8  # published: half more, and up to 180 % more
    assert mac_cost("e4m3", "fp32") > mac_cost("e4m3", "fp16") > mac_cost("int8")
    assert mac_cost("int4") < 0.6
    parts = mac_gates("e4m3")
    assert parts["total"] == sum(v for k, v in parts.items() if k != "total")


def test_gates_counted_by_hand():
    """Each part of the model in the module's docstring, for products of 8 bits."""
    integer = {"multiply": 8 * 8 + 5 * 8 * 7, "align": 0, "add": 5 * 27, "normalise": 0}
    assert mac_gates("int8") == {**integer, "total": sum(integer.values())}
    # e4m3: 4 x 4 bits and 4 of exponent; a product of 8 bits goes to one of 36 places in stages of 1, 2, 4, 8, 16
    parts = {"multiply": 4 * 4 + 5 * 4 * 3 + 5 * 4, "align": 3 * (9 + 11 + 15 + 23 + 36) + 3 * 37, "add": 5 * 49}
    assert mac_gates("e4m3") == {**parts, "normalise": 0, "total": sum(parts.values())}
    shifter = 3 * 14 * 4  # fp16's fraction of 11 bits with 3 more
    half = {"align": shifter + 5 * 5 + 3 * 28, "add": 5 * 15 + 3 * 14, "normalise": shifter + 3 * 14 + 5 * 5}
    assert mac_gates("e4m3", "fp16") == {"multiply": 96, **half, "total": 96 + sum(half.values())}
    single = {"align": 3 * 27 * 5 + 5 * 8 + 3 * 54, "add": 5 * 28 + 3 * 27, "normalise": 3 * 27 * 5 + 3 * 27 + 5 * 8}
    assert mac_gates("int8", "fp32") == {"multiply": 344, **single, "total": 344 + sum(single.values())}
    assert mac_cost("e4m3", "fp16") == (96 + sum(half.values())) / sum(integer.values())
    assert mac_gates("int8", n_products=1)["add"] == 5 * 15


def test_names_of_formats_and_their_ends():
    assert [Number.parse(n).bits for n in ("int2", "int32", "e1m0", "e8m23", "e4m3fn")] == [2, 32, 2, 32, 8]


def test_what_is_no_format():
    for wrong in ("int1", "int33", "fp8", "e0m2", "e9m2", "e8m24", "xint8", "e4m3x"):
        with pytest.raises(BadInput):
            product_bits(wrong)
    with pytest.raises(BadInput):
        accumulator_bits("int8", 0)
    with pytest.raises(BadInput):
        mac_gates("int8", "fp64")
