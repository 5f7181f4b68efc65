"""`smidgen predict`: a model folder and new rows in, predictions in the order of the rows out."""

import csv
import io
from pathlib import Path
from typing import Any

from smidgen.cli.output import say, stdout_kept, tell
from smidgen.kit.errors import BadInput
from smidgen.kit.files import write_bytes

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def predict(folder: str, source: str, out: str | None) -> None:
    """Writes `prediction` and, for classes, one `proba_<class>` column each; to standard output for None or "-"."""
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
        say(as_csv(columns).removesuffix("\n"))
        return
    path = Path(str(out))
    write_bytes(path, as_parquet(columns) if path.suffix.lower() == ".parquet" else as_csv(columns).encode())
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


def as_csv(columns: dict[str, list[Any]]) -> str:
    """CSV with every digit of the numbers (they sum to 1 as in memory)."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    cells = [map(_safe, values) if name in ("image", "prediction") else values for name, values in columns.items()]
    writer.writerows(zip(*cells, strict=True))
    return out.getvalue()


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
    """A text label that a spreadsheet would run as a formula gets a leading apostrophe; numbers stay as they are."""
    if isinstance(value, str) and value.startswith(_FORMULA):
        try:
            float(value)
        except ValueError:
            return "'" + value
    return value
