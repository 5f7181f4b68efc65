"""What labels cost is in the ledger, whatever is asked; a weak labeller is as good as asked, and no better."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smidgen.budget.meter import Meter
from smidgen.data.label_sources import (
    LabelSource,
    WeakConfig,
    WeakLabeller,
    check_disjoint,
    given_labels,
    shuffled_errors,
)
from smidgen.kit.errors import BadInput
from smidgen.tasks import known


def test_a_label_is_paid_once_and_kept():
    meter, asked = Meter(lambda: 0.0), []

    def query(rows):
        asked.append(rows)
        return [row / 10 for row in rows]

    source = LabelSource("crowd", 0.1, query, range(2, 9), meter=meter)
    assert source.ask([5, 3]).tolist() == pytest.approx([0.5, 0.3])
    assert source.ask([3, 7, 5]).tolist() == pytest.approx([0.3, 0.7, 0.5])
    assert asked == [[5, 3], [7]] and source.ids == [5, 3, 7]
    assert source.spent == pytest.approx(0.3)
    assert meter.spent() == {"label_cost": pytest.approx(0.3), "labels": 3, "seconds": 0}
    assert source.ledger()[2] == {"source": "crowd", "id": 7, "label": pytest.approx(0.7), "cost": 0.1}


@pytest.mark.parametrize(
    ("rows", "answers", "said"),
    [
        ([0, 1, 2, 3], None, "at most 3"),
        ([1, 1], None, "each row once"),
        ([3], None, "row 3"),
        ([0, 1], [0.5, 1.5], "a label of 1.5"),
        ([0, 1], [0.5, float("nan")], "a label of nan"),
        ([0, 1], [0.5], "shape"),
    ],
)
def test_a_question_that_is_wrong_costs_nothing(rows, answers, said):
    source = LabelSource("oracle", 1, lambda asked: answers or [1.0] * len(asked), 3)
    with pytest.raises(BadInput, match=said):
        source.ask(rows)
    assert source.spent == 0 and source.ids == []


def test_rows_with_two_labels_are_found():
    check_disjoint(weak=[1, 2], oracle=[3], other=[])
    with pytest.raises(BadInput, match=r"1 rows have a label of 'other' and one of 'weak', row 2"):
        check_disjoint(weak=[1, 2], oracle=[3], other=[2, 4])


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1, width=32)), min_size=1, max_size=40), st.integers(0, 9))
def test_errors_dealt_anew_are_the_same_errors(rows, seed):
    gold = np.array([float(g) for g, _ in rows])
    soft = np.array([s for _, s in rows])
    dealt = shuffled_errors(soft, gold, seed)
    assert np.allclose(np.sort(np.abs(dealt - gold)), np.sort(np.abs(soft - gold)), atol=1e-6)
    assert ((dealt >= 0) & (dealt <= 1)).all()


def test_errors_dealt_anew_have_no_pattern():
    gold = np.arange(400) % 2.0
    soft = np.where(np.arange(400) < 100, 1 - gold, gold)  # all errors are in the first quarter
    wrong = shuffled_errors(soft, gold, 3) != gold
    assert wrong.sum() == 100 and wrong[:100].sum() < 45


def reviews(count):
    texts, labels = known.texts("sst2")
    return texts[:count], (labels[:count] == "1").astype(float)


def test_a_weak_labeller_stops_at_its_accuracy(data_folder, monkeypatch):
    monkeypatch.setenv("SMIDGEN_DATA", str(data_folder))
    texts, labels = reviews(3500)
    held, new = (texts[1000:2000], labels[1000:2000]), (texts[2000:], labels[2000:])
    found = {}
    for target in (0.6, 0.68, None):
        weak = WeakLabeller(WeakConfig(target=target, epochs=3)).fit(texts[:1000], labels[:1000], held, seed=1)
        on_new = ((weak.soft_labels(new[0]) > 0.5) == (new[1] > 0.5)).mean()
        found[target] = weak.updates_
        assert weak.gold_ == 2000
        if target:
            assert target <= weak.accuracy_ < target + 0.03
            assert target - 0.08 < on_new < target + 0.04  # the first of many looks is a lucky one
    assert found[0.6] < found[0.68] < found[None] == 750
    source = weak.source(new[0], cost=0.1)
    assert source.ask([3, 8]).tolist() == weak.soft_labels([new[0][3], new[0][8]]).tolist()


def test_a_target_that_says_nothing_or_is_too_high_is_refused(data_folder, monkeypatch):
    monkeypatch.setenv("SMIDGEN_DATA", str(data_folder))
    texts, labels = reviews(200)
    train, held = (texts[:100], labels[:100]), (texts[100:], labels[100:])
    settings = {"epochs": 2}
    with pytest.raises(BadInput, match=r"came to an accuracy of 0\.\d+, not to 0.95"):
        WeakLabeller(WeakConfig(target=0.95, **settings)).fit(*train, held)
    uneven = (held[0], np.arange(100) % 5 == 0)
    with pytest.raises(BadInput, match="a constant answer's"):
        WeakLabeller(WeakConfig(target=0.75, **settings)).fit(*train, uneven)
    with pytest.raises(BadInput, match="held"):
        WeakLabeller(WeakConfig(target=0.75)).fit(*train)
    with pytest.raises(BadInput, match="both classes"):
        WeakLabeller().fit(texts[:3], [1, 1, 1])


def test_given_labels_are_those_of_their_rows():
    assert given_labels("oracle", 1.0, [0, 1, 1]).ask([2, 0]).tolist() == [1, 0]
