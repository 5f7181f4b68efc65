"""Pictures of evidence, of a curve and of lists: the numbers are in the right place, in shapes and in words."""

import re
from xml.etree import ElementTree

import pytest

from smidgen.web import curves, differences, evidence
from web import samples

SPACE = "{http://www.w3.org/2000/svg}"


def drawn(svg: str | None) -> ElementTree.Element:
    assert svg
    return ElementTree.fromstring(svg)


def texts(svg: ElementTree.Element) -> list[str]:
    return [e.text or "" for e in svg.iter(f"{SPACE}text")]


def told(svg: ElementTree.Element) -> list[str]:
    return [e.text or "" for e in svg.iter(f"{SPACE}title")]


def part(**change) -> dict:
    return {
        "name": "accuracy",
        "says": "With ten labels a class, pre-training on unlabelled images beats training from scratch.",
        "unit": "accuracy",
        "group": "",
        "margin": 0.02,
        "null": 0.0,
        "verdict": "holds",
        "mean": 0.04,
        "interval": [0.03, 0.05],
        "gains": [0.03, 0.05, 0.04],
    } | change


def test_evidence_stands_on_one_axis_with_what_was_asked_of_it():
    svg = drawn(evidence.evidence_picture({"verdict": "holds", "parts": [part()]}))
    seeds = {t: float(c.get("cx")) for c in svg.iter(f"{SPACE}circle") for t in told(c)}
    place = lambda kind: float(next(e for e in svg.iter(f"{SPACE}line") if e.get("class") == kind).get("x1"))  # noqa: E731
    assert list(seeds) == ["seed 0: gain 0.0300", "seed 1: gain 0.0500", "seed 2: gain 0.0400"]
    assert place("base") < place("goal") < seeds["seed 0: gain 0.0300"]
    scale = (seeds["seed 1: gain 0.0500"] - seeds["seed 0: gain 0.0300"]) / 0.02
    assert place("goal") - place("base") == pytest.approx(0.02 * scale, abs=0.1)
    assert "✔ holds: mean 0.0400 accuracy (0.0300 to 0.0500)" in texts(svg)
    assert {"margin", "null"} <= set(texts(svg)) and "mean gain 0.0400, interval 0.0300 to 0.0500" in told(svg)


def test_evidence_with_lost_seeds_odd_margins_and_foreign_text():
    odd = [
        part(gains=[0.1, None, float("nan")], mean=None, interval=None, verdict="fails here"),
        part(gains=[], mean=None, interval=None, verdict="not finished"),
        part(margin=0.0, says="</svg><script>alert(1)</script>" * 9, unit="<b>"),
        part(margin=-1.0, null=1.0, name=None, says=None, verdict=None),
        {},
    ]
    svg = drawn(evidence.evidence_picture({"parts": odd}))
    assert "2 of the seeds gave no number" in texts(svg) and "margin = null" in texts(svg)
    assert {e.tag for e in svg.iter()} == {SPACE + t for t in ("svg", "title", "text", "line", "circle", "path", "g")}
    height = float(svg.get("viewBox", "").split()[3])
    assert all(0 <= float(e.get("y")) <= height for e in svg.iter(f"{SPACE}text"))
    assert evidence.evidence_picture({}) is None and evidence.evidence_picture({"parts": None}) is None


def test_each_point_of_a_learning_curve_tells_its_value():
    svg = drawn(curves.learning_curve(samples.two_classes()["curve"], "log loss", 0.684))
    assert told(svg)[1:] == [
        "12 labelled rows: log loss 0.571, interval 0.410 to 0.760",
        "20 labelled rows: log loss 0.462, interval 0.340 to 0.610",
        "32 labelled rows: log loss 0.388, interval 0.284 to 0.510",
        "50 labelled rows: log loss 0.324, interval 0.238 to 0.437",
    ]


def test_a_line_in_a_list():
    svg = drawn(curves.sparkline([0.9, float("nan"), 0.5, 0.4], '"<tip>'))
    points = [p.split(",") for p in (svg.find(f"{SPACE}polyline").get("points")).split()]
    assert [float(y) for _, y in points] == sorted(float(y) for _, y in points) and svg.get("data-tip") == '"<tip>'
    assert curves.sparkline([0.9]) is None and curves.sparkline([1.0, 1.0])


def test_differences_read_either_half_of_the_table():
    whole = samples.two_classes()["comparisons"]
    half = {**whole, "gaps": [[g if i < j else None for j, g in enumerate(row)] for i, row in enumerate(whole["gaps"])]}
    a, b = differences.differences(whole), differences.differences(half)
    assert a and b and [r["shown"] for r in a["rows"]] == [r["shown"] for r in b["rows"]]
    assert [r["verdict"] for r in a["rows"]] == ["not told apart"] * 5 + ["worse"] * 2
    grid = drawn(a["pairs"])
    rows = [e.text for e in grid.iter(f"{SPACE}text") if e.get("class") == "count"]
    assert len(rows) == 8 * 7 and rows[:7] == ["·"] * 5 + ["▲"] * 2 and rows[-7:].count("▽") == 5
    assert re.fullmatch(r"logistic is better than knn: log loss −0.130 \(−0.210 to −0.050\)", told(grid)[6])


@pytest.mark.parametrize("broken", [None, {}, {"names": None}, {"names": [{}, {}], "gaps": [[None], "x"]}, [1]])
def test_differences_without_comparisons(broken):
    assert differences.differences(broken) is None
