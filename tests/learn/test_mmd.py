"""Squared MMD against a table of all differences."""

import numpy as np
import pytest
import torch

from smidgen.kit.errors import BadInput
from smidgen.learn.mmd import FLOOR, SIGMAS, mmd_rbf, mmd_rbf_to_many


def slow(x, y):
    """By definition, one pair at a time in float64."""

    def k(a, b):
        d = ((a[:, None] - b[None]) ** 2).sum(2)
        return np.mean([np.exp(-d / (2 * s)) for s in SIGMAS], axis=(1, 2)).sum()

    return k(x, x) + k(y, y) - 2 * k(x, y)


def test_it_is_the_definition_also_far_from_zero():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(7, 3)) + 1e4, 1.5 * rng.normal(size=(5, 3)) + 1e4
    tx, ty = torch.from_numpy(x), torch.from_numpy(y)
    assert float(mmd_rbf(tx, ty)) == pytest.approx(slow(x, y), rel=1e-6)
    many = mmd_rbf_to_many(tx, [ty, tx, ty + 1])
    assert many.tolist() == pytest.approx([slow(x, y), FLOOR, slow(x, y + 1)], rel=1e-6)
    assert float(mmd_rbf(tx, tx[[2, 0, 1, 3, 6, 5, 4]])) == FLOOR  # an order is no difference; 1 / it stays finite


@pytest.mark.parametrize(
    ("x", "y", "sigmas"),
    [(torch.zeros(3, 2), torch.zeros(3, 4), SIGMAS), (torch.zeros(0, 2), torch.zeros(3, 2), SIGMAS)]
    + [(torch.zeros(3, 2), torch.zeros(3, 2), (1.0, 0.0))],
)
def test_bad_input(x, y, sigmas):
    with pytest.raises(BadInput):
        mmd_rbf(x, y, sigmas)
