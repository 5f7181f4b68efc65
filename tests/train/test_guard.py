"""Spikes are seen, a new normal is accepted, and the guard's memory survives a checkpoint."""

import math

import pytest
import torch

from smidgen.train.guard import SpikeGuard, shrink_gradients


def test_spikes_and_nan():
    guard = SpikeGuard(factor=1.5, window=20)
    assert [guard.check(s, 2.0 - 0.01 * s) for s in range(20)] == [None] * 20
    assert guard.check(20, 4.0) == "replace_batch" == guard.check(21, math.nan)
    assert guard.check(22, 1.8) is None and [s for s, _ in guard.seen] == [20, 21]


def test_a_new_normal_is_accepted_but_nan_never():
    guard = SpikeGuard(window=10, patience=3)
    for s in range(10):
        guard.check(s, 1.0)
    assert [guard.check(s, 5.0) for s in range(10, 14)] == ["replace_batch"] * 3 + [None]
    assert all(guard.check(s, math.inf) for s in range(50))


def test_near_zero_twice_as_much_is_nothing():
    guard = SpikeGuard(factor=2.0, least=0.2)
    for s in range(12):
        guard.check(s, 0.05)
    assert guard.check(12, 0.15) is None and guard.check(13, 0.3) == "replace_batch"


def test_state_goes_on():
    a, b = SpikeGuard(window=10), SpikeGuard(window=10)
    for s, loss in enumerate([1.0] * 10 + [9.0, math.nan]):
        a.check(s, loss)
    b.load_state_dict(a.state_dict())
    assert b.check(12, 9.0) == a.check(12, 9.0) and b.state_dict() == a.state_dict()


def test_shrunk_gradients():
    p = torch.nn.Parameter(torch.ones(3))
    p.grad = torch.full((3,), 2.0)
    shrink_gradients([p], 0.1)
    assert p.grad.tolist() == pytest.approx([0.2] * 3)
