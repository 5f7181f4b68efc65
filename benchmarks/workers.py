"""Many workers on one run store: trials recorded a second, what the executor adds, and lists of a large store.

    python benchmarks/workers.py run            # two minutes; adds to benchmarks/results/workers.jsonl
    python benchmarks/workers.py run --only record,overhead,lists

record: so many processes take trials that are offered, up to 8 at once as a worker does with trials of a tenth of a
    second and less, and record a result of 100 rows and 2 classes of each; counted
    from the moment at which all are ready to the last one's end. Then each trial is looked for in the store. Beside
    it, just before: commits of one row each, by as many processes with the bare driver.
overhead: trials of about 0.2 s, one after another in one process of `smidgen fit`, or of one `smidgen work` beside a
    coordinator: wall time from the first trial's start, over the seconds that the trials themselves took.
lists: 100,000 trials, of one study and of 100: the queries behind `smidgen studies ls`, and the study page (its trials
    in the order of time, sorted, searched), opened anew each time; and the whole command beside `smidgen --help`.
    "cpu" is of this process.

PostgreSQL is a temporary cluster of the installed programs with its own defaults: every commit reaches the disk.
"""

import argparse
import contextlib
import json
import multiprocessing
import os
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "studies"))
import postgres

from smidgen.budget.meter import Meter
from smidgen.data.views.rows import Rows
from smidgen.kit.machine import machine, versions
from smidgen.studies import listing, offers
from smidgen.studies.pool import Pool
from smidgen.studies.runner import Runner
from smidgen.studies.sharing import Sharing, program
from smidgen.studies.store import RunStore
from smidgen.studies.tables import study_trials, trials
from smidgen.studies.trial import Result, Trial
from smidgen.studies.work import Worker
from smidgen.tasks.read import read

RESULTS = Path(__file__).parent / "results" / "workers.jsonl"
RECORDED, BATCH, WORKERS = 2000, 8, {"sqlite": 4, "postgresql": 16}
TRIALS, PARTS, SECONDS = 40, 4, 0.2
LISTED = 100_000

METHOD = """
import time
from smidgen.learn.constant import ConstantClassifier

CARD = {"title": "T", "tldr": "For a benchmark.", "tasks": ("classification",), "seconds": (0.001, 0.0)}


class Pause(ConstantClassifier):
    def _fit(self, X, codes):
        super()._fit(X, codes)
        time.sleep(%r)


CLASSIFIER = Pause
"""


@contextlib.contextmanager
def store_url(kind: str) -> Iterator[str]:
    """A new run store."""
    if kind == "sqlite":
        with tempfile.TemporaryDirectory() as folder:
            yield f"sqlite:///{folder}/runs.db"
    else:
        with postgres.server() as server, postgres.database(server) as url:
            yield url


def wanted(count: int, method: str = "learn/logistic") -> list[Trial]:
    made = {"method": method, "version": 1, "view": "linear"}
    return [Trial(task="t", draw=f"cv:k={PARTS}:r={i}", seed=0, **made) for i in range(count)]


def record(kind: str) -> dict[str, Any]:
    """The processes are made by `fork`, so that 16 that start do not take the machine for a minute."""
    own = multiprocessing.get_context("fork")
    with store_url(kind) as url:
        ready, go, said = own.Semaphore(0), own.Event(), own.Queue()
        processes = [own.Process(target=_record, args=(url, ready, go, said)) for _ in range(WORKERS[kind])]
        with RunStore(url) as store:
            study = store.open_study("many", "f" * 32, {}).id
            todo = wanted(RECORDED)
            offers.announce(store, study, "d" * 32, None, program())
            offers.offer(store, todo)
        for process in processes:
            process.start()
        for _ in processes:
            ready.acquire()
        disk = commits(Path(tempfile.gettempdir()), 1.0)
        bare = bare_commits(url, WORKERS[kind], 3.0) if kind == "postgresql" else None
        before = _server_cpu(url) if kind == "postgresql" else 0.0
        with RunStore(url) as again:
            again.owner = store.owner
            offers.announce(again, study, "d" * 32, None, program())
            start = time.perf_counter()
            go.set()
            ended = []
            for _ in processes:
                offers.announce(again, study, "d" * 32, None, program())  # its heartbeat, where they are slow
                ended.append(said.get())
            seconds = time.perf_counter() - start
            found = again.get([t.key for t in todo])
        for process in processes:
            process.join()
        other = _server_cpu(url) - before if kind == "postgresql" else 0.0
    return {
        "store": kind,
        "workers": WORKERS[kind],
        "trials": RECORDED,
        "seconds": round(seconds, 3),
        "trials_a_second": round(RECORDED / seconds, 1),
        "cpu_ms_a_trial": round(1000 * sum(cpu for _, cpu in ended) / RECORDED, 2),
        "server_cpu_ms_a_trial": round(1000 * other / RECORDED, 2),
        "lost": RECORDED - len(found),
        "doubled": sum(count for count, _ in ended) - RECORDED,
        "least_of_a_worker": min(count for count, _ in ended),
        "disk_commits_a_second": round(disk, 1),
        "bare_commits_a_second": bare,
    }


