"""Rates of wrong answers: counts, beta intervals, worths and whole sentences."""

import numpy as np
import pytest
from scipy.stats import beta

from smidgen.kit.errors import BadInput
from smidgen.kit.seeds import derive_seed
from smidgen.studies.prices import Offer, offers_of
from smidgen.studies.query_rate import count_wrong, doubtful, rate_interval, rate_of, rates_of, unrated


def test_counts_and_their_errors():
    assert count_wrong(["a", "b", None, "b"], ["b", "b", "c", "a"]) == (3, 4)
    assert count_wrong([1, 0], [1, 0]) == (0, 2) and type(count_wrong([1], [0])[0]) is int
    for labels, answers, said in (
        ([1, 2], [1], "answers: expected 2, one for each label, got 1."),
        ([1, 2, 3], [1, 2, 3, 4], "answers: expected 3, one for each label, got 4."),
        (
            [1, 2],
            [None, float("nan")],
            "rows that both labelled: expected at least 1, got 0. Let the teacher answer about 50 labelled rows.",
        ),
    ):
        with pytest.raises(BadInput) as caught:
            count_wrong(labels, answers)
        assert str(caught.value) == said


@pytest.mark.parametrize(("wrong", "rows"), [(0, 0), (0, 9), (5, 50), (7, 7)])
def test_a_count_is_a_beta_rate(wrong, rows):
    own = beta(wrong + 0.5, rows - wrong + 0.5)
    assert rate_of(wrong, rows) == pytest.approx(own.mean())
    assert rate_interval(wrong, rows) == pytest.approx(own.interval(0.9))
    assert rate_interval(wrong, rows, 0.5) == pytest.approx(own.interval(0.5))


def test_rates_and_the_worth_of_labels_at_them():
    counted, other, stated, plain = offers_of({"query@4/10": 1, "label@4/10": 1, "query@0.3": 1, "unlabelled": 1})
    rates = rates_of(counted, 6, 2)
    draws = np.random.default_rng(derive_seed(2, "rate", "query@4/10")).beta(4.5, 6.5, 6)
    assert rates.tolist() == draws.tolist() and (rates != rates_of(other, 6, 2)).all()
    assert rates_of(stated, 2, 0).tolist() == [0.3, 0.3] and rates_of(plain, 2, 0).tolist() == [0.0, 0.0]
    worth = np.array([0.1, 0.2, -0.1, 0.5, 0.9])
    rate = np.array([0.1, 4.5 / 11, 0.2, 0.7, 0.0])
    most = 2 / 3
    left = [(1 - r / most) / (1 - 4.5 / 11 / most) for r in rate]
    want = [w * f**2 for w, f in zip(worth, left, strict=True)]
    want[3], want[4] = 0.0, 1.0  # guessing teaches nothing; no label is worth more than a right one
    assert left[3] < 0 and 0.9 * left[4] ** 2 > 1
    assert doubtful(worth, counted, 3, rate) == pytest.approx(want)
    for offer in (stated, plain, Offer("query@4/10", "query", 1.0, None, (4, 10))):
        assert doubtful(worth, offer, 3, rate) is worth
    hopeless = Offer("query@9/9", "query", 1.0, 0.95, (9, 9))  # beyond guessing between two
    assert doubtful(np.array([1e-19]), hopeless, 2, np.array([0.25])) == pytest.approx(1e-19 * 0.5**2 * 1e18)


COUNT = (
    "how many of its answers are wrong is not known: let it answer about 50 of the rows that you labelled, count, and "
    "plan again with query@5/50={} where 5 are wrong (or query@0.1 if that is known)"
)


def test_sentences_on_an_answer_without_a_rate():
    query, label, same, mb = offers_of({"query": 0.1, "label": 0.4, "query@0.2": 0.4, "mb": 3})
    least = offers_of({"query": 0.36, "label": 0.4})[0]
    assert unrated(query, [query, label], 0) == (
        "for numbers a share of wrong answers has no meaning, and no answers of the teacher are known"
    )
    assert unrated(query, [query, mb], 2) == COUNT.format("0.1")
    dear = "; at this price it cannot pay beside labels, which cost no more and are right"
    assert unrated(same, [mb, same, label], 2) == COUNT.format("0.4") + dear
    pays = "; by the usual rule it pays beside labels as long as fewer than {} % are wrong"
    assert unrated(query, [query, label], 3) == COUNT.format("0.1") + pays.format("33")  # 2/3 (1 - 1/2)
    assert unrated(least, [least, label], 2) == COUNT.format("0.36") + pays.format("2.6")
