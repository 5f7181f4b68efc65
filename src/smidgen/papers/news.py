"""What was added or measured again since a day: as lines of text, and as an Atom feed (RFC 4287)."""

import datetime
from dataclasses import dataclass
from xml.etree import ElementTree

from smidgen.kit.errors import bad
from smidgen.papers import catalogue, evidence

ATOM = "http://www.w3.org/2005/Atom"


@dataclass(frozen=True)
class Item:
    """One piece of news: `date` as YYYY-MM-DD or with a time in UTC, `what`: added or measured."""

    date: str
    number: str
    what: str
    title: str
    text: str


def news(since: str = "") -> list[Item]:
    """News since a day (YYYY-MM-DD, included), the latest first. Raises BadInput when it is no date."""
    if since:
        try:
            since = datetime.date.fromisoformat(since).isoformat()
        except ValueError:
            raise bad("--since", "a date as YYYY-MM-DD", since) from None
    items = []
    found, _ = evidence.measured()
    for number in catalogue.claim_files():
        claim = catalogue.entry(number).claim
        if claim.added:
            items.append(Item(claim.added, number, "added", claim.title, claim.gives))
        if number in found:
            e = found[number]
            parts = "; ".join(f"{p['name']}: {p['verdict']}" for p in e.parts)
            items.append(Item(e.date, number, "measured", claim.title, f"{e.verdict} over {e.seeds} seeds ({parts})"))
    return sorted((i for i in items if i.date[: len(since)] >= since), key=lambda i: (i.date, i.number), reverse=True)


def atom(items: list[Item]) -> str:
    """The items as a feed. The same items always give the same text."""
    feed = ElementTree.Element("feed", xmlns=ATOM)
    _add(feed, "title", "smidgen: papers")
    _add(feed, "id", "tag:smidgen,2026:papers")
    _add(feed, "updated", _time(max((i.date for i in items), default="2026-01-01")))
    _add(_add(feed, "author", None), "name", "smidgen")
    for item in items:
        one = _add(feed, "entry", None)
        _add(one, "title", f"{item.number} {item.title}: {item.what}")
        _add(one, "id", f"tag:smidgen,2026:papers/{item.number}/{item.what}/{item.date}")
        _add(one, "updated", _time(item.date))
        _add(one, "content", item.text).set("type", "text")
    ElementTree.indent(feed)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(feed, encoding="unicode") + "\n"


def _add(parent: ElementTree.Element, tag: str, text: str | None) -> ElementTree.Element:
    child = ElementTree.SubElement(parent, tag)
    child.text = text
    return child


def _time(date: str) -> str:
    return date if "T" in date else f"{date}T00:00:00Z"
