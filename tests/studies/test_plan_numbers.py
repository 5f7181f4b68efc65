"""The numbers of a plan, put together once more from its parts: forecasts, worths, bands, intervals, what is asked."""

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm

from smidgen.kit.errors import BadInput, BudgetSpent
from smidgen.laws.allocate import Split
from smidgen.laws.curve import HOME, Point, fit_curve
from smidgen.laws.worth import Mix, noisy_prior, worth
from smidgen.learn.blend import tempered
from smidgen.studies import findings
from smidgen.studies.blur import LOG_T_G, SHARES_B, Blur
from smidgen.studies.findings import dry, result
from smidgen.studies.losses import Scale
from smidgen.studies.measured import Measured, measure, rough
from smidgen.studies.other_offers import Other, Step, with_others
from smidgen.studies.other_results import alone, forecasts_of, reaching, short, told, with_steps
from smidgen.studies.outlook import BEYOND, Outlook, anchored
from smidgen.studies.prices import offers_of
from smidgen.studies.purchases import all_draws, curve_draws, mixed_draws
from smidgen.studies.query_rate import doubtful, rates_of
from smidgen.studies.ready import Ready
from smidgen.studies.row_noise import row_noise
from smidgen.tasks.metrics import METRICS
from smidgen.tasks.read import read

N, FOLDS = 80, 5
STUDY: Any = SimpleNamespace(id="made", summary={})
PRICES = {"label": 1.0, "label@0.2": 0.3, "query@5/50": 0.2, "unlabelled": 0.01}


@pytest.fixture(scope="module")
def task():
    return read((np.random.default_rng(0).normal(size=(N, 2)), np.arange(N) % 2))


def predicted(task, draws, sizes):
    """Of each draw, probabilities whose share of wrong rows falls with the rows of the fit."""
    rng, results = np.random.default_rng(1), {}
    for draw, n in zip(draws, sizes, strict=True):
        wrong = rng.permutation(N) < round(1.6 * n**-0.5 * N)
        results[draw] = np.eye(2)[np.where(wrong, 1 - task.target, task.target)] * 0.9 + 0.05
    return results


@pytest.fixture(scope="module")
def plan(task):
    """(ready, offers, results, the plan) with every kind of rows on sale."""
    offers = offers_of(PRICES)
    draws = dict(curve_draws(N, 2, FOLDS, 4))
    for offer in offers[1:]:
        draws |= {d: right + 0.3 * other for d, right, other in mixed_draws(task, offer, FOLDS, 2)}
    results = predicted(task, list(draws), draws.values())
    own = Ready(task, Scale.of("log_loss"), "learn/logistic", "linear", {}, 0, FOLDS, 0.6)
    return own, offers, results, result(own, STUDY, offers, [], results, 40.0, 0.3)


