"""The run store: what was acknowledged survives, each trial is run once, damage is one sentence."""

import importlib.util
import itertools
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from smidgen.kit.errors import BadInput, MissingExtra, SmidgenError
from smidgen.studies import SCHEMA, store_place
from smidgen.studies.database import StoreLost, hide_passwords
from smidgen.studies.owner import LEASE_SECONDS, is_gone, new_owner
from smidgen.studies.store import RunStore
from smidgen.studies.store_place import network_kind
from smidgen.studies.tables import studies
from smidgen.studies.trial import Result

# Imports once, then makes a fresh process for every order: {"do": "loop" | "share", "store": path, "keys": [...]}.
# Each line it writes is one acknowledged event.
NURSERY = """
import json, os, sys
import numpy as np
from smidgen.studies.store import RunStore
from smidgen.studies.trial import Result

def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())

def work(order):
    store = RunStore(order["store"])
    say("pid", os.getpid())
    for key in order["keys"]:
        fence = store.claim(key, "{}", study=order["study"])
        if fence is not None and store.finish(key, fence, Result(np.full((40, 3), float(key)), 1.0)):
            say("done", key)

say("up")
for line in sys.stdin:
    order = json.loads(line)
    for _ in range(order["processes"]):
        if os.fork() == 0:
            try:
                work(order)
            except BaseException as error:
                say("error", type(error).__name__, " ".join(str(error).split()))
            say("end")
            os._exit(0)
"""


@pytest.fixture
def store(place):
    with RunStore(place) as made:
        yield made


@pytest.fixture(scope="module")
def nursery():
    path = os.pathsep.join(p for p in sys.path if p)
    with subprocess.Popen(
        [sys.executable, "-c", NURSERY],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=dict(os.environ) | {"PYTHONPATH": path},
    ) as process:
        assert process.stdout.readline() == "up\n"
        yield process
        process.stdin.close()


def order(nursery, **what):
    nursery.stdin.write(json.dumps(what) + "\n")
    nursery.stdin.flush()


def result(value=0.5, error=None):
    return Result(None if error else np.full((4, 2), value), 1.5, 1.25, 1000, 200, error)


def test_nothing_acknowledged_is_lost_by_kills(nursery, tmp_path):
    path, rng, acknowledged = tmp_path / "runs.db", random.Random(0), set()
    keys = [str(i) for i in range(2000)]
    with RunStore(path) as store:
        study = store.open_study("kill", "f", {}).id
    for _ in range(15):
        order(nursery, do="loop", processes=1, store=str(path), keys=keys, study=study)
        pid = int(nursery.stdout.readline().split()[1])
        for _ in range(rng.randrange(1, 12)):
            acknowledged.add(nursery.stdout.readline().split()[1])
        os.kill(pid, signal.SIGKILL)
        with RunStore(path) as store:
            marker = store.claim("marker", "{}")  # a store that a killed process left is at once open for writes
            assert marker
            rows = store.trials(study)
            running = [row.key for row in rows if row.state == "running"]
            assert len(running) <= 1
            for key in running:  # its process is known to be gone: no lease is waited for
                assert store.claim(key, "{}")
            store.release()
            found = store.get(acknowledged)
            assert set(found) == acknowledged
            assert all((r.predictions == float(k)).all() for k, r in found.items())
        # Lines that it wrote before it died are acknowledged too: read them up to a marker of the next process.
        order(nursery, do="share", processes=1, store=str(path), keys=[], study=study)
        while (line := nursery.stdout.readline().split()) and line[0] != "pid":
            assert line[0] == "done"
            acknowledged.add(line[1])
        assert nursery.stdout.readline() == "end\n"
    assert len(acknowledged) >= 15
    check = sqlite3.connect(path)
    assert check.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    check.close()
    with RunStore(path) as store:
        assert set(store.get(acknowledged)) == acknowledged


def test_two_processes_run_sixty_trials_exactly_once(nursery, tmp_path):
    path, keys = tmp_path / "new" / "runs.db", [str(i) for i in range(60)]
    order(nursery, do="share", processes=2, store=str(path), keys=keys, study="s")  # both also race to make the file
    lines = []
    while lines.count("end\n") < 2:
        lines.append(nursery.stdout.readline())
    assert not [line for line in lines if line.startswith("error")]
    ran = [line.split()[1] for line in lines if line.startswith("done")]
    assert sorted(ran, key=int) == keys
    with RunStore(path) as store:
        assert set(store.get(keys)) == set(keys)


