"""What a run found, as one plain dictionary: the input of the report and of `--json`."""

import datetime
from typing import Any

import numpy as np

from smidgen.kit.numbers import plain
from smidgen.studies.candidates import BASELINE, Candidate, Skipped
from smidgen.studies.choose import Choice, ChoiceConfig, OutOfFold, choose
from smidgen.studies.doubts import doubts
from smidgen.studies.estimate import Estimate, IntervalConfig, Judged, accuracy_or_r2, estimate, simple
from smidgen.tasks.metrics import Metric
from smidgen.tasks.task import Task

MAX_CONFUSION = 20
MAX_POINTS = 500


def leaderboard(
    board: OutOfFold,
    tried: list[Candidate],
    choice: Choice,
    metric: Metric,
    dropped: list[tuple[Candidate, OutOfFold, str]],
    skipped: list[Skipped],
    seconds: dict[tuple[str, str], float],
    interval: IntervalConfig,
    seed: int,
) -> list[dict[str, Any]]:
    """One entry a candidate, best first; those stopped early with the repeats they had; skipped ones last, with
    the reason.
    """
    rows = []
    for k, c in enumerate(tried):
        rows.append(
            _row(
                c,
                simple(board, k, metric, board.units, interval, choice.log_t[k], seed),
                seconds,
                float(choice.weights[k]),
                board.predictions.shape[1],
                "",
            )
        )
    for c, own, why in dropped:
        log_t = choose(own, ChoiceConfig()).log_t[0]
        rows.append(
            _row(
                c, simple(own, 0, metric, own.units, interval, log_t, seed), seconds, 0.0, own.predictions.shape[1], why
            )
        )
    rows.sort(key=lambda r: (-r["estimate"] if metric.greater_is_better else r["estimate"], r["method"], r["view"]))
    rows += [
        {
            "method": s.method,
            "view": s.view,
            "params": {},
            "estimate": None,
            "interval": None,
            "seconds": 0.0,
            "chosen": False,
            "weight": 0.0,
            "repeats": 0,
            "note": s.why,
        }
        for s in skipped
    ]
    return rows


def _row(c: Candidate, e: Estimate, seconds: dict, weight: float, repeats: int, note: str) -> dict[str, Any]:
    return {
        "method": c.method,
        "view": c.view,
        "params": c.params,
        "estimate": e.value,
        "interval": e.interval,
        "seconds": round(seconds.get(c.key, 0.0), 3),
        "chosen": weight > 0,
        "weight": weight,
        "repeats": repeats,
        "note": note,
    }


def named(tried: list[Candidate], weights: np.ndarray) -> str:
    """The blend in words: "0.62 logistic + 0.38 forest"; a single member by its name alone."""
    chosen = [(weights[k], tried[k]) for k in np.argsort(-weights, kind="stable") if weights[k] > 0]
    views = {c.view for _, c in chosen}
    names = [c.method if len(views) == 1 else f"{c.method} on {c.view}" for _, c in chosen]
    return (
        names[0]
        if len(names) == 1
        else " + ".join(f"{w:.2f} {name}" for (w, _), name in zip(chosen, names, strict=True))
    )


def measured(
    judged: Judged, task: Task, units: np.ndarray, metric: Metric, interval: IntervalConfig, seed: int
) -> dict[str, Any]:
    """The estimates and the pictures' numbers, all from predictions by choices that did not see their rows."""
    main = estimate(judged, task.target, units, metric, interval, seed)
    other = accuracy_or_r2(task.kind)
    second = main if metric.name == other.name else estimate(judged, task.target, units, other, interval, seed)
    out = {
        "estimate": main.value,
        "interval": main.interval,
        "level": interval.level,
        other.name: second.value,
        f"{other.name}_interval": second.interval,
        "calibration": None,
        "confusion": None,
        "residuals": None,
        "doubts": doubts(judged, task),
    }
    if task.kind == "classification":
        out["calibration"] = calibration(judged, task.target)
        if len(task.classes) <= MAX_CONFUSION:
            out["confusion"] = confusion(judged, task.target, len(task.classes))
    else:
        mean = np.bincount(judged.rows, judged.weights * judged.predicted, minlength=len(task))
        seen = np.flatnonzero(np.bincount(judged.rows, minlength=len(task)))
        keep = seen[np.linspace(0, len(seen) - 1, min(MAX_POINTS, len(seen))).astype(int)]
        out["residuals"] = {"truth": task.target[keep].tolist(), "predicted": mean[keep].tolist()}
    return out


def calibration(judged: Judged, truth: np.ndarray, bins: int = 8) -> list[dict[str, float]]:
    """Of the most probable class: mean probability against how often it was right, in bins of about equal weight."""
    top = judged.predicted.argmax(1)
    p, right = judged.predicted[np.arange(len(top)), top], top == truth[judged.rows]
    order = np.argsort(p, kind="stable")
    total = np.cumsum(judged.weights[order])
    cut = np.minimum((total / total[-1] * bins).astype(int), bins - 1)
    out = []
    for b in range(bins):
        own = order[cut == b]
        if len(own):
            w = judged.weights[own]
            out.append(
                {
                    "predicted": float(p[own] @ w / w.sum()),
                    "observed": float(right[own] @ w / w.sum()),
                    "count": float(round(w.sum(), 2)),
                }
            )
    return out


def confusion(judged: Judged, truth: np.ndarray, classes: int) -> list[list[float]]:
    """Rows are the truth, columns the prediction; counts of rows, fractional where choices disagreed."""
    out = np.zeros((classes, classes))
    np.add.at(out, (truth[judged.rows], judged.predicted.argmax(1)), judged.weights)
    return out.round(2).tolist()


def baseline(board: OutOfFold, tried: list[Candidate], metric: Metric, kind: str) -> dict[str, float] | None:
    """The constant method's scores, if it was tried."""
    k = next((k for k, c in enumerate(tried) if c.method == BASELINE), None)
    if k is None:
        return None
    flat = board.predictions[k].reshape(-1, *board.predictions.shape[3:])
    truth = np.tile(board.truth, board.predictions.shape[1])
    other = accuracy_or_r2(kind)
    return {"estimate": metric.score(truth, flat), other.name: other.score(truth, flat)}


def described(task: Task) -> dict[str, Any]:
    """How the data was understood."""
    counts = np.bincount(task.target, minlength=len(task.classes)).tolist() if task.classes else None
    return {
        "target": task.target_name,
        "kind": task.kind,
        "n": len(task),
        "classes": [plain(c) for c in task.classes],
        "class_counts": counts,
        "columns": [{"name": c.name, "kind": c.kind, "note": c.note} for c in task.columns],
        "findings": [{"level": f.level, "text": f.text} for f in task.findings],
        "warnings": [f.text for f in task.findings if f.level == "warning"],
        "unlabelled": 0 if task.unlabelled is None else len(task.unlabelled),
    }


def now() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
