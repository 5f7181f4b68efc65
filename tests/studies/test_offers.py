"""Offered trials: taken in order, each by one, void without their coordinator, in SQLite and in PostgreSQL."""

import itertools
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

from smidgen.studies import offers
from smidgen.studies.owner import new_owner
from smidgen.studies.store import RunStore
from smidgen.studies.trial import Result, Trial

RESULT = Result(np.full((3, 2), 0.5), 1.0, 0.5, 100, 10)


def trials_of(count, method="learn/a", task="t"):
    made = {"method": method, "version": 1, "view": "linear", "seed": 0}
    return [Trial(task=task, draw=f"cv:k=4:r={i}", **made) for i in range(count)]


@pytest.fixture
def stores(place):
    """Four users of one store: the first is for coordinators."""
    made = [RunStore(place) for _ in range(4)]
    yield made
    for store in made:
        store.close()


def offered(store, count=3, *, study="s", data="d", memory=None, **options):
    made = trials_of(count, **options)
    offers.announce(store, study, data, memory, "1")
    offers.offer(store, made, longest=5.0)
    return [t.key for t in made]


def take(store, count=1, **options):
    return offers.take(store, count, program="1", **options)


def sql(store, text):
    with store._db.write() as c:
        c.exec_driver_sql(text)


def test_they_are_taken_in_order_and_once(stores):
    boss, a, b, _ = stores
    keys = offered(boss, 5)
    first, second = take(a, 2), take(b, 9)
    assert [t.key for t in [*first, *second]] == keys and take(a) == []
    assert (first[0].study, first[0].data, first[0].longest, first[0].method) == ("s", "d", 5.0, "learn/a@1")
    assert a.finish(first[0].key, first[0].fence, RESULT)
    assert set(boss.get(keys)) == {keys[0]} and offers.held(boss, keys) == set(keys[1:])


def test_what_is_withdrawn_is_not_taken_and_its_holder_hears_of_it(stores):
    boss, a, _, _ = stores
    keys = offered(boss, 3)
    held = take(a)
    assert offers.beat(a, held) == {keys[0]}
    offers.offer(boss, trials_of(3)[:2])
    assert offers.beat(a, held) == {keys[0]}, "what is offered again goes on"
    offers.withdraw(boss)
    assert offers.beat(a, held) == set() and take(a) == []
    offers.give_back(a, held[0])
    assert boss.claim(keys[0], "{}") is not None


def test_what_is_dropped_is_that_trial_of_that_coordinator(stores):
    boss, a, other, _ = stores
    keys = offered(boss, 3)
    offered(other, 3)
    offers.drop(boss, sorted(keys)[1])
    with boss._db.read() as c:
        left = [row[0] for row in c.exec_driver_sql("SELECT key FROM offers").all()]
    assert sorted(left) == sorted([*keys, *(k for k in keys if k != sorted(keys)[1])])
    assert {t.key for t in take(a, 9)} == set(keys)  # the other coordinator still wants it


def test_without_a_living_coordinator_there_is_nothing(stores):
    boss, a, _, _ = stores
    offered(boss)
    sql(boss, "UPDATE coordinators SET lease_until = 1")
    assert take(a) == []
    offered(boss)
    assert take(a)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        boss.owner = dead_name(child)
        offered(boss, task="other")
        child.kill()
    a.release()
    assert take(a, 9) and all(t.coordinator != boss.owner for t in take(a, 9))


def test_a_new_coordinator_buries_those_whose_lease_ended_and_those_that_are_gone(stores):
    slow, killed, lives, new = stores
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        killed.owner = dead_name(child)
        for store in (slow, killed, lives):
            offered(store)
        child.kill()
    sql(slow, f"UPDATE coordinators SET lease_until = 1 WHERE owner = '{slow.owner}'")
    offered(new)
    with new._db.read() as c:
        left = [row[0] for row in c.exec_driver_sql("SELECT DISTINCT owner FROM offers").all()]
    assert set(left) == {lives.owner, new.owner}


def dead_name(child):
    machine = new_owner().split(":")[0]
    start = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[19]
    return f"{machine}:{child.pid}:{start}:0"


def test_a_trial_of_a_killed_worker_is_taken_by_another(stores):
    boss, a, b, _ = stores
    keys = offered(boss, 1)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        a.owner = dead_name(child)
        held = take(a)
        assert take(b, thorough=True) == []
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        again = take(b, thorough=True)
    assert [t.key for t in again] == keys and again[0].fence == held[0].fence + 1
    assert not a.finish(keys[0], held[0].fence, RESULT) and b.finish(keys[0], again[0].fence, RESULT)