def test_a_result_comes_back_bit_equal(store):
    rng = np.random.default_rng(0)
    for i, shape in enumerate([(5,), (7, 3), (0,), (0, 4)]):
        predictions = rng.normal(size=shape)
        predictions.flat[:2] = (np.nan, -0.0)[: predictions.size]
        sent = Result(predictions, 0.1, 0.2, 3, 4, notes=("a", 'b "quoted"') if i else ())
        assert store.finish(f"{i}", store.claim(f"{i}", "{}"), sent)
        back = store.get([f"{i}"])[f"{i}"]
        assert back.predictions.tobytes() == predictions.tobytes()
        assert back.predictions.shape == shape and back.notes == sent.notes
        assert (back.seconds, back.cpu_seconds, back.peak_bytes, back.model_bytes, back.error) == (0.1, 0.2, 3, 4, None)


def test_get_keeps_the_order_asked_for_and_takes_many_keys(store):
    for key in ("b", "a"):
        store.finish(key, store.claim(key, "{}"), result())
    assert list(store.get(["a", *map(str, range(3000)), "b", "a"])) == ["a", "b"]


@pytest.mark.parametrize("steps", [{"a": ("claim", "beat", "finish"), "b": ("claim", "finish"), "t": ("expire",)}])
def test_every_interleaving_of_two_workers_and_a_lease_that_ends(store, steps):
    whose = [name for name, own in steps.items() for _ in own]
    orders = sorted(set(itertools.permutations(whose)))
    assert len(orders) == 60
    takeovers = 0
    for key, turns in enumerate(orders):
        left = {name: list(own) for name, own in steps.items()}
        fences, holder, fence, ended, winner = {}, None, 0, False, None
        for who in turns:
            step = left[who].pop(0)
            if step == "expire":
                with store._db.write() as c:
                    c.exec_driver_sql("UPDATE trials SET lease_until = 0 WHERE state = 'running'")
                ended = True
            elif step == "beat":
                held = store.beat(who)
                assert held == (winner is None and holder == who)
                ended = ended and not held
            elif step == "claim":
                fences[who] = store.claim(str(key), "{}", who)
                allowed = winner is None and (holder is None or ended)
                assert (fences[who] is not None) == allowed
                if allowed:
                    assert fences[who] > fence
                    takeovers += holder is not None
                    holder, fence, ended = who, fences[who], False
            elif fences[who] is not None:
                taken = store.finish(str(key), fences[who], result(float(who == "a")))
                assert taken == (winner is None and holder == who), "only the latest holder may finish, and once"
                winner = who if taken else winner
        store.release("a")
        store.release("b")
        found = store.get([str(key)])
        assert bool(found) == (winner is not None)
        if winner:
            assert (found[str(key)].predictions == float(winner == "a")).all()
    assert takeovers > 5


def test_a_lease_of_a_dead_process_is_free_at_once_and_of_a_living_one_is_not(store):
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    mine = new_owner().split(":")
    start = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[19]
    owner = ":".join([mine[0], str(child.pid), start, "0"])
    fence = store.claim("k", "{}", owner)
    assert store.claim("k", "{}") is None
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert is_gone(owner), "a zombie is gone"
    child.communicate()
    assert store.claim("k", "{}") == fence + 1
    assert not store.finish("k", fence, result())
    assert is_gone(":".join([mine[0], str(os.getpid()), "1", "0"])), "its number is another process's now"
    assert not is_gone(":".join(["elsewhere", str(child.pid), start, "0"]))
    assert not is_gone(":".join(mine))
    assert not is_gone("any text")


def test_release_gives_back_only_what_is_unfinished(store):
    done, left = store.claim("done", "{}", "a"), store.claim("left", "{}", "a")
    store.finish("done", done, result())
    assert store.release("a") == 1
    assert store.claim("done", "{}", "b") is None
    assert store.claim("left", "{}", "b") == left + 1
    assert not store.finish("left", left, result())


def test_a_failed_trial_stays_until_asked_again(store):
    store.finish("k", store.claim("k", "{}"), result(error="ValueError: no"))
    assert store.get(["k"])["k"].error == "ValueError: no"
    assert store.claim("k", "{}") is None
    fence = store.claim("k", "{}", retry=True)
    assert store.get(["k"]) == {}
    assert store.finish("k", fence, result())
    assert store.get(["k"])["k"].error is None


