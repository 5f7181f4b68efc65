"""What the sections of the report show: parts of a tidy summary in, plain values and pictures out."""

import re
from typing import Any

from smidgen.web import board, curves, pictures, words
from smidgen.web.words import clean

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
_MOST_DOUBTS = 25  # rows of each list
JUDGED = "Each judged by models that had not seen it. Row 1 is the first row of data, below the header."
_DOUBTS = {  # list: its title, what it means, fields of a row with their heads
    "wrong": (
        "Wrong, the surest first",
        "Where the model missed, and how sure it was: what it has not learnt yet.",
        {"truth": "truth", "predicted": "predicted", "probability": "probability"},
    ),
    "labels": (
        "Labels to check",
        "The label given looks unlikely beside the other rows: a slip, or a rare case.",
        {"truth": "label given", "predicted": "predicted", "given": "label’s probability"},
    ),
}
_GAP = " The gap, truth less prediction, counts typical errors (robust standard deviations)."
_VALUES = {  # the same, of a regression
    "wrong": ("Farthest off", "What the model has not learnt yet, or a slip in the value." + _GAP),
    "labels": ("Values to check", "Far from what the other rows say: a slip, or a rare case." + _GAP),
}


def tiles(s: dict[str, Any]) -> list[tuple[str, str, list[str]]]:
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


def leaderboard(rows: list[dict[str, Any]], baseline: Any, metric: Any) -> dict[str, Any] | None:
    made = board.board_axis(rows, baseline)
    if not made:
        return None
    axis, ticks = made
    shown = []
    for row in rows:
        params = words.settings(row.get("params"))
        small = [str(row["view"])] if row.get("view") else []
        small += [clean(", ".join(params[:8]), 160)] if params else []
        small += [str(row["note"])] if row.get("note") else []
        small += [clean(text, 200) for text in row.get("remarks") or []]
        whole = not words.finite(row.get("weight")) or row["weight"] > 0.995
        share = "chosen" if whole else f"{words.percent(row['weight'])} of the model"
        shown.append(
            {
                "chosen": False,
                "seconds": None,
                **row,
                "name": clean(words.short(row.get("method")), 60),
                "share": share,
                "interval": words.pair(row.get("interval")),
                "small": " · ".join(small),
                "picture": board.whisker(row, axis, ticks, baseline),
            }
        )
    return {
        "rows": shown,
        "scale": board.board_scale(axis, ticks),
        "better": "right" if metric in words.HIGHER_IS_BETTER else "left",
        "baseline": words.number(baseline) if words.finite(baseline) else "",
        "seconds": any(words.finite(row.get("seconds")) for row in shown),
    }


def drawn(s: dict[str, Any], baseline: Any) -> list[dict[str, Any]]:
    """Each with its heading and what to look for. A `wide` one takes the page's width and may scroll."""
    out, metric = [], words.metric_name(s.get("metric"))

    def add(title: str, picture: str | None, text: str, wide: bool = False) -> None:
        if picture:
            out.append({"title": title, "picture": picture, "text": text, "wide": wide})

    add(
        "Learning curve",
        curves.learning_curve(s.get("curve") or [], metric, baseline),
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
            wide=made[1] > 460,
        )
    gaps = s.get("residuals") or {}
    add(
        "Predicted and true",
        pictures.residuals(gaps.get("truth") or [], gaps.get("predicted") or [], str(s.get("target") or "value")),
        "One ring a row, predicted by a model that had not seen it. The nearer to the dashed line the better.",
    )
    return out


def doubts(s: dict[str, Any]) -> list[dict[str, Any]]:
    """The lists of rows to look at: each with its key in the summary, a title, a sentence, heads and rows of
    (text, value to sort by), in the order of `doubt_rows`.
    """
    rows_of, counts = doubt_rows(s)
    out = []
    for key, (title, text, fields) in _DOUBTS.items():
        rows = rows_of[key]
        values = any(words.finite(row.get("gap")) for row in rows)
        if values:
            fields = {"truth": "truth", "predicted": "predicted", "gap": "gap"}
            title, text = _VALUES[key]
        shown = rows[:_MOST_DOUBTS]
        total = counts.get(key) if words.finite(counts.get(key)) else len(rows)
        if shown:
            out.append(
                {
                    "key": key,
                    "id": f"doubts-{key}",
                    "title": title,
                    "text": text,
                    "heads": ["row", *fields.values()],
                    "numbers": [k + 1 for k, field in enumerate(fields) if values or field in ("probability", "given")],
                    "rows": [[_place(row), *(_doubted(row, field, values) for field in fields)] for row in shown],
                    "more": max(0, round(total or 0) - len(shown)),
                }
            )
    return out


def doubt_rows(s: dict[str, Any]) -> tuple[dict[str, list[dict[str, Any]]], dict[str, Any]]:
    """The rows of each list as the summary has them, and how many there are in all."""
    found = s.get("doubts")
    found = found if isinstance(found, dict) else {}
    rows, counts = {key: found.get(key) for key in _DOUBTS}, found.get("counts")
    listed = {key: [row for row in of if isinstance(row, dict)] for key, of in rows.items() if isinstance(of, list)}
    return {key: listed.get(key, []) for key in _DOUBTS}, counts if isinstance(counts, dict) else {}


def _place(row: dict[str, Any]) -> tuple[str, Any]:
    at, name = row.get("row"), clean(row.get("name") or "", 60)
    number = words.whole(at) if words.finite(at) else ""
    return f"{number} {name}".strip() or "–", at if number and not name else ""


def _doubted(row: dict[str, Any], field: str, values: bool) -> tuple[str, Any]:
    value = row.get(field)
    order = value if words.finite(value) else ""
    if field in ("probability", "given"):
        return words.chance(value), order
    if field == "gap":
        return words.number(value, 2), order
    return words.number(value, 4) if values or isinstance(value, float) else clean(
        "–" if value is None else value, 60
    ), order


def spent(spent: dict[str, Any]) -> list[tuple[str, str]]:
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


def understood(s: dict[str, Any], most: dict[str, int]) -> dict[str, Any]:
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


def warnings(s: dict[str, Any]) -> list[str]:
    found = [str(w) for w in s.get("warnings") or []]
    found += [
        f["text"]
        for f in s.get("findings") or []
        if isinstance(f, dict) and f.get("level") == "warning" and f.get("text")
    ]
    return list(dict.fromkeys(found))


def made(s: dict[str, Any]) -> str:
    parts = [f"smidgen {s['version']}" if s.get("version") else "smidgen"]
    parts += [str(s["created"])] if s.get("created") else []
    parts += [f"study {s['study']}"] if s.get("study") else []
    parts += [f"seed {s['seed']}"] if s.get("seed") is not None else []
    # the report is mailed to others: its folder's name, not where in a person's folders it lies
    parts += ["model " + re.split(r"[/\\]", str(s["model"]).rstrip("/"))[-1]] if s.get("model") else []
    return " · ".join(parts)
