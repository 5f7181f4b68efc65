"""What is told while pictures are opened and texts encoded, and who leaves: each event, sentence and bound."""

from types import SimpleNamespace
from typing import Any

import pytest
from bare_races import Race

from smidgen.kit.errors import BudgetSpent
from smidgen.studies import encoding
from smidgen.studies.candidates import BASELINE, Candidate
from smidgen.studies.encoding import encode_within, while_opened


@pytest.fixture
def now(monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(encoding.time, "monotonic", lambda: clock[0])
    return clock


def test_events_of_opened_pictures(now):
    said: list[Any] = []
    opened = while_opened(50.0, 90.0, said.append)
    for done in (1, 15, 16, 17, 32, 33):
        opened(done, 33)
    event = {"kind": "encode", "text": "Opening pictures without labels", "total": 33, "seconds_left": 40.0}
    assert said == [{**event, "done": done} for done in (16, 32, 33)]
    now[0] = 115.0
    opened(5, 33)  # half of the time is not passed yet
    now[0] = 115.06
    opened(33, 33)
    assert said[-1]["seconds_left"] == 24.9
    with pytest.raises(BudgetSpent) as caught:
        opened(1000, 2000)
    assert str(caught.value) == (
        "Half of the time went while pictures without labels were opened (1,000 of 2,000 are): give more time, or "
        "fewer of them."
    )


def encoded(monkeypatch, race, passes, *, seconds=10.0, of_pool=False, encoders=("words",)):
    """What is said while each encoder takes so many seconds until it tells of 1 of 2."""
    said: list[Any] = []
    now, given = [100.0], []
    monkeypatch.setattr(encoding.time, "monotonic", lambda: now[0])

    def fill(rows, names, folder, tell, columns):
        given.append((rows, names, str(folder), columns))
        now[0] += passes
        tell(1, 2)
        tell(2, 2)

    monkeypatch.setattr(encoding, "fill", fill)
    plan: Any = SimpleNamespace(race=race, begun=100.0, budget=SimpleNamespace(seconds=seconds), progress=said.append,
                                task=SimpleNamespace(columns="columns"))  # fmt: skip
    encode_within(plan, "rows", encoders, of_pool=of_pool)  # type: ignore[arg-type]
    return said, given


TEXT, TABLE, BASE = (
    Candidate("learn/logistic", "tfidf"),
    Candidate("learn/lda", "linear"),
    Candidate(BASELINE, "linear"),
)


def test_up_to_half_of_the_time_is_for_encoding(monkeypatch):
    race = Race(TABLE, TEXT)
    said, given = encoded(monkeypatch, race, 5.0)
    assert given == [("rows", ("words",), ".smidgen/cache", "columns")] and race.out == {}
    event = {"kind": "encode", "text": "Encoding (words)", "total": 2, "seconds_left": 5.0}
    assert said == [{**event, "done": 1}, {**event, "done": 2}]
    said, _ = encoded(monkeypatch, race, 5.1)
    assert said == [] and race.out == {TEXT.key: "not tried: encoding (words) takes more than half of the time"}
    free = Race(TEXT)
    said, _ = encoded(monkeypatch, free, 1e9, seconds=None)
    assert [e["seconds_left"] for e in said] == [None, None] and free.out == {}
    order = encoded(monkeypatch, Race(TABLE), 0.1, encoders=("minilm", "words", "minilm_short", "chars"))[1]
    assert [names for _, names, *_ in order] == [("words",), ("chars",), ("minilm",), ("minilm_short",)]


def test_all_encoders_are_tried_and_only_who_needs_one_leaves(monkeypatch):
    both = Candidate("learn/logistic", "linear+minilm")
    race = Race(TABLE, TEXT, both)
    _, given = encoded(monkeypatch, race, 9.0, encoders=("words", "minilm"))
    assert len(given) == 2 and set(race.out) == {TEXT.key, both.key}


def test_without_a_candidate_it_ends(monkeypatch):
    why = "The time ended while texts or images were encoded. Give more time; what is done is kept."
    for race, ends in (
        (Race(TEXT), True), (Race(BASE, TEXT), True), (Race(BASE), False), (Race(TABLE, BASE, TEXT), False)
    ):  # fmt: skip
        if not ends:
            encoded(monkeypatch, race, 9.0)
            continue
        with pytest.raises(BudgetSpent) as caught:
            encoded(monkeypatch, race, 9.0)
        assert str(caught.value) == why and caught.value.see == "budget"


def test_rows_without_labels_are_for_those_that_learn_from_them(monkeypatch):
    reads = Candidate("learn/made", "tfidf")
    cards = {"learn/made": SimpleNamespace(unlabelled=True), "learn/logistic": SimpleNamespace(unlabelled=False)}
    monkeypatch.setattr(encoding.methods, "card", cards.__getitem__)
    race = Race(TABLE, TEXT, reads)
    encoded(monkeypatch, race, 9.0, of_pool=True)
    assert list(race.out) == [reads.key]
