"""The plots of a decoding study."""

from xml.etree import ElementTree

from smidgen.web.decoding import decoding_curves

ROWS = [
    {"variant": v, "temperature": t, "difference": d * t, "low": d * t - 0.1, "high": d * t + 0.1}
    for v, d in (("nf4", 1.0), ("<int4>", -2.0), ("int8", 0.0), ("fp4", 0.5))
    for t in (0.2, 0.6, 1.0)
]


def test_each_variant_has_a_panel_on_one_scale():
    picture = decoding_curves(ROWS, "bits a byte")
    root = ElementTree.fromstring(picture)
    panels = root.findall("{*}g")
    assert len(panels) == 4 and root.get("viewBox") == "0 0 630 300"
    assert "<int4>" in "".join(root.itertext()) and "<int4>" not in picture
    places = [[c.get("cy") for c in p.iter("{http://www.w3.org/2000/svg}circle")] for p in panels]
    for panel, own in zip(panels, places, strict=True):  # the curve runs through its dots
        curve = next(e for e in panel.iter("{http://www.w3.org/2000/svg}polyline")).get("points")
        assert [round(float(p.split(",")[1])) for p in curve.split()] == [round(float(y)) for y in own]
    zero = [
        next(e.get("y1") for e in p.iter("{http://www.w3.org/2000/svg}line") if e.get("class") == "base")
        for p in panels
    ]
    assert places[2] == [zero[2]] * 3 and len(set(zero)) == 1  # no difference lies on the line
    assert float(places[0][2]) < float(zero[0]) < float(places[1][2])  # more is up


def test_too_little_is_no_picture():
    assert decoding_curves(ROWS[:1], "bits") is None
    assert decoding_curves([{**ROWS[0], "low": None}, ROWS[1]], "bits") is None
