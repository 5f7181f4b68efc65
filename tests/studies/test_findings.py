"""What a plan puts together: steps beside rows, the cheapest way to a target, warnings, worths that are assumed."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from smidgen.laws.curve import Point, fit_curve
from smidgen.laws.worth import Mix, noisy_prior, worth
from smidgen.studies import findings
from smidgen.studies.blur import Blur
from smidgen.studies.findings import UNLABELLED_PRIOR, _band, _curve, _told, _why, _worth, dry, result
from smidgen.studies.losses import Scale
from smidgen.studies.measured import Measured, measure
from smidgen.studies.other_offers import Other, Step
from smidgen.studies.other_results import forecasts_of, with_steps
from smidgen.studies.prices import Offer, offers_of
from smidgen.studies.purchases import curve_draws, mixed_draws
from smidgen.studies.ready import Ready
from smidgen.tasks.read import read

N, FOLDS = 80, 5
STUDY: Any = SimpleNamespace(id="made", summary={})


@pytest.fixture(scope="module")
def task():
    return read((np.random.default_rng(0).normal(size=(N, 2)), np.arange(N) % 2))


@pytest.fixture(scope="module")
def results(task):
    """Predictions of all draws of a plan of labels and bare rows; 3 of the bare are worth a label."""
    (bare,) = offers_of({"unlabelled": 1.0})
    sizes = dict(curve_draws(N, 2, FOLDS, 4))
    sizes |= {d: right + 0.3 * other for d, right, other in mixed_draws(task, bare, FOLDS, 2)}
    rng, out = np.random.default_rng(1), {}
    for draw, n in sizes.items():
        wrong = rng.permutation(N) < round(1.6 * n**-0.5 * N)
        out[draw] = np.eye(2)[np.where(wrong, 1 - task.target, task.target)] * 0.9 + 0.05
    return out


@pytest.fixture(scope="module")
def plan(task, results):
    """`plan(prices, spend, target=..)`: of a study with an accuracy of 0.8, or of another one."""

    def made(prices, spend, *, target=None, estimate=0.8, metric="accuracy", others=None, unknown=(), **more):
        own = Ready(task, Scale.of(metric), "learn/logistic", "linear", {}, 0, FOLDS, estimate)
        return result(own, STUDY, offers_of(prices), list(unknown), results, spend, target, others, **more)

    return made


@pytest.fixture(scope="module")
def curve(task, results):
    own = Ready(task, Scale.of("accuracy"), "learn/logistic", "linear", {}, 0, FOLDS, 0.8)
    found = measure(own, offers_of({"label": 1.0}), results)
    return fit_curve("error", found.points(), baseline=found.baseline, labels=N, seed=0), found


def an_hour(price, change=-1.5, amount=2.0):
    offer = Offer("hour", "hour", price)
    return Other(offer, (Step(amount, amount + 1, np.full(1, change), "go on"),))


def as_is(other, draws):
    steps = tuple(Step(s.amount, s.total, np.full(draws, s.change_K[0]), s.how) for s in other.steps)
    return Other(other.offer, steps)


def test_steps_are_bought_beside_rows_and_told_with_them(plan, curve):
    draws = len(curve[0].log_losses(float(N)))
    other = as_is(an_hour(2.0), draws)
    unknown = [{"purchase": "mb", "why": "it is free", "nothing": "yes"}]
    out = plan({"label": 0.5}, 5.0, others=[other], unknown=unknown)
    assert out["split"] == {"label": 1.0, "hour": 4.0} and out["split_amounts"] == {"label": 2.0, "hour": 2.0}
    assert out["how"] == {"hour": {"amount": 2.0, "how": "go on"}} and out["free"] == [] and out["failing"] == []
    factor = 0.2 / np.exp(np.median(curve[0].log_losses(float(N), False)))
    lucky, plain = (curve[0].log_losses(float(N), luck) + np.log(factor) for luck in (True, False))
    (told,) = (f for f in out["forecasts"] if f["purchase"] == "hour")
    (expected,) = forecasts_of([other], Scale.of("accuracy"), lucky, plain)
    assert told["estimate"] == pytest.approx(expected["estimate"]) == pytest.approx(1 - 0.2 * np.exp(-1.5))
    assert told["interval"] == pytest.approx(expected["interval"], abs=1e-3)
    before = 1 - with_steps(Scale.of("accuracy"), np.log(1 - np.array([out["after"]["estimate"]])), [])[0]
    assert before < 0.2 * np.exp(-1.5) and not out["gain_is_small"] and out["best"].keys() == {"label"}
    assert out["unknown"] == unknown and out["sentences"][-1] == "More megabytes would bring nothing: it is free."
    assert (out["study"], out["metric"], out["greater_is_better"]) == ("made", "accuracy", True)
    assert out["measured_method"] == "learn/logistic on linear" and out["warnings"] == []


@pytest.mark.parametrize(("label", "hour", "cheapest"), [(1.0, 1e-3, "hour"), (1e-3, 1.0, "label")])
def test_the_cheapest_of_rows_and_steps_reaches_a_target(plan, curve, label, hour, cheapest):
    other = as_is(an_hour(hour), len(curve[0].log_losses(float(N))))
    out = plan({"label": label}, 5.0, target=0.85, others=[other])
    assert out["target"]["purchase"] == cheapest and out["target"]["cost"] < 1 and not out["reached"]
    assert out["asked"] == {"spend": 5.0, "prices": {"label": label}, "target": 0.85}


def test_a_target_that_steps_alone_reach_or_nobody(plan, curve):
    other = as_is(an_hour(1.0, -12.0), len(curve[0].log_losses(float(N))))
    out = plan({"label": 1.0}, 5.0, target=0.9999, others=[other])
    assert out["target"]["purchase"] == "hour" and out["failing"] == ["label"]
    assert plan({"label": 1.0}, 5.0, target=0.9999)["target"] is None
    there = plan({"label": 1.0}, 5.0, target=0.7, others=[other])
    assert there["reached"] and there["target"] == {
        "amount": 0, "interval": [0, 0], "purchase": None, "cost": 0.0, "level": 0.9
    }  # fmt: skip


def test_money_beyond_the_forecasts_is_warned_of(plan, curve):
    out = plan({"label": 0.001}, 100.0)
    carries = curve[0].carries
    assert out["warnings"] == [f"Forecasts reach to {carries:,.0f} labels in all: money beyond that is kept."]
    assert out["split_amounts"]["label"] == int(carries - N)
    assert plan({"label": 0.001}, 0.97 * (carries - N) * 0.001)["warnings"] == []
    bare = plan({"label": 100.0, "unlabelled": 0.001}, 5.0)
    assert bare["split_amounts"] == {"label": 0.0, "unlabelled": 4 * N}
    said = "No more than 4 rows without a label for each label are forecast or bought."
    assert bare["warnings"] == [said] and plan({"label": 100.0, "unlabelled": 0.001}, 0.319)["warnings"] == []


def test_whole_warnings(plan, curve):
    own = float(np.exp(np.median(curve[0].log_losses(float(N), False))))
    out = plan({"label": 1.0}, 1.0, estimate=0.998, failed={"a": "no memory"})
    assert out["warnings"] == [
        f"The study's estimate (0.998) lies far from what learn/logistic on linear alone measures ({1 - own:.3g}): "
        "forecasts begin between the two.",
        "1 of the trainings failed and tell nothing (no memory).",
        "The accuracy is nearly perfect: it can hardly show what more would bring.",
    ]
    assert out["now"]["estimate"] == pytest.approx(1 - own / 1.5)
    nothing = plan({"label": 1.0}, 1.0, estimate=1.0)  # a loss of 0
    assert nothing["now"]["estimate"] == out["now"]["estimate"] and len(nothing["warnings"]) == 2


def test_two_sizes_are_a_curve_whether_or_not_the_time_ended(task, results):
    own = Ready(task, Scale.of("accuracy"), "learn/logistic", "linear", {}, 0, FOLDS, 0.8)
    two = {d: results[d] for d in ("cv:k=5:r=0", "part:k=5:r=0:n=32")}
    out = result(own, STUDY, offers_of({"label": 1.0}), [], two, 5.0, None, failed={"x": "no"}, ended=True)
    assert [p["n"] for p in out["curve"]] == [32.0, 64.0] and len(out["warnings"]) == 1


# -- parts --


def test_a_worth_that_was_not_measured_is_what_is_assumed(task, curve):
    law = curve[0]
    bare = Measured(task, Scale.of("accuracy"))
    label, wrong, rows, counted = offers_of({"label": 1.0, "label@0.2": 1.0, "unlabelled": 1.0, "query@5/50": 1.0})
    draws = len(law.log_losses(float(N)))
    none_K = np.zeros(draws)
    assert (_worth(label, law, bare, None, 0, none_K) == 1).all() and len(
        _worth(label, law, bare, None, 0, none_K)
    ) == draws
    assert (_worth(rows, law, bare, None, 0, none_K) == worth(law, [], UNLABELLED_PRIOR, 0)).all()
    stated = _worth(wrong, law, bare, None, 0, np.full(draws, 0.2))
    assert (stated == worth(law, [], noisy_prior(0.2, 2), 0)).all() and np.median(stated) > 0.2
    rate_K = np.random.default_rng(0).beta(5.5, 45.5, draws)
    assert np.std(_worth(counted, law, bare, None, 0, rate_K)) > np.std(
        _worth(counted, law, bare, None, 0, none_K + 5.5 / 51)
    )


def test_what_blur_costs_is_taken_off_wrong_labels_alone(task, curve):
    law, found = curve
    blur = Blur.of(np.full((N, 2), (0.9, 0.1)), "log_loss")
    mixes = {(name, 32.0, 32.0): [0.25, 0.26] for name in ("label@0.2", "unlabelled")}
    seen = Measured(task, Scale.of("accuracy"), {10.0: [0.9], 64.0: [0.2]}, mixes)
    wrong, rows = offers_of({"label@0.2": 1.0, "unlabelled": 1.0})
    zero_K = np.zeros(len(law.log_losses(float(N))))
    assert (_worth(rows, law, seen, blur, 0, zero_K) == _worth(rows, law, seen, None, 0, zero_K)).all()
    (mix,) = seen.mixes_of("label@0.2", law.prior.luck)
    assert isinstance(mix, Mix) and blur is not None
    expected = worth(law, [blur.taken_off(mix, 0.2, 0.2)], noisy_prior(0.2, 2), 0)
    assert (_worth(wrong, law, seen, blur, 0, zero_K) == expected).all()
    assert np.median(expected) > np.median(_worth(wrong, law, seen, None, 0, zero_K))


def test_draws_are_told_by_their_middle_and_nine_in_ten():
    told = _told(np.arange(101.0))
    assert told["estimate"] == 50.0 and told["interval"] == pytest.approx([5.0, 95.0])


def test_points_are_scores_from_the_fewest_labels_on(task):
    found = Measured(task, Scale.of("accuracy"), {64.0: [0.1, 0.3, 0.5], 8.0: [0.4]})
    one, two = _curve(found, Scale.of("accuracy"))
    assert (one["n"], one["estimate"], one["interval"]) == (8.0, 0.6, [0.6, 0.6])
    assert two["n"] == 64.0 and two["estimate"] == pytest.approx(0.7) and two["interval"] == pytest.approx([0.5, 0.9])


@pytest.mark.parametrize(("labels", "first"), [(80, 20.0), (6, 2.0)])
def test_a_band_goes_from_a_quarter_of_the_labels_to_ten_times(labels, first):
    outlook: Any = SimpleNamespace(labels=labels, at=lambda n: (1 / n, [0.5 / n, 2 / n]))
    band = _band(outlook)
    assert (band[0]["n"], band[-1]["n"], len(band)) == (first, 10 * labels, 24)
    ratios = np.diff(np.log([1 / b["estimate"] for b in band]))
    assert ratios == pytest.approx(ratios[0]) and all(b["n"] == round(1 / b["estimate"], 1) for b in band)
    assert all(b["interval"] == pytest.approx([b["estimate"] / 2, 2 * b["estimate"]]) for b in band)


def test_each_reason_is_told_once_and_shortly():
    assert _why({"a": "no memory", "b": "late", "c": "no memory"}) == "no memory; late"
    assert _why({"a": "x" * 200, "b": "y" * 200}) == "x" * 200 + "; " + "y" * 98


def test_a_dry_run_tells_what_it_would_cost(task):
    own = Ready(task, Scale.of("accuracy"), "learn/logistic", "linear", {}, 0, 4, 0.8)
    row = {"method": "learn/logistic", "view": "linear", "seconds": 3.0, "repeats": 2}
    rows = [{**row, "view": "tree", "seconds": 99.0}, {**row, "method": "learn/lda", "seconds": 99.0}, row]
    study: Any = SimpleNamespace(id="made", summary={"leaderboard": rows})
    unknown = [{"purchase": "hour", "why": "x"}]
    assert dry(study, own, ["a", "b", "c"], offers_of({"label": 1.0, "unlabelled": 1.0}), unknown) == {
        "study": "made", "n": N, "metric": "accuracy", "dry_run": True, "would_measure": ["a", "b", "c"], "fits": 12,
        "seconds": 4.5, "measured_method": "learn/logistic on linear", "purchases": ["label", "unlabelled"],
        "unknown": unknown,
    }  # fmt: skip
    for more, seconds in (
        ({"seconds": 3.33}, 5.0),
        ({"repeats": 0}, 9.0),
        ({"repeats": None}, 9.0),
        ({"seconds": None}, 0.0),
    ):
        rows[2] = row | more
        assert dry(study, own, ["a", "b", "c"], [], [])["seconds"] == seconds


def test_points_of_a_law_carry_forecasts_so_far(curve):
    points = [Point(n, 1.6 * n**-0.5, N, 0.05, 4) for n in (8, 16, 32, 64)]
    again = fit_curve("error", points, baseline=0.5, labels=N)
    assert again.carries == curve[0].carries > 4 * N and findings.FARTHEST == 1.5
