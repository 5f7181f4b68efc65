"""The report of a study: a summary in, one self-contained HTML page out. No clock, no network, no script.

Everything that comes from a person's file (names, labels, notes) is hostile text until cleaned here and escaped by
the template or by `svg`. The page forbids itself, by its own policy, to load or run anything.
"""

import math
from functools import cache
from pathlib import Path
from typing import Any

from smidgen.web import pictures, words
from smidgen.web.words import clean

MAX_BYTES = 200_000
_MOST = {
    "board": 40,
    "columns": 60,
    "findings": 30,
    "classes": 40,
    "text": 240,
}  # entries of each list; letters of a text
_SPENT = (
    ("labels", "labels", words.whole),
    ("trials", "trials", words.whole),
    ("reused", "of them known before", words.whole),
    ("fits", "model fits", words.whole),
    ("seconds", "time", words.duration),
    ("cpu_seconds", "processor time", words.duration),
    ("peak_memory_bytes", "peak memory", words.size),
    ("model_bytes", "saved model", words.size),
)


def report(summary: dict[str, Any]) -> str:
    """The page, as text of under 200 KB. Parts that the summary lacks (absent or None) are left out without a gap."""
    html = ""
    for share in (1.0, 0.5, 0.25, 0.1):  # a table with monstrous names gets shorter lists and texts
        html = _page(summary, {k: max(4, round(share * v)) for k, v in _MOST.items()})
        if len(html.encode()) < MAX_BYTES:
            break
    return html


def _page(summary: dict[str, Any], most: dict[str, int]) -> str:
    s = _tidy(summary, most["text"])
    board = [row for row in s.get("leaderboard") or [] if isinstance(row, dict)]
    measured = [row for row in board if words.finite(row.get("estimate"))]
    baseline = (s.get("baseline") or {}).get("estimate")
    # the sentences look at the whole board, the page shows its top
    return _template().render(
        s=s,
        sentences=words.sentences(s),
        metric=words.metric_name(s.get("metric")),
        tiles=_tiles(s),
        board=_board(measured[: most["board"]], baseline, s.get("metric")),
        hidden=max(0, len(measured) - most["board"]),
        skipped=[row for row in board if not words.finite(row.get("estimate"))][: most["board"]],
        pictures=_pictures(s, baseline),
        spent=_spent(s.get("spent") or {}),
        understood=_understood(s, most),
        warnings=_warnings(s)[: most["findings"]],
        made=_made(s),
    )


@cache
def _template() -> Any:
    from jinja2 import Environment, FileSystemLoader
    from markupsafe import Markup

    made = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    made.filters.update(
        number=words.number, percent=words.percent, duration=words.duration, short=words.short, xml=Markup
    )  # `xml` is for pictures only: made by us, well-formed and escaped
    return made.get_template("report.html.j2")


def _tidy(value: Any, limit: int) -> Any:
    """The summary with safe, bounded text and without infinities (a JSON reader may have let them in)."""
    if isinstance(value, str):
        return clean(value, limit)
    if isinstance(value, dict):
        return {clean(k, 80): _tidy(v, limit) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_tidy(v, limit) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, bool | int | float):
        return value
    if hasattr(value, "item"):  # a NumPy scalar
        return _tidy(value.item(), limit)
    return clean(value, limit)


def _tiles(s: dict[str, Any]) -> list[tuple[str, str, list[str]]]:
    """The few numbers that are read first: (value, name, small print)."""
    out, level = [], words.percent(s.get("level") or 0.9)
    base = s.get("baseline") or {}

    def add(key: str, name: str, show: Any, ends: Any) -> None:
        if words.finite(s.get(key)):
            notes = [f"{level} interval {show(e[0])} to {show(e[1])}"] if (e := words.pair(ends)) else []
            against = base.get("estimate") if key == "estimate" else base.get(key)
            notes += [f"baseline {show(against)}"] if words.finite(against) else []
            out.append((show(s[key]), name, notes))

    share = s.get("metric") in ("accuracy", "balanced_accuracy")
    add(
        "estimate",
        f"expected {words.metric_name(s.get('metric'))}",
        words.percent if share else words.number,
        s.get("interval"),
    )
    if s.get("metric") != "accuracy":
        add("accuracy", "expected accuracy", words.percent, s.get("accuracy_interval"))
    if s.get("metric") != "r2":
        add("r2", "variance explained (R²)", words.number, s.get("r2_interval"))
    if words.finite(s.get("n")):
        classes, pool = s.get("classes") or [], s.get("unlabelled") or 0
        notes = [f"{len(classes)} classes"] if classes else []
        notes += [f"{words.whole(pool)} unlabelled"] if pool else []
        out.append((words.whole(s["n"]), "labelled row" if s["n"] == 1 else "labelled rows", notes))
    spent = s.get("spent") or {}
    if words.finite(s.get("seconds")):
        notes = [words.plural(spent["trials"], "trial")] if words.finite(spent.get("trials")) else []
        notes += [words.plural(spent["fits"], "fit")] if words.finite(spent.get("fits")) else []
        out.append((words.duration(s["seconds"]), "spent", notes))
    return out


