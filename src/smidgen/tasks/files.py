"""Table files into frames: CSV and TSV (any delimiter, encoding), JSON lines, Parquet, each also gzipped.

What a file is, is told by its first bytes rather than by its name. Text columns keep what the person wrote.
"""

import csv
import io
import json
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from smidgen.kit.errors import BadInput
from smidgen.kit.extras import need
from smidgen.tasks.cells import is_text, whole
from smidgen.tasks.delimited import check_rows, sniff
from smidgen.tasks.exported import nameless_and_blank, without_frame
from smidgen.tasks.file_bytes import GROWTH, ROOM, as_utf8, read_bytes, room
from smidgen.tasks.number_cells import (
    DECIMAL_COMMA,
    NO_NUMBER,
    SEEN,
    SUGGESTED,
    dots_are_thousands,
    number_form,
    number_of,
)
from smidgen.tasks.task import Finding

# cells that mean "nothing here" in every column; others (-, ?, none) only where numbers are expected
BLANK = ("", "NaN", "nan", "NA", "N/A", "n/a", "null", "NULL", "<NA>", "#N/A", "#NA", "NaT")


@dataclass
class Loaded:
    """A table as read, before anything is understood."""

    frame: pd.DataFrame
    where: str  # how messages call it
    folder: Path | None = None  # image paths are relative to it
    images_checked: bool = False  # each image was opened already
    decimal_comma: int = 0  # what the file says of numbers like 1,5, see `number_cells`
    findings: list[Finding] = field(default_factory=list)


def load_file(path: Path | str, as_text: tuple[str, ...] = (), *, gaps: bool = False) -> Loaded:
    """Reads any table file ("-": standard input).

    Args:
        as_text: columns whose cells are kept as written (class names, groups), blank ones as None.
        gaps: keep rows of delimited text that are blank in every column and stand before others.
    Raises:
        BadInput: missing, empty, damaged, ragged, of a kind that is not read; names the file and the line.
    """
    where = "standard input" if str(path) == "-" else str(path)
    data = read_bytes(path, where)
    if not data.strip(b" \t\r\n\0"):
        raise BadInput(f"{where} is empty: expected a table with a line of column names and at least 2 rows.")
    made = Loaded(pd.DataFrame(), where, None if str(path) == "-" else Path(path).absolute().parent)
    name = where.lower().removesuffix(".gz")
    if data[:4] == b"PAR1":
        made.frame = _parquet(data, where)
    elif data[:4] == b"PK\x03\x04" or data[:8] == b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1":
        raise BadInput(f"{where} is an Excel or zip file, which is not read: save the sheet as CSV first.", see="excel")
    elif data[:8] == b"\x89PNG\r\n\x1a\n" or data[:3] == b"\xff\xd8\xff" or data[:5] == b"%PDF-":
        raise BadInput(f"{where} is a picture or a PDF, not a table: give a table, or a folder of images by class.")
    else:
        data = as_utf8(data, where, made.findings)
        line = data.find(b"\0")
        if line >= 0:
            raise BadInput(
                f"{where}, line {data.count(10, 0, line) + 1}: a NUL byte. The file is damaged, or is not "
                "a text file; export it again."
            )
        first = data.lstrip()[:1]
        if name.endswith((".jsonl", ".ndjson", ".json")) or (first == b"{" and not name.endswith((".csv", ".tsv"))):
            made.frame = _json(data, where)
        else:
            _csv(data, made, as_text, name.endswith((".tsv", ".tab")), gaps)
    _check_names(made)
    if not len(made.frame):
        raise BadInput(f"{where} has column names but no rows: add at least 2 rows with a target.")
    return made