def test_a_plan_is_what_its_parts_say(plan, task):
    own, offers, results, out = plan
    found = measure(own, offers, results)
    curve = fit_curve("log_loss", found.points(), baseline=math.log(2), labels=N, seed=0)
    blur = Blur.of(found.predictions, "log_loss")
    log_K = curve.log_losses(float(N), False)
    worths, rates = {"label": np.ones(len(log_K))}, {o.name: rates_of(o, len(log_K), 0) for o in offers}
    for o in offers[1:]:
        prior, mixes = (0.0, 0.05), found.mixes_of(o.name, curve.prior.luck)
        if o.kind != "unlabelled":
            prior = noisy_prior(o.error, 2)
            mixes = [blur.taken_off(m, o.error, found.points()[-1].loss) for m in mixes]
        assert len(mixes) == 2
        worths[o.name] = doubtful(worth(curve, mixes, prior, 0), o, 2, rates[o.name])
    median = math.exp(np.median(log_K))
    factor = min(max(0.6 / median, 1 / 1.5), 1.5)
    outlook = Outlook(anchored(curve, factor), own.scale, tuple(offers), worths, N, blur, rates)
    assert out["now"] == {"estimate": outlook.now()[0], "interval": outlook.now()[1]}
    assert out["now"]["estimate"] == pytest.approx(factor * median) and factor < 1.5
    split = outlook.split(40.0)
    bought = {o.name: float(m / o.price) for o, m in zip(offers, split.money, strict=True)}
    assert out["split"] == pytest.approx(dict(zip(PRICES, split.money, strict=True))) and max(bought.values()) > 0
    assert out["split_amounts"] == {k: round(v) for k, v in bought.items()}
    assert out["best"] == dict(zip(PRICES, split.best_O, strict=True))
    likely, lucky = (outlook.log_losses(bought, luck) for luck in (False, True))
    assert out["after"]["estimate"] == pytest.approx(math.exp(np.median(likely)))
    assert out["after"]["interval"] == pytest.approx(np.exp(np.quantile(lucky, [0.05, 0.95])))
    for o in offers:
        low, middle, high = np.quantile(worths[o.name], [0.05, 0.5, 0.95])
        mixed = 2 if o.name != "label" else 0
        assert out["worth"][o.name] == {"estimate": middle, "interval": [low, high], "measured": mixed}
    reach, failing = outlook.reaching(0.3)
    assert out["target"] == reach and out["failing"] == failing and not out["reached"]
    assert out["forecasts"] == outlook.forecasts(40.0)
    assert [b["n"] for b in out["band"]] == [round(float(n), 1) for n in np.geomspace(20, 800, 24)]
    assert all((b["estimate"], b["interval"]) == outlook.at(n) for b, n in
               zip(out["band"], np.geomspace(20, 800, 24), strict=True))  # fmt: skip
    for point, (n, losses) in zip(out["curve"], sorted(found.sizes.items()), strict=True):
        assert point == {"n": n, "estimate": pytest.approx(np.mean(losses)), "interval": [min(losses), max(losses)]}
    gain = math.log(out["now"]["estimate"] / out["after"]["estimate"])
    assert out["gain_is_small"] == (gain < curve.prior.luck * (HOME / N) ** 0.5 / 2)
    assert out["asked"] == {"spend": 40.0, "prices": PRICES, "target": 0.3}
    assert out["sentence"] == " ".join(out["sentences"][:2]) and (out["n"], out["level"]) == (N, 0.9)


def test_a_small_gain_a_reached_target_and_a_far_estimate_are_said(task):
    draws = dict(curve_draws(N, 2, FOLDS, 4))
    results = predicted(task, list(draws), draws.values())

    def made(spend, target, estimate=0.8, failed=None):
        own = Ready(task, Scale.of("accuracy"), "learn/logistic", "linear", {}, 0, FOLDS, estimate)
        return result(own, STUDY, offers_of({"label": 1.0}), [], results, spend, target, failed=failed)

    small = made(1.0, None)
    assert small["gain_is_small"] and not made(500.0, None)["gain_is_small"]
    assert small["target"] is None and not small["reached"] and small["now"]["estimate"] == pytest.approx(0.8)
    for target, reached in ((0.8 - 1e-6, True), (0.801, False)):
        out = made(1.0, target)
        assert out["reached"] == reached and (out["target"]["amount"] == 0) == reached
    own = (1 - made(1.0, None, 0.01)["now"]["estimate"]) / 1.5  # the loss of the member that was measured
    for factor, said in ((1.45, False), (1 / 1.55, True)):
        out = made(1.0, None, 1 - factor * own)
        assert any("lies far from" in w for w in out["warnings"]) == said
        assert 1 - out["now"]["estimate"] == pytest.approx(own * min(max(factor, 1 / 1.5), 1.5))
    warned = made(1.0, None, failed={"a": "no memory", "b": "no memory", "c": "late"})["warnings"]
    assert warned == ["3 of the trainings failed and tell nothing (no memory; late)."]


def test_a_curve_of_one_size_is_refused_with_its_reason(task):
    own = Ready(task, Scale.of("accuracy"), "learn/logistic", "linear", {}, 0, FOLDS, 0.8)
    one = {"cv:k=5:r=0": np.full((N, 2), 0.5)}
    with pytest.raises(BudgetSpent, match="before two sizes"):
        result(own, STUDY, offers_of({"label": 1.0}), [], one, 5.0, None, ended=True)
    with pytest.raises(BadInput, match="logistic on linear failed on parts of the labels .no memory"):
        result(own, STUDY, offers_of({"label": 1.0}), [], one, 5.0, None, failed={"part": "no memory"})


def test_a_dry_run_counts_fits_and_seconds(task):
    own = Ready(task, Scale.of("accuracy"), "learn/logistic", "linear", {}, 0, FOLDS, 0.8)
    other, mine = ({"method": f"learn/{name}", "view": "linear"} for name in ("lda", "logistic"))
    rows = [{**other, "seconds": 99.0, "repeats": 1}, {**mine, "seconds": 6.0, "repeats": 3}]
    study: Any = SimpleNamespace(id="made", summary={"leaderboard": rows})
    out = dry(study, own, ["a", "b", "c"], offers_of({"label": 1.0}), [])
    assert (out["fits"], out["seconds"], out["would_measure"]) == (15, 6.0, ["a", "b", "c"])  # 0.4 s each
    assert out["purchases"] == ["label"] and (out["n"], out["metric"], out["dry_run"]) == (N, "accuracy", True)
    study.summary["leaderboard"][1] = mine
    assert dry(study, own, ["a"], [], [])["seconds"] == 0.0


