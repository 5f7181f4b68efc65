"""Tables at 50 and 200 labels: smidgen beside AutoGluon, FLAML and a plain logistic regression.

    python benchmarks/tables.py run [--tools smidgen,smidgen_without_incontext,...] [--development]
    python benchmarks/tables.py show

`run` measures what results/tables.jsonl still lacks, one cell after the other, every tool on the same draw.
`smidgen_without_incontext` is smidgen without its in-context learner: what that brings to the whole.
AutoGluon and FLAML run in an environment of their own (`make bench-peers`, or SMIDGEN_PEERS=/its/bin/python).
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
from draws import DRAWS, SIZES, Draw, development_tables, published_tables, table_draw  # noqa: E402

RESULTS = HERE / "results" / "tables.jsonl"
PEERS = Path(os.environ.get("SMIDGEN_PEERS", HERE / ".peers" / "bin" / "python"))
TOOLS = ("smidgen", "smidgen_without_incontext", "logistic", "autogluon_best", "autogluon_medium", "flaml")
CLI = (sys.executable, "-m", "smidgen")
EPS = float(np.finfo(np.float32).eps)  # probabilities are clipped at single precision, for every tool alike


def logistic(draw: Draw, folder: Path) -> dict:
    """C = 0.3, standardised numbers (missing: median), one-hot categories."""
    from sklearn.compose import make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    X = draw.train.drop(columns="target")
    numbers = X.select_dtypes("number").columns
    start = time.perf_counter()
    model = make_pipeline(
        make_column_transformer(
            (make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), numbers),
            (OneHotEncoder(handle_unknown="ignore"), X.columns.difference(numbers, sort=False)),
        ),
        LogisticRegression(C=0.3, max_iter=5000),
    ).fit(X, draw.train.target)
    seconds = time.perf_counter() - start
    probs = pd.DataFrame(model.predict_proba(draw.test.drop(columns="target")), columns=model.classes_)
    probs.to_csv(folder / "probs.csv", index=False)
    return {"seconds": seconds}


def smidgen(draw: Draw, folder: Path, seconds_given: float = 18, more: tuple[str, ...] = ()) -> dict:
    """The command line as a person has it, with the time limit of the comparison and further words."""
    start = time.perf_counter()
    done = subprocess.run(
        [
            *CLI,
            "fit",
            folder / "train.csv",
            "--target",
            "target",
            "--time",
            f"{seconds_given:g}s",
            "--out",
            folder / "model",
            "--store",
            f"sqlite:///{folder}/runs.db",
            "--json",
            *more,
        ],
        check=True,
        capture_output=True,
        text=True,
        cwd=folder,
    )
    seconds = time.perf_counter() - start
    said = json.loads(done.stdout)
    draw.test.drop(columns="target").to_csv(folder / "new.csv", index=False)
    start = time.perf_counter()
    subprocess.run(
        [*CLI, "predict", folder / "model", folder / "new.csv", "--out", folder / "preds.csv"],
        check=True,
        capture_output=True,
        cwd=folder,
    )
    predict_seconds = time.perf_counter() - start
    preds = pd.read_csv(folder / "preds.csv").drop(columns="prediction")
    preds.rename(columns=lambda c: c.removeprefix("proba_")).to_csv(folder / "probs.csv", index=False)
    keep = ("method", "interval", "accuracy", "accuracy_interval")
    return {
        "seconds": seconds,
        "predict_seconds": predict_seconds,
        "validation": said["estimate"],
        "leaderboard": [[r["method"], r["estimate"], r["chosen"]] for r in said["leaderboard"]],
        **{f"said_{k}": said[k] for k in keep if k in said},
    }


def smidgen_without_incontext(draw: Draw, folder: Path) -> dict:
    """smidgen with all methods of tables but the in-context learner."""
    asked = [*CLI, "fit", folder / "train.csv", "--target", "target", "--dry-run", "--json"]
    done = subprocess.run(asked, check=True, capture_output=True, text=True, cwd=folder)
    tried = {e["method"] for e in json.loads(done.stdout)["plan"] if e["tried"]} - {"learn/incontext"}
    return smidgen(draw, folder, more=("--methods", ",".join(sorted(tried))))


OWN = {"smidgen": smidgen, "smidgen_without_incontext": smidgen_without_incontext, "logistic": logistic}


def peer(tool: str, draw: Draw, folder: Path, limit: float | None = None) -> dict:
    """One run in the peers' environment; TimeoutExpired after `limit` seconds."""
    command = [PEERS, HERE / "peers" / "run_peer.py", tool, folder]
    subprocess.run(command, check=True, capture_output=True, cwd=folder, timeout=limit)
    return json.loads((folder / "meta.json").read_text())


def score(probs: pd.DataFrame, truth: pd.Series) -> dict:
    classes = sorted(set(truth) | set(probs.columns))
    p = probs.reindex(columns=classes).fillna(0).to_numpy(float).clip(EPS, 1)
    p /= p.sum(1, keepdims=True)
    y = pd.Categorical(truth, categories=classes).codes
    return {"log_loss": float(-np.log(p[np.arange(len(y)), y]).mean()), "accuracy": float((p.argmax(1) == y).mean())}


def measure(tool: str, draw: Draw) -> dict:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        draw.train.to_csv(folder / "train.csv", index=False)
        draw.test.assign(target="").to_csv(folder / "test.csv", index=False)
        load = os.getloadavg()[0]
        meta = OWN[tool](draw, folder) if tool in OWN else peer(tool, draw, folder)
        scores = score(pd.read_csv(folder / "probs.csv"), draw.test.target)
    return {
        "tool": tool,
        "cell": draw.key,
        "table": draw.name,
        "n": draw.n,
        "draw": draw.seed,
        "test_rows": len(draw.test),
        **meta,
        **scores,
        "date": date.today().isoformat(),
        "load_before": load,
    }


def read_rows() -> list[dict]:
    return [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.exists() else []


def said(row: dict) -> str:
    return f"log loss {row['log_loss']:.3f}  accuracy {row['accuracy']:.3f}  {row['seconds']:.1f} s"


def run(tools: list[str], names: list[str], sizes: tuple[int, ...], draws: int) -> None:
    RESULTS.parent.mkdir(exist_ok=True)
    for seed in range(draws):
        for n in sizes:
            for name in names:
                draw = table_draw(name, n, seed)
                for tool in tools if draw else ():
                    if (tool, draw.key) in {(r["tool"], r["cell"]) for r in read_rows()}:
                        continue
                    row = measure(tool, draw)
                    with RESULTS.open("a") as out:
                        out.write(json.dumps(row) + "\n")
                    print(f"{draw.key:40} {tool:18} {said(row)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=["run", "show"])
    parser.add_argument("--tools", default=",".join(TOOLS))
    parser.add_argument("--development", action="store_true", help="the development third, not the published tables")
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)))
    parser.add_argument("--draws", type=int, default=DRAWS)
    args = parser.parse_args()
    if args.verb == "run":
        names = development_tables() if args.development else published_tables()
        run(args.tools.split(","), names, tuple(map(int, args.sizes.split(","))), args.draws)
    else:
        from show import table_tables

        print(table_tables(read_rows()))


if __name__ == "__main__":
    main()
