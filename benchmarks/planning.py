"""Whether the split of `smidgen plan` buys more than all the money on labels, or an even split: on real tasks, with the
purchase made by revealing rows that were held back.

    python benchmarks/planning.py develop [--tasks a,b]  # development tasks, printed only: changes are made on these
    python benchmarks/planning.py run                    # judged tasks -> results/planning.json

A person has 40 labelled rows of a published table, text, signal or picture, fits a model, and may buy labels at 1,
labels of which a share are wrong, at 0.3, and rows without a label, at 0.02, for 120 in all. Three markets: one label
in ten wrong, two, or three and a half. What a split buys is revealed from held-back rows, some labels made wrong as
announced; rows without labels are labelled by the model where it is sure, as the plan's own measurement does, and no
more than four for each label are used, as the plan says.

After the purchase the model's heaviest member is fitted again as a study fits one, the same for all three ways:
five-fold cross-validation on all that it was told, wrong labels among it, gives its temperature (`studies.measured`),
then it is trained on everything and scored, tempered, on up to 2,000 other rows. The even split gives each purchase a
third of the money, in whole items; what cannot be used, as only so many rows without a label are, goes to the others.

Differences are paired; their intervals are over tasks. Ten tasks were judged once before, on other draws (see the
page); five are new.
"""

import argparse
import json
import math
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
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
from draws import DATA  # noqa: E402

RESULTS = HERE / "results" / "planning.json"
LABELS, SPEND, MAX_TEST, MIN_TEST = 40, 120.0, 2000, 60
DRAWS = {"judged": (202, 203), "development": (1001,)}  # 100 to 201 were judged before, 1000 is of development
LABEL, CHEAP, BARE = 1.0, 0.3, 0.02  # prices
ERRORS = (0.1, 0.2, 0.35)
MOST_BARE = 4 * LABELS  # rows without a label that are used
NEED = LABELS + int(SPEND / CHEAP) + MOST_BARE  # rows, whatever is bought
METHODS = "logistic,naive_bayes,extra_trees"
WAYS = ("plan", "all on labels", "even")
FOLDS = 5
NEW = ("eeg_eye_state", "har_phone_watch", "mnist10k", "pneumoniamnist_balanced", "ts_italypowerdemand")

Predict = Callable[[Any], np.ndarray]


def tasks(part: str) -> list[tuple[str, str]]:
    """(kind, name) of the tasks that have rows enough for every purchase."""
    known = [(kind, name) for kind, name in names(part) if kind != "number"]
    found = known + [("new", name) for name in NEW if part == "judged"]
    return [(k, n) for k, n in found if len(f := table(k, n)) >= NEED + MIN_TEST and 2 * f.target.nunique() <= LABELS]


def table(kind: str, name: str) -> pd.DataFrame:
    """All rows; `target` is the class. Pictures are means over squares of 4 x 4 pixels, movements the mean and spread
    of each channel."""
    if kind != "new":
        return frame_of(kind, name)
    if name == "eeg_eye_state":
        frame = pd.read_csv(DATA / name / f"{name}.csv.gz").rename(columns={"eye_closed": "target"})
        return frame.assign(target=frame.target.map(lambda v: f"c{v}"))
    blocks, labels = [], []
    for path in sorted((DATA / name).glob("*.npz")):
        with np.load(path) as file:
            x = file["images" if "images" in file else "X"].astype(float)
            labels.append(file["labels" if "labels" in file else "y"])
        if name == "har_phone_watch":
            x = np.concatenate([x.mean(-1), x.std(-1)], -1)
        elif x.shape[1:] == (28, 28):
            x = x.reshape(-1, 7, 4, 7, 4).mean((2, 4))
        blocks.append(x.reshape(len(x), -1))
    both = np.concatenate(blocks)
    frame = pd.DataFrame(both, columns=[f"x{i}" for i in range(both.shape[1])])
    return frame.assign(target=[f"c{v}" for v in np.concatenate(labels)])


