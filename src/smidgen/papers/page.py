"""The catalogue as a page of the documentation: `python -m smidgen.papers.page docs/papers.md [--check]`.

Made from cards, claims and evidence alone: nobody edits it. What a paper states and what was measured here stand in
separate tables.
"""

import sys
from pathlib import Path
from typing import Any

from smidgen.papers import catalogue, evidence
from smidgen.papers.catalogue import Card, Entry
from smidgen.papers.evidence import Evidence

MARKS = {"holds": "✔ holds", "direction only": "◐ direction only", "fails here": "✘ fails here"}


def page() -> str:
    """The whole page, Markdown."""
    cards, (measured, _) = catalogue.cards(), evidence.measured()
    works = [c for c in cards.values() if c.state == "works"]
    count = {v: sum(e.verdict == v for e in measured.values()) for v in MARKS}
    lines = [
        "# The papers",
        "",
        f"{len(cards)} published systems: {len(works)} work here, {len(cards) - len(works)} are planned. Each that "
        "works has one claim, re-tested as a small experiment that can fail: "
        + ", ".join(f"{n} {v}" for v, n in count.items())
        + ".",
        "",
        "The pass rule of a claim is fixed before it runs ([how it is judged](claims.md)). **holds**: every part's "
        "mean gain reaches its margin, and the lower bound of its interval lies above the null value. **direction "
        "only**: the means are on the right side, but that is all. **fails here**: not at this size, on these "
        "data. `smidgen papers find` looks for one by meaning; `make evidence` measures again.",
        "",
    ]
    for room in sorted({c.room for c in cards.values()}):
        lines += [f"## {room}", "", "| | system | what it gives | here |", "| --- | --- | --- | --- |"]
        lines += [_row(c, measured.get(c.number)) for c in cards.values() if c.room == room]
        lines.append("")
    if works:
        lines += ["# What was measured", ""]
    for card in works:
        lines += claim_lines(catalogue.entry(card.number), measured.get(card.number))
    return "\n".join(lines).rstrip() + "\n"


def _row(card: Card, found: Evidence | None) -> str:
    name = f"[{_cell(card.title)}](#p{card.number})" if card.state == "works" else _cell(card.title)
    here = catalogue.state(card, found)
    return f"| {card.number} | {name} ({card.year}) | {_cell(card.gives)} | {MARKS.get(here, here)} |"


def claim_lines(entry: Entry, found: Evidence | None) -> list[str]:
    """One claim: what it says, published figures, the experiment, what was measured."""
    c = entry.claim
    lines = [f'## <a id="p{entry.number}"></a>{entry.number} {c.title} ({c.year})', "", c.says, ""]
    lines += ["In smidgen: " + ", ".join(f"`{name}`" for name in c.implements) + ".", "", "Published:", ""]
    lines += ["| figure | metric | on | where |", "| --- | --- | --- | --- |"]
    lines += [f"| {_cell(p.value)} | {_cell(p.metric)} | {_cell(p.data)} | {_cell(p.where)} |" for p in c.published]
    lines += ["", "Re-tested here: " + " ".join(c.experiment.split()), ""]
    if found is None:
        return [*lines, "Not measured yet.", ""]
    lines += [f"Measured here: **{found.verdict}**.", ""]
    lines += [
        "| part | mean gain | interval | must reach | bound above | verdict |",
        "| --- | --: | --: | --: | --: | --- |",
    ]
    for part in found.parts:
        unit = f" {part['unit']}" if part["unit"] else ""
        ends = f"{figure(part['interval'][0])} to {figure(part['interval'][1])}" if part["interval"] else "–"
        lines.append(
            f"| {_cell(part['says'])} | {figure(part['mean'])}{unit} | {ends} | {figure(part['margin'])} | "
            f"{figure(part['null'])} | {part['verdict']} |"
        )
    lines += ["", *([evidence.remark(entry.number), ""] if evidence.remark(entry.number) else [])]
    m, v = found.machine, found.versions
    lines += [
        f"{found.seeds} seeds, {found.seconds / 60:.1f} minutes, {found.peak_memory_bytes / 1e6:.0f} MB at most; "
        f"{m.get('processor')}, {m.get('cores')} cores, {m.get('memory_gb')} GB; {found.date[:10]}; "
        + ", ".join(f"{k} {x}" for k, x in v.items())
        + f". All numbers: `docs/evidence/{entry.number}.json`.",
        "",
    ]
    return lines


def figure(value: Any) -> str:
    """Three significant digits."""
    if value is None:
        return "–"
    return f"{value:.3g}".replace("-", "−")


def _cell(value: Any) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")


def main(path: str, check: bool) -> int:
    made = page()
    if not check:
        Path(path).write_text(made, encoding="utf-8")
        return 0
    if Path(path).is_file() and Path(path).read_text(encoding="utf-8") == made:
        return 0
    print(f"{path} is not what cards and evidence give: run `make papers`.", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], "--check" in sys.argv[2:]))
