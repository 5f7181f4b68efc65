"""The picture of a plan: measured and forecast scores at their places, and a word for the target that hides neither."""

import math
from xml.etree import ElementTree

import pytest

from smidgen.web import plans

SPACE = "{http://www.w3.org/2000/svg}"


def plan(target=None, rising=True):
    """40 labels, measured from 5 on; the curve goes from 0.6 at 10 to 0.9 at 400, or the other way."""

    def score(n):
        way = math.log(n / 10) / math.log(40)
        return round(0.6 + 0.3 * (way if rising else 1 - way), 4)

    forecast = {"purchase": "label", "interval": [0.5, 0.95]}
    band = [{"n": n, "estimate": score(n), "interval": [score(n) - 0.1, score(n) + 0.05]} for n in (10, 40, 160, 400)]
    return {
        "n": 40, "metric": "accuracy", "asked": {"target": target}, "band": band,
        "curve": [{"n": n, "estimate": score(n)} for n in (5, 10, 20, 35)],
        "forecasts": [{**forecast, "total": n, "estimate": score(n)} for n in (80, 400)]
        + [{**forecast, "purchase": "unlabelled", "total": 80, "estimate": 0.7}],
    }  # fmt: skip


def test_scores_are_at_their_places():
    svg = ElementTree.fromstring(plans.outlook(plan()) or "")
    dots = {d.attrib["class"]: d for d in svg.iter(f"{SPACE}circle")}
    assert set(dots) == {"dot chosen", "dot other"}
    at = [(float(d.attrib["cx"]), float(d.attrib["cy"])) for d in svg.iter(f"{SPACE}circle")]
    assert len(at) == 6  # four measured, two forecasts of labels; what is no label is in the table alone
    steps = [b[0] - a[0] for a, b in zip(at[:3], at[1:3], strict=False)]
    assert steps == pytest.approx([steps[0]] * 2, abs=0.2)  # twice the rows, one step to the right
    assert [y for _, y in at] == sorted((y for _, y in at), reverse=True)  # higher scores are higher up
    said = [e.text or "" for e in svg.iter(f"{SPACE}title")]
    assert any("80 labelled rows, forecast: accuracy" in s and "0.500 to 0.950" in s for s in said)
    assert plans.outlook({**plan(), "band": []}) is None and plans.outlook(None) is None


@pytest.mark.parametrize("rising", [True, False])
@pytest.mark.parametrize("target", [0.62, 0.75, 0.89])
def test_the_target_is_named_where_it_hides_no_dot(target, rising):
    svg = ElementTree.fromstring(plans.outlook(plan(target, rising)) or "")
    word = next(e for e in svg.iter(f"{SPACE}text") if e.text == "target")
    x, y = float(word.attrib["x"]), float(word.attrib["y"]) - 4
    for dot in svg.iter(f"{SPACE}circle"):
        across, down = abs(float(dot.attrib["cx"]) - x), abs(float(dot.attrib["cy"]) - y)
        assert across > 20 or down > 7, (dot.attrib, x, y)