def test_same_options_same_study(store):
    first = store.open_study("My Reviews.csv", "f", {"seed": 0, "methods": ("a", "b")})
    assert first.id.startswith("my-reviews-csv-")
    assert store.open_study("My Reviews.csv", "f", {"methods": ["a", "b"], "seed": 0}).id == first.id
    others = [
        store.open_study(*what)
        for what in (("My Reviews.csv", "g", {"seed": 0}), ("My Reviews.csv", "f", {"seed": 1}), ("???", "f", {}))
    ]
    assert len({first.id, *(o.id for o in others)}) == 4
    store.finish_study(first.id, "done", {"estimate": 0.4}, ["y", "x"])
    found = store.study(first.id[:-2])
    assert (found.state, found.summary, found.trials) == ("done", {"estimate": 0.4}, ["y", "x"])
    assert found.options == {"seed": 0, "methods": ["a", "b"]}
    assert store.open_study("My Reviews.csv", "f", {"seed": 0, "methods": ["a", "b"]}).state == "running"
    assert store.studies()[0].id == first.id
    with pytest.raises(BadInput, match="could be any of"):
        store.study("my-reviews")
    with pytest.raises(BadInput, match=f"Did you mean '{first.id}'"):
        store.study(first.id.replace("reviews", "reveiws"))


def test_a_plan_is_noted_and_nothing_else_is_touched(store):
    study = store.open_study("s", "f", {}).id
    assert store.note_plan(study, {"split": {}}) is None  # no result that it could stand beside
    store.finish_study(study, "done", {"estimate": 0.4, "plan": {"old": 1}}, ["y", "x"])
    store.open_study("s", "f", {})  # runs again, elsewhere
    kept = store.note_plan(study, {"split": {"label": 1.0}})
    assert kept == store.study(study) and (kept.state, kept.trials) == ("running", ["y", "x"])
    assert kept.summary == {"estimate": 0.4, "plan": {"split": {"label": 1.0}}}


def test_ids_stay_apart_when_their_short_forms_meet(store, monkeypatch):
    from smidgen.studies import study_rows as module

    digests = iter(["abcdef" + "0" * 26, "abcdef" + "1" * 26])
    monkeypatch.setattr(module, "digest", lambda *parts: next(digests))
    assert [store.open_study("s", "f", {}).id, store.open_study("s", "g", {}).id] == ["s-abcdef", "s-abcdef1"]


def test_removing_a_study_leaves_the_trials_of_others(store):
    one, two = store.open_study("one", "f", {}).id, store.open_study("two", "f", {}).id
    for key, users in (("own", [one]), ("shared", [one, two])):
        store.finish(key, store.claim(key, json.dumps({"method": "m"}), study=users[0]), result())
    store.finish_study(two, "done", None, ["shared"])
    assert [(row.key, row.trial, row.state) for row in store.trials(one)] == [
        ("own", {"method": "m"}, "done"),
        ("shared", {"method": "m"}, "done"),
    ]
    assert store.remove(one) == 1
    assert list(store.get(["own", "shared"])) == ["shared"]
    with pytest.raises(BadInput, match="There is no study"):
        store.study(one)
    store.claim("busy", "{}", "another", study=two)
    with pytest.raises(BadInput, match="being worked on"):
        store.remove(two)
    store.release("another")
    assert store.remove(two) == 2


def test_a_list_of_studies_counts_their_trials_and_does_not_read_their_keys(store):
    from smidgen.studies.listing import list_studies

    study = store.open_study("s", "f", {}).id
    store.finish("a", store.claim("a", "{}", study=study), result())
    store.finish_study(study, "done", {"estimate": 0.4}, ["a"])
    store.claim("b", "{}", study=study)
    [(listed, count)] = list_studies(store).rows
    assert (listed.id, listed.summary, listed.trials, count) == (study, {"estimate": 0.4}, [], 2)


def test_a_glance_shows_what_the_list_does(tmp_path):
    """Studies that run, ended, and whose machine is lost; by whoever reads them."""
    from smidgen.studies.glance import glance
    from smidgen.studies.listing import list_studies

    path = tmp_path / "a%20b?c#d.db"
    with RunStore(path) as store, RunStore(path) as away:
        away.owner = "elsewhere:1:2:3"
        ended, _ = store.open_study("s", "f", {"a": 1}).id, away.open_study("lost", "f", {})
        store.finish("a", store.claim("a", "{}", study=ended), result())
        store.finish_study(ended, "done", {"estimate": 0.4}, ["a"])
        store.open_study("runs", "f", {})
        with store._db.write() as c:
            c.execute(studies.update().where(studies.c.task_name == "lost").values(lease_until=1.0))
        listed = list_studies(store).rows
    found = glance(path)
    assert found == listed and {study.state for study, _ in found} == {"running", "done", "stopped"}
    assert [count for study, count in found if study.id == ended] == [1]
    with closing(sqlite3.connect(path)) as raw, raw:
        raw.execute("UPDATE studies SET options = '[' WHERE task_name = 's'")
    with pytest.raises(BadInput, match=f"the row '{ended}' is damaged"):
        glance(path)


