"""The report of a study: a summary in, one self-contained HTML page out. No clock, no network.

Everything that comes from a person's file (names, labels, notes) is hostile text until cleaned here and escaped by
the template or by `svg`. The page forbids itself, by its own policy, to load anything, or to run and be styled by
anything but the script and the style sheet that it carries, known by their hashes. Without the script it can be read
as well: that only sorts, filters and shows tips.
"""

import math
from functools import cache
from pathlib import Path
from typing import Any

from smidgen.web import assets, plans, sections, unlabelled, words
from smidgen.web.differences import differences
from smidgen.web.words import clean

HERE = Path(__file__).parent
MAX_BYTES = 200_000
_MOST = {
    "board": 40,
    "columns": 60,
    "findings": 30,
    "classes": 40,
    "text": 240,
}  # entries of each list; letters of a text


def report(summary: dict[str, Any]) -> str:
    """The page, as text of under 200 KB. Parts that the summary lacks (absent or None) are left out without a gap."""
    html = ""
    for share in (1.0, 0.5, 0.25, 0.1):  # a table with monstrous names gets shorter lists and texts
        html = _page(summary, {k: max(4, round(share * v)) for k, v in _MOST.items()})
        if len(html.encode()) < MAX_BYTES:
            break
    return html


def _page(summary: dict[str, Any], most: dict[str, int]) -> str:
    s = tidy(summary, most["text"])
    board = [row for row in s.get("leaderboard") or [] if isinstance(row, dict)]
    measured = [row for row in board if words.finite(row.get("estimate"))]
    baseline = (s.get("baseline") or {}).get("estimate")
    # the sentences look at the whole board, the page shows its top
    return (
        templates()
        .get_template("report.html.j2")
        .render(
            s=s,
            sentences=words.sentences(s),
            metric=words.metric_name(s.get("metric")),
            tiles=sections.tiles(s),
            board=sections.leaderboard(measured[: most["board"]], baseline, s.get("metric")),
            hidden=max(0, len(measured) - most["board"]),
            skipped=[row for row in board if not words.finite(row.get("estimate"))][: most["board"]],
            differ=differences(s.get("comparisons")),
            pictures=sections.drawn(s, baseline),
            doubts=sections.doubts(s),
            plan=plans.section(s),
            pool=unlabelled.section(s),
            judged=sections.JUDGED,
            spent=sections.spent(s.get("spent") or {}),
            understood=sections.understood(s, most),
            warnings=sections.warnings(s)[: most["findings"]],
            made=sections.made(s),
            style=assets.text("style.css"),
            script=assets.text("page.js"),
            policy=policy(),
        )
    )


def policy() -> str:
    """What a report may do: run and be styled by what it carries, nothing else."""
    allowed = f"style-src {assets.hashed('style.css')}; script-src {assets.hashed('page.js')}"
    return f"default-src 'none'; {allowed}; base-uri 'none'; form-action 'none'"


@cache
def templates() -> Any:
    """All pages' templates, with the filters that they use."""
    from jinja2 import Environment, FileSystemLoader
    from markupsafe import Markup

    made = Environment(
        loader=FileSystemLoader([HERE, HERE / "pages"]), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    made.filters.update(
        number=words.number,
        percent=words.percent,
        duration=words.duration,
        short=words.short,
        whole=words.whole,
        bytes=words.size,
        xml=Markup,
    )  # `xml` is for what is ours: pictures, style, script, policy
    return made


def tidy(value: Any, limit: int) -> Any:
    """The summary with safe, bounded text and without infinities (a JSON reader may have let them in)."""
    if isinstance(value, str):
        return clean(value, limit)
    if isinstance(value, dict):
        return {clean(k, 80): tidy(v, limit) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [tidy(v, limit) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, bool | int | float):
        return value
    if hasattr(value, "item"):  # a NumPy scalar
        return tidy(value.item(), limit)
    return clean(value, limit)
