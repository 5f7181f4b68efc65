"""Learning curves: forecasts hold as often as they say, amounts invert them, worths and splits follow from them."""

import math

import numpy as np
import pytest

from smidgen.kit.errors import BadInput
from smidgen.laws.allocate import split
from smidgen.laws.curve import FAMILIES, CurveForm, CurvePrior, Point, fit_curve, known_priors
from smidgen.laws.worth import Mix, noisy_prior, worth

PRIOR = CurvePrior(
    mean=(-0.8, -0.5, -0.7), covariance=((0.3, 0.1, 0.0), (0.1, 1.0, 0.1), (0.0, 0.1, 0.2)), rows=1.0, luck=0.08
)
SIZES = (10, 20, 40, 80)


def drawn(seed: int) -> tuple[list[Point], float]:
    """Points of a curve drawn from the prior, as 100 rows would show it, and one training's loss at 400 labels."""
    rng = np.random.default_rng(seed)
    form = CurveForm(PRIOR, 0.0)
    theta = np.concatenate([rng.normal(size=3), [0.0]])[None]
    log_loss = form.log_value(theta, np.array([*SIZES, 400.0])[:, None])[0][0]
    offset = rng.normal(0, PRIOR.rows / math.sqrt(100))
    told = np.exp(log_loss[:-1] + offset + rng.normal(0, 0.05, len(SIZES)))
    points = [Point(n, float(v), 100, 0.1, 4) for n, v in zip(SIZES, told, strict=True)]
    return points, float(np.exp(log_loss[-1] + rng.normal(0, PRIOR.luck * math.sqrt(50 / 400))))


def test_forecasts_hold_nine_in_ten_and_beat_the_last_value():
    inside, own, last = 0, [], []
    for seed in range(40):
        points, truth = drawn(seed)
        likely, low, high = fit_curve("rmse", points, baseline=1.0, labels=100, prior=PRIOR, draws=400).forecast(400)
        inside += low <= truth <= high
        own.append(abs(likely - truth))
        last.append(abs(points[-1].loss - truth))
    assert 31 <= inside <= 40  # of 40: fewer by chance in 1 of 200
    assert np.mean(own) < 0.6 * np.mean(last)


def test_amounts_are_the_inverse_of_forecasts():
    points, _ = drawn(3)
    curve = fit_curve("rmse", points, baseline=1.0, labels=100, prior=PRIOR)
    there = curve.amount(curve.forecast(300)[0])
    assert there is not None and there[0] == pytest.approx(300, rel=0.1) and there[1] < there[0] < there[2]
    assert curve.amount(1e-4) is None
    with pytest.raises(BadInput, match="carries it to 1,600"):
        curve.forecast(2000)


def test_too_few_points_say_how_many_more_and_where():
    with pytest.raises(BadInput, match="Measure 1 more, at about 10 labels"):
        fit_curve("error", [Point(20, 0.3, 25)], baseline=0.5, labels=25)
    with pytest.raises(BadInput, match="Measure 2 more, at 12 and 25 labels"):
        fit_curve("error", [], baseline=0.5, labels=25)
    with pytest.raises(BadInput, match="family"):
        fit_curve("accuracy", [], baseline=0.5, labels=25)


def test_shipped_priors_are_whole_and_a_perfect_score_is_no_certainty():
    for family in FAMILIES:
        prior = known_priors()[family]
        assert np.linalg.eigvalsh(np.array(prior.covariance)).min() > 0 and prior.widen >= 1 and prior.luck > 0
    points = [Point(n, 0.0, 40, 0.0, 2) for n in (10, 20, 32)]
    _, low, high = fit_curve("error", points, baseline=0.5, labels=40).forecast(80)
    assert 0 < low < 0.05 < high < 0.35


@pytest.mark.parametrize("true", [0.1, 0.5, 0.9])
def test_worth_is_found_again_from_mixtures(true):
    theta = np.array([[0.5, -1.0, 0.5, 0.0]])
    form = CurveForm(PRIOR, 0.0)

    def loss(n: float) -> float:
        return float(np.exp(form.log_value(theta, np.array([[n]]))[0][0, 0]))

    points = [Point(n, loss(n), 400, 0.01, 4) for n in SIZES]
    curve = fit_curve("rmse", points, baseline=1.0, labels=100, prior=PRIOR)
    mixes = [Mix(right, other, loss(right + true * other), 0.01, 2) for right, other in ((27, 53), (20, 60), (10, 70))]
    assert np.median(worth(curve, mixes, (0.5, 0.5))) == pytest.approx(true, abs=0.15)
    flat = worth(curve, [], (0.3, 0.1))
    assert (np.mean(flat), np.std(flat)) == pytest.approx((0.3, 0.1), abs=0.02)  # nothing measured: the prior


def test_wrong_labels_are_worth_less_and_guesses_nothing():
    assert noisy_prior(0.0, 2)[0] == 1.0 and noisy_prior(0.1, 2)[0] == pytest.approx(0.64)
    assert noisy_prior(0.2, 10)[0] > noisy_prior(0.2, 2)[0]
    with pytest.raises(BadInput, match=r"below 0\.5, as guessing among 2 classes has"):
        noisy_prior(0.5, 2)


def test_money_goes_where_it_buys_most():
    def after(worths):
        return lambda money: np.exp(-0.5 * np.log(100 + (money * worths).sum()) + np.zeros(50))

    assert split(after(np.array([1.0, 3.0])), 2, 100).money == pytest.approx([0, 100])
    # two things that help apart: halves
    both = split(lambda m: np.exp(-np.log(10 + m[0]) - np.log(10 + m[1]) + np.zeros(50)), 2, 100)
    assert both.money == pytest.approx([50, 50], abs=6)
    # one that pays only in quantity
    step = split(lambda m: np.exp(-(0.001 * m[0]) - (1.0 if m[1] >= 90 else 0.0) + np.zeros(50)), 2, 100)
    assert step.money == pytest.approx([0, 100]) and step.best_O == pytest.approx([0, 1])
    with pytest.raises(BadInput, match="spend"):
        split(after(np.array([1.0])), 1, 0)
