"""Is the 90 % interval honest? Estimates against the truth on held-back rows of the published tables.

    python benchmarks/coverage.py run [--trials 24] [--processes 2] [--draws 6]
    python benchmarks/coverage.py show

Draws of their own (none of those that the comparison in tables.py uses), at n = 30, 50, 100 and 200. The budget is a
count of trials, so that a number here does not depend on the machine's load. `run` goes on where it stopped.
"""

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd

from draws import Draw, published_tables, table_draw
from tables import EPS, score

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "coverage.jsonl"
SIZES = (30, 50, 100, 200)
FIRST_DRAW = 100  # far from the draws 0, 1, 2 of the comparison
DRAWS = 6  # 11 tables x 4 sizes x 6 draws, less the cells with too few test rows: over 200


def measure(name: str, n: int, seed: int, trials: int) -> dict | None:
    """One fit in this process with one worker, and what it said, beside the truth. None: too few test rows."""
    import smidgen

    draw = table_draw(name, n, seed)
    if draw is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        fitted = smidgen.fit(
            draw.train,
            target="target",
            trials=trials,
            seed=seed,
            workers=1,
            out=f"{folder}/model",
            store=f"sqlite:///{folder}/runs.db",
        )
        seconds = time.perf_counter() - start
        probs = fitted.model.predict_proba(draw.test.drop(columns="target"))
        truth = truth_of(pd.DataFrame(probs, columns=list(fitted.model.classes)), draw)
        said = {
            k: fitted.summary.get(k)
            for k in ("method", "metric", "estimate", "interval", "level", "accuracy", "accuracy_interval", "version")
        }
    return {
        "cell": draw.key,
        "table": name,
        "n": n,
        "draw": seed,
        "trials": trials,
        "test_rows": len(draw.test),
        **said,
        **truth,
        "seconds": seconds,
        "date": date.today().isoformat(),
    }


def truth_of(probs: pd.DataFrame, draw: Draw) -> dict:
    """Log loss and accuracy on the held-back rows, with the standard error that so many rows leave."""
    scores = score(probs, draw.test.target)
    columns = list(probs.columns)
    p = probs.to_numpy().clip(EPS, 1)
    p /= p.sum(1, keepdims=True)
    at = [columns.index(c) for c in draw.test.target]  # a draw holds every class
    losses = -np.log(p[np.arange(len(at)), at])
    root = np.sqrt(len(losses))
    a = scores["accuracy"]
    return {
        "true_log_loss": scores["log_loss"],
        "true_log_loss_se": float(losses.std() / root),
        "true_accuracy": a,
        "true_accuracy_se": float(np.sqrt(a * (1 - a)) / root),
    }


def read_rows() -> list[dict]:
    return [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.exists() else []


def run(names: list[str], draws: int, trials: int, processes: int) -> None:
    RESULTS.parent.mkdir(exist_ok=True)
    known = {r["cell"] for r in read_rows()}
    cells = [(name, n, seed) for seed in range(FIRST_DRAW, FIRST_DRAW + draws) for n in SIZES for name in names]
    cells = [c for c in cells if f"{c[0]}/n{c[1]}/d{c[2]}" not in known]
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=spawn) as pool, RESULTS.open("a") as out:
        waiting = [pool.submit(measure, *c, trials) for c in cells]
        for done in as_completed(waiting):
            row = done.result()
            if row is None:
                continue
            out.write(json.dumps(row) + "\n")
            out.flush()
            low, high = row["interval"]
            true = row["true_log_loss"]
            print(
                f"{row['cell']:36} said {row['estimate']:.3f} [{low:.3f}, {high:.3f}]  true {true:.3f}"
                f"{'' if low <= true <= high else '  missed'}  {row['seconds']:.1f} s",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=["run", "show"])
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--draws", type=int, default=DRAWS)
    parser.add_argument("--tables", default="", help="only these, with commas")
    args = parser.parse_args()
    if args.verb == "run":
        run(args.tables.split(",") if args.tables else published_tables(), args.draws, args.trials, args.processes)
    elif not read_rows():
        sys.exit("nothing measured yet: python benchmarks/coverage.py run")
    else:
        from show import coverage_tables
        from tables import read_rows as table_rows

        print(coverage_tables(read_rows(), table_rows()))


if __name__ == "__main__":
    main()
