"""Distances of samples at their edges: by hand, powers, weights of none, what is refused."""

import math

import numpy as np
import pytest

from smidgen.kit.errors import BadInput
from smidgen.studies.wasserstein import gridpoint_wasserstein, sorted_distance, wasserstein


def test_by_hand():
    assert wasserstein([3.0, 1.0], [0.0, 0.0]) == 2.0
    assert wasserstein([3.0, 1.0], [0.0, 0.0], 2) == pytest.approx(math.sqrt(5))
    assert wasserstein([3.0, 1.0], [0.0, 0.0], math.inf) == 3.0
    # quantiles of [0, 6] and [0, 3, 9]: thirds and halves, differences 0, 3 | 3, 3 of shares 2, 1, 1, 2 sixths
    assert wasserstein([0.0, 6.0], [0.0, 3.0, 9.0]) == pytest.approx((0 * 2 + 3 + 3 + 3 * 2) / 6)
    assert wasserstein([0.0, 6.0], [0.0, 3.0, 9.0], 3) == pytest.approx((27 * 4 / 6) ** (1 / 3))
    assert wasserstein([0.0, 6.0, 50.0], [1.0], a_weights=[1, 3, 0]) == pytest.approx(1 / 4 + 5 * 3 / 4)
    assert wasserstein([1.0], [0.0, 6.0, 50.0], math.inf, b_weights=[1, 3, 0]) == 5.0
    assert wasserstein([2.0], [2.0], 2) == 0.0 and wasserstein([5.0], [2.0], 1.0000001) == pytest.approx(3)
    grid = sorted_distance(np.array([[0.0, 1.0], [2.0, 1.0]]), np.array([[1.0, 1.0]]), 2)
    assert grid.tolist() == [1.0, 0.0]
    assert gridpoint_wasserstein([[2.0, 1.0], [0.0, 1.0]], [[1.0, 4.0]]).tolist() == [1.0, 3.0]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: wasserstein([1.0], [1.0], 0.999), "p: expected at least 1, got 0.999."),
        (lambda: wasserstein([1.0], [1.0], math.nan), "p: expected at least 1, got nan."),
        (lambda: gridpoint_wasserstein([[1.0]], [[1.0]], 0), "p: expected at least 1, got 0."),
        (lambda: wasserstein([[1.0]], [1.0]), "a: expected a sample [n] of at least one number, got shape (1, 1)."),
        (lambda: wasserstein([1.0], []), "b: expected a sample [n] of at least one number, got shape (0,)."),
        (lambda: wasserstein([1.0], [-np.inf]), "b: expected finite numbers, got NaN or infinity."),
        (lambda: wasserstein([1.0, 2], [1.0], a_weights=[1.0]),
         "a_weights: expected 2 finite numbers >= 0, one of them above, got shape (1,)."),
        (lambda: wasserstein([1.0], [1.0, 2], b_weights=[0.0, 0.0]),
         "b_weights: expected 2 finite numbers >= 0, one of them above, got shape (2,)."),
        (lambda: wasserstein([1.0], [1.0, 2], b_weights=[1.0, np.inf]),
         "b_weights: expected 2 finite numbers >= 0, one of them above, got shape (2,)."),
        (lambda: wasserstein([1.0], [1.0, 2], b_weights=[2.0, -1.0]),
         "b_weights: expected 2 finite numbers >= 0, one of them above, got shape (2,)."),
        (lambda: gridpoint_wasserstein([1.0], [[1.0]]),
         "samples: expected [time, points] with equal points, and at least one time, got (1,) and (1, 1)."),
        (lambda: gridpoint_wasserstein([[1.0]], [1.0]),
         "samples: expected [time, points] with equal points, and at least one time, got (1, 1) and (1,)."),
        (lambda: gridpoint_wasserstein(np.ones((0, 2)), np.ones((1, 2))),
         "samples: expected [time, points] with equal points, and at least one time, got (0, 2) and (1, 2)."),
        (lambda: gridpoint_wasserstein(np.ones((1, 2)), np.ones((0, 2))),
         "samples: expected [time, points] with equal points, and at least one time, got (1, 2) and (0, 2)."),
        (lambda: gridpoint_wasserstein([[np.nan]], [[1.0]]), "samples: expected finite numbers, got NaN or infinity. "
         "Leave out runs that overflowed, and report them."),
    ],
)  # fmt: skip
def test_what_is_no_sample(call, said):
    with pytest.raises(BadInput) as caught:
        call()
    assert str(caught.value) == said
