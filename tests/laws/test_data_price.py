"""The price of clean rows: found again from made tables, honest about luck and ends; the law and what it solves for."""

import numpy as np
import pandas as pd
import pytest

from smidgen.kit.errors import BadInput
from smidgen.laws.data_price import MixtureForm, MixtureScalingLaw, data_price, mixture_prices

CLEAN = [(n, 0) for n in (100, 200, 400, 800, 1600)]
MIXED = [(100, 600), (200, 900), (400, 1500)]


def table(price=1.7, noise=0.0, seeds=1, mixed=MIXED, shared=0.0, rng=None):
    """Scores 50 e^-0.6 with e clean rows of full worth; `shared`: luck that all mixtures of a seed have in common."""
    rng = rng or np.random.default_rng(0)
    rows = []
    for seed in range(seeds):
        common = shared * rng.normal()
        for n, noisy in CLEAN + mixed:
            score = 50 * (n + noisy / price) ** -0.6 * np.exp(common + noise * rng.normal())
            rows.append({"n_clean": n, "n_noisy": noisy, "score": score, "seed": seed})
    return pd.DataFrame(rows)


def test_the_price_of_a_made_table_is_found_again():
    low, high = data_price(table())
    assert low == pytest.approx(1.7) and high == pytest.approx(1.7)  # a power law is straight in logarithms
    for found, (n, noisy) in zip(mixture_prices(table()), MIXED, strict=True):
        assert (found.n_clean, found.n_noisy) == (n, noisy)
        assert found.equal_clean == pytest.approx([n + noisy / 1.7] * 2)
        assert found.price == found.interval == pytest.approx((1.7, 1.7))
    columns = {name: column.tolist() for name, column in table().drop(columns="seed").items()}
    assert data_price(columns) == pytest.approx((1.7, 1.7))


def test_intervals_hold_as_often_as_they_say():
    """One mixture, 3 seeds, a hundred tables: 90 % should hold, 81 or fewer would be one in 200."""
    rng = np.random.default_rng(1)
    inside = 0
    for _ in range(100):
        low, high = data_price(table(noise=0.02, seeds=3, mixed=MIXED[:1], rng=rng), draws=150)
        inside += low <= 1.7 <= high
    assert inside > 81


def test_luck_that_a_seed_shares_costs_nothing():
    rng = np.random.default_rng(2)
    lucky = table(shared=0.3, noise=0.001, seeds=4, rng=rng)
    low, high = data_price(lucky)
    assert 1.6 < low < 1.7 < high < 1.8
    loose = lucky.drop(columns="seed")  # then nobody knows which belong together
    low, high = data_price(loose)
    assert high - low > 1


def test_beyond_the_table_only_bounds_are_known():
    better = table()
    better.loc[better.n_noisy == 1500, "score"] = 0.01  # better than 1600 clean rows
    worthless = table()
    worthless.loc[worthless.n_noisy == 600, "score"] = 50 * 100**-0.6  # as 100 clean rows alone
    assert mixture_prices(better)[2].equal_clean == (1600, np.inf)
    assert mixture_prices(better)[2].price == (0.0, 1500 / 1200)
    assert mixture_prices(worthless)[0].price == (np.inf, np.inf) and data_price(worthless)[1] == np.inf
    alone = table(mixed=[(0, 120)], price=2)  # as 60 clean rows, fewer than the table has
    assert mixture_prices(alone)[0].price == (120 / 100, np.inf)


def test_a_curve_that_rises_by_luck_is_levelled():
    bumpy = table()
    bumpy.loc[bumpy.n_clean.eq(400) & bumpy.n_noisy.eq(0), "score"] *= 1.6
    levelled = np.exp(np.log(bumpy.score[bumpy.n_noisy == 0].to_numpy()[1:3]).mean())
    bumpy.loc[bumpy.n_noisy == 600, "score"] = levelled
    assert mixture_prices(bumpy)[0].equal_clean == pytest.approx((200, 400))


TRUE = np.array([[np.log(3.0), 0.6, np.log(2.5), np.log(1.0), np.log(0.4)]])
FORM = MixtureForm(1000.0)


def scores(n, noisy):
    return np.exp(FORM.log_value(TRUE, np.stack(np.broadcast_arrays(n, noisy), -1).reshape(-1, 2).astype(float))[0][0])


def of_law(noise=0.01):
    n, noisy = (v.ravel() for v in np.meshgrid([100, 300, 1000, 3000], [0, 500, 2000, 8000]))
    score = scores(n, noisy) * np.exp(noise * np.random.default_rng(3).normal(size=len(n)))
    return {"n_clean": n, "n_noisy": noisy, "score": score}


def test_slopes_of_the_form():
    x = np.array([[100.0, 0.0], [0.0, 700.0], [300.0, 4000.0]])
    _, slope = FORM.log_value(TRUE, x)
    for i in range(5):
        off = np.eye(5)[i] * 1e-6
        numeric = (FORM.log_value(TRUE + off, x)[0] - FORM.log_value(TRUE - off, x)[0]) / 2e-6
        assert slope[..., i] == pytest.approx(numeric, rel=1e-5, abs=1e-9)


def test_the_law_is_found_again_and_forecasts_mixtures():
    law = MixtureScalingLaw.fit(of_law(), draws=200)
    assert law.price == pytest.approx(2.5, rel=0.2)
    n, noisy = np.array([200, 2000]), np.array([20_000, 1000])
    assert law.predict(n, noisy) == pytest.approx(scores(n, noisy), rel=0.03)
    low, high = law.interval(n, noisy)
    assert (low < scores(n, noisy)).all() and (scores(n, noisy) < high).all()


def test_what_the_law_solves_for():
    law = MixtureScalingLaw.fit(of_law(0.001), draws=100)
    noisy, low, high = law.solve(300, equal_to=500)  # pyright: ignore
    assert low < noisy < high
    assert law.predict(300, noisy) == pytest.approx(law.predict(500, 0))
    rate, low, high = law.exchange_rate(300, 2000)
    change = [law.predict(300 + a, 2000 + b) - law.predict(300 - a, 2000 - b) for a, b in ((1, 0), (0, 1))]
    assert rate == pytest.approx(float(change[0][0] / change[1][0]), rel=1e-3) and low < rate < high
    assert law.exchange_rate(100, 2000)[0] > rate > law.price  # clean rows are dearest where there are few
    assert law.solve(100, equal_to=3000) is None  # what only clean rows teach is not for sale


def test_what_cannot_be_priced():
    good = table()
    for wrong, said in (
        (good.drop(columns="score"), "no score"),
        (good[good.n_noisy == 0], "at least one with noisy"),
        (good[good.n_clean.eq(100)], "at least 2 different"),
        (good.assign(score=-good.score), "score of row 0"),
        (good.assign(n_clean=-1), "counts of row 0"),
        (pd.concat([good, good]), "twice"),
    ):
        with pytest.raises(BadInput, match=said):
            data_price(wrong)
    with pytest.raises(BadInput, match="at least 2 different"):
        MixtureScalingLaw.fit(good[(good.n_noisy == 0) | (good.n_noisy == 600)])
    law = MixtureScalingLaw.fit(of_law(), draws=20)
    with pytest.raises(BadInput, match="above n_clean"):
        law.solve(300, equal_to=300)
    with pytest.raises(BadInput, match="0 or more"):
        law.predict(0, 0)