def _csv(data: bytes, made: Loaded, as_text: tuple[str, ...], tab: bool, gaps: bool) -> None:
    if b"\n" not in data:
        data = data.replace(b"\r", b"\n")
    data, named, said = without_frame(data, made.where, tab)
    made.findings += said
    dialect = sniff(data, made.where, tab, named)
    dialect = check_rows(data, dialect, made.where)
    names = _unique(dialect.names, made)
    made.decimal_comma = SUGGESTED if dialect.delimiter == ";" else 0
    kept = [n for n in names if n in as_text]
    lines = gaps and len(names) == 1  # of one column, an empty line is a blank cell
    if lines:
        data = data.replace(b"\r\r\n", b"\r\n")  # what Python on Windows writes where newline="" is forgotten

    def parsed(kept: list[str], only: list[str] | None = None) -> pd.DataFrame:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # it says that cells would be lost
            return read_csv(kept, only)

    def read_csv(kept: list[str], only: list[str] | None) -> pd.DataFrame:
        return pd.read_csv(
            io.BytesIO(data),
            sep=dialect.delimiter,
            header=None,
            names=names,
            usecols=only,
            skiprows=dialect.header_lines,
            dtype=dict.fromkeys(kept, object),
            index_col=False,
            low_memory=False,
            encoding="utf-8",
            keep_default_na=False,
            skip_blank_lines=not lines,
            na_values=dict.fromkeys([n for n in names if n not in kept], list(BLANK)),
            quoting=csv.QUOTE_MINIMAL if dialect.quoted else csv.QUOTE_NONE,
        )

    try:
        frame = parsed(kept)
        # pandas turns yes-no words such as TRUE into bools; what the person wrote is wanted
        changed = [n for n in names if n not in kept and (frame[n].dtype.kind == "b" or frame[n].dtype == object)]
        if changed:
            kept = [*kept, *changed]
            frame[changed] = parsed(changed, changed)[changed]
        if dialect.delimiter != "," and any(_only_with_comma(pd.Series(frame[n])) for n in kept):
            made.decimal_comma = SEEN
            floats = [n for n in names if frame[n].dtype.kind == "f"]
            again = parsed(floats, floats) if floats else frame
            dotted = [n for n in floats if dots_are_thousands(again[n].dropna().unique().tolist())]
            frame[dotted], kept = again[dotted], [*kept, *dotted]
    except pd.errors.EmptyDataError:
        frame = pd.DataFrame(columns=names)
    except (pd.errors.ParserError, pd.errors.ParserWarning, ValueError, OverflowError) as error:
        raise BadInput(
            f"{made.where} cannot be read as a table: {str(error).strip()[:200]}. Look for a quote that "
            "stands alone in a cell."
        ) from None
    for name in names:  # beside a whole number too large for 64 bits, pandas forgets which cells are blank
        values: Any = frame[name]
        if name in kept:
            codes, distinct = pd.factorize(values)
            as_written = [v if isinstance(v, str) and v.strip() not in BLANK else None for v in distinct]
            frame[name] = pd.Series(np.array([*as_written, None], dtype=object)[codes], dtype=object)
        elif is_text(values) and (unseen := values.isin(BLANK)).any():
            frame[name] = values.where(~unseen)
    for name in nameless_and_blank(frame, dialect.names):
        del frame[name]
        made.findings[:] = [f for f in made.findings if f"it is called '{name}' here" not in f.text]
    bare: Any = frame.isna().all(axis=1).to_numpy()
    if gaps:  # a spreadsheet's used range may reach below its last row
        bare = np.arange(len(bare)) > np.flatnonzero(~bare).max(initial=-1)
    if bare.any():
        made.findings.append(
            Finding(
                level="note", text=f"{int(bare.sum())} rows of {made.where} have only blank cells and were left out."
            )
        )
        frame = frame.loc[~bare].reset_index(drop=True)
    made.frame = pd.DataFrame(frame)


def _only_with_comma(values: pd.Series) -> bool:
    """Whether these cells are numbers, and only if 1,5 is one and a half."""
    cells = [c for c in values.dropna().unique()[:1000].tolist() if c.strip() and c.strip().lower() not in NO_NUMBER]
    form = number_form(cells)
    good = sum(number_of(c, form) == number_of(c, form) for c in cells)
    return form.startswith(DECIMAL_COMMA) and good >= 0.9 * len(cells)


