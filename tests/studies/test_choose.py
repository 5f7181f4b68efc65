"""Choosing: a posterior, not the arg max; and an estimate that no choice has seen, also where there is nothing to
learn.

All on made-up out-of-fold predictions whose truth is known.
"""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smidgen.learn.blend import tempered
from smidgen.studies.choose import LOG_T, ChoiceConfig, OutOfFold, choose, left_out, own_losses
from smidgen.studies.estimate import IntervalConfig, estimate, judge
from smidgen.tasks.metrics import METRICS, row_losses

CONFIG = ChoiceConfig(draws=30)


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def board_of(k=4, r=2, n=30, classes=3, seed=0, skill=0.0, units=None) -> OutOfFold:
    """Candidate j sees the truth with strength `skill * j`; classes 0: regression."""
    rng = np.random.default_rng(seed)
    units = np.arange(n) if units is None else units
    if not classes:
        truth = rng.normal(size=n)
        strength = (skill * np.arange(k) / (1 + skill * np.arange(k)))[:, None, None]
        return OutOfFold(
            strength * truth + rng.normal(size=(k, r, n)) * (1 - strength) * 0.7, truth, np.full(k, 1 / k), units
        )
    truth = rng.integers(0, classes, n)
    z = rng.normal(size=(k, r, n, classes)) + skill * np.arange(k)[:, None, None, None] * np.eye(classes)[truth]
    return OutOfFold(softmax(z), truth, np.full(k, 1 / k), units)


boards = st.builds(
    board_of,
    k=st.integers(1, 6),
    r=st.integers(1, 3),
    n=st.integers(4, 40),
    classes=st.sampled_from([0, 2, 3, 5]),
    seed=st.integers(0, 10**6),
    skill=st.floats(0, 3),
)


@given(boards)
@settings(max_examples=40, deadline=None)
def test_weights_are_a_distribution_over_few(board):
    choice = choose(board, CONFIG)
    w = choice.weights
    assert (w >= 0).all() and w.sum() == pytest.approx(1) and np.isfinite(choice.log_t).all()
    assert ((w == 0) | (w >= CONFIG.min_weight / 1.001) | (w == w.max())).all()
    assert np.count_nonzero(choose(board, replace(CONFIG, max_members=2)).weights) <= 2
    assert (choice.log_t == 0).all() or board.classes


@given(boards, st.randoms(use_true_random=False))
@settings(max_examples=25, deadline=None)
def test_the_order_of_candidates_and_of_rows_does_not_matter(board, random):
    k, n = len(board.prior), board.size
    order, rows = random.sample(range(k), k), random.sample(range(n), n)
    other = OutOfFold(board.predictions[order][:, :, rows], board.truth[rows], board.prior[order], board.units[rows])
    free = replace(CONFIG, min_weight=0.0)
    np.testing.assert_allclose(choose(other, free).weights, choose(board, free).weights[order], atol=2e-3)
    np.testing.assert_array_equal(choose(other, free).log_t, choose(board, free).log_t[order])


