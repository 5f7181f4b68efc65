"""How tables of results look: Markdown, and one line for each bar."""

from collections.abc import Iterable
from typing import Any

WAITING = "Not measured yet."
Row = dict[str, Any]


def markdown(head: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    lines = [list(head), *[[str(c) for c in r] for r in rows]]
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def bar(what: str, value: float, limit: float, unit: str = "", least: bool = False) -> list[str]:
    """One line of a table of bars: the bar, the number, met or missed."""
    met = value >= limit if least else value <= limit
    asked = f"{'at least' if least else 'at most'} {limit:.3g}{unit}"
    return [what, asked, f"{value:.4g}{unit}", "met" if met else "**missed**"]


BAR_HEAD = ("bar", "asked", "measured", "")