def _record(url: str, ready: Any, go: Any, said: Any) -> None:
    result = Result(np.full((100, 2), 0.5), 0.01, 0.01, 1000, 100)
    with RunStore(url) as store:
        offers.take(store, 1, program=program(), study="none")  # it is connected
        ready.release()
        go.wait()
        recorded, cpu, ended = 0, time.process_time(), []
        while True:
            accepted, taken = offers.exchange(store, ended, BATCH, program=program())
            recorded += sum(accepted)
            if not taken:
                break
            ended = [(t.key, t.fence, result) for t in taken]
        said.put((recorded, time.process_time() - cpu))


def _server_cpu(url: str) -> float:
    """Seconds of processor time of those of the server's processes that have ended: each had one connection."""
    folder = Path(str(sa.engine.make_url(url).query["host"]))
    main = (folder / "data" / "postmaster.pid").read_text().split()[0]
    fields = Path(f"/proc/{main}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")


def commits(folder: Path, seconds: float) -> float:
    """What the disk allows one process: commits of one row a second, by Python's own sqlite3, each on the disk."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        plain = sqlite3.connect(Path(name) / "plain.db", isolation_level=None)
        plain.execute("PRAGMA journal_mode=WAL")
        plain.execute("PRAGMA synchronous=FULL")
        plain.execute("CREATE TABLE rows (id INTEGER PRIMARY KEY, content BLOB)")
        count, start = 0, time.perf_counter()
        while (spent := time.perf_counter() - start) < seconds:
            plain.execute("INSERT INTO rows (content) VALUES (?)", (bytes(500),))
            count += 1
        plain.close()
    return count / spent


def bare_commits(url: str, workers: int, seconds: float) -> float:
    """The peer in PostgreSQL: single rows a second that so many processes insert with psycopg, a commit for each."""
    import psycopg

    own = multiprocessing.get_context("fork")
    go, said = own.Event(), own.Queue()
    with psycopg.connect(url, autocommit=True) as c:
        c.execute("CREATE TABLE bare (id bigserial PRIMARY KEY, content bytea)")

    def insert() -> None:
        with psycopg.connect(url, autocommit=True) as c:
            said.put(0)
            go.wait()
            count, end = 0, time.perf_counter() + seconds
            while time.perf_counter() < end:
                c.execute("INSERT INTO bare (content) VALUES (%s)", (bytes(500),))
                count += 1
            said.put(count)

    processes = [own.Process(target=insert) for _ in range(workers)]
    for process in processes:
        process.start()
    for _ in processes:
        said.get()
    go.set()
    found = sum(said.get() for _ in processes)
    for process in processes:
        process.join()
    with psycopg.connect(url, autocommit=True) as c:
        c.execute("DROP TABLE bare")
    return round(found / seconds, 1)


@contextlib.contextmanager
def pausing_method() -> Iterator[str]:
    """A method whose every fit takes a part of `SECONDS`, installed for the block."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "smidgen_pause").mkdir()
        (folder / "smidgen_pause" / "__init__.py").write_text("")
        (folder / "smidgen_pause" / "pause.py").write_text(METHOD % (SECONDS / PARTS))
        info = folder / "smidgen_pause-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: smidgen-pause\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("[smidgen.methods]\nlearn/pause = smidgen_pause.pause\n")
        sys.path.insert(0, name)
        yield "learn/pause"
        sys.path.remove(name)


def overhead(kind: str, who: str) -> dict[str, Any]:
    """`who`: "fit" (the process that runs the study measures) or "work" (another takes from it)."""
    rng = np.random.default_rng(0)
    task = read((rng.normal(size=(60, 2)), rng.permutation(["a", "b"] * 30)))
    rows = Rows(task.frame)
    moments: list[float] = []
    spells: list[float] = []  # of processor time of this process
    spent: list[float] = []

    def live(trial: Trial, result: Result) -> None:
        assert result.error is None, result.error
        moments.append(time.perf_counter())
        spells.append(time.process_time())
        spent.append(result.seconds)

    with pausing_method() as method, store_url(kind) as url, RunStore(url) as store, Pool(1) as pool:
        study = store.open_study("many", task.fingerprint, {}).id
        pool.load(task, rows)
        runner = Runner(store, pool, Meter(time.monotonic), study, own=1 if who == "fit" else 0)
        runner.live = live
        if who == "fit":
            runner.run(wanted(TRIALS, method), lambda trial, result: None)
        else:
            with Sharing(store, study, always=True) as sharing, RunStore(url) as other:
                sharing.load(task, rows)
                runner.sharing = sharing
                ends: list[float] = []

                def ended(event: dict[str, Any]) -> None:
                    if event["kind"] == "trial":
                        ends.append(time.perf_counter())

                worker = Worker(other, 1, idle=2.0, cache=None, tell=ended)
                thread = threading.Thread(target=worker.run)
                thread.start()
                runner.run(wanted(TRIALS, method), lambda trial, result: None)
                thread.join()
                moments = ends  # the coordinator hears of them a moment later
    wall = moments[-1] - moments[0]  # the first one waits for the process to start
    return {
        "store": kind,
        "who": who,
        "trials": TRIALS,
        "trial_seconds": round(float(np.mean(spent)), 4),
        "overhead": round(wall / sum(spent[1:]) - 1, 4),
        "cpu_ms_a_trial": round(1000 * (spells[-1] - spells[0]) / (TRIALS - 1), 2),
    }


