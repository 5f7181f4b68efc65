"""The main job on real data that scikit-learn carries: 60 labelled rows, then the truth on the rows held back."""

import tempfile
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from sklearn.datasets import load_breast_cancer

import smidgen

LABELS, OUT = 60, Path("demo")


def main() -> None:
    say = Console().print
    data = load_breast_cancer(as_frame=True)
    frame = data.frame.assign(target=data.target_names[data.target]).sample(frac=1, random_state=0)
    OUT.mkdir(exist_ok=True)
    frame[:LABELS].to_csv(OUT / "labelled.csv", index=False)
    say(f"Breast cancer, {LABELS} labelled rows of {len(frame)}, 45 s")
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as runs:  # a fresh run store: the demo works each time anew
        fitted = smidgen.fit(
            OUT / "labelled.csv", target="target", time="45s", out=OUT / "model", store=f"sqlite:///{runs}/runs.db"
        )
    summary = fitted.summary

    board = Table("method", "view", "log loss", "90 % interval", "weight", title="Leaderboard")
    for row in summary["leaderboard"]:
        if row["estimate"] is not None:
            interval = "{:.3f} to {:.3f}".format(*row["interval"])
            weight = f"{row['weight']:.2f}" if row.get("weight") else ""
            board.add_row(row["method"], row.get("view", ""), f"{row['estimate']:.3f}", interval, weight)
    say(board)
    interval = "{:.3f} to {:.3f}".format(*summary["interval"])
    new = frame[LABELS:]
    probs = fitted.model.predict_proba(new.drop(columns="target"))
    truth = np.array([list(fitted.model.classes).index(c) for c in new["target"]])
    loss = -np.log(np.clip(probs[np.arange(len(truth)), truth], 1e-7, 1)).mean()
    said, accuracy = summary["estimate"], (probs.argmax(1) == truth).mean()
    say(f"Said:  log loss {said:.3f} (90 % interval {interval}), accuracy {summary['accuracy']:.3f}")
    say(f"Truth: log loss {loss:.3f}, accuracy {accuracy:.3f} on the {len(new)} rows held back")
    say("Spent: " + ", ".join(f"{k} {v:.4g}" for k, v in summary["spent"].items() if isinstance(v, int | float)))
    say(f"Model: {OUT}/model   Report: {OUT}/model/report.html   ({time.perf_counter() - start:.0f} s)")


if __name__ == "__main__":
    main()
