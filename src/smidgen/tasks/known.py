"""The data sets that benchmarks and claims measure on: read from the folder that `SMIDGEN_DATA` names.

They are other people's: nothing is downloaded and nothing ships with the library.
"""

import gzip
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from smidgen.kit.errors import BadInput, bad


class MissingData(BadInput):
    """A data set is not on this machine."""


def folder() -> Path:
    """The folder of data sets. Raises MissingData when `SMIDGEN_DATA` names none."""
    named = os.environ.get("SMIDGEN_DATA")
    if not named or not (Path(named) / "MANIFEST.csv").is_file():
        raise MissingData(
            "The data sets for this are not here: set SMIDGEN_DATA to the folder that holds them and their MANIFEST.csv"
            + (f" (it names {named})." if named else ".")
        )
    return Path(named)


def place(name: str) -> Path:
    """The folder of one data set. Raises MissingData when it is absent."""
    found = folder() / name
    if not found.is_dir():
        raise MissingData(f"There is no data set '{name}' in {folder()}.")
    return found


def texts(name: str, part: str = "train") -> tuple[list[str], np.ndarray]:
    """Texts and labels (as text, `[n]`) of a labelled text set's part: "train", "val" or "test"."""
    path = place(name) / f"{part}.jsonl.gz"
    if not path.is_file():
        parts = sorted(p.name.removesuffix(".jsonl.gz") for p in path.parent.glob("*.jsonl.gz"))
        raise bad(f"part of {name}", " or ".join(parts), part)
    frame = pd.read_json(path, lines=True)
    return frame["text"].tolist(), frame["label"].astype(str).to_numpy()


def lines(name: str, part: str = "train") -> list[dict[str, Any]]:
    """The records of any set in JSON lines, as they are."""
    with gzip.open(place(name) / f"{part}.jsonl.gz", "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file if line.strip()]