def lists(kind: str, studies: int) -> dict[str, Any]:
    with store_url(kind) as url:
        with RunStore(url) as store:
            _fill(store, studies)
            if kind == "postgresql":  # as its own autovacuum does after a while
                with store._db.write() as c:
                    c.exec_driver_sql("ANALYZE")

        def timed(name: str, work: Any) -> dict[str, float]:
            spent, cpu = [], []
            for _ in range(5):
                start, before = time.perf_counter(), time.process_time()
                with RunStore(url) as store:
                    work(store)
                spent.append(time.perf_counter() - start)
                cpu.append(time.process_time() - before)
            return {f"{name}_seconds": round(float(np.median(spent)), 4), f"{name}_cpu": round(min(cpu), 4)}

        def page(**asked: Any) -> Any:
            return lambda store: listing.list_trials(store, store.study(one), **asked)

        with RunStore(url) as store:
            one = store.studies()[0].id
        out = {
            "store": kind,
            "trials": LISTED,
            "studies": studies,
            **timed("ls", lambda store: listing.list_studies(store, size=1000)),
            **timed("page", lambda store: listing.count_states(store, store.study(one))),
            **timed("trials_page", page()),
            **timed("by_seconds", page(sort="seconds", down=True)),
            **timed("by_method", page(sort="method")),
            **timed("search_few", page(search="m7")),
            **timed("search_all", page(search="learn linear")),
        }
        command = [sys.executable, "-m", "smidgen"]
        out["command_seconds"], out["command_cpu"] = _process([*command, "studies", "ls", "--store", url])
        out["help_seconds"], out["help_cpu"] = _process([*command, "--help"])
        return out


def _process(command: list[str]) -> tuple[float, float]:
    """Seconds by the clock, the median of five, and of processor time, the least."""
    spent, cpu = [], []
    for _ in range(5):
        start, before = time.perf_counter(), os.times()
        subprocess.run(command, check=True, capture_output=True)
        after = os.times()
        spent.append(time.perf_counter() - start)
        cpu.append(after.children_user + after.children_system - before.children_user - before.children_system)
    return round(float(np.median(spent)), 3), round(min(cpu), 3)


def _fill(store: RunStore, studies: int) -> None:
    each = LISTED // studies
    values = Result(np.random.default_rng(0).dirichlet(np.ones(2), 100), 0.1, 0.1, 1000, 100)
    fence = store.claim("model", "{}")
    assert fence is not None
    store.finish("model", fence, values)
    with store._db.read() as c:
        model = dict(c.execute(trials.select()).mappings().one())
    for s in range(studies):
        study = store.open_study(f"study {s}", f"{s:032d}", {}).id
        made = [
            Trial(task=f"{s:032d}", method=f"learn/m{i % 40}", version=1, view="linear", draw=f"cv:k=5:r={i}", seed=0)
            for i in range(each)
        ]
        rows = [
            {**model, "key": t.key, "trial": t.to_json(), "created": 1e9 + s * each + i} for i, t in enumerate(made)
        ]
        with store._db.write() as c:
            c.execute(trials.insert(), rows)
            c.execute(study_trials.insert(), [{"study": study, "key": row["key"]} for row in rows])
        board = [{"method": f"learn/m{i}", "view": "linear", "estimate": 0.1 * i} for i in range(40)]
        summary = {"estimate": 0.3, "metric": "log_loss", "leaderboard": board}
        store.finish_study(study, "done", summary, [row["key"] for row in rows])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=["run"])
    parser.add_argument("--only", default="record,overhead,lists", metavar="A,B")
    parser.add_argument("--stores", default="sqlite,postgresql", metavar="A,B")
    args = parser.parse_args()
    about = {
        "date": date.today().isoformat(),
        "machine": {**machine(), "versions": versions(("SQLAlchemy", "psycopg"))},
    }
    for part in args.only.split(","):
        for kind in args.stores.split(","):
            if part == "record":
                found = [record(kind)]
            elif part == "overhead":
                found = [overhead(kind, who) for who in ("fit", "work")]
            else:
                found = [lists(kind, studies) for studies in (1, 100)]
            for row in found:
                print(json.dumps(row), flush=True)
                with RESULTS.open("a") as out:
                    out.write(json.dumps({"part": part, **row, **about, "load": round(os.getloadavg()[0], 1)}) + "\n")


if __name__ == "__main__":
    main()
