"""Scores of mixtures: recovered laws, gradients, the simplex; and choosing shares where the best ones are known."""

import numpy as np
import pytest

from smidgen.data.mixtures import (
    FORMS,
    MixturePerformance,
    affordable,
    columns,
    mixture_grid,
    nearest_mixture,
    project,
)
from smidgen.data.projektor import Projektor
from smidgen.kit.errors import BadInput

BEST = np.array([0.5, 0.3, 0.2])
PLACES = np.array([[0.0, 0.0], [1.5, 0.0], [0.0, 1.5]])


@pytest.fixture
def rng():
    return np.random.default_rng(1000)


def _distances(P):
    return 0.3 + ((P - BEST) ** 2).sum(1) + 0.1 * np.sin(9 * P[:, 0])


@pytest.mark.parametrize("terms", list(FORMS))
def test_a_law_of_its_own_form_is_recovered_beyond_the_pilots(rng, terms):
    P = mixture_grid(3)
    ot = _distances(P)
    score = columns(P, ot, terms) @ rng.normal(size=columns(P, ot, terms).shape[1]) + 0.7
    seen = P[:, 1] <= 0.4
    model = MixturePerformance(terms, ridge=0.0).fit(P[seen], ot[seen], score[seen])
    assert np.allclose(model.predict(P[~seen], ot[~seen]), score[~seen])
    assert MixturePerformance(terms).fit(P, ot, score).ridge_ == 0


def test_the_published_form_has_these_terms():
    told = columns(np.array([[0.2, 0.3, 0.5]]), np.array([2.0]), "pq")[0]
    assert sorted(told) == pytest.approx(sorted([0.2, 0.3, 0.04, 0.09, 2.0, 0.4, 0.6, 0.08, 0.18]))


def test_leaving_one_out_is_what_refitting_says(rng):
    P, score = rng.dirichlet(np.ones(3), 20), rng.normal(size=20)
    ot = rng.random(20)
    keep = ~np.eye(20, dtype=bool)
    off = [
        MixturePerformance("linear", 0.0).fit(P[k], ot[k], score[k]).predict(P[~k], ot[~k])[0] - s
        for k, s in zip(keep, score, strict=True)
    ]
    least_squares = MixturePerformance("linear", 0.0).fit(P, ot, score)
    assert least_squares.loo_error_ == pytest.approx(np.sqrt(np.mean(np.square(off))))
    chosen = MixturePerformance("linear").fit(P, ot, score)  # noise: all terms are better shrunk
    assert chosen.ridge_ > 0 and chosen.loo_error_ < least_squares.loo_error_
    assert np.abs(chosen.coef_).sum() < np.abs(least_squares.coef_).sum()


@pytest.mark.parametrize("terms", list(FORMS))
def test_gradient_is_that_of_the_forecast(rng, terms):
    P, h = mixture_grid(4, 6), rng.normal(size=4)
    model = MixturePerformance(terms, 0.0).fit(P, rng.random(len(P)), rng.random(len(P)))
    p, way = rng.dirichlet(np.ones(4)), np.array([1.0, -0.5, 0.3, -0.8]) * 1e-4
    slope = (model.predict(p + way, (p + way) @ h)[0] - model.predict(p - way, (p - way) @ h)[0]) / 2
    assert model.gradient(p, p @ h, h) @ way == pytest.approx(slope, rel=1e-5)
    assert model.gradient(p, p @ h, h + 3) @ way == pytest.approx(slope, rel=1e-5)  # potentials are up to a constant


def test_projection_is_straight_in_log_size():
    sizes, law = (100, 300), lambda n: 0.2 + 0.1 * np.log(n)
    for n in (100, 300, 2000, 50):
        assert project(law(100), law(300), sizes, n) == pytest.approx(law(n))
    with pytest.raises(BadInput, match="N0 < N1"):
        project(0.0, 1.0, (300, 300), 1000)


def test_nearest_mixture_is_on_the_simplex_and_nearest(rng):
    others = rng.dirichlet(np.ones(4), 2000)
    for v in rng.normal(size=(20, 4)):
        p = nearest_mixture(v)
        assert p.min() >= 0 and p.sum() == pytest.approx(1)
        assert ((v - p) @ (others - p).T).max() < 1e-9  # no mixture lies on the far side
    assert np.allclose(nearest_mixture([0.2, 0.3, 0.5]), [0.2, 0.3, 0.5])


def test_grid_and_affordable_forms():
    grid = mixture_grid(3)
    assert len(grid) == len(np.unique(grid.round(9), axis=0)) == 66 and np.allclose(grid.sum(1), 1)
    assert [affordable(n, 3) for n in (66, 49, 29)] == ["pq", "linear", "ot"]


