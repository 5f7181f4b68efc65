"""Which methods really differ: paired differences in words, against the best as dots, and every pair as a grid."""

from typing import Any

from smidgen.web import board, svg, words
from smidgen.web.svg import label, mark, tag
from smidgen.web.words import clean, finite

MOST = 12
_SIGNS = {"better": "▲", "worse": "▽", "not told apart": "·"}


def differences(comparisons: Any) -> dict[str, Any] | None:
    """What the report shows of `summary["comparisons"]`; None where fewer than two methods were compared.

    Returns:
        `best`, its name; `says`, a sentence; `scale`, a picture of ticks; `rows`, one a method after the best, with
        `name`, `gap`, `interval`, both as `shown`, `verdict` and `picture`; `pairs`, a picture of all pairs (None below
        three methods).
    """
    found = comparisons if isinstance(comparisons, dict) else {}
    names = words.told_apart([one for one in found.get("names") or [] if isinstance(one, dict)][:MOST])
    gaps = found.get("gaps") or []
    metric = words.metric_name(found.get("metric"))
    rows = []
    for j in range(1, len(names)):
        known = gap(gaps, j, 0)
        if known:
            mean, low, high = known
            row = {"name": names[j], "gap": mean, "interval": (low, high), "verdict": verdict(low, high)}
            rows.append(row | {"shown": words.alike(mean, low, high)})
    made = board.board_axis([{"estimate": row["gap"], "interval": row["interval"]} for row in rows], 0.0)
    if not made:
        return None
    axis, ticks = made
    for row in rows:
        drawn = {"method": f"{row['name']} less {names[0]}", "estimate": row["gap"], "interval": row["interval"]}
        row["picture"] = board.whisker(drawn | {"chosen": row["verdict"] != "not told apart"}, axis, ticks, 0.0)
    return {
        "best": names[0],
        "metric": metric,
        "level": found.get("level") or 0.9,
        "says": _says(names[0], rows),
        "scale": board.board_scale(axis, ticks),
        "rows": rows,
        "pairs": _pairs(names, gaps, metric) if len(names) > 2 else None,
    }


def gap(gaps: Any, i: int, j: int) -> tuple[float, float, float] | None:
    """Mean, low and high of loss(i) - loss(j), if it is known in either direction."""
    for a, b, sign in ((i, j, 1), (j, i, -1)):
        try:
            mean, low, high = (sign * float(v) for v in gaps[a][b])
        except (TypeError, ValueError, IndexError, KeyError):
            continue
        if finite(mean) and finite(low) and finite(high):
            return mean, min(low, high), max(low, high)
    return None


def verdict(low: float, high: float) -> str:
    """In words, of a difference in loss: beyond chance where its interval leaves out nought."""
    return "worse" if low > 0 else "better" if high < 0 else "not told apart"


def _says(best: str, rows: list[dict[str, Any]]) -> str:
    worse = [row["name"] for row in rows if row["verdict"] == "worse"]
    alike = [row["name"] for row in rows if row["verdict"] == "not told apart"]
    text = f"{best[:1].upper()}{best[1:]} came out best. "
    if not worse:
        return text + (
            f"None of the {len(rows)} others is worse beyond chance: these rows cannot tell them apart from it."
            if len(rows) > 1
            else f"{rows[0]['name']} is not worse beyond chance: these rows cannot tell the two apart."
        )
    text += f"{_listed(worse)} {'is' if len(worse) == 1 else 'are'} worse beyond chance"
    return text + (f"; {_listed(alike)} could be as good." if alike else ".")


def _listed(names: list[str], most: int = 4) -> str:
    if len(names) > most:
        return ", ".join(names[: most - 1]) + f" and {len(names) - most + 1} more"
    return " and ".join(part for part in (", ".join(names[:-1]), names[-1]) if part)


def _pairs(names: list[str], gaps: Any, metric: str) -> str:
    """Rows against columns: a filled triangle where the row's method is better, an open one where it is worse."""
    size, cell, shown = len(names), 24.0, [clean(name, 34) for name in names]
    left = 26.0 + 5.9 * max(len(name) for name in shown)
    parts = [label(k + 1, left + cell * (k + 0.5), 12, "tick", "middle") for k in range(size)]
    for i in range(size):
        y = 20 + cell * i
        parts.append(label(f"{i + 1}  {shown[i]}", left - 8, y + 16, "tick", "end"))
        for j in range(size):
            known = gap(gaps, i, j) if i != j else None
            x = left + cell * j
            place = {"x": x + 1, "y": y + 1, "width": cell - 2, "height": cell - 2}
            if not known:
                parts += [tag("rect", **place, class_="heat", fill_opacity="0.1")] if i == j else []
                continue
            mean, low, high = known
            says = verdict(low, high)
            told = (
                f"{names[i]} is {says + ' than' if says in ('better', 'worse') else 'not told apart from'} {names[j]}"
            )
            shown_gap = words.alike(mean, low, high)
            told += f": {metric} {shown_gap[0]} ({shown_gap[1]} to {shown_gap[2]})"
            own = [tag("rect", **place, class_="heat", fill_opacity="0.35" if says == "better" else "0")]
            parts.append(mark(told, *own, label(_SIGNS[says], x + cell / 2, y + 16, "count", "middle")))
    width = left + cell * size + 6
    return svg.picture(width, 24 + cell * size, f"All pairs of {size} methods: who is better", parts, shown=width)
