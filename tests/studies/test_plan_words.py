"""Every sentence of a plan, whole; prices as people write them; teachers' answers; targets that cannot be."""

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy.stats import beta

from smidgen.kit.errors import BadInput
from smidgen.studies.advice import amount, between, metric_name, money, number, sentences, things
from smidgen.studies.losses import Scale
from smidgen.studies.prices import offers_of
from smidgen.studies.query_rate import count_wrong, doubtful, rate_interval, rate_of, rates_of, unrated
from smidgen.studies.ready import able, check_target

NOW = {"estimate": 0.8, "interval": [0.7, 0.9]}
FOUND: dict[str, Any] = {
    "metric": "log_loss", "greater_is_better": False, "level": 0.9, "n": 1500, "now": NOW,
    "after": {"estimate": 0.6, "interval": [0.5, 0.75]}, "reached": False, "target": None, "failing": [],
    "asked": {"target": None, "spend": 5.0, "prices": {"label": 1.0, "unlabelled": 9.0}}, "best": {}, "worth": {},
    "unknown": [], "gain_is_small": False, "split": {"label": 4.0, "unlabelled": 0.0},
    "split_amounts": {"label": 4.0, "unlabelled": 0.0},
    "forecasts": [{"purchase": "label", "amount": 4.0, "cost": 4.0, "estimate": 0.6, "interval": [0.5, 0.75]}],
}  # fmt: skip


def told(**more: Any) -> list[str]:
    return sentences({**FOUND, **more})


def test_the_split_is_told_with_what_comes_of_it():
    said = "Spend 4 on 4 labels: log loss goes from 0.8 to about 0.6 (90 % interval 0.5 to 0.75)."
    assert told() == [said]
    assert told(gain_is_small=True) == [
        f"{said} That is no more than the luck of one training: it is hardly worth the money."
    ]
    both = told(
        split={"label": 4.0, "unlabelled": 0.5}, split_amounts={"label": 4.0, "unlabelled": 50.0}, free=["mb@8"]
    )
    assert both[0].startswith(
        "Spend 4 on 4 labels and 0.5 on 50 rows without a label and nothing on megabytes at 8 bits a weight, in the "
        "megabytes that there are: log loss"
    )
    nothing = {"split": {"label": 0.0, "unlabelled": 0.0}}
    keep = "expected to improve the log loss of 0.8."
    assert told(**nothing) == [
        f"Keep the money: rows without a label cost more than 5, and nothing else is {keep}"
    ]  # fmt: skip
    assert told(**nothing, asked={**FOUND["asked"], "spend": 9.0}) == [
        f"Keep the money: none of these purchases is {keep}"
    ]
    hour = {"how": {"hour": {"amount": 1, "how": "go on"}}, "split": {"hour": 0.0}}
    steps = [
        {"purchase": "hour", "amount": a, "cost": c, "estimate": 0.7, "interval": [0.6, 0.8]}
        for a, c in ((1, 6.0), (2, 7.0))
    ]
    assert told(**hour, forecasts=steps)[0].startswith("Keep the money: hours of computing cost more than 5, and")
    steps[0]["cost"] = 5.0
    assert told(**hour, forecasts=steps)[0].startswith("Keep the money: none of these")
    assert (
        told(**hour, forecasts=steps)[1]
        == "1 more hour of computing (5) alone would bring log loss to about 0.7 (0.6 to 0.8): go on."
    )


def test_a_target_is_reached_or_reachable_or_neither():
    asked = {**FOUND["asked"], "target": 0.5}
    assert told(asked=asked, reached=True)[0] == (
        "The target is reached already: log loss 0.8 with the 1,500 labels there are."
    )
    assert told(asked=asked)[0] == (
        "No purchase here reaches log loss 0.5: the best of those looked at, 4 more labels, is expected to come to 0.6 "
        "(90 % interval 0.5 to 0.75)."
    )
    none = "No purchase here reaches log loss 0.5: none is expected to improve it at all."
    assert told(asked=asked, forecasts=[])[0] == none
    assert told(asked=asked, forecasts=[{**FOUND["forecasts"][0], "estimate": 0.8}])[0] == none
    less = [{**FOUND["forecasts"][0], "amount": -1.0}, {**FOUND["forecasts"][0], "amount": 0, "purchase": "mb@8"}]
    assert "the best of those looked at, 0 more megabytes at 8 bits" in told(asked=asked, forecasts=less)[0]
    up = {"greater_is_better": True, "metric": "accuracy"}
    assert told(asked=asked, **up)[0] == none.replace("log loss", "accuracy")
    better = [{**FOUND["forecasts"][0], "estimate": 0.85}, {**FOUND["forecasts"][0], "estimate": 0.83}]
    assert "expected to come to 0.85" in told(asked=asked, forecasts=better, **up)[0]
    reach = {"purchase": "label", "amount": 1200, "interval": [800, None], "cost": 6.0}
    assert told(asked=asked, target=reach, failing=["unlabelled", "label@0.1"])[0] == (
        "About 1,200 more labels reach log loss 0.5 (90 % sure it takes 800 or more, if it is to be had at all), for "
        "6, which is more than the money there is; rows without a label or labels of which 10 % are wrong alone would "
        "not."
    )
    within = told(asked=asked, target={**reach, "cost": 5.0, "interval": [800, 2000]})[0]
    assert within.endswith("(90 % sure it takes 800 to 2,000), for 5.")


