"""The Frechet distance against its closed form, against a matrix root, and where samples are few."""

import numpy as np
import pytest
from scipy.linalg import sqrtm

from smidgen.kit.errors import BadInput
from smidgen.tasks.frechet import frechet_distance


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def with_moments(rng, mean, cov, rows):
    """Features whose sample mean and covariance are exactly these."""
    x = rng.normal(size=(rows, len(mean)))
    x -= x.mean(0)
    x = np.linalg.solve(np.linalg.cholesky(np.cov(x.T)), x.T).T
    return x @ np.linalg.cholesky(np.asarray(cov, float)).T + mean


def test_closed_form_of_covariances_that_commute(rng):
    a = with_moments(rng, [0.0, 1.0, 2.0], np.diag([4.0, 1.0, 0.25]), 50)
    b = with_moments(rng, [0.0, 0.0, 2.5], np.diag([1.0, 1.0, 9.0]), 80)
    assert frechet_distance(a, b) == pytest.approx(1 + 0.25 + (2 - 1) ** 2 + 0 + (0.5 - 3) ** 2, rel=1e-10)


def test_the_root_of_covariances_that_do_not_commute(rng):
    a, b = (rng.normal(size=(n, 5)) @ rng.normal(size=(5, 5)) + rng.normal(size=5) for n in (40, 60))
    A, B = np.cov(a.T), np.cov(b.T)
    mean = a.mean(0) - b.mean(0)
    expected = mean @ mean + np.trace(A + B - 2 * sqrtm(A @ B).real)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-8)
    assert frechet_distance(b, a) == pytest.approx(expected, rel=1e-8)
    turn = np.linalg.qr(rng.normal(size=(5, 5)))[0]
    assert frechet_distance(3 * a @ turn, 3 * b @ turn) == pytest.approx(9 * expected, rel=1e-8)


def test_alike_is_0_also_with_fewer_samples_than_columns(rng):
    few = rng.normal(size=(6, 30))
    assert 0 <= frechet_distance(few, few) < 1e-10
    assert frechet_distance(few, few + 2.0) == pytest.approx(30 * 4)
    constant = np.ones((4, 3))
    assert frechet_distance(constant, constant + [0, 0, 2]) == pytest.approx(4)


def test_what_cannot_be_compared(rng):
    x = rng.normal(size=(10, 3))
    for a, b, said in (
        (x, x[:, :2], "expected 3, got 2"),
        (x[:1], x, "at least 2 rows"),
        (x, x[0], "at least 2 rows"),
        (x, np.where(x > 1, np.nan, x), "finite"),
    ):
        with pytest.raises(BadInput, match=said):
            frechet_distance(a, b)
