"""What could make a score look better than it is: duplicate rows, groups, copies of the target among the features."""

from typing import Any

import numpy as np
import pandas as pd

from smidgen.kit.files import file_digest
from smidgen.tasks.cells import text_of, texts
from smidgen.tasks.task import Column, Finding

SLOW = 0.5  # likeness of a row's target to the next one's in time, from which on a random split misleads


def _equal_rows(frame: pd.DataFrame, columns: tuple[Column, ...]) -> tuple[np.ndarray, bool]:
    """`[n]` int64: rows with equal features share a number; whether the table is too coarse for that to mean a copy."""
    used = [c for c in columns if c.used]
    keys = np.empty((len(frame), len(used)), np.int64)
    for j, column in enumerate(used):
        values = frame[column.name]
        if column.kind == "image":
            values = values.map(lambda p: file_digest(p) if isinstance(p, str) else None)
        keys[:, j] = pd.factorize(values)[0]
    same = np.unique(keys, axis=0, return_inverse=True)[1].ravel().astype(np.int64)
    with np.errstate(over="ignore"):  # of thousands of columns it is infinite
        cells = np.prod([float(len(np.unique(keys[:, j]))) for j in range(len(used))])
    return same, bool(cells * 2 <= len(frame)) and not any(c.kind in ("text", "image") for c in used)


def no_copies(frame: pd.DataFrame, pool: pd.DataFrame, columns: tuple[Column, ...]) -> tuple[np.ndarray, list[Finding]]:
    """Which rows without a label are neither a copy of a labelled row nor of an earlier one of them, bool; and what is
    to be said. A copy of a labelled row would let a method see what it is judged on."""
    N = len(frame)
    same, coarse = _equal_rows(pd.concat([frame, pool], ignore_index=True), columns)
    first = np.zeros(len(same), bool)
    first[np.unique(same, return_index=True)[1]] = True
    keep = first[N:]
    if coarse or keep.all():
        return np.ones(len(pool), bool), []
    own = int(np.isin(same[N:], same[:N]).sum())
    text = f"{(~keep).sum():,} rows without a label are exact copies, {own:,} of them of labelled rows: left out."
    return keep, [Finding(level="note", text=text)]


def duplicates(
    frame: pd.DataFrame, columns: tuple[Column, ...], target: np.ndarray, row_numbers: np.ndarray
) -> tuple[np.ndarray, list[Finding]]:
    """`[n]` int64: rows with equal features share a number; and what is to be said about them.

    Images are equal when their bytes are. In a coarse table (fewer than half as many possible rows as rows) equal
    rows are no copies, so that there each row keeps its own number.
    """
    n = len(frame)
    same, coarse = _equal_rows(frame, columns)
    size = np.bincount(same)
    if size.max(initial=0) < 2:
        return np.arange(n), []
    several = int((size > 1).sum())
    rows = int(size[size > 1].sum())
    if coarse:
        return np.arange(n), [
            Finding(
                level="note",
                text=f"Only {several + int((size == 1).sum())} different rows "
                f"among {n}: equal rows are to be expected, and are not "
                "taken for copies.",
            )
        ]
    low, high = np.full(len(size), np.inf), np.full(len(size), -np.inf)
    np.minimum.at(low, same, target)
    np.maximum.at(high, same, target)
    torn = np.flatnonzero(high > low)
    sets, parts = ("1 set", "it stays") if several == 1 else (f"{several} sets", "each stays")
    first = row_numbers[same == np.flatnonzero(size > 1)[0]]
    findings = [
        Finding(
            level="warning",
            text=f"{rows} rows are exact duplicates, in {sets} (such as rows {first[0]} "
            f"and {first[1]}); {parts} on one side of every split.",
        )
    ]
    if len(torn):
        which = same == torn[0]
        low_row, high_row = row_numbers[which][target[which].argmin()], row_numbers[which][target[which].argmax()]
        does = "contradicts itself" if len(torn) == 1 else "contradict themselves"
        findings.append(
            Finding(
                level="warning",
                text=f"{len(torn)} of these sets {does}: equal rows with different "
                f"targets (such as rows {low_row} and {high_row}).",
            )
        )
    return same, findings


