"""The in-context learner beside every other single method, on tables: what it says, how fast, in how much memory.

    python benchmarks/incontext.py develop                     # development tables, printed; changes are made on these
    python benchmarks/incontext.py develop --weights FILE      # of other weights (or --training DIR: the newest state)
    python benchmarks/incontext.py run                         # published tables -> results/incontext.json
    python benchmarks/incontext.py speed                       # 200 rows x 20 columns, 1,000 queries -> the same file
    python benchmarks/incontext.py show

Classes: log loss on up to 1,000 test rows of each draw at 50 and 200 labels, of each method on its view as `fit` has
them, without a temperature, and of the learner on the table itself. Numbers: CRPS in standard deviations of the test
targets, beside the exact Gaussian process (its normal distributions), and how many targets lie in 90 % intervals.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from datetime import date
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
from curves import NUMBERS, frame_of  # noqa: E402
from draws import DRAWS, SIZES, development_tables, published_tables, table_draw  # noqa: E402

RESULTS = HERE / "results" / "incontext.json"
TEST = 1000
EPS = float(np.finfo(np.float32).eps)
OWN = "learn/incontext"
TABLES = {"development": development_tables, "published": published_tables}
TARGETS = {"development": NUMBERS[0::2], "published": NUMBERS[1::2]}
CONTEXT, WIDTH, QUERIES = 200, 20, 1000


def log_loss(chance: np.ndarray, classes: list, truth: np.ndarray) -> float:
    place = {c: i for i, c in enumerate(classes)}
    right = chance[np.arange(len(truth)), [place[t] for t in truth]]
    return float(-np.log(np.clip(right, EPS, 1)).mean())


def classes(part: str, settings: dict[str, Any], others: bool) -> list[dict]:
    """A line for each draw: name, n, draw, and the loss of each method on its view."""
    from smidgen.data.views.rows import Rows
    from smidgen.learn.incontext import InContextClassifier
    from smidgen.learn.member import Member
    from smidgen.studies.candidates import candidates
    from smidgen.studies.priors import describe_task
    from smidgen.tasks.read import read, read_new

    lines = []
    for name in TABLES[part]():
        for n in SIZES:
            for seed in range(DRAWS):
                draw = table_draw(name, n, seed)
                if draw is None:
                    continue
                test = draw.test.iloc[:TEST].reset_index(drop=True)
                X, new, truth = draw.train.drop(columns="target"), test.drop(columns="target"), test.target.to_numpy()
                start = time.process_time()
                head = InContextClassifier(**settings).fit(X, draw.train.target)
                loss = {f"{OWN} table": log_loss(head.predict_proba(new), list(head.classes_), truth)}
                seconds = time.process_time() - start
                task = read(draw.train, "target", kind="classification")
                rows, more = Rows(task.frame), Rows(read_new(test, task.columns, "target"))
                for c in candidates(task, None if others else [OWN], {OWN: settings})[0]:
                    member = Member(c.method, c.view, task.kind, len(task.classes), c.params)
                    member.fit(rows, task.target, task.columns, seed)
                    loss[f"{c.method} {c.view}"] = log_loss(member.predict(more), list(task.classes), truth)
                lines.append(
                    {"name": name, "n": n, "draw": seed, "seconds": round(seconds, 2),
                     "about": describe_task(task).tolist(), "loss": loss}
                )  # fmt: skip
                print(name, n, seed, {k: round(v, 3) for k, v in loss.items()}, flush=True)
    return lines


def numbers(part: str, settings: dict[str, Any]) -> list[dict]:
    """A line for each draw of a table whose target is a number."""
    from smidgen.data.views.rows import Rows
    from smidgen.data.views.view import View
    from smidgen.learn.gaussian_process import GPRegressor
    from smidgen.learn.incontext import InContextRegressor
    from smidgen.tasks.read import read, read_new

    lines = []
    for name in TARGETS[part]:
        frame = frame_of("number", name)
        for n in SIZES:
            for seed in range(DRAWS):
                order = np.random.default_rng([5, seed]).permutation(len(frame))
                train, test = (frame.iloc[rows].reset_index(drop=True) for rows in (order[:n], order[n:][:TEST]))
                new, truth = test.drop(columns="target"), test.target.to_numpy(float)
                head = InContextRegressor(**settings).fit(train.drop(columns="target"), train.target)
                low, high = head.predict_interval(new).T
                task = read(train, "target", kind="regression")
                view, rows = View("linear", task.columns), Rows(task.frame)
                other = GPRegressor(random_state=seed).fit(view.fit(rows).transform(rows), task.target)
                X = view.transform(Rows(read_new(test, task.columns, "target")))
                mean, std = other.predict(X), other.predict_std(X)
                unit = truth.std()
                lines.append(
                    {
                        "name": name,
                        "n": n,
                        "draw": seed,
                        "crps": float(head.crps(new, truth).mean() / unit),
                        "crps_gp": float(normal_crps(mean, std, truth).mean() / unit),
                        "rmse": float(np.sqrt(((head.predict(new) - truth) ** 2).mean()) / unit),
                        "rmse_gp": float(np.sqrt(((mean - truth) ** 2).mean()) / unit),
                        "within_90": float(((low <= truth) & (truth <= high)).mean()),
                        "within_90_gp": float((abs(mean - truth) <= 1.645 * std).mean()),
                    }
                )
    return lines


def normal_crps(mean: np.ndarray, std: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Of normal distributions (Gneiting and Raftery, 2007, section 4.2)."""
    from scipy.stats import norm

    z = (y - mean) / std
    return std * (z * (2 * norm.cdf(z) - 1) + 2 * norm.pdf(z) - 1 / np.sqrt(np.pi))


