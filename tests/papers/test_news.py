"""News and their feed."""

from xml.etree import ElementTree

import pytest

from smidgen.kit.errors import BadInput
from smidgen.papers.news import ATOM, Item, atom, news


def test_feed_has_what_readers_need_and_escapes():
    items = [
        Item("2026-11-24T10:00:00Z", "035", "measured", "A <b> & c", "holds"),
        Item("2026-11-23", "102", "added", "t", "g"),
    ]
    text = atom(items)
    feed = ElementTree.fromstring(text)
    assert feed.find(f"{{{ATOM}}}updated").text == "2026-11-24T10:00:00Z"
    entries = feed.findall(f"{{{ATOM}}}entry")
    assert [e.find(f"{{{ATOM}}}updated").text for e in entries] == ["2026-11-24T10:00:00Z", "2026-11-23T00:00:00Z"]
    assert "A <b> & c" in entries[0].find(f"{{{ATOM}}}title").text
    assert len({e.find(f"{{{ATOM}}}id").text for e in entries}) == 2 and atom(items) == text


def test_since():
    assert {i.number for i in news()} >= {"035", "102"}
    assert news("2999-01-01") == []
    with pytest.raises(BadInput, match="--since"):
        news("last week")
