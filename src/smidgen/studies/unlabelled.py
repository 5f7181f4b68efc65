"""What can be said of rows without labels: whether they are of another kind than the labelled ones, which of them are
most worth a label, and a map of both.

Rows are named, never shown: a report is sent to others, the rows stay where they are.
"""

from pathlib import Path
from typing import Any

import numpy as np

from smidgen.data.views.rows import Rows
from smidgen.data.views.view import RAW_PARTS, View, choices, encoders_of
from smidgen.kit.numbers import plain, short
from smidgen.kit.seeds import derive_seed
from smidgen.learn.model import Model
from smidgen.studies.candidates import MOST_POOL
from smidgen.studies.doubts import named
from smidgen.tasks.task import Finding, Task

LEAST, MOST = 16, 500  # rows of each side that are compared
APART = 0.97  # area under the curve from which they are of another kind
LOOKED_AT, BRIEFLY = 1000, 200  # rows without a label that a study looks at, drawn at random; where they must be read
ON_MAP = 400  # of them on the map
NEXT, NEAR = 12, 3  # rows named as most worth a label; labelled neighbours of each
OFTEN = 5  # times as many of the least sure rows, of which those are the most different


def pool_of(task: Task, seed: int) -> tuple[Rows, list[Finding]]:
    """The rows without labels that methods learn from: all, or `MOST_POOL` of them, drawn at random; and what is to
    be said of that."""
    assert task.unlabelled is not None
    M = len(task.unlabelled)
    whole = Rows(task.unlabelled.reset_index(drop=True), groups=task.pool_groups)
    if M <= MOST_POOL:
        return whole, []
    chosen = np.sort(np.random.default_rng(derive_seed(seed, "pool")).permutation(M)[:MOST_POOL])
    text = f"{MOST_POOL:,} of the {M:,} rows without labels, drawn at random, are learnt from."
    return whole.take(chosen), [Finding(level="note", text=text)]