def test_doubts_worths_and_what_cannot_be_told():
    close = told(best={"label": 0.45, "unlabelled": 0.35, "label@0.1": 0.2, "query": 0.19})
    assert close[1] == (
        "It is a close call: of all that fits the measurements, the best single buy is labels in 45 of 100, rows "
        "without a label in 35 of 100, labels of which 10 % are wrong in 20 of 100."
    )
    assert len(told(best={"label": 0.81, "unlabelled": 0.19})) == 1
    worth = {"label": {}, "unlabelled": {"estimate": 0.0123, "interval": [0, 0.04], "measured": 2},
             "query@5/50": {"estimate": 0.5, "interval": [0.2, 0.7], "measured": 0}}  # fmt: skip
    assert told(worth=worth)[1:] == [
        "Rows without a label are each worth about 0.0123 of a clean label (0 to 0.04).",
        "Teacher's answers of which 5 of 50 counted were wrong are each worth about 0.5 of a clean label (0.2 to 0.7; "
        "assumed, not measured).",
    ]
    unknown = [{"purchase": "hour", "why": "x", "nothing": "yes"}, {"purchase": "query", "why": "y"}]
    assert told(unknown=unknown)[1:] == [
        "More hours of computing would bring nothing: x.", "What teacher's answers would bring cannot be told: y."
    ]  # fmt: skip
    how = {"how": {"mb@4": {"amount": 0, "how": "compress"}, "mb@2": {"amount": -2.5, "how": "less"}}}
    same = {"cost": 0.0, "estimate": 0.7, "interval": [0.6, 0.8]}
    own = [{"purchase": "mb@4", "amount": 0, **same}, {"purchase": "mb@2", "amount": -2.5, **same}]
    assert told(**how, forecasts=own)[1:] == [
        "The same megabytes, at 4 bits a weight, would bring log loss to about 0.7 (0.6 to 0.8): compress.",
        "2.5 megabytes less, at 2 bits a weight, would bring log loss to about 0.7 (0.6 to 0.8): less.",
    ]


@pytest.mark.parametrize(
    ("purchase", "count", "text"),
    [
        ("label", 1, "1 label"), ("label", 2, "2 labels"), ("label", 1234.6, "1,235 labels"),
        ("label", 99.5, "99.5 labels"), ("label", None, "labels"),
        ("label@0.125", 3, "3 labels of which 12.5 % are wrong"),
        ("mb", 0.25, "0.25 megabytes"),
        ("hour", 1, "1 hour of computing"), ("hour", 0.5, "30 minutes of computing"),
        ("mb@8", 2, "2 megabytes at 8 bits a weight"),
        ("hour", 99 / 3600, "99 seconds of computing"), ("hour", 101 / 3600, "1.7 minutes of computing"),
        ("hour", 1.25, "1.25 hours of computing"), ("unlabelled", 1, "1 row without a label"),
        ("query", 1, "1 teacher's answer"),
    ],
)  # fmt: skip
def test_amounts(purchase, count, text):
    assert things(purchase, count) == text


def test_numbers_are_short():
    assert [number(v) for v in (0.12345, 99.96, 100.0, 12345.6, -250.4)] == ["0.123", "100", "100", "12,346", "-250"]
    assert [money(v) for v in (0, 0.1, 0.099, 1234.5, 5.0, 0.001234, 10.0)] == [
        "0", "0.1", "0.099", "1,234.5", "5", "0.0012", "10"
    ]  # fmt: skip
    assert between([1.0, 250.0]) == "1 to 250" and metric_name("macro_f1") == "macro F1"
    assert metric_name("balanced_accuracy") == "balanced accuracy"
    assert amount({"purchase": "label", "amount": 3.0}) == "3 more labels"
    assert [metric_name(n) for n in ("auc", "rmse", "mae", "mse", "r2")] == ["AUC", "RMSE", "MAE", "MSE", "R²"]


# -- prices --


