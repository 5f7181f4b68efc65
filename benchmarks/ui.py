"""How fast the local page is: the list of 10,000 trials, the start of the server, the size of each page.

    python benchmarks/ui.py run            # about 2 minutes; adds a line to benchmarks/results/ui.jsonl

The store is a real one: one study of 10,000 trials, each with predictions of 200 rows in 3 classes, claimed and
finished through `RunStore`. A page is timed from request to the last byte over HTTP on this machine, after one
request that does not count. The start is timed from the command to the first answer.
"""

import argparse
import http.client
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from smidgen.kit.machine import machine
from smidgen.studies.store import RunStore
from smidgen.studies.trial import Result, Trial

TRIALS = 10_000
ROWS, CLASSES = 200, 3
REPEATS = 7
RESULTS = Path(__file__).parent / "results" / "ui.jsonl"


def make_store(path: Path, trials: int = TRIALS) -> str:
    """A study of so many trials; gives its id."""
    rng = np.random.default_rng(0)
    methods = ("logistic", "svm", "knn", "forest", "extra_trees", "ridge", "naive_bayes", "constant")
    with RunStore(path) as store:
        study = store.open_study("many", "f" * 32, {"source": "many.csv", "target": "y"})
        keys = []
        for i in range(trials):
            trial = Trial(
                task="f" * 32,
                method=f"learn/{methods[i % 8]}",
                version=1,
                view="tree" if i % 3 else "linear",
                draw=f"cv:k=5:r={i // 8}",
                seed=0,
            )
            fence = store.claim(trial.key, trial.to_json(), study=study.id)
            assert fence is not None
            predictions = rng.dirichlet(np.ones(CLASSES), ROWS)
            store.finish(trial.key, fence, Result(predictions, *rng.uniform(0.01, 3, 2), 10**8 + i, 4_000 + i))
            keys.append(trial.key)
        store.finish_study(study.id, "done", {"metric": "log_loss", "estimate": 0.5}, keys)
    return study.id


def start(store: Path, folder: Path) -> tuple[subprocess.Popen, int, float]:
    """The server on a free port, and the seconds until it answered."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    begun = time.perf_counter()
    command = [sys.executable, "-m", "smidgen.cli.main", "ui", "--port", str(port), "--no-browser"]
    server = subprocess.Popen(
        [*command, "--store", str(store), "--models", str(folder)], stdout=subprocess.DEVNULL, cwd=folder
    )
    while server.poll() is None:
        try:
            ask(port, "/")
            return server, port, time.perf_counter() - begun
        except OSError:
            time.sleep(0.01)
    raise SystemExit("the server did not start")


def ask(port: int, path: str) -> tuple[float, int]:
    """Seconds and bytes of one page."""
    begun = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", path)
    answer = connection.getresponse()
    body = answer.read()
    if answer.status >= 400:
        raise SystemExit(f"{path}: {answer.status}")
    return time.perf_counter() - begun, len(body)


def measure(store: Path, study: str, folder: Path) -> dict[str, object]:
    starts, pages = [], {}
    for _ in range(3):
        server, port, seconds = start(store, folder)
        starts.append(seconds)
        try:
            if len(starts) == 3:
                for path in (
                    "/",
                    f"/studies/{study}",
                    f"/studies/{study}/trials",
                    f"/studies/{study}/trials?page=50",
                    f"/studies/{study}/trials?sort=seconds&way=down",
                    f"/studies/{study}/trials?q=forest+linear&sort=draw",
                    "/models",
                    "/papers",
                ):
                    ask(port, path)
                    found = [ask(port, path) for _ in range(REPEATS)]
                    pages[path.replace(study, "STUDY")] = {
                        "ms": round(1e3 * statistics.median(s for s, _ in found), 1),
                        "worst_ms": round(1e3 * max(s for s, _ in found), 1),
                        "bytes": found[0][1],
                    }
        finally:
            server.terminate()
            server.wait(10)
    return {"start_seconds": round(statistics.median(starts), 2), "pages": pages}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["run"])
    parser.add_argument("--trials", type=int, default=TRIALS, help="of a store that is made")
    parser.add_argument("--keep", type=Path, help="a folder where the store is kept, and found again")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = asked.keep or Path(made)
        folder.mkdir(parents=True, exist_ok=True)
        store, note = folder / "runs.db", folder / "study"
        if not note.exists():
            note.write_text(make_store(store, asked.trials))
        study = note.read_text()
        with RunStore(store) as opened:
            trials = len(opened.trials(study))  # of a kept store, whatever was asked for now
        found = measure(store, study, folder)
        line = {"trials": trials, "store_bytes": os.path.getsize(store), **found}  # noqa: PTH202
    line |= {"machine": machine(), "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("a") as out:
        out.write(json.dumps(line) + "\n")
    print(json.dumps(line, indent=1))


if __name__ == "__main__":
    main()