def speed() -> dict[str, Any]:
    """Seconds of `predict_proba` on all cores in a fresh process after one call, and resident memory, by queries."""
    from smidgen.kit.machine import machine

    found = []
    for queries in (QUERIES, 2 * QUERIES, 8 * QUERIES):
        command = [sys.executable, __file__, "one", "--queries", str(queries)]
        env = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"} | {"OMP_NUM_THREADS": "2"}
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=env)
        found.append(json.loads(done.stdout.splitlines()[-1]))
    return {"machine": machine(), "context": CONTEXT, "columns": WIDTH, "classes": 2, "rows": found}


def one(queries: int) -> dict[str, Any]:
    from smidgen.learn.incontext import InContextClassifier

    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((CONTEXT, WIDTH)), np.arange(CONTEXT) % 2
    head = InContextClassifier().fit(X, y)
    head.predict_proba(X[:8])
    new, times = rng.standard_normal((queries, WIDTH)), []
    for _ in range(5):
        start = time.perf_counter()
        head.predict_proba(new)
        times.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"queries": queries, "seconds": round(float(np.median(times)), 3), "peak_bytes": peak}


def prior(lines: list[dict]) -> None:
    """What the development tables say of the learner beside the median method, as the other methods' in priors.json;
    written there, until `priors.py` measures all methods anew."""
    from priors_fit import CLIP, RIDGE
    from smidgen.studies.priors import FILE

    mine = next(name for name in lines[0]["loss"] if name.startswith(OWN) and not name.endswith(" table"))
    others = [[v for k, v in row["loss"].items() if not k.startswith(OWN)] for row in lines]
    excess = [row["loss"][mine] - np.median(o) for row, o in zip(lines, others, strict=True)]
    X, penalty = np.array([row["about"] for row in lines]), RIDGE * np.eye(5)
    penalty[0, 0] = 1.0
    found = np.linalg.solve(X.T @ X + penalty, X.T @ np.clip(excess, -CLIP, CLIP)).round(5).tolist()
    made = json.loads(FILE.read_text())
    made["methods"]["table"][mine] = found
    made["methods"]["table"] = dict(sorted(made["methods"]["table"].items()))
    made[mine] = f"by benchmarks/incontext.py, {len(lines)} draws of development tables, {date.today()}"
    FILE.write_text(json.dumps(made, indent=1) + "\n")
    print(mine, found)


