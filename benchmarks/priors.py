"""What smidgen knows before it sees a task: how methods rank on small tasks, and the constants of its choice.

    python benchmarks/priors.py measure [--processes 2]    # each candidate on each development task: out-of-fold
    and test
    python benchmarks/priors.py fit                        # -> src/smidgen/studies/priors.json, and a table of
    constants tried

`--only text` (or `table`) does one kind and leaves what is known of the other.

Development tasks only: the development third of the classification tables (`draws.development_tables`), the
regression tables cut at their median or at two tertiles, and, for texts, sets that no published number uses. No
published table is read here.
"""

import argparse
import hashlib
import itertools
import json
import multiprocessing
import os
import sys
import warnings
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import pandas as pd

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
from draws import DATA, development_tables, draw_rows, read_table  # noqa: E402

CELLS = Path(os.environ.get("SMIDGEN_CELLS", HERE / "results" / "priors"))
SIZES = (30, 50, 100, 200)
DRAWS = 1
TEST = 2000
REPEATS = 2
SLOW = 3.0  # seconds of one fit: what takes more is cross-validated once
CUT = ("tab_abalone", "tab_automobile", "tab_bike_hourly", "tab_concrete", "tab_energy", "tab_wine_quality")
TEXTS = ("sms_spam", "pros_cons", "clinc150", "germediq")
SHOTS = (4, 8, 16, 32)


def tables() -> list[str]:
    """Names of the development tasks on tables; `/2` and `/3` are regression tables cut into classes."""
    return [*development_tables(), *(f"{name}/{parts}" for name in CUT for parts in (2, 3))]


def table(name: str) -> pd.DataFrame:
    name, _, parts = name.partition("/")
    if not parts:
        return read_table(name)
    frame = pd.read_csv(DATA / name / "data.csv.gz").drop(columns="fold")
    frame = frame.rename(columns={frame.columns[-1]: "target"})
    rank = frame.target.rank(method="first") / (len(frame) + 1)
    return frame.assign(target=[f"c{int(r * int(parts))}" for r in rank])


def texts(name: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    both = []
    for part in ("train", "test"):
        frame = pd.read_json(DATA / name / f"{part}.jsonl.gz", lines=True)
        label = "label" if "label" in frame else next(c for c in frame.columns if c != "text")
        both.append(pd.DataFrame({"text": frame.text, "target": frame[label].map(lambda v: f"c{v}")}))
    common = sorted(set(both[0].target) & set(both[1].target))[:10]  # at most 10 classes: a cell stays small
    return tuple(f[f.target.isin(common)].reset_index(drop=True) for f in both)  # type: ignore[return-value]


def cell(kind: str, name: str, n: int, seed: int) -> None:
    """One development cell: every candidate's out-of-fold predictions and its predictions of the test rows."""
    from smidgen.data.views.rows import Rows
    from smidgen.kit.state import unpack  # noqa: F401
    from smidgen.learn.member import Member
    from smidgen.studies.candidates import candidates
    from smidgen.studies.race import folds_at, folds_for
    from smidgen.studies.trial import Trial, run_trial, state_bytes
    from smidgen.tasks.read import read, read_new
    from smidgen.tasks.splits import units_of

    warnings.filterwarnings("ignore")
    path = CELLS / f"{kind}-{name.replace('/', '_')}-n{n}-d{seed}.npz"
    if path.exists():
        return
    if kind == "table":
        frame = table(name)
        labelled, rest = draw_rows(frame.target.to_numpy(), n, 1000 + seed)  # other draws than any benchmark
        if len(rest) < 50:
            return
        train, test = frame.iloc[labelled].reset_index(drop=True), frame.iloc[rest[:TEST]].reset_index(drop=True)
    else:
        pool, test = texts(name)
        rng = np.random.default_rng([7, seed, n])
        classes = sorted(pool.target.unique())
        rows = np.concatenate([rng.permutation(np.flatnonzero(pool.target == c))[:n] for c in classes])
        train = pool.iloc[rng.permutation(rows)].reset_index(drop=True)
        test = test.iloc[rng.permutation(len(test))[:1000]].reset_index(drop=True)
    task = read(train, "target", kind="classification")
    new = Rows(read_new(test, task.columns, "target"))
    old = Rows(task.frame)
    codes = pd.Categorical(test.target, categories=list(task.classes)).codes
    found, _ = candidates(task)
    names, out, unseen, seconds, sizes = [], [], [], [], []
    folds = folds_for(int(units_of(task).max()) + 1, int(np.bincount(task.target).max()))
    for c in found:
        made = {"task": task.fingerprint, "method": c.method, "version": c.version, "view": c.view, "params": c.params}
        repeats = range(REPEATS if len(task) <= 600 and c.seconds < SLOW else 1)
        own = folds_at(c.seconds, folds)
        results = [run_trial(task, old, Trial(**made, draw=f"cv:k={own}:r={r}", seed=seed)) for r in repeats]
        if any(r.error for r in results):
            print(path.name, c.method, c.view, results[0].error, flush=True)
            continue
        member = Member(c.method, c.view, task.kind, len(task.classes), c.params)
        member.fit(old, task.target, task.columns, seed)
        names.append(f"{c.method} {c.view}")
        predictions = [r.predictions for r in results]  # of a slow one the only repeat counts for all
        out.append(np.stack((predictions * REPEATS)[: REPEATS if len(task) <= 600 else 1]).astype(np.float32))
        unseen.append(member.predict(new).astype(np.float32))
        seconds.append(sum(r.seconds for r in results) / len(results) / own)
        sizes.append(state_bytes(member.get_state()))
    used = [c for c in task.columns if c.used]
    CELLS.mkdir(parents=True, exist_ok=True)
    about = {
        "kind": kind,
        "name": name,
        "n": len(task),
        "features": len(used),
        "classes": len(task.classes),
        "categories": sum(c.kind == "category" for c in used) / max(len(used), 1),
        "names": names,
    }
    temporary = path.with_suffix(".tmp.npz")
    np.savez_compressed(
        temporary,
        out=np.stack(out),
        test=np.stack(unseen),
        y=task.target,
        y_test=codes,
        units=units_of(task),
        seconds=seconds,
        sizes=sizes,
        about=json.dumps(about),
    )
    temporary.rename(path)
    print(path.name, len(names), f"{sum(seconds):.2f} s a fold", flush=True)


def all_cells() -> list[tuple[str, str, int, int]]:
    cells = [("table", name, n, d) for d, n, name in itertools.product(range(DRAWS), SIZES, tables())]
    cells += [("text", name, n, 0) for n, name in itertools.product(SHOTS, TEXTS)]
    return sorted(cells, key=lambda c: (c[3], hashlib.sha256(repr(c).encode()).digest()))


def _cell(job: tuple[str, str, int, int]) -> None:
    try:
        cell(*job)
    except Exception as error:
        print("FAILED", job, type(error).__name__, error, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=["measure", "fit"])
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--only", default="", help="table or text")
    arguments = parser.parse_args()
    if arguments.verb == "measure":
        jobs = [c for c in all_cells() if c[0].startswith(arguments.only)]
        with multiprocessing.Pool(arguments.processes, maxtasksperchild=20) as workers:
            workers.map(_cell, jobs, chunksize=1)
    else:
        from priors_fit import main

        main(CELLS, arguments.only)
