"""When a study offers its trials: where somebody would take them, looked for now and then, and told once."""

import pytest

from smidgen.studies import offers, sharing
from smidgen.studies.sharing import LOOK_SECONDS, Sharing


@pytest.fixture
def looked(monkeypatch):
    """What stands for the store: workers that are there, and how often somebody looked and withdrew."""
    found = {"workers": 0, "looks": 0, "withdrawn": 0, "now": 0.0}

    def present(store, study):
        found["looks"] += 1
        return found["workers"]

    monkeypatch.setattr(offers, "present", present)
    monkeypatch.setattr(offers, "withdraw", lambda store: found.update(withdrawn=found["withdrawn"] + 1))
    monkeypatch.setattr(offers, "offer", lambda store, trials, longest: None)
    monkeypatch.setattr(Sharing, "_ship", lambda self: None)
    monkeypatch.setattr(sharing, "again", lambda call: call())
    return found


def made(looked, **options):
    said = []
    store = type("Store", (), {"name": "runs.db"})()
    one = Sharing(store, "s", tell=said.append, clock=lambda: looked["now"], **options)
    one._data = (None, None)  # type: ignore[assignment]
    return one, said


def test_workers_are_looked_for_now_and_then_and_told_when_there_are_more(looked):
    one, said = made(looked)
    told = []
    for workers, later in ((0, 0), (1, 0), (1, LOOK_SECONDS), (2, LOOK_SECONDS), (1, LOOK_SECONDS)):
        looked["workers"], looked["now"] = workers, looked["now"] + later
        told.append(one.wanted())
    assert told == [False, False, True, True, True] and looked["looks"] == 4
    assert said == ["1 worker takes part", "2 workers take part"]


def test_where_nobody_else_measures_trials_are_offered_in_any_case(looked):
    one, said = made(looked, always=True)
    assert one.wanted() and said == ["Waiting for workers: smidgen work --store runs.db"]


def test_what_is_offered_is_not_offered_again_until_it_is_withdrawn(looked):
    one, _ = made(looked)
    looked["workers"] = 1
    assert one.wanted() and one.offer([], None) and not one.wanted()
    one.withdraw()
    one.withdraw()
    assert looked["withdrawn"] == 1 and one.wanted(), "looks at once"
