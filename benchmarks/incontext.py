"""The in-context learner on development tables, beside what it must beat; no published table is read here.

    python benchmarks/incontext.py --weights FILE     # made by python -m smidgen.learn.incontext_train
    python benchmarks/incontext.py --training DIR     # or the newest checkpoint of a training that goes on

Log loss on up to 1,000 test rows of each draw at 50 and 200 labels, for the learner on the table itself, on the view
`tree` (what a member of a mixture reads), and for other methods. Numbers: CRPS in standard deviations of the test
targets, and how many targets lie in 90 % intervals.
"""

import argparse
import json
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
from curves import NUMBERS, frame_of  # noqa: E402
from draws import DRAWS, SIZES, development_tables, table_draw  # noqa: E402

TEST = 1000
EPS = float(np.finfo(np.float32).eps)
METHODS = (("learn/logistic", "linear"), ("learn/extra_trees", "tree"), ("learn/gaussian_process", "linear"))


def log_loss(chance: np.ndarray, classes: list, truth: np.ndarray) -> float:
    place = {c: i for i, c in enumerate(classes)}
    right = chance[np.arange(len(truth)), [place[t] for t in truth]]
    return float(-np.log(np.clip(right, EPS, 1)).mean())


def classes(weights: str, members: int, others: bool) -> list[dict]:
    """A line for each draw: name, n, draw, and the loss of each way."""
    from smidgen.data.views.rows import Rows
    from smidgen.data.views.view import View
    from smidgen.learn.incontext import InContextClassifier
    from smidgen.learn.member import Member
    from smidgen.tasks.read import read, read_new

    lines = []
    for name in development_tables():
        for n in SIZES:
            for seed in range(DRAWS):
                draw = table_draw(name, n, seed)
                if draw is None:
                    continue
                test = draw.test.iloc[:TEST].reset_index(drop=True)
                X, new, truth = draw.train.drop(columns="target"), test.drop(columns="target"), test.target.to_numpy()
                start = time.process_time()
                head = InContextClassifier(weights=weights, members=members).fit(X, draw.train.target)
                loss = {"incontext": log_loss(head.predict_proba(new), list(head.classes_), truth)}
                seconds = time.process_time() - start
                task = read(draw.train, "target", kind="classification")
                rows, more = Rows(task.frame), Rows(read_new(test, task.columns, "target"))
                view = View("tree", task.columns).fit(rows)
                head = InContextClassifier(weights=weights, members=members).fit(view.transform(rows), task.target)
                loss["incontext_tree"] = log_loss(head.predict_proba(view.transform(more)), list(task.classes), truth)
                for method, seen in METHODS if others else ():
                    member = Member(method, seen, task.kind, len(task.classes))
                    member.fit(rows, task.target, task.columns, seed)
                    loss[method] = log_loss(member.predict(more), list(task.classes), truth)
                lines.append({"name": name, "n": n, "draw": seed, "seconds": round(seconds, 2), **loss})
    return lines


def numbers(weights: str, members: int) -> list[dict]:
    """Development tables whose target is a number."""
    from smidgen.learn.incontext import InContextRegressor

    lines = []
    for name in NUMBERS[0::2]:
        frame = frame_of("number", name)
        for n in SIZES:
            for seed in range(DRAWS):
                order = np.random.default_rng([5, seed]).permutation(len(frame))
                train, test = frame.iloc[order[:n]], frame.iloc[order[n:][:TEST]]
                head = InContextRegressor(weights=weights, members=members).fit(
                    train.drop(columns="target"), train.target
                )
                new, truth = test.drop(columns="target"), test.target.to_numpy(float)
                low, high = head.predict_interval(new).T
                spread = truth.std()
                lines.append(
                    {
                        "name": name,
                        "n": n,
                        "draw": seed,
                        "crps": float(head.crps(new, truth).mean() / spread),
                        "rmse": float(np.sqrt(((head.predict(new) - truth) ** 2).mean()) / spread),
                        "within_90": float(((low <= truth) & (truth <= high)).mean()),
                    }
                )
    return lines


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--weights", type=Path)
    source.add_argument("--training", type=Path)
    parser.add_argument("--members", type=int, default=4)
    parser.add_argument("--alone", action="store_true", help="without the other methods")
    parser.add_argument("--out", type=Path, help="lines of JSON, one a draw")
    asked = parser.parse_args()
    warnings.filterwarnings("ignore")
    with tempfile.TemporaryDirectory() as folder:
        path = str((asked.weights or newest(asked.training, Path(folder))).absolute())
        lines, more = classes(path, asked.members, not asked.alone), numbers(path, asked.members)
    if asked.out:
        asked.out.write_text("".join(json.dumps(line) + "\n" for line in [*lines, *more]))
    for table, keys in ((lines, ["name", "n"]), (lines, ["n"]), (more, ["name", "n"])):
        print(pd.DataFrame(table).drop(columns="draw").groupby(keys).mean(numeric_only=True).round(3).to_string())


if __name__ == "__main__":
    main()