def merged(duplicate_of: np.ndarray, group: pd.Series | None) -> np.ndarray | None:
    """Groups `[n]` int64, numbered by first row: rows joined by a duplicate or by a group cell. None: each row alone.

    A blank group cell joins nothing.
    """
    n = len(duplicate_of)
    if group is None:
        joined = duplicate_of
    else:
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        codes = pd.factorize(texts(group))[0].astype(np.int64)
        codes = np.where(codes < 0, codes.max(initial=0) + 1 + np.arange(n), codes)
        rows = np.concatenate([np.arange(n), np.arange(n)])
        nodes = np.concatenate([n + duplicate_of, n + duplicate_of.max(initial=0) + 1 + codes])
        total = int(nodes.max(initial=0)) + 1
        joined = connected_components(
            coo_array((np.ones(len(rows)), (rows, nodes)), shape=(total, total)), directed=False
        )[1][:n]
    if len(np.unique(joined)) == n:
        return None
    return pd.factorize(joined)[0].astype(np.int64)


def shared_groups(
    groups: np.ndarray | None, own: pd.Series, pool: pd.Series
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Groups `[n]` of the labelled rows, and of rows without a label `[m]` the one that they share with them, -1: none.
    Where some do, labelled rows have groups even if each is its own; where none does, the second is None.

    Args:
        groups: of the labelled rows, see `merged`. own, pool: group cells of both; a blank one joins nothing.
    """
    numbered = np.arange(len(own)) if groups is None else groups
    of = {cell: int(g) for cell, g in zip(texts(own), numbered, strict=True) if cell is not None}
    found = np.array([-1 if cell is None else of.get(cell, -1) for cell in texts(pool)], np.int64)
    return (numbered.astype(np.int64), found) if (found >= 0).any() else (groups, None)


def leaks(frame: pd.DataFrame, columns: tuple[Column, ...], target: np.ndarray, classes: tuple) -> list[Finding]:
    """Warnings for features that are the target again: equal, or in one-to-one correspondence with its classes."""
    findings = []
    names = np.array([text_of(c) for c in classes], object) if classes else None
    for column in columns:
        if column.kind not in ("number", "category"):
            continue
        values: Any = frame[column.name]
        if values.isna().any():
            continue
        if names is None:
            equal = column.kind == "number" and bool((values.to_numpy(np.float64) == target).all())
        else:
            first = text_of(values.iloc[0]) == names[target[0]]  # mostly enough, and tables can be very wide
            equal = first and bool((texts(values).to_numpy() == names[target]).all())
        if equal:
            findings.append(
                Finding(
                    level="warning",
                    text=f"Column '{column.name}' is a copy of the target: scores "
                    "will be too good. Take it out unless it is known before "
                    "the target is.",
                )
            )
            continue
        if names is not None and len(target) >= 20:
            codes, distinct = pd.factorize(values)
            if len(distinct) <= len(classes) and len(np.unique(codes * len(classes) + target)) == len(classes):
                findings.append(
                    Finding(
                        level="warning",
                        text=f"Column '{column.name}' tells the target exactly, "
                        "value for class: scores will be too good if it is not "
                        "known before the target is.",
                    )
                )
    return findings


def in_time(frame: pd.DataFrame, columns: tuple[Column, ...], target: np.ndarray, classes: tuple) -> list[Finding]:
    """A warning where rows follow each other in time and a row's target is much like the next one's: then rows beside
    those that are judged are learnt from, and the score is not that of times to come."""
    worst, of = SLOW, ""
    for column in columns:
        when: Any = frame[column.name]
        if column.kind != "date" or len(when) < 30 or when.nunique() < 10 or when.isna().mean() > 0.1:
            continue
        y = target[np.argsort(when.to_numpy(), kind="stable")]
        if (like := _like_the_next(y, classes)) > worst:
            worst, of = like, column.name
    if not of:
        return []
    text = (
        f"Rows follow each other in time ('{of}'), and the target of one is much like that of the next: rows on both "
        "sides of each one that is judged are learnt from, so the estimate is too good for times to come. Name a "
        "column with the day, week or month by --group (group=)."
    )
    return [Finding(level="warning", text=text)]


def _like_the_next(y: np.ndarray, classes: tuple) -> float:
    """How far each target tells the next one: correlation; for classes, equal neighbours beyond chance."""
    if classes:
        share = np.bincount(y) / len(y)
        chance = float((share**2).sum())
        return float((y[1:] == y[:-1]).mean() - chance) / max(1 - chance, 1e-9)
    a, b = y[:-1] - y.mean(), y[1:] - y.mean()
    return float((a * b).mean() / max(float(y.var()), 1e-300))
