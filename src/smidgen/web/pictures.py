"""How predictions and truth agree: numbers in, well-formed SVG out. Shapes and words carry the meaning, not colour."""

from typing import Any

from smidgen.web import svg
from smidgen.web.svg import Axis, label, line, mark, tag
from smidgen.web.words import clean, finite, number, percent, whole

_W, _H = 360.0, 250.0  # one picture; small, so that its letters keep their size on a phone
_RIGHT, _TOP, _BOTTOM = 346.0, 18.0, 206.0


def calibration(bins: list[dict[str, Any]]) -> str | None:
    """What was predicted against how often it came true, with the number of rows behind each dot."""
    bins = [b for b in bins if finite(b.get("predicted")) and finite(b.get("observed")) and (b.get("count") or 0) > 0]
    if not bins:
        return None
    least = min(min(b["predicted"], b["observed"]) for b in bins)
    low, at = (0.5, [0.5, 0.6, 0.7, 0.8, 0.9, 1.0]) if least >= 0.5 else (0.0, [0.0, 0.25, 0.5, 0.75, 1.0])
    y = Axis(low, 1.0, _BOTTOM, _TOP + 6)
    parts, left = svg.y_axis(y, "came true", _RIGHT, at, [percent(v) for v in at])
    x = Axis(low, 1.0, left + 10, _RIGHT - 12)
    parts += [label(percent(v), x(v), _BOTTOM + 16, "tick", "middle") for v in at]
    parts.append(label("predicted probability", (x.start + x.stop) / 2, _BOTTOM + 34, "name", "middle"))
    parts.append(line(x(low), y(low), x(1), y(1), "base"))
    bins = _apart(bins, 26 / (x.stop - x.start) * (1 - low))
    most = max(b["count"] for b in bins)
    spots = [(x(b["predicted"]), y(b["observed"]), 3.0 + 7.0 * (b["count"] / most) ** 0.5, b["count"]) for b in bins]
    told = [
        f"{percent(b['predicted'])} predicted, {percent(b['observed'])} true, {whole(b['count'])} rows" for b in bins
    ]
    parts += [
        mark(tip, name="circle", cx=cx, cy=cy, r=r, class_="dot chosen soft")
        for tip, (cx, cy, r, _) in zip(told, spots, strict=True)
    ]
    for cx, cy, r, count in spots:  # the number goes to the side of the dot that is away from the diagonal
        above = cy <= y(low + (cx - x.start) / (x.stop - x.start) * (1 - low))
        at = cy - r - 4 if above and cy - r > _TOP + 4 or cy + r + 13 > _BOTTOM else cy + r + 12
        parts.append(label(whole(count), cx, at, "note", "middle"))
    return svg.picture(_W, _H, f"Calibration: {'; '.join(told)}", parts)


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
    parts, left = svg.y_axis(y, f"true {clean(target, 24)}", _RIGHT, at)
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
    parts += [
        mark(f"true {number(t)}, predicted {number(p)}", name="circle", cx=x(p), cy=y(t), r=2.8, class_="ring")
        for t, p in pairs
    ]
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
            tip = f"true {names[i]}, predicted {names[j]}: {number(value)} ({percent(share)} of the true ones)"
            parts += _square(value, share, tip, left + cell * j, top + cell * i, cell, right=i == j)
    title = f"Confusion matrix of {size} classes: rows are true, columns are predicted"
    return svg.picture(width, height, title, parts, shown=width), width


def _square(value: Any, share: float, tip: str, x: float, y: float, cell: float, right: bool) -> list[str]:
    """One cell; shaded so lightly that its number can always be read. Right answers are framed: seen without colour."""
    place = {"x": x + 1, "y": y + 1, "width": cell - 2, "height": cell - 2}
    parts = [tag("rect", **place, class_="heat", fill_opacity=f"{0.78 * share:.2f}")] if share > 0 else []
    parts += [tag("rect", **place, class_="frame")] if right else []
    none = not finite(value) or value < 0.05
    shown = "·" if none else f"{value:.1f}".removesuffix(".0")
    parts.append(label(shown, x + cell / 2, y + cell / 2 + 4, "count", "middle"))
    return parts if none else [mark(tip, *parts)]
