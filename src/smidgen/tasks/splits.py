"""Splits and few-shot draws: stratified, whole groups, the same for the same input.

A unit is what must stay together: a group of rows, or a single row.
"""

import numpy as np

from smidgen.kit.errors import bad
from smidgen.kit.seeds import derive_seed
from smidgen.tasks.task import Task


def units_of(task: Task) -> np.ndarray:
    """`[n]` int64: the unit of each row, numbered 0.. ; a task without groups has one a row."""
    if task.groups is None:
        return np.arange(len(task))
    return np.unique(task.groups, return_inverse=True)[1].astype(np.int64).ravel()


def fold_of(task: Task, folds: int, seed: int) -> np.ndarray:
    """The fold of each row `[n]` int64, 0..folds-1.

    Stratified by class, or by rank of the target. Units stay whole, no fold is empty, a class with fewer units than
    folds lies in different folds. Without groups the sizes of the folds, also within a class, differ by one at most.

    Raises:
        BadInput: fewer than 2 folds, or more folds than units.
    """
    units = units_of(task)
    n_units = int(units.max()) + 1 if len(units) else 0
    if not 2 <= folds <= n_units:
        raise bad(
            "folds", f"2 to {n_units} (the rows that need not stay together)", folds, "Use fewer folds, or add rows."
        )
    rng = np.random.default_rng(derive_seed(seed, "folds", folds))
    strata = _strata(task, folds, rng)
    size = np.bincount(units)
    fold = np.full(len(task), -1, np.int64)
    totals = np.zeros(folds, np.int64)
    counts = np.zeros((folds, int(strata.max()) + 1), np.int64)
    _place_groups(np.flatnonzero(size > 1), units, strata, fold, counts, totals, rng)
    single = rng.permutation(np.flatnonzero(size[units] == 1))
    single = single[np.argsort(strata[single], kind="stable")]
    edges = np.searchsorted(strata[single], np.arange(counts.shape[1] + 1))
    for stratum in rng.permutation(counts.shape[1]):
        rows = single[edges[stratum] : edges[stratum + 1]]
        slots = _emptiest(counts[:, stratum], totals, len(rows), rng)
        fold[rows] = slots
        totals += np.bincount(slots, minlength=folds)
    return fold


def _strata(task: Task, folds: int, rng: np.random.Generator) -> np.ndarray:
    """Classes, or runs of about `folds` neighbours in the order of the target (equal values in random order)."""
    if task.kind == "classification":
        return task.target.astype(np.int64)
    rank = np.empty(len(task), np.int64)
    rank[np.lexsort((rng.random(len(task)), task.target))] = np.arange(len(task))
    return np.minimum(rank // folds, max(len(task) // folds - 1, 0))


def _place_groups(
    groups: np.ndarray,
    units: np.ndarray,
    strata: np.ndarray,
    fold: np.ndarray,
    counts: np.ndarray,
    totals: np.ndarray,
    rng: np.random.Generator,
) -> None:
    """Greedily, largest first, each group into the fold that holds least of its strata (then least at all).

    An empty fold is never worse than another, so none stays empty.
    """
    order = np.argsort(units, kind="stable")
    edges = np.searchsorted(units[order], np.arange(units.max() + 2))
    total = np.bincount(strata, minlength=counts.shape[1])
    groups = groups[np.lexsort((rng.random(len(groups)), -(edges[groups + 1] - edges[groups])))]
    for group in groups:
        rows = order[edges[group] : edges[group + 1]]
        own, number = np.unique(strata[rows], return_counts=True)
        load = (counts[:, own] * (number / total[own])).sum(1)
        best = np.lexsort((rng.random(len(totals)), totals, load.round(12)))[0]
        fold[rows] = best
        counts[best, own] += number
        totals[best] += len(rows)


def _emptiest(held: np.ndarray, totals: np.ndarray, wanted: int, rng: np.random.Generator) -> np.ndarray:
    """The folds `[wanted]` that rows of one stratum fill one by one: least of the stratum first, then least at all."""
    depth = int(held.max() - held.min()) + wanted // len(held) + 2
    level = (held[:, None] + np.arange(depth)).ravel()
    which = np.repeat(np.arange(len(held)), depth)
    tie = rng.random(len(held))
    return which[np.lexsort((tie[which], totals[which], level))[:wanted]]


def sub_draw(task: Task, n: int, seed: int) -> np.ndarray:
    """Row numbers `[<= n]` of a stratified draw, in the order of drawing.

    For one seed a smaller draw is the beginning of a larger one. The first units show each class once, then classes
    follow in proportion (regression: ranks spread evenly). Units come whole, so the draw may stop short of `n`; it
    always holds one unit at least.
    """
    if n < 1:
        raise bad("n", "at least 1 row", n)
    units = units_of(task)
    rng = np.random.default_rng(derive_seed(seed, "sub-draw"))
    order = np.argsort(units, kind="stable")
    edges = np.searchsorted(units[order], np.arange(units.max() + 2))
    rows_of = [order[a:b] for a, b in zip(edges[:-1], edges[1:], strict=True)]
    sequence = _by_class(task, units, rows_of, rng) if task.kind == "classification" else _by_rank(task, units, rng)
    ends = np.cumsum([len(rows_of[u]) for u in sequence])
    taken = max(int(np.searchsorted(ends, n, side="right")), 1)
    return np.concatenate([rows_of[u] for u in sequence[:taken]]).astype(np.int64)


def _by_class(task: Task, units: np.ndarray, rows_of: list[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """All units: first some that show each class, then each class evenly spaced."""
    shuffled = rng.permutation(len(rows_of))
    first: dict[int, int] = {}  # class -> the first unit that shows it
    for unit in shuffled:
        for code in set(task.target[rows_of[unit]].tolist()):
            first.setdefault(code, int(unit))
    heads: list[int] = []
    shown: set[int] = set()
    for code in rng.permutation(sorted(first)).tolist():
        if code not in shown:
            heads.append(first[code])
            shown.update(task.target[rows_of[first[code]]].tolist())
    # a unit counts for the rarest of its classes, so that rare classes are not hidden in large groups
    total = np.bincount(task.target)
    label = np.array([min(set(task.target[rows].tolist()), key=lambda c: (total[c], c)) for rows in rows_of])
    rest = shuffled[~np.isin(shuffled, heads)]
    key = np.empty(len(rest))
    for code in np.unique(label[rest]):
        at = np.flatnonzero(label[rest] == code)
        key[at] = (np.arange(len(at)) + rng.random()) / len(at)
    return np.concatenate([np.array(heads, np.int64), rest[np.argsort(key, kind="stable")]])


def _by_rank(task: Task, units: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """All units, any beginning of the sequence spread evenly over the ranks of the target."""
    mean = np.bincount(units, task.target) / np.bincount(units)
    ordered = np.lexsort((rng.random(len(mean)), mean))

    def spread(part: np.ndarray) -> np.ndarray:
        if len(part) < 2:
            return part
        middle = len(part) // 2 if rng.random() < 0.5 else (len(part) + 1) // 2
        halves = [spread(part[:middle]), spread(part[middle:])]
        if len(halves[0]) < len(halves[1]) or (len(halves[0]) == len(halves[1]) and rng.random() < 0.5):
            halves.reverse()
        out = np.empty(len(part), part.dtype)
        out[0::2], out[1::2] = halves
        return out

    return spread(ordered)
