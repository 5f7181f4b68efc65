"""Sentences of a plan: amounts with their units, and what is merely too dear."""

from typing import Any

from smidgen.studies.advice import sentences

NOW = {"estimate": 0.8, "interval": [0.7, 0.9]}
FOUND: dict[str, Any] = {
    "metric": "accuracy", "greater_is_better": True, "level": 0.9, "n": 50, "now": NOW, "after": NOW, "reached": False,
    "asked": {"target": 0.9, "spend": 5.0, "prices": {"label": 1.0}}, "target": None, "failing": [], "best": {},
    "worth": {}, "unknown": [], "how": {"hour": {"amount": 0.5, "how": "go on"}}, "gain_is_small": False,
    "split": {"label": 0.0, "hour": 0.0}, "split_amounts": {"label": 0.0, "hour": 0.0},
    "forecasts": [{"purchase": "hour", "amount": 0.5, "cost": 0.6, **NOW}],
}  # fmt: skip


def test_both_ends_of_an_interval_have_their_unit():
    def told(**reach: Any) -> str:
        return sentences({**FOUND, "target": {"cost": 3.0, **reach}})[0]

    said = told(purchase="hour", amount=0.5, interval=[0.01, 2.5])
    assert "30 more minutes of computing" in said
    assert "takes 36 seconds of computing to 2.5 hours of computing" in said
    assert "takes 0.2 megabytes or more" in told(purchase="mb", amount=1.5, interval=[0.2, None])
    assert "takes 80 to 1,200)" in told(purchase="label@0.2", amount=90, interval=[80, 1200])


def test_what_is_too_dear_is_not_called_useless():
    assert "Keep the money: none of these purchases is expected to improve" in sentences(FOUND)[1]
    dear = sentences({**FOUND, "asked": {**FOUND["asked"], "spend": 0.7}})[1]
    assert dear.startswith("Keep the money: labels cost more than 0.7, and nothing else is expected to improve")
