"""Optimal transport of labelled rows: exact references, invariances, and gradients against finite differences."""

import itertools

import numpy as np
import pytest

from smidgen.data.sinkhorn import sinkhorn, sinkhorn_self
from smidgen.data.transport import (
    Target,
    calibrated_gradient,
    classes_of,
    cloud_distance,
    dataset_distance,
    unit_spread,
)
from smidgen.kit.errors import BadInput


@pytest.fixture
def rng():
    return np.random.default_rng(1000)


def _labelled(rng, n, shift=0.0):
    y = np.arange(n) % 3
    return rng.normal(size=(n, 2)) + shift + 2 * np.eye(3, 2)[y], y


def test_cloud_distance_is_exact(rng):
    A, B = rng.normal(size=(5, 3)), rng.normal(size=(5, 3)) + 1
    best = min(np.mean(((A - B[list(order)]) ** 2).sum(1)) for order in itertools.permutations(range(5)))
    assert cloud_distance(A, B) == pytest.approx(best)
    a, b = rng.normal(size=7), rng.normal(size=4)  # on a line, of unequal sizes: quantiles are matched
    quantiles = np.sort(np.repeat(a, 4)) - np.sort(np.repeat(b, 7))
    assert cloud_distance(a[:, None], b[:, None]) == pytest.approx(np.mean(quantiles**2))
    assert cloud_distance(A[:1], B) == pytest.approx(((A[:1] - B) ** 2).sum(1).mean())


@pytest.mark.parametrize("reg", [1.0, 0.02, 0.002])
def test_potentials_solve_the_entropic_problem(rng, reg):
    cost = rng.random((12, 9)) * 5
    a, b = rng.dirichlet(np.ones(12)), rng.dirichlet(np.ones(9))
    f, g = sinkhorn(cost, a, b, reg, tol=1e-9)
    plan = a[:, None] * b * np.exp((f[:, None] + g - cost) / reg)
    assert np.abs(plan.sum(0) - b).sum() < 1e-8 and np.abs(plan.sum(1) - a).sum() < 1e-8
    primal = (plan * cost).sum() + reg * (plan * np.log(np.maximum(plan, 1e-300) / np.outer(a, b))).sum()
    assert a @ f + b @ g == pytest.approx(primal, rel=1e-6)
    square = cost[:9] + cost[:9].T
    h = sinkhorn_self(square, b, reg, tol=1e-9)
    f, g = sinkhorn(square, b, b, reg, tol=1e-9)
    assert 2 * b @ h == pytest.approx(b @ f + b @ g, rel=1e-6)


def test_without_labels_a_shift_costs_its_square(rng):
    X, shift = rng.normal(size=(40, 3)), np.array([0.3, -0.4, 0.0])
    options = {"lam_y": 0.0, "reg": 0.5, "tol": 1e-9}
    assert dataset_distance(X, None, X + shift, None, **options).value == pytest.approx(0.25, rel=1e-6)
    assert dataset_distance(X, None, X, None, **options).value == pytest.approx(0, abs=1e-6)
    assert dataset_distance(X, None, X, None, debiased=False, **options).value > 0.1
    assert dataset_distance(X, None, X + shift, None, lam_x=2.0, **options).value == pytest.approx(0.5, rel=1e-6)


def test_labels_count(rng):
    X, y = _labelled(rng, 60)
    X = X * unit_spread(X)
    target, clouds = Target(X, y, reg=0.05), classes_of(X, y)
    assert target.to(X, y).value == pytest.approx(0, abs=1e-4)
    assert target.to(X, np.array(list("cab"))[y]).value == pytest.approx(0, abs=1e-4)  # names mean nothing, clouds do
    swapped = target.to(X, (y + 1) % 3, classes=clouds).value  # but where clouds are known, a name says which
    assert swapped > 0.5 * min(cloud_distance(X[y == i], X[y == j]) for i in range(3) for j in range(i)) > 0.1
    assert Target(X, y, lam_y=0, reg=0.05).to(X, (y + 1) % 3, classes=clouds).value == pytest.approx(0, abs=1e-4)


def test_class_distances_are_solved_once(rng, monkeypatch):
    X, y = _labelled(rng, 30)
    Xv, yv = _labelled(rng, 24, 0.5)
    target, clouds = Target(Xv, yv, most=8), classes_of(X, y, most=8)
    target.to(X, y, classes=clouds)
    monkeypatch.setattr("smidgen.data.transport.cloud_distance", None)  # cannot be called
    assert target.to(X[::2], y[::2], classes=clouds).value > 0


def _mixture(rng):
    """Three labelled sources in different places, 30 rows each, weighted by shares; and a validation set."""
    parts = [_labelled(rng, 30, s) for s in (0.0, 0.8, -1.5)]
    X, y = np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])
    unit = unit_spread(X)
    Xv, yv = _labelled(rng, 45, 0.2)
    target = Target(Xv * unit, yv, reg=0.1, tol=1e-7)
    source, clouds = np.repeat(np.arange(3), 30), classes_of(X * unit, y)
    return lambda p: target.to(X * unit, y, weights=np.asarray(p)[source] / 30, classes=clouds), source


def test_gradient_agrees_with_finite_differences(rng):
    at, source = _mixture(rng)
    even = np.full(3, 1 / 3)
    told = calibrated_gradient(at(even).f, source, 3)
    for i in range(3):
        others = np.where(np.arange(3) == i, 0, even) / (1 - even[i])
        step = 1e-3 * (np.eye(3)[i] - others)  # share i grows, the others shrink in proportion
        slope = (at(even + step).value - at(even - step).value) / 2e-3
        assert told[i] == pytest.approx(slope, rel=0.02), i
    assert np.abs(told).max() > 0.1  # there is something to agree on
    assert np.allclose(calibrated_gradient(at(even).f + 7, source, 3), told)


def test_what_cannot_be_compared(rng):
    X, y = _labelled(rng, 12)
    with pytest.raises(BadInput, match="one a row"):
        Target(X)
    with pytest.raises(BadInput, match="features"):
        Target(X, y).to(X[:, :1], y)
    with pytest.raises(BadInput, match="label: expected a class that has rows"):
        Target(X, y).to(X, y + 1, classes=classes_of(X, y))
    with pytest.raises(BadInput, match="reg"):
        Target(X, y, reg=0.0)
    with pytest.raises(BadInput, match="above 0"):
        Target(X, y).to(X, y, weights=np.zeros(12))
    with pytest.raises(BadInput, match="rows that differ"):
        unit_spread(np.ones((3, 2)))
    with pytest.raises(BadInput, match="from 0 to 1"):
        calibrated_gradient(np.zeros(3), [0, 1, 2], 2)
