"""`smidgen papers ...`: the catalogue, its claims and what was measured."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from smidgen.budget.budget import parse_duration
from smidgen.cli.output import say, say_json, table, tell
from smidgen.kit.errors import BadInput, bad
from smidgen.kit.files import write_bytes
from smidgen.papers import catalogue, evidence
from smidgen.papers.catalogue import Card
from smidgen.papers.claim import Scale
from smidgen.papers.evidence import Evidence
from smidgen.web import words


def list_papers(room: str | None, state: str | None, as_json: bool) -> None:
    cards = list(catalogue.cards().values())
    rooms = sorted({c.room for c in cards})
    if room is not None and room not in rooms:
        raise BadInput(f"--room: expected one of {', '.join(rooms)}, got {room}.")
    if state not in (None, "works", "planned"):
        raise BadInput(f"--state: expected works or planned, got {state}.")
    cards = [c for c in cards if room in (None, c.room) and state in (None, c.state)]
    found = _measured()
    if as_json:
        say_json({"papers": [_card_json(c, found.get(c.number)) for c in cards]})
        return
    rows = [[c.number, c.title, str(c.year), c.room, catalogue.state(c, found.get(c.number))] for c in cards]
    say("\n".join(table(rows, ["", "system", "year", "room", "here"])) if rows else "No such paper.")


def find_papers(query: str, count: int, as_json: bool) -> None:
    from smidgen.papers.find import find

    result, found = find(query, count), _measured()
    if as_json:
        hits = [{**_card_json(c, found.get(c.number)), "score": round(s, 4)} for c, s in result.hits]
        say_json({"query": query, "by": result.by, "note": result.note, "papers": hits})
        return
    if result.note:
        tell(result.note)
    if not result.hits:
        say("Nothing found: try other words.")
    for card, _ in result.hits:
        say(
            f"{card.number}  {card.title} ({card.year}) · {card.room} · {catalogue.state(card, found.get(card.number))}"
        )
        say(f"     {card.gives}")


def show_paper(number: str, as_json: bool) -> None:
    card = catalogue.find_card(number)
    found = evidence.read(card.number) if card.state == "works" else None
    if as_json:
        claim = asdict(catalogue.entry(card.number).claim) if card.state == "works" else None
        say_json({**_card_json(card, found), "claim": claim, "evidence": asdict(found) if found else None})
        return
    say(f"{card.number}  {card.title} ({card.year})")
    say(card.gives)
    say()
    say(f"room        {card.room}")
    say(f"here        {catalogue.state(card, found)}")
    if card.state == "planned":
        return
    entry = catalogue.entry(card.number)
    say("in smidgen  " + ", ".join(card.implements))
    say()
    say(f"The paper says: {' '.join(entry.claim.says.split())}")
    say()
    say("published")
    for p in entry.claim.published:
        say(f"  {p.value}  {p.metric}, {p.data} ({p.where})")
    say()
    say(f"Re-tested here: {' '.join(entry.claim.experiment.split())}")
    say()
    if found is None:
        say(f"measured    nothing yet: smidgen papers run {card.number}")
        return
    say(f"measured    {found.verdict}, {found.seeds} seeds, {found.date[:10]}")
    say("\n".join(_parts(found.parts)))
    if why := evidence.stale(entry, found):
        say(f"This evidence is out of date: {why}.")
    if remark := evidence.remark(card.number):
        say()
        say(remark)


def run_papers(numbers: list[str], scale: str, seeds: int | None, time: str | None, everything: bool) -> int:
    from smidgen.papers.harness import run_claim

    if scale not in list(Scale):
        raise BadInput(f"--scale: expected smoke or full, got {scale}.")
    seconds = None if time is None else parse_duration(time)
    if everything == bool(numbers):
        raise BadInput("Name the papers to run, or say --all.")
    numbers = list(catalogue.claim_files()) if everything else [catalogue.entry(n).number for n in numbers]
    code = 0
    for number in numbers:
        entry = catalogue.entry(number)
        if everything and scale == "full" and not evidence.stale(entry, _readable(number)):
            say(f"{number}  {entry.claim.title}: measured before, up to date")
            continue
        count = seeds or (entry.claim.seeds if scale == "full" else 1)
        tell(f"{number} {entry.claim.title}: {words.plural(count, 'seed')}, about {entry.claim.minutes:g} min in all")

        def on_seed(seed: int, run: dict[str, Any], count: int = count) -> None:
            shown = ", ".join(f"{k} {words.number(v)}" for k, v in list(run["values"].items())[:6])
            tell(f"  seed {seed} ({seed + 1} of {count}), {words.duration(run['seconds'])}: {shown}")

        outcome = run_claim(entry, scale=Scale(scale), seeds=seeds, seconds=seconds, on_seed=on_seed)
        if scale == "smoke":
            done = words.duration(sum(r["seconds"] for r in outcome.runs))
            say(f"{number}  {entry.claim.title}: {'stopped by --time' if outcome.stopped else 'runs'} ({done})")
        else:
            say(f"{number}  {entry.claim.title}: {outcome.judgement.verdict}")
            parts = [
                {**asdict(r), "unit": p.unit, "margin": p.margin, "null": p.null}
                for p, r in zip(entry.claim.parts, outcome.judgement.parts, strict=True)
            ]
            say("\n".join(_parts(parts)))
            kind = "evidence" if outcome.official else f"no evidence, because {outcome.why_not}; numbers"
            say(f"  {kind}: {outcome.path}")
        code = 3 if outcome.stopped else code
    return code


def check_papers() -> int:
    """Says what evidence is missing, out of date or damaged; 1 if there is any."""
    found, damaged = evidence.measured()
    problems = [str(error) for error in damaged]
    spoilt = {p.stem for p in evidence.folder().glob("*.json")} - set(found)
    for number in catalogue.claim_files():
        entry = catalogue.entry(number)
        why = evidence.stale(entry, found.get(number))
        if why and number not in spoilt:
            problems.append(f"{number} {entry.claim.title}: {why}.")
        elif number in found and (changed := evidence.changed_parts(entry, found[number])):
            tell(f"Note: {number} was measured before {', '.join(changed)} changed.")
    for number in sorted(set(found) - set(catalogue.claim_files())):
        problems.append(f"{number}: there is evidence of a claim that does not exist.")
    for problem in problems:
        say(problem)
    if not problems:
        say(f"{words.plural(len(found), 'claim')} measured, all up to date.")
    return 1 if problems else 0


def digest_papers(since: str | None, feed: str | None) -> None:
    from smidgen.papers.news import atom, news

    items = news(since or "")
    if feed:
        if not Path(feed).absolute().parent.is_dir():
            raise bad("--atom", "a file in a folder that exists", feed)
        write_bytes(Path(feed), atom(items).encode())
        tell(f"Wrote {words.plural(len(items), 'entry', 'entries')} to {feed}")
        return
    for item in items:
        say(f"{item.date[:10]}  {item.number} {item.title}, {item.what}: {item.text}")
    if not items:
        say("No news.")


def _parts(parts: list[dict[str, Any]]) -> list[str]:
    rows = []
    for p in parts:
        ends = f"{words.number(p['interval'][0])} to {words.number(p['interval'][1])}" if p["interval"] else "–"
        mean = words.number(p["mean"]) + (f" {p['unit']}" if p["unit"] else "")
        rows.append([p["name"], mean, ends, words.number(p["margin"]), words.number(p["null"]), p["verdict"]])
    return table(rows, ["part", "mean gain", "interval", "must reach", "bound above", "verdict"], indent="  ")


def _measured() -> dict[str, Evidence]:
    found, damaged = evidence.measured()
    for error in damaged:
        tell(f"Left out: {error}")
    return found


def _readable(number: str) -> Evidence | None:
    try:
        return evidence.read(number)
    except BadInput as error:
        tell(f"Measured again: {error}")
        return None


def _card_json(card: Card, found: Evidence | None) -> dict[str, Any]:
    return {**asdict(card), "verdict": found.verdict if found else None, "measured": found.date if found else None}
