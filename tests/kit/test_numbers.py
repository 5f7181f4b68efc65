"""Numbers for JSON: Python's own, six digits."""

import numpy as np

from smidgen.kit.numbers import plain, short


def test_numbers_for_json():
    assert [type(plain(v)) for v in (np.float32(1.5), np.int8(2), np.bool_(True))] == [float, int, bool]
    assert plain("text") == "text" and plain(np.float32(1.5)) == 1.5
    only_half = type("OnlyHalf", (), {"item": lambda self: 1})()
    assert plain(only_half) is only_half
    assert short(123456.789) == 123457.0 and short(1 / 3) == 0.333333 and short(-2e-9) == -2e-9