def cell(kind: str, name: str, draw: int) -> list[dict[str, Any]]:
    """One task and draw under the three markets."""
    import smidgen

    warnings.filterwarnings("ignore")
    frame, begun = table(kind, name), time.monotonic()
    order = order_of(frame, kind, draw)
    have, spare, test = (
        frame.iloc[rows].reset_index(drop=True)
        for rows in (order[:LABELS], order[LABELS:NEED], order[NEED:][:MAX_TEST])
    )
    out = []
    with tempfile.TemporaryDirectory() as folder:
        store = f"{folder}/runs.db"
        fitted = smidgen.fit(have, "target", trials=20, methods=METHODS, store=store, workers=1, seed=draw)
        member = max(fitted.summary["leaderboard"], key=lambda r: r.get("weight") or 0.0)
        known: dict[str, dict[str, float]] = {}
        for error in ERRORS:
            prices = {"label": LABEL, f"label@{error:g}": CHEAP, "unlabelled": BARE}
            found = smidgen.plan(fitted, prices, SPEND, data=have, store=store, workers=1, time="300s")
            ways = {
                "plan": {n: int(m / prices[n] + 1e-6) for n, m in found["split"].items()},
                "all on labels": {"label": int(SPEND / LABEL)},
                "even": even(prices, SPEND),
            }
            scores = {}
            for way, bought in ways.items():
                key = json.dumps({n: c for n, c in sorted(bought.items()) if c})  # equal purchases, equal scores
                if key not in known:
                    known[key] = after(have, spare, test, member, bought, draw)
                scores[way] = known[key]
            out.append({"name": name, "draw": draw, "error": error, "bought": ways, "member": member["method"],
                        "forecast": found["after"]["estimate"], "interval": found["after"]["interval"],
                        "measured": found["measured"], "test rows": len(test), "scores": scores})  # fmt: skip
    out[-1]["seconds"] = round(time.monotonic() - begun, 1)
    return out


def even(prices: dict[str, float], spend: float) -> dict[str, int]:
    """Items of each, for equal parts of the money; what one cannot use, or is too little for an item, goes on."""
    counts, left = dict.fromkeys(prices, 0), spend
    room = {name: MOST_BARE if name == "unlabelled" else math.inf for name in prices}
    while wanted := [n for n in prices if counts[n] < room[n] and prices[n] <= left + 1e-9]:
        share, before = left / len(wanted), left
        for name in wanted:
            more = int(min(share / prices[name] + 1e-9, room[name] - counts[name]))
            counts[name], left = counts[name] + more, left - more * prices[name]
        if left == before:  # too little for one of each
            dearest = max(wanted, key=lambda n: prices[n])
            counts[dearest], left = counts[dearest] + 1, left - prices[dearest]
    return counts


def after(
    have: pd.DataFrame, spare: pd.DataFrame, test: pd.DataFrame, member: dict[str, Any], bought: dict[str, int],
    seed: int,
) -> dict[str, float]:  # fmt: skip
    """The true scores after a purchase."""
    from smidgen.data.views.rows import Rows
    from smidgen.learn.blend import tempered
    from smidgen.studies.measured import log_temperature
    from smidgen.tasks.metrics import METRICS
    from smidgen.tasks.read import read, read_new
    from smidgen.tasks.splits import fold_of

    cheap, error = next(
        ((c, float(n.partition("@")[2])) for n, c in bought.items() if n.startswith("label@")), (0, 0.0)
    )
    clean, bare = bought.get("label", 0), min(bought.get("unlabelled", 0), MOST_BARE)
    told = wrongly(pd.concat([have, spare.iloc[: clean + cheap]], ignore_index=True), cheap, error, seed)
    task = read(told, "target", kind="classification")
    rows, new = Rows(task.frame), Rows(read_new(test, task.columns, "target"))
    more = read_new(spare.iloc[clean + cheap :][:bare], task.columns, "target") if bare else None
    folds, everything = fold_of(task, FOLDS, seed), np.arange(len(task))
    out_of_fold = np.zeros((len(task), len(task.classes)))
    for fold in np.unique(folds):
        held = np.flatnonzero(folds == fold)
        out_of_fold[held] = trained(task, np.flatnonzero(folds != fold), more, member, seed)(rows.take(held))
    log_t = log_temperature([out_of_fold], task)
    p = tempered(trained(task, everything, more, member, seed)(new), log_t)
    truth = pd.Categorical(test.target, categories=list(task.classes)).codes.astype(int)
    seen = truth >= 0
    return {m: METRICS[m].score(truth[seen], p[seen]) for m in ("log_loss", "accuracy")}


def wrongly(told: pd.DataFrame, cheap: int, error: float, seed: int) -> pd.DataFrame:
    """The rows with each of the last `cheap` labels made wrong with a probability of `error`."""
    classes = sorted(set(told.target))
    codes = pd.Categorical(told.target, categories=classes).codes.astype(int)
    rng = np.random.default_rng([11, seed])
    wrong = (np.arange(len(told)) >= len(told) - cheap) & (rng.random(len(told)) < error)
    shift = rng.integers(1, len(classes), len(told))
    return told.assign(target=[classes[c] for c in np.where(wrong, (codes + shift) % len(classes), codes)])


