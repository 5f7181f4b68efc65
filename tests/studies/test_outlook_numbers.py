"""Forecasts by hand: a law without doubt, where each number of an outlook can be worked out."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from smidgen.laws.curve import Point, fit_curve
from smidgen.studies.losses import Scale
from smidgen.studies.outlook import BEYOND, Outlook, _first_below, anchored
from smidgen.studies.prices import offers_of


class Known:
    """loss = 8 / labels for the first draw and 4 / labels for the second; luck adds a tenth to the first."""

    carries = 1600.0

    def log_losses(self, total: Any, luck: bool) -> np.ndarray:
        return np.log(np.array([8.0, 4.0]) / total) + np.array([0.1, 0.0]) * luck


def outlook(prices, worths=None, blur=None, rates=None, metric="log_loss", labels=100):
    offers = tuple(offers_of(prices))
    curve: Any = Known()
    given = {o.name: np.array((worths or {}).get(o.name, [1.0, 1.0])) for o in offers}
    return Outlook(curve, Scale.of(metric), offers, given, labels, blur, rates or {})


def test_what_is_bought_adds_to_the_labels_by_its_worth():
    found = outlook({"label": 1.0, "label@0.2": 0.5, "unlabelled": 0.01},
                    {"label@0.2": [0.5, 0.3], "unlabelled": [0.1, 0.2]})  # fmt: skip
    bought = {"label": 10.0, "label@0.2": 20.0, "unlabelled": 50.0, "hour": 9.0}
    for luck in (False, True):
        assert np.exp(found.log_losses(bought, luck)) == pytest.approx([8 / 125 * np.exp(0.1 * luck), 4 / 126])
    assert np.exp(found.log_losses({"label": 1e9}, False)) == pytest.approx(np.array([8, 4]) / (1600 * BEYOND))
    worse = outlook({"label@0.4": 1.0}, {"label@0.4": [-1.0, -1.0]})
    assert np.exp(worse.log_losses({"label@0.4": 74.0}, False)) == pytest.approx([8 / 26, 4 / 26])
    assert np.exp(worse.log_losses({"label@0.4": 76.0}, False)) == pytest.approx([8 / 25, 4 / 25])  # a quarter is left


def test_how_many_of_each_are_forecast():
    found = outlook({"label": 1.0, "label@0.1": 1.0, "label@0.2": 1.0, "label@0.4": 1.0, "unlabelled": 1.0},
                    {"label@0.1": [0.4, 0.6], "label@0.2": [0.011, 0.031], "label@0.4": [-1.0, 0.5],
                     "unlabelled": [0.1, 0.1]})  # fmt: skip
    assert found.reach == 1500.0
    assert [found.most(o) for o in found.offers] == [1500.0, 3000.0, int(1500 / 0.021), 75_000.0, 400.0]
    assert outlook({"unlabelled": 1.0}, {"unlabelled": [9.0, 9.0]}).most(offers_of({"unlabelled": 1.0})[0]) == 166.0


def test_wrong_labels_cost_by_their_share_of_all_rows():
    asked = []

    def cost(share_K, times_K):
        asked.append((share_K.tolist(), times_K.tolist()))
        return np.array([0.01, 0.02])

    blur: Any = SimpleNamespace(cost=cost)
    found = outlook({"label@0.2": 1.0, "label@0.1": 1.0, "unlabelled": 1.0}, {"label@0.2": [0.5, 0.5]}, blur,
                    {"label@0.1": np.array([0.0, 0.3])})  # fmt: skip
    bought = {"label@0.2": 60.0, "label@0.1": 40.0, "unlabelled": 30.0}
    after = np.exp(found.log_losses(bought, False))
    total = 100 + 30 + 40 + 30.0
    assert after == pytest.approx([8 / total + 0.01, 4 / total + 0.02])
    ((share, times),) = asked
    assert share == pytest.approx([12 / 200, 24 / 200]) and times == pytest.approx([100 / total] * 2)
    asked.clear()
    assert found.log_losses({"unlabelled": 30.0}, False) == pytest.approx(np.log([8 / 130, 4 / 130])) and asked == []
    assert found.log_losses({"label@0.1": 10.0}, True)[0] == pytest.approx(np.log(8 / 110 * np.exp(0.1) + 0.01))


def test_a_score_has_the_middle_without_luck_and_ends_with_it():
    found = outlook({"label": 1.0})
    lucky = np.log([0.08 * np.exp(0.1), 0.04])
    ends = np.exp(np.quantile(lucky, [0.05, 0.95]))
    assert found.now()[0] == pytest.approx((0.08 * 0.04) ** 0.5) and found.now()[1] == pytest.approx(ends)
    assert found.at(50)[0] == pytest.approx((0.16 * 0.08) ** 0.5)
    up = outlook({"label": 1.0}, metric="accuracy").now()
    assert up[0] == pytest.approx(1 - 0.0032**0.5) and up[1] == pytest.approx(1 - ends[::-1])


def test_forecasts_are_of_two_four_and_ten_times_the_labels_and_of_the_money():
    found = outlook({"label": 0.3, "unlabelled": 0.02}, {"unlabelled": [0.1, 0.1]})

    def amounts(spend):
        return [(f["purchase"], f["amount"]) for f in found.forecasts(spend)]

    rounds = [("label", 100.0), ("label", 300.0), ("label", 900.0), ("unlabelled", 100.0), ("unlabelled", 300.0)]
    assert amounts(0.019) == rounds  # no whole row
    assert amounts(0.3)[:2] == [("label", 1.0), ("label", 100.0)] and ("unlabelled", 15.0) in amounts(0.3)
    assert amounts(0.9)[0] == ("label", 3.0)  # 0.9 / 0.3 is a little below 3
    assert amounts(1e4)[3:] == [("label", 1500.0), ("unlabelled", 100.0), ("unlabelled", 300.0), ("unlabelled", 400.0)]
    one = found.forecasts(0.3)[0]
    estimate, interval = found.score(lambda luck: found.log_losses({"label": 1.0}, luck))
    assert one == {"purchase": "label", "amount": 1.0, "total": 101.0, "cost": 0.3, "metric": "log_loss",
                   "estimate": estimate, "interval": interval, "level": 0.9}  # fmt: skip
    assert all(f["total"] == 100 + f["amount"] for f in found.forecasts(5.0))


# -- how the money is split --


def test_the_better_buy_takes_the_money_and_the_rest_goes_to_the_other():
    found = outlook({"label": 3.0, "label@0.1": 1.0}, {"label@0.1": [0.2, 0.2]})
    split = found.split(11.0)
    assert split.money.tolist() == [9.0, 2.0]  # three labels at a third a unit of money, then a fifth
    assert split.losses_K == pytest.approx(np.array([8, 4]) / 103.4) and split.best_O.tolist() == [1.0, 0.0]
    assert found.split(2.5).money.tolist() == [0.0, 2.0] and found.split(0.9).money.tolist() == [0.0, 0.0]


def test_what_does_harm_is_given_back_and_its_money_spent_anew():
    found = outlook({"label": 1.0, "label@0.4": 0.1}, {"label@0.4": [-0.1, -0.1]})
    assert found.split(10.0).money.tolist() == [10.0, 0.0]
    assert outlook({"label@0.4": 0.1}, {"label@0.4": [-0.1, -0.1]}).split(10.0).money.tolist() == [0.0]


def test_beyond_the_reach_the_dearest_are_given_back_first():
    found = outlook({"label": 1.0, "label@0.1": 0.1}, {"label@0.1": [0.5, 0.5]})
    split = found.split(3000.0)
    assert split.money @ [1.0, 5.0] <= 1500.0 and split.money.tolist() == [0.0, 300.0]
    alone = outlook({"label": 1.0})
    assert alone.split(1500.0).money.tolist() == [1500.0] and alone.split(9000.0).money.tolist() == [1500.0]
    assert alone.split(1499.5).money.tolist() == [1499.0]
    dear = outlook({"label": 7.0, "label@0.1": 6.5}, {"label@0.1": [0.9, 0.9]})
    labels, wrong = dear.split(20_000.0).money / np.array([7.0, 6.5])
    assert labels == int(labels) and wrong == int(wrong) and 1499 < labels + 0.9 * wrong <= 1500


# -- the way to a target --


def test_the_cheapest_offer_that_reaches_is_told_with_its_interval():
    found = outlook({"label": 2.0, "label@0.1": 0.5, "unlabelled": 0.001},
                    {"label@0.1": [0.5, 0.5], "unlabelled": [0.02, 0.02]})  # fmt: skip
    reach, failing = found.reaching(0.02)  # 400 labels in all for the first draw, 200 for the second
    assert failing == ["unlabelled"] and reach is not None
    assert (reach["purchase"], reach["level"]) == ("label@0.1", 0.9)
    low, high = reach["interval"]
    assert low == pytest.approx(200, rel=0.02) and high == pytest.approx(600, rel=0.02)
    assert reach["amount"] == high and reach["cost"] == round(high * 0.5, 2)  # of two draws the middle is the later
    dear, _ = outlook({"label": 0.9, "label@0.1": 0.5}, {"label@0.1": [0.5, 0.5]}).reaching(0.02)
    assert dear is not None and dear["purchase"] == "label" and dear["amount"] == pytest.approx(300, rel=0.02)
    assert isinstance(dear["amount"], int) and isinstance(dear["interval"][0], int)
    assert found.reaching(0.001) == (None, ["label", "label@0.1", "unlabelled"])
    assert outlook({"label": 1.0}).reaching(0.0) == (None, ["label"])


def test_the_first_amount_below_lies_on_a_line_between_logarithms():
    amounts = np.array([1.0, 4.0, 16.0])
    log_AK = np.array([[0.0, -3.0, 0.0, 0.0, 0.0], [-1.0, -4.0, -1.0, 1.0, -2.0], [-3.0, -5.0, -1.5, -1.0, -1.0]])
    found = _first_below(amounts, log_AK, -2.0)
    assert found == pytest.approx([8.0, 1.0, np.inf, np.inf, 4.0])
    assert _first_below(amounts, log_AK, -0.5) == pytest.approx([2.0, 1.0, 2.0, 4 * 4**0.75, 4**0.25])


def test_a_curve_is_moved_by_a_factor():
    points = [Point(n, 2.0 * n**-0.5, 60, 0.05, 2) for n in (12, 24, 48)]
    curve = fit_curve("log_loss", points, baseline=0.69, labels=60)
    moved = anchored(curve, 1.25)
    for luck in (False, True):
        assert moved.log_losses(100.0, luck) == pytest.approx(curve.log_losses(100.0, luck) + np.log(1.25))
