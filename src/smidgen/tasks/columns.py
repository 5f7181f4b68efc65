"""What each column is, found by its cells: number, category, date, text, image; id, constant, empty are left out.

The labelled rows decide whether a column says anything at all; the unlabelled pool helps to tell text from
categories and ids. Few distinct numbers stay numbers; a unique measurement is not an id.
"""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from smidgen.tasks.cells import date_form, dates, is_text, numbers, settled, texts
from smidgen.tasks.images import IMAGE_SUFFIXES, image_path
from smidgen.tasks.number_cells import DECIMAL_COMMA, NO_NUMBER, number_form, number_of, unit_of
from smidgen.tasks.task import Column, ColumnKind, Finding

SAMPLE = 5_000  # cells of a text column that are looked at
_LOOKED_AT = 2_000  # letters of a cell that tell the script it is in
_ID_NAME = re.compile(r"(^|[\W_\d])(id|ids|uuid|guid|rowid|index|idx)$", re.IGNORECASE)
_ID_CAMEL = re.compile(r"[a-z](Id|ID|UUID|Uuid)$")
_NO_NAME = re.compile(r"^(column \d+|unnamed: ?\d+|)$", re.IGNORECASE)
_TIME_NAME = re.compile(r"year|month|week|day|date|hour|time|minute|second|age|step|quarter", re.IGNORECASE)


def understand(
    frame: Any, labelled: np.ndarray, *, folder: Path | None, decimal_comma: int = 0
) -> tuple[tuple[Column, ...], list[Finding]]:
    """Columns with their kinds, and what a person should know about them, from a DataFrame.

    Args:
        labelled: `[n]` bool, the rows with a target.
        folder: what relative image paths are relative to.
        decimal_comma: what the file says of it, see `number_cells`.
    """
    columns, findings = [], []
    for name in frame.columns:
        column = _understand(str(name), settled(frame[name]), labelled, folder, decimal_comma, findings)
        if not column.used:
            findings.append(Finding(level="note", text=f"Column '{name}' is left out: {column.note}."))
        columns.append(column)
    return tuple(columns), [*findings, *_forms(columns)]


def _understand(
    name: str,
    values: pd.Series,
    labelled: np.ndarray,
    folder: Path | None,
    decimal_comma: int,
    findings: list[Finding],
) -> Column:
    def found(kind: ColumnKind, note: str = "", form: str = "") -> Column:
        return Column(name=name, kind=kind, note=note, form=form)

    if not is_text(values) and values.dtype.kind != "b" and str(values.dtype) != "boolean":
        if pd.api.types.is_datetime64_any_dtype(values):
            stamps: Any = dates(values)[0]
            return _poor(name, stamps[labelled]) or found("date", form="iso")
        x = numbers(values)[0]
        return _number(name, x, labelled, "", findings)
    cells: Any = values[_sample(labelled)]
    nested = next(
        (type(v).__name__ for v in cells if isinstance(v, list | dict | tuple | set | bytes | np.ndarray)), ""
    )
    if nested:
        return found("empty", f"its cells hold nested values ({nested}), which are not read")
    cells = texts(cells)
    present = cells.dropna()
    if poor := _poor(name, cells.iloc[: min(int(labelled.sum()), len(cells))]):
        return poor
    distinct = list(dict.fromkeys(present))
    said = [t for t in distinct if t.lower() not in NO_NUMBER]
    form = number_form(said, decimal_comma)
    parsed = np.array([not np.isnan(number_of(t, form)) for t in said], bool)
    counts: Any = present.value_counts()
    share = float(counts[said].to_numpy() @ parsed / counts[said].sum()) if said else 0.0
    if share >= 0.9:
        x, wrong = numbers(values, form)
        if wrong:
            findings.append(
                Finding(
                    level="warning",
                    text=f"Column '{name}': {len(wrong)} of {len(values)} cells are "
                    "no numbers "
                    f"(row {wrong[0] + 1}: {str(values.iloc[wrong[0]])[:40]!r}); they count as "
                    "missing.",
                )
            )
        return _number(name, x, labelled, form, findings)
    if share >= 0.5 and len(said) > 10:
        findings.append(
            Finding(
                level="warning", text=f"Column '{name}' mixes numbers ({share:.0%}) and words; it is read as words."
            )
        )
    if (when := date_form(said)) and dates(values, when[0])[0].notna().any():  # 0000/0/0 looks like one
        form, guessed = when
        if guessed:
            findings.append(
                Finding(
                    level="warning",
                    text=f"Column '{name}' could be read with the day or the month "
                    f"first; read as {form} "
                    f"({said[0]}). Dates like 2024-12-31 leave no doubt.",
                )
            )
        wrong = dates(values, form)[1]
        if wrong:
            findings.append(
                Finding(
                    level="warning",
                    text=f"Column '{name}': {len(wrong)} of {len(values)} cells are "
                    "no dates "
                    f"(row {wrong[0] + 1}: {str(values.iloc[wrong[0]])[:40]!r}); they count as "
                    "missing.",
                )
            )
        return found("date", form=form)
    if np.mean([t.lower().endswith(IMAGE_SUFFIXES) for t in distinct]) >= 0.9:
        there = sum(image_path(t, folder) is not None for t in distinct[:200])
        if there:
            return found("image")
        where = "beside the table" if folder else "in the folder that you are in"
        return found("id", f"its cells name image files, none of which is {where}")
    kind, note = _words(name, distinct, len(present))
    return found(kind, note)


