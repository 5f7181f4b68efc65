import pytest

from smidgen.kit.errors import BadInput
from smidgen.laws.batch_law import batch_law


def test_the_published_points():
    assert batch_law(2.5).tokens == pytest.approx(3.98e6, rel=1e-2)  # about MiniCPM's own batch of 4 M
    assert batch_law(5.0).tokens == pytest.approx(batch_law(2.5).tokens / 2**6.24)


def test_says_how_far_out_it_is():
    assert batch_law(3.0).outside == 1 and batch_law(3.0).usable
    assert batch_law(1.25).outside == 2 and not batch_law(1.25).usable
    assert batch_law(10.0).outside == 2
    with pytest.raises(BadInput):
        batch_law(0)
