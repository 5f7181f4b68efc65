"""What plans say of purchases: reach, worthless offers, whole items, what wrong labels cost probabilities."""

from dataclasses import replace

import numpy as np
import pytest

from smidgen.laws.curve import Point, fit_curve
from smidgen.laws.worth import Mix
from smidgen.learn.logistic import CLASSIFIER as Logistic
from smidgen.studies.blur import Blur
from smidgen.studies.losses import Scale
from smidgen.studies.outlook import Outlook
from smidgen.studies.prices import offers_of
from smidgen.tasks.metrics import METRICS


def outlook(prices, worths=None, blur=None, metric="log_loss"):
    points = [Point(n, 2.0 * n**-0.5, 60, 0.05, 2) for n in (12, 24, 48)]
    scale = Scale.of(metric)
    curve = fit_curve(scale.family, points, baseline=0.69, labels=60)
    offers = tuple(offers_of(prices))
    draws = len(curve.law.draws_KP)
    given = {o.name: np.full(draws, (worths or {}).get(o.name, 1.0)) for o in offers}
    return Outlook(curve, scale, offers, given, 60, blur)


def test_forecasts_are_of_round_numbers_and_of_the_money_as_far_as_they_reach():
    found = outlook({"label": 0.5, "unlabelled": 0.001}, {"unlabelled": 0.1})
    amounts = {n: [f["amount"] for f in found.forecasts(50.0) if f["purchase"] == n] for n in ("label", "unlabelled")}
    assert amounts == {"label": [60, 100, 180, 540], "unlabelled": [60, 180, 240]}  # 4 rows for each label at most
    assert [f["amount"] for f in outlook({"label": 0.01}).forecasts(1000.0)] == [60, 180, 540, 900]
    poor = outlook({"label@0.3": 0.01}, {"label@0.3": 0.1})  # ten of them are worth a label
    assert [f["amount"] for f in poor.forecasts(1000.0)] == [60, 180, 540, 9000]


def test_what_there_is_now_has_the_score_of_the_curve():
    found = outlook({"label": 1.0, "label@0.1": 0.3}, {"label@0.1": 0.5})
    plain = {n: float(np.exp(np.median(found.curve.log_losses(float(n), False)))) for n in (60, 120)}
    assert found.now()[0] == pytest.approx(plain[60], rel=1e-12)  # to the last digit, whatever luck was drawn
    twice = next(f for f in found.forecasts(60.0) if f["purchase"] == "label" and f["total"] == 120)
    assert twice["estimate"] == pytest.approx(plain[120], rel=1e-12)
    surely = np.exp(np.quantile(found.curve.log_losses(60.0, False), [0.05, 0.95]))
    low, high = found.now()[1]
    assert low < surely[0] and surely[1] < high  # the luck of one training is in the interval


def test_money_beyond_the_reach_of_forecasts_is_kept():
    found = outlook({"label": 0.01})
    assert found.split(1000.0).money[0] == pytest.approx(found.reach * 0.01)
    prices, worths = np.array([1.0, 0.7, 0.5]), np.array([1.0, 0.8, 0.6])
    found = outlook({"label": 1.0, "label@0.1": 0.7, "label@0.2": 0.5}, {"label@0.1": 0.8, "label@0.2": 0.6})
    assert 0.95 * found.reach < found.split(1500.0).money / prices @ worths <= found.reach


def test_whole_items_are_bought_and_the_rest_of_the_money_goes_to_the_next():
    found = outlook({"label": 7.0, "unlabelled": 0.5}, {"unlabelled": 0.03})
    labels, bare = found.split(100.0).money / np.array([7.0, 0.5])
    assert labels == int(labels) and bare == int(bare) and labels * 7 + bare * 0.5 == pytest.approx(100.0, abs=0.5)


def test_nothing_is_bought_that_does_harm():
    found = outlook({"label@0.4": 0.01}, {"label@0.4": -0.2})
    assert found.split(3.0).money.tolist() == [0.0]
    both = outlook({"label": 1.0, "label@0.4": 0.01}, {"label@0.4": -0.2}).split(10.0)
    assert both.money.tolist() == [10.0, 0.0]