def _forms(columns: list[Column]) -> list[Finding]:
    """What is to be said of how numbers are read, once for all columns that are read alike."""
    numbers, said = [c for c in columns if c.kind == "number"], {}
    for column in numbers:
        if column.form.startswith(DECIMAL_COMMA):
            how = "with a decimal comma (1,5 is one and a half, 1.500 is fifteen hundred)"
            said.setdefault(how, []).append(column.name)
        if unit := unit_of(column.form):
            said.setdefault(f"as a number of {unit}", []).append(column.name)
    return [
        Finding(level="note", text=f"{_quoted(names)} {'is' if len(names) == 1 else 'are'} read {how}.")
        for how, names in said.items()
    ]


def _quoted(names: list[str]) -> str:
    shown = [f"'{n}'" for n in names[:6]] + ([f"{len(names) - 6} more"] if len(names) > 6 else [])
    return "Column " + shown[0] if len(shown) == 1 else "Columns " + ", ".join(shown[:-1]) + " and " + shown[-1]


def _sample(labelled: np.ndarray) -> np.ndarray:
    """Labelled rows first, then rows spread evenly over the pool."""
    rows, pool = np.flatnonzero(labelled), np.flatnonzero(~labelled)
    if len(rows) > SAMPLE:
        rows = rows[np.linspace(0, len(rows) - 1, SAMPLE).astype(np.int64)]
    if len(pool) > SAMPLE:
        pool = pool[np.linspace(0, len(pool) - 1, SAMPLE).astype(np.int64)]
    return np.concatenate([rows, pool])


def _poor(name: str, cells: pd.Series) -> Column | None:
    """The column if its labelled cells say nothing: none there, or one value (gaps in it may still tell something).

    No note of a column that is left out holds a cell of it: notes go into model and report, which are passed on.
    """
    present = cells.dropna()
    if not len(present):
        return Column(name=name, kind="empty", note="it has no value in any row with a target")
    if present.nunique() == 1 and (len(present) < 2 or len(cells) - len(present) < 2):
        return Column(name=name, kind="constant", note="it has one and the same value wherever there is a target")
    return None


def _number(name: str, x: np.ndarray, labelled: np.ndarray, form: str, findings: list[Finding]) -> Column:
    endless = np.flatnonzero(np.isinf(x))
    if len(endless):
        x = np.where(np.isinf(x), np.nan, x)
        findings.append(
            Finding(
                level="warning",
                text=f"Column '{name}': {len(endless)} infinite cells (first in row "
                f"{endless[0] + 1}) count as missing.",
            )
        )
    known = x[labelled]
    known = known[~np.isnan(known)]
    if not (len(known) and known.min() < known.max()) and (poor := _poor(name, pd.Series(x[labelled]))):
        return poor
    if why := _numbers_rows(name, x):
        return Column(name=name, kind="id", note=why)
    return Column(name=name, kind="number", form=form)


