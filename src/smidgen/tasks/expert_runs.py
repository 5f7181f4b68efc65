"""Learning rates and batch sizes of mixture-of-experts models: the 708 runs released beside the Step Law (Li et al.,
2025, arXiv 2503.04715; github.com/step-law/steplaw, data/moe_lr_bs_loss.csv).

All have about 2.15e9 parameters, of which 0.19e9 to 1.24e9 are active for a token, and saw 2e9 to 2e10 tokens: 16
cells. The file is not among the data sets that `known` describes: name it, or lay it into a folder `steplaw_moe` there.
"""

import csv
import gzip
import math
from pathlib import Path

import numpy as np

from smidgen.kit.errors import BadInput, bad
from smidgen.tasks import known
from smidgen.tasks.scaling_testbed import STEP_LENGTH

FILE = "moe_lr_bs_loss.csv"
COLUMNS = {"n": "N", "active": "Na", "d": "D", "lr": "lr", "batch_tokens": "bs", "loss": "smooth loss"}


def expert_runs(path: str | Path | None = None) -> dict[str, np.ndarray]:
    """Columns n (all parameters without embeddings), active (those that a token meets), d, lr, batch_tokens and loss
    (smoothed) `[R]`: as `laws.optimal_step` takes them with either for "n".

    Args:
        path: of the file as it was released, or compressed with gzip. None: in the data sets' folder `steplaw_moe`.
    Raises:
        BadInput: no such file, a column that is missing, or a cell that is no number above 0; named with its line.
    """
    place = Path(path) if path is not None else _place()
    if not place.is_file():
        raise BadInput(f"{place}: there is no such file of runs. It is {FILE} of github.com/step-law/steplaw.")
    with gzip.open(place, "rt", newline="") if place.suffix == ".gz" else place.open(newline="") as file:
        rows = list(csv.DictReader(file))
    if not rows or not set(COLUMNS.values()) <= set(rows[0]):
        raise bad(f"columns of {place.name}", ", ".join(COLUMNS.values()), ", ".join(rows[0] if rows else ()) or "none")
    out: dict[str, list[float]] = {name: [] for name in COLUMNS}
    for line, row in enumerate(rows, start=2):
        for name, column in COLUMNS.items():
            try:
                value = float(row[column])
            except (TypeError, ValueError):
                value = math.nan
            if not 0 < value < math.inf:
                raise bad(f"{place.name}, line {line}, column {column}", "a number above 0", row[column])
            out[name].append(value)
    found = {name: np.array(values) for name, values in out.items()}
    return {**found, "batch_tokens": found["batch_tokens"] * STEP_LENGTH}


def _place() -> Path:
    folder = known.place("steplaw_moe")
    return next((f for f in (folder / f"{FILE}.gz", folder / FILE) if f.is_file()), folder / FILE)
