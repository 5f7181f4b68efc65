"""The verdict: an exact reference for the interval, and what each rule must refuse."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ttest_1samp, ttest_rel

from smidgen.papers.claim import Claim, Part
from smidgen.papers.judge import judge


def claim(*parts: Part, **more) -> Claim:
    base = {"title": "t", "year": 2000, "gives": "g", "room": "learn", "implements": (), "says": "s", "published": ()}
    return Claim(**base, experiment="e", parts=parts, **{"seeds": 3, **more})


def runs(*gains: float) -> list[dict[str, float]]:
    return [{"a": g, "b": 0.0} for g in gains]


ONE = Part(name="one", says="", gain=("a", "b"))


def test_interval_is_students_of_the_paired_differences():
    rng = np.random.default_rng(0)
    a, b = rng.normal(1, 1, 8), rng.normal(0, 1, 8)
    got = judge(claim(ONE, seeds=8), [{"a": x, "b": y} for x, y in zip(a, b, strict=True)]).parts[0]
    reference = ttest_rel(a, b).confidence_interval(0.9)
    assert got.interval == pytest.approx((reference.low, reference.high))


def test_bonferroni_and_overlap_widen_it():
    two = claim(ONE, Part(name="two", says="", gain=("a", "b")))
    got = judge(two, runs(1, 2, 3)).parts[0].interval
    reference = ttest_1samp([1, 2, 3], 0).confidence_interval(1 - 2 * 0.05 / 2)
    assert got == pytest.approx((reference.low, reference.high))
    plain, wide = (judge(claim(ONE, resampled=r), runs(1, 2, 3)).parts[0].interval for r in (0, 1 / 3))
    assert (wide[1] - wide[0]) / (plain[1] - plain[0]) == pytest.approx(math.sqrt(2))  # 1/3 + 1/3 for 1/3


@pytest.mark.parametrize(
    ("gains", "margin", "null", "verdict"),
    [
        ((1.0, 1.1, 1.2), 1.0, 0.0, "holds"),
        ((1.0, 1.1, 1.2), 1.2, 0.0, "direction only"),  # sure, but less than the margin
        ((0.1, 3.0, 0.2), 1.0, 0.0, "direction only"),  # enough on the mean, but not sure
        ((-1.0, -1.1, 0.9), 0.0, 0.0, "fails here"),
        ((-0.1, -0.1, -0.12), -0.2, -0.5, "holds"),  # not worse than by 0.5
        ((1.0, math.nan, 1.0), 0.0, 0.0, "fails here"),
    ],
)
def test_rule(gains, margin, null, verdict):
    part = Part(name="p", says="", gain=("a", "b"), margin=margin, null=null)
    assert judge(claim(part), runs(*gains)).verdict == verdict


def test_constants_and_missing_numbers():
    ceiling = Part(name="at most 0.3", says="", gain=(0.3, "slope"), null=-0.7)
    assert judge(claim(ceiling), [{"slope": s} for s in (0.1, 0.12, 0.11)]).verdict == "holds"
    assert judge(claim(ceiling), [{"other": 1.0}] * 3).verdict == "fails here"


def test_too_few_seeds_are_not_judged():
    got = judge(claim(ONE), runs(5, 5))
    assert got.verdict == "not finished" and got.parts[0].verdict == "not finished"


def test_two_of_three_in_a_group():
    parts = [Part(name=n, says="", gain=(n, 0.0), group="sets") for n in "xyz"]
    good = [{"x": 1 + e, "y": 1 - e, "z": -1.0} for e in (0, 0.01, 0.02)]
    assert judge(claim(*parts, needs={"sets": 2}), good).verdict == "holds"
    assert judge(claim(*parts), good).verdict == "fails here"
    with pytest.raises(ValueError, match="cannot be asked"):
        claim(*parts, needs={"sets": 4})


@given(st.lists(st.floats(-5, 5), min_size=3, max_size=9), st.floats(0.01, 3))
def test_more_gain_never_makes_it_worse(gains, more):
    order = ["fails here", "direction only", "holds"]
    before, after = (judge(claim(ONE), runs(*(g + d for g in gains))).verdict for d in (0, more))
    assert order.index(after) >= order.index(before)


def test_chance_of_a_false_holds():
    rng = np.random.default_rng(1)
    hits = sum(judge(claim(ONE, seeds=5), runs(*rng.normal(0, 1, 5))).verdict == "holds" for _ in range(2000))
    assert 0.03 < hits / 2000 < 0.07
