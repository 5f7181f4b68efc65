"""What is known of each method before this task: how it ranked on other small tasks.

`priors.json` is fitted by `benchmarks/priors.py` on the development tables: for each method on each view, a ridge
regression of its excess log loss (over the mean of all methods on that task) on what a task looks like.
"""

import json
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from smidgen.studies.candidates import Candidate
from smidgen.tasks.task import Task

UNKNOWN = 0.15  # excess loss that is assumed of a method without experience
FILE = Path(__file__).with_name("priors.json")


@dataclass(frozen=True)
class Known:
    """What priors.json holds of one method on one view: coefficients over `describe`, and how many tasks stand
    behind.
    """

    coefficients: tuple[float, ...]
    tasks: int


def describe(n: int, features: int, classes: int, categories: float) -> np.ndarray:
    """A task as numbers `[5]`: 1, log n, log features, log classes, share of category columns; each about centred.

    Held to the range of the development tasks: experience does not say more than it saw.
    """
    n, features, classes = min(max(n, 20), 400), min(max(features, 1), 100), min(max(classes, 2), 10)
    return np.array([1.0, math.log(n / 80), math.log(features / 15) / 2, math.log(classes / 2), categories - 0.2])


def describe_task(task: Task) -> np.ndarray:
    used = [c for c in task.columns if c.used]
    return describe(
        len(task), len(used), len(task.classes), sum(c.kind == "category" for c in used) / max(len(used), 1)
    )


def modality(task: Task) -> str:
    """Whose experience counts: "text" or "image" where such columns are, else "table"."""
    return "image" if "image" in task.modalities else "text" if "text" in task.modalities else "table"


@cache
def _file() -> dict:
    return json.loads(FILE.read_text()) if FILE.exists() else {"methods": {}, "sharpness": 8.0}


def excess(task: Task, found: list[Candidate]) -> np.ndarray:
    """Expected excess loss of each candidate `[K]` over the average method, in nats (regression: share of variance).

    A method that no benchmark of this modality has seen, one of another package say, counts as worse than average:
    it starts after the known ones, so that it cannot hold up a race.
    """
    x = describe_task(task)
    known = _file()["methods"].get(modality(task), {})
    out = []
    for c in found:
        coefficients = known.get(f"{c.method} {c.view}") or known.get(f"{c.method} *")
        out.append(UNKNOWN if coefficients is None else float(x @ np.array(coefficients)))
    return np.array(out)


def weights(task: Task, found: list[Candidate]) -> np.ndarray:
    """Prior weight of each candidate `[K]`, sums to 1: a softmax of the expected excess losses."""
    z = -_file()["sharpness"] * excess(task, found)
    w = np.exp(z - z.max())
    return w / w.sum()