def test_a_glance_leaves_all_but_whole_stores_of_this_schema_to_others(tmp_path):
    from smidgen.studies.glance import glance

    with RunStore(tmp_path / "runs.db"):
        pass
    assert glance(tmp_path / "runs.db") == []
    with closing(sqlite3.connect(tmp_path / "runs.db")) as raw, raw:
        raw.execute("UPDATE smidgen_store SET version = ?", [SCHEMA + 1])
    (tmp_path / "text.db").write_text("no database, and longer than a header of one would be" * 100)
    for name in ("runs.db", "text.db", "not-there.db", "."):
        assert glance(tmp_path / name) is None
    assert not (tmp_path / "not-there.db").exists()


def test_a_study_whose_process_is_gone_shows_as_stopped(nursery, tmp_path, monkeypatch):
    from smidgen.studies import stored as module

    with RunStore(tmp_path / "runs.db") as store:
        study = store.open_study("s", "f", {})
        assert store.study(study.id).state == "running"
        monkeypatch.setattr(module, "runs_here", lambda owner: False)
        assert store.study(study.id).state == "stopped"


def test_a_study_of_another_machine_that_is_not_heard_of_shows_as_stopped(place, monkeypatch):
    from smidgen.studies.listing import list_studies

    def states(id):
        return {store.study(id).state, store.studies()[0].state, list_studies(store).rows[0][0].state}

    with RunStore(place) as store, RunStore(place) as away:
        away.owner = "elsewhere:1:2:3"
        study, now = away.open_study("s", "f", {}).id, store._db.now
        monkeypatch.setattr(store._db, "now", lambda c: now(c) + LEASE_SECONDS / 2)
        assert states(study) == {"running"}
        monkeypatch.setattr(store._db, "now", lambda c: now(c) + LEASE_SECONDS + 30)
        assert states(study) == {"stopped"}
        monkeypatch.setattr(away._db, "now", store._db.now)
        assert away.beat_study(study) and states(study) == {"running"}
        monkeypatch.setattr(store._db, "now", lambda c: now(c) + 3 * LEASE_SECONDS)
        assert store.open_study("s", "f", {}).state == "running"  # resumed here
        assert not away.beat_study(study), "it is this run's now"
        monkeypatch.setattr(store._db, "now", lambda c: now(c) + 1e6)
        assert states(study) == {"running"}, "its process lives, whatever the clock says"


def test_a_study_has_a_pulse_of_its_own(store, monkeypatch):
    from smidgen.studies import pulse

    monkeypatch.setattr(pulse, "PULSE_SECONDS", 0.01)
    study, heard = store.open_study("s", "f", {}).id, threading.Event()
    beat = store.beat_study
    answers = iter([StoreLost("away"), SmidgenError("held"), None])

    def beat_study(id):
        if (answer := next(answers, None)) is not None:
            raise answer
        heard.set()
        return beat(id)

    monkeypatch.setattr(store, "beat_study", beat_study)
    with pulse.pulse(store, study):
        assert heard.wait(30), "it goes on when the store was away"
        with store._db.write() as c:
            c.execute(studies.update().values(owner="another"))
        until = time.monotonic() + 30
        while any(thread.name == "pulse" for thread in threading.enumerate()) and time.monotonic() < until:
            time.sleep(0.01)
        assert time.monotonic() < until, "it ends when another run has the study"


def filled(path, trials=30):
    with RunStore(path) as store:
        study = store.open_study("s", "f", {"a": 1}).id
        for i in range(trials):
            key, values = f"key-{i}", np.random.default_rng(i).normal(size=(60, 3))
            store.finish(key, store.claim(key, '{"method": "m"}', study=study), Result(values, 1.0, 1.0, 1, 1))
        store.finish_study(study, "done", {"x": 1}, [f"key-{i}" for i in range(trials)])
    return path.read_bytes()


