"""The pictures of the laws of bits."""

import json
import math
from pathlib import Path
from xml.etree import ElementTree

from smidgen.web.bits import alone, loss_bars, of_evidence, rounded_losses

SVG = "{http://www.w3.org/2000/svg}"
ROWS = [
    {"quantizer": q, "n": n, "d": d, "loss_fp": 4 - math.log10(d), "loss_q": 4 - math.log10(d) + lost * d / 1e3}
    for q, lost in (("int2", 1.0), ("<int4>", 0.1))
    for n in (100, 2000)
    for d in (10, 100, 1000)
]


def marks(root: ElementTree.Element, kind: str) -> list[ElementTree.Element]:
    return [e for e in root.iter() if e.get("class") == kind]


def test_rounded_losses_lie_above_the_whole_ones_and_chance_above_all() -> None:
    picture = rounded_losses(ROWS, chance=math.log(40))
    assert picture is not None and "<int4>" not in picture and "lost by int2, 1" in picture
    root = ElementTree.fromstring(picture)
    panels = root.findall(f"{SVG}g")
    assert len(panels) == 2 and len(marks(root, "curve")) == len(marks(root, "axis")) == 4
    for panel in panels:
        band = next(iter(marks(panel, "band")))
        bottom = float(band.get("y", "")) + float(band.get("height", ""))
        for part, whole in zip(marks(panel, "curve"), marks(panel, "axis"), strict=True):
            high, low = ([float(p.split(",")[1]) for p in e.get("points", "").split()] for e in (part, whole))
            assert all(a <= b for a, b in zip(high, low, strict=True)) and high[-1] < low[-1] and min(high) > bottom
    assert "band" not in (rounded_losses(ROWS, chance=math.log(50_000)) or "")  # too far off to be shown
    assert rounded_losses(ROWS[:1]) is None and rounded_losses([{**r, "loss_q": math.nan} for r in ROWS]) is None


def test_bars_are_as_long_as_what_they_say_the_dearest_first() -> None:
    root = ElementTree.fromstring(loss_bars({"w_fwd": 0.1, "x_dw": [0.3, 0.5], "<dy>": -0.1, "none": math.nan}) or "")
    bars = marks(root, "bar")
    widths = [float(b.get("width", "")) for b in bars]
    assert math.isclose(widths[0], 4 * widths[1], rel_tol=0.01) and math.isclose(widths[1], widths[2], rel_tol=0.01)
    assert float(bars[2].get("x", "")) < float(bars[1].get("x", "")) == float(bars[0].get("x", ""))
    names = [e.text for e in root.iter(f"{SVG}text") if e.get("text-anchor") == "end"]
    assert names == ["x_dw", "w_fwd", "<dy>"] and len(marks(root, "dot other")) == 2
    assert loss_bars({"none": math.nan}) is None


def test_evidence_of_the_laws_of_bits_is_drawn() -> None:
    folder = Path(__file__).parents[2] / "docs" / "evidence"
    for paper, found in (("042", "nearest 2 bits"), ("045", "E1M1/16 a scale")):
        runs = json.loads((folder / f"{paper}.json").read_text())["runs"]
        ((says, picture),) = of_evidence(paper, runs)
        whole = ElementTree.fromstring(alone(picture))
        assert says and found in picture and whole[0].tag == f"{SVG}style" and len(picture) < 100_000
    assert of_evidence("001", runs) == [] and of_evidence("042", []) == []