def told_apart(x_ND: np.ndarray, pool_MD: np.ndarray, seed: int) -> float | None:
    """How well labelled rows are told from the others in cross-validation: area under the curve, 0.5: not at all.
    None: too few rows."""
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if min(len(x_ND), len(pool_MD)) < LEAST:
        return None
    rng = np.random.default_rng(derive_seed(seed, "another kind"))
    parts = [x[rng.permutation(len(x))[:MOST]] for x in (x_ND, pool_MD)]
    X, y = np.vstack(parts), np.repeat([1, 0], [len(p) for p in parts])
    width = min(20, X.shape[1], len(X) // 2)
    judge = make_pipeline(
        PCA(width, random_state=0), StandardScaler(), LogisticRegression(C=0.1, class_weight="balanced")
    )
    folds = StratifiedKFold(4, shuffle=True, random_state=derive_seed(seed, "folds"))
    said: Any = cross_val_predict(judge, X, y, cv=folds, method="predict_proba")
    return float(roc_auc_score(y, said[:, 1]))


def another_kind(x_ND: np.ndarray, pool_MD: np.ndarray, seed: int) -> list[Finding]:
    """A warning where the rows without labels are not of the kind that is labelled."""
    auc = told_apart(x_ND, pool_MD, seed)
    if auc is None or auc < APART:
        return []
    text = (
        f"The rows without labels are of another kind than the labelled ones: they can be told apart almost always "
        f"(area under the curve {auc:.3f}; 0.5 is not at all). What is learnt from them may mislead, and the "
        "estimate is about rows like the labelled ones: check where they come from."
    )
    return [Finding(level="warning", text=text)]


def look(task: Task, rows: Rows, model: Model, seed: int) -> dict[str, Any] | None:
    """`{"n", "looked", "next": [row], "map": {...}}` of the rows without labels; None: there are none, or no classes.

    A row of "next" has what names it, "predicted", "probability", and "near": names and labels of the labelled rows
    most like it. The first is the least sure; each further one is, of the least sure, the farthest from those before
    it (uncertainty and diversity together, so that not one doubt is asked a dozen times). "map": the first two
    principal components of what the heaviest member sees: "x", "y", "predicted", "probability" of some of these rows;
    "own": "x", "y", "label" of labelled ones.
    """
    if task.unlabelled is None or not task.classes:
        return None
    rng = np.random.default_rng(derive_seed(seed, "unlabelled"))
    whole = Rows(task.unlabelled.reset_index(drop=True))
    pool = rows.pool if rows.pool is not None and len(rows.pool) == len(whole) else whole
    view = _view(model, task, rows)
    needed = {e for name in (view.name, *(m.view for m in model.members)) for e in encoders_of(name)}
    read = {key.split(":", 1)[0] for key in pool.blocks}
    chosen = np.sort(rng.permutation(len(pool))[: LOOKED_AT if needed <= read else BRIEFLY])
    pool = pool.take(chosen)
    chance = model.chances(pool)
    x, own = (dense(view.transform(part)) for part in (pool, rows))
    doubt = -(chance * np.log(np.clip(chance, 1e-12, 1))).sum(1)
    first = _different(doubt, x)
    top = chance.argmax(1)
    listed = []
    for i in first:
        apart = ((own - x[i]) ** 2).sum(1)
        near = np.argsort(apart, kind="stable")[:NEAR]
        neighbours = [{**named(task, int(k)), "label": plain(task.classes[task.target[k]])} for k in near]
        said = {"predicted": plain(task.classes[top[i]]), "probability": short(chance[i, top[i]]), "near": neighbours}
        listed.append({**_named(task, int(chosen[i])), **said})
    place, drawn = _map(task, x, own, chance, rng)
    for row, i in zip(listed, first, strict=True):
        row["at"] = [short(v) for v in place[i]]
    return {"n": len(task.unlabelled), "looked": len(chosen), "next": listed, "map": drawn}


def _view(model: Model, task: Task, rows: Rows) -> View:
    """What the heaviest member sees, but for raw values, in which near says nothing."""
    for k in np.argsort(-np.asarray(model.weights), kind="stable"):
        if not {*model.members[k].view.split("+")} & {*RAW_PARTS, "tree", "cells"}:
            return model.members[k].view_
    return View(choices(task, for_features="linear", sparse=False)[0], task.columns).fit(rows)


def _different(doubt_M: np.ndarray, x_MD: np.ndarray) -> list[int]:
    """The least sure row, then of the least sure ones each time the farthest from those that are chosen."""
    least = np.argsort(-doubt_M, kind="stable")[: NEXT * OFTEN]
    out = [int(least[0])]
    apart = ((x_MD[least] - x_MD[out[0]]) ** 2).sum(1)
    while len(out) < min(NEXT, len(least)) and apart.max() > 0:
        out.append(int(least[int(apart.argmax())]))
        apart = np.minimum(apart, ((x_MD[least] - x_MD[out[-1]]) ** 2).sum(1))
    return out


def _map(
    task: Task, x_MD: np.ndarray, own_ND: np.ndarray, chance_MC: np.ndarray, rng: Any
) -> tuple[np.ndarray, dict[str, Any]]:
    """Places `[M, 2]` of the rows without labels, and what is drawn."""
    some, mine = (np.sort(rng.permutation(len(of))[:ON_MAP]) for of in (x_MD, own_ND))
    centre = np.vstack([x_MD[some], own_ND[mine]]).mean(0)
    _, _, axes = np.linalg.svd(np.vstack([x_MD[some], own_ND[mine]]) - centre, full_matrices=False)
    place, own = (np.pad((x - centre) @ axes[:2].T, ((0, 0), (0, 2 - len(axes[:2])))) for x in (x_MD, own_ND[mine]))
    top = chance_MC[some].argmax(1)
    (x, y), (own_x, own_y) = ([[short(v) for v in column] for column in of.T] for of in (place[some], own))
    chance = [short(v) for v in chance_MC[some, top]]
    drawn = {"x": x, "y": y, "predicted": top.tolist(), "probability": chance}
    return place, {**drawn, "own": {"x": own_x, "y": own_y, "label": task.target[mine].tolist()}}


def _named(task: Task, i: int) -> dict[str, Any]:
    """Which row of the person's data row i of the pool is: its number, or its image as a path."""
    assert task.unlabelled is not None
    column = next((c.name for c in task.columns if c.kind == "image"), None)
    path = None if column is None else task.unlabelled[column].iloc[i]
    number = None if task.pool_rows is None else int(task.pool_rows[i])
    name = "/".join(Path(path).parts[-2:]) if isinstance(path, str) else ""
    if not name and number is not None and number < 0:
        number, name = -number, f"row {-number} of the rows without labels"
    return {"row": None if name else number, "name": name}


def dense(x: Any) -> np.ndarray:
    """Features of a view; of a sparse one in random directions, which keep distances (Johnson and Lindenstrauss)."""
    if not hasattr(x, "toarray"):
        return np.nan_to_num(np.asarray(x))
    directions = np.random.default_rng(0).standard_normal((x.shape[1], 64)) / 8
    return x @ directions
