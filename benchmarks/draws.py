"""The draws on which every tool of a benchmark is measured: fixed before any tool ran.

One rule for all: tables are sorted by name; every third (second, fifth, ...) is for development, the others
are published. A draw takes one row of each class, then rows at random; the rest is the test part (at most
10,000 rows). A cell with fewer than 50 test rows is not measured.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

DATA = Path(os.environ.get("SMIDGEN_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
SIZES = (50, 200)
DRAWS = 3
MAX_TEST = 10_000
MIN_TEST = 50


@dataclass(frozen=True)
class Draw:
    """One labelled draw of one data set. `train` and `test` hold the column `target` as text."""

    name: str
    n: int
    seed: int
    train: pd.DataFrame
    test: pd.DataFrame

    @property
    def key(self) -> str:
        return f"{self.name}/n{self.n}/d{self.seed}"


def classification_tables() -> list[str]:
    manifest = pd.read_csv(DATA / "MANIFEST.csv")
    rows = manifest[manifest.name.str.startswith("tab_") & manifest.task.eq("classification")]
    return sorted(rows.name)


def development_tables() -> list[str]:
    return classification_tables()[1::3]


def published_tables() -> list[str]:
    held = set(development_tables())
    return [t for t in classification_tables() if t not in held]


def read_table(name: str) -> pd.DataFrame:
    """The table with its target, the last column before `fold`, renamed `target` and made text."""
    frame = pd.read_csv(DATA / name / "data.csv.gz").drop(columns="fold")
    frame = frame.rename(columns={frame.columns[-1]: "target"})
    return frame.assign(target=frame.target.map(lambda v: f"c{v}"))


def draw_rows(labels: np.ndarray, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers (labelled, rest): one of each class first, then at random."""
    rng = np.random.default_rng([20261124, seed, n])
    order = rng.permutation(len(labels))
    first = {}
    for i in order:
        first.setdefault(labels[i], i)
    must = np.array(sorted(first.values()))
    rest = order[~np.isin(order, must)]
    return np.concatenate([must, rest[: n - len(must)]]), rest[n - len(must) :]


def table_draw(name: str, n: int, seed: int) -> Draw | None:
    frame = read_table(name)
    labelled, rest = draw_rows(frame.target.to_numpy(), n, seed)
    if len(rest) < MIN_TEST:
        return None
    train, test = (frame.iloc[rows].reset_index(drop=True) for rows in (labelled, rest[:MAX_TEST]))
    return Draw(name, n, seed, train, test)


def read_text(name: str, part: str) -> pd.DataFrame:
    frame = pd.read_json(DATA / name / f"{part}.jsonl.gz", lines=True)
    return pd.DataFrame({"text": frame.text, "target": frame.label.map(lambda v: f"c{v}")})


def text_draw(name: str, shots: int, seed: int) -> Draw:
    """`shots` texts of each class from the training part; the test part is the set's own."""
    train = read_text(name, "train")
    rng = np.random.default_rng([20261124, seed, shots])
    rows = [rng.permutation(np.flatnonzero(train.target == c))[:shots] for c in sorted(train.target.unique())]
    rows = rng.permutation(np.concatenate(rows))
    return Draw(name, shots, seed, train.iloc[rows].reset_index(drop=True), read_text(name, "test"))