def use(path, trials=30):
    with RunStore(path) as store:
        for study in store.studies():
            store.trials(study.id)
        return store.get([f"key-{i}" for i in range(trials)])


def test_no_damage_to_the_file_is_more_than_one_sentence(tmp_path):
    whole, rng = filled(tmp_path / "good.db"), random.Random(1)
    foreign = [b"hello, world", b"SQLite format 3\0" + b"\xff" * 500, b"\0" * 9000]
    damaged = [*foreign, whole[:5000], whole[: len(whole) // 2]]
    for _ in range(60):
        data = bytearray(whole)
        for _ in range(rng.choice([1, 20])):
            data[rng.randrange(len(data))] = rng.randrange(256)
        damaged.append(bytes(data))
    said = []
    for i, data in enumerate(damaged):
        path = tmp_path / f"{i}.db"
        path.write_bytes(data)
        try:
            for key, found in use(path).items():  # what is still given is right
                expected = np.random.default_rng(int(key[4:])).normal(size=(60, 3))
                assert found.predictions is None or (found.predictions == expected).all()
        except SmidgenError as error:
            said.append((path, str(error)))
    assert len(said) >= 10
    assert {p for p, _ in said} >= {tmp_path / f"{i}.db" for i in range(len(foreign))}
    assert all(path.name in text and "\n" not in text for path, text in said)
    for i, data in enumerate(foreign):
        assert (tmp_path / f"{i}.db").read_bytes() == data, "a file that is not a store must be left as it is"


def test_a_newer_schema_is_refused_by_name_and_untouched(tmp_path):
    path = tmp_path / "runs.db"
    filled(path, 1)
    with sqlite3.connect(path) as raw:
        raw.execute("UPDATE smidgen_store SET version = 99")
    raw.close()
    with pytest.raises(BadInput, match=rf"newer smidgen \(schema 99, this one reads {SCHEMA}\)"):
        RunStore(path)
    other = tmp_path / "other.db"
    with sqlite3.connect(other) as raw:
        raw.execute("CREATE TABLE photos (id)")
    raw.close()
    before = other.read_bytes()
    with pytest.raises(BadInput, match="another program"):
        RunStore(other)
    assert before[100:] == other.read_bytes()[100:]


def test_places_that_cannot_hold_a_store(tmp_path, monkeypatch):
    with pytest.raises(BadInput, match="is a folder"):
        RunStore(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="cannot be made"):
        RunStore(tmp_path / "file" / "runs.db")
    for url, words in (
        ("mysql://me:secret-word@h/d", "SQLite or PostgreSQL"),
        ("sqlite://", "needs a file"),
        ("postgresql://me:secret-word@h:x/d", "not a run store's URL"),
    ):
        with pytest.raises(BadInput, match=words) as caught:
            RunStore(url)
        assert "secret-word" not in str(caught.value)
    monkeypatch.setattr(store_place, "network_kind", lambda path, mounts: "nfs4")
    with pytest.raises(BadInput, match=r"network disk \(nfs4\).*PostgreSQL"):
        RunStore(tmp_path / "runs.db")


def test_network_disks_are_known_by_the_deepest_mount():
    mounts = (
        "/dev/sda / ext4 rw 0 0\nhost:/home /home nfs4 rw 0 0\n/dev/sdb /home/me/fast ext4 rw 0 0\n"
        "//nas/x /mnt/my\\040share cifs rw 0 0\nbad line\n"
    )
    where = {"/tmp/a": None, "/home/me": "nfs4", "/home/me/fast/x": None, "/homes": None, "/mnt/my share/x": "cifs"}
    assert {path: network_kind(Path(path), mounts) for path in where} == where


def test_passwords_stay_out_of_rows_and_messages(tmp_path):
    url = "postgresql://me:hunter2secret@db.example/x"
    path = tmp_path / "runs.db"
    with RunStore(path) as store:
        store._db._secrets = {"hunter2secret"}  # as if this store had been opened by such a URL
        store.finish("q", store.claim("q", "{}"), result(error="no login with hunter2secret"))
        assert store.get(["q"])["q"].error == "no login with ***"
        store._db._secrets = set()
        study = store.open_study("s", "f", {"store": url, "deep": [{"again": url + "?password=hunter2secret"}]})
        assert study.options["store"] == "postgresql://me:***@db.example/x"
        store.finish("k", store.claim("k", "{}"), result(error=f"cannot reach {url}"))
        store.finish_study(study.id, "failed", {"why": url}, [])
    assert b"hunter2" not in path.read_bytes()
    assert hide_passwords("see http://host:80/a and mail@b") == "see http://host:80/a and mail@b"
    assert "ss" not in hide_passwords("x://me:pa@ss@h/d").replace("***", "")


def test_an_unreachable_server_is_one_sentence_without_its_password(tmp_path):
    with pytest.raises(SmidgenError) as caught:  # of the driver, where that is not installed
        RunStore("postgresql://me:hunter2secret@127.0.0.1:1/x")
    assert isinstance(caught.value, MissingExtra) == (importlib.util.find_spec("psycopg") is None)
    assert "hunter2" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_search_knows_letters_beyond_ascii(tmp_path):
    from smidgen.studies.listing import list_studies

    with RunStore(tmp_path / "s.db") as store:
        store.open_study("Ärzte Übung", "f", {})
        for word, found in (("übung", 1), ("ÄRZTE", 1), ("Öl", 0)):
            assert list_studies(store, search=word).total == found


def test_trials_are_sorted_and_searched_in_any_column(store):
    """As Python would, with words that LIKE or JSON write in another way."""
    from smidgen.studies.listing import TRIAL_SORTS, list_trials

    rng, study = random.Random(0), store.open_study("s", "f", {})
    methods = ["learn/Übung", "learn/a_b", "learn/aXb", "learn/50%", 'learn/"q"', "lm/back\\slash"]
    for i in range(24):
        told = {"method": methods[i % 6], "view": rng.choice(["linear", "tree"]), "draw": f"cv:r={i}", "seed": "Linear"}
        key, state = f"key-{i:02d}", rng.choice(["done", "failed", "running"])
        fence = store.claim(key, json.dumps(told), study=study.id)
        ended = Result(None, rng.random(), 0.1, rng.randrange(9), 3, "no" if state == "failed" else None)
        assert state == "running" or store.finish(key, fence, ended)
    store.claim("other", json.dumps({"method": "learn/a_b"}), study=store.open_study("t", "f", {}).id)
    whole = {row.key: row for row in store.trials(study.id)}

    def listed(**asked):
        found = list_trials(store, study, size=1000, **asked)
        assert found.total == len(found.rows)
        return [row.key for row in found.rows]

    values = {
        "state": "state",
        "seconds": "seconds",
        "memory": "peak_bytes",
        "model": "model_bytes",
        "begun": "created",
    }
    for sort in TRIAL_SORTS:
        of = {k: r.trial[sort] if sort in r.trial else getattr(r, values[sort]) for k, r in whole.items()}
        for down in (False, True):
            keys = [key for key in listed(sort=sort, down=down) if of[key] is not None]
            assert [of[k] for k in keys] == sorted((v for v in of.values() if v is not None), reverse=down), sort
            assert len(listed(sort=sort, down=down)) == 24
    for word in ("übung", "ÜBUNG", "A_B", "50%", '"q"', "\\SLASH", "linear", "r=7", "zzz", "seed", "a_b linear"):
        if not word.isascii() and not store._db.sqlite:
            continue  # PostgreSQL's own lower() knows what its locale does: here ASCII
        texts = {k: [r.trial[name].lower() for name in ("method", "view", "draw")] for k, r in whole.items()}
        fit = {k for k, t in texts.items() if all(any(w in one for one in t) for w in word.lower().split())}
        assert set(listed(search=word)) == fit, word
    for state in ("done", "failed", "running"):
        assert set(listed(state=state)) == {k for k, r in whole.items() if r.state == state}


def test_a_list_of_trials_reads_no_predictions(tmp_path):
    """Each sort and search in SQLite is answered from an index that holds all it needs."""
    import sqlalchemy as sa

    from smidgen.studies.listing import TRIAL_SORTS, list_trials

    filled(tmp_path / "runs.db")
    with RunStore(tmp_path / "runs.db") as store:
        study, asked = store.studies()[0], []

        @sa.event.listens_for(store._db._engine, "before_cursor_execute")
        def note(connection, cursor, statement, parameters, context, many):
            if " JOIN trials" in statement and not statement.startswith("EXPLAIN"):
                asked.append((statement, parameters))

        for sort in TRIAL_SORTS[1:]:
            list_trials(store, study, sort=sort, search="m x", state="done")
        with store._db.read() as c:
            plans = [c.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", values).all() for text, values in asked]
    assert len(plans) == 2 * len(TRIAL_SORTS[1:])
    for plan in plans:
        assert any("trials USING COVERING INDEX trials_listed" in row[3] for row in plan), plan
