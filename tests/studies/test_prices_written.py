"""Purchases as people write them: every form, and the sentence on every one that cannot be."""

import pytest

from smidgen.kit.errors import BadInput
from smidgen.learn.rounded_state import OPTIONS
from smidgen.studies.prices import KINDS, Offer, offers_of


@pytest.mark.parametrize(
    ("written", "offer"),
    [
        ("label=0.40", Offer("label", "label", 0.4)),
        (" Labels =.5", Offer("label", "label", 0.5)),
        ("queries=2", Offer("query", "query", 2.0)),
        ("hours=2e1", Offer("hour", "hour", 20.0)),
        ("rows=1", Offer("unlabelled", "unlabelled", 1.0)),
        ("mb=3", Offer("mb", "mb", 3.0)),
        ("mb@8=3", Offer("mb@8", "mb", 3.0, bits=8)),
        ("label@0.20=1", Offer("label@0.2", "label", 1.0, 0.2)),
        ("label@0=1", Offer("label@0", "label", 1.0, 0.0)),
        ("query@12.5%=1", Offer("query@0.125", "query", 1.0, 0.125)),
        ("query@5/50=1", Offer("query@5/50", "query", 1.0, 5.5 / 51, (5, 50))),
        ("labels@ 0 / 3 =1", Offer("label@0/3", "label", 1.0, 0.125, (0, 3))),
        ("query@3/3=1", Offer("query@3/3", "query", 1.0, 3.5 / 4, (3, 3))),
    ],
)
def test_forms(written, offer):
    assert offers_of([written]) == [offer]


def test_in_order_and_from_a_mapping():
    assert [o.name for o in offers_of({"mb": 1, "label": 2, "label@0.1": 3})] == ["mb", "label", "label@0.1"]
    mixed = {o.name: o.is_mixed for o in offers_of(dict.fromkeys(["label", "label@0.1", "label@0", "hour", "rows"], 1))}
    assert mixed == {"label": False, "label@0.1": True, "label@0": False, "hour": False, "unlabelled": True}


RATE = "0 or more and below 1"
COUNTED = "WRONG/ROWS such as 5/50, wrong answers among rows that were counted"


@pytest.mark.parametrize(
    ("prices", "said"),
    [
        ([], "prices: expected at least one, such as label=0.40, got none."),
        ({}, "prices: expected at least one, such as label=0.40, got none."),
        (["label"], "--price: expected NAME=PRICE, such as label=0.40, got label."),
        (["label=1", "labels=2"], "--price label is given twice: one purchase has one price."),
        (["label@0.1=1", "label@10%=2"], "--price label@0.1 is given twice: one purchase has one price."),
        (["label=0"], "price of label: expected above 0, got 0. What is free needs no plan: take all of it."),
        (["label=-1"], "price of label: expected above 0, got -1. What is free needs no plan: take all of it."),
        (["label=much"], "price of label: expected a number, got much."),
        ({"label": None}, "price of label: expected a number, got None."),
        (["hour=inf"], "price of hour: expected a finite number, got inf."),
        (["hour=nan"], "price of hour: expected a finite number, got nan."),
        (["mb@7=1"], f"bits of mb@7: expected one of {', '.join(map(str, OPTIONS))}, got 7."),
        (["mb@few=1"], "bits of mb@few: expected a number, got few."),
        (["hour@0.1=1"], "--price hour@0.1: expected an error rate only for label or query, bits only for mb, "
         "got hour@0.1."),
        (["unlabelled@0.1=1"], "--price unlabelled@0.1: expected an error rate only for label or query, bits only for "
         "mb, got unlabelled@0.1."),
        (["label@1=1"], f"error rate of label@1: expected {RATE}, got 1."),
        (["label@-0.1=1"], f"error rate of label@-0.1: expected {RATE}, got -0.1."),
        (["label@100%=1"], f"error rate of label@100%: expected {RATE}, got 100%."),
        (["label@x=1"], "error rate of label@x: expected a number, got x."),
        (["query@5/4=1"], f"error rate of query@5/4: expected {COUNTED}, got 5/4."),
        (["query@0/0=1"], f"error rate of query@0/0: expected {COUNTED}, got 0/0."),
        (["query@/5=1"], f"error rate of query@/5: expected {COUNTED}, got /5."),
        (["query@5/=1"], f"error rate of query@5/: expected {COUNTED}, got 5/."),
        (["query@-1/5=1"], f"error rate of query@-1/5: expected {COUNTED}, got -1/5."),
        (["labl=1"], "There is nothing 'labl' to buy: label, query, unlabelled, hour, mb. Did you mean 'label'?"),
    ],
)  # fmt: skip
def test_what_cannot_be(prices, said):
    with pytest.raises(BadInput) as caught:
        offers_of(prices)
    assert str(caught.value) == said
    assert set(KINDS) == {"label", "query", "unlabelled", "hour", "mb"}
