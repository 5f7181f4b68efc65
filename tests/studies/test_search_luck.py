"""What more candidates of a search bring: as much as the rest of made searches brought, and no more."""

import numpy as np
import pytest

from smidgen.studies.search_luck import Search

TRIED, LEFT, SPREAD = 6, 6, 0.15


def made(seed: int, noise: float = 0.08, spread: float = SPREAD) -> tuple[Search, float]:
    """A search, and by how much its other half changed the true log loss of what looks best."""
    rng = np.random.default_rng(seed)
    true = rng.normal(-0.7, spread, TRIED + LEFT)
    seen = true + rng.normal(0, noise, TRIED + LEFT)
    search = Search(seen[:TRIED], np.full(TRIED, noise), np.zeros(TRIED), np.zeros(LEFT), np.full(LEFT, 0.01))
    return search, float(true[seen.argmin()] - true[seen[:TRIED].argmin()])


def test_the_change_is_right_on_average_and_holds_as_often_as_it_says():
    told, came, held = [], [], 0
    for seed in range(200):
        search, change = made(seed)
        change_K = search.change(LEFT, 400, seed)
        low, high = np.quantile(change_K, [0.05, 0.95])
        held += low - 1e-9 <= change <= high + 1e-9
        told.append(change_K.mean())
        came.append(change)
    assert np.mean(told) == pytest.approx(np.mean(came), abs=0.015)  # of about -0.05
    assert 0.82 <= held / 200 <= 0.96


def test_more_candidates_bring_more_and_equal_ones_nothing():
    search, _ = made(0)
    means = [search.change(count, 2000).mean() for count in (1, 3, 6)]
    assert means[2] < means[1] < means[0] < 0
    same, _ = made(1, noise=0.01, spread=0.0)
    assert abs(same.change(LEFT, 2000).mean()) < 0.012


def test_candidates_that_rank_badly_elsewhere_bring_less_where_ranks_hold():
    losses = np.array([-0.9, -0.8, -0.7, -0.6, -0.5])
    ranks = np.array([0.0, 0.1, 0.2, 0.3, 0.4])
    like, worse = (
        Search(losses, np.full(5, 0.02), ranks, np.full(4, at), np.full(4, 0.01)).change(4, 2000).mean()
        for at in (-0.2, 0.6)
    )
    assert like < -0.1 and worse > 0.1 * like
    turned = Search(losses, np.full(5, 0.02), -ranks, np.full(4, 0.6), np.full(4, 0.01)).change(4, 2000).mean()
    assert turned == pytest.approx(
        Search(losses, np.full(5, 0.02), 0 * ranks, np.zeros(4), np.full(4, 0.01)).change(4, 2000).mean(), abs=1e-9
    )  # ranks that are wrong here say nothing
