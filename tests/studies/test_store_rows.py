"""Rows of the run store, its owners and places, each rule from both sides of its bound."""

import json
import os
import zlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from smidgen.kit.errors import BadInput, NotFound
from smidgen.studies import owner as owners
from smidgen.studies import store_place
from smidgen.studies.owner import is_gone, new_owner, runs_here
from smidgen.studies.result import Result
from smidgen.studies.store import RunStore
from smidgen.studies.store_place import make_room, network_kind
from smidgen.studies.stored import Study, columns_of, parse, result_of, study_of, trial_of

DAMAGED = "runs.db: the row '{}' is damaged or was edited; remove its study and run it again."


def same(value):
    return value


def row_of(result, **more):
    whole = {"key": "k", "created": 1.0, "finished": 2.0, **columns_of(result, same), **more}
    return SimpleNamespace(**whole, _mapping=whole)


def test_a_result_becomes_these_columns():
    made = columns_of(
        Result(np.array([1, 2], np.float32), 1, 2, 3.0, 4.0, "why", ("a",)),  # type: ignore[arg-type]
        lambda v: ["b"] if v == ["a"] else f"<{v}>",
    )
    body = zlib.compress(np.array([1.0, 2.0]).tobytes(), 1)
    assert made == {
        "state": "failed", "owner": None, "lease_until": 0.0, "seconds": 1.0, "cpu_seconds": 2.0, "peak_bytes": 3,
        "model_bytes": 4, "error": "<why>", "notes": '["b"]', "predictions": body, "shape": "[2]",
    }  # fmt: skip
    assert [type(made[k]) for k in ("seconds", "cpu_seconds", "peak_bytes", "model_bytes")] == [float, float, int, int]
    plain = columns_of(Result(), same)
    assert (plain["state"], plain["error"], plain["notes"], plain["predictions"], plain["shape"]) == (
        "done", None, None, None, None
    )  # fmt: skip


@pytest.mark.parametrize("shape", [(3,), (2, 3), (0,), (0, 4), (5, 1)])
def test_predictions_come_back_in_their_shape(shape):
    values = np.arange(float(np.prod(shape))).reshape(shape)
    made = result_of(row_of(Result(np.asfortranarray(values), notes=("x", "y"))), "runs.db")  # type: ignore[arg-type]
    assert made.predictions.tolist() == values.tolist() and made.predictions.shape == shape
    assert made.predictions.flags.writeable and made.notes == ("x", "y") and made.error is None
    empty = result_of(row_of(Result(error="why")), "runs.db")  # type: ignore[arg-type]
    assert empty.predictions is None and empty.notes == () and empty.error == "why"


@pytest.mark.parametrize("wrong", [
    {"shape": "[2, 2, 1]"}, {"shape": "[]"}, {"shape": "[-1, -4]"}, {"shape": "[true, 4]"}, {"shape": "[5]"},
    {"shape": "[3]"}, {"shape": "4"}, {"shape": "[1e400]"}, {"predictions": zlib.compress(b"x" * 32)[:-1]},
    {"predictions": b"no"}, {"notes": '"a"'}, {"notes": "{}"}, {"notes": "["}, {"seconds": "1"}, {"created": []},
])  # fmt: skip
def test_a_damaged_result(wrong):
    with pytest.raises(BadInput) as caught:
        result_of(row_of(Result(np.ones(4)), **wrong), "runs.db")  # type: ignore[arg-type]
    assert str(caught.value) == DAMAGED.format("k")


def test_json_that_cannot_be_read():
    assert parse("[1]", "x", "runs.db") == [1]
    for text in ("", "{", "[" * 100_000, None, b"\xff"):
        with pytest.raises(BadInput) as caught:
            parse(text, "x", "runs.db")  # type: ignore[arg-type]
        assert str(caught.value) == DAMAGED.format("x")


STUDY = {
    "id": "s-1", "task_name": "t", "fingerprint": "f", "options": '{"a": 1}', "asked": "{}", "state": "running",
    "created": 0, "updated": 99_999_999_999.0, "summary": None, "trials": '["k"]', "owner": "", "lease_until": None,
}  # fmt: skip


def test_a_study_of_a_row():
    made = study_of(STUDY, 5.0, "runs.db")
    assert made == Study(
        id="s-1", task_name="t", fingerprint="f", options={"a": 1}, asked={}, state="running", created=0,
        updated=99_999_999_999.0, summary=None, trials=["k"],
    )  # fmt: skip
    assert study_of({**STUDY, "summary": '{"b": 2}'}, 5.0, "runs.db").summary == {"b": 2}
    for name, values in {
        "created": (-0.1, 1e11, None, "1"), "updated": (-1, 1e11), "options": ("[]", "x"), "asked": ("[1]",),
        "summary": ("[]", "3"), "trials": ("{}", "null"), "task_name": (None, 3), "state": (4,),
        "owner": (b"a:1:2:x", 5), "lease_until": ("1", b""),
    }.items():  # fmt: skip
        for value in values:
            with pytest.raises(BadInput) as caught:
                study_of({**STUDY, name: value}, 5.0, "runs.db")
            assert str(caught.value) == DAMAGED.format("s-1")


