"""What wrong labels cost probabilities: each cost by its formula, and how it is taken off again."""

import math

import numpy as np
import pytest

from smidgen.laws.worth import Mix
from smidgen.studies.blur import LOG_T_G, SHARES_B, Blur

RNG = np.random.default_rng(0)
TWO = RNG.dirichlet([1.0, 2.0], 40)
THREE = RNG.dirichlet([1.0, 2.0, 0.5], 30)


def sharpened(p, log_t):
    powered = np.maximum(p, 2.0**-23) ** np.exp(-log_t)
    p = np.maximum(powered / powered.sum(1, keepdims=True), 1e-6)
    return p / p.sum(1, keepdims=True)


def parts(p, metric, b):
    """(expected loss, cost of a share b of labels drawn evenly)."""
    q = (1 - b) * p + b / p.shape[1]
    if metric == "log_loss":
        return -(p * np.log(p)).sum(1).mean(), (p * np.log(p / q)).sum(1).mean()
    halved = 2 if p.shape[1] == 2 else 1
    return (1 - (p**2).sum(1)).mean() / halved, ((p - q) ** 2).sum(1).mean() / halved


@pytest.mark.parametrize("metric", ["log_loss", "brier"])
@pytest.mark.parametrize("p", [TWO, THREE])
def test_costs_are_of_blurred_probabilities_at_each_sharpness(metric, p):
    made = Blur.of(p, metric)
    assert made.classes == p.shape[1] and (np.diff(made.loss_G) >= 0).all()
    assert made.today == pytest.approx(parts(sharpened(p, 0), metric, 0)[0])
    assert made.cost_GB.shape == (len(LOG_T_G), len(SHARES_B)) and made.cost_GB[:, 0] == pytest.approx(0, abs=1e-12)
    flat = {round(parts(sharpened(p, t), metric, 0)[0], 10): t for t in LOG_T_G}
    for loss, cost_B in zip(made.loss_G[::7], made.cost_GB[::7], strict=True):
        at = flat[round(loss, 10)]
        assert cost_B == pytest.approx([parts(sharpened(p, at), metric, b)[1] for b in SHARES_B])
    assert SHARES_B[[0, -1]].tolist() == [0, 1] and LOG_T_G[[0, 14, -1]].tolist() == [-3.5, 0, 3.5]


@pytest.mark.parametrize("p", [TWO, THREE])
def test_a_cost_lies_between_those_of_the_grid(p):
    made = Blur.of(p, "log_loss")
    C = made.classes
    now = sharpened(p, 0)
    for k in (0, 10, 25, 40):  # labels wrong so often that the share drawn twice over lies on the grid
        wrong = (1 - math.sqrt(1 - SHARES_B[k])) * (C - 1) / C
        assert made.cost(wrong) == pytest.approx(parts(now, "log_loss", SHARES_B[k])[1], rel=1e-6, abs=1e-12)
    most = (C - 1) / C
    assert made.cost(0.99) == made.cost(most) == pytest.approx(parts(now, "log_loss", 1.0)[1])
    middle = (SHARES_B[20] + SHARES_B[21]) / 2
    ends = [parts(now, "log_loss", b)[1] for b in SHARES_B[20:22]]
    assert made.cost((1 - math.sqrt(1 - middle)) * most) == pytest.approx(np.mean(ends))
    losses = made.loss_G / made.today
    got = made.cost(np.full(2, most), np.array([losses[3], (losses[8] + losses[9]) / 2]))
    assert got == pytest.approx([made.cost_GB[3, -1], made.cost_GB[8:10, -1].mean()])
    assert made.cost(most, [0.0, 1e9]) == pytest.approx(made.cost_GB[[0, -1], -1])


def test_many_rows_are_thinned_evenly():
    p = RNG.dirichlet([1.0, 1.0], 2100)
    for n, step in ((1000, 1), (1001, 2), (2001, 3)):
        assert Blur.of(p[:n], "brier").cost_GB == pytest.approx(Blur.of(p[:n:step], "brier").cost_GB)
    for none in (("accuracy", TWO), ("log_loss", TWO[:, 0]), ("auc", TWO), ("brier", TWO[:, 0])):
        assert Blur.of(none[1], none[0]) is None


def test_what_a_mixture_would_be_without_the_cost():
    made = Blur.of(THREE, "log_loss")
    for clean in (0.7 * made.today, made.today, 1.1 * made.today):
        loss = clean + float(made.cost(0.1, clean / made.today))
        assert made.without(0.1, loss, made.today) == pytest.approx(clean, rel=0.02)
        # measured losses are in another unit than expected ones: only ratios count
        assert made.without(0.1, clean * 2 + float(made.cost(0.1, clean / made.today)), 2 * made.today) == (
            pytest.approx(2 * clean, rel=0.02)
        )
    assert made.without(0.0, 0.5, made.today) == pytest.approx(0.5)
    assert made.without(0.66, 0.1, made.today) == 0.025  # at least a quarter stays
    mix = Mix(right=10, other=30, loss=made.today, spread=0.3, repeats=4)
    clean = made.without(0.2 * 30 / 40, made.today, made.today)
    got = made.taken_off(mix, 0.2, made.today)
    doubt = 0.5 * (made.today - clean) / clean * 2
    assert (got.loss, got.spread) == pytest.approx((clean, math.hypot(0.3, doubt))) and clean < made.today
    assert (got.right, got.other, got.repeats) == (10, 30, 4)
