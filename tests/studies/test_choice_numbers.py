"""Choices and estimates against the same computed another way: optimizers, plain loops, scikit-learn's scores."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import beta, t

from smidgen.kit.seeds import derive_seed
from smidgen.learn.blend import tempered
from smidgen.studies import choose as choosing
from smidgen.studies import estimate as estimating
from smidgen.studies.choose import LOG_T, ChoiceConfig, OutOfFold, choose, left_out, own_losses
from smidgen.studies.estimate import IntervalConfig, Judged, estimate, judge, simple
from smidgen.tasks.metrics import METRICS

FREE = ChoiceConfig(min_weight=0.0)


def board_of(k=3, r=2, n=24, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    if not classes:
        truth = rng.normal(size=n)
        return OutOfFold(
            truth + rng.normal(size=(k, r, n)) * (1 + np.arange(k))[:, None, None] / 2, truth,
            np.arange(1.0, k + 1) / np.arange(1.0, k + 1).sum(), np.arange(n) // 2,
        )  # fmt: skip
    truth = rng.integers(0, classes, n)
    z = rng.normal(size=(k, r, n, classes)) * 2 + np.arange(k)[:, None, None, None] * np.eye(classes)[truth]
    p = np.exp(z) / np.exp(z).sum(-1, keepdims=True)
    prior = np.arange(1.0, k + 1) / np.arange(1.0, k + 1).sum()
    return OutOfFold(p, truth, prior, np.arange(n) // 2)


def log_losses(board, k, log_t):
    """`[R, N]`"""
    p = tempered(board.predictions[k], log_t)
    return -np.log(np.maximum(np.take_along_axis(p, board.truth[None, :, None], -1)[..., 0], 1e-300))


def on_simplex(cost, k):
    """The best weights by an optimizer that knows nothing of the rules here."""

    def of(z):
        w = np.exp(z - z.max())
        return cost(w / w.sum())

    found = minimize(of, np.zeros(k), method="BFGS", options={"gtol": 1e-9})
    w = np.exp(found.x - found.x.max())
    return w / w.sum()


@pytest.mark.parametrize("counted", [False, True])
def test_a_choice_of_classes_is_the_mode_of_its_posterior(counted):
    board = board_of()
    m = np.random.default_rng(1).integers(0, 3, board.size).astype(float) if counted else np.ones(board.size)
    choice = choose(board, FREE, m if counted else None)
    chosen = []
    for k in range(3):
        costs = [(log_losses(board, k, log_t) @ m).mean() + 0.5 * (log_t / 0.35) ** 2 for log_t in LOG_T]
        chosen.append(LOG_T[int(np.argmin(costs))])
    assert choice.log_t == pytest.approx(chosen)
    losses = np.stack([log_losses(board, k, log_t) for k, log_t in enumerate(chosen)])
    assert own_losses(board, choice) == pytest.approx(losses.mean(1), rel=1e-6)
    prior = board.prior * np.exp(-0.2 * (losses.mean(1) @ m))
    prior /= prior.sum()

    def cost(w):
        return -(np.log(np.einsum("k,krn->rn", w, np.exp(-losses))) @ m).mean() - 8.0 * (prior @ np.log(w))

    assert choice.weights == pytest.approx(on_simplex(cost, 3), abs=2e-3)


@pytest.mark.parametrize("counted", [False, True])
def test_a_choice_of_values_is_the_mode_of_its_posterior(counted):
    board = board_of(classes=0)
    m = np.random.default_rng(1).integers(0, 3, board.size).astype(float) if counted else np.ones(board.size)
    choice = choose(board, FREE, m if counted else None)
    errors = board.predictions - board.truth
    mse = ((errors**2).mean(1) @ m) / m.sum()
    prior = board.prior * np.exp(-0.2 * 0.5 * m.sum() * (np.log(mse) - np.log(mse).min()))
    prior /= prior.sum()

    def cost(w):
        blend = ((np.einsum("k,krn->rn", w, errors) ** 2) @ m).mean()
        return 0.5 * blend / mse.min() - 8.0 * (prior @ np.log(w))

    assert choice.weights == pytest.approx(on_simplex(cost, 3), abs=5e-3) and (choice.log_t == 0).all()
    assert own_losses(board, choice) == pytest.approx((errors**2).mean(1))


def test_light_members_leave_and_no_more_than_so_many_stay():
    w = np.array([0.5, 0.2, 0.2, 0.07, 0.03, 0.0])
    assert choosing._trim(w, ChoiceConfig(min_weight=0.07)) == pytest.approx(np.array([50, 20, 20, 7, 0, 0]) / 97)
    assert choosing._trim(w, ChoiceConfig(min_weight=0.0, max_members=2)) == pytest.approx([5 / 7, 2 / 7, 0, 0, 0, 0])
    assert choosing._trim(np.array([0.4, 0.3, 0.3]), ChoiceConfig(min_weight=0.9)).tolist() == [1, 0, 0]
    sharp = choosing._sharpened(np.array([0.5, 0.5]), np.array([3.0, 3.0 + np.log(4)]))
    assert sharp == pytest.approx([0.8, 0.2])
    assert choosing._sharpened(np.array([0.0, 1.0]), np.array([0.0, 5000.0])).tolist() == [0, 1]  # far behind, and all


def test_left_out_rows_are_predicted_by_the_choice_of_the_others():
    board, config = board_of(), ChoiceConfig(draws=5)
    rng = np.random.default_rng(derive_seed(3, "bootstrap"))
    found = list(left_out(board, config, 3))
    assert len(found) == 5
    for out, p in found:
        counts = np.bincount(rng.integers(0, 12, 12), minlength=12)[board.units].astype(float)
        assert out.tolist() == np.flatnonzero(counts == 0).tolist()
        choice = choose(board, config, counts)
        blend = sum(
            w * tempered(q, log_t) for w, q, log_t in zip(choice.weights, board.predictions, choice.log_t, strict=True)
        )
        assert p == pytest.approx(blend[:, out])
    one = OutOfFold(np.full((1, 1, 2, 2), 0.5), np.zeros(2, int), np.ones(1), np.zeros(2, int))
    assert list(left_out(one, config, 0)) == []  # one unit is in every draw


def test_large_boards_are_drawn_from_less_often(monkeypatch):
    board = board_of(k=2, r=1, n=40, classes=0)
    monkeypatch.setattr(choosing, "choose", lambda *given: choosing.Choice(np.zeros(2), np.zeros(2)))
    for repeats, draws in ((24_999, 100), (25_000, 100), (50_000, 50), (100_000, 25), (250_000, 20)):  # of 80 cells
        board.predictions = np.broadcast_to(np.zeros(1), (2, repeats, 40))
        assert sum(1 for _ in left_out(board, ChoiceConfig(), 0)) == draws


def test_judged_rows_and_their_weights():
    board, config = board_of(), ChoiceConfig(draws=6)
    found = list(left_out(board, config, 1))
    judged = judge(board, config, 1)
    rows = np.concatenate([np.tile(out, 2) for out, _ in found])
    assert judged.rows.tolist() == rows.tolist()
    assert judged.predicted == pytest.approx(np.concatenate([p.reshape(-1, 3) for _, p in found]))
    assert judged.weights == pytest.approx(1 / np.bincount(rows)[rows])


def test_judging_ends_when_it_holds_enough(monkeypatch):
    board = board_of()
    first = next(iter(left_out(board, ChoiceConfig(), 0)))[1].size
    for most, draws in ((first - 1, 1), (first, 2)):
        monkeypatch.setattr(estimating, "MAX_CELLS", most)
        got = judge(board, ChoiceConfig(), 0)
        want = list(left_out(board, ChoiceConfig(draws=draws), 0))
        assert len(got.rows) == sum(p.shape[0] * p.shape[1] for _, p in want)


# -- intervals --


def classes_of(n=30, seed=0):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 2, n)
    up = 1 / (1 + np.exp(-(1.2 * (2 * truth - 1) + rng.normal(size=n))))
    return Judged(np.arange(n), np.c_[1 - up, up], np.ones(n)), truth


def modest(judged, truth, rows=2.0):
    """With two rows' worth of the baseline, as copies of rows."""
    n = len(truth)
    shares = np.bincount(truth, minlength=2) / n if truth.dtype.kind == "i" else truth.mean()
    own = np.tile(shares, (n, 1)) if truth.dtype.kind == "i" else np.full(n, shares)
    return (
        np.r_[truth[judged.rows], truth],
        np.concatenate([judged.predicted, own]),
        np.r_[judged.weights, np.full(n, rows / n)],
    )


