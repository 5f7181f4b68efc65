"""Paired tests over data sets against SciPy's exact ones, and Holm's steps by hand."""

import itertools

import numpy as np
import pytest
from scipy.stats import wilcoxon

from smidgen.kit.errors import BadInput
from smidgen.studies.data_sets import holm, over_data_sets


@pytest.mark.parametrize("count", [4, 11, 23, 60])
def test_signed_ranks_are_those_of_scipy(count):
    a, b = np.random.default_rng(count).normal(size=(2, count)) + [[0.4], [0.0]]
    got = over_data_sets({"a": a, "b": b}, "a")[0]
    exact = (
        wilcoxon(a, b, method="exact").pvalue
        if count <= 25
        else wilcoxon(a, b, method="asymptotic", correction=True).pvalue
    )
    assert got.p == pytest.approx(exact) and got.gain == pytest.approx((a - b).mean())
    assert got.wins == (a > b).sum() and got.losses == count - got.wins


def test_ties_and_equal_scores_by_all_signs():
    gap = np.array([0.0, 0.1, 0.1, -0.1, 0.3, 0.3])
    ranks = np.array([3, 3, 3, 5.5, 5.5])  # the equal pair takes rank 1, and is left out (Pratt)
    seen = abs(np.sign(gap[1:]) @ ranks)
    all_signs = np.array(list(itertools.product([-1, 1], repeat=5))) @ ranks
    got = over_data_sets({"a": gap, "b": np.zeros(6)}, "a")[0]
    assert got.p == pytest.approx((np.abs(all_signs) >= seen).mean())
    assert over_data_sets({"a": [1.0, 2.0], "b": [1.0, 2.0]}, "a")[0].p == 1


def test_many_peers_are_corrected():
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def test_scores_must_pair():
    with pytest.raises(BadInput, match="scores of b"):
        over_data_sets({"a": [1.0, 2.0], "b": [1.0]}, "a")
    with pytest.raises(BadInput, match="at least one other"):
        over_data_sets({"a": [1.0]}, "a")
