"""Held-in tasks: synthetic ones of a seed of their own, on which a training is watched beside logistic regression.

Each group has another size or difficulty, so that the log says what is learned yet and what is not.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from smidgen.data.prior_tasks import PriorConfig, PriorTasks, Stage
from smidgen.learn._incontext_batches import Batches, CellBatch, surprise
from smidgen.learn.logistic import LogisticClassifier
from smidgen.nets.cell_inputs import bin_edges
from smidgen.nets.cells import Cells

SEED, TASKS = 1_000_003, 32
QUERIES, BINS = 40, 64
# name: labelled rows, columns, classes (0: a number), severity
GROUPS = {
    "clean_n40_f3_c2": (40, 3, 2, 0.0),
    "n50_f8_c2": (50, 8, 2, 1.0),
    "n50_f20_c5": (50, 20, 5, 1.0),
    "n50_f60_c3": (50, 60, 3, 1.0),
    "n200_f15_c2": (200, 15, 2, 1.0),
    "n200_f15_c10": (200, 15, 10, 1.0),
    "n200_f60_c3": (200, 60, 3, 1.0),
    "n50_f8_numbers": (50, 8, 0, 1.0),
    "n200_f15_numbers": (200, 15, 0, 1.0),
}
AT_ONCE = 8


def held_batches(like: Batches) -> Iterator[tuple[str, CellBatch]]:
    """All held-in tasks, in batches, with the names of their groups."""
    for g, (name, (n, width, classes, severity)) in enumerate(GROUPS.items()):
        most = max(classes, 2)
        stage = Stage(classes=(most, most), severity=severity, fill=1.0)
        tasks = PriorTasks(PriorConfig(regression=float(classes == 0)), SEED + g)
        for first in range(0, TASKS, AT_ONCE):
            made = tasks.batch(first, AT_ONCE, rows=n + QUERIES, features=width, stage=stage, n_context=n)
            yield name, like.cell_batch(made, np.random.default_rng([SEED, g, first]))


@torch.no_grad()
def held_surprise(model: Cells, like: Batches, compute: torch.dtype = torch.float32) -> dict[str, float]:
    """Mean surprise of a query in each group, nats."""
    found: dict[str, list[float]] = {}
    for name, batch in held_batches(like):
        found.setdefault(name, []).extend(surprise(model, batch.to(str(model.edges.device)), compute).tolist())
    return {name: round(float(np.mean(each)), 4) for name, each in found.items()}


def logistic_surprise(like: Batches) -> dict[str, float]:
    """The same of logistic regression on standardised numbers, marks of unknown cells and one-hot codes; for groups
    with numeric targets, that of guessing bins as often as they occur in the labelled rows (with half a row each)."""
    found: dict[str, list[float]] = {}
    edges = bin_edges(BINS).numpy()
    for name, batch in held_batches(like):
        for b in range(len(batch.known)):
            known, asked = batch.known[b].numpy(), batch.asked[b].numpy()
            if batch.used is None:
                share = np.bincount(np.searchsorted(edges, known), minlength=BINS) + 0.5
                value = -np.log(share / share.sum())[np.searchsorted(edges, asked)].mean()
            else:
                value = _logistic(_matrix(batch, b), known, asked)
            found.setdefault(name, []).append(float(value))
    return {name: round(float(np.mean(each)), 4) for name, each in found.items()}


def _matrix(batch: CellBatch, b: int) -> np.ndarray:
    part: Any = batch.inputs
    tokens = part.tokens(1)[b]  # [F, R, I]
    numbers = tokens[..., [0, *range(2, tokens.shape[-1] - 1)]].transpose(0, 1).flatten(1).numpy().astype(float)
    return numbers[:, numbers.std(0) > 0]


def _logistic(x: np.ndarray, known: np.ndarray, asked: np.ndarray) -> float:
    N = len(known)
    x = (x - x[:N].mean(0)) / np.where(x[:N].std(0) > 0, x[:N].std(0), 1.0)
    if len(np.unique(known)) < 2:
        return 0.0
    head = LogisticClassifier().fit(x[:N], known)
    chance = head.predict_proba(x[N:])
    right = chance[np.arange(len(asked)), np.searchsorted(head.classes_, asked)]
    return float(-np.log(np.maximum(right, 1e-6)).mean())