def resampled(judged, truth, units, metric, config, seed, to):
    rng = np.random.default_rng(derive_seed(seed, "interval", metric.name))
    names, unit_of = np.unique(units, return_inverse=True)
    own, p, w = modest(judged, truth, config.baseline_rows)
    rows, scores = np.r_[judged.rows, np.arange(len(truth))], []
    for _ in range(config.resamples):
        m = np.bincount(rng.integers(0, len(names), len(names)), minlength=len(names))[unit_of][rows]
        copies = np.flatnonzero(m)
        scores.append(to(metric.score(own[copies], p[copies], (w * m)[copies])))
    return np.std(scores), len(names)


@pytest.mark.parametrize("grouped", [False, True])
def test_the_interval_of_a_loss_is_students_on_its_logarithm(grouped):
    judged, truth = classes_of()
    units = np.arange(30) // (2 if grouped else 1)
    metric, config = METRICS["log_loss"], IntervalConfig(resamples=40, level=0.8)
    made = estimate(judged, truth, units, metric, config, 5)
    own, p, w = modest(judged, truth)
    value = metric.score(own, p, w)
    sd, n = resampled(judged, truth, units, metric, config, 5, np.log)
    half = 1.6 * t.ppf(0.9, n - 1) * max(sd, 0.25 / n)
    assert made.value == pytest.approx(value)
    assert made.interval == pytest.approx([value * np.exp(-half), value * np.exp(half)])
    wide = estimate(judged, truth, units, metric, replace(config, widen=3.2), 5)
    assert np.log(wide.high / value) == pytest.approx(2 * half)
    none = estimate(judged, truth, units, metric, replace(config, resamples=0), 5)
    assert np.log(none.high / value) == pytest.approx(1.6 * t.ppf(0.9, n - 1) * 0.25 / n)


