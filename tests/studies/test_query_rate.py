"""Teachers' answers: rates counted on rows that both labelled, their doubt, and what to do without one; small rates."""

import numpy as np
import pytest

from smidgen.kit.errors import BadInput
from smidgen.studies.advice import things
from smidgen.studies.prices import offers_of
from smidgen.studies.purchases import all_draws, mixed_draws
from smidgen.studies.query_rate import count_wrong, doubtful, rate_interval, rate_of, rates_of, unrated
from smidgen.studies.trial import labels_of
from smidgen.tasks.read import read


@pytest.fixture(scope="module")
def task():
    rng = np.random.default_rng(0)
    return read((rng.normal(size=(6000, 2)), rng.integers(0, 2, 6000)))


def test_answers_are_counted_on_rows_that_both_labelled():
    assert count_wrong(["a", "b", "a", "b"], ["a", "a", None, "b"]) == (1, 3)
    assert count_wrong(np.array([1.0, 0.0]), np.array([np.nan, 1.0])) == (1, 1)
    with pytest.raises(BadInput, match="at least 1"):
        count_wrong(["a"], [None])
    with pytest.raises(BadInput, match="one for each label"):
        count_wrong(["a"], [])
    low, high = rate_interval(5, 50)
    assert low < 0.1 < rate_of(5, 50) < high and rate_interval(50, 500)[1] < high


def test_a_counted_rate_is_an_offer_and_its_doubt_goes_into_the_worth():
    counted, stated = offers_of({"query@5/50": 0.002, "query@0.1": 0.002})
    assert (counted.name, counted.counted, counted.error) == ("query@5/50", (5, 50), pytest.approx(5.5 / 51))
    assert things(counted.name, 20) == "20 teacher's answers of which 5 of 50 counted were wrong"
    worth = np.full(4000, 0.6)
    assert (doubtful(worth, stated, 2, rates_of(stated, 4000, 0)) == worth).all()
    assert set(rates_of(stated, 9, 0).tolist()) == {0.1}
    offers = [offers_of({f"query@{r}": 1.0})[0] for r in ("5/50", "50/500")]
    rates = [rates_of(offer, 4000, 0) for offer in offers]
    assert np.quantile(rates[0], [0.05, 0.95]) == pytest.approx(rate_interval(5, 50), abs=0.01)
    few, many = (doubtful(worth, offer, 2, rate_K) for offer, rate_K in zip(offers, rates, strict=True))
    assert (np.diff(few[np.argsort(rates[0])]) <= 0).all()  # worth and cost are told of one rate
    assert np.mean(few) == pytest.approx(0.6, abs=0.03) and np.std(few) > 2.5 * np.std(many) > 0
    for wrong, said in (("5/", "WRONG/ROWS"), ("7/5", "WRONG/ROWS"), ("a/b", "WRONG/ROWS")):
        with pytest.raises(BadInput, match=said):
            offers_of({f"query@{wrong}": 1.0})


def test_without_a_rate_it_is_said_what_to_count_and_up_to_which_rate_it_pays():
    query, label, dear = offers_of({"query": 0.1, "label": 0.4, "query@0.1": 0.5})
    said = unrated(query, [query, label], 2)
    assert "query@5/50=0.1" in said and "fewer than 25 % are wrong" in said  # (1 - 2 e)^2 = 0.1 / 0.4
    assert "cannot pay" in unrated(dear, [dear, label], 2)
    assert "pays" not in unrated(query, [query], 2) and "no meaning" in unrated(query, [query, label], 0)


def test_small_rates_are_not_rounded_away(task):
    offer, other = offers_of(["label@0.004=1", "label@0.001=1"])
    assert offer.name == "label@0.004" and things(offer.name) == "labels of which 0.4 % are wrong"
    assert offers_of({"label@0.4%": 1})[0].name == "label@0.004"
    (draw, right, more), (again, *_) = mixed_draws(task, offer, 5, 1)[0], mixed_draws(task, other, 5, 1)[0]
    assert draw.endswith(":e=0.4") and again.endswith(":e=0.1")
    wrong = [
        (labels_of(task, f"part:k=5:r={r}:n={right}:m={more}:e=0.4", np.arange(right + more), 0)
         != task.target[: right + more]).sum()
        for r in range(20)
    ]  # fmt: skip
    assert sum(wrong) / (20 * more) == pytest.approx(0.004, abs=0.001)


def test_offers_of_one_rate_are_measured_once(task):
    label, query = offers_of({"label@0.2": 0.1, "query@0.2": 0.01})
    draws = all_draws(task, [label, query], 5)
    assert len(draws) == len(set(draws)) and draws == all_draws(task, [label], 5)