@given(boards, st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_a_row_counted_twice_is_two_rows(board, seed):
    m = np.random.default_rng(seed).integers(0, 3, board.size)
    m[0] = 1
    rows = np.repeat(np.arange(board.size), m)
    twice = OutOfFold(board.predictions[:, :, rows], board.truth[rows], board.prior, np.arange(len(rows)))
    free = replace(CONFIG, min_weight=0.0)
    a, b = choose(board, free, m.astype(float)), choose(twice, free)
    np.testing.assert_allclose(a.weights, b.weights, atol=1e-6)
    np.testing.assert_array_equal(a.log_t, b.log_t)


@pytest.mark.parametrize("classes", [0, 3])
def test_with_many_rows_the_losses_decide_and_with_few_the_prior(classes):
    weights = []
    for n in (6, 60, 600):
        board = board_of(k=4, r=1, n=n, classes=classes, seed=1, skill=1.2)
        board.prior = np.array([0.7, 0.1, 0.1, 0.1])
        weights.append(choose(board, replace(CONFIG, min_weight=0.0)).weights)
    assert weights[2][3] > 0.8
    assert weights[0][0] > weights[1][0] > weights[2][0]


PLAIN = replace(CONFIG, evidence=0.0, prior_rows=1e-6, min_weight=0.0, temper_sd=1e-6)  # the data alone decide


def test_weights_of_values_are_those_of_the_least_squared_error():
    """Two candidates whose errors have nothing in common: weights as 1 / variance."""
    errors = np.array([[1, -1, 1, -1], [2, 2, -2, -2]] * 1, float).repeat(10, 1)[:, None]
    board = OutOfFold(errors, np.zeros(40), np.full(2, 0.5), np.arange(40))
    np.testing.assert_allclose(choose(board, PLAIN).weights, [0.8, 0.2], atol=0.005)
    worth = replace(PLAIN, prior_rows=40.0)
    w = choose(board, worth).weights
    gradient = 40 * np.array([1, 4]) * w - 40 * 0.5 / w  # of both alike, or there was something to gain
    assert gradient[0] == pytest.approx(gradient[1], abs=0.1) and 0.55 < w[0] < 0.75


def test_weights_of_classes_are_those_of_the_likeliest_mixture():
    """One is right (0.9 for the truth) on three rows of four, the other on the fourth: w = 13 / 16."""
    right = np.tile([True, True, True, False], 10)
    of_truth = np.where(np.stack([right, ~right]), 0.9, 0.1)
    board = OutOfFold(
        np.stack([of_truth, 1 - of_truth], -1)[:, None], np.zeros(40, int), np.full(2, 0.5), np.arange(40)
    )
    np.testing.assert_allclose(choose(board, PLAIN).weights, [13 / 16, 3 / 16], atol=0.002)
    sure = choose(board, replace(PLAIN, evidence=1.0, prior_rows=1e6)).weights  # the prior is all, sharpened by losses
    assert np.log(sure[0] / sure[1]) == pytest.approx(20 * np.log(9), rel=1e-3)


def test_the_best_of_many_equals_does_not_take_all():
    """An arg max would; a posterior over 10 candidates of one quality keeps several."""
    chosen = [
        np.count_nonzero(choose(board_of(k=10, r=1, n=40, classes=2, seed=s, skill=0), CONFIG).weights)
        for s in range(5)
    ]
    assert min(chosen) >= 3


def test_over_confident_probabilities_are_tempered_and_modest_ones_sharpened():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(400, 3)) * 1.5
    truth = np.array([rng.choice(3, p=p) for p in softmax(z)])
    stack = np.stack([softmax(3 * z), softmax(z), softmax(z / 3)])[:, None]
    log_t = choose(OutOfFold(stack, truth, np.full(3, 1 / 3), np.arange(400)), CONFIG).log_t
    assert log_t[0] > 0.5 and abs(log_t[1]) <= 0.2 and log_t[2] < -0.5
    few = choose(OutOfFold(stack[:, :, :6], truth[:6], np.full(3, 1 / 3), np.arange(6)), CONFIG).log_t
    assert np.abs(few).max() < np.abs(log_t).max()  # few rows move it little


@given(boards)
@settings(max_examples=25, deadline=None)
def test_losses_are_those_of_the_tempered_predictions(board):
    choice = choose(board, CONFIG)
    got = own_losses(board, choice)
    kind = "classification" if board.classes else "regression"
    for k in range(len(board.prior)):
        p = tempered(board.predictions[k], choice.log_t[k])
        expected = np.mean([row_losses(kind, board.truth, p[r]) for r in range(p.shape[0])], 0)
        np.testing.assert_allclose(got[k], expected, rtol=1e-4, atol=1e-5)
    assert set(np.round(choice.log_t, 9)) <= set(np.round(LOG_T, 9)) | {0.0}


def test_a_certain_error_is_costly_and_finite():
    p = np.zeros((1, 1, 4, 2))
    p[..., 0] = 1.0
    board = OutOfFold(p, np.ones(4, int), np.ones(1), np.arange(4))
    assert np.isfinite(board.losses).all() and choose(board, CONFIG).weights.tolist() == [1.0]
    assert own_losses(board, choose(board, CONFIG)).min() > 0.7


# -- what no choice has seen --


def test_whole_groups_are_left_out():
    units = np.repeat(np.arange(8), 5)
    board = board_of(n=40, units=units)
    seen = 0
    for out, p in left_out(board, CONFIG, 0):
        assert set(units[out]).isdisjoint(np.delete(units, out)) and p.shape == (2, len(out), 3)
        seen += len(out)
    assert seen > 0.25 * 40 * CONFIG.draws