def newest(training: Path, into: Path) -> Path:
    """The weights of the newest checkpoint of a training."""
    from smidgen.learn._incontext_weights import weight_bytes
    from smidgen.nets.cells import Cells, CellsConfig
    from smidgen.train.checkpoint import load_newest

    found = load_newest(training / "fall") or load_newest(training / "stable")
    if found is None:
        sys.exit(f"{training} has no checkpoint yet")
    net = Cells(CellsConfig(**found.state["extra"]["net"]))
    net.load_state_dict(found.state["model"])
    print(f"update {found.step}")
    path = into / "incontext.safetensors"
    path.write_bytes(weight_bytes(net))
    return path


def show(found: dict[str, Any]) -> str:
    """Mean log loss and mean rank of the methods that could read every table; then numbers; then speed."""
    out = []
    if "classes" in found:
        table = pd.DataFrame([{"n": r["n"]} | r["loss"] for r in found["classes"]])
        losses = table.drop(columns=["n", f"{OWN} table"], errors="ignore")
        kept = losses.dropna(axis=1)
        rank = kept.rank(axis=1)
        for n in sorted(table.n.unique()):
            mean = pd.DataFrame({"log loss": kept[table.n == n].mean(), "rank": rank[table.n == n].mean()})
            out.append(
                f"n = {n}, {int((table.n == n).sum())} draws\n{mean.sort_values('log loss').round(3).to_string()}"
            )
        if left := sorted(set(losses) - set(kept)):
            out.append(f"Not on every table: {', '.join(left)}")
        out.append(f"The learner on the table itself: {table.groupby('n')[f'{OWN} table'].mean().round(3).to_dict()}")
    if "numbers" in found:
        kept = pd.DataFrame(found["numbers"]).drop(columns="draw")
        out += [kept.groupby(keys).mean(numeric_only=True).round(3).to_string() for keys in (["name", "n"], ["n"])]
    if "speed" in found:
        out.append(json.dumps(found["speed"]))
    return "\n\n".join(out)


def kept() -> dict[str, Any]:
    return json.loads(RESULTS.read_text()) if RESULTS.exists() else {}


def write(more: dict[str, Any]) -> None:
    RESULTS.write_text(json.dumps(kept() | more, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=["develop", "run", "speed", "show", "one"])
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--weights", type=Path)
    source.add_argument("--training", type=Path)
    parser.add_argument("--members", type=int, default=4)
    parser.add_argument("--alone", action="store_true", help="develop: without the other methods")
    parser.add_argument("--prior", action="store_true", help="develop: write into studies/priors.json what was found")
    parser.add_argument("--queries", type=int, default=QUERIES)
    asked = parser.parse_args()
    warnings.filterwarnings("ignore")
    if asked.verb == "one":
        print(json.dumps(one(asked.queries)))
        return
    if asked.verb == "speed":
        write({"speed": speed()})
    elif asked.verb == "run":
        from smidgen.kit.machine import machine, versions

        about = {"date": str(date.today()), "machine": machine(), "versions": versions(("numpy", "torch"))}
        write(about | {"classes": classes("published", {}, True), "numbers": numbers("published", {})})
    elif asked.verb == "develop":
        with tempfile.TemporaryDirectory() as folder:
            settings: dict[str, Any] = {"members": asked.members}
            if asked.weights or asked.training:
                path = asked.weights or newest(asked.training, Path(folder))
                settings["weights"] = str(path.absolute())
            lines = classes("development", settings, not asked.alone)
            print(show({"classes": lines, "numbers": numbers("development", settings)}))
        if asked.prior:
            prior(lines)
        return
    print(show(kept()))


if __name__ == "__main__":
    main()
