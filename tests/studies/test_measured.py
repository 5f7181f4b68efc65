"""What plans take from trials: losses as they are, not tempered; the spread of few trainings; one temperature."""

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer

from smidgen.kit.errors import BadInput
from smidgen.laws.curve import HOME
from smidgen.learn.blend import tempered
from smidgen.studies.losses import Scale
from smidgen.studies.measured import Measured, log_temperature, measure
from smidgen.studies.prices import offers_of
from smidgen.studies.purchases import all_draws, check_rows, curve_draws, mixed_draws
from smidgen.studies.race import folds_for
from smidgen.studies.ready import Ready
from smidgen.studies.row_noise import row_noise
from smidgen.studies.trial import drawn, labelled_in, parts
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


def test_whole_groups_are_counted_as_they_were_drawn():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": rng.normal(size=126), "who": np.repeat(np.arange(18), 7), "target": np.arange(126) % 2})
    task = read(frame, "target", kind="classification", group="who")
    ready = Ready(task, Scale.of("log_loss"), "learn/logistic", "linear", {}, 0, 5, 0.4)
    offers = offers_of({"unlabelled": 0.01, "label@0.2": 0.1})
    results = {draw: sure(task, 0.9) for draw in all_draws(task, offers, 5)}
    found = measure(ready, offers, results)
    fits = {draw: np.mean([len(train) for train, _ in parts(task, draw, 0)]) for draw in results}
    curve = curve_draws(len(task), 2, 5, 4)
    named = sorted({n for _, n in curve})
    own = [np.mean([fits[draw] for draw, size in curve if size == n]) for n in named]
    assert [p.n for p in found.points()] == pytest.approx(own) and {p.rows for p in found.points()} == {18}
    assert any(abs(n - size) > 1 for n, size in zip(named, own, strict=True))
    for offer in offers:
        for draw, right, other in mixed_draws(task, offer, 5, 1):
            given = drawn(task, draw, 0)
            assert sum(given) == pytest.approx(fits[draw]) and 0 < given[0] <= right and 0 < given[1] < other
    for mix in found.mixes_of("unlabelled", 0.1):
        assert mix.other > 0 and mix.right + mix.other < 0.8 * 126
    rows = [labelled_in("part:k=5:r=0:n=12:u=20", given) for given in (32, 15, 8)]
    assert rows == [12, 12, 8] and labelled_in("part:k=5:r=0:n=12", 14) == 14


def test_rows_that_stay_together_are_one_row_of_the_score():
    y = np.arange(40) % 2
    p = np.where(y == 1, 0.8, 0.2)
    p[1] = 0.1  # an AUC of 0.95
    frame = pd.DataFrame({"x": np.sin(np.arange(40.0)), "who": np.arange(40) // 8, "y": y})
    tasks = [read(frame, "y", kind="classification", group=group) for group in (None, "who")]
    results = {"cv:k=5:r=0": np.stack([1 - p, p], 1)}
    alone, together = (row_noise(task, Scale.of("auc"), results, 0) for task in tasks)
    share = (0.05 * 5 + 0.5) / 6  # at least the noise of so many errors of five rows
    assert alone is not None and together == pytest.approx(((1 - share) / (share * 5)) ** 0.5) and together > alone


@pytest.mark.parametrize(("classes", "labels", "least"), [(4, 8, 10), (3, 6, 8), (2, 4, 6)])
def test_too_few_labels_are_told_before_anything_is_trained(classes, labels, least):
    def check(n):
        task = read((np.random.default_rng(0).normal(size=(n, 2)), np.arange(n) % classes), kind="classification")
        check_rows(task, folds_for(n, int(np.bincount(task.target).max())), 0)

    for n in range(labels, least):
        with pytest.raises(BadInput, match=f"expected at least {least}, .*got {n}. Label {least - n} more"):
            check(n)
    check(least)


def test_two_large_groups_are_one_size():
    frame = pd.DataFrame({"x": np.sin(np.arange(40.0)), "who": np.arange(40) // 20, "y": np.arange(40) % 2})
    with pytest.raises(BadInput, match="groups of rows: .* two sizes, got 2 in all"):
        check_rows(read(frame, "y", kind="classification", group="who"), 2, 0)
    frame["who"] = np.arange(40) // 10
    check_rows(read(frame, "y", kind="classification", group="who"), 4, 0)
