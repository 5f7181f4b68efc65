"""Whether the split of `smidgen plan` buys more than all the money on labels, or an even split: on real tasks, with the
purchase made by revealing rows that were held back.

    python benchmarks/planning.py run [--processes 2]   # -> results/planning.json

A person has 40 labelled rows of a published table or text (`draws.py`, `curves.py`), fits a model, and may buy labels
at 1, labels of which a share are wrong, at 0.3, and rows without a label, at 0.02, for 120 in all. Three markets: one
label in ten wrong, two, or three and a half. What a split buys is revealed from held-back rows, some labels made wrong
as announced; rows without labels are labelled by the model where it is sure, as the plan's own measurement does. Then
the model's heaviest member is trained on all of it and scored on up to 2,000 other rows. Differences are paired; their
intervals are over tasks.
"""

import argparse
import json
import os
import sys
import tempfile
import warnings
from concurrent.futures import ProcessPoolExecutor
from datetime import date
from pathlib import Path
from typing import Any

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
from curves import frame_of, names, order_of  # noqa: E402

RESULTS = HERE / "results" / "planning.json"
LABELS, SPEND, SEEDS, MAX_TEST, MIN_TEST = 40, 120.0, 2, 2000, 60
LABEL, CHEAP, BARE = 1.0, 0.3, 0.02  # prices
ERRORS = (0.1, 0.2, 0.35)
METHODS = "logistic,naive_bayes,extra_trees"


def tasks() -> list[tuple[str, str]]:
    return [(kind, name) for kind, name in names("judged") if kind != "number"]


def cell(job: tuple[str, str, int]) -> list[dict[str, Any]]:
    """One task and draw under the three markets."""
    import smidgen

    warnings.filterwarnings("ignore")
    kind, name, seed = job
    frame = frame_of(kind, name)
    order = order_of(frame, kind, 100 + seed)
    need = LABELS + int(SPEND / CHEAP)
    if len(order) < need + MIN_TEST or frame.target.nunique() * 2 > LABELS:
        return []
    have, spare = frame.iloc[order[:LABELS]], frame.iloc[order[LABELS:need]].reset_index(drop=True)
    test = frame.iloc[order[need:][:MAX_TEST]].reset_index(drop=True)
    have = have.reset_index(drop=True)
    out = []
    with tempfile.TemporaryDirectory() as folder:
        store = f"{folder}/runs.db"
        fitted = smidgen.fit(have, "target", trials=20, methods=METHODS, store=store, workers=1, seed=seed)
        for error in ERRORS:
            prices = {"label": LABEL, f"label@{error:g}": CHEAP, "unlabelled": BARE}
            found = smidgen.plan(fitted, prices, SPEND, data=have, store=store, workers=1, time="300s")
            member = max(fitted.summary["leaderboard"], key=lambda r: r.get("weight") or 0.0)
            splits = {
                "plan": found["split"],
                "all on labels": {"label": SPEND},
                "even": dict.fromkeys(prices, SPEND / len(prices)),
            }
            scores = {w: after(have, spare, test, member, s, prices, error, seed) for w, s in splits.items()}
            out.append({"name": name, "seed": seed, "error": error, "split": found["split"], "member": member["method"],
                        "forecast": found["after"]["estimate"], "interval": found["after"]["interval"],
                        "scores": scores})  # fmt: skip
    return out


