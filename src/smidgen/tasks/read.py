"""From what a person has (a file, a folder of images, a DataFrame, arrays) to a Task, with what was found out."""

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from smidgen.kit.errors import BadInput
from smidgen.tasks.checks import duplicates, in_time, leaks, merged, no_copies, shared_groups
from smidgen.tasks.columns import in_form, understand
from smidgen.tasks.exported import total_row
from smidgen.tasks.files import load_file
from smidgen.tasks.images import skipped, unreadable
from smidgen.tasks.metrics import resolve
from smidgen.tasks.sources import by_name, listed, open_new, open_source
from smidgen.tasks.target import read_target
from smidgen.tasks.task import Column, Finding, Task

KINDS = ("classification", "regression")
Opened = Callable[[int, int], None]


def read(
    source: Any,
    target: Any = None,
    *,
    unlabelled: Any = None,
    group: Any = None,
    kind: str | None = None,
    metric: str | None = None,
    opened: Opened | None = None,
) -> Task:
    """The task in a source.

    Args:
        source: path of a CSV, TSV, Parquet or JSON-lines file (also gzipped), or of a folder of images by class; a
            DataFrame of any library; `(X, y)`; or X with `target` as y. X: `[n, d]` numbers, or n texts.
        target: name of the target column (folder of images: not needed), or the targets themselves. Rows with a blank
            target (empty, NaN, None) are the unlabelled pool.
        unlabelled: more rows without target, as a source of the same kind; a target in it is ignored.
        group: name of a column, or `[n]` values; rows of one group never straddle a split, and where further rows have
            that column too, none is learnt from whose group is judged.
        kind: "classification" or "regression" (None: inferred, and said).
        metric: a name in `tasks.metrics` (None: log loss, or root mean squared error).
        opened: called with (done, total) as pictures of `unlabelled` are opened, which may take long; what it raises
            ends that.
    Raises:
        BadInput: what is wrong, where, and what to do.
    """
    if kind is not None and kind not in KINDS:
        near = difflib.get_close_matches(str(kind), KINDS, n=1)
        raise BadInput(
            f"kind: expected 'classification' or 'regression', got "
            f"{kind!r}.{f' Did you mean {near[0]}?' if near else ''}"
        )
    if metric is not None and kind is not None:
        resolve(metric, kind)  # a wrong name is said before a long file is read
    target, group = (
        str(n) if isinstance(n, int | np.integer) and not isinstance(n, bool) else n for n in (target, group)
    )
    wanted = tuple(n for n in (target, group) if isinstance(n, str))
    loaded, target_name, values, group_values = open_source(source, target, group, wanted)
    kept, said = total_row(loaded.frame)
    if not kept.all():
        loaded.frame, values = pd.DataFrame(loaded.frame[kept]), pd.Series(values[kept])
        group_values = None if group_values is None else pd.Series(group_values[kept])
        loaded.findings += said
    labelled: Any
    labelled, found = read_target(values, target_name, loaded.where, kind, loaded.decimal_comma)
    numbers = np.flatnonzero(labelled) + 1
    features = loaded.frame.drop(columns=[n for n in wanted if n in loaded.frame.columns])
    if not len(features.columns):
        raise BadInput(
            f"{loaded.where}: there is no column but the target '{target_name}': add at least one to predict it from.",
            see="columns",
        )
    columns, notes = understand(features, labelled, folder=loaded.folder, decimal_comma=loaded.decimal_comma)
    if not any(c.used for c in columns):
        why = "; ".join(f"'{c.name}': {c.note}" for c in columns[:5])
        raise BadInput(
            f"{loaded.where}: no column can be used to predict '{target_name}' ({why}). Add a column that "
            "tells rows apart.",
            see="columns",
        )
    findings = [*loaded.findings, *found.findings, *notes]
    whole: Any = in_form(features, columns, loaded.folder)[0]
    keep = np.ones(len(whole), bool)
    if not loaded.images_checked:
        whole, keep = _without_bad_images(whole, columns, findings)
    if not keep.all():
        if keep[labelled].sum() < 2:
            raise BadInput(f"{loaded.where}: fewer than 2 images with a target can be read: {findings[-1].text}")
        found.values, numbers = found.values[keep[labelled]], numbers[keep[labelled]]
        group_values = None if group_values is None else group_values[keep]
        whole, labelled = whole[keep], labelled[keep]
        _still_learnable(found.values, loaded.where, target_name)
        found.values, found.classes = _only_used(found.values, found.classes)
    frame = whole[labelled].reset_index(drop=True)
    pool: Any
    pool, pool_rows = whole[~labelled].reset_index(drop=True), (np.flatnonzero(keep) + 1)[~labelled]
    duplicate_of, said = duplicates(frame, columns, found.values, numbers)
    cells: Any = group_values
    own_cells, pool_cells = (None if cells is None else cells[b].reset_index(drop=True) for b in (labelled, ~labelled))
    groups = merged(duplicate_of, own_cells)
    if groups is not None and groups.max() < 1:
        raise BadInput(
            f"{loaded.where}: all rows with a target are in one group{' or equal' if said else ''}, so "
            "none can be set aside to measure the model. Check the group column.",
            see="groups",
        )
    findings += [*said, *leaks(frame, columns, found.values, found.classes)]
    findings += [] if own_cells is not None else in_time(frame, columns, found.values, found.classes)
    more = _pool(unlabelled, columns, findings, group if isinstance(group, str) else None, opened)
    if more is not None:
        pool = pd.concat([pool, more.frame], ignore_index=True) if len(pool) else more.frame
        pool_rows = np.concatenate([pool_rows, -more.numbers])
        if pool_cells is not None:
            pool_cells = pd.concat([pool_cells.astype(object), more.groups], ignore_index=True)
    pool_groups: Any = None
    if len(pool):
        fresh, said = no_copies(frame, pool, columns)
        findings += said
        pool, pool_rows = pool[fresh].reset_index(drop=True), pool_rows[fresh]
        if own_cells is not None and pool_cells is not None:
            groups, pool_groups = shared_groups(groups, own_cells, pd.Series(pool_cells[fresh]))
    return Task(
        frame=frame,
        target=found.values,
        kind=found.kind,
        columns=columns,
        metric=resolve(metric, found.kind).name,
        target_name=target_name,
        classes=found.classes,
        groups=groups,
        unlabelled=pool if len(pool) else None,
        pool_groups=pool_groups,
        findings=by_name(findings, source, unlabelled),
        source=loaded.where,
        rows=None if loaded.images_checked else numbers,  # images that were checked are those of a folder
        pool_rows=None if loaded.images_checked or not len(pool) else pool_rows,
        folder=None if loaded.folder is None else loaded.folder.absolute(),
    )


