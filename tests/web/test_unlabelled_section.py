"""Rows without labels in the report: what is drawn, what is named, and that nothing of a person's text is markup."""

import copy
import xml.etree.ElementTree as ET

import pytest

from smidgen.web.report import report
from smidgen.web.unlabelled import section

POOL = {
    "n": 1200,
    "looked": 1000,
    "next": [
        {
            "row": None,
            "name": "more/7.png",
            "predicted": "cat",
            "probability": 0.52,
            "at": [0.0, 1.0],
            "near": [{"row": 3, "name": "", "label": "cat"}, {"row": None, "name": "dog/1.png", "label": "<b>dog"}],
        }
    ],
    "map": {
        "x": [0.0, 1.0, 2.0],
        "y": [1.0, 0.5, 0.0],
        "predicted": [0, 1, 1],
        "probability": [0.9, 0.51, None],
        "own": {"x": [0.1, 1.9], "y": [0.9, 0.2], "label": [0, 1]},
    },
}
SUMMARY = {"target": "kind", "classes": ["cat", "<b>dog"], "n": 2, "pool": POOL}


def test_map_list_and_neighbours_are_there():
    made = section(SUMMARY)
    assert made is not None and "1,200 rows have no label; 1,000 of them" in made["says"]
    (row,) = made["rows"]
    assert row["number"] == "#1" and row["name"] == "more/7.png"
    assert row["near"] == "row 3 (cat), dog/1.png (<b>dog)"
    picture = ET.fromstring(made["picture"])
    circles = [c for c in picture.iter() if c.tag.endswith("circle")]
    assert len([c for c in circles if "pool" in c.get("class", "")]) == 3
    assert len([c for c in circles if "own" in c.get("class", "")]) == 2
    fills = [float(c.get("fill-opacity", "1")) for c in circles if "pool" in c.get("class", "")]
    assert fills[0] > fills[1]  # the surer the stronger


def test_names_are_text_in_the_page():
    page = report(copy.deepcopy(SUMMARY))
    assert "Rows without labels" in page and "Most worth a label next" in page
    assert "<b>dog" not in page and "&lt;b&gt;dog" in page
    assert "Rows without labels" not in report({**SUMMARY, "pool": None})


@pytest.mark.parametrize(
    "broken",
    [
        {"n": 5},
        {"n": 5, "next": ["no row"], "map": {"x": [1.0]}},
        {"n": 5, "map": {**POOL["map"], "predicted": [9, 9, 9]}},
        {"n": 5, "map": {**POOL["map"], "own": None}},
    ],
)
def test_what_is_missing_or_damaged_leaves_no_gap(broken):
    made = section({**SUMMARY, "pool": broken})
    assert made is not None and made["picture"] is None
    assert section({"pool": "x"}) is None
