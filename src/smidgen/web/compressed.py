"""The report of a compressed model: size against loss with the point that was chosen, bits of each layer, what was
tried."""

from typing import Any

from smidgen.web import assets, svg, words
from smidgen.web.report import policy, templates, tidy
from smidgen.web.svg import Axis, label, line, mark, tag

_W, _H = 560.0, 300.0
_RIGHT, _TOP, _BOTTOM = 540.0, 18.0, 252.0
_BAR, _ROW = 260.0, 18.0
MOST_LAYERS = 300


def report(found: dict[str, Any]) -> str:
    """One self-contained HTML page, from what `compress` gives; names of layers are hostile text."""
    found = tidy(found, 400)
    layers = found["layers"][:MOST_LAYERS]
    return templates().get_template("compressed.html.j2").render(
        f=found,
        lead=_lead(found),
        curve=trade_off(found),
        bits=layer_bits(layers),
        hidden=len(found["layers"]) - len(layers),
        style=assets.text("style.css"),
        script=assets.text("page.js"),
        policy=policy(),
    )  # fmt: skip


def trade_off(found: dict[str, Any]) -> str:
    """Distance against size: the forecast of the best mixes as a line, what was measured as points."""
    known = [p for p in found["curve"] if words.finite(p["loss"])]
    worst = max((p["loss"] for p in known), default=0.0)
    curve = [p for p in known if p["loss"] > worst / 1e4]  # beyond, there is nothing to choose between
    tried = [t for t in found["tried"] if words.finite(t["loss"]) and t["loss"] > 0]
    values = [p["loss"] for p in (*curve, *tried)]
    sizes = [p["bytes"] for p in (*curve, *tried)]
    if len(values) < 2 or min(sizes) == max(sizes):
        return ""
    y = Axis(min(values) / 1.3, max(values) * 1.3, _BOTTOM, _TOP, log=True)
    left = 64.0
    x = Axis(min(sizes), max(sizes), left + 14, _RIGHT - 14, log=True)
    parts = [line(left, _TOP, left, _BOTTOM, "axis"), line(left, _BOTTOM, _RIGHT, _BOTTOM, "axis")]
    for value in _decades(y.low, y.high):
        parts += [line(left, y(value), _RIGHT, y(value), "grid")]
        parts += [label(words.number(value), left - 6, y(value) + 4, "tick", "end")]
    taken = -1e9
    for size in sorted(sizes):
        if x(size) - taken > 70:
            parts.append(label(words.size(size), x(size), _BOTTOM + 16, "tick", "middle"))
            taken = x(size)
    corners = " ".join(f"{x(p['bytes']):.1f},{y(p['loss']):.1f}" for p in curve)
    parts.append(tag("polyline", points=corners, class_="curve"))
    best = min(tried, key=lambda t: (abs(t["bytes"] - found["bytes"]), t["loss"])) if tried else None
    for t in tried:
        tip = f"{words.clean(t['name'])}: {words.size(t['bytes'])}, distance {words.number(t['loss'])}"
        kind = "chosen" if t is best else "other"
        parts.append(mark(tip, tag("circle", cx=x(t["bytes"]), cy=y(t["loss"]), r=5.0, class_=f"dot {kind}")))
    parts.append(label("size of the folder", (left + _RIGHT) / 2, _BOTTOM + 36, "name", "middle"))
    parts.append(label("distance from the model as it was", left, _TOP - 6, "name"))
    return svg.picture(_W, _H, "Size against loss of the mixes", parts)


def layer_bits(layers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for each layer: name, format, bits with a bar, bytes."""
    most = max([16.0, *(layer["bits"] for layer in layers)])
    rows = []
    for layer in layers:
        width = _BAR * layer["bits"] / most
        bar = tag("rect", x=0, y=3, width=round(width, 1), height=_ROW - 6, class_="bar")
        tip = f"{words.clean(layer['name'])}: {layer['bits']:.2f} bits a number"
        rows.append({**layer, "picture": svg.strip(tip, bar), "size": words.size(layer["bytes"])})
    return rows


def _lead(f: dict[str, Any]) -> list[str]:
    first = (
        f"{words.size(f['bytes_before'])} became {words.size(f['bytes'])}, {f['bits_per_weight']:.2f} bits a weight."
    )
    if f["loss_after"] is None:
        return [first, *f["notes"]]
    lost = f["loss_after"] - f["loss_before"]
    return [
        first,
        f"The loss went from {words.number(f['loss_before'])} to {words.number(f['loss_after'])} {f['unit']} "
        f"({'+' if lost >= 0 else ''}{words.number(lost)}), on data that nothing was learned from or chosen by.",
        *f["notes"],
    ]


def _decades(low: float, high: float) -> list[float]:
    out, value = [], 1e-9
    while value <= high:
        out += [v for v in (value, 3 * value) if low <= v <= high]
        value *= 10
    return out
