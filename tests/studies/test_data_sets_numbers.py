"""Paired tests over data sets: every field by hand, ties, where exact counting ends, and what is refused."""

import itertools
import math

import numpy as np
import pytest
from scipy.stats import norm, rankdata

from smidgen.kit.errors import BadInput
from smidgen.studies.data_sets import PairedOver, holm, over_data_sets


def by_signs(gap):
    """Share of all signs of the ranks that lie as far from 0."""
    ranks = rankdata(np.abs(gap))[np.array(gap) != 0]
    seen = abs(np.sign([g for g in gap if g]) @ ranks)
    sums = np.array(list(itertools.product([-1, 1], repeat=len(ranks)))) @ ranks
    return (np.abs(sums) >= seen - 1e-9).mean()


def test_each_peer_in_the_order_given_with_its_own_numbers():
    scores = {"p": [1.0, 4, 2, 9], "m": [3.0, 4, 5, 8], "q": [2.0, 2, 2, 2]}
    made = over_data_sets(scores, "m")
    first, second = by_signs([2, 0, 3, -1]), by_signs([1, 2, 3, 6])
    assert first > second == 0.125
    assert made == [
        PairedOver("p", 1.0, 2, 1, pytest.approx(first), pytest.approx(first)),
        PairedOver("q", 3.0, 4, 0, pytest.approx(0.125), pytest.approx(0.25)),
    ]


def test_differences_that_only_rounding_tells_apart_are_ties():
    for gap, same in (
        ([0.1, 0.1 + 1e-14, -0.1, 0.5], [0.1, 0.1, -0.1, 0.5]),
        ([1e-13, 0.3, 0.4, -0.2], [0.0, 0.3, 0.4, -0.2]),
    ):
        zeros = [0.0] * 4
        assert over_data_sets({"a": gap, "b": zeros}, "a")[0].p == pytest.approx(by_signs(same))
    assert by_signs([0.1, 0.1, -0.1, 0.5]) != by_signs([0.1, 0.11, -0.09, 0.5])
    assert over_data_sets({"a": [1e-11, 3.0], "b": [0.0, 0.0]}, "a")[0].p == 0.5


def test_up_to_25_differences_are_counted_and_more_are_taken_for_normal():
    def p(gap):
        return over_data_sets({"a": gap, "b": np.zeros(len(gap))}, "a")[0].p

    signs = np.array([1, 1, 1, -1] * 7)
    for n in (25, 26):
        gap = np.arange(1.0, n + 1) * signs[:n]
        seen, ranks = abs(gap.sum()), np.arange(1, n + 1)
        normal = 2 * norm.sf((seen - 1) / math.sqrt((ranks**2).sum()))
        assert (p(gap) == pytest.approx(normal, rel=1e-9)) == (n == 26)
        assert p(gap) == pytest.approx(normal, rel=0.06)
    assert p(np.append(np.arange(1.0, 26) * signs[:25], 0.0)) != pytest.approx(p(gap), rel=1e-3)
    even = np.repeat(np.arange(1.0, 14), 2) * np.tile([1, -1], 13)
    assert p(even) == 1.0


def test_holm_step_by_step():
    assert holm([0.2, 0.01, 0.02]) == pytest.approx([0.2, 0.03, 0.04])
    assert holm([0.02, 0.021, 0.5]) == pytest.approx([0.06, 0.06, 0.5])  # never less than a smaller one's
    assert holm([0.4, 0.4]) == pytest.approx([0.8, 0.8]) and holm([]) == [] and holm([0.3]) == [0.3]


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        ({"b": [1.0], "c": [1.0]}, "scores: expected 'a' and at least one other method, got b, c."),
        ({"a": [1.0]}, "scores: expected 'a' and at least one other method, got a."),
        ({"a": [], "b": []}, "scores of a: expected 0 finite numbers, one a data set, got []."),
        ({"a": [1.0, 2.0], "b": [1.0]}, "scores of b: expected 2 finite numbers, one a data set, got [1.0]."),
        ({"a": [1.0], "b": [math.inf]}, "scores of b: expected 1 finite numbers, one a data set, got [inf]."),
        ({"a": [1.0], "b": [[1.0]]}, "scores of b: expected 1 finite numbers, one a data set, got [[1.0]]."),
    ],
)
def test_what_does_not_pair_is_said(scores, said):
    with pytest.raises(BadInput) as caught:
        over_data_sets(scores, "a")
    assert str(caught.value) == said