def read_frame(path: Path | str) -> pd.DataFrame:
    """Any table file as a frame; text stays as written. Raises BadInput."""
    return load_file(path).frame


def read_new(source: Any, columns: Sequence[Column], target_name: str) -> pd.DataFrame:
    """Rows to predict, with the task's columns in the task's form, index 0..n-1.

    Columns that the task leaves out may be missing; further ones, the target too, are ignored. Categories need not
    have been seen; single cells that cannot be read count as missing.

    Args:
        source: as for `read`; also a folder or list of image files, a list of texts, an array with the task's columns.
    Raises:
        BadInput: a used column is missing, or none of its cells can be read as its kind; an image cannot be read.
    """
    columns = tuple(columns)
    used = [c for c in columns if c.used]
    made, where, _ = _new_rows(source, columns, used)
    for column in used:
        if column.kind == "image":
            _check_new_images(made, column, len(used) == 1, where)
    return made


def _new_rows(
    source: Any, columns: tuple[Column, ...], used: list[Column], *, of_pool: bool = False, group: str | None = None
) -> tuple[pd.DataFrame, str, Any]:
    """Further rows in the task's form, how messages call their source, and their cells of the column `group`, if they
    have it; images are found but not opened."""
    loaded = open_new(source, columns, used, of_pool=of_pool, group=group)
    frame = loaded.frame
    groups = frame[group] if group is not None and group in frame.columns else None
    missing = [c.name for c in used if c.name not in frame.columns]
    if missing:
        near = difflib.get_close_matches(missing[0], list(frame.columns), n=1, cutoff=0.6)
        hint = f" There is a column '{near[0]}'." if near else f" It has {listed(frame.columns)}."
        raise BadInput(
            f"{loaded.where}: {'the columns' if len(missing) > 1 else 'the column'} {listed(missing)} of "
            f"the {'rows with labels' if of_pool else 'model'} "
            f"{'are' if len(missing) > 1 else 'is'} missing.{hint} Add or rename it.",
            see="new-rows",
        )
    frame = frame.reindex(columns=[c.name for c in columns])
    made: Any
    made, wrong = in_form(frame, columns, loaded.folder)
    for column in used:
        rows = wrong.get(column.name, [])
        if rows and column.kind == "image" and (len(used) == 1 or made[column.name].isna().all()):
            raise BadInput(
                f"{loaded.where}, row {rows[0] + 1}: there is no image file "
                f"{str(frame[column.name].iloc[rows[0]])[:80]!r}. Paths are relative to {loaded.folder}."
            )
        if rows and made[column.name].isna().all():
            raise BadInput(
                f"{loaded.where}, row {rows[0] + 1}: column '{column.name}' holds "
                f"{str(frame[column.name].iloc[rows[0]])[:60]!r}, and no cell of it is a "
                f"{column.kind} as in the {'rows with labels' if of_pool else 'data that the model was fitted on'}. "
                "Is it the right column?",
                see="new-rows",
            )
    return made.reset_index(drop=True), loaded.where, groups


