"""The report's pictures: numbers in, well-formed SVG out. Shapes and words carry the meaning, colour only helps."""

from typing import Any

from smidgen.web import svg
from smidgen.web.svg import Axis, label, line, tag
from smidgen.web.words import clean, finite, number, pair, percent, whole

_W, _H = 360.0, 250.0  # one picture; small, so that its letters keep their size on a phone
_RIGHT, _TOP, _BOTTOM = 346.0, 18.0, 206.0


def board_axis(rows: list[dict[str, Any]], baseline: float | None) -> tuple[Axis, list[float]] | None:
    """The one axis (in percent of its cell) that all methods of the leaderboard share, and its ticks.

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
                _arrow(axis(e), side, kind)
                if outside
                else tag(
                    "rect",
                    x=f"{axis(e):.2f}%",
                    y="50%",
                    width=1.5,
                    height=9,
                    transform="translate(-0.75 -4.5)",
                    class_=f"end {kind}",
                )
                for e, side, outside in ((a, "‹", a < axis.low), (b, "›", b > axis.high))
            ]
    if axis.low <= centre <= axis.high:
        parts.append(tag("circle", cx=f"{axis(centre):.2f}%", cy="50%", r=5 if chosen else 4, class_=f"dot {kind}"))
    else:
        parts.append(_arrow(axis(centre), "«" if centre < axis.low else "»", kind))
    title = f"{row.get('method')}: {number(centre)}" + (f", {number(ends[0])} to {number(ends[1])}" if ends else "")
    return tag(
        "svg",
        tag("title", svg.escape(clean(title))),
        *parts,
        xmlns="http://www.w3.org/2000/svg",
        role="img",
        class_="row",
    )


def _arrow(at: float, sign: str, kind: str) -> str:
    return label(sign, f"{at:.2f}%", "50%", f"arrow {kind}", "middle", dy="0.32em")


def learning_curve(curve: list[dict[str, Any]], metric: str, baseline: float | None) -> str | None:
    """Score against labelled rows, with intervals. None with fewer than two points."""
    points = sorted(
        (p for p in curve if finite(p.get("n")) and p["n"] > 0 and finite(p.get("estimate"))), key=lambda p: p["n"]
    )
    if len(points) < 2:
        return None
    values = [v for p in points for v in (p["estimate"], *(pair(p.get("interval")) or ()))]
    near = 1.5 * _span(values)
    if not finite(baseline) or not min(values) - near <= baseline <= max(values) + near:
        baseline = None  # too far away: it would squeeze the curve
    low, high = svg.padded(values if baseline is None else [*values, baseline])
    low = max(low, 0.0) if min(values) >= 0 else low
    ns = [float(p["n"]) for p in points]
    y = Axis(low, high, _BOTTOM, _TOP)
    parts, left = _y_axis(y, metric)
    last = number(float(points[-1]["estimate"]))
    x = Axis(ns[0], ns[-1], left + 20, _RIGHT - 12 - 6.8 * len(last), log=ns[-1] > 4 * ns[0])
    taken = 1e9
    for n in reversed(ns):  # the last one always gets its number
        if x(n) <= taken - 8 - 6 * len(whole(n)):
            parts.append(label(whole(n), x(n), _BOTTOM + 16, "tick", "middle"))
            taken = x(n)
    parts.append(label("labelled rows", (x.start + x.stop) / 2, _BOTTOM + 34, "name", "middle"))
    if baseline is not None:
        parts.append(line(left, y(baseline), _RIGHT, y(baseline), "base"))
        parts.append(label("baseline", _RIGHT, y(baseline) - 4, "note", "end"))
    for p in points:
        ends = pair(p.get("interval"))
        if ends:
            at = x(p["n"])
            parts.append(line(at, y(ends[0]), at, y(ends[1]), "whisker chosen"))
            parts += [line(at - 4, y(e), at + 4, y(e), "whisker chosen") for e in ends]
    parts.append(
        tag("polyline", points=" ".join(f"{x(p['n']):.1f},{y(p['estimate']):.1f}" for p in points), class_="curve")
    )
    parts += [tag("circle", cx=x(p["n"]), cy=y(p["estimate"]), r=4.0, class_="dot chosen") for p in points]
    parts.append(label(last, x(ns[-1]) + 9, y(points[-1]["estimate"]) + 4, "value"))
    told = ", ".join(f"{number(float(p['estimate']))} at {whole(p['n'])}" for p in points)
    return svg.picture(_W, _H, f"Learning curve, {metric} by labelled rows: {told}", parts)


def calibration(bins: list[dict[str, Any]]) -> str | None:
    """What was predicted against how often it came true, with the number of rows behind each dot."""
    bins = [b for b in bins if finite(b.get("predicted")) and finite(b.get("observed")) and (b.get("count") or 0) > 0]
    if not bins:
        return None
    least = min(min(b["predicted"], b["observed"]) for b in bins)
    low, at = (0.5, [0.5, 0.6, 0.7, 0.8, 0.9, 1.0]) if least >= 0.5 else (0.0, [0.0, 0.25, 0.5, 0.75, 1.0])
    y = Axis(low, 1.0, _BOTTOM, _TOP + 6)
    parts, left = _y_axis(y, "came true", at, share=True)
    x = Axis(low, 1.0, left + 10, _RIGHT - 12)
    parts += [label(percent(v), x(v), _BOTTOM + 16, "tick", "middle") for v in at]
    parts.append(label("predicted probability", (x.start + x.stop) / 2, _BOTTOM + 34, "name", "middle"))
    parts.append(line(x(low), y(low), x(1), y(1), "base"))
    bins = _apart(bins, 26 / (x.stop - x.start) * (1 - low))
    most = max(b["count"] for b in bins)
    spots = [(x(b["predicted"]), y(b["observed"]), 3.0 + 7.0 * (b["count"] / most) ** 0.5, b["count"]) for b in bins]
    parts += [tag("circle", cx=cx, cy=cy, r=r, class_="dot chosen soft") for cx, cy, r, _ in spots]
    for cx, cy, r, count in spots:  # the number goes to the side of the dot that is away from the diagonal
        above = cy <= y(low + (cx - x.start) / (x.stop - x.start) * (1 - low))
        at = cy - r - 4 if above and cy - r > _TOP + 4 or cy + r + 13 > _BOTTOM else cy + r + 12
        parts.append(label(whole(count), cx, at, "note", "middle"))
    told = "; ".join(
        f"{percent(b['predicted'])} predicted, {percent(b['observed'])} true, {whole(b['count'])} rows" for b in bins
    )
    return svg.picture(_W, _H, f"Calibration: {told}", parts)


def _apart(bins: list[dict[str, Any]], least: float) -> list[dict[str, Any]]:
    """Dots whose numbers would lie on each other are drawn as one."""
    out: list[dict[str, Any]] = []
    for b in sorted(bins, key=lambda b: b["predicted"]):
        if out and b["predicted"] - out[-1]["predicted"] < least and abs(b["observed"] - out[-1]["observed"]) < least:
            a = out.pop()
            total = a["count"] + b["count"]
            b = {k: (a[k] * a["count"] + b[k] * b["count"]) / total for k in ("predicted", "observed")} | {
                "count": total
            }
        out.append(b)
    return out


def residuals(truth: list[Any], predicted: list[Any], target: str) -> str | None:
    """Predicted against true values, one ring a row; on the dashed line the prediction is right."""
    pairs = [(float(t), float(p)) for t, p in zip(truth, predicted, strict=False) if finite(t) and finite(p)][:500]
    if not pairs:
        return None
    values = [v for one in pairs for v in one]
    low, high = svg.padded(values, 0.04)
    y, at = Axis(low, high, _BOTTOM, _TOP + 6), svg.ticks(low, high, 5)
    parts, left = _y_axis(y, f"true {clean(target, 24)}", at)
    x = Axis(low, high, left + 8, _RIGHT - 8)
    texts = svg.tick_labels(at)
    thin = (
        2 if max(map(len, texts)) * 6.5 * len(at) > 0.85 * (x.stop - x.start) else 1
    )  # long numbers: every second one
    parts += [
        label(text, x(v), _BOTTOM + 16, "tick", "middle") for v, text in list(zip(at, texts, strict=True))[::thin]
    ]
    parts.append(label("predicted", (x.start + x.stop) / 2, _BOTTOM + 34, "name", "middle"))
    parts.append(line(x(low), y(low), x(high), y(high), "base"))
    parts += [tag("circle", cx=x(p), cy=y(t), r=2.8, class_="ring") for t, p in pairs]
    return svg.picture(_W, _H, f"Predicted against true values of {len(pairs)} rows", parts)


def confusion(matrix: list[list[Any]], classes: list[Any]) -> tuple[str, float] | None:
    """Rows of each true class by predicted class: shade is the share of the row, the number is the count.

    Returns the picture and the width (in pixels) below which its numbers would be too small to read.
    """
    size = len(matrix)
    if not size or size != len(classes) or any(len(row) != size for row in matrix):
        return None
    names = [clean(c, 14 if size > 8 else 12) for c in classes]
    longest = max(len(name) for name in names)
    cell = {2: 72.0, 3: 60.0, 4: 52.0, 5: 46.0, 6: 40.0}.get(size, 36.0 if size < 12 else 30.0)
    left, slanted = max(48.0, 12.0 + 6.6 * longest), 6.2 * longest > cell - 4
    top = 26.0 + (5.2 * longest if slanted else 8.0)
    right = 10.0 + (4.6 * longest if slanted else 0.0)
    width, height = left + cell * size + right, top + cell * size + 8
    parts = [label("predicted →", left, 12, "name"), label("true ↓", left - 6, top - 8, "name", "end")]
    for i, name in enumerate(names):
        across, down = left + cell * (i + 0.5), top + cell * (i + 0.5)
        turn = f"rotate(-48 {across:.1f} {top - 6:.1f})" if slanted else None
        parts.append(label(name, across, top - 6, "tick", "start" if slanted else "middle", transform=turn))
        parts.append(label(name, left - 6, down + 4, "tick", "end"))
    for i, row in enumerate(matrix):
        total = sum(v for v in row if finite(v)) or 1
        for j, value in enumerate(row):
            share = max(value, 0) / total if finite(value) else 0.0
            x, y = left + cell * j, top + cell * i
            if share > 0:
                parts.append(
                    tag(
                        "rect",
                        x=x + 1,
                        y=y + 1,
                        width=cell - 2,
                        height=cell - 2,
                        class_="heat",
                        fill_opacity=f"{share:.2f}",
                    )
                )
            if i == j:  # right answers are framed: seen without colour
                parts.append(tag("rect", x=x + 1, y=y + 1, width=cell - 2, height=cell - 2, class_="frame"))
            shown = "·" if not finite(value) or value < 0.05 else f"{value:.1f}".removesuffix(".0")
            parts.append(
                label(shown, x + cell / 2, y + cell / 2 + 4, "count light" if share > 0.55 else "count", "middle")
            )
    return svg.picture(
        width, height, f"Confusion matrix of {size} classes: rows are true, columns are predicted", parts
    ), width


def _y_axis(y: Axis, name: str, at: list[float] | None = None, share: bool = False) -> tuple[list[str], float]:
    """The parts, and the place where the plot begins: as far right as the longest number needs."""
    at = svg.ticks(y.low, y.high, 5) if at is None else at
    shown = [percent(v) for v in at] if share else svg.tick_labels(at)
    left = 12.0 + 6.5 * max(len(text) for text in shown)
    parts = [line(left, y(v), _RIGHT, y(v), "grid") for v in at]
    parts += [label(text, left - 6, y(v) + 4, "tick", "end") for v, text in zip(at, shown, strict=True)]
    return [*parts, label(name, 0, 9, "name")], left


def _span(values: list[float]) -> float:
    return (max(values) - min(values)) or abs(max(values)) or 1.0
