"""Which offers a taker gets: whose, in which order, how many, and which are left alone."""

import pytest

from smidgen.studies import offers
from smidgen.studies.open_offers import Choice, find_open, free_the_dead
from smidgen.studies.store import RunStore
from smidgen.studies.trial import Trial


def trials_of(count, method):
    made = {"task": "t", "method": method, "version": 1, "view": "linear", "seed": 0}
    return [Trial(draw=f"cv:k=4:r={i}", **made) for i in range(count)]


@pytest.fixture
def stores(tmp_path):
    """Two coordinators, the first of which began earlier, and a taker."""
    made = [RunStore(tmp_path / "runs.db") for _ in range(3)]
    for store, study, data, method in zip(made, ("one", "two"), ("x", "y"), ("learn/a", "learn/b"), strict=False):
        offers.announce(store, study, data, None, "1")
        offers.offer(store, trials_of(2, method))
    yield made
    for store in made:
        store.close()


def found(store, count=9, now=None, **choice):
    with store._db.write() as c:
        rows = find_open(
            store, c, store._db.now(c) if now is None else now, count, Choice(**{"program": "1", **choice})
        )
    return [(row.study, row.place) for row in rows]


ONE, TWO = [("one", 0), ("one", 1)], [("two", 0), ("two", 1)]


def test_one_coordinator_after_the_other_up_to_the_count(stores):
    taker = stores[2]
    assert found(taker) == ONE + TWO
    assert [found(taker, count) for count in (0, 1, 2, 3)] == [[], ONE[:1], ONE, ONE + TWO[:1]]


def test_loaded_data_comes_first_or_alone(stores):
    taker = stores[2]
    assert found(taker, data="y") == TWO + ONE and found(taker, data="x") == ONE + TWO == found(taker, data="z")
    assert found(taker, data="y", only=True) == TWO and found(taker, data="z", only=True) == []


def test_of_one_study_or_coordinator_or_program(stores):
    one, two, taker = stores
    assert found(taker, study="two") == TWO and found(taker, study="none") == []
    assert found(taker, coordinator=two.owner) == TWO and found(one, coordinator=one.owner) == ONE
    assert found(taker, coordinator=one.owner, study="two") == [] and found(taker, program="2") == []


def test_methods_that_are_not_here_and_trials_that_need_more_are_left_alone(stores):
    one, _, taker = stores
    assert found(taker, refused=["learn/a@1"]) == TWO and found(taker, refused=["learn/a@1", "learn/b@1"]) == []
    with one._db.write() as c:
        c.exec_driver_sql("UPDATE offers SET too_small = 100 WHERE method = 'learn/a@1' AND place = 0")
    assert found(taker, memory=100) == ONE[1:] + TWO and found(taker, memory=101) == ONE + TWO == found(taker)


def test_what_is_held_or_failed_or_of_an_ended_coordinator_is_not_open(stores):
    one, _, taker = stores
    first = trials_of(2, "learn/a")[0]
    fence = taker.claim(first.key, first.to_json())
    assert found(taker) == ONE[1:] + TWO
    with one._db.read() as c:
        now = one._db.now(c)
    assert found(taker, now=now + 10_000) == []  # no coordinator is there any more
    taker.release()
    assert fence is not None and found(taker) == ONE + TWO
    with one._db.write() as c:
        c.exec_driver_sql("UPDATE offers SET failure = '[]' WHERE method = 'learn/a@1'")
    assert found(taker) == TWO


def test_a_coordinator_that_is_gone_is_passed_over_and_noted(stores, monkeypatch):
    one, _, taker = stores
    monkeypatch.setattr("smidgen.studies.open_offers.is_gone", lambda owner: owner == one.owner)
    assert found(one) == ONE + TWO  # oneself is not
    assert found(taker) == TWO
    with one._db.read() as c:
        leases = dict(c.exec_driver_sql("SELECT study, lease_until FROM coordinators").fetchall())
    assert leases["one"] == 0.0 and leases["two"] > 0


def test_only_what_the_dead_hold_is_freed(stores, monkeypatch):
    one, two, taker = stores
    first, second = trials_of(2, "learn/a")
    taker.claim(first.key, first.to_json())
    two.claim(second.key, second.to_json())
    monkeypatch.setattr("smidgen.studies.open_offers.is_gone", lambda owner: owner == taker.owner)
    with one._db.write() as c:
        free_the_dead(c, one._db.now(c))
        held = dict(c.exec_driver_sql("SELECT key, owner FROM trials").fetchall())
    assert held == {first.key: None, second.key: two.owner}
    monkeypatch.setattr("smidgen.studies.open_offers.is_gone", lambda owner: False)
    assert found(one) == ONE[:1] + TWO