def _without_bad_images(
    frame: Any, columns: tuple[Column, ...], findings: list[Finding], opened: Opened | None = None
) -> tuple[Any, np.ndarray]:
    """In a frame, unreadable images made missing, and `[n]` bool which rows still say something."""
    keep = np.ones(len(frame), bool)
    images = [c.name for c in columns if c.kind == "image"]
    for name in images:
        paths = frame[name]
        why: dict[str, str] = {}
        for path in (distinct := list(dict.fromkeys(paths.dropna()))):
            why[path] = unreadable(path)
            if opened is not None:
                opened(len(why), len(distinct))
        bad = [f"{Path(p).name} ({w})" for p, w in why.items() if w]
        absent = int(paths.isna().sum())
        if bad:
            findings.append(skipped(bad, len(why)))
            frame[name] = paths.where(~paths.map(lambda p, why=why: bool(why.get(p))), None)
        if absent:
            findings.append(
                Finding(
                    level="warning",
                    text=f"{absent} rows have no image in column '{name}': the cell is blank or there is no such file.",
                )
            )
    if images and all(c.kind == "image" for c in columns if c.used):
        keep = frame[images].notna().any(axis=1).to_numpy()
    return frame, keep


def _still_learnable(values: np.ndarray, where: str, name: str) -> None:
    if len(np.unique(values)) < 2:
        raise BadInput(
            f"{where}: without the unreadable images only one value of '{name}' is left: at least 2 are needed."
        )


def _only_used(values: np.ndarray, classes: tuple) -> tuple[np.ndarray, tuple]:
    """Codes and classes without classes that lost all their rows."""
    if not classes:
        return values, classes
    used, codes = np.unique(values, return_inverse=True)
    return codes.ravel().astype(np.int64), tuple(classes[i] for i in used)


@dataclass
class _Pool:
    """Rows without labels of a further source, which of its rows they are, from 1, and their group cells (or None)."""

    frame: Any
    numbers: np.ndarray
    groups: Any


def _pool(
    unlabelled: Any, columns: tuple[Column, ...], findings: list[Finding], group: str | None, opened: Opened | None
) -> _Pool | None:
    if unlabelled is None:
        return None
    more: Any
    more, where, cells = _new_rows(unlabelled, columns, [c for c in columns if c.used], of_pool=True, group=group)
    more, keep = _without_bad_images(more, columns, findings, opened)
    if group is not None and cells is None:
        text = f"{where} has no column '{group}': its rows are taken to be of other groups than the labelled ones."
        findings.append(Finding(level="warning", text=text))
    groups: Any = pd.Series([None] * len(more) if cells is None else cells.tolist(), dtype=object)
    return _Pool(more[keep].reset_index(drop=True), np.flatnonzero(keep) + 1, groups[keep])


def _check_new_images(frame: Any, column: Column, alone: bool, where: str) -> None:
    paths = frame[column.name]
    bad = {p: why for p in dict.fromkeys(paths.dropna()) if (why := unreadable(p))}
    if alone and (bad or paths.isna().any()):
        if bad:
            what = "{} cannot be read ({})".format(*next(iter(bad.items())))
        else:
            what = f"row {int(np.flatnonzero(paths.isna())[0]) + 1} names no image"
        raise BadInput(
            f"{where}: {what}{f', and {len(bad) - 1} more' if len(bad) > 1 else ''}. Copy it again or take it out."
        )
    if bad:
        frame[column.name] = paths.where(~paths.isin(list(bad)), None)