def _numbers_rows(name: str, x: np.ndarray) -> str:
    """Why this column only numbers the rows; empty if it does not."""
    n = len(x)
    if n < 5 or np.isnan(x).any() or (x != np.round(x)).any() or len(np.unique(x)) < n:
        return ""
    if _named_id(name):
        return "each row has its own whole number, and its name says that it identifies rows"
    run = x.max() - x.min() == n - 1
    if not run or _TIME_NAME.search(name):
        return ""
    in_order = bool((np.diff(x) == 1).all())
    if in_order and (x[0] in (0, 1) or n >= 20 or _NO_NAME.match(name)):
        return f"it counts the rows, {x.min():.0f} to {x.max():.0f}"
    if n >= 10 and x.min() in (0, 1):
        return f"it numbers the rows, {x.min():.0f} to {x.max():.0f} in another order"
    return ""


def _named_id(name: str) -> bool:
    return bool(_ID_NAME.search(name) or _ID_CAMEL.search(name))


def _words(name: str, distinct: list[str], n: int) -> tuple[ColumnKind, str]:
    """Text, category or id, of a column of words with `n` cells."""
    words = float(np.mean([len(t.split()) for t in distinct]))
    length = float(np.mean([len(t) for t in distinct]))
    spread = len(distinct) / n
    dense = float(np.mean([_dense_script(t) for t in distinct]))  # Chinese and Japanese write no spaces
    if (
        (words >= 2.5 and spread > 0.5 and len(distinct) >= 3)
        or (words >= 1.8 and spread > 0.8 and n >= 5)
        or (words >= 6 and length >= 40)
    ):
        return "text", ""
    if dense > 0.5 and length >= 6 and spread > 0.8:
        return "text", ""
    if spread == 1 and words < 1.2 and (n >= 10 or (n >= 5 and _named_id(name))):
        return "id", "each row has its own word, which says nothing about other rows"
    if spread > 0.9 and n >= 10 and _named_id(name):
        return "id", "nearly each row has its own value, and its name says that it identifies rows"
    return "category", ""


def _dense_script(text: str) -> bool:
    text = text[:_LOOKED_AT]
    return (
        sum("\u3040" <= c <= "\u30ff" or "\u3400" <= c <= "\u9fff" or "\u0e00" <= c <= "\u0e7f" for c in text)
        > len(text) / 2
    )


def in_form(
    frame: pd.DataFrame, columns: tuple[Column, ...], folder: Path | None
) -> tuple[pd.DataFrame, dict[str, list[int]]]:
    """The columns in the form that a task holds them, and by column the rows whose cells could not be read as its kind.

    number: float64, missing and infinite as NaN; date: datetime64[us]; category and text: str or None;
    image: absolute path or None; columns left out stay as they are.
    """
    made, wrong = {}, {}
    for column in columns:
        values = settled(pd.Series(frame[column.name]))
        if column.kind == "number":
            x, wrong[column.name] = numbers(values, column.form)
            made[column.name] = np.where(np.isinf(x), np.nan, x)
        elif column.kind == "date":
            made[column.name], wrong[column.name] = dates(values, column.form)
        elif column.kind in ("category", "text"):
            made[column.name] = texts(values)
        elif column.kind == "image":
            named = texts(values)
            paths = {t: image_path(t, folder) for t in named.dropna().unique()}
            made[column.name] = (
                named.map(lambda t, paths=paths: paths.get(t)).astype(object).where(lambda s: s.notna(), None)
            )
            wrong[column.name] = np.flatnonzero(named.notna() & made[column.name].isna()).tolist()
        else:
            made[column.name] = values
    return pd.DataFrame(made, index=frame.index), {k: v for k, v in wrong.items() if v}
