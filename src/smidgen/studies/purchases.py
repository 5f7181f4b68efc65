"""What `smidgen plan` measures on the labels that exist: what fewer of them gave, and what wrong ones are worth."""

import math
from collections.abc import Sequence

import numpy as np

from smidgen.kit.errors import bad
from smidgen.studies.prices import Offer
from smidgen.studies.race import folds_for
from smidgen.studies.trial import drawn
from smidgen.tasks.splits import units_of
from smidgen.tasks.task import Task

CURVE_REPEATS, MIX_REPEATS = 4, 2
SHARES = (1 / 8, 1 / 4, 1 / 2)  # of the labels that a fold trains on; the whole is cross-validation itself


def curve_draws(labels: int, classes: int, folds: int, repeats: int) -> list[tuple[str, float]]:
    """(draw, labels of each fit) of a learning curve, one repeat after the other, so that a short time still gives a
    whole curve. At least two labels a class, or four."""
    whole, least = labels * (1 - 1 / folds), max(2 * classes, 4)
    sizes = sorted({round(share * whole) for share in SHARES if share * whole >= least})
    if not sizes and 0.75 * whole >= min(least, classes + 1):
        sizes = [round(0.6 * whole)]
    out: list[tuple[str, float]] = []
    for r in range(repeats):
        out += [(f"cv:k={folds}:r={r}", whole), *((f"part:k={folds}:r={r}:n={n}", float(n)) for n in reversed(sizes))]
    return out


def mixed_draws(
    task: Task, offer: Offer, folds: int, repeats: int, *, itself: bool = False
) -> list[tuple[str, int, int]]:
    """(draw, right labels, other rows) of each fit: other rows are labels of the offer's error rate, or rows without
    labels. Half of the labels right and half others, and a third right. itself: whether the method learns from rows
    without labels itself, else it is trained on its own guesses."""
    whole = int(len(task) * (1 - 1 / folds))
    mixes = [(whole // 2, whole - whole // 2), (whole // 3, whole - whole // 3)]
    if len(task.classes) and whole // 3 < len(task.classes):
        mixes = mixes[:1]
    out = []
    for r in range(repeats):
        for right, other in mixes:
            bare = f"{'p' if itself else 'u'}={other}"
            what = bare if offer.kind == "unlabelled" else f"m={other}:e={100 * (offer.error or 0.0):g}"
            out.append((f"part:k={folds}:r={r}:n={right}:{what}", right, other))
    return out


def all_draws(task: Task, offers: Sequence[Offer], folds: int, *, itself: bool = False) -> list[str]:
    """All draws to measure, the most telling first. itself: see `mixed_draws`."""
    classes = len(task.classes)
    curve = [draw for draw, _ in curve_draws(len(task), classes, folds, CURVE_REPEATS)]
    each = len(curve) // CURVE_REPEATS
    mixed = [o for o in offers if o.is_mixed]
    of_offers = [[d for d, _, _ in mixed_draws(task, o, folds, MIX_REPEATS, itself=itself)] for o in mixed]
    first = [d for own in of_offers for d in own[: len(own) // MIX_REPEATS]]  # each offer once, before any twice
    again = [d for own in of_offers for d in own[len(own) // MIX_REPEATS :]]
    whole = [*curve[:each], *first, *curve[each : 2 * each], *again, *curve[2 * each :]]
    return list(dict.fromkeys(whole))  # label@0.2 and query@0.2 are measured by the same


def check_rows(task: Task, folds: int, seed: int) -> None:
    """Raises BadInput: too few labelled rows for two sizes of a learning curve, whatever the time; says how many do."""
    labels, classes = len(task), len(task.classes)
    draws = curve_draws(labels, classes, folds, 1)
    if len(draws) < 2:
        largest = float(np.bincount(task.target).max() / labels) if classes else 1.0
        more = labels + 1
        while len(curve_draws(more, classes, folds_for(more, math.ceil(largest * more - 1e-9)), 1)) < 2:
            more += 1
        raise bad(
            "labelled rows", f"at least {more}, with which a learning curve has two sizes", labels,
            f"Label {more - labels} more, fit again, then plan.",
        )  # fmt: skip
    if task.groups is not None and len({drawn(task, draw, seed) for draw, _ in draws}) < 2:
        raise bad(
            "groups of rows", "small enough for a learning curve of two sizes", f"{units_of(task).max() + 1} in all",
            "Label more of them, fit again, then plan.",
        )  # fmt: skip
