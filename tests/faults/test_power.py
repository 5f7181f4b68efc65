"""Power that fails: the writes and fsyncs of a short run are recorded, and each moment is made anew in another folder,
with what was not yet synced there in whole, in part or not at all. Each opens, is whole, and has what was acknowledged.

A model of a disk: a file's writes reach it in any order between two fsyncs of that file; names are kept in order."""

import random
import shutil
import sqlite3
from pathlib import Path

from calls import Calls, recorded
from deeds import predictions, wanted

from smidgen.studies.result import Result
from smidgen.studies.store import RunStore


def run_recorded(folder: str, into: str, count: int) -> int:
    """In a process with the library: a study's trials, one after the other, then a model's folder, twice."""
    from smidgen.kit.files import new_folder, write_bytes

    calls = Calls()
    with open(into, "wb") as file:  # noqa: PTH123
        calls.record(file.fileno())
        calls.arm(folder)
        with RunStore(Path(folder) / "runs.db") as store:
            study = store.open_study("s", "f", {}).id
            calls.mark("open")
            for trial in wanted(count):
                fence = store.claim(trial.key, trial.to_json(), study=study)
                assert store.finish(trial.key, fence, Result(predictions(trial.key), 1.0))
                calls.mark(f"done {trial.key}")
        for text in (b"old", b"new"):
            with new_folder(Path(folder) / "model") as made:
                write_bytes(made / "a", text * 100)
                (made / "b").write_bytes(text * 100)  # as a library does
            calls.mark(f"model {text.decode()}")
        calls.disarm()
    return 0


class Disk:
    """Files by name as they are, and the writes to each since its last fsync."""

    def __init__(self, base):
        self.base, self.synced, self.open = base, {}, {}

    def name(self, path):
        return path.removeprefix(self.base + "/")

    def apply(self, op, path, other, at, data):
        name = self.name(path)
        if op in "ot":
            self.synced.setdefault(name, b"")
            self.open.setdefault(name, [])
            if op == "t":
                self.open[name].append((0, None))
        elif op == "w":
            self.open.setdefault(name, []).append((at, data))
            self.synced.setdefault(name, b"")
        elif op == "c":
            self.open.setdefault(name, []).append((at, None))
        elif op == "s" and name in self.synced:  # not a folder
            self.synced[name] = written(self.synced.get(name, b""), self.open.get(name, []))
            self.open[name] = []
        elif op == "u":
            self.synced.pop(name, None)
            self.open.pop(name, None)
        elif op in "re":
            self.move(name, self.name(other), swap=op == "e")

    def move(self, one, other, swap):
        for table in (self.synced, self.open):
            moved, was = (
                {n: table.pop(n) for n in list(table) if n == x or n.startswith(x + "/")} for x in (one, other)
            )
            table.update({other + n[len(one) :]: v for n, v in moved.items()})
            if swap:
                table.update({one + n[len(other) :]: v for n, v in was.items()})

    def files(self, choose):
        """What lies there when of the writes that are not synced `choose` keeps some."""
        return {name: written(data, choose(self.open.get(name, []))) for name, data in self.synced.items()}


def written(data, writes):
    out = bytearray(data)
    for at, body in writes:
        if body is None:
            del out[at:]
            continue
        out.extend(bytes(max(at - len(out), 0)))
        out[at : at + len(body)] = body
    return bytes(out)


def check(folder, acknowledged, opened):
    """The store of this folder is whole and has those trials."""
    path = folder / "runs.db"
    with sqlite3.connect(path) as raw:
        assert raw.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    raw.close()
    with RunStore(path) as store:
        found = store.get(acknowledged)
        assert set(found) == set(acknowledged), "an acknowledged trial is lost"
        assert all((r.predictions == predictions(key)).all() for key, r in found.items())
        assert len(store.studies()) == 1 or not opened


def test_every_moment_at_which_the_power_may_fail(big_forks, memory_disk, tmp_path, rounds):
    base, log = tmp_path / "run", tmp_path / "calls"
    base.mkdir()
    count = 30 if rounds.long else 6
    status = big_forks.run("test_power:run_recorded", tmp_path / "log", folder=str(base), into=str(log), count=count)
    assert status == 0, (tmp_path / "log").read_text()
    calls, rng = list(recorded(log)), random.Random(5)
    disk, acknowledged, opened, model, states = Disk(str(base)), [], False, None, 0
    assert sum(op == "s" for op, *_ in calls) > count, "each acknowledged trial waits for the disk"
    stride = rounds.stride(4, len(calls) * 3 * 0.15, 0.15)
    for i, call in enumerate(calls):
        if call[0] == "m":
            word, _, what = call[1].partition(" ")
            opened |= word == "open"
            acknowledged += [what] if word == "done" else []
            model = what if word == "model" else model
            continue
        disk.apply(*call)
        if i % stride:
            continue
        choices = {"all": lambda w: w, "none": lambda w: [], "some": lambda w: [x for x in w if rng.random() < 0.5]}
        for name, choose in choices.items():
            folder = memory_disk / f"{i}-{name}"
            for file, data in disk.files(choose).items():
                if not file.endswith("-shm"):  # it lies in memory alone
                    (folder / file).parent.mkdir(parents=True, exist_ok=True)
                    (folder / file).write_bytes(data)
            if (folder / "runs.db").exists():
                check(folder, acknowledged, opened)
            else:
                assert not acknowledged
            if model is not None:
                texts = {(folder / "model" / part).read_bytes() for part in "ab"}
                assert texts in ({b"old" * 100}, {b"new" * 100}) and (model != "new" or texts == {b"new" * 100})
            shutil.rmtree(folder, ignore_errors=True)
            states += 1
    assert len(acknowledged) == count and model == "new"
    rounds.note(f"{states} states of {len(calls)} calls, {len(acknowledged)} trials acknowledged, 0 lost, 0 damaged")