def after(
    have: pd.DataFrame, spare: pd.DataFrame, test: pd.DataFrame, member: dict[str, Any], split: dict[str, float],
    prices: dict[str, float], error: float, seed: int,
) -> dict[str, float]:  # fmt: skip
    """The true scores after a purchase."""
    from smidgen.data.views.cache import fill
    from smidgen.data.views.rows import Rows
    from smidgen.data.views.view import encoders_of
    from smidgen.learn.member import Member
    from smidgen.studies.trial import SURE
    from smidgen.tasks.metrics import METRICS
    from smidgen.tasks.read import read, read_new

    counts = {name: int(split.get(name, 0.0) / price + 1e-9) for name, price in prices.items()}
    counts["unlabelled"] = min(counts["unlabelled"], 4 * LABELS)  # more than a forecast is made for is not used
    clean, noisy = counts["label"], counts[f"label@{error:g}"]
    bought = spare.iloc[: clean + noisy]
    bare = spare.iloc[clean + noisy :][: counts["unlabelled"]]
    known = pd.concat([have, bought], ignore_index=True)
    classes = sorted(set(known.target))
    codes = pd.Categorical(known.target, categories=classes).codes.astype(int)
    rng = np.random.default_rng([11, seed])
    wrong = np.zeros(len(known), bool)
    wrong[len(have) + clean :] = rng.random(noisy) < error
    shift = rng.integers(1, len(classes), len(known))
    told = known.assign(target=[classes[c] for c in np.where(wrong, (codes + shift) % len(classes), codes)])
    task = read(told, "target", kind="classification")
    rows, new = Rows(task.frame), Rows(read_new(test, task.columns, "target"))
    more = Rows(read_new(bare, task.columns, "target") if len(bare) else task.frame.iloc[:0])
    encoders = tuple(encoders_of(member["view"]))
    for part in (rows, new, more):
        if encoders and len(part.frame):
            fill(part, encoders, HERE / ".cache", columns=task.columns)

    def fit_on(labels: np.ndarray, of: Rows) -> Any:
        made = Member(member["method"], member["view"], task.kind, len(task.classes), member["params"])
        return made.fit(of, labels, task.columns, seed)

    model = fit_on(task.target, rows)
    if len(bare):
        p = model.predict(more)
        sure = p.max(1) >= SURE
        if sure.any():
            both = pd.concat([task.frame, more.frame.iloc[np.flatnonzero(sure)]], ignore_index=True)
            union = Rows(both)
            if encoders:
                fill(union, encoders, HERE / ".cache", columns=task.columns)
            model = fit_on(np.concatenate([task.target, p.argmax(1)[sure]]), union)
    truth = pd.Categorical(test.target, categories=list(task.classes)).codes.astype(int)
    seen = truth >= 0
    p = model.predict(new)
    return {m: METRICS[m].score(truth[seen], p[seen]) for m in ("log_loss", "accuracy")}


def run(processes: int) -> None:
    from smidgen.kit.machine import machine, versions

    jobs = [(kind, name, seed) for seed in range(SEEDS) for kind, name in tasks()]
    cells = []
    with ProcessPoolExecutor(processes) as pool:
        for job, found in zip(jobs, pool.map(cell, jobs), strict=True):
            cells += found
            print(*job, [c["split"] for c in found], flush=True)
    about = {"date": str(date.today()), "machine": machine(), "versions": versions(("numpy", "scikit-learn"))}
    RESULTS.write_text(json.dumps({**about, "cells": cells, "summary": summary(cells)}, indent=1) + "\n")
    print(json.dumps(summary(cells), indent=1))


def summary(cells: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean scores by way, and how much less log loss the plan's split has, with a 90 % interval over tasks."""
    from scipy.stats import t

    out: dict[str, Any] = {"tasks": len({c["name"] for c in cells}), "cells": len(cells)}
    for way in ("plan", "all on labels", "even"):
        out[way] = {m: float(np.mean([c["scores"][way][m] for c in cells])) for m in ("log_loss", "accuracy")}
    for way in ("all on labels", "even"):
        by_task = [
            np.mean([c["scores"][way]["log_loss"] - c["scores"]["plan"]["log_loss"] for c in cells if c["name"] == n])
            for n in sorted({c["name"] for c in cells})
        ]
        half = float(t.ppf(0.95, len(by_task) - 1) * np.std(by_task, ddof=1) / np.sqrt(len(by_task)))
        out[f"less log loss than {way}"] = [
            float(np.mean(by_task)),
            float(np.mean(by_task) - half),
            float(np.mean(by_task) + half),
        ]
    out["forecast held"] = float(
        np.mean([c["interval"][0] <= c["scores"]["plan"]["log_loss"] <= c["interval"][1] for c in cells])
    )
    return out


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run",))
    parser.add_argument("--processes", type=int, default=2)
    run(parser.parse_args().processes)