# -- purchases and what is measured of them --


def test_sizes_are_parts_of_what_a_fold_trains_on():
    assert curve_draws(80, 2, 5, 1) == [
        ("cv:k=5:r=0", 64.0), ("part:k=5:r=0:n=32", 32.0), ("part:k=5:r=0:n=16", 16.0), ("part:k=5:r=0:n=8", 8.0)
    ]  # fmt: skip
    assert [n for _, n in curve_draws(80, 5, 5, 2)] == 2 * [64.0, 32.0, 16.0]  # at least two a class
    assert [n for _, n in curve_draws(40, 0, 5, 1)] == [32.0, 16.0, 8.0, 4.0]
    assert [n for _, n in curve_draws(8, 2, 4, 1)] == [6.0, 4.0]  # else six in ten, where that is more than a class
    assert [n for _, n in curve_draws(5, 2, 5, 1)] == [4.0, 2.0] and len(curve_draws(3, 2, 3, 1)) == 1
    assert [d for d, _ in curve_draws(80, 2, 5, 3)][4::4] == ["cv:k=5:r=1", "cv:k=5:r=2"]


def test_mixtures_are_a_half_and_a_third_right_and_each_offer_comes_once_before_any_twice(task):
    wrong, bare = offers_of({"label@0.2": 1.0, "unlabelled": 0.1})
    assert mixed_draws(task, wrong, 5, 1) == [
        ("part:k=5:r=0:n=32:m=32:e=20", 32, 32), ("part:k=5:r=0:n=21:m=43:e=20", 21, 43)
    ]  # fmt: skip
    assert [d for d, *_ in mixed_draws(task, bare, 5, 2, itself=True)][2:] == [
        "part:k=5:r=1:n=32:p=32", "part:k=5:r=1:n=21:p=43"
    ]  # fmt: skip
    assert mixed_draws(task, bare, 5, 1)[0][0] == "part:k=5:r=0:n=32:u=32"
    few = read((np.random.default_rng(0).normal(size=(10, 2)), np.arange(10) % 3))
    assert [r for _, r, _ in mixed_draws(few, wrong, 5, 1)] == [4]  # a third would miss a class
    draws = all_draws(task, [wrong, bare], 5)
    assert len(draws) == 4 * 4 + 2 * 2 * 2 and all("r=0" in d for d in draws[:8])
    assert [d.partition(":r=")[2][0] for d in draws] == list("0" * 8 + "1" * 8 + "2222" + "3333")
    assert [":m=" in d or ":u=" in d for d in draws[:8]] == [False] * 4 + [True] * 4


def test_one_training_is_taken_to_spread_as_others_do_and_small_losses_are_none():
    half = read((np.sin(np.arange(6.0))[:, None], np.array([0, 1, 0, 1, 0, 1])))
    found = Measured(half, Scale.of("log_loss"), {10.0: [0.4], 20.0: [0.2, 0.3], 40.0: [0.0, 0.001]})
    spreads = [p.spread for p in found.points()]
    assert spreads == [0.15, pytest.approx(np.std(np.log([0.2, 0.3]), ddof=1)), 0.0]
    assert [(p.n, p.loss, p.rows, p.repeats) for p in found.points()] == [
        (10.0, 0.4, 6, 1), (20.0, 0.25, 6, 2), (40.0, 0.0005, 6, 2)
    ]  # fmt: skip
    assert found.baseline == pytest.approx(math.log(2))
    values = Measured(read((np.sin(np.arange(4.0))[:, None], np.array([1.5, 2.5, 3.25, 4.75]))), Scale.of("rmse"))
    assert values.baseline == pytest.approx(np.std([1.5, 2.5, 3.25, 4.75]))
    p = np.array([1.5, 2.5, 3.25, np.nan])
    assert values.loss(p) == 0 and values.loss(p + [0, 0, 3, 0]) == pytest.approx(3**0.5)


