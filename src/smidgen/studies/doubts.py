"""Rows that the model gets most surely wrong, and labels that may be errors: what a person should look at first.

Both come from predictions by choices that did not see the row (`estimate.Judged`), and name rows, never show them: a
report is sent to others, the rows stay where they are.

Suspected labels: confident learning (Northcutt, Jiang and Chuang 2021, "Confident learning: estimating uncertainty in
dataset labels", arXiv 1911.00068). A class's threshold is the mean probability that rows with this label get for it. A
label is doubted where another class's probability reaches that class's threshold and is above the label's own. With
few rows that alone doubts far too many, so here the label's own probability must also be below `FAR` of its own
class's threshold, and a class of fewer than `LEAST` rows, of which a model knows too little, neither gives nor takes.
The most doubtful is the one whose own probability is the smallest part of its threshold. `FAR` and the order were
settled on the development data (`benchmarks/doubts.py`). Suspected values of a regression: those that lie `SUSPECT`
robust standard deviations from what was predicted.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np

from smidgen.kit.numbers import plain, short
from smidgen.studies.estimate import Judged
from smidgen.tasks.task import Task

MOST = 20  # rows listed of each sort
FAR = 0.3  # of the class's threshold
LEAST = 3  # rows of a class
WRONG, SUSPECT = 2.0, 3.5  # robust standard deviations; the second by Iglewicz and Hoaglin 1993


def doubts(judged: Judged, task: Task) -> dict[str, Any] | None:
    """`{"wrong": [row], "labels": [row], "counts": {"wrong", "labels"}}`, the worst first; None: no row was judged.

    A row is `{"row", "name", "truth", "predicted"}` with `"probability"` (of the predicted class) and `"given"` (of
    the label), or in a regression with `"gap"`, truth less prediction in robust standard deviations.
    """
    if not len(judged.rows):
        return None
    rows, predicted = mean_predictions(judged)
    truth = task.target[rows]
    if task.classes:
        wrong, labels = surely_wrong(predicted, truth), doubted(predicted, truth)
        top = predicted.argmax(1)

        def said(i: int) -> dict[str, Any]:
            return {
                "truth": plain(task.classes[truth[i]]),
                "predicted": plain(task.classes[top[i]]),
                "probability": short(predicted[i, top[i]]),
                "given": short(predicted[i, truth[i]]),
            }
    else:
        gap = gaps(predicted, truth)
        order = np.argsort(-np.abs(gap), kind="stable")
        wrong, labels = (order[np.abs(gap[order]) > cut] for cut in (WRONG, SUSPECT))

        def said(i: int) -> dict[str, Any]:
            return {"truth": float(truth[i]), "predicted": short(predicted[i]), "gap": short(gap[i])}

    listed = {
        key: [{**named(task, int(rows[i])), **said(i)} for i in found[:MOST]]
        for key, found in (("wrong", wrong), ("labels", labels))
    }
    return {**listed, "counts": {"wrong": len(wrong), "labels": len(labels)}}


def mean_predictions(judged: Judged) -> tuple[np.ndarray, np.ndarray]:
    """The rows that were judged `[m]`, and the mean of what was predicted of each: `[m, C]` or `[m]`."""
    rows, place = np.unique(judged.rows, return_inverse=True)
    parts = judged.predicted.reshape(len(place), -1).T * judged.weights
    mean = np.stack([np.bincount(place, part, len(rows)) for part in parts], 1)
    return rows, mean.reshape(len(rows), *judged.predicted.shape[1:])


def surely_wrong(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Which rows get another class than they have, that of the most probable class first."""
    top = predicted.max(1)
    order = np.argsort(-top, kind="stable")
    return order[predicted.argmax(1)[order] != truth[order]]


def doubted(predicted: np.ndarray, truth: np.ndarray, far: float = FAR) -> np.ndarray:
    """Which of the labels `[m]` may be errors, the most doubtful first; `predicted` `[m, C]`."""
    own = predicted[np.arange(len(truth)), truth]
    limits = thresholds(predicted, truth)
    other = ((predicted >= limits) & (predicted > own[:, None])).any(1)
    part = own / limits[truth]
    order = np.argsort(part, kind="stable")
    return order[(other & (part < far) & np.isfinite(limits[truth]))[order]]


def thresholds(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """`[C]`: the mean probability for class c of the rows that have it; infinite for a class of too few rows."""
    own = predicted[np.arange(len(truth)), truth]
    count = np.bincount(truth, minlength=predicted.shape[1])
    mean = np.bincount(truth, own, predicted.shape[1]) / np.maximum(count, 1)
    return np.where(count < LEAST, np.inf, np.maximum(mean, 1e-300))


def gaps(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Truth less prediction `[m]`, in standard deviations that a few far values cannot stretch (from the median
    deviation, or where that is 0 from the mean one).
    """
    off = truth - predicted
    off = off - np.median(off)
    scale = 1.4826 * float(np.median(np.abs(off))) or math.sqrt(math.pi / 2) * float(np.abs(off).mean())
    return off / scale if scale > 0 else off


def named(task: Task, i: int) -> dict[str, Any]:
    """Which row of the person's table example i is, and its image as a path below their folder."""
    column = next((c.name for c in task.columns if c.kind == "image"), None)
    path = None if column is None else task.frame[column].iloc[i]
    name = ""
    if isinstance(path, str):
        inside = task.folder is not None and Path(path).is_relative_to(task.folder)
        name = Path(path).relative_to(task.folder).as_posix() if task.folder and inside else Path(path).name
    return {"row": None if task.rows is None else int(task.rows[i]), "name": name}
