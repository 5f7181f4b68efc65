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


def test_what_is_no_format():
    for wrong in ("int1", "fp8", "e9m2"):
        with pytest.raises(BadInput):
            product_bits(wrong)
    with pytest.raises(BadInput):
        accumulator_bits("int8", 0)
    with pytest.raises(BadInput):
        mac_gates("int8", "fp64")
