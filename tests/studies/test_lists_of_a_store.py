"""Pages of studies and trials, data in parts, and offers, each at its bounds, in SQLite."""

import json
import zlib

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa

from smidgen.data.views.rows import Rows
from smidgen.kit.errors import BadInput
from smidgen.kit.files import digest
from smidgen.studies import offers, shipping
from smidgen.studies.listing import count_states, list_studies, list_trials
from smidgen.studies.result import Result
from smidgen.studies.shipping import fetch, pack_data, put, unpack_data
from smidgen.studies.store import RunStore
from smidgen.studies.tables import coordinators, task_data, trials, workers
from smidgen.studies.tables import offers as offered
from smidgen.studies.trial import Trial
from smidgen.tasks.read import read

DONE = Result(np.ones((2, 2)), 1.0, 0.5, 3, 4)


@pytest.fixture
def store(tmp_path):
    with RunStore(tmp_path / "r.db") as made:
        yield made


@pytest.fixture
def other(store):
    with RunStore(store.name) as made:
        yield made


def trials_of(count, method="learn/a"):
    return [Trial(task="t", method=method, version=2, view="v", draw=f"cv:k=2:r={i}", seed=0) for i in range(count)]


def sql(store, text, *values):
    with store._db.write() as c:
        c.exec_driver_sql(text, values)


def rows_of(store, table):
    with store._db.read() as c:
        return [dict(r) for r in c.execute(sa.select(table)).mappings()]


# -- lists --