def test_what_is_worth_nothing_reaches_no_target():
    found = outlook({"label": 1.0, "label@0.4": 0.01}, {"label@0.4": -0.05})
    now = found.now()[0]
    wanted = 0.8 * now
    reach, failing = found.reaching(wanted)
    assert reach is not None and reach["purchase"] == "label" and failing == ["label@0.4"]
    low, high = reach["interval"]
    assert low <= reach["amount"] and (high is None or reach["amount"] <= high)
    for amount, there in ((reach["amount"], True), (0.8 * reach["amount"], False)):
        losses = np.exp(found.log_losses({"label": amount}, False))
        assert (np.median(losses) <= wanted * 1.001) == there
    assert found.reaching(1e-4) == (None, ["label", "label@0.4"])


def test_the_cheapest_way_to_a_target_is_told_in_whole_items():
    found = outlook({"label": 1.0, "label@0.1": 0.3}, {"label@0.1": 0.5})
    reach, failing = found.reaching(0.7 * found.now()[0])
    assert reach is not None and reach["purchase"] == "label@0.1" and failing == []
    assert reach["cost"] == pytest.approx(0.3 * reach["amount"], abs=0.01) and reach["amount"] == int(reach["amount"])
    poor, _ = outlook({"label": 1.0, "label@0.1": 0.3}, {"label@0.1": 0.04}).reaching(0.7 * found.now()[0])
    assert poor is not None and poor["purchase"] == "label"


def test_wrong_labels_blur_probabilities_and_not_the_order_of_classes():
    p = np.array([[0.9, 0.1], [0.2, 0.8]])
    blur = Blur.of(p, "log_loss")
    assert blur is not None and Blur.of(p, "accuracy") is None
    q = 0.8**2 * p + (1 - 0.8**2) / 2  # one label in ten is wrong: a fifth are drawn evenly
    assert blur.cost(0.1) == pytest.approx((p * np.log(p / q)).sum(1).mean(), rel=0.01) and blur.cost(0.0) == 0.0
    known = outlook({"label@0.2": 0.1, "unlabelled": 0.1}, {"label@0.2": 0.5, "unlabelled": 0.1}, blur)
    bought = {"label@0.2": 200.0, "unlabelled": 100.0}  # these have no label that could be wrong
    clean, now = (np.exp(replace(known, blur=None).log_losses(b, False)) for b in (bought, {}))
    gap = np.exp(known.log_losses(bought, False)) - clean
    assert gap == pytest.approx(blur.cost(40 / 260, clean / now)) and (gap > blur.cost(40 / 260)).mean() > 0.9


def test_the_doubt_about_a_counted_rate_reaches_the_cost_of_blur():
    p = np.random.default_rng(0).dirichlet(np.full(3, 0.5), 200)
    blur = Blur.of(p, "log_loss")
    assert blur is not None
    wrong_K, times_K = np.array([0.0, 0.03, 0.1, 0.3]), np.array([0.3, 1.0, 0.7, 5.0])
    each = [float(blur.cost(w, t)) for w, t in zip(wrong_K, times_K, strict=True)]
    assert blur.cost(wrong_K, times_K).tolist() == pytest.approx(each) and each[0] == 0
    known = outlook({"query@5/50": 0.1}, {"query@5/50": 0.6}, blur)
    rate_K = np.random.default_rng(0).beta(5.5, 45.5, len(known.worths["query@5/50"]))
    bought = {"query@5/50": 240.0}
    stated_K, counted_K = (
        np.exp(o.log_losses(bought, False)) for o in (known, replace(known, rates={"query@5/50": rate_K}))
    )
    clean_K, now_K = (np.exp(replace(known, blur=None).log_losses(b, False)) for b in (bought, {}))
    assert counted_K - clean_K == pytest.approx(blur.cost(rate_K * 240 / 300, clean_K / now_K))
    assert np.std(counted_K - clean_K) > 1.5 * np.std(stated_K - clean_K)