def test_rough_needs_three_sizes_and_more_than_scatter():
    def points(first, last, spread=0.1, repeats=4):
        return [Point(8.0, 0.5, 80, 0.0, 1), Point(16.0, first, 80, spread, repeats), Point(64.0, last, 80, spread, 1),
                Point(32.0, 0.3, 80, 0.0, 1)]  # fmt: skip

    assert not rough(points(0.3, 0.36)) and rough(points(0.3, 0.37))  # twice 0.1: the last was trained once
    assert rough(points(0.3, 0.32, 0.0)) and not rough(points(0.3, 0.31, 0.0))  # at least 2 %, twice
    assert not rough(points(0.3, 0.32, 0.3, 4))


# -- forecasts --


def an_outlook(prices, worths, metric="log_loss", blur=None, rates=None):
    points = [Point(n, 2.0 * n**-0.5, 60, 0.05, 2) for n in (12, 24, 48)]
    scale = Scale.of(metric)
    curve = fit_curve(scale.family, points, baseline=0.69, labels=60)
    offers = tuple(offers_of(prices))
    draws = len(curve.law.draws_KP)
    return Outlook(
        curve, scale, offers, {o.name: np.full(draws, worths[o.name]) for o in offers}, 60, blur, rates or {}
    )


def test_purchases_add_labels_of_their_worth_within_what_the_curve_carries():
    found = an_outlook({"label": 1.0, "label@0.1": 0.3, "unlabelled": 0.01},
                       {"label": 1.0, "label@0.1": 0.5, "unlabelled": 0.1})  # fmt: skip
    for luck in (False, True):
        got = found.log_losses({"label": 10.0, "label@0.1": 30.0, "unlabelled": 50.0}, luck)
        assert got == pytest.approx(found.curve.log_losses(np.full(len(got), 60 + 10 + 15 + 5.0), luck))
        assert found.log_losses({}, luck) == pytest.approx(found.curve.log_losses(60.0, luck))
    carries = found.curve.carries
    assert found.reach == carries - 60
    assert [found.most(o) for o in found.offers] == [int(carries - 60), int((carries - 60) / 0.5), 240]
    assert found.log_losses({"unlabelled": 999.0}, False) == pytest.approx(
        found.curve.log_losses(np.full(len(got), 84.0), False)
    )
    assert found.log_losses({"label": 1e9}, False) == pytest.approx(
        found.curve.log_losses(np.full(len(got), carries * BEYOND), False)
    )
    poor = an_outlook({"label@0.4": 1.0}, {"label@0.4": -1.0})
    assert poor.log_losses({"label@0.4": 50.0}, False) == pytest.approx(poor.curve.log_losses(15.0, False))
    assert poor.most(poor.offers[0]) == int(poor.reach / 0.02)


def test_an_interval_holds_nine_in_ten_and_the_likely_score_is_the_median():
    found = an_outlook({"label": 1.0}, {"label": 1.0}, "accuracy")
    plain, lucky = (found.curve.log_losses(60.0, luck) for luck in (False, True))
    estimate, (low, high) = found.now()
    assert estimate == pytest.approx(1 - math.exp(np.median(plain)))
    assert [1 - high, 1 - low] == pytest.approx(np.exp(np.quantile(lucky, [0.05, 0.95]))) and low < high
    one = found.forecasts(7.0)[0]
    assert (one["amount"], one["total"], one["cost"], one["metric"], one["level"]) == (7, 67, 7, "accuracy", 0.9)


def test_the_way_to_a_target_is_the_cheapest_middle_of_what_is_plausible():
    found = an_outlook({"label": 1.0, "label@0.1": 0.3}, {"label": 1.0, "label@0.1": 0.5})
    target = 0.75 * found.now()[0]
    reach, _ = found.reaching(target)
    amounts = np.geomspace(1.0, found.most(found.offers[1]), 400)
    below = np.array([found.log_losses({"label@0.1": float(a)}, False) <= math.log(target) for a in amounts])
    need = np.sort(np.where(below.any(0), amounts[below.argmax(0)], np.inf))
    low, middle, high = (need[int(q * len(need))] for q in (0.05, 0.5, 0.95))
    assert reach["purchase"] == "label@0.1" and reach["level"] == 0.9
    assert reach["amount"] == pytest.approx(middle, rel=0.03, abs=1)
    assert reach["interval"][0] == pytest.approx(low, rel=0.03, abs=1)
    assert reach["interval"][1] is None if np.isinf(high) else reach["interval"][1] == pytest.approx(high, rel=0.03)
    assert reach["cost"] == round(reach["amount"] * 0.3, 2)


# -- wrong labels --


