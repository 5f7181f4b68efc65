"""A plan's forecast as a picture: what was measured, and where more labels are expected to lead."""

import math
from typing import Any

from smidgen.web import svg, words
from smidgen.web.svg import Axis, label, line, mark, tag
from smidgen.web.words import finite, number, pair, whole

_W, _H = 360.0, 250.0
_RIGHT, _TOP, _BOTTOM = 346.0, 18.0, 206.0


def outlook(plan: Any) -> str | None:
    """The band of the forecast by labelled rows, the measured points, and a line at the rows that there are."""
    if not isinstance(plan, dict):
        return None
    band = [p for p in plan.get("band") or [] if isinstance(p, dict) and finite(p.get("n")) and pair(p.get("interval"))]
    points = [p for p in plan.get("curve") or [] if isinstance(p, dict) and finite(p.get("n"))]
    points = [p for p in points if finite(p.get("estimate"))]
    if len(band) < 2 or not finite(plan.get("n")):
        return None
    metric, target = words.metric_name(plan.get("metric")), (plan.get("asked") or {}).get("target")
    values = [v for p in band for v in p["interval"]] + [p["estimate"] for p in points]
    values += [target] if finite(target) else []
    low, high = svg.padded(values)
    y = Axis(max(low, 0.0) if min(values) >= 0 else low, high, _BOTTOM, _TOP)
    parts, left = svg.y_axis(y, metric, _RIGHT)
    sizes = [p["n"] for p in [*band, *points] if p["n"] > 0]
    x = Axis(min(sizes), max(sizes), left + 12, _RIGHT - 12, log=True)
    upper = [f"{x(p['n']):.1f},{y(p['interval'][1]):.1f}" for p in band]
    lower = [f"{x(p['n']):.1f},{y(p['interval'][0]):.1f}" for p in reversed(band)]
    parts.append(tag("polygon", points=" ".join([*upper, *lower]), class_="band"))
    parts.append(line(x(plan["n"]), _TOP, x(plan["n"]), _BOTTOM, "base"))
    parts.append(label("now", x(plan["n"]) + 4, _TOP + 9, "note"))
    if finite(target):
        parts.append(line(left, y(target), _RIGHT, y(target), "base"))
        marks = [(x(p["n"]), y(p["estimate"])) for p in [*band, *points]]
        parts.append(_target(y(target), left, marks))
    corners = " ".join(f"{x(p['n']):.1f},{y(p['estimate']):.1f}" for p in band)
    parts.append(tag("polyline", points=corners, class_="curve"))
    for p in points:
        tip = f"{whole(p['n'])} labelled rows, measured: {metric} {number(float(p['estimate']))}"
        parts.append(mark(tip, tag("circle", cx=x(p["n"]), cy=y(p["estimate"]), r=4.0, class_="dot chosen")))
    for forecast in plan.get("forecasts") or []:
        if (
            isinstance(forecast, dict)
            and forecast.get("purchase") == "label"
            and finite(forecast.get("total"))
            and forecast["total"] <= max(sizes)
        ):
            ends = pair(forecast.get("interval"))
            between = f", interval {number(ends[0])} to {number(ends[1])}" if ends else ""
            tip = (
                f"{whole(forecast['total'])} labelled rows, forecast: {metric} {number(forecast['estimate'])}{between}"
            )
            at = x(forecast["total"]), y(forecast["estimate"])
            parts.append(mark(tip, tag("circle", cx=at[0], cy=at[1], r=3.5, class_="dot other")))
    taken = -1e9
    for n in sorted({float(plan["n"]) * t for t in (0.25, 1, 2, 4, 10)}):
        if x(n) >= taken and min(sizes) <= n * 1.01 and n <= max(sizes) * 1.01:
            parts.append(label(whole(round(n)), x(n), _BOTTOM + 16, "tick", "middle"))
            taken = x(n) + 12 + 6 * len(whole(round(n)))
    parts.append(label("labelled rows", (x.start + x.stop) / 2, _BOTTOM + 34, "name", "middle"))
    ends = f"{number(band[-1]['estimate'])} at {whole(round(band[-1]['n']))}"
    return svg.picture(_W, _H, f"Forecast of {metric} by labelled rows: {ends}", parts)


def _target(at: float, left: float, marks: list[tuple[float, float]]) -> str:
    """The word beside its line: above or below it, at the end where dots and curve are farthest."""
    middles = [(x, at + dy) for dy in (-8.0, 10.0) for x in (_RIGHT - 18, left + 22)]
    apart = [min(math.hypot((x - a) / 3, y - b) for a, b in marks) for x, y in middles]  # it is wider than high
    x, y = middles[apart.index(max(apart))]
    return label("target", x, y + 4, "note", "middle")


def section(s: dict[str, Any]) -> dict[str, Any] | None:
    """Sentences, picture, and a row for each forecast; None where the study was not planned for."""
    plan = s.get("plan")
    if not isinstance(plan, dict) or not plan.get("sentences"):
        return None
    money = plan.get("split") if isinstance(plan.get("split"), dict) else {}
    rows = []
    for f in plan.get("forecasts") or []:
        if isinstance(f, dict) and finite(f.get("estimate")):
            ends = pair(f.get("interval"))
            rows.append({
                "purchase": f.get("purchase"), "amount": words.count(f.get("amount")),
                "total": words.count(f.get("total")), "cost": number(f.get("cost")), "estimate": number(f["estimate"]),
                "interval": f"{number(ends[0])} to {number(ends[1])}" if ends else "",
            })  # fmt: skip
    return {
        "sentences": [t for t in plan["sentences"] if isinstance(t, str)][:12],
        "warnings": [t for t in plan.get("warnings") or [] if isinstance(t, str)][:4],
        "picture": outlook(plan), "rows": rows[:40], "metric": words.metric_name(plan.get("metric")),
        "split": [(k, number(v)) for k, v in (money or {}).items() if finite(v)],
    }  # fmt: skip
