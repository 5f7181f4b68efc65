"""Pictures in a table's rows that share one axis: estimates or differences, each a dot with its interval."""

from typing import Any

from smidgen.web import svg
from smidgen.web.svg import Axis, label, line, tag
from smidgen.web.words import finite, number, pair


def board_axis(rows: list[dict[str, Any]], baseline: float | None) -> tuple[Axis, list[float]] | None:
    """The one axis (in percent of its cell) that all rows share, and its ticks.

    A hopeless method must not squeeze the others: the axis ends at four times the spread of the better half (beyond
    the baseline if that is near), and what lies outside is drawn as an arrow. Rows come best first.
    """
    centres = sorted(row["estimate"] for row in rows if finite(row.get("estimate")))
    if not centres:
        return None
    ends = [e for row in rows if finite(row.get("estimate")) for e in pair(row.get("interval")) or ()]
    values = centres + ends + ([float(baseline)] if finite(baseline) else [])
    middle = centres[len(centres) // 2]
    best = next(row["estimate"] for row in rows if finite(row.get("estimate")))
    spread = max(abs(middle - best), *(abs(b - a) for a, b in _first_intervals(rows)), abs(middle) * 1e-6, 1e-12)
    low, high = max(min(values), middle - 4 * spread), min(max(values), middle + 4 * spread)
    if finite(baseline) and abs(baseline - middle) < 8 * spread:
        low, high = min(low, baseline), max(high, baseline)
    low, high = svg.padded([low, high], 0.04)
    if min(values) >= 0:
        low = max(low, 0.0)
    return Axis(low, high, 3.0, 97.0), svg.ticks(low, high, 5)


def _first_intervals(rows: list[dict[str, Any]]) -> list[tuple[float, float]]:
    return [e for row in rows[:3] if (e := pair(row.get("interval")))] or [(0.0, 0.0)]


def board_scale(axis: Axis, ticks: list[float]) -> str:
    """The tick numbers above the leaderboard's dots."""
    parts = [
        label(text, f"{axis(v):.2f}%", 14, "tick", "middle")
        for v, text in zip(ticks, svg.tick_labels(ticks), strict=True)
    ]
    return tag("svg", *parts, xmlns="http://www.w3.org/2000/svg", class_="scale", aria_hidden="true", height=18)


def whisker(row: dict[str, Any], axis: Axis, ticks: list[float], baseline: float | None) -> str:
    """One method: its estimate as a dot (filled if chosen), its interval as a line with ends."""
    parts = [line(f"{axis(v):.2f}%", 0, f"{axis(v):.2f}%", "100%", "grid") for v in ticks]
    if finite(baseline) and axis.low <= baseline <= axis.high:
        parts.append(line(f"{axis(baseline):.2f}%", 0, f"{axis(baseline):.2f}%", "100%", "base"))
    chosen, centre, ends = bool(row.get("chosen")), row["estimate"], pair(row.get("interval"))
    kind = "chosen" if chosen else "other"
    if ends:
        a, b = sorted(ends)
        if b >= axis.low and a <= axis.high:
            parts.append(line(f"{axis(a):.2f}%", "50%", f"{axis(b):.2f}%", "50%", f"whisker {kind}"))
            parts += [
                _arrow(axis(e), side, kind) if outside else _end(axis(e), kind)
                for e, side, outside in ((a, "‹", a < axis.low), (b, "›", b > axis.high))
            ]
    if axis.low <= centre <= axis.high:
        parts.append(tag("circle", cx=f"{axis(centre):.2f}%", cy="50%", r=5 if chosen else 4, class_=f"dot {kind}"))
    else:
        parts.append(_arrow(axis(centre), "«" if centre < axis.low else "»", kind))
    told = f"{row.get('method')}: {number(centre)}" + (f", {number(ends[0])} to {number(ends[1])}" if ends else "")
    return svg.strip(told, *parts)


def _end(at: float, kind: str) -> str:
    return tag(
        "rect", x=f"{at:.2f}%", y="50%", width=1.5, height=9, transform="translate(-0.75 -4.5)", class_=f"end {kind}"
    )


def _arrow(at: float, sign: str, kind: str) -> str:
    return label(sign, f"{at:.2f}%", "50%", f"arrow {kind}", "middle", dy="0.32em")