def test_prices_as_people_write_them():
    made = offers_of(
        ["labels = 0.4", "Label@20%=.05", "queries@5/50=1", "rows=0.001", "hours=1.2", "mb@8=2", "query@0=1"]
    )
    assert [(o.name, o.kind, o.price, o.error, o.counted, o.bits) for o in made] == [
        ("label", "label", 0.4, None, None, None), ("label@0.2", "label", 0.05, 0.2, None, None),
        ("query@5/50", "query", 1.0, 5.5 / 51, (5, 50), None), ("unlabelled", "unlabelled", 0.001, None, None, None),
        ("hour", "hour", 1.2, None, None, None), ("mb@8", "mb", 2.0, None, None, 8),
        ("query@0", "query", 1.0, 0.0, None, None),
    ]  # fmt: skip
    assert [o.is_mixed for o in made] == [False, True, True, True, False, False, False]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("label", "NAME=PRICE"), ("label=x", "price of label: expected a number"), ("label=0", "above 0"),
        ("label=-1", "above 0"),
        ("label=inf", "a finite number"), ("label=nan", "a finite number"), ("gold=1", "nothing 'gold' to buy"),
        ("labl=1", "Did you mean|label"), ("label@1=1", "0 or more and below 1"),
        ("label@-0.1=1", "0 or more and below 1"),
        ("unlabelled@0.1=1", "only for label or query"), ("query@0/0=1", "WRONG/ROWS"), ("query@6/5=1", "WRONG/ROWS"),
        ("mb@7=1", "one of"), ("label@x=1", "error rate of label@x: expected a number"),
    ],
)  # fmt: skip
def test_prices_that_cannot_be(text, said):
    with pytest.raises(BadInput, match=said):
        offers_of([text])


def test_prices_are_some_and_each_once():
    with pytest.raises(BadInput, match="at least one"):
        offers_of({})
    with pytest.raises(BadInput, match="given twice"):
        offers_of(["label@0.2=1", "label@20%=2"])
    assert offers_of(["query@5/5=1"])[0].error == pytest.approx(5.5 / 6)


# -- teachers --


def test_rates_that_were_counted():
    assert count_wrong([1, 2, 3], [1, 3, 3]) == (1, 3)
    assert rate_of(5, 50) == 5.5 / 51
    assert rate_interval(5, 50) == pytest.approx(beta.ppf([0.05, 0.95], 5.5, 45.5))
    assert rate_interval(5, 50, 0.5) == pytest.approx(beta.ppf([0.25, 0.75], 5.5, 45.5))
    counted, bare = offers_of({"query@5/50": 1.0, "label": 1.0})
    rates = rates_of(counted, 20_000, 0)
    assert np.quantile(rates, [0.05, 0.5, 0.95]) == pytest.approx(beta.ppf([0.05, 0.5, 0.95], 5.5, 45.5), rel=0.03)
    assert rates_of(bare, 3, 0).tolist() == [0, 0, 0] and (rates_of(counted, 9, 0) != rates_of(counted, 9, 1)).all()
    worth_K, rate_K = np.array([0.4, 0.4, 0.4, 0.9]), np.array([5.5 / 51, 0.05, 0.7, 0.0])
    factor = ((1 - rate_K * 1.5) / (1 - 5.5 / 51 * 1.5)) ** 2
    expected = [0.4, 0.4 * factor[1], 0.0, 1.0]
    assert doubtful(worth_K, counted, 3, rate_K) == pytest.approx(expected)
    assert (doubtful(worth_K, bare, 3, rate_K) == worth_K).all()


def test_answers_without_a_rate_pay_below_one():
    query, label = offers_of({"query": 1.0, "label": 4.0})
    three = (2 / 3) * (1 - 1 / 2)
    assert f"fewer than {100 * three:.2g} % are wrong" in unrated(query, [query, label], 3)
    same = offers_of({"query": 4.0})[0]
    assert "cannot pay" in unrated(same, [same, label], 3)
    task: Any = SimpleNamespace(classes=("a", "b", "c"))
    rated, plain, hour, wrong = offers_of({"query@0.1": 1.0, "query": 1.0, "hour": 1.0, "label@0.1": 1.0})
    known, unknown = able([rated, plain, hour, label, wrong], task)
    assert known == [rated, label, wrong] and [u["purchase"] for u in unknown] == ["query"]
    values: Any = SimpleNamespace(classes=())
    known, unknown = able([rated, plain, label], values)
    assert known == [label] and "a meaning for classes only" in unknown[0]["why"] and "no meaning" in unknown[1]["why"]
    with pytest.raises(BadInput, match="error rate"):
        able(offers_of({"label@0.7": 1.0}), task)


def test_targets_that_cannot_be():
    check_target(None, Scale.of("accuracy"))
    check_target(0.99, Scale.of("accuracy"))
    check_target(-5.0, Scale.of("r2"))
    check_target(1e-9, Scale.of("log_loss"))
    for target, metric in ((1.0, "accuracy"), (1.5, "r2"), (0.0, "log_loss"), (-1.0, "rmse"), (math.nan, "accuracy")):
        with pytest.raises(BadInput, match="target"):
            check_target(target, Scale.of(metric))