def test_a_trial_of_a_row():
    row = {"key": "k", "trial": '{"m": 1}', "state": "done", "error": None, "seconds": None, "cpu_seconds": 1.5,
           "peak_bytes": 3, "model_bytes": None, "created": 1.0, "finished": None}  # fmt: skip
    assert trial_of(row, "runs.db").trial == {"m": 1} and trial_of(row, "runs.db").cpu_seconds == 1.5
    for wrong in ({"trial": "[]"}, {"state": 1}, {"error": 1}, {"peak_bytes": "3"}, {"finished": "x"}):
        with pytest.raises(BadInput) as caught:
            trial_of({**row, **wrong}, "runs.db")
        assert str(caught.value) == DAMAGED.format("k")


# -- owners --


def test_owners_are_processes():
    pid = os.getpid()
    machine, own, start, chance = new_owner().split(":")
    assert own == str(pid) and start == Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]
    assert len(machine) == 12 and len(chance) == 8 and runs_here(f"{machine}:{pid}:{start}:") is True
    for number in ("-5", "0", "1.5", "", f"{2**70}"):
        assert runs_here(f"{machine}:{number}:{start}:x") is None
    for other in ("", "a:b:c", f"{machine}:{pid}:{start}", f"x{machine}:{pid}:{start}:x"):
        assert runs_here(other) is None and not is_gone(other)
    assert runs_here(f"{machine}:{pid}:1{start}:x") is False
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)  # a zombie still has its number, and runs no more
    assert owners._start(child) == "gone" and is_gone(f"{machine}:{child}:{start}:x")
    os.waitpid(child, 0)
    assert owners._start(child) == "0" and is_gone(f"{machine}:{child}:{start}:x")


def test_what_cannot_be_asked_is_not_known(monkeypatch):
    mine = new_owner()

    def forbidden(pid, number):
        assert number == 0  # only a question
        raise PermissionError

    monkeypatch.setattr(os, "kill", forbidden)
    assert runs_here(mine) is None
    monkeypatch.setattr(os, "name", "nt")
    monkeypatch.setattr(os, "kill", lambda pid, number: pytest.fail("there it is no question"))
    assert runs_here(mine) is None


def test_a_machine_is_its_host_boot_and_processes(monkeypatch):
    named = owners._machine.__wrapped__
    before = named()
    assert named() == before and owners._machine() == before
    monkeypatch.setattr(owners.socket, "gethostname", lambda: "another")
    other = named()
    assert other != before and "another" not in other

    def unknown(self, *given, **more):
        raise PermissionError

    monkeypatch.setattr(Path, "readlink", unknown)
    without = named()
    monkeypatch.setattr(Path, "read_text", unknown)
    assert len({before, other, without, named()}) == 4 and owners._start(os.getpid()) == "0"


# -- places --


def test_the_deepest_and_latest_mount_counts():
    mounts = "\n".join([
        "/dev/a / ext4 rw", "nas:/x /data nfs rw", "tmpfs /data/fast tmpfs rw", "s /data/fast/deep fuse.sshfs rw",
        "/dev/b /data/twice ext4 rw", "//c /data/twice cifs rw", "//d /once cifs rw", "/dev/e /once ext4 rw",
        "x /my\\040own\\134disk ceph rw", "short line", "", "only /three nfs4",
    ])  # fmt: skip
    for path, kind in {
        "/": None, "/data": "nfs", "/data/x/y": "nfs", "/data/fast": None, "/data/fast/z": None, "/dat": None,
        "/data/fast/deep/z": "fuse.sshfs", "/data/twice": "cifs", "/once/x": None, "/my own\\disk/q": "ceph",
        "/three/x": "nfs4",
    }.items():  # fmt: skip
        assert network_kind(Path(path), mounts) == kind, path
    assert network_kind(Path("/x"), "") is None and network_kind(Path("/x"), "h / nfs rw") == "nfs"