def _json(data: bytes, where: str) -> pd.DataFrame:
    """One JSON object a line, or one array of objects."""
    records: list[Any] = []
    if data.lstrip()[:1] == b"[":
        try:
            records = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise BadInput(
                f"{where} is not valid JSON ({str(error)[:100]}): give one object a line, or an array of objects."
            ) from None
        places = [f"object {i + 1}" for i in range(len(records))]
    else:
        places = []
        for number, line in enumerate(data.split(b"\n"), 1):
            if line.strip():
                try:
                    records.append(json.loads(line))
                except (ValueError, RecursionError) as error:
                    raise BadInput(
                        f"{where}, line {number}: not valid JSON ({str(error)[:100]}). Each line must be "
                        "one whole object."
                    ) from None
                places.append(f"line {number}")
    names: dict[str, None] = {}
    for i, record in enumerate(records):
        if not isinstance(record, dict):
            raise BadInput(
                f'{where}, {places[i]}: expected an object like {{"text": "...", "label": "..."}}, got '
                f"{json.dumps(record)[:60]}."
            )
        names.update(dict.fromkeys(record))
    filled = sum(map(len, records))
    if len(names) * len(records) > max(ROOM // 8, GROWTH * filled):
        raise BadInput(
            f"{where}: its {len(records):,} objects have {len(names):,} different names, and each only a few of them: "
            "a table of that would be nearly empty. Write what varies as a value, not as a name."
        )
    # columns one by one as objects: nothing is guessed, numbers keep their type
    columns = {n: pd.Series([r.get(n) for r in records], dtype=object) for n in names}
    frame = pd.DataFrame(dict(enumerate(columns.values())), index=pd.RangeIndex(len(records)))
    frame.columns = pd.Index(list(columns), dtype=object)
    return frame


def _parquet(data: bytes, where: str) -> pd.DataFrame:
    need("pyarrow", extra="parquet", why="Reading Parquet")
    import pyarrow.parquet as parquet

    try:
        told = parquet.ParquetFile(io.BytesIO(data)).metadata
        if 8 * told.num_rows * told.num_columns > room(data):
            raise BadInput(
                f"{where} says it has {told.num_rows:,} rows of {told.num_columns:,} columns, far more than its "
                f"{len(data):,} bytes hold: write it again, or take a part of it."
            )
        table = parquet.read_table(io.BytesIO(data))
        table.validate(full=True)  # text that is no UTF-8 would fail only when it is looked at
        return table.to_pandas(ignore_metadata=True)
    except (MemoryError, BadInput):
        raise
    except Exception as error:  # the library raises a dozen kinds on damaged files
        raise BadInput(
            f"{where} is not a whole Parquet file "
            f"({str(error).splitlines()[0][:120] if str(error) else type(error).__name__}): write it "
            "again."
        ) from None


def _unique(names: list[str], made: Loaded) -> list[str]:
    """Column names that are all there and differ; what was changed is said."""
    out: list[str] = []
    taken: dict[str, int] = {}  # each name, and the last number that was put behind it
    for i, name in enumerate(names):
        plain = name.strip() or f"column {i + 1}"
        if not name.strip():
            made.findings.append(
                Finding(level="note", text=f"Column {i + 1} of {made.where} has no name; it is called '{plain}' here.")
            )
        given, number = plain, taken.get(plain, 0)
        while given in taken:
            number += 1
            given = f"{plain}.{number}"
        taken[plain] = number
        taken.setdefault(given, 0)
        if given != plain:
            made.findings.append(
                Finding(
                    level="warning",
                    text=f"Column name '{plain}' occurs more than once in "
                    f"{made.where}; column {i + 1} is called '{given}' "
                    "here.",
                )
            )
        out.append(given)
    return out


def _check_names(made: Loaded) -> None:
    names = list(made.frame.columns)
    if not names:
        raise BadInput(f"{made.where} has no columns: expected a table with a target and at least one other column.")
    made.frame.columns = pd.Index(_unique([whole(str(n)) for n in names], made), dtype=object)


def from_frame(source: Any) -> Loaded | None:
    """A DataFrame of any library as a table; None if it is none."""
    if not isinstance(source, pd.DataFrame):
        import narwhals.stable.v2 as nw

        frame = nw.from_native(source, pass_through=True)
        if isinstance(frame, nw.LazyFrame):
            frame = frame.collect()
        if not isinstance(frame, nw.DataFrame):
            return None
        source = frame.to_pandas()
    made = Loaded(source.reset_index(drop=True), "the DataFrame", Path.cwd())
    _check_names(made)
    if not len(made.frame):
        raise BadInput("The DataFrame has no rows: expected at least 2 with a target.")
    return made
