"""Cells of a budget, the best share with its doubt, crossovers and fronts."""

import numpy as np
import pytest

from smidgen.kit.errors import BadInput
from smidgen.laws.budget_grid import best_share, cells, crossover, nested, pareto_front, regime

SHARES = (0.0, 0.25, 0.5, 1.0)


def test_cells_spend_no_more_than_there_is_and_waste_less_than_one():
    for cell in cells((8, 32.5, 128), SHARES, (1.0, 0.1)):
        spent = cell.first + 0.1 * cell.second
        assert cell.total - 1.0 < spent <= cell.total + 1e-9
        assert cell.first == int(cell.share * cell.total) and (cell.second == 0) == (cell.share == 1)
    assert [(c.first, c.second) for c in cells([10], (0.5,), (2.0, 0.5))] == [(2, 12)]
    for totals, shares, prices, said in (
        ([0], (0.5,), (1, 1), "totals"), ([1], (1.5,), (1, 1), "share"), ([1], (0.5,), (1, 0), "prices"),
        ([0.5], (1.0,), (1, 1), "enough for one"),
    ):  # fmt: skip
        with pytest.raises(BadInput, match=said):
            cells(totals, shares, prices)


def test_smaller_purchases_are_the_beginning_of_larger_ones():
    order = nested(50, 3, "clean")
    assert sorted(order) == list(range(50)) and (order != nested(50, 3, "cheap")).any()


def scores(means, sd, repeats=8):
    return np.asarray(means) + np.random.default_rng(0).normal(0, sd, (repeats, len(means)))


def test_the_best_share_with_its_doubt():
    clear = best_share(SHARES, scores((0.6, 0.8, 0.7, 0.5), 0.01))
    assert (clear.share, clear.low, clear.high) == (0.25, 0.25, 0.25) and clear.chance_S[1] == 1
    unsure = best_share(SHARES, scores((0.7, 0.7, 0.7, 0.7), 0.1))
    assert unsure.low < unsure.high and unsure.chance_S.max() < 0.99


@pytest.mark.parametrize(
    ("means", "sd", "name"),
    [
        ((0.9, 0.8, 0.7, 0.6), 0.01, "second"),
        ((0.6, 0.7, 0.7, 0.9), 0.01, "first"),
        ((0.6, 0.8, 0.7, 0.6), 0.01, "mixed"),
        ((0.700, 0.701, 0.7, 0.7), 0.1, "not told apart"),
    ],
)
def test_regimes(means, sd, name):
    assert regime(SHARES, scores(means, sd)) == name
    assert regime(SHARES, scores(means, sd), margin=0.5) == "not told apart"


def test_crossovers():
    x = np.array([1.0, 10.0, 100.0, 1000.0])
    first, second = scores((0.5, 0.6, 0.7, 0.7), 0.01), scores((0.4, 0.5, 0.8, 0.9), 0.0)
    found = crossover(x, first, second)
    assert found is not None and found[1] <= found[0] <= found[2] and found[0] == pytest.approx(31.6, rel=0.15)
    assert crossover(x, second, first) is None  # it leads first and falls behind
    assert crossover(x, first, first + 1)[0] == 1.0
    with pytest.raises(BadInput, match="rising"):
        crossover([10, 1], first[:, :2], second[:, :2])


def test_the_front_keeps_what_nothing_cheaper_beats():
    assert pareto_front([1, 2, 2, 3, 4], [0.5, 0.4, 0.7, 0.7, 0.9]).tolist() == [0, 2, 4]
