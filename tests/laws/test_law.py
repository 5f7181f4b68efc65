"""The fitter of laws: exact slopes, known laws found again, honest intervals, refusals with how far points carry."""

import numpy as np
import pytest

from smidgen.kit.errors import BadInput
from smidgen.laws.average import average
from smidgen.laws.curve import CurveForm, CurvePrior
from smidgen.laws.draws import bootstrap, laplace, posterior
from smidgen.laws.form import Parameter, PowerSum, Term
from smidgen.laws.law import TooFar, fit
from smidgen.laws.nd_law import nd_form
from smidgen.laws.overtraining import Downstream, loss_form
from smidgen.laws.points import Points
from smidgen.laws.validate import leave_out_largest

POWER = PowerSum(
    "power", ("n",),
    (Parameter(name="a", log=True), Parameter(name="b", low=0.0, high=3.0), Parameter(name="e", log=True)),
    (Term("a", {"n": ("b", 1.0)}), Term("e")), {"n": 100.0},
)  # fmt: skip
N = np.geomspace(10, 1000, 24)


def noisy(seed: int, sd: float = 0.03, n: np.ndarray = N) -> Points:
    y = (0.3 * (n / 100) ** -0.6 + 0.1) * np.exp(np.random.default_rng(seed).normal(0, sd, len(n)))
    return Points.of({"n": n}, y)


def truth(n: float) -> float:
    return 0.3 * (n / 100) ** -0.6 + 0.1


PRIOR = CurvePrior(
    mean=(-0.7, -0.5, -0.7), covariance=((0.5, 0.2, 0.0), (0.2, 1.0, 0.1), (0.0, 0.1, 0.3)), rows=1.0, luck=0.1
)


@pytest.mark.parametrize(
    ("form", "x"),
    [
        (POWER, N[:, None]),
        (nd_form({"n": 1e8, "d": 1e9}), np.stack([N * 1e6, N[::-1] * 1e8], 1)),
        (loss_form(1e18), np.stack([N * 1e16, N[::-1]], 1)),
        (Downstream(0.8), np.linspace(2, 4, 9)[:, None]),
        (CurveForm(PRIOR, 0.2), N[:, None]),
    ],
    ids=lambda v: getattr(v, "name", ""),
)
def test_slopes_are_those_of_finite_differences(form, x):
    theta = np.random.default_rng(0).uniform(0.2, 0.6, (3, len(form.parameters)))
    value, slope = form.log_value(theta, x)
    assert value.shape == (3, len(x)) and slope.shape == (3, len(x), theta.shape[1])
    for p in range(theta.shape[1]):
        step = np.zeros_like(theta)
        step[:, p] = 1e-6
        numeric = (form.log_value(theta + step, x)[0] - form.log_value(theta - step, x)[0]) / 2e-6
        np.testing.assert_allclose(slope[..., p], numeric, atol=1e-6, rtol=1e-5)


def test_outliers_are_borne_and_least_squares_is_pulled():
    points = noisy(0, 0.005)
    points.y_R[[20, 22]] *= 3
    robust, pulled = fit(POWER, points), fit(POWER, points, huber=np.inf)
    assert robust.predict({"n": 2000})[0] == pytest.approx(truth(2000), rel=0.06)
    off, far = (abs(np.log(law.predict({"n": 2000})[0] / truth(2000))) for law in (robust, pulled))
    assert off < 0.5 * far


@pytest.mark.parametrize("draw", [bootstrap, laplace, posterior])
def test_intervals_hold_about_as_often_as_they_say(draw):
    inside = 0
    for seed in range(20):
        low, high = draw(fit(POWER, noisy(seed)), 300).interval({"n": 1500})
        inside += bool(low[0] <= truth(1500) <= high[0])
    assert inside >= 14  # of 20, at 90 %: fewer by chance in 1 of 400


def test_a_new_measurement_is_less_sure_than_the_law():
    law = laplace(fit(POWER, noisy(1)))
    (low, high), (lower, higher) = law.interval({"n": 500}), law.interval({"n": 500}, noise=True)
    assert lower < low < high < higher


def test_asking_too_far_is_refused_with_how_far_the_points_carry():
    law = laplace(fit(POWER, noisy(2)))
    low, high = law.carries("n")
    assert low < 10 and 1000 < high <= 1e5 * 1.001
    with pytest.raises(TooFar, match="carry the law from"):
        law.predict({"n": high * 1.1})
    assert law.predict({"n": high * 1.1}, anyway=True)[0] < law.predict({"n": 1000})[0]
    for asked in (law.interval, average([law]).interval, average([law]).predict):
        with pytest.raises(TooFar, match="carry the law from"):
            asked({"n": high * 1.1})
        assert np.isfinite(asked({"n": high * 1.1}, anyway=True)).all()
    with pytest.raises(TooFar):
        law.log_draws(np.array([[high * 1.1]]))
    rough = laplace(fit(POWER, noisy(3, 1.0, np.geomspace(10, 1000, 4))))
    assert rough.carries("n")[1] < high  # noise shortens the reach


def test_solving_is_the_inverse_of_predicting():
    law = laplace(fit(POWER, noisy(3, 0.01)))
    n = law.solve(0.2, "n")
    assert n is not None and law.predict({"n": n})[0] == pytest.approx(0.2, rel=1e-4)
    assert law.solve(0.05, "n") is None  # below what stays
    draws = law.solve_draws(0.2, "n")
    assert np.nanquantile(draws, 0.05) < n < np.nanquantile(draws, 0.95)


def test_the_form_that_holds_gets_the_weight():
    points = noisy(4, 0.01)
    flat = PowerSum("constant", ("n",), (Parameter(name="e", log=True),), (Term("e"),))
    both = average([laplace(fit(POWER, points)), laplace(fit(flat, points))])
    assert both.weights[0] > 0.99
    low, high = both.interval({"n": 500})
    assert low < both.predict({"n": 500}) < high


def test_the_largest_points_are_forecast_from_the_others():
    found = leave_out_largest(POWER, noisy(5, 0.01), "n")
    assert len(found.observed) == 6 and found.mean_error < 0.05 and found.inside.mean() >= 0.5


def test_what_cannot_be_fitted_says_what_is_missing():
    with pytest.raises(BadInput, match="Measure 1 more"):
        fit(POWER, noisy(0, n=N[:3]))
    with pytest.raises(BadInput, match=r"n, row 1: expected a finite number above 0"):
        Points.of({"n": [1.0, 0.0]}, [1.0, 1.0])
    with pytest.raises(BadInput, match="inputs of the law"):
        fit(POWER, noisy(0)).predict({"d": 3.0})
    with pytest.raises(BadInput, match="no draws"):
        fit(POWER, noisy(0)).interval({"n": 20.0})
    with pytest.raises(BadInput, match="a term of p"):
        PowerSum("p", ("n",), (Parameter(name="a"),), (Term("b"),))
