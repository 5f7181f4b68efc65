"""Small pictures of the local page: a share as a bar, a difference on its axis. Numbers in, SVG out."""

from typing import Any

from smidgen.web import svg
from smidgen.web.svg import Axis, label, line, tag
from smidgen.web.words import alike, finite

_NS = "http://www.w3.org/2000/svg"


def share(value: Any) -> str:
    """A bar of a share in 0 .. 1; the number stands beside it, so it is hidden from who cannot see it."""
    if not finite(value):
        return ""
    filled = f"{100 * min(max(value, 0.0), 1.0):.1f}%"
    rest = tag("rect", x=0, y=0, width="100%", height=12, rx=2, class_="rest")
    bar = tag("rect", x=0, y=0, width=filled, height=12, rx=2)
    return tag("svg", rest, bar, xmlns=_NS, class_="bar", aria_hidden="true")


def gap(mean: float, low: float, high: float, names: tuple[str, str]) -> str:
    """A paired difference with its interval, and the line where both are equal."""
    ends = svg.padded([mean, low, high, 0.0], 0.12)
    x, at = Axis(*ends, 14.0, 406.0), svg.ticks(*ends, 5)
    parts = [line(x(v), 16, x(v), 60, "grid") for v in at]
    parts += [label(t, x(v), 76, "tick", "middle") for v, t in zip(at, svg.tick_labels(at), strict=True)]
    parts.append(line(x(0.0), 12, x(0.0), 62, "base"))
    parts.append(label("equal", x(0.0), 9, "note", "middle"))
    parts.append(line(x(low), 38, x(high), 38, "whisker chosen"))
    parts += [line(x(e), 32, x(e), 44, "whisker chosen") for e in (low, high)]
    parts.append(tag("circle", cx=x(mean), cy=38, r=5, class_="dot chosen"))
    shown = alike(mean, low, high)
    told = f"{names[0]} less {names[1]}: {shown[0]}, {shown[1]} to {shown[2]}"
    return svg.picture(420, 82, told, parts)
