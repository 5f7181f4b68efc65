"""Are doubted labels wrong? Labels flipped at random in development data, and how many of them are found.

    python benchmarks/doubts.py measure [--minutes 12]    # one fit a cell: the out-of-choice predictions of its rows
    python benchmarks/doubts.py score                     # -> results/doubts.jsonl
    python benchmarks/doubts.py show

Draws of 100 and 200 rows with 5 % and 10 % of the labels flipped to another class, or (regression) the values of 5 %
swapped among one another; with 0 % flipped, every doubt is a false alarm, or an error that the data came with. The
labels that a data set has are taken as true, so precision is a lower bound. Development data only: `priors.py` names
it. cleanlab is measured beside it where SMIDGEN_CLEANLAB names a python that has it.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd

from draws import DATA, development_tables, draw_rows, read_table
from priors import TEXTS, texts

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "doubts.jsonl"
CELLS = HERE / ".cache" / "doubts"  # as large as the predictions of 50 fits: a megabyte
CLEANLAB = os.environ.get("SMIDGEN_CLEANLAB")
NUMBERS = ("tab_abalone", "tab_concrete", "tab_energy")
SIZES = (100, 200)
SHARES = (0.05, 0.1, 0.0)
DRAW = 200  # far from the draws of the other benchmarks
TRIALS = 24


@dataclass(frozen=True)
class Cell:
    """One draw with a share of its labels made wrong."""

    kind: str  # "table", "text" or "numbers"
    name: str
    n: int
    share: float
    draw: int = DRAW

    @property
    def key(self) -> str:
        return f"{self.name}/n{self.n}/f{self.share:g}/d{self.draw}"

    @property
    def path(self) -> Path:
        return CELLS / f"{self.key.replace('/', '-')}.npz"

    def rows(self) -> tuple[pd.DataFrame, np.ndarray]:
        """The rows with the labels as they were, and which labels are to be made wrong `[n]` bool."""
        if self.kind == "table":
            frame = read_table(self.name)
        elif self.kind == "text":
            frame = texts(self.name)[0]
        else:
            frame = pd.read_csv(DATA / self.name / "data.csv.gz").drop(columns="fold")
            frame = frame.rename(columns={frame.columns[-1]: "target"})
        labels = np.zeros(len(frame)) if self.kind == "numbers" else frame.target.to_numpy()
        frame = frame.iloc[draw_rows(labels, self.n, self.draw)[0]].reset_index(drop=True)
        wrong = np.zeros(len(frame), bool)
        rng = np.random.default_rng([20261124, self.draw, self.n])
        wrong[rng.permutation(len(frame))[: round(self.share * len(frame))]] = True
        return frame, wrong

    def spoilt(self) -> tuple[pd.DataFrame, np.ndarray]:
        """The rows with the wrong labels in place, and which those are `[n]` bool."""
        frame, wrong = self.rows()
        rng = np.random.default_rng([20261124, self.draw, self.n, 1])
        target = frame.target.to_numpy(copy=True)
        classes = sorted(set(target))
        rows = np.flatnonzero(wrong)
        if self.kind == "numbers":
            target[rows] = target[np.roll(rows, 1)]
        else:
            target[rows] = [rng.choice([c for c in classes if c != target[i]]) for i in rows]
        return frame.assign(target=target), target != frame.target.to_numpy()


def cells() -> list[Cell]:
    named = [("table", t) for t in development_tables()] + [("text", t) for t in TEXTS]
    found = [Cell(kind, name, n, share) for share in SHARES for n in SIZES for kind, name in named]
    found = [c for c in found if c.share or c.n == SIZES[0]]
    return found + [Cell("numbers", name, n, SHARES[0]) for n in SIZES for name in NUMBERS]


def predictions(cell: Cell) -> None:
    """A real fit; what it predicted of each row by choices that did not see it is kept."""
    import smidgen
    from smidgen.studies import doubts, run

    frame, wrong = cell.spoilt()
    heard = []
    judge = run.judge

    def listening(*args):
        heard.append(judge(*args))
        return heard[-1]

    run.judge = listening
    try:
        with tempfile.TemporaryDirectory() as folder:
            fitted = smidgen.fit(
                frame,
                target="target",
                kind="regression" if cell.kind == "numbers" else "classification",
                trials=TRIALS,
                seed=cell.draw,
                workers=1,
                out=f"{folder}/model",
                store=f"sqlite:///{folder}/runs.db",
            )
    finally:
        run.judge = judge
    rows, predicted = doubts.mean_predictions(heard[0])
    if cell.kind == "numbers":
        target = frame.target.to_numpy(float)
    else:
        target = pd.Categorical(frame.target, categories=list(fitted.model.classes)).codes.astype(int)
    CELLS.mkdir(parents=True, exist_ok=True)
    np.savez(cell.path, rows=rows, predicted=predicted, target=target, wrong=wrong)


def rankings(predicted: np.ndarray, target: np.ndarray) -> dict[str, np.ndarray]:
    """How much each label is to be believed `[m]`, in several ways: the lowest is doubted first."""
    from smidgen.studies.doubts import thresholds

    own = predicted[np.arange(len(target)), target]
    others = predicted.copy()
    others[np.arange(len(target)), target] = -1
    limits = thresholds(predicted, target)
    return {
        "part": np.where(np.isfinite(limits[target]), own / limits[target], 1.0),
        "own": own,
        "margin": own - others.max(1),
    }


def scored(cell: Cell) -> dict:
    """What was found in one cell: lists (how long, how many of them wrong) and rankings (hits among the first k)."""
    from smidgen.studies import doubts

    kept = np.load(cell.path)
    rows, predicted = kept["rows"], kept["predicted"]
    target, wrong = kept["target"][rows], kept["wrong"][rows]
    k = int(wrong.sum())
    row = {"cell": cell.key, "kind": cell.kind, "name": cell.name, "n": cell.n, "share": cell.share, "wrong": k}
    if cell.kind == "numbers":
        far = np.abs(doubts.gaps(predicted, target))
        lists = {"smidgen": np.flatnonzero(far > doubts.SUSPECT)}
        believed = {"gap": -far}
    else:
        lists = {
            "smidgen": doubts.doubted(predicted, target),
            "confident_learning": doubts.doubted(predicted, target, far=np.inf),
            "model_disagrees": doubts.surely_wrong(predicted, target),
        }
        if CLEANLAB:
            lists["cleanlab"] = cleanlab(cell)
        believed = rankings(predicted, target)
    row["lists"] = {name: [len(found), int(wrong[found].sum())] for name, found in lists.items()}
    row["first_k"] = {name: int(wrong[np.argsort(b, kind="stable")[:k]].sum()) for name, b in believed.items()}
    return {**row, "rows": len(rows), "date": date.today().isoformat()}


PEER = """
import sys, numpy as np
from cleanlab.filter import find_label_issues
kept = np.load(sys.argv[1])
labels = kept["target"][kept["rows"]]
print(*find_label_issues(labels, kept["predicted"], return_indices_ranked_by="self_confidence", n_jobs=1))
"""


def cleanlab(cell: Cell) -> np.ndarray:
    """The rows that cleanlab lists with its defaults, from the same predictions."""
    done = subprocess.run([str(CLEANLAB), "-c", PEER, cell.path], check=True, capture_output=True, text=True)
    return np.array(done.stdout.split(), int)


def measure(minutes: float) -> None:
    until = time.monotonic() + 60 * minutes
    for cell in cells():
        if time.monotonic() > until:
            print("the time is over; the same command goes on from here")
            return
        if not cell.path.exists():
            start = time.monotonic()
            predictions(cell)
            print(f"{cell.key:44} {time.monotonic() - start:.1f} s", flush=True)


def score() -> None:
    rows = [scored(c) for c in cells() if c.path.exists()]
    if not rows:
        sys.exit("nothing measured yet: python benchmarks/doubts.py measure")
    RESULTS.write_text("".join(json.dumps(row) + "\n" for row in rows))


def read_rows() -> list[dict]:
    return [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.exists() else []


def found(rows: list[dict], name: str) -> str:
    """Length of a list in the mean, precision and recall of it over all cells together."""
    pairs = [r["lists"][name] for r in rows if name in r["lists"]]
    if not pairs:
        return ""
    length, hits = (sum(p[i] for p in pairs) for i in (0, 1))
    text = f"{length / len(pairs):.1f} rows"
    wrong = sum(r["wrong"] for r in rows)
    return text if not wrong else f"{text}, {hits / max(length, 1):.0%} wrong, {hits / wrong:.0%} of them"


def show() -> None:
    groups: dict[tuple, list[dict]] = {}
    for row in read_rows():
        groups.setdefault((row["kind"] == "numbers", row["n"], row["share"]), []).append(row)
    for (numbers, n, share), rows in sorted(groups.items()):
        wrong = sum(r["wrong"] for r in rows)
        kind = "values swapped" if numbers else "labels flipped"
        print(f"{n} rows, {share:.0%} {kind} ({len(rows)} sets, {wrong} wrong)")
        for name in ("smidgen", "confident_learning", "model_disagrees", "cleanlab"):
            if text := found(rows, name):
                print(f"  {name:20} lists {text}")
        if wrong:
            firsts = {name: sum(r["first_k"][name] for r in rows) / wrong for name in rows[0]["first_k"]}
            by_chance = sum(r["wrong"] ** 2 / r["rows"] for r in rows) / wrong
            print("  of the first k, k as many as are wrong:", *(f"{a} {b:.0%}" for a, b in firsts.items()), end=", ")
            print(f"chance {by_chance:.0%}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=["measure", "score", "show"])
    parser.add_argument("--minutes", type=float, default=12)
    args = parser.parse_args()
    if args.verb == "measure":
        measure(args.minutes)
    elif args.verb == "score":
        score()
    else:
        show()


if __name__ == "__main__":
    main()
