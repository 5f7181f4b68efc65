"""Delimited text before it is parsed: which delimiter, where the header ends, which row is ragged.

The counting is done on bytes with numpy (a million rows in well under a second); only a file that fails it is
walked through exactly, to name the line.
"""

import csv
import io
from dataclasses import dataclass, replace

import numpy as np

from smidgen.kit.errors import BadInput

CHUNK = 1 << 24
csv.field_size_limit(1 << 27)


@dataclass(frozen=True)
class Dialect:
    delimiter: str
    names: list[str]
    header_lines: int  # lines up to the end of the header; one that goes on inside quotes counts once
    quoted: bool = True  # False: a double quote is a character like any other


def sniff(data: bytes, where: str, tab: bool = False, named: str = "") -> Dialect:
    """The delimiter under which most of the first rows have as many cells as the header; more cells win a tie.

    Args:
        tab: prefer tabs, as the file's name does. named: the delimiter, if the file itself says it.
    Raises:
        BadInput: the header cannot be read at all.
    """
    head = data[: 1 << 18]
    if len(data) > len(head) and b"\n" in head:
        head = head[: head.rfind(b"\n") + 1]
    text = head.decode("utf-8", "replace")
    best: tuple[float, int, int] = (-1.0, 0, 0)
    chosen = Dialect(",", [], 0)
    for place, delimiter in enumerate(named or ("\t,;|" if tab else ",\t;|")):
        try:
            rows, header_lines = _first_rows(text, delimiter)
        except csv.Error:
            continue
        if not rows:
            continue
        if text.count('"') % 2 and len(rows) > 1 and any("\n" in cell for cell in rows[-1]):
            del rows[-1]  # a quote that is never closed took in all the rest: it says nothing of the delimiter
        width = len(rows[0])
        alike = float(np.mean([len(r) == width for r in rows[1:]])) if len(rows) > 1 else 1.0
        rank = (round(alike, 1) if width > 1 else 0.05, width, -place)
        if rank > best:
            best, chosen = rank, Dialect(delimiter, rows[0], header_lines)
    if not chosen.names:
        raise BadInput(
            f"{where} cannot be read as delimited text: expected a line of column names separated by "
            "commas, tabs or semicolons."
        )
    return chosen


def _first_rows(text: str, delimiter: str, most: int = 50) -> tuple[list[list[str]], int]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    rows: list[list[str]] = []
    header_lines = 0
    for number, row in enumerate(reader, 1):
        if row:
            rows.append(row)
            if len(rows) == 1:
                header_lines = number
        if len(rows) >= most:
            break
    return rows, header_lines


def check_rows(data: bytes, dialect: Dialect, where: str) -> Dialect:
    """The dialect, with quotes taken literally where a tab-separated file only then has even rows.

    Raises:
        BadInput: names the first line with more or fewer cells than the header, or an open quote.
    """
    rows = _rows_alike(data, dialect)
    if dialect.delimiter == "\t" and b'"' in data:
        literal = replace(dialect, quoted=False)
        even = _rows_alike(data, literal)
        if even and even != rows:  # a quoted line break with just the right number of tabs before it: by chance only
            return literal
    if rows:
        return dialect
    _name_ragged(data, dialect, where)
    return dialect


def _rows_alike(data: bytes, dialect: Dialect) -> int:
    """How many rows there are if all have the header's number of cells, else 0; delimiters in quotes do not count.

    A quote inside an unquoted cell can make it say 0 wrongly; the exact walk then decides.
    """
    if b"\r" in data.replace(b"\r\n", b""):
        return 0  # lone carriage returns: let the exact walk count them
    quoted = dialect.quoted and b'"' in data
    parity, carry, last, rows = 0, 0, -1, 0
    want = len(dialect.names) - 1
    if want == 0 and not quoted:
        return 0 if ord(dialect.delimiter) in data else data.count(b"\n") + 1
    for start in range(0, len(data), CHUNK):
        part = np.frombuffer(data, np.uint8, min(CHUNK, len(data) - start), start)
        mark, end = part == ord(dialect.delimiter), part == 10
        if quoted:
            inside = (np.cumsum(part == 34, dtype=np.int32) + parity) % 2 == 1
            parity = int(inside[-1])
            mark, end = mark & ~inside, end & ~inside
        places = np.flatnonzero(end)
        total = np.cumsum(mark, dtype=np.int32)
        at = total[places] + carry
        per_row = np.diff(at, prepend=0)
        # a blank line has no delimiter and no other character
        length = np.diff(places + start, prepend=last)
        blank = (per_row == 0) & (length <= 2)
        if ((per_row != want) & ~blank).any():
            return 0
        rows += len(places)
        if len(places):
            last = int(places[-1]) + start
            carry = int(total[-1] - total[places[-1]])
        else:
            carry += int(total[-1])
    if parity or (last < len(data) - 1 and carry != want):
        return 0
    return rows + (last < len(data) - 1)


def _name_ragged(data: bytes, dialect: Dialect, where: str) -> None:
    width = len(dialect.names)
    reader = csv.reader(io.StringIO(data.decode("utf-8", "replace"), newline=""), delimiter=dialect.delimiter)
    start = 1
    label = {"\t": "tab", ",": "comma", ";": "semicolon"}.get(dialect.delimiter, dialect.delimiter)
    try:
        for row in reader:
            blank = not row or (len(row) == 1 and not row[0].strip())
            if not blank and len(row) != width:
                span, mend = (
                    f"line {start}",
                    "Mend that row; a cell that holds the delimiter must stand in double quotes.",
                )
                if reader.line_num > start:
                    span = f"lines {start} to {reader.line_num}"
                    mend = (
                        f"A quote joins them into one row: close it where it should end, or give the row {width} cells."
                    )
                raise BadInput(
                    f"{where}, {span}: {len(row)} cells, but the header has {width} (delimiter: {label}). {mend}",
                    see="rows",
                )
            start = reader.line_num + 1
    except csv.Error as error:
        text = f"{where}, line {reader.line_num}: {error}. Look for a quote that is never closed."
        raise BadInput(text, see="rows") from None
