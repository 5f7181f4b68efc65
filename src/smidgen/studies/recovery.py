"""How much of a score a compressed model keeps, with error bars over repeated runs.

Recovery is 100 x compressed / whole, of scores where more is better (of losses: whole / compressed). Each seed is a
pair: the same draw of calibration and test rows for both. Above 100 % is noise, not gain. The recovery of averages and
the average of recoveries are two numbers; both are given.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import t

from smidgen.kit.errors import bad
from smidgen.studies.grid import Cell, Found, Grid, run

AXES = ("method", "task", "seed")


def recovery(quant_score: float, base_score: float, higher_is_better: bool = True) -> float:
    """Percent. Raises BadInput where the score to be divided by is 0 or less, or a score is not finite."""
    part, whole = (quant_score, base_score) if higher_is_better else (base_score, quant_score)
    if not whole > 0 or not math.isfinite(whole) or not math.isfinite(part):
        raise bad("score", "finite, and above 0 where it is divided by", (quant_score, base_score))
    return 100 * part / whole


def run_recovery(
    methods: Sequence[str],
    tasks: Sequence[str],
    seeds: Sequence[int],
    score: Callable[[str, int], Callable[[str], float]],
    *,
    base: str = "float",
    store: Path | str | None = None,
    space: str = "",
    max_seconds: float | None = None,
) -> Found:
    """Scores of every method (the base among them), task and seed: a table with `AXES` and "score".

    Args:
        score: of a method and a seed a function that scores a task with it; a model is made once for all its tasks.
    Raises:
        BadInput: fewer than two seeds, which give no error bar; the base is not among the methods.
    """
    if len(set(seeds)) < 2:
        raise bad("seeds", "at least 2, for an error bar", len(set(seeds)))
    if base not in methods:
        raise bad("base", " or ".join(methods), base)

    def measure(cells: list[Cell]) -> list[dict[str, Any]]:
        on = score(cells[0]["method"], cells[0]["seed"])
        return [{"score": on(cell["task"])} for cell in cells]

    axes = {"method": list(methods), "seed": list(seeds), "task": list(tasks)}
    return run(Grid(axes, ("score",), ("task",)), measure, store, space=space, max_seconds=max_seconds)


def recovery_table(
    found: pd.DataFrame, *, base: str = "float", level: float = 0.95, higher_is_better: bool | Sequence[str] = True
) -> pd.DataFrame:
    """A row a method and task: "mean" and "std" of the score, "recovery" (mean over seeds of paired percents) with
    "low" and "high" (Student), "of_means" (percent of the mean scores), "seeds"; and a row "all tasks" for each method:
    the mean over tasks of each seed's recovery, and the recovery of the mean score.

    Args:
        found: "method", "task", "seed", "score". higher_is_better: of all, or the tasks of which it is.
    Raises:
        BadInput: no such base, or a base score of 0.
    """
    if base not in set(found["method"]):
        raise bad("base", " or ".join(dict.fromkeys(map(str, found["method"]))), base)
    wide: Any = found.pivot(index=["task", "seed"], columns="method", values="score")
    tasks = list(dict.fromkeys(found["task"]))
    up = {k: higher_is_better if isinstance(higher_is_better, bool) else k in higher_is_better for k in tasks}
    rows = []
    for method in dict.fromkeys(found["method"]):
        percents, means = [], []
        for task in tasks:
            own, whole = (wide.loc[task, m].to_numpy(float) for m in (method, base))
            known = np.isfinite(own) & np.isfinite(whole)
            each = [recovery(a, b, up[task]) for a, b in zip(own[known], whole[known], strict=True)]
            percents.append(pd.Series(each, index=wide.loc[task].index[known]))
            of_means = recovery(own[known].mean(), whole[known].mean(), up[task]) if known.any() else math.nan
            means.append(of_means)
            scores = {
                "mean": _mean(own[known]),
                "std": float(np.std(own[known], ddof=1)) if known.sum() > 1 else math.nan,
            }
            rows.append(
                {"method": method, "task": task, **scores, **_interval(np.array(each), level), "of_means": of_means}
            )
        together = pd.concat(percents, axis=1, join="inner").mean(axis=1).to_numpy(float)
        if len(tasks) > 1:
            rows.append({
                "method": method, "task": "all tasks", "mean": math.nan, "std": math.nan, **_interval(together, level),
                "of_means": float(np.mean(means)),
            })  # fmt: skip
    return pd.DataFrame(rows)


def _interval(values: np.ndarray, level: float) -> dict[str, float]:
    n, mean = len(values), _mean(values)
    half = float(t.ppf(0.5 + level / 2, n - 1)) * float(values.std(ddof=1)) / math.sqrt(n) if n > 1 else math.nan
    return {"recovery": mean, "low": mean - half, "high": mean + half, "seeds": n}


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else math.nan