def test_all_that_a_killed_worker_held_is_free_after_one_thorough_look(stores):
    boss, a, b, c = stores
    keys = offered(boss, 6)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        a.owner = dead_name(child)
        held = take(a, 5)
        assert [t.key for t in take(b)] == keys[5:]
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        again = [*take(b, 2, thorough=True), *take(c), *take(b, 9)]  # one has little room, the next need not look so
    assert [t.key for t in again] == keys[:5]
    assert [t.fence for t in again] == [t.fence + 1 for t in held]


def test_a_trial_of_a_worker_that_is_not_heard_of_is_taken_by_another(stores):
    boss, a, b, _ = stores
    keys = offered(boss, 1)
    held = take(a)
    assert take(b) == []
    sql(boss, "UPDATE trials SET lease_until = 1")
    again = take(b)
    assert [t.key for t in again] == keys
    assert offers.beat(a, held) == set(), "it hears that it lost the trial"
    offers.give_back(a, held[0], ("died", "of old age"))
    assert offers.failures(boss) == {} and offers.beat(b, again) == set(keys)
    assert not a.finish(keys[0], held[0].fence, RESULT) and b.finish(keys[0], again[0].fence, RESULT)


def test_every_order_of_two_takers_and_a_lease_that_ends(stores):
    """take, beat, finish of each, and a moment at which all leases end: each trial has one result, by its holder."""
    boss, a, b, _ = stores
    turns = [("a", "take"), ("a", "beat"), ("a", "finish"), ("b", "take"), ("b", "finish"), ("t", "end")]
    names = [who for who, _ in turns]
    orders = sorted(set(itertools.permutations(names)))
    assert len(orders) == 60
    for number, order in enumerate(orders):
        (key,) = offered(boss, 1, task=f"t{number}")
        steps = {who: [step for name, step in turns if name == who] for who in "abt"}
        held = {"a": [], "b": []}
        done = []
        for who in order:
            step = steps[who].pop(0)
            store = {"a": a, "b": b}.get(who)
            if step == "end":
                sql(boss, "UPDATE trials SET lease_until = 1 WHERE state = 'running'")
            elif step == "take":
                held[who] = take(store)
            elif step == "beat":
                offers.beat(store, held[who])
            elif held[who] and store.finish(key, held[who][0].fence, RESULT):
                done.append(who)
        assert len(done) <= 1
        if not done and not (last := take(stores[3])):
            sql(boss, "UPDATE trials SET lease_until = 1 WHERE state = 'running'")
            last = take(stores[3])
            assert last, "nothing is lost"
        a.release()
        b.release()
        stores[3].release()


def test_what_could_not_be_done_is_told_to_its_coordinator_alone(stores):
    boss, a, other, _ = stores
    keys = offered(boss, 2)
    held = take(a, 2)
    offers.give_back(a, held[0], ("deadline", "took longer than its 5 s"))
    assert offers.failures(boss) == {keys[0]: ("deadline", "took longer than its 5 s")}
    assert offers.failures(other) == {} and boss.get(keys) == {}, "nothing is held against the trial"
    assert take(a, 9) == []
    assert offered(other, 2, study="again") == keys
    assert [t.key for t in take(a, 9)] == [keys[0]], "another study may try it"


def test_who_has_too_little_memory_leaves_it_to_others(stores):
    boss, small, large, _ = stores
    keys = offered(boss, 1, memory=None)
    (held,) = take(small, memory=1000)
    offers.give_back(small, held, too_small=1000)
    assert take(small, memory=1000) == [] and take(small, memory=999) == []
    (again,) = take(large, memory=1001)
    assert again.key == keys[0]
    offers.give_back(large, again)
    assert take(large)


def test_filters(stores):
    boss, a, second, third = stores
    offered(boss, 2, study="one", data="x", method="learn/a")
    offered(second, 2, study="two", data="y", method="learn/b", memory=7)
    assert {t.study for t in take(a, 9, study="two")} == {"two"}
    a.release()
    assert [t.data for t in take(a, 9, data="y")] == ["y", "y", "x", "x"]
    a.release()
    assert {t.data for t in take(a, 9, data="y", only=True)} == {"y"}
    a.release()
    assert {t.method for t in take(a, 9, refused={"learn/a@1"})} == {"learn/b@1"}
    a.release()
    assert {t.coordinator for t in take(a, 9, coordinator=boss.owner)} == {boss.owner}
    a.release()
    assert {t.memory for t in take(a, 9)} == {None, 7}
    a.release()
    offers.announce(third, "three", "z", None, "2")
    offers.offer(third, trials_of(1, task="u"))
    assert {t.study for t in take(a, 9)} == {"one", "two"} and offers.strangers(a, "1") == [("three", "2")]


