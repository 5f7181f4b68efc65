"""What plans take from trials: losses as they are, not tempered; the spread of few trainings; one temperature."""

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer

from smidgen.laws.curve import HOME
from smidgen.learn.blend import tempered
from smidgen.studies.losses import Scale
from smidgen.studies.measured import Measured, log_temperature, measure
from smidgen.studies.prices import offers_of
from smidgen.studies.purchases import curve_draws, mixed_draws
from smidgen.studies.ready import Ready
from smidgen.tasks.metrics import METRICS
from smidgen.tasks.read import read


@pytest.fixture(scope="module")
def task():
    frame = load_breast_cancer(as_frame=True).frame.sample(60, random_state=1)
    return read(frame.iloc[:, [0, 1, 2, 5, -1]].reset_index(drop=True), "target", kind="classification")


def sure(task, by):
    """Probabilities of a member that is right in four of five rows, and as sure as `by`."""
    right = np.arange(len(task)) % 5 > 0
    own = np.where(right, by, 1 - by)
    return np.where(np.arange(2) == task.target[:, None], own[:, None], 1 - own[:, None])


def test_losses_are_not_tempered_and_predictions_are(task):
    ready = Ready(task, Scale.of("log_loss"), "learn/logistic", "linear", {}, 0, 5, 0.4)
    offers = offers_of({"label": 1, "label@0.2": 0.3})
    curve = curve_draws(len(task), 2, 5, 1)
    mixes = mixed_draws(task, offers[1], 5, 2)
    found = measure(ready, offers, {draw: sure(task, 0.999) for draw, *_ in [*curve, *mixes]})
    raw = METRICS["log_loss"].score(task.target, sure(task, 0.999))
    assert found.points()[-1].loss == pytest.approx(raw) and raw > 1
    assert [m.loss for m in found.mixes_of("label@0.2", 0.1)] == pytest.approx([raw, raw])
    assert found.mixed("label@0.2") == 2 and found.mixed("unlabelled") == 0
    assert found.predictions is not None
    assert METRICS["log_loss"].score(task.target, found.predictions) < 0.6


def test_the_temperature_is_that_of_a_study(task):
    log_t = log_temperature([sure(task, 0.999)], task)
    losses = {t: METRICS["log_loss"].score(task.target, tempered(sure(task, 0.999), t)) for t in (0.0, log_t, 2.4)}
    assert log_t > 0.8 and losses[log_t] < losses[0.0] and abs(log_temperature([sure(task, 0.8)], task)) < 0.2


def test_two_trainings_that_agree_do_not_make_a_mix_certain(task):
    found = Measured(task, Scale.of("log_loss"), mixes={("a", 20, 20): [0.4, 0.4], ("b", 20, 20): [0.2, 0.8]})
    luck = 0.12
    known = luck**2 * HOME / 40
    (agreed,), (apart,) = found.mixes_of("a", luck), found.mixes_of("b", luck)
    assert agreed.spread == pytest.approx((2 * known / 3) ** 0.5) and apart.spread > 5 * agreed.spread
    assert pd.Series([0.2, 0.8]).mean() == apart.loss
