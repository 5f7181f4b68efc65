"""What plans say of purchases: reach, worthless offers, whole items, what wrong labels cost probabilities."""

import numpy as np
import pytest

from smidgen.kit.errors import BadInput
from smidgen.laws.curve import Point, fit_curve
from smidgen.studies.blur import Blur
from smidgen.studies.losses import Scale
from smidgen.studies.outlook import Outlook
from smidgen.studies.prices import offers_of


def outlook(prices, worths=None, blur=None, metric="log_loss"):
    points = [Point(n, 2.0 * n**-0.5, 60, 0.05, 2) for n in (12, 24, 48)]
    scale = Scale.of(metric)
    curve = fit_curve(scale.family, points, baseline=0.69, labels=60)
    offers = tuple(offers_of(prices))
    draws = len(curve.law.draws_KP)
    given = {o.name: np.full(draws, (worths or {}).get(o.name, 1.0)) for o in offers}
    return Outlook(curve, scale, offers, given, 60, blur)


def test_money_beyond_the_reach_of_forecasts_is_neither_counted_nor_spent():
    found = outlook({"label": 0.01})
    reach = found.curve.carries - 60
    assert max(f["amount"] for f in found.forecasts(1000.0)) <= reach
    assert found.split(1000.0).money[0] == pytest.approx(int(reach) * 0.01)


def test_whole_items_are_bought_and_the_rest_of_the_money_goes_to_the_next():
    found = outlook({"label": 7.0, "unlabelled": 0.5}, {"unlabelled": 0.03})
    labels, bare = found.split(100.0).money / np.array([7.0, 0.5])
    assert labels == int(labels) and bare == int(bare) and labels * 7 + bare * 0.5 == pytest.approx(100.0, abs=0.5)
    with pytest.raises(BadInput, match="at least 0.5"):
        found.split(0.4)


def test_nothing_is_bought_that_does_harm():
    found = outlook({"label@0.4": 0.01}, {"label@0.4": -0.2})
    assert found.split(3.0).money.tolist() == [0.0]
    both = outlook({"label": 1.0, "label@0.4": 0.01}, {"label@0.4": -0.2}).split(10.0)
    assert both.money.tolist() == [10.0, 0.0]


def test_what_is_worth_nothing_reaches_no_target():
    found = outlook({"label": 1.0, "label@0.4": 0.01}, {"label@0.4": -0.05})
    now = found.now()[0]
    reach, failing = found.reaching(0.8 * now)
    assert reach is not None and reach["purchase"] == "label" and failing == ["label@0.4"]
    low, high = reach["interval"]
    assert low <= reach["amount"] and (high is None or reach["amount"] <= high)
    assert found.reaching(1e-4) == (None, ["label", "label@0.4"])


def test_wrong_labels_blur_probabilities_and_not_the_order_of_classes():
    p = np.array([[0.9, 0.1], [0.2, 0.8]])
    blur = Blur.of(p, "log_loss")
    assert blur is not None and Blur.of(p, "accuracy") is None
    q = 0.8 * p + 0.2 / 2  # one label in ten is wrong: a fifth are drawn evenly
    assert blur.cost(0.1) == pytest.approx((p * np.log(p / q)).sum(1).mean(), rel=1e-3) and blur.cost(0.0) == 0.0
    many = {"label@0.2": 200.0}
    plain, counted = (outlook({"label@0.2": 0.1}, {"label@0.2": 0.5}, b).log_losses(many, False) for b in (None, blur))
    assert np.exp(counted) - np.exp(plain) == pytest.approx(np.full(len(plain), blur.cost(40 / 260)))
