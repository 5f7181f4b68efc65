"""The picture of a claim's evidence: for each part what every seed gained, their mean, and what was asked of it."""

import textwrap
from typing import Any

from smidgen.web import svg
from smidgen.web.svg import Axis, label, line, mark, tag
from smidgen.web.words import clean, finite, number, pair

MARKS = {"holds": "✔", "direction only": "◐", "fails here": "✘"}
_W, _LEFT, _RIGHT = 360.0, 44.0, 316.0
_LETTERS = 52  # in a line of text


def evidence_picture(evidence: dict[str, Any]) -> str | None:
    """All parts below each other, each on its own axis (their units differ). None without parts.

    Args:
        evidence: contents of an evidence file: `parts` with name, says, unit, margin, null, verdict, mean, interval
            and gains, and `verdict`.
    """
    parts = [part for part in evidence.get("parts") or [] if isinstance(part, dict)]
    if not parts:
        return None
    drawn, at = _keys(), 48.0
    for part in parts:
        own, at = _part(part, at)
        drawn += own
    told = "; ".join(
        f"{part.get('name')}: {part.get('verdict')}, mean gain {number(part.get('mean'))}" for part in parts
    )
    return svg.picture(_W, at, f"Evidence, {evidence.get('verdict')}. {told}", drawn, shown=460)


def _keys() -> list[str]:
    return [
        tag("circle", cx=6, cy=8, r=3.5, class_="dot other"),
        label("a seed", 14, 12, "note"),
        tag("path", d="M67 3l5 5l-5 5l-5 -5z", class_="dot"),
        label("mean of the seeds, with its interval", 77, 12, "note"),
        label("Asked: the mean at the margin, the interval above the null.", 0, 28, "note"),
    ]


def _part(part: dict[str, Any], top: float) -> tuple[list[str], float]:
    """The drawing of one part that begins at `top`, and where it ends."""
    verdict, unit = str(part.get("verdict")), clean(part.get("unit") or "", 24)
    at, out = top, []
    for text in textwrap.wrap(clean(part.get("says") or part.get("name"), 220), _LETTERS) or [""]:
        out.append(label(text, 0, at + 6, "strong"))
        at += 16
    mean, ends = part.get("mean"), pair(part.get("interval"))
    words = f"{MARKS.get(verdict, '')} {verdict}"
    if finite(mean):
        words += f": mean {number(float(mean))}" + (f" {unit}" if unit else "")
        words += f" ({number(ends[0])} to {number(ends[1])})" if ends else ""
    out.append(label(words, 0, at + 6))
    gains = [(k, float(g)) for k, g in enumerate(part.get("gains") or []) if finite(g)]
    lost = len(part.get("gains") or []) - len(gains)
    if lost:
        at += 16
        out.append(label(f"{lost} of the seeds gave no number", 0, at + 6, "note"))
    lines = [float(v) for v in (part.get("null"), part.get("margin")) if finite(v)]
    values = [*(g for _, g in gains), *lines, *(ends or ()), *([float(mean)] if finite(mean) else [])]
    if not gains or not values:
        return out, at + 30
    return [*out, *_plot(gains, mean, ends, part, Axis(*svg.padded(values), _LEFT, _RIGHT), at + 30)], at + 104


def _plot(
    gains: list[tuple[int, float]], mean: Any, ends: tuple[float, float] | None, part: dict, x: Axis, top: float
) -> list[str]:
    bottom, middle = top + 38, top + 28
    ticks = svg.ticks(x.low, x.high, 5)
    out = [line(x(v), top, x(v), bottom, "grid") for v in ticks]
    out += [label(t, x(v), bottom + 14, "tick", "middle") for v, t in zip(ticks, svg.tick_labels(ticks), strict=True)]
    out += _asked(part.get("null"), part.get("margin"), x, top, bottom)
    if finite(mean):
        at, told = x(float(mean)), f"mean gain {number(float(mean))}"
        own = [tag("path", d=f"M{at:.1f} {middle - 6:.1f}l6 6l-6 6l-6 -6z", class_="dot")]
        if ends:
            a, b = x(ends[0]), x(ends[1])
            told += f", interval {number(ends[0])} to {number(ends[1])}"
            own = [line(e, middle - 5, e, middle + 5, "whisker") for e in (a, b)] + own
            own = [line(a, middle, b, middle, "hit"), line(a, middle, b, middle, "whisker"), *own]
        out.append(mark(told, *own))
    return out + [
        mark(f"seed {k}: gain {number(g)}", name="circle", cx=x(g), cy=top + 10, r=3.5, class_="dot other")
        for k, g in gains
    ]


def _asked(null: Any, margin: Any, x: Axis, top: float, bottom: float) -> list[str]:
    """The lines of the null value and the margin, with their names, which never lie on each other."""
    if finite(null) and finite(margin) and abs(x(null) - x(margin)) < 1:
        own = [line(x(null), top - 4, x(null), bottom, "base")]
        return [
            mark(f"margin and null {number(margin)}", *own, label("margin = null", x(null), top - 6, "note", "middle"))
        ]
    out, right = [], finite(null) and finite(margin) and margin > null
    for name, value, kind, after in (("null", null, "base", not right), ("margin", margin, "goal", right)):
        if finite(value):
            text = label(name, x(value) + (-2 if not after else 2), top - 6, "note", "start" if after else "end")
            out.append(mark(f"{name} {number(value)}", line(x(value), top - 4, x(value), bottom, kind), text))
    return out