def test_room_is_made_or_refused_in_a_sentence(tmp_path, monkeypatch):
    make_room(tmp_path / "a" / "b" / "runs.db")
    make_room(tmp_path / "a" / "b" / "runs.db")
    assert (tmp_path / "a" / "b").is_dir() and not (tmp_path / "a" / "b" / "runs.db").exists()
    file = tmp_path / "file"
    file.write_text("")
    asked = []

    def kind(path, mounts):
        asked.append((path, " / " in mounts))
        return "nfs"

    monkeypatch.setattr(store_place, "network_kind", kind)
    for path, said in (
        (tmp_path, f"{tmp_path} is a folder: name a file for the run store, such as {tmp_path / 'runs.db'}."),
        (file / "x" / "r.db",
         f"The run store {file / 'x' / 'r.db'} cannot be made (Not a directory): name another with --store."),
        (tmp_path / "r.db",
         f"{tmp_path / 'r.db'} lies on a network disk (nfs), where SQLite's locks do not hold: name a local file with "
         "--store, or a PostgreSQL URL."),
    ):  # fmt: skip
        with pytest.raises(BadInput) as caught:
            make_room(path)
        assert str(caught.value) == said and caught.value.see == ("" if path == tmp_path else "store")
    assert asked == [(tmp_path.resolve(), True)]
    (tmp_path / "link").symlink_to(tmp_path / "a")
    with pytest.raises(BadInput):
        make_room(tmp_path / "link" / "r.db")
    assert asked[1][0] == (tmp_path / "a").resolve()
    monkeypatch.setattr(store_place.os, "name", "nt")
    monkeypatch.setattr(store_place, "Path", lambda text: pytest.fail("no mounts there") if "proc" not in text else
                        SimpleNamespace(exists=lambda: True))  # fmt: skip
    make_room(tmp_path / "r.db")


# -- studies --


@pytest.fixture
def store(tmp_path):
    with RunStore(tmp_path / "runs.db") as made:
        yield made


def test_names_become_ids(store):
    for name, slug in (
        ("My Data (2).csv", "my-data-2-csv"), ("???", "study"), ("", "study"), ("-a-", "a"), ("é1", "1"),
        ("x" * 50, "x" * 40), ("y" * 39 + "--z", "y" * 39), ("ABC9", "abc9"),
    ):  # fmt: skip
        made = store.open_study(name, "f", {})
        base, _, short = made.id.rpartition("-")
        assert base == slug and len(short) == 6 and made.task_name == name and made.options == made.asked == {}
    assert made.created == made.updated and made.trials == [] and made.summary is None
    again = store.open_study("ABC9", "f", {}, {"b": (1, Path("x"))})
    assert again.id == made.id and again.asked == {"b": [1, "x"]} and again.updated >= made.updated


def test_ids_may_be_cut_while_they_say_which(store):
    ids = sorted(store.open_study("same", f"f{i}", {}).id for i in range(12))
    assert store.study(ids[0]).id == ids[0]
    with pytest.raises(BadInput) as caught:
        store.study("same-")
    assert str(caught.value) == f"'same-' could be any of the studies {', '.join(ids[:10])}: write more of it."
    for none in ("", "other"):
        with pytest.raises(NotFound, match=f"There is no study '{none}' in {store.name}"):
            store.study(none)
    with pytest.raises(ValueError, match=r"a study ends as one of \('done', 'stopped', 'failed'\), not 'over'"):
        store.finish_study(ids[0], "over", None, [])


def test_an_end_is_kept_with_its_trials(store):
    study = store.open_study("s", "f", {}).id
    for state in ("done", "stopped", "failed"):
        store.finish_study(study, state, None if state == "failed" else {"x": state}, [state, "k"])
        found = store.study(study)
        assert (found.state, found.trials) == (state, [state, "k"]) and found.updated >= found.created
        assert found.summary == (None if state == "failed" else {"x": state})
    assert not store.beat_study(study) and store.open_study("s", "f", {}).state == "running" and store.beat_study(study)
    with RunStore(store.name) as other:
        assert not other.beat_study(study)
        other.open_study("s", "f", {})
        assert other.beat_study(study) and not store.beat_study(study)
    store.use(study, ["a", "a", "b"])
    store.use(study, ["b"])
    with store._db.read() as c:
        keys = sorted(c.exec_driver_sql("SELECT key FROM study_trials").scalars())
    assert keys == ["a", "b", "done", "failed", "k", "stopped"]


def test_a_study_that_another_works_on_is_not_removed(store):
    study = store.open_study("s", "f", {}).id
    with RunStore(store.name) as other:
        key = json.dumps({"m": 1})
        assert other.claim("k", key, study=study)
        with pytest.raises(BadInput) as caught:
            store.remove(study)
        assert str(caught.value) == f"The study {study} is being worked on by another process: stop that first."
        assert store.trials(study)[0].key == "k"
        with store._db.write() as c:
            c.exec_driver_sql("UPDATE trials SET lease_until = 1")
        assert store.remove(study) == 1 and store.studies() == []
    study = store.open_study("s", "f", {}).id
    assert store.claim("k", key, study=study) and store.remove(study) == 1  # its own
    study = store.open_study("s", "f", {}).id
    assert store.claim("k", key, owner="a:999999999:1:x", study=study)
    assert store._db and not is_gone("a:999999999:1:x")
    gone = f"{new_owner().split(':')[0]}:999999999:1:x"
    with store._db.write() as c:
        c.exec_driver_sql("UPDATE trials SET owner = ?", (gone,))
    assert store.remove(study) == 1