def test_blur_costs_sure_models_most_and_is_taken_off_again():
    p = np.random.default_rng(0).dirichlet(np.full(3, 0.5), 200)
    for metric in ("log_loss", "brier"):
        blur = Blur.of(p, metric)
        assert blur is not None
        times = np.linspace(0.2, 1.2, 6)
        costs = blur.cost(0.1, times)
        assert (np.diff(costs) < 0).all() and costs[0] > 1.8 * costs[-1]
        for today in (0.9 * blur.today, 1.2 * blur.today):  # as measured, on rows by chance
            for part, cost in zip(times, costs, strict=True):
                assert blur.without(0.1, part * today + cost, today) == pytest.approx(part * today, rel=0.02)
        assert blur.without(0.1, 1e-3, blur.today) == pytest.approx(1e-3 / 4)  # a loss below any cost
        mix = blur.taken_off(Mix(20, 20, 0.8 * blur.today, 0.05, 2), 0.3, blur.today)  # 15 in 100 are wrong
        assert mix.loss + blur.cost(0.15, mix.loss / blur.today) == pytest.approx(0.8 * blur.today, rel=0.02)
        removed = 0.8 * blur.today / mix.loss - 1
        assert removed > 0.1 and mix.spread / 2**0.5 > 0.3 * removed  # what is taken off is not known well


@pytest.mark.parametrize("metric", ["log_loss", "brier"])
@pytest.mark.parametrize("classes", [2, 3])
def test_the_cost_of_blur_is_that_of_learning_from_labels_that_were_made_wrong_twice(metric, classes):
    rng = np.random.default_rng(0)
    each = rng.dirichlet(np.full(classes, 0.7), 40)
    p = np.repeat(each, 4000, 0)
    told = y = (p.cumsum(1) > rng.random((len(p), 1))).argmax(1)
    for _ in range(2):
        told = np.where(rng.random(len(y)) < 0.1, (told + rng.integers(1, classes, len(y))) % classes, told)
    q = np.repeat(np.eye(classes)[told].reshape(40, 4000, classes).mean(1), 4000, 0)  # what such labels teach
    score = METRICS[metric].score
    blur = Blur.of(each, metric)
    assert blur is not None
    assert blur.cost(0.1) == pytest.approx(score(y, q) - score(y, p), rel=0.12)


def test_the_cost_of_blur_is_what_wrong_labels_cost_on_a_real_table(table):
    rows = table("tab_banknote", 1372)
    X, y = rows.drop(columns="target").to_numpy(float), rows.target.astype("category").cat.codes.to_numpy(int)
    wrong = (np.arange(440) >= 40) & (np.random.default_rng(0).random(440) < 0.1)
    score = METRICS["log_loss"].score
    clean, blurred = (
        Logistic(random_state=0).fit(X[:440], labels).predict_proba(X[440:])
        for labels in (y[:440], np.where(wrong, 1 - y[:440], y[:440]))
    )
    blur = Blur.of(clean, "log_loss")
    assert blur is not None
    paid = score(y[440:], blurred) - score(y[440:], clean)
    assert blur.cost(float(wrong.mean())) == pytest.approx(paid, rel=0.35)


def test_cheap_labels_are_bought_for_hard_tasks_and_not_for_easy_ones():
    for losses, p, few, many in (((0.3, 0.2, 0.12), 0.97, 0.0, 0.0), ((0.68, 0.66, 0.63), 0.6, 60.0, 120.0)):
        points = [Point(n, loss, 60, 0.02, 4) for n, loss in zip((9, 18, 36), losses, strict=True)]
        curve = fit_curve("log_loss", points, baseline=0.69, labels=40)
        offers, draws = tuple(offers_of({"label": 1.0, "label@0.1": 0.3})), len(curve.law.draws_KP)
        worths = {"label": np.ones(draws), "label@0.1": np.full(draws, 0.64)}
        blur = Blur.of(np.array([[p, 1 - p]]), "log_loss")
        assert few <= Outlook(curve, Scale.of("log_loss"), offers, worths, 40, blur).split(120.0).money[1] <= many
