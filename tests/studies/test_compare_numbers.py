"""Pairs of candidates by loops: every loss, groups, few rows that agree, who is compared."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import t

from smidgen.learn.blend import tempered
from smidgen.studies.candidates import Candidate
from smidgen.studies.choose import Choice, OutOfFold
from smidgen.studies.compare import compare, gaps, losses_of
from smidgen.studies.estimate import IntervalConfig

RNG = np.random.default_rng(0)
CONFIG = IntervalConfig(baseline_rows=3.0, level=0.8, widen_accuracy=2.5)
UNITS = np.array([4, 4, 9, 2, 2, 2, 7, 8])
N = len(UNITS)


@pytest.mark.parametrize("name", ["log_loss", "error"])
@pytest.mark.parametrize("count", [2, 4])
def test_every_pair_by_hand(name, count):
    losses = RNG.exponential(size=(count, N)) if name == "log_loss" else RNG.integers(0, 2, (count, N)) * 0.05
    mean, low, high = gaps(losses, UNITS, name, CONFIG)
    pairs = count * (count - 1) / 2
    wide = t.ppf(1 - 0.2 / pairs / 2, 4) * (2.5 if name == "error" else 1.8)
    for i in range(count):
        for j in range(count):
            d = losses[i] - losses[j]
            by = [np.flatnonzero(unit == UNITS) for unit in (2, 4, 7, 8, 9)]
            off = d - d.mean()
            largest = max(*(abs(d[rows].sum()) for rows in by), 1.0 if name == "error" else 0.0)
            spread = sum(off[rows].sum() ** 2 for rows in by) * 5 / 4 + largest**2
            half = wide * np.sqrt(spread) / (N + 3)
            assert mean[i, j] == pytest.approx(d.sum() / (N + 3))
            assert (low[i, j], high[i, j]) == pytest.approx((mean[i, j] - half, mean[i, j] + half))


def test_one_group_alone_is_not_divided_by_nothing():
    losses = np.array([[1.0, 2.0], [0.0, 0.0]])
    mean, low, high = gaps(losses, np.zeros(2, int), "mse", CONFIG)
    half = 1.8 * t.ppf(0.9, 1) * 3 / 5  # the whole of the group is what differs
    assert mean[0, 1] == pytest.approx(3 / 5) and high[0, 1] - mean[0, 1] == pytest.approx(half)


P = RNG.dirichlet([1.0, 1.0, 1.0], (2, 3, N))
TRUTH = RNG.integers(0, 3, N)
BOARD = OutOfFold(P, TRUTH, np.full(2, 0.5), UNITS)


def test_losses_of_rows_are_means_over_repeats():
    p = tempered(P[1], 0.4)
    own = np.take_along_axis(p, TRUTH[None, :, None], -1)[..., 0]
    wanted = {
        "error": (p.argmax(-1) != TRUTH).mean(0),
        "brier": ((p - np.eye(3)[TRUTH]) ** 2).sum(-1).mean(0),
        "log_loss": -np.log(own).mean(0),
    }
    for name, want in wanted.items():
        assert losses_of(BOARD, 1, 0.4, name) == pytest.approx(want)
    truth = RNG.normal(size=N)
    values = RNG.normal(size=(2, 3, N))
    board = OutOfFold(values, truth, np.full(2, 0.5), UNITS)
    assert losses_of(board, 0, 0.0, "mae") == pytest.approx(np.abs(values[0] - truth).mean(0))
    assert losses_of(board, 0, 0.0, "mse") == pytest.approx(((values[0] - truth) ** 2).mean(0))


def test_who_is_compared_and_how_it_is_told():
    tried = [Candidate("learn/a", "linear"), Candidate("learn/b", "linear")]
    choice = Choice(np.array([0.5, 0.5]), np.array([0.0, 0.4]))

    def row(method, estimate=0.1, view="linear"):
        return {"method": f"learn/{method}", "view": view, "params": {"k": method}, "estimate": estimate, "more": 1}

    rows = [row("b"), row("none"), row("a", view="tree"), row("a")]
    made = compare(BOARD, tried, choice, "accuracy", rows, CONFIG)
    names = [{"method": f"learn/{m}", "view": "linear", "params": {"k": m}} for m in "ba"]
    assert (made["metric"], made["level"], made["names"]) == ("error", 0.8, names)
    losses = np.stack([losses_of(BOARD, 1, 0.4, "error"), losses_of(BOARD, 0, 0.0, "error")])
    parts = gaps(losses, UNITS, "error", CONFIG)
    assert made["gaps"] == [
        [None, [pytest.approx(m[0, 1], rel=1e-3) for m in parts]],
        [[pytest.approx(m[1, 0], rel=1e-3) for m in parts], None],
    ]
    assert compare(BOARD, tried, choice, "auc", rows, CONFIG)["metric"] == "log_loss"
    assert compare(BOARD, tried, choice, "brier", rows, replace(CONFIG, level=0.5))["level"] == 0.5
    for few in ([row("b"), row("a", None)], [row("b")], []):
        assert compare(BOARD, tried, choice, "accuracy", few, CONFIG) is None