@pytest.mark.parametrize("classes", [0, 2])
def test_the_choice_that_judges_a_row_did_not_see_it(classes):
    """Another truth of the rows left out changes nothing about the weights and temperatures that predict them."""
    board = board_of(k=3, n=20, classes=classes, skill=0.5)
    first = next(iter(left_out(board, CONFIG, 0)))
    out = first[0]
    truth = board.truth.copy()
    truth[out] = 1 - truth[out]
    a = next(iter(left_out(OutOfFold(board.predictions, board.truth, board.prior, board.units), CONFIG, 0)))
    b = next(iter(left_out(OutOfFold(board.predictions, truth, board.prior, board.units), CONFIG, 0)))
    np.testing.assert_array_equal(a[0], b[0])
    np.testing.assert_array_equal(a[1], b[1])


@given(boards, st.integers(0, 100))
@settings(max_examples=20, deadline=None)
def test_judged_rows_weigh_one_each(board, seed):
    judged = judge(board, CONFIG, seed)
    total = np.bincount(judged.rows, judged.weights, minlength=board.size)
    assert np.isclose(total, 1).sum() + (total == 0).sum() == board.size and (total > 0).mean() > 0.9
    assert len(judged.predicted) == len(judged.rows) == len(judged.weights)
    if board.classes:
        np.testing.assert_allclose(judged.predicted.sum(1), 1)
    again = judge(board, CONFIG, seed)
    assert again.predicted.tobytes() == judged.predicted.tobytes()


class Luck:
    """Naive and corrected scores against what new rows would give, over many data sets of one kind."""

    def __init__(self, skill: float, sets: int = 50, k: int = 30, n: int = 40, fresh: int = 1000):
        config, interval = ChoiceConfig(draws=40), IntervalConfig(resamples=2)
        self.naive, self.corrected, self.truth = (np.empty((sets, 2)) for _ in range(3))
        metrics = [METRICS["log_loss"], METRICS["accuracy"]]
        for s in range(sets):
            rng = np.random.default_rng(s)
            truth = rng.integers(0, 2, n + fresh)
            # 30 candidates that share nothing; each leans to the truth by its own `skill`.
            lean = skill * rng.uniform(0, 1, (k, 1)) * np.where(truth, 1, -1)
            up = 1 / (1 + np.exp(-(lean + rng.normal(size=(k, n + fresh)))))
            p = np.stack([1 - up, up], -1)
            board = OutOfFold(p[:, None, :n], truth[:n], np.full(k, 1 / k), np.arange(n))
            choice = choose(board, config)
            blend = sum(w * tempered(q, t) for w, q, t in zip(choice.weights, p[:, n:], choice.log_t, strict=True))
            judged = judge(board, config, s)
            for j, metric in enumerate(metrics):
                own = [metric.score(truth[:n], p[i, :n]) for i in range(k)]
                self.naive[s, j] = max(own) if metric.greater_is_better else min(own)
                self.corrected[s, j] = estimate(judged, truth[:n], board.units, metric, interval, s).value
                self.truth[s, j] = metric.score(truth[n:], blend)


@pytest.fixture(scope="module")
def luck():
    return Luck(skill=0.0)


def test_the_best_of_thirty_by_chance_looks_good_and_is_not(luck):
    """What the correction is for: at n = 40 the best of 30 coins seems to know the answer in two of three rows."""
    assert luck.naive[:, 1].mean() > 0.62
    assert abs(luck.truth[:, 1].mean() - 0.5) < 0.02
    assert luck.truth[:, 0].mean() > np.log(2)


def test_the_corrected_estimate_claims_nothing_from_chance(luck):
    gain = luck.corrected - luck.truth
    error = gain.std(0) / np.sqrt(len(gain))
    assert luck.corrected[:, 1].mean() < 0.5 + 2 * 0.5 / np.sqrt(40 * 50) + 0.01
    assert gain[:, 1].mean() < 2.5 * error[1]  # accuracy: not above the truth
    assert gain[:, 0].mean() > -2.5 * error[0]  # log loss: not below it
    naive = luck.naive[:, 1] - luck.truth[:, 1]
    assert abs(gain[:, 1].mean()) < naive.mean() / 3


def test_where_there_is_something_to_learn_the_estimate_says_so():
    luck = Luck(skill=1.5, sets=20)
    gain = luck.corrected - luck.truth
    assert luck.corrected[:, 1].mean() > 0.7
    assert abs(gain[:, 1].mean()) < 0.06 and abs(gain[:, 0].mean()) < 0.12
