"""Numbers as people write them."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smidgen.tasks.number_cells import SEEN, SUGGESTED, number_form, number_of


@pytest.mark.parametrize(
    ("cells", "says", "form", "values"),
    [
        (["1,5", "2"], 0, "decimal comma", [1.5, 2]),
        (["1,500", "2,250"], 0, "", [1500, 2250]),
        (["1,500", "2,250"], SUGGESTED, "decimal comma", [1.5, 2.25]),
        (["1.500", "980"], SUGGESTED, "", [1.5, 980]),
        (["1.500", "980"], SEEN, "decimal comma", [1500, 980]),
        (["1.5", "1.500"], SEEN, "", [1.5, 1.5]),
        (["1.234.567", "980"], 0, "decimal comma", [1234567, 980]),
        (["1 234,5", "980"], 0, "decimal comma", [1234.5, 980]),
        (["1\u00a0234,5", "12\u202f345"], 0, "decimal comma", [1234.5, 12345]),
        (["1'234.50", "1’234’567"], 0, "", [1234.5, 1234567]),
        (["12 kg", "14.5 kg", "9kg"], 0, "unit kg", [12, 14.5, 9]),
        (["1.250 ccm", "990,5 CCM"], 0, "decimal comma, unit ccm", [1250, 990.5]),
        (["20 km/h", "30 km/h"], 0, "unit km/h", [20, 30]),
        (["21.5 °C", "-3 °C"], 0, "unit °c", [21.5, -3]),
        (["EUR 5", "7,50 EUR", "3 Euro"], 0, "decimal comma", [5, 7.5, 3]),
        (["(1,234.50)", "$20", "5 %", "−7"], 0, "", [-1234.5, 20, 5, -7]),
    ],
)
def test_a_column_settles_what_a_cell_leaves_open(cells, says, form, values):
    assert number_form(cells, says) == form
    assert [number_of(c, form) for c in cells] == values


def test_what_is_no_unit_or_not_one_unit_is_no_number():
    for cells in (["1st", "2nd", "3rd"], ["12 kg", "900 g", "3 kg"], ["10a", "12b"], ["5 people", "7 people"]):
        assert number_form(cells) == ""
        assert all(math.isnan(number_of(c)) for c in cells)
    assert math.isnan(number_of("900 g", "unit kg"))  # another unit is missing, not a thousandth
    assert number_of("900", "unit kg") == 900


@given(st.floats(-1e9, 1e9), st.sampled_from(["", " €", " kg", "kg"]))
def test_german_numbers_come_back(value, tail):
    value = round(value, 2)
    cell = f"{value:,.2f}".translate(str.maketrans(",.", ".,")) + tail
    assert number_of(cell, number_form([cell, cell + ""])) == value
