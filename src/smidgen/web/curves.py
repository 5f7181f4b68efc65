"""The learning curve of a study, with its intervals, and as a line small enough for a list."""

from collections.abc import Sequence
from typing import Any

from smidgen.web import svg
from smidgen.web.svg import Axis, label, line, mark, tag
from smidgen.web.words import clean, finite, number, pair, whole

_W, _H = 360.0, 250.0
_RIGHT, _TOP, _BOTTOM = 346.0, 18.0, 206.0


def learning_curve(curve: list[dict[str, Any]], metric: str, baseline: float | None) -> str | None:
    """Score against labelled rows, with intervals. None with fewer than two points."""
    points = _points(curve)
    if len(points) < 2:
        return None
    values = [v for p in points for v in (p["estimate"], *(pair(p.get("interval")) or ()))]
    near = 1.5 * ((max(values) - min(values)) or abs(max(values)) or 1.0)
    if not finite(baseline) or not min(values) - near <= baseline <= max(values) + near:
        baseline = None  # too far away: it would squeeze the curve
    last = number(float(points[-1]["estimate"]))
    parts, x, y = _axes(
        [p["n"] for p in points], values if baseline is None else [*values, baseline], metric, 12 + 6.8 * len(last)
    )
    if baseline is not None:
        parts.append(line(x.start - 20, y(baseline), _RIGHT, y(baseline), "base"))
        parts.append(label("baseline", _RIGHT, y(baseline) - 4, "note", "end"))
    corners = " ".join(f"{x(p['n']):.1f},{y(p['estimate']):.1f}" for p in points)
    parts.append(tag("polyline", points=corners, class_="curve"))
    for p in points:
        at, ends = x(p["n"]), pair(p.get("interval"))
        own = [tag("circle", cx=at, cy=y(p["estimate"]), r=4.0, class_="dot chosen")]
        if ends:
            own = [line(at - 4, y(e), at + 4, y(e), "whisker") for e in ends] + own
            own = [line(at, y(ends[0]), at, y(ends[1]), "hit"), line(at, y(ends[0]), at, y(ends[1]), "whisker"), *own]
        parts.append(mark(_told(p, metric), *own))
    parts.append(label(last, x(points[-1]["n"]) + 9, y(points[-1]["estimate"]) + 4, "value"))
    told = ", ".join(f"{number(float(p['estimate']))} at {whole(p['n'])}" for p in points)
    return svg.picture(_W, _H, f"Learning curve, {metric} by labelled rows: {told}", parts)


def sparkline(values: Sequence[Any], tip: str = "") -> str | None:
    """A line of at least two numbers for a list: no axes, a dot at its end; `tip` says what it is."""
    numbers = [float(v) for v in values if finite(v)][-60:]
    if len(numbers) < 2:
        return None
    x, y = Axis(0, len(numbers) - 1, 3.0, 75.0), Axis(*svg.padded(numbers, 0), 17.0, 3.0)
    tip = clean(tip or f"from {number(numbers[0])} to {number(numbers[-1])}", 160)
    return tag(
        "svg",
        tag("title", svg.escape(tip)),
        tag("polyline", points=" ".join(f"{x(k):.1f},{y(v):.1f}" for k, v in enumerate(numbers)), class_="curve"),
        tag("circle", cx=x(len(numbers) - 1), cy=y(numbers[-1]), r=2.5, class_="dot"),
        xmlns="http://www.w3.org/2000/svg",
        viewBox="0 0 80 20",
        width=80,
        height=20,
        role="img",
        class_="spark",
        data_tip=tip,
    )


def _points(curve: Any) -> list[dict[str, Any]]:
    known = [p for p in curve or [] if isinstance(p, dict) and finite(p.get("n")) and finite(p.get("estimate"))]
    return sorted((p for p in known if p["n"] > 0), key=lambda p: p["n"])


def _told(point: dict[str, Any], metric: str) -> str:
    ends = pair(point.get("interval"))
    between = f", interval {number(ends[0])} to {number(ends[1])}" if ends else ""
    return f"{whole(point['n'])} labelled rows: {metric} {number(float(point['estimate']))}{between}"


def _axes(ns: list[float], values: list[float], metric: str, air: float) -> tuple[list[str], Axis, Axis]:
    """Grid, numbers and names; rows across (logarithmic where they span much), score upwards. `air` stays right."""
    low, high = svg.padded(values)
    low = max(low, 0.0) if min(values) >= 0 else low
    y = Axis(low, high, _BOTTOM, _TOP)
    parts, left = svg.y_axis(y, metric, _RIGHT)
    ns = sorted({float(n) for n in ns})
    x = Axis(ns[0], ns[-1], left + 20, _RIGHT - air, log=ns[-1] > 4 * ns[0])
    taken = 1e9
    for n in reversed(ns):  # the last one always gets its number
        if x(n) <= taken - 8 - 6 * len(whole(n)):
            parts.append(label(whole(n), x(n), _BOTTOM + 16, "tick", "middle"))
            taken = x(n)
    parts.append(label("labelled rows", (x.start + x.stop) / 2, _BOTTOM + 34, "name", "middle"))
    return parts, x, y
