"""What points say beside the prior: the level is theirs, slopes on few rows are doubted, noise may be given."""

import math

import numpy as np
import pytest

from smidgen.laws.curve import CurvePrior, Point, fit_curve, vague
from smidgen.laws.curve_points import rows_sd, settled

PRIOR = CurvePrior(
    mean=(-0.5, 0.0, -0.6), covariance=((0.2, 0.1, 0.0), (0.1, 1.0, 0.1), (0.0, 0.1, 0.2)), rows=1.5, luck=0.08
)


def points(losses, rows=50):
    return [Point(n, loss, rows, 0.05, 4) for n, loss in zip((10, 20, 40), losses, strict=True)]


@pytest.mark.parametrize("level", [0.03, 0.3, 1.5])
def test_the_level_is_that_of_the_points(level):
    """Also where no task that the prior knows was so easy or so hard."""
    likely, low, high = fit_curve("log_loss", points([1.3 * level, 1.1 * level, level]), baseline=1.0, labels=50,
                                  prior=PRIOR, draws=400).forecast(50)  # fmt: skip
    assert likely == pytest.approx(level, rel=0.15) and low < level < high


def test_a_vague_prior_knows_the_rest_as_well_as_before():
    def given_level(prior: CurvePrior) -> np.ndarray:
        c = np.array(prior.covariance)
        return c[1:, 1:] - np.outer(c[1:, 0], c[0, 1:]) / c[0, 0]

    wide = vague(PRIOR)
    assert wide.covariance[0][0] > 5 * PRIOR.covariance[0][0] and np.allclose(given_level(wide), given_level(PRIOR))


def test_a_slope_on_few_rows_is_doubted():
    def told(rows: int) -> float:
        curve = fit_curve("log_loss", points([0.9, 0.5, 0.25], rows), baseline=1.0, labels=50, prior=PRIOR, draws=400)
        return curve.forecast(200)[0] / curve.forecast(50)[0]

    assert told(5000) + 0.03 < told(25) < 1


def test_noise_is_of_rows_or_as_given():
    told = points([0.5, 0.4, 0.3], 100)
    assert rows_sd(told, "log_loss", PRIOR) == pytest.approx(0.15)
    share = 30.5 / 101
    assert rows_sd(told, "error", PRIOR) == pytest.approx(1.5 * math.sqrt((1 - share) / (share * 100)))
    given, half = rows_sd(told, "error", PRIOR, 0.4), rows_sd(told, "error", PRIOR, 0.2)
    assert given == pytest.approx(2 * half) and given > 0.4
    few, many = (settled(Point(50, 0.3, 100, 0.1, 4), "log_loss", 1.0, PRIOR, shared)[2] for shared in (0.0, 1.0))
    assert few == pytest.approx(math.sqrt((3 * 0.1**2 + 2 * 0.08**2) / 5 / 4)) and many > 5 * few
