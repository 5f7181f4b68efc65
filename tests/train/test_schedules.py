"""Schedules: closed forms at the corners, monotone falls, and a branch that leaves the stable phase alone."""

import math

import pytest

from smidgen.kit.errors import BadInput
from smidgen.train.schedules import SHAPES, WSD, Cosine


@pytest.mark.parametrize("shape", SHAPES)
def test_wsd_rises_stays_and_falls(shape):
    wsd = WSD(warmup=10, decay=20, stable_until=50, shape=shape, least=0.05)
    factors = [wsd(s) for s in range(75)]
    assert factors[:10] == pytest.approx([(s + 1) / 10 for s in range(10)])
    assert factors[10:50] == [1.0] * 40
    fall = factors[50:70]
    assert all(a > b for a, b in zip([1.0, *fall], fall, strict=False)) and fall[-1] == pytest.approx(
        0.0625 if shape == "exp" else 0.05
    )
    assert wsd.end == 70 and factors[70:] == [factors[69]] * 5


def test_halves_and_roots():
    assert WSD(warmup=0, decay=4, stable_until=0, shape="exp", half_life=0.25)(0) == pytest.approx(0.5)
    assert WSD(warmup=0, decay=4, stable_until=0, shape="1-sqrt")(0) == pytest.approx(1 - math.sqrt(0.25))


def test_decay_begins_once():
    open_end = WSD(warmup=5, decay=10)
    assert open_end(10**9) == 1.0 and open_end.end is None
    branch = open_end.start_decay(100)
    assert [branch(s) for s in range(100)] == [open_end(s) for s in range(100)] and branch(109) == 0.0
    with pytest.raises(BadInput, match="begins at step 100 already"):
        branch.start_decay(120)


def test_cosine():
    c = Cosine(steps=100, warmup=10, least=0.1)
    assert c(9) == 1.0 and c(55) == pytest.approx(0.55) and c(100) == pytest.approx(0.1) == c(500)


@pytest.mark.parametrize("bad", [{"warmup": -1}, {"decay": -1}, {"stable_until": 3}, {"shape": "up"}, {"least": 2.0}])
def test_nonsense_is_refused(bad):
    with pytest.raises(BadInput):
        WSD(**{"warmup": 5, "decay": 10, **bad})