def _board(rows: list[dict[str, Any]], baseline: Any, metric: Any) -> dict[str, Any] | None:
    made = pictures.board_axis(rows, baseline)
    if not made:
        return None
    axis, ticks = made
    shown = []
    for row in rows:
        params = [f"{k}={words.number(v) if isinstance(v, float) else v}" for k, v in (row.get("params") or {}).items()]
        small = [str(row["view"])] if row.get("view") else []
        small += [clean(", ".join(params[:8]), 160)] if params else []
        small += [str(row["note"])] if row.get("note") else []
        whole = not words.finite(row.get("weight")) or row["weight"] > 0.995
        share = "chosen" if whole else f"{words.percent(row['weight'])} of the model"
        shown.append(
            {
                **row,
                "name": clean(words.short(row.get("method")), 60),
                "share": share,
                "interval": words.pair(row.get("interval")),
                "small": " · ".join(small),
                "picture": pictures.whisker(row, axis, ticks, baseline),
            }
        )
    return {
        "rows": shown,
        "scale": pictures.board_scale(axis, ticks),
        "better": "right" if metric in words.HIGHER_IS_BETTER else "left",
        "baseline": words.number(baseline) if words.finite(baseline) else "",
        "seconds": any(words.finite(row.get("seconds")) for row in shown),
    }


def _pictures(s: dict[str, Any], baseline: Any) -> list[dict[str, Any]]:
    """Each with its heading and what to look for; `width`: below this many pixels it scrolls instead of shrinking."""
    out, metric = [], words.metric_name(s.get("metric"))

    def add(title: str, picture: str | None, text: str, width: float = 0, wide: bool = False) -> None:
        if picture:
            out.append({"title": title, "picture": picture, "text": text, "width": round(width), "wide": wide})

    add(
        "Learning curve",
        pictures.learning_curve(s.get("curve") or [], metric, baseline),
        "The score with fewer of your labels. Still changing at the right end: more labels help; flat: little.",
    )
    add(
        "Calibration",
        pictures.calibration(s.get("calibration") or []),
        "On the dashed line, a class predicted with 70 % comes true 70 % of the time. Each dot carries its number of "
        "rows; dots with few move a lot by chance.",
    )
    matrix, classes = s.get("confusion") or [], s.get("classes") or []
    made = pictures.confusion(matrix, classes) if len(matrix) <= 20 else None
    if made:
        add(
            "Confusion",
            made[0],
            "Rows are the true classes, columns the predicted ones; framed cells are right. The shade is "
            "the share of the true class, the number counts rows (in parts, where repeats disagreed).",
            made[1],
            wide=made[1] > 460,
        )
    gaps = s.get("residuals") or {}
    add(
        "Predicted and true",
        pictures.residuals(gaps.get("truth") or [], gaps.get("predicted") or [], str(s.get("target") or "value")),
        "One ring a row, predicted by a model that had not seen it. The nearer to the dashed line the better.",
    )
    return out


def _spent(spent: dict[str, Any]) -> list[tuple[str, str]]:
    known = [
        (name, show(spent[key]))
        for key, name, show in _SPENT
        if words.finite(spent.get(key)) and (spent[key] or key != "reused")
    ]
    names = {key for key, _, _ in _SPENT}
    return (
        known
        + [
            (k.replace("_", " "), words.number(v))
            for k, v in sorted(spent.items())
            if k not in names and words.finite(v)
        ][:10]
    )


def _understood(s: dict[str, Any], most: dict[str, int]) -> dict[str, Any]:
    """Target, classes, and the columns by whether they are used."""
    columns = [c for c in s.get("columns") or [] if isinstance(c, dict)]
    left_out = [c for c in columns if c.get("kind") in ("id", "constant", "empty")]
    used = [c for c in columns if c not in left_out]
    counts: dict[str, int] = {}
    for column in used:
        counts[str(column.get("kind"))] = counts.get(str(column.get("kind")), 0) + 1
    classes, sizes = s.get("classes") or [], s.get("class_counts") or []
    sizes = [*sizes, *[None] * (len(classes) - len(sizes))]
    order = sorted(range(len(classes)), key=lambda i: -(sizes[i] or 0))[: most["classes"]]
    largest = max([v for v in sizes if words.finite(v)], default=0) or 1
    return {
        "kinds": ", ".join(
            words.plural(n, kind) if kind != "category" else words.plural(n, kind, "categories")
            for kind, n in sorted(counts.items(), key=lambda kv: -kv[1])
        ),
        "used": used[: most["columns"]],
        "used_more": max(0, len(used) - most["columns"]),
        "left_out": left_out[: most["columns"]],
        "left_out_more": max(0, len(left_out) - most["columns"]),
        "classes": [(classes[i], sizes[i], round(100 * (sizes[i] or 0) / largest)) for i in order],
        "classes_more": max(0, len(classes) - len(order)),
        "notes": [
            f["text"]
            for f in s.get("findings") or []
            if isinstance(f, dict) and f.get("text") and f.get("level") != "warning"
        ][: most["findings"]],
    }


def _warnings(s: dict[str, Any]) -> list[str]:
    found = [str(w) for w in s.get("warnings") or []]
    found += [
        f["text"]
        for f in s.get("findings") or []
        if isinstance(f, dict) and f.get("level") == "warning" and f.get("text")
    ]
    return list(dict.fromkeys(found))


def _made(s: dict[str, Any]) -> str:
    parts = [f"smidgen {s['version']}" if s.get("version") else "smidgen"]
    parts += [str(s["created"])] if s.get("created") else []
    parts += [f"study {s['study']}"] if s.get("study") else []
    parts += [f"seed {s['seed']}"] if s.get("seed") is not None else []
    parts += [f"model {s['model']}"] if s.get("model") else []
    return " · ".join(parts)