@pytest.mark.parametrize("metric", ["log_loss", "brier"])
@pytest.mark.parametrize("classes", [2, 3])
def test_the_cost_of_blur_is_its_divergence_at_every_sharpness(metric, classes):
    p_NC = np.random.default_rng(0).dirichlet(np.full(classes, 0.7), 50)
    blur = Blur.of(p_NC, metric)
    assert blur is not None and len(LOG_T_G) == len(blur.loss_G)
    score = METRICS[metric].score
    for log_t in (-1.0, 0.0, 1.5):
        p = tempered(p_NC, log_t)
        y = np.repeat(np.arange(classes), 50)  # every class of every row, as likely as the model says
        weights, many = p.T.reshape(-1), np.tile(p, (classes, 1))
        clean = score(y, many, weights)
        for b in (0.0, 0.1, 0.475, 1.0):
            q = (1 - b) * many + b / classes
            wrong = (1 - math.sqrt(1 - b)) * (classes - 1) / classes
            paid = score(y, q, weights) - clean
            assert float(blur.cost(wrong, clean / blur.today)) == pytest.approx(paid, rel=0.02, abs=2e-3)
    assert blur.today == pytest.approx(score(y, np.tile(p_NC, (classes, 1)), p_NC.T.reshape(-1)))
    assert float(blur.cost(0.99)) == pytest.approx(float(blur.cost((classes - 1) / classes)))  # no worse than chance
    assert float(blur.cost(0.1, 1e-9)) == pytest.approx(float(blur.cost(0.1, blur.loss_G[0] / blur.today)))
    assert SHARES_B[0] == 0 and SHARES_B[-1] == 1


def test_many_rows_are_thinned_and_counts_have_no_blur():
    p_NC = np.random.default_rng(0).dirichlet([1, 1], 2500)
    every = Blur.of(p_NC[::3], "log_loss")
    blur = Blur.of(p_NC, "log_loss")
    assert blur is not None and every is not None and (blur.cost_GB == every.cost_GB).all()
    assert Blur.of(p_NC[:, 0], "log_loss") is None and Blur.of(p_NC, "auc") is None


def test_what_is_taken_off_a_mixture_has_its_doubt():
    blur = Blur.of(np.random.default_rng(0).dirichlet([1, 1, 1], 200), "log_loss")
    assert blur is not None
    today = 1.1 * blur.today
    mix = blur.taken_off(Mix(30.0, 10.0, today, 0.04, 3), 0.2, today)  # 5 in 100 are wrong
    assert mix.loss == blur.without(0.05, today, today) and (mix.right, mix.other, mix.repeats) == (30, 10, 3)
    assert mix.spread == pytest.approx(math.hypot(0.04, 0.5 * (today - mix.loss) / mix.loss * 3**0.5))


# -- hours and megabytes --


def steps_of(*changes):
    (offer,) = offers_of({"hour": 2.0})
    steps = tuple(Step(a, a + 1.0, np.asarray(c, float), f"by {a}") for a, c in changes)
    return Other(offer, steps)


def test_steps_are_told_with_their_interval_and_the_cheapest_that_reaches():
    now_K = np.log(np.linspace(0.2, 0.4, 101))
    other = steps_of((0.5, np.full(101, -0.1)), (2.0, np.linspace(-0.6, -0.4, 101)))
    scale = Scale.of("log_loss")
    estimate, interval = with_steps(scale, now_K, list(other.steps), np.full(101, math.log(0.3)))
    assert estimate == pytest.approx(0.3 * math.exp(-0.6))
    assert interval == pytest.approx(np.exp(np.quantile(now_K - 0.1 + np.linspace(-0.6, -0.4, 101), [0.05, 0.95])))
    first, second = forecasts_of([other], scale, now_K)
    assert (first["amount"], first["total"], first["cost"], second["cost"]) == (0.5, 1.5, 1.0, 4.0)
    assert first["estimate"] == pytest.approx(0.3 * math.exp(-0.1)) and first["level"] == 0.9
    need = np.where(
        now_K - 0.1 <= math.log(0.25), 0.5, np.where(now_K + other.steps[1].change_K <= math.log(0.25), 2.0, np.inf)
    )
    ordered = np.sort(need)
    found = reaching([other], scale, now_K, 0.25)
    assert found["amount"] == ordered[50] == 2.0 and found["cost"] == 4.0 and found["interval"] == [ordered[5], None]
    assert reaching([other], scale, now_K, 0.4)["interval"] == [0.5, 0.5]
    assert reaching([steps_of((-1.0, np.full(101, -9.0)))], scale, now_K, 0.25) is None  # less is not bought
    assert reaching([other], scale, now_K, 1e-9) is None and short(1234.5) == 1230
    assert other.best is other.steps[1]
    bought = told([other], [(other, other.steps[0])])
    assert bought["split"] == {"hour": 1.0} and bought["split_amounts"] == {"hour": 0.5} and bought["free"] == []
    assert bought["how"] == {"hour": {"amount": 2.0, "how": "by 2.0"}}
    assert told([other], [])["split"] == {"hour": 0.0} == told([other], [])["split_amounts"]


