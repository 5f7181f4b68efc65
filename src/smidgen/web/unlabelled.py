"""What the report shows of rows without labels: a map, and which of them are most worth a label."""

from typing import Any

from smidgen.web import svg, words
from smidgen.web.svg import Axis, label, mark, tag
from smidgen.web.words import clean, finite, percent, whole

_W, _H, _EDGE = 640.0, 420.0, 16.0
COLOURS = 8  # classes beyond them share: their names are on the map


def section(s: dict[str, Any]) -> dict[str, Any] | None:
    """Sentence, picture and rows; None: nothing is known of such rows."""
    pool = s.get("pool")
    if not isinstance(pool, dict) or not finite(pool.get("n")):
        return None
    classes = [clean(c, 24) for c in s.get("classes") or []]
    rows = [r for r in pool.get("next") or [] if isinstance(r, dict)]
    looked = pool.get("looked")
    some = finite(looked) and looked < pool["n"]
    says = f"{whole(pool['n'])} rows have no label"
    says += f"; {whole(looked)} of them, drawn at random, were looked at." if some else "."
    return {
        "says": says,
        "picture": drawn(pool.get("map"), rows, classes),
        "rows": [{"number": f"#{i + 1}", **_row(r)} for i, r in enumerate(rows)],
    }


def _row(row: dict[str, Any]) -> dict[str, str]:
    near = [n for n in row.get("near") or [] if isinstance(n, dict)]
    return {
        "name": _place(row),
        "predicted": clean(row.get("predicted"), 40),
        "probability": words.chance(row.get("probability")),
        "near": ", ".join(f"{_place(n)} ({clean(n.get('label'), 24)})" for n in near[:3]),
    }


def _place(row: dict[str, Any]) -> str:
    name = clean(row.get("name") or "", 60)
    return name or (f"row {whole(row['row'])}" if finite(row.get("row")) else "–")


def drawn(found: Any, rows: list[dict[str, Any]], classes: list[str]) -> str | None:
    """Small dots: rows without a label, in the colour of the class that is predicted, the fainter the less sure. Large
    ones with a rim: labelled rows. Numbers: those of the list. Each class's name lies amid its labelled rows."""
    if not isinstance(found, dict) or not isinstance(found.get("own"), dict):
        return None
    pool = _points(found, "predicted", len(classes), found.get("probability") or [])
    own = _points(found["own"], "label", len(classes), [])
    if not pool or not own:
        return None
    x, y = (
        Axis(*svg.padded([p[i] for p in (*pool, *own)], 0.03), *ends)
        for i, ends in ((0, (_EDGE, _W - _EDGE)), (1, (_H - _EDGE, _EDGE)))
    )
    parts = []
    for px, py, c, chance in pool:
        tip = f"no label; predicted {classes[c]}" + (f" with {percent(chance)}" if finite(chance) else "")
        sure = f"{0.2 + 0.7 * chance:.2f}" if finite(chance) else None
        parts.append(
            mark(tip, name="circle", cx=x(px), cy=y(py), r=3.0, class_=f"pool k{c % COLOURS}", fill_opacity=sure)
        )
    for px, py, c, _ in own:
        parts.append(
            mark(f"labelled {classes[c]}", name="circle", cx=x(px), cy=y(py), r=4.6, class_=f"own k{c % COLOURS}")
        )
    for i, row in enumerate(rows):
        at = words.pair(row.get("at"))
        if at:
            parts.append(tag("circle", cx=x(at[0]), cy=y(at[1]), r=7.0, class_="frame"))
            parts.append(label(f"#{i + 1}", x(at[0]) + 9, y(at[1]) + 4, "nth"))
    for c in sorted({p[2] for p in own})[:24]:
        mine = [p for p in own if p[2] == c]
        middle = [sorted(p[i] for p in mine)[len(mine) // 2] for i in (0, 1)]
        parts.append(label(classes[c], x(middle[0]), y(middle[1]) - 8, "value", "middle"))
    title = f"Map of {len(pool)} rows without labels and {len(own)} labelled ones, like rows close together"
    return svg.picture(_W, _H, title, parts)


def _points(of: dict[str, Any], kind: str, classes: int, chances: list[Any]) -> list[tuple[float, float, int, Any]]:
    columns = [of.get(k) or [] for k in ("x", "y", kind)]
    chances = chances if len(chances) == len(columns[0]) else [None] * len(columns[0])
    return [
        (float(a), float(b), int(c), p)
        for a, b, c, p in zip(*columns, chances, strict=False)
        if finite(a) and finite(b) and finite(c) and 0 <= c < classes
    ]
