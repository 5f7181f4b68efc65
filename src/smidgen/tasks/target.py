"""The target: which rows have one, whether it is a class or a number, and its codes.

Class names stay what the person wrote: the number 1 stays 1, "yes" stays "yes"; only surrounding white space goes.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from smidgen.kit.errors import BadInput
from smidgen.tasks.cells import factorized, whole
from smidgen.tasks.files import BLANK
from smidgen.tasks.number_cells import number_form, number_of
from smidgen.tasks.task import Finding

MANY_CLASSES, MOST_CLASSES = 200, 1000


@dataclass
class Target:
    values: np.ndarray  # [labelled rows] int64 codes, or float64
    kind: Literal["classification", "regression"]
    classes: tuple[Any, ...]
    findings: list[Finding]


def plain(value: Any) -> Any:
    """One target cell as a JSON scalar; None when blank. Text is stripped."""
    if isinstance(value, str):
        value = whole(value).strip()
        return None if value in BLANK else value
    if value is None or value is pd.NA or value is pd.NaT:
        return None
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return None if value != value else value
    if isinstance(value, list | dict | tuple | set | np.ndarray):
        got = type(value).__name__
        raise BadInput(f"The target holds nested values ({got}): expected one class or one number a row.")
    return whole(str(value))


def read_target(
    raw: pd.Series, name: str, where: str, kind: str | None, decimal_comma: int = 0
) -> tuple[np.ndarray, Target]:
    """The rows with a target `[n]` bool, and the target of those rows.

    Args:
        kind: "classification" or "regression"; None infers it, and a finding says what was inferred.
    Raises:
        BadInput: too few rows or classes, too many classes, cells that are no finite numbers in a regression.
    """
    codes, distinct = factorized(raw.astype(object) if isinstance(raw.dtype, pd.CategoricalDtype) else raw)
    cells = [plain(v) for v in distinct]
    if (
        raw.dtype.kind == "f"
        and raw.isna().any()
        and all(isinstance(c, float) and c.is_integer() for c in cells if c is not None)
    ):
        cells = [None if c is None else int(c) for c in cells]  # gaps had turned whole numbers into floats
    blank = np.array([c is None for c in cells] + [True])
    labelled = ~blank[codes]
    here = codes[labelled]
    if not labelled.any():
        raise BadInput(
            f"{where}: the target '{name}' is blank in all {len(raw)} rows: fill it in for at least 2 rows "
            "of each class.",
            see="target",
        )
    if labelled.sum() < 2:
        raise BadInput(
            f"{where}: only 1 row has a target '{name}' (row {int(np.flatnonzero(labelled)[0]) + 1}): at "
            "least 2 are needed, better 2 of each class.",
            see="target",
        )
    form = number_form([c for c in cells if isinstance(c, str)], decimal_comma)
    as_number = np.array(
        [
            np.nan
            if c is None
            else number_of(c, form)
            if isinstance(c, str)
            else np.nan
            if isinstance(c, bool)
            else _float(c)
            for c in cells
        ]
    )
    chosen, findings = kind, []
    if kind is None:
        chosen = _infer(cells, as_number, here, labelled, name, where)
    if chosen == "regression":
        values = _numbers(as_number, cells, codes, labelled, name, where)
        target = Target(values, "regression", (), findings)
    else:
        target = _classes(cells, as_number, form, here, name, where, findings)
        _check_spelling(target, distinct, cells, name, findings)
    if kind is None:
        other = "regression" if chosen == "classification" else "classification"
        what = f"numbers from {target.values.min():g} to {target.values.max():g}"
        if target.classes:
            what = f"{len(target.classes)} classes"
        sure = chosen == "classification" and not np.isfinite(as_number[np.unique(here)]).all()
        end = "." if sure else f"; kind='{other}' overrides it (--task {other})."
        findings.insert(0, Finding(level="note", text=f"'{name}' is read as {chosen} ({what}){end}"))
    return labelled, target


def _float(value: int | float) -> float:
    try:
        return float(value)
    except OverflowError:
        return float("inf")


def _infer(
    cells: list[Any], as_number: np.ndarray, here: np.ndarray, labelled: np.ndarray, name: str, where: str
) -> str:
    """Classification for words, truth values and few distinct whole numbers; regression for many distinct numbers."""
    counts = np.bincount(here, minlength=len(cells))
    seen = np.flatnonzero(counts)
    n, k = len(here), len(seen)
    numeric = ~np.isnan(as_number[seen])
    if not numeric.all():
        share = counts[seen][numeric].sum() / n
        if share >= 0.8 and k > 20:
            odd = seen[~numeric][0]
            raise BadInput(
                f"{where}: most of '{name}' is numbers, but {int(counts[seen][~numeric].sum())} cells are "
                f"not (the first is {cells[odd]!r}): "
                f"mend or blank them, or say kind='classification' (--task classification).",
                see="target",
            )
        return "classification"
    x = as_number[seen]
    if (np.isinf(x)).any() or (x != np.round(x)).any():
        return "regression"
    if k <= 2:
        return "classification"
    coded = x.min() in (-1, 0, 1) and x.max() - x.min() == k - 1
    return "classification" if k <= (min(20, n // 2) if coded else min(10, n // 3)) else "regression"


def _numbers(
    as_number: np.ndarray, cells: list[Any], codes: np.ndarray, labelled: np.ndarray, name: str, where: str
) -> np.ndarray:
    values = as_number[codes[labelled]]
    rows = np.flatnonzero(labelled)
    for bad, what in ((np.isnan(values), "is no number"), (np.isinf(values), "is infinite")):
        if bad.any():
            at = rows[np.flatnonzero(bad)[0]]
            more = f" ({int(bad.sum())} such cells)" if bad.sum() > 1 else ""
            raise BadInput(
                f"{where}, row {at + 1}: the target '{name}' {what}: {str(cells[codes[at]])[:60]!r}{more}. "
                f"Mend that cell or leave it "
                f"blank{', or say kind=classification' if what == 'is no number' else ''}."
            )
    if values.min() == values.max():
        raise BadInput(
            f"{where}: the target '{name}' is {values[0]:g} in every row that has one: there is nothing to learn."
        )
    return values.astype(np.float64)


def _classes(
    cells: list[Any], as_number: np.ndarray, form: str, here: np.ndarray, name: str, where: str, findings: list[Finding]
) -> Target:
    used = np.unique(here)
    if all(isinstance(cells[i], bool) for i in used) or all(
        isinstance(cells[i], int | float) and not isinstance(cells[i], bool) for i in used
    ):
        key = {i: cells[i] for i in used}
    elif all(isinstance(cells[i], str) for i in used) and all(_plain_int(cells[i]) for i in used):
        key = {i: int(cells[i]) for i in used}
    elif not form and all(
        isinstance(cells[i], str) and np.isfinite(as_number[i]) and repr(float(as_number[i])) == cells[i] for i in used
    ):
        key = {i: float(as_number[i]) for i in used}
    else:
        key = {i: str(cells[i]) for i in used}
        if any(not isinstance(cells[i], str) for i in used):
            findings.append(
                Finding(level="note", text=f"'{name}' mixes words and numbers; its classes are read as words.")
            )
    infinite = [v for v in key.values() if isinstance(v, float) and np.isinf(v)]
    if infinite:
        raise BadInput(f"{where}: the target '{name}' holds an infinite number: mend those cells or leave them blank.")
    classes: tuple[Any, ...] = tuple(sorted(set(key.values())))
    if len(classes) < 2:
        raise BadInput(
            f"{where}: every row that has a target '{name}' has the same, {next(iter(classes))!r}: at "
            "least 2 classes are needed. "
            f"Label rows of another class, or check that the file is whole.",
            see="target",
        )
    if len(classes) > MOST_CLASSES:
        raise BadInput(
            f"{where}: the target '{name}' has {len(classes):,} classes, more than the {MOST_CLASSES:,} "
            "allowed. "
            f"Is it the right column? Numbers to be predicted as amounts need kind='regression' (--task regression).",
            see="target",
        )
    place = {c: i for i, c in enumerate(classes)}
    code_of = np.zeros(len(cells), np.int64)
    code_of[used] = [place[key[i]] for i in used]
    return Target(code_of[here], "classification", classes, findings)


def _plain_int(text: str) -> bool:
    """Whether this is how an int writes itself: no sign +, no leading zero."""
    return text.lstrip("-").isascii() and text.lstrip("-").isdigit() and len(text) < 16 and str(int(text)) == text


def _check_spelling(target: Target, distinct: list, cells: list[Any], name: str, findings: list[Finding]) -> None:
    padded = [str(d) for d, c in zip(distinct, cells, strict=True) if isinstance(d, str) and c is not None and d != c]
    if padded:
        findings.append(
            Finding(
                level="note",
                text=f"White space around class names of '{name}' was taken off "
                f"({len(padded)} spellings, such as {padded[0][:40]!r}).",
            )
        )
    folded = Counter(c.casefold() for c in target.classes if isinstance(c, str))
    twice = [c for c in target.classes if isinstance(c, str) and folded[c.casefold()] > 1]
    if twice:
        findings.append(
            Finding(
                level="warning",
                text=f"Classes of '{name}' that differ only by upper and lower case: "
                f"{', '.join(map(repr, twice[:6]))}. They are kept apart.",
            )
        )
    counts = np.bincount(target.values, minlength=len(target.classes))
    alone = [str(c) for c, k in zip(target.classes, counts, strict=True) if k == 1]
    if alone:
        findings.append(
            Finding(
                level="warning",
                text=f"{len(alone)} of {len(counts)} classes have a single example "
                f"({', '.join(alone[:8])}{', ...' if len(alone) > 8 else ''}): "
                "how well they are told apart cannot be measured.",
            )
        )
    if len(counts) > MANY_CLASSES:
        findings.append(
            Finding(
                level="warning",
                text=f"'{name}' has {len(counts)} classes; up to {MANY_CLASSES} is what smidgen is tested for.",
            )
        )
    if len(target.values) > 20 and len(counts) > len(target.values) / 2:
        findings.append(
            Finding(
                level="warning",
                text=f"'{name}' has {len(counts)} classes in {len(target.values)} rows. Is it the right column?",
            )
        )
    whole = [c for c in target.classes if isinstance(c, int) and not isinstance(c, bool)]
    if len(whole) == len(target.classes) and min(whole) == -1 and 0 in whole and len(whole) > 2:
        findings.append(
            Finding(level="warning", text=f"-1 is taken as a class of '{name}'; rows without a class must be blank.")
        )
