"""How results look in a terminal: leaderboard, sentences, what was spent. Text from a summary; no numerics."""

from pathlib import Path
from typing import Any

from smidgen.cli.output import say, table, width
from smidgen.web import words

BIG = ("confusion", "residuals", "calibration", "columns")  # parts of a summary that `--json` leaves to the report
_ROWS = 15
_COLUMNS = 40
_BAR = 28


def for_json(summary: dict[str, Any], report: Path | None) -> dict[str, Any]:
    """The summary without its big parts, with where the report lies."""
    return {**{k: v for k, v in summary.items() if k not in BIG}, "report": str(report) if report else None}


def report_of(path: Path | None) -> Path | None:
    """The report in the model folder, or beside it where the folder had to stay small."""
    places = [path / "report.html", path.with_name(path.name + "-report.html")] if path else []
    return next((p for p in places if p.is_file()), None)


def show(summary: dict[str, Any], path: Path | None) -> None:
    """Leaderboard, three sentences, what was spent, where things lie."""
    say("\n".join(leaderboard(summary)))
    say()
    for sentence in words.sentences(summary):
        say(words.clean(sentence, 1000))
    warnings = list(dict.fromkeys(str(w) for w in summary.get("warnings") or []))
    for text in warnings[:8]:
        say("Warning: " + words.clean(text, 400))
    say()
    spent = spent_text(summary.get("spent") or {})
    if spent:
        say("spent   " + spent)
    if summary.get("study"):
        say("study   " + words.clean(summary["study"]))
    if path:
        say(f"model   {words.clean(path, 1000)}")
    if report := report_of(path):
        say(f"report  {words.clean(report, 1000)}")


def leaderboard(summary: dict[str, Any]) -> list[str]:
    """Lines, best first: chosen rows marked, intervals as numbers and drawn where the terminal is wide enough."""
    board = [row for row in summary.get("leaderboard") or [] if isinstance(row, dict)]
    measured, skipped = (
        [r for r in board if words.finite(r.get("estimate"))],
        [r for r in board if not words.finite(r.get("estimate"))],
    )
    name = words.metric_name(summary.get("metric"))
    draw = _drawer(measured[:_ROWS]) if width() >= 96 else None
    rows = []
    for row in measured[:_ROWS]:
        ends = words.pair(row.get("interval"))
        cells = [
            "*" if row.get("chosen") else "",
            words.short(row.get("method")),
            str(row.get("view") or ""),
            words.number(row["estimate"]),
            f"{words.number(ends[0])} to {words.number(ends[1])}" if ends else "",
            *([draw(row)] if draw else []),
            words.percent(row["weight"]) if row.get("chosen") and words.finite(row.get("weight")) else "",
            words.duration(row.get("seconds")),
        ]
        rows.append(cells)
    heads = [
        "",
        "method",
        "view",
        name,
        f"{words.percent(summary.get('level') or 0.9)} interval",
        *([""] if draw else []),
        "weight",
        "time",
    ]
    last = len(heads) - 1
    lines = table(rows, heads, right=(3, last - 1, last)) if rows else ["No method was measured."]
    if len(measured) > _ROWS:
        lines.append(f"   and {len(measured) - _ROWS} more")
    if rows and any(row[0] for row in rows):
        lines.append("   * part of the model")
    for row in measured:
        for text in row.get("remarks") or []:
            lines.append(f"   {words.clean(words.short(row.get('method')))}: {words.clean(text, 400)}")
    for row in skipped[:10]:
        what = " on ".join(words.clean(part) for part in (words.short(row.get("method")), row.get("view")) if part)
        lines.append(f"   {what}: {words.clean(row.get('note') or 'not measured')}")
    return lines + ([f"   and {len(skipped) - 10} more not measured"] if len(skipped) > 10 else [])


def plan(summary: dict[str, Any]) -> list[str]:
    """Lines of a dry run: how the data is understood; what would be tried and what each needs; what would not, why."""
    entries = summary.get("plan") or []
    lines = understood(summary)
    heads = ["method", "view", "seconds", "memory", "note"]
    kept = [e for e in entries if e.get("tried", True)]
    rows = [
        [
            words.short(e.get("method")),
            str(e.get("view") or ""),
            words.number(e.get("seconds")),
            words.size(e.get("memory_bytes")),
            str(e.get("note") or ""),
        ]
        for e in kept
    ]
    lines += table(rows, heads, right=(2, 3)) if rows else ["No method would be tried."]
    out = [e for e in entries if not e.get("tried", True)]
    lines += [f"Not tried ({len(out)}):"] if out else []
    for e in out:
        what = " on ".join(words.clean(part) for part in (words.short(e.get("method")), e.get("view")) if part)
        lines.append(f"   {what}: {words.clean(str(e.get('note') or '').removeprefix('not tried: '), 400)}")
    lines += [summary["executor"]] if summary.get("executor") else []
    if words.finite(summary.get("seconds")):
        lines.append(f"The whole run would take about {words.duration(summary['seconds'])}; nothing was fitted.")
    return lines


def understood(summary: dict[str, Any]) -> list[str]:
    """Lines on what each column is taken for, and what was noticed; notes that repeat a column's are left out."""
    columns = summary.get("columns") or []
    rows = [[c["name"], c["kind"] if not c["note"] else f"left out: {c['note']}"] for c in columns[:_COLUMNS]]
    lines = table(rows, ["column", "read as"]) if rows else []
    lines += [f"   and {len(columns) - _COLUMNS} more"] if len(columns) > _COLUMNS else []
    for finding in summary.get("findings") or []:
        if not finding["text"].startswith("Column '") or "is left out: " not in finding["text"]:
            lines.append(
                ("Warning: " if finding["level"] == "warning" else "Note: ") + words.clean(finding["text"], 400)
            )
    return [*lines, ""] if lines else []


def spent_text(spent: dict[str, Any]) -> str:
    parts = [
        words.plural(spent[k], one)
        for k, one in (("labels", "label"), ("trials", "trial"), ("fits", "fit"))
        if words.finite(spent.get(k))
    ]
    parts += [words.duration(spent["seconds"])] if words.finite(spent.get("seconds")) else []
    for key, name in (
        ("cpu_seconds", "processor time"),
        ("peak_memory_bytes", "peak memory"),
        ("model_bytes", "saved model"),
    ):
        if words.finite(spent.get(key)):
            parts.append(f"{words.duration(spent[key]) if key == 'cpu_seconds' else words.size(spent[key])} {name}")
    return ", ".join(parts)


def _drawer(rows: list[dict[str, Any]]) -> Any:
    """Draws intervals on one axis, which ends where the first three rows' do, times two: outliers are cut."""
    ends = [e for row in rows[:3] for e in (*(words.pair(row.get("interval")) or ()), row["estimate"])]
    if not ends:
        return None
    low, high = min(ends), max(ends)
    low, high = (low - (high - low), high) if rows[0]["estimate"] > rows[-1]["estimate"] else (low, high + (high - low))
    scale = (_BAR - 1) / ((high - low) or 1.0)

    def draw(row: dict[str, Any]) -> str:
        def place(value: float) -> int:
            return round(min(max((value - low) * scale, 0.0), _BAR - 1.0))

        a, b = words.pair(row.get("interval")) or (row["estimate"], row["estimate"])
        cells = [" "] * _BAR
        cells[place(a) : place(b) + 1] = "─" * (place(b) + 1 - place(a))
        cells[place(a)] = "├" if a > low or place(a) else "─"
        cells[place(b)] = "┤" if b <= high else "─"
        cells[place(row["estimate"])] = "●" if row.get("chosen") else "○"
        return "".join(cells)

    return draw