def test_the_interval_of_accuracy_is_that_of_so_many_rows():
    judged, truth = classes_of()
    made = estimate(judged, truth, np.arange(30) // 3, METRICS["accuracy"], IntervalConfig(), 0)
    own, p, w = modest(judged, truth)
    value, size = METRICS["accuracy"].score(own, p, w), 10 / 1.2**2
    ends = beta.ppf([0.05, 0.95], value * size + 0.5, (1 - value) * size + 0.5)
    assert made.value == pytest.approx(value) and made.interval == pytest.approx(ends)


def test_the_interval_of_a_score_between_0_and_1_is_on_its_logit_and_never_short():
    judged, truth = classes_of()
    metric, config = METRICS["auc"], IntervalConfig(resamples=40)
    made = estimate(judged, truth, np.arange(30), metric, config, 5)
    own, p, w = modest(judged, truth)
    value = metric.score(own, p, w)

    def to(s):
        return np.log((s + 0.005) / (1.005 - s))

    sd, n = resampled(judged, truth, np.arange(30), metric, config, 5, to)
    half = 1.6 * t.ppf(0.95, n - 1) * max(sd, 0.25 / n)
    low, high = (np.clip(1.01 / (1 + np.exp(-(to(value) + s * half))) - 0.005, 0, 1) for s in (-1, 1))
    few = beta.ppf([0.05, 0.95], value * n / 1.6**2 + 0.5, (1 - value) * n / 1.6**2 + 0.5)
    assert made.value == pytest.approx(value)
    assert made.interval == pytest.approx([min(low, few[0]), max(high, few[1])])


@pytest.mark.parametrize(("name", "to", "back"), [
    ("rmse", np.log, np.exp), ("r2", lambda s: np.log(1 - s), lambda v: 1 - np.exp(v)),
])  # fmt: skip
def test_the_interval_of_values(name, to, back):
    rng = np.random.default_rng(0)
    truth = rng.normal(size=25)
    judged = Judged(np.arange(25), truth + rng.normal(size=25) / 2, np.ones(25))
    metric, config = METRICS[name], IntervalConfig(resamples=40)
    made = estimate(judged, truth, np.arange(25), metric, config, 2)
    own, p, w = modest(judged, truth)
    value = metric.score(own, p, w)
    sd, n = resampled(judged, truth, np.arange(25), metric, config, 2, to)
    half = 1.6 * t.ppf(0.95, n - 1) * max(sd, 0.25 / n)
    assert made.value == pytest.approx(value)
    assert made.interval == pytest.approx(sorted([back(to(value) - half), back(to(value) + half)]))


def test_a_candidate_alone_is_scored_at_its_temperature_on_all_repeats():
    board = board_of(classes=2)
    own = simple(board, 1, METRICS["log_loss"], board.units, IntervalConfig(baseline_rows=0.0), 0.7, 0)
    assert own.value == pytest.approx(log_losses(board, 1, 0.7).mean())
    judged = Judged(np.tile(np.arange(24), 2), tempered(board.predictions[1], 0.7).reshape(-1, 2), np.full(48, 0.5))
    again = estimate(judged, board.truth, board.units, METRICS["log_loss"], IntervalConfig(baseline_rows=0.0), 0)
    assert own.interval == pytest.approx(again.interval)