def test_workers_are_known_while_they_beat(stores):
    boss, a, b, _ = stores
    assert offers.present(boss, "s") == 0
    offers.beat(a, [])
    offers.beat(b, [], "another")
    assert offers.present(boss, "s") == 1 and offers.present(boss, "another") == 2
    offers.leave(a)
    assert offers.present(boss, "s") == 0
    sql(boss, "UPDATE workers SET lease_until = 1")
    assert offers.present(boss, "another") == 0


def test_many_takers_at_once_measure_each_trial_once(place):
    """Threads with connections of their own; they also race on the claims."""
    with RunStore(place) as boss:
        keys = offered(boss, 120)
        study = boss.open_study("s", "f", {}).id
        offers.announce(boss, study, "d", None, "1")
        done, errors = [], []

        def work():
            try:
                with RunStore(place) as store:
                    while held := take(store, 3):
                        accepted = store.finish_all([(t.key, t.fence, RESULT) for t in held])
                        done.extend(t.key for t, taken in zip(held, accepted, strict=True) if taken)
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=work) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == [] and sorted(done) == sorted(keys)
        assert set(boss.get(keys)) == set(keys) and len(boss.trials(study)) == 120


def test_what_has_ended_and_what_is_taken_are_few_messages(stores):
    """Each is a wait for two processes' turns; and the first open offer is found without a look at the others."""
    boss, a, _, _ = stores
    keys = offered(boss, 300)
    asked = []

    @sa.event.listens_for(a._db._engine, "before_cursor_execute")
    def note(connection, cursor, statement, parameters, context, many):
        asked.append((statement, parameters))

    ended = [(t.key, t.fence, RESULT) for t in take(a, 8)]
    asked.clear()
    recorded, taken = offers.exchange(a, ended, 8, program="1")
    assert recorded == [True] * 8 and [t.key for t in taken] == keys[8:16]
    asked = [what for what in asked if not what[0].startswith("PRAGMA")]
    assert len(asked) == 7, asked  # begin, holders, results, their offers, open offers, two inserts
    (look,) = [what for what in asked if what[0].startswith("SELECT offers.owner")]
    with a._db.read() as c:
        explain = "EXPLAIN QUERY PLAN " if a._db.sqlite else "EXPLAIN "
        plan = [" ".join(map(str, row)) for row in c.exec_driver_sql(explain + look[0], look[1])]
    assert sum("offers_placed" in line for line in plan) == 2, plan
    assert not any("offers.place" in line or "TEMP B-TREE FOR LAST" in line for line in plan), "all would be sorted"


def test_a_result_does_not_wait_for_who_looks_at_its_offer(stores):
    boss, a, b, _ = stores
    keys = offered(boss, 2)
    first, second = take(a, 2)
    if a._db.sqlite:
        pytest.skip("one writes at a time there")
    with b._db.write() as c:
        c.exec_driver_sql("SELECT key FROM offers FOR UPDATE")
        done = []
        thread = threading.Thread(target=lambda: done.append(a.finish(first.key, first.fence, RESULT)))
        thread.start()
        thread.join(20)
        assert done == [True]
    thread.join()
    assert a.finish(second.key, second.fence, RESULT)
    assert take(b, 9) == [] and set(boss.get(keys)) == set(keys), "its offer is left, and is not open"


def test_a_commit_of_results_waits_for_the_disk_and_one_of_claims_does_not(stores):
    store = stores[0]
    ask, on, off = ("PRAGMA synchronous", 2, 1) if store._db.sqlite else ("SHOW synchronous_commit", "on", "off")
    for durable, expected in ((True, on), (False, off), (True, on)):
        with store._db.write(durable) as c:
            assert c.exec_driver_sql(ask).scalar() == expected


def test_a_connection_that_died_while_it_lay_idle_is_opened_anew(stores, monkeypatch):
    from smidgen.studies import database

    store, other = stores[:2]
    if store._db.sqlite:
        pytest.skip("there is no server")
    study = store.open_study("s", "f", {}).id
    with store._db.read() as c:
        pid = c.exec_driver_sql("SELECT pg_backend_pid()").scalar()
    with other._db.read() as c:
        assert c.exec_driver_sql("SELECT pg_terminate_backend(%s, 10000)", (pid,)).scalar()
    monkeypatch.setattr(database, "PING_SECONDS", 0.0)  # long idle
    assert store.study(study).state == "running"