def trained(task: Any, train: np.ndarray, more: pd.DataFrame | None, member: dict[str, Any], seed: int) -> Predict:
    """The member, fitted on some rows of a task and on those of `more` of which it is sure."""
    from smidgen.data.views.cache import fill
    from smidgen.data.views.rows import Rows
    from smidgen.data.views.view import encoders_of
    from smidgen.learn.member import Member
    from smidgen.studies.trial import SURE

    encoders = tuple(encoders_of(member["view"]))

    def encoded(of: Rows) -> Rows:
        if encoders:
            fill(of, encoders, HERE / ".cache", columns=task.columns)
        return of

    def fit_on(frame: pd.DataFrame, labels: np.ndarray) -> Any:
        made = Member(member["method"], member["view"], task.kind, len(task.classes), member["params"])
        return made.fit(encoded(Rows(frame)), labels, task.columns, seed)

    own, labels = task.frame.iloc[train].reset_index(drop=True), task.target[train]
    model = fit_on(own, labels)
    if more is not None and len(more):
        p = model.predict(encoded(Rows(more)))
        sure = np.flatnonzero(p.max(1) >= SURE)
        if len(sure):
            both = pd.concat([own, more.iloc[sure]], ignore_index=True)
            model = fit_on(both, np.concatenate([labels, p.argmax(1)[sure]]))
    return lambda of: model.predict(encoded(of))


def run(part: str, wanted: set[str], keep: Path | None) -> list[dict[str, Any]]:
    """All markets of all tasks and draws. What `keep` has is not measured again: a run that was broken off goes on."""
    jobs = [(kind, name, draw) for draw in DRAWS[part] for kind, name in tasks(part) if not wanted or name in wanted]
    cells: list[dict[str, Any]] = []
    if keep and keep.exists():
        cells = [json.loads(line) for line in keep.read_text().splitlines()]
    done = {(c["name"], c["draw"]) for c in cells}
    for kind, name, draw in jobs:
        if (name, draw) in done:
            continue
        found = cell(kind, name, draw)
        cells += found
        for c in found:
            told = [f"{way} {c['bought'][way]}: {c['scores'][way]['log_loss']:.4f}" for way in WAYS]
            print(name, draw, c["error"], c["member"], *told, c.get("seconds", ""), sep=" | ", flush=True)
        if keep:
            with keep.open("a") as file:
                file.writelines(json.dumps(c) + "\n" for c in found)
    return cells


def summary(cells: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean scores by way, and how much less log loss the plan's split has, with a 90 % interval over tasks; how often
    it differs from all on labels, and what it gains then."""
    from scipy.stats import t

    names_ = sorted({c["name"] for c in cells})
    out: dict[str, Any] = {"tasks": len(names_), "cells": len(cells)}
    for way in WAYS:
        out[way] = {m: float(np.mean([c["scores"][way][m] for c in cells])) for m in ("log_loss", "accuracy")}
    for way in WAYS[1:]:
        gains = [c["scores"][way]["log_loss"] - c["scores"]["plan"]["log_loss"] for c in cells]
        by_task = [np.mean([g for g, c in zip(gains, cells, strict=True) if c["name"] == n]) for n in names_]
        mean, half = float(np.mean(by_task)), math.nan
        if len(by_task) > 1:
            half = float(t.ppf(0.95, len(by_task) - 1) * np.std(by_task, ddof=1) / np.sqrt(len(by_task)))
        out[f"less log loss than {way}"] = [mean, mean - half, mean + half]
    other = [c for c in cells if c["bought"]["plan"].get("label", 0) < c["bought"]["all on labels"]["label"]]
    gains = [c["scores"]["all on labels"]["log_loss"] - c["scores"]["plan"]["log_loss"] for c in other]
    out["not all on labels"] = {"cells": len(other), "mean gain": float(np.mean(gains)) if other else 0.0}
    held = [c["interval"][0] <= c["scores"]["plan"]["log_loss"] <= c["interval"][1] for c in cells]
    out["forecast held"] = float(np.mean(held))
    return out


def judged(keep: Path | None) -> None:
    from smidgen.kit.machine import machine, versions

    cells = run("judged", set(), keep)
    about = {"date": str(date.today()), "machine": machine(), "versions": versions(("numpy", "scikit-learn"))}
    new = [c for c in cells if c["name"] in NEW]
    parts = {"summary": summary(cells), "new tasks": summary(new), "known": summary([c for c in cells if c not in new])}
    RESULTS.write_text(json.dumps({**about, **parts, "cells": cells}, indent=1) + "\n")
    print(json.dumps(parts, indent=1))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "develop"))
    parser.add_argument("--tasks", default="", help="of development, with commas")
    parser.add_argument("--keep", type=Path, help="a file of what is measured, so that a run can be broken off")
    asked = parser.parse_args()
    if asked.what == "run":
        judged(asked.keep)
    else:
        print(json.dumps(summary(run("development", set(filter(None, asked.tasks.split(","))), asked.keep)), indent=1))