def _market(rng, rows=120, regression=False):
    """Sources apart from each other, two classes each; the validation set is the mixture BEST of them."""

    def draw(i, n):
        y = rng.integers(2, size=n)
        X = PLACES[i] + 0.3 * rng.normal(size=(n, 2)) + 0.3 * y[:, None]
        return X, (X.sum(1) if regression else y + 2 * i)

    val = [draw(i, int(60 * share)) for i, share in enumerate(BEST)]
    return [draw(i, rows) for i in range(3)], tuple(np.concatenate(part) for part in zip(*val, strict=True))


def _score(sign=1.0, noise=0.0):
    """A learner whose score depends on the shares alone, which it reads off its rows, and on log size."""

    def train(X, y, seed):
        assert len(np.unique(X, axis=0)) == len(X)  # drawn without replacement
        share = np.bincount(((X[:, None] - PLACES - 0.15) ** 2).sum(-1).argmin(1), minlength=3) / len(X)
        off = noise * np.random.default_rng(seed).normal()
        return sign * (0.4 + 0.05 * np.log(len(X)) - 0.5 * ((share - BEST) ** 2).sum()) + off

    return train


@pytest.mark.parametrize("terms", ["ot", "shares quadratic"])
def test_steps_end_at_the_best_shares(rng, terms):
    market = Projektor(terms=terms, repeats=1, reg=0.05, most=8).fit(
        *_market(rng), (60, 120), _score(), mixture_grid(3, 5)
    )
    choice = market.select(600, p0=[0.4, 0.0, 0.6], steps=40)
    assert np.abs(choice.p - BEST).max() < 0.06
    assert np.allclose(choice.trace.sum(1), 1) and choice.trace.min() >= 0 and len(choice.forecasts) == 41
    assert choice.forecasts[-1] > choice.forecasts[0] + 0.05
    if terms != "ot":
        assert market.predict(BEST, 600)[0] == pytest.approx(0.4 + 0.05 * np.log(600), abs=0.01)
        assert market.predict(np.eye(3)[2], 1200)[0] == pytest.approx(0.4 + 0.05 * np.log(1200) - 0.49, abs=0.02)
        other = market.with_terms("shares linear")
        assert other.cost == market.cost and np.abs(other.predict(BEST, 600) - market.predict(BEST, 600)) > 0.02


def test_a_loss_is_lowered_and_regression_needs_no_classes(rng):
    market = Projektor(terms="ot", repeats=1, reg=0.05, lam_y=0.0, higher_is_better=False, bounds=(-1.0, 1.0))
    market.fit(*_market(rng, regression=True), (60, 120), _score(-1.0), mixture_grid(3, 5))
    assert np.abs(market.select(600, steps=40).p - BEST).max() < 0.06


def test_bands_come_from_repeats_and_costs_are_counted(rng):
    sources, val = _market(rng)
    widths = []
    for noise in (0.0, 0.1):
        market = Projektor(terms="linear", repeats=3, reg=0.1, most=8).fit(
            sources, val, (30, 60), _score(noise=noise), mixture_grid(3, 4)
        )
        low, high = market.interval([BEST, [0.2, 0.2, 0.6]], 300, draws=50)
        told = market.predict([BEST, [0.2, 0.2, 0.6]], 300)
        assert (low <= told + 0.02).all() and (told <= high + 0.02).all()
        widths.append((high - low).mean())
    assert widths[1] > 2 * widths[0]
    assert market.cost.trainings == 15 * 2 * 3 and market.cost.rows == 15 * 3 * 90
    assert market.cost.transports == 90 + 2 * 2 * 3  # those of the two new mixtures, once


def test_scores_stay_in_bounds_and_far_sizes_are_warned_about(rng):
    market = Projektor(terms="ot", repeats=1, reg=0.1, most=8).fit(
        *_market(rng), (30, 60), _score(), mixture_grid(3, 3)
    )
    with pytest.warns(UserWarning, match="10 times"):
        assert market.predict(BEST, 1e9)[0] == 1.0
    with pytest.warns(UserWarning, match="fewer than the pilots' 60"):
        market.predict(BEST, 40)


def test_what_cannot_be_a_market(rng):
    sources, val = _market(rng, rows=50)
    fit = Projektor(repeats=1).fit
    with pytest.raises(BadInput, match="N0 < N1"):
        fit(sources, val, (60, 60), _score())
    with pytest.raises(BadInput, match="source 2: expected at least 60 rows"):
        fit(sources, val, (30, 60), _score())
    with pytest.raises(BadInput, match="sum to 1"):
        fit(sources, val, (30, 50), _score(), [[0.5, 0.4, 0.2]])
    with pytest.raises(BadInput, match="Call fit"):
        Projektor().predict(BEST, 100)
    with pytest.raises(BadInput, match="terms"):
        MixturePerformance("cubic").fit(mixture_grid(3), np.ones(66), np.ones(66))
    with pytest.raises(BadInput, match="pilots"):
        MixturePerformance().fit(mixture_grid(3)[:2], np.ones(2), np.ones(2))
