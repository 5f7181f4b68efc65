"""How far quantized models part from their float parent at each temperature: a small plot a variant, on one scale."""

from collections.abc import Mapping, Sequence
from typing import Any

from smidgen.web import svg
from smidgen.web.svg import Axis, label, line, mark, tag
from smidgen.web.words import finite, number

_W, _H, _ACROSS = 210.0, 150.0, 3
_TOP, _BOTTOM = 30.0, 112.0


def decoding_curves(rows: Sequence[Mapping[str, Any]], measure: str, by: str = "temperature") -> str | None:
    """Of the rows of `decoding_statistics.curves`: the difference to the parent with its band, and a line at none.

    None where no variant has two points.
    """
    known = [r for r in rows if all(finite(r.get(k)) for k in (by, "difference", "low", "high"))]
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for row in known:
        groups.setdefault(str(row["variant"]), []).append(row)
    groups = {name: sorted(part, key=lambda r: r[by]) for name, part in groups.items() if len(part) > 1}
    if not groups:
        return None
    shown = [r for part in groups.values() for r in part]
    low, high = svg.padded([0.0, *(r[k] for r in shown for k in ("low", "high", "difference"))])
    ends = min(r[by] for r in shown), max(r[by] for r in shown)
    parts = []
    for at, (name, part) in enumerate(groups.items()):
        x, y = _W * (at % _ACROSS), _H * (at // _ACROSS)
        drawn = _panel(name, part, (low, high), ends, measure, by)
        parts.append(tag("g", *drawn, transform=f"translate({x:.0f} {y:.0f})"))
    across, down = min(len(groups), _ACROSS), -(-len(groups) // _ACROSS)
    worst = max(shown, key=lambda r: abs(r["difference"]))
    told = f"largest difference {number(worst['difference'])} of {worst['variant']} at {by} {number(worst[by])}"
    return svg.picture(_W * across, _H * down, f"{measure}, difference to the float model by {by}: {told}", parts)


def _panel(
    name: str, rows: Sequence[Mapping[str, Any]], values: tuple[float, float], ends: tuple[float, float], measure: str,
    by: str,
) -> list[str]:  # fmt: skip
    y = Axis(*values, _BOTTOM, _TOP)
    at = svg.ticks(*values, 4)
    texts = svg.tick_labels(at)
    left, right = 12 + 6.5 * max(map(len, texts)), _W - 14
    x = Axis(*ends, left + 6, right - 6)
    parts = [line(left, y(v), right, y(v), "grid") for v in at]
    parts += [label(t, left - 6, y(v) + 4, "tick", "end") for v, t in zip(at, texts, strict=True)]
    parts += [label(name, left, 14, "strong"), line(left, y(0), right, y(0), "base")]
    corners = [f"{x(r[by]):.1f},{y(r['high']):.1f}" for r in rows]
    corners += [f"{x(r[by]):.1f},{y(r['low']):.1f}" for r in reversed(rows)]
    parts.append(tag("polygon", points=" ".join(corners), class_="band"))
    middle = " ".join(f"{x(r[by]):.1f},{y(r['difference']):.1f}" for r in rows)
    parts.append(tag("polyline", points=middle, class_="curve"))
    for r in rows:
        tip = f"{name}, {by} {number(r[by])}: {measure} {number(r['difference'])} from float, {number(r['low'])} to "
        parts.append(
            mark(tip + number(r["high"]), tag("circle", cx=x(r[by]), cy=y(r["difference"]), r=3.0, class_="dot"))
        )
    parts += [label(number(v), x(v), _BOTTOM + 16, "tick", "middle") for v in ends]
    return [*parts, label(by, (x.start + x.stop) / 2, _BOTTOM + 16, "name", "middle")]
