"""The catalogue of published systems, and one of them: its card, what its paper states, what was measured here."""

from dataclasses import asdict
from typing import Any

from smidgen.kit.errors import BadInput
from smidgen.papers import catalogue, evidence
from smidgen.papers import find as finding
from smidgen.web import bits, words
from smidgen.web.asked import TEXT, asks, given, one_of
from smidgen.web.evidence import evidence_picture
from smidgen.web.shown import render

_FOUND = 20
STATES = ("holds", "direction only", "fails here", "not measured yet", "planned")


@asks(q=TEXT, room=TEXT, state=one_of(*STATES, "works"))
def papers(request: Any) -> Any:
    fields = given(request)
    asked = {"q": fields.get("q", "").strip()[:300]} | {name: fields.get(name, "") for name in ("room", "state")}
    cards = catalogue.cards()
    measured, errors = evidence.measured()
    rows, note = [(card, None) for card in cards.values()], ""
    if asked["q"]:
        # of all, then filtered: the nearest of a room may not be among the nearest of the house
        found = finding.find(asked["q"], len(cards))
        rows, note = found.hits, found.note
    rows = [(card, catalogue.state(card, measured.get(card.number))) for card, _ in rows]
    if asked["room"]:
        rows = [(card, s) for card, s in rows if card.room.split("/")[0] == asked["room"]]
    if asked["state"]:
        rows = [(card, s) for card, s in rows if s == asked["state"] or (asked["state"] == "works" and s != "planned")]
    hidden = max(0, len(rows) - _FOUND) if asked["q"] else 0
    counts: dict[str, int] = {}
    for card in cards.values():
        state = catalogue.state(card, measured.get(card.number))
        counts[state] = counts.get(state, 0) + 1
    return render(
        request,
        "papers.html.j2",
        rows=rows[:_FOUND] if asked["q"] else rows,
        hidden=hidden,
        total=len(cards),
        asked=asked,
        note=note,
        errors=[str(error) for error in errors],
        rooms=sorted({card.room.split("/")[0] for card in cards.values()}),
        states=STATES,
        counts=counts,
    )


def paper(request: Any) -> Any:
    card = catalogue.find_card(request.path_params["number"])
    entry = catalogue.entry(card.number) if card.number in catalogue.claim_files() else None
    found, trouble = None, ""
    if entry:
        try:
            found = evidence.read(card.number)
            trouble = evidence.stale(entry, found) if found else ""
        except BadInput as error:
            trouble = str(error)
    numbers = list(catalogue.cards())
    at = numbers.index(card.number)
    return render(
        request,
        "paper.html.j2",
        card=card,
        claim=entry.claim if entry else None,
        parts_of=_parts(entry, found),
        found=found,
        trouble=trouble,
        remark=evidence.remark(card.number) if found else "",
        changed=evidence.changed_parts(entry, found) if entry and found else [],
        state=catalogue.state(card, found),
        runs=_runs(found),
        picture=evidence_picture(asdict(found)) if found else None,
        measured=bits.of_evidence(card.number, found.runs) if found else [],
        before=numbers[at - 1] if at else "",
        after=numbers[at + 1] if at + 1 < len(numbers) else "",
    )


def _parts(entry: Any, found: Any) -> list[dict[str, Any]]:
    """Each part of the claim with its rule and, where measured, its result."""
    if found is not None:
        return [part | {"interval": words.pair(part.get("interval"))} for part in found.parts]
    return [
        {
            "name": p.name,
            "says": p.says,
            "unit": p.unit,
            "mean": None,
            "margin": p.margin,
            "null": p.null,
            "verdict": "",
        }
        for p in (entry.claim.parts if entry else ())
    ]


def _runs(found: Any) -> dict[str, Any] | None:
    """The numbers of each seed as a table: one row a measured number, one column a seed."""
    if found is None:
        return None
    names = list(dict.fromkeys(name for run in found.runs for name in run["values"]))
    rows = [(name, [run["values"].get(name) for run in found.runs]) for name in names]
    seconds = [run.get("seconds") for run in found.runs]
    return {"seeds": [run["seed"] for run in found.runs], "rows": rows, "seconds": seconds}