@pytest.fixture(scope="module")
def long(tmp_path_factory):
    """101 studies; the first has 201 trials: 3 failed, 2 running."""
    copied = (
        "INSERT INTO studies SELECT id || ?, digest || ?, created, updated - ?, 'A' || ?, fingerprint, options, asked, "
        "state, owner, lease_until, summary, trials FROM studies WHERE id = ?"
    )
    trial = "INSERT INTO trials (key, trial, state, fence, lease_until, created, seconds) VALUES (?, ?, ?, 1, 0, ?, ?)"
    with RunStore(tmp_path_factory.mktemp("s") / "r.db") as store:
        first = store.open_study("b 100%", "f", {})
        with store._db.write() as c:
            for i in range(100):
                c.exec_driver_sql(copied, (i, i, 1 + i, i, first.id))
            for i in range(201):
                state = "failed" if i < 3 else "running" if i < 5 else "done"
                told = json.dumps({"method": f"m{i % 2}", "view": "V", "draw": f"r={i}"})
                seconds = None if state == "running" else i % 7
                c.exec_driver_sql(trial, (f"k{i:03}", told, state, 1000.0 - i // 2, seconds))
                c.exec_driver_sql("INSERT INTO study_trials VALUES (?, ?)", (first.id, f"k{i:03}"))
            c.exec_driver_sql(trial, ("x", "{}", "failed", 1.0, None))  # of no study
        yield store, first


def test_pages_of_studies(long):
    store, first = long
    page = list_studies(store)
    assert (len(page.rows), page.total, page.page, page.pages, page.first) == (100, 101, 1, 2, 1)
    assert page.rows[0] == (store.study(first.id), 201) and [n for _, n in page.rows[1:3]] == [0, 0]
    last = list_studies(store, page=2)
    assert (len(last.rows), last.first, last.page) == (1, 101, 2)
    updated = [s.updated for s, _ in [*page.rows, *last.rows]]
    assert updated == sorted(updated, reverse=True)
    assert [s.updated for s, _ in list_studies(store, down=False, size=200).rows] == sorted(updated)
    names = [s.task_name for s, _ in list_studies(store, sort="name", down=False, size=200).rows]
    assert names == sorted(names, key=str.lower) and names[-1] == "b 100%"
    assert list_studies(store, sort="trials", size=1).rows[0][0].id == first.id
    found = {"100%": 1, "B 00": 101, "a1": 11, "zz": 0, "0% b": 1, "_": 0}
    assert {words: list_studies(store, search=words).total for words in found} == found
    assert list_studies(store, size=7, page=2).first == list_trials(store, first, size=7, page=2).first == 8
    with pytest.raises(BadInput, match=r"^sort: expected one of updated, name, trials, got size\.$"):
        list_studies(store, sort="size")


def test_pages_of_trials(long):
    store, study = long
    page = list_trials(store, study)
    assert (len(page.rows), page.total, page.pages, page.first) == (200, 201, 2, 1)
    order = sorted((1000.0 - i // 2, f"k{i:03}") for i in range(201))
    assert [r.key for r in page.rows] == [k for _, k in order[:200]]
    assert [r.key for r in list_trials(store, study, page=2).rows] == [order[200][1]]
    assert [r.key for r in list_trials(store, study, down=True, size=7, page=2).rows] == [
        k for _, k in order[::-1][7:14]
    ]
    by = {r.key: r for r in list_trials(store, study, size=300).rows}
    for down in (False, True):
        keys = [r.key for r in list_trials(store, study, sort="seconds", down=down, size=300).rows]
        known = [k for k in keys if by[k].seconds is not None]
        want = sorted(known, key=lambda k: ((-1 if down else 1) * by[k].seconds, by[k].created, k))
        assert known == want and {by[k].state for k in keys[len(known) :]} == {"running"}
    assert [list_trials(store, study, state=s).total for s in ("", "done", "failed", "running")] == [201, 196, 3, 2]
    assert [r.key for r in list_trials(store, study, state="failed").rows] == ["k002", "k000", "k001"]
    found = list_trials(store, study, search="M1 r=20", state="done")
    assert sorted(r.key for r in found.rows) == ["k201"[:0] + k for k in ("k203",)][:0] or found.total == len(
        found.rows
    )
    assert {r.key for r in found.rows} == {f"k{i:03}" for i in range(201) if i % 2 and f"r={i}".startswith("r=20")}
    assert count_states(store, study) == {"done": 196, "failed": 3, "running": 2}
    empty = list_trials(store, store.study(list_studies(store, search="A7", size=1).rows[0][0].id))
    assert (empty.rows, empty.total, empty.page, empty.pages, empty.first) == ([], 0, 1, 1, 1)
    for wrong, said in (
        ({"sort": "key"}, "sort: expected one of begun, method, view, draw, state, seconds, memory, model, got key."),
        ({"state": "over"}, "state: expected one of done, failed, running, got over."),
    ):
        with pytest.raises(BadInput) as caught:
            list_trials(store, study, **wrong)
        assert str(caught.value) == said


# -- data in parts --


@pytest.fixture(scope="module")
def body():
    x = np.random.default_rng(0).normal(size=40)
    task = read(pd.DataFrame({"x": x, "y": np.arange(40) % 2}), "y", kind="classification")
    return pack_data(task, Rows(task.frame))


def test_data_lies_in_parts_and_only_what_lacks_is_put(store, body, monkeypatch):
    monkeypatch.setattr(shipping, "PART_BYTES", 300)
    mark = digest(body)
    offers.announce(store, "s", mark, None, "1")
    put(store, body[:600], mark)
    assert [(r["part"], r["parts"]) for r in rows_of(store, task_data)] == [(0, 2), (1, 2)]
    sql(store, "UPDATE task_data SET parts = ?", -(-len(body) // 300))
    sql(store, "DELETE FROM task_data WHERE part = 0")
    put(store, body, mark)
    rows = sorted(rows_of(store, task_data), key=lambda r: r["part"])
    assert [zlib.decompress(r["content"]) for r in rows] == [body[i : i + 300] for i in range(0, len(body), 300)]
    assert fetch(store, mark) == body
    whole = f"The data {mark} of a task is not whole in {store.name}."
    hurt = f"The data {mark} of a task in {store.name} is damaged."
    for change, said in (
        ("UPDATE task_data SET content = X'00' WHERE part = 1", hurt),
        ("UPDATE task_data SET content = (SELECT content FROM task_data WHERE part = 0) WHERE part = 1", hurt),
        ("DELETE FROM task_data WHERE part = 1", whole),
        ("DELETE FROM task_data", whole),
    ):
        sql(store, change)
        with pytest.raises(BadInput) as caught:
            fetch(store, mark)
        assert str(caught.value) == said


def test_a_store_that_names_too_many_parts_is_not_followed(store, body, monkeypatch):
    monkeypatch.setattr(shipping, "MAX_BYTES", 4 * shipping.PART_BYTES)
    mark = digest(body)
    offers.announce(store, "s", mark, None, "1")
    put(store, body, mark)
    for parts, whole in ((1, True), (6, False)):
        sql(store, "UPDATE task_data SET parts = ?", parts)
        if whole:
            assert fetch(store, mark) == body
        else:
            with pytest.raises(BadInput, match="not whole"):
                fetch(store, mark)


def test_as_many_parts_as_the_largest_data_has_are_followed(store, body, monkeypatch):
    part = len(body) // 4
    assert len(body) > 4 * part
    monkeypatch.setattr(shipping, "PART_BYTES", part)
    monkeypatch.setattr(shipping, "MAX_BYTES", 4 * part)
    mark = digest(body)
    offers.announce(store, "s", mark, None, "1")
    put(store, body, mark)
    assert len(rows_of(store, task_data)) == 5 and fetch(store, mark) == body


def test_the_size_counts_text_and_numbers(body, monkeypatch):
    task, rows = unpack_data(body)
    end = 8 + int.from_bytes(body[:8], "little")
    arrays = 8 * 40 * 2  # the column and the codes
    monkeypatch.setattr(shipping, "MAX_BYTES", end - 8 + arrays)
    assert pack_data(task, rows) == body
    monkeypatch.setattr(shipping, "MAX_BYTES", end - 9 + arrays)
    with pytest.raises(BadInput, match=r"^The data has 1\.\d KB; 1\.\d KB can be given to other machines\.$"):
        pack_data(task, rows)


def test_what_is_no_such_data_is_one_sentence(body):
    head = json.loads(body[8 : 8 + int.from_bytes(body[:8], "little")])
    tail = body[8 + int.from_bytes(body[:8], "little") :]

    def made(**changes):
        text = json.dumps({**head, "about": {**head["about"], **changes}}).encode()
        return len(text).to_bytes(8, "little") + text + tail

    assert len(unpack_data(made())[0]) == 40
    for wrong in (made(form=2), made(rows={**head["about"]["rows"], "count": 39}), made(columns=[["x"]]), body[:7], b"",
                  made(rows={**head["about"]["rows"], "cells": [], "count": 7}), made(kind=None) + b"x"):  # fmt: skip
        with pytest.raises(BadInput, match=r"^The data of a task in the run store is damaged \(.{0,100}\)\.$"):
            unpack_data(wrong)


# -- offers --


def test_an_announcement_is_renewed_and_what_the_dead_left_goes(store, other):
    offers.announce(other, "old", "d0", None, "1")
    offers.offer(other, trials_of(2))
    offers.beat(other, [])
    sql(store, "UPDATE coordinators SET lease_until = 1")
    sql(store, "UPDATE workers SET lease_until = 1")
    offers.announce(store, "s", "d1", 5, "1")
    (row,) = rows_of(store, coordinators)
    assert (row["owner"], row["study"], row["data"], row["memory"], row["program"]) == (store.owner, "s", "d1", 5, "1")
    assert rows_of(store, offered) == [] == rows_of(store, workers) and row["lease_until"] == row["begun"] + 60
    offers.announce(other, "again", "d0", None, "1")
    sql(store, "UPDATE coordinators SET lease_until = 1")
    offers.announce(store, "s", "d2", None, "1")  # only a new one looks for the dead
    rows = {r["owner"]: r for r in rows_of(store, coordinators)}
    assert set(rows) == {store.owner, other.owner} and rows[store.owner]["data"] == "d2"
    assert rows[store.owner]["begun"] == row["begun"] and rows[store.owner]["lease_until"] > row["lease_until"]
    offers.retire(other)
    assert [r["owner"] for r in rows_of(store, coordinators)] == [store.owner]


def test_offers_as_rows_and_their_ends(store, other):
    offers.announce(store, "s", "d", None, "1")
    made = trials_of(3)
    offers.offer(store, made, 2.5)
    names = ("key", "method", "place", "longest", "too_small", "failure")
    rows = [tuple(r[name] for name in names) for r in rows_of(store, offered)]
    assert rows == [(t.key, "learn/a@2", i, 2.5, 0, None) for i, t in enumerate(made)]
    (first, second) = offers.take(other, 2, program="1")
    assert (first.key, first.trial, first.coordinator, first.longest) == (
        made[0].key,
        made[0].to_json(),
        store.owner,
        2.5,
    )
    assert offers.held(store, [t.key for t in made[1:]]) == {made[1].key}
    offers.give_back(other, first, ("memory", "much"), too_small=7)
    (row,) = [r for r in rows_of(store, offered) if r["key"] == first.key]
    assert (row["failure"], row["too_small"]) == ('["memory", "much"]', 7)
    assert offers.failures(store) == {first.key: ("memory", "much")}
    sql(store, "UPDATE trials SET fence = fence + 1 WHERE key = ?", second.key)
    offers.give_back(other, second, ("deadline", "late"), too_small=9)  # it has another holder
    assert second.key not in offers.failures(store) and offers.held(store, [second.key]) == {second.key}
    assert offers.beat(other, [first, second]) == {second.key}
    sql(store, "UPDATE trials SET lease_until = 1 WHERE key = ?", second.key)
    assert offers.held(store, [second.key]) == set()
    assert offers.exchange(other, (), 0, program="1") == ([], [])
    recorded, more = offers.exchange(other, [(second.key, 1, DONE), (first.key, first.fence, DONE)], 5, program="1")
    assert recorded == [False, True] and {t.key for t in more} == {made[1].key, made[2].key}
    assert {r["key"]: r["state"] for r in rows_of(store, trials)}[first.key] == "done"


def test_only_those_of_another_version_that_offer_something_are_strangers(store, other):
    offers.announce(store, "s", "d", None, "2")
    offers.announce(other, "mine", "d", None, "1")
    assert offers.strangers(store, "1") == []
    for one in (store, other):
        offers.offer(one, trials_of(2, "learn/b"))
    assert offers.strangers(store, "1") == [("s", "2")] and offers.strangers(store, "2") == [("mine", "1")]
    sql(store, "UPDATE coordinators SET lease_until = 1")
    assert offers.strangers(store, "1") == []