def test_the_best_way_is_the_one_of_least_mean_log_loss():
    good = steps_of((1.0, [-0.5, 0.1]), (3.0, [-0.6, -0.6]))

    def rows(money):
        return Split(np.array([money]), np.array([1.0, 1.0]) * math.exp(-money), np.ones(1))

    for spend in (1.9, 6.0, 6.5):  # where rows bring more
        _, way, log_K = with_others(rows, [good], spend, np.zeros(2))
        assert way == [] and log_K == pytest.approx([-spend, -spend])
    flat = Split(np.zeros(1), np.ones(2), np.ones(1))
    for spend, amounts in ((1.9, []), (2.0, [1.0]), (6.0, [3.0])):
        assert [s.amount for _, s in with_others(lambda money: flat, [good], spend, np.zeros(2))[1]] == amounts


def test_without_rows_for_sale_the_study_itself_says_how_sure_it_is():
    own: Any = SimpleNamespace(task=range(40), scale=Scale.of("log_loss"), estimate=0.3, seed=0, measured="ridge")
    study: Any = SimpleNamespace(id="made", summary={"interval": [0.2, 0.5]})
    other = steps_of((0.5, np.full(1000, -0.1)))
    out = alone(study, own, [other.offer], [other], [], 5.0, None)
    z = norm.ppf(0.95) / 1.6449
    low, high = (0.3 * (end / 0.3) ** z * math.exp(-0.1) for end in (0.2, 0.5))
    assert out["after"]["estimate"] == pytest.approx(0.3 * math.exp(-0.1), rel=1e-3)
    assert out["after"]["interval"] == pytest.approx([low, high], rel=0.01)
    assert out["now"] == {"estimate": 0.3, "interval": [0.2, 0.5]} and out["split"] == {"hour": 1.0}
    assert alone(study, own, [other.offer], [other], [], 0.5, None)["after"]["estimate"] == 0.3  # too dear
    assert alone(study, own, [other.offer], [other], [], 5.0, 0.3)["reached"]
    assert alone(study, own, [other.offer], [other], [], 5.0, 0.28)["target"]["amount"] == 0.5
    assert not alone(study, own, [other.offer], [other], [], 5.0, 0.1)["reached"]


# -- metrics --


@pytest.mark.parametrize(
    ("metric", "score", "loss"),
    [("accuracy", 0.7, 0.3), ("log_loss", 0.4, 0.4), ("mse", 4.0, 2.0), ("r2", 0.75, 0.5), ("rmse", 2.5, 2.5)],
)
def test_a_score_is_a_loss_and_back(metric, score, loss):
    scale = Scale.of(metric)
    assert scale.loss(score) == pytest.approx(loss) and scale.score(loss) == pytest.approx(score) and scale.is_known
    assert Scale.of("accuracy").score(2.0) == 0.0 and Scale.of("mse").loss(-1.0) == 0.0 == Scale.of("r2").loss(1.5)
    assert not Scale.of("auc").is_known and Scale.of("auc").family == "error"


def test_the_noise_of_an_unknown_metric_is_that_of_rows_drawn_anew(task):
    results = {"part:k=5:r=0:n=8": np.full((N, 2), 0.5), "cv:k=5:r=0": predicted(task, ["x"], [8])["x"]}
    p = results["cv:k=5:r=0"]
    assert row_noise(task, Scale.of("accuracy"), results, 0) is None and row_noise(task, Scale.of("auc"), {}, 0) is None
    rng, logs = np.random.default_rng(5), []
    for _ in range(2000):
        rows = rng.integers(0, N, N)
        logs.append(math.log(1 - METRICS["auc"].score(task.target[rows], p[rows])))
    assert row_noise(task, Scale.of("auc"), results, 0) == pytest.approx(np.std(logs), rel=0.15)
    assert findings._why({"a": "x" * 400}) == "x" * 300
