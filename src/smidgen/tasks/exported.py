"""What spreadsheets put around a table that they export: lines above the column names, a delimiter too many, totals."""

import csv
import io
import itertools
import re
from collections import Counter
from typing import Any

import numpy as np
import pandas as pd

from smidgen.tasks.task import Finding

MOST_LINES = 20  # above the column names
_BREAK = re.compile(rb"\r\n|\r|\n")
_SEP = re.compile(rb'^"?sep=(.)"?[ ,;\t]*\r?\n', re.IGNORECASE)
_TOTAL = re.compile(
    r"^(grand |sub)?(total|sum|average|mean)s?:?$|^(zwischen|gesamt)?summe:?$|^gesamt:?$|^mittelwert:?$"
    r"|^durchschnitt:?$|^totale?:?$|^somme:?$|^moyenne:?$|^suma:?$",
    re.IGNORECASE,
)


def without_frame(data: bytes, where: str, tab: bool) -> tuple[bytes, str, list[Finding]]:
    """The text with its column names first and every row as long as they are, the delimiter if a line names it (else
    ""), and what was passed over.

    Lines that are passed over become blank ones, so that those below keep their numbers.

    Args:
        data: UTF-8. tab: the file's name says that it is separated by tabs.
    """
    named = ""
    if found := _SEP.match(data):
        named, data = found[1].decode("latin-1"), b"\n" + data[found.end() :]
    head = data[: 1 << 18].decode("utf-8", "replace").lstrip("\ufeff")
    signs = named or ("\t,;|" if tab else ",\t;|")
    tables = {sign: _rows(head, sign) for sign in signs}
    whole = next((s for s, (rows, _) in tables.items() if _is_table(rows)), "")
    if whole:
        return _evened(data, whole, *tables[whole]), named, []
    above = {sign: lines for sign in signs if (lines := _lines_above(*tables[sign]))}
    if not above:
        return data, named, []
    sign = min(above, key=lambda s: above[s])
    data, said = _blanked(data, above[sign], where)
    rows = _rows(data[: 1 << 18].decode("utf-8", "replace"), sign)
    return _evened(data, sign, *rows), named, [said]


def _rows(text: str, sign: str, most: int = 60) -> tuple[list[list[str]], list[int]]:
    """The first rows that are not blank, and the line that each ends on."""
    reader, rows, ends = csv.reader(io.StringIO(text, newline=""), delimiter=sign), [], []
    try:
        for row in reader:
            if row:
                rows.append(row)
                ends.append(reader.line_num)
            if len(rows) == most:
                break
    except csv.Error:
        pass
    return rows, ends


def _is_table(rows: list[list[str]]) -> bool:
    """Whether the first row can be the column names of the others."""
    if len(rows) < 2 or len(rows[0]) < 2 or (len(rows[0]) > 2 and not any(c.strip() for c in rows[0][1:])):
        return False
    return _one_too_many(rows) or sum(len(r) == len(rows[0]) for r in rows) >= 0.8 * len(rows)


def _lines_above(rows: list[list[str]], ends: list[int]) -> int:
    """How many lines stand above the column names: those of one cell, where the names and most rows have several."""
    wide = Counter(len(r) for r in rows if len(r) > 1)
    if not wide or len(rows) < 3:
        return 0
    width = wide.most_common(1)[0][0]
    for k, row in enumerate(rows[:MOST_LINES]):
        if sum(bool(c.strip()) for c in row) > 1:
            gap = k and ends[k] - ends[k - 1] > 1
            # of two columns, a first line of one cell may be a name, and a comma in each cell chance
            return ends[k - 1] if k and _is_table(rows[k:]) and len(row) >= width - 1 and (width > 2 or gap) else 0
        if any(c.strip() for c in row[1:]):
            return 0
    return 0


def _blanked(data: bytes, lines: int, where: str) -> tuple[bytes, Finding]:
    _, end = _line_end(data, lines)
    above = _BREAK.split(data[:end])
    title = next((t for p in above if (t := p.decode("utf-8", "replace").strip(' ,;\t|"'))), "")
    what = f"The first {lines} lines of {where} stand" if lines > 1 else f"The first line of {where} stands"
    text = f"{what} above the column names ({title[:60]!r}) and {'were' if lines > 1 else 'was'} passed over."
    return b"\n" * lines + data[end:], Finding(level="note", text=text)


def _line_end(data: bytes, number: int) -> tuple[int, int]:
    """Where a line (from 1) ends, without and with its break: lines as a reader of CSV counts them."""
    found = next(itertools.islice(_BREAK.finditer(data), number - 1, None), None)
    return found.span() if found else (len(data), len(data))


def _one_too_many(rows: list[list[str]]) -> bool:
    """Whether every row has one more cell than the column names, and nothing in it."""
    width = len(rows[0]) if rows else 0
    return len(rows) > 1 and width > 1 and all(len(r) == width + 1 and not r[-1].strip() for r in rows[1:])


def _evened(data: bytes, sign: str, rows: list[list[str]], ends: list[int]) -> bytes:
    """With one more, nameless, column, if every row but that of the names ends in a delimiter."""
    if not _one_too_many(rows):
        return data
    end, _ = _line_end(data, ends[0])
    return data[:end] + sign.encode() + data[end:]


def nameless_and_blank(frame: pd.DataFrame, names: list[str]) -> list[str]:
    """Columns that have neither a name (in `names`, as written) nor a cell: a spreadsheet's used range was too wide."""
    return [c for c, n in zip(frame.columns, names, strict=True) if not n.strip() and bool(pd.isna(frame[c]).all())]


def total_row(frame: Any) -> tuple[np.ndarray, list[Finding]]:
    """`[n]` bool, which rows are examples: all, but for a last one that is named a total and is mostly blank."""
    keep = np.ones(len(frame), bool)
    if len(frame) < 5:
        return keep, []
    filled = frame.notna().to_numpy().sum(1)
    first = next((v for v in frame.iloc[-1].tolist() if isinstance(v, str) and v.strip()), "")
    if not _TOTAL.match(first.strip()) or filled[-1] > np.median(filled[:-1]) / 2:
        return keep, []
    keep[-1] = False
    text = f"The last row ({first.strip()!r}) looks like a total of the others and was left out."
    return keep, [Finding(level="warning", text=text)]
