"""`smidgen predict`: a model folder and new rows in, predictions in the order of the rows out."""

import csv
import io
import re
from pathlib import Path
from typing import Any

from smidgen.cli.output import say, stdout_kept, tell
from smidgen.kit.errors import BadInput
from smidgen.kit.files import write_bytes

# What a spreadsheet takes for the start of a formula: in a cell's first place, and behind what some part cells by.
_FIRST = re.compile(r"\s*[=+\-@\t\r\uff1d\uff0b\uff0d\uff20]")
_BEHIND = re.compile(r"([;\t\r\n])(?=[ \"]*[=+\-@\t\r\uff1d\uff0b\uff0d\uff20])")


def predict(folder: str, source: str, out: str | None, as_is: bool = False) -> None:
    """Writes `prediction` and, for classes, one `proba_<class>` column each; to standard output for None or "-".
    `as_is`: also labels that a spreadsheet would run as formulas."""
    to_stdout = out is None or out == "-"
    if not to_stdout:
        parent = Path(out).absolute().parent  # type: ignore[arg-type]
        if not parent.is_dir():
            raise BadInput(f"--out {out}: the folder {parent} does not exist.")
        if Path(out).is_dir():  # type: ignore[arg-type]
            raise BadInput(f"--out {out}: this is a folder; name a file such as preds.csv.")
    with stdout_kept():
        import smidgen

        model = smidgen.load(folder)
        columns = predictions(model, source)
    if to_stdout:
        say(as_csv(columns, as_is).removesuffix("\n"))
        return
    path = Path(str(out))
    write_bytes(path, as_parquet(columns) if path.suffix.lower() == ".parquet" else as_csv(columns, as_is).encode())
    tell(f"{len(columns['prediction']):,} predictions in {path}")


def predictions(model: Any, source: Any) -> dict[str, list[Any]]:
    """The columns by name, in the order of the input rows; of a folder of images, first which image each row is."""
    named = _images(source)
    if model.kind == "regression":
        return {**named, "prediction": [float(v) for v in model.predict(source)]}
    proba = model.predict_proba(source)
    columns: dict[str, list[Any]] = {
        **named,
        "prediction": [model.classes[k] for k in proba.argmax(1)] if len(proba) else [],
    }
    for k, name in enumerate(model.classes):
        columns[f"proba_{name}"] = proba[:, k].tolist()
    return columns


def as_csv(columns: dict[str, list[Any]], as_is: bool = False) -> str:
    """CSV with every digit of the numbers (they sum to 1 as in memory). Texts that a spreadsheet would run get an
    apostrophe, unless `as_is`."""

    def safe(value: Any) -> Any:
        return value if as_is else _safe(value)

    out = io.StringIO()
    writer = csv.writer(_Lines(out), lineterminator="\r\n")  # with "\n" it leaves a "\r" in a cell without quotes
    writer.writerow(map(safe, columns))
    cells = [map(safe, values) if name in ("image", "prediction") else values for name, values in columns.items()]
    writer.writerows(zip(*cells, strict=True))
    return out.getvalue()


class _Lines:
    """Rows as csv writes them, each ended by "\\n" alone."""

    def __init__(self, out: io.StringIO) -> None:
        self.out = out

    def write(self, row: str) -> None:
        self.out.write(row.removesuffix("\r\n") + "\n")


def _images(source: Any) -> dict[str, list[Any]]:
    """The images of a folder as paths below it, in the order in which they are predicted; nothing for other sources."""
    if not isinstance(source, str | Path) or not Path(source).is_dir():
        return {}
    from smidgen.tasks.images import foreign, images_in

    images, others = images_in(Path(source).absolute())
    if said := foreign(others):
        tell(f"In {source}, {said}")
    return {"image": [p.relative_to(Path(source).absolute()).as_posix() for p in images]}


def as_parquet(columns: dict[str, list[Any]]) -> bytes:
    import pandas as pd

    from smidgen.kit.extras import need

    need("pyarrow", extra="parquet", why="Writing Parquet")
    first = columns["prediction"]
    if len({type(v) for v in first}) > 1:  # mixed labels have no one Parquet type
        columns = {**columns, "prediction": [str(v) for v in first]}
    out = io.BytesIO()
    pd.DataFrame(columns).to_parquet(out, index=False)
    return out.getvalue()


def _safe(value: Any) -> Any:
    """A text with an apostrophe wherever a spreadsheet would begin to run it as a formula; numbers stay as they are."""
    if not isinstance(value, str):
        return value
    try:
        float(value if value == value.strip() else "none")
    except ValueError:
        return ("'" if _FIRST.match(value) else "") + _BEHIND.sub(r"\1'", value)
    return value
