"""All that the 104 over-trained models were scored on: 8 losses and 46 tasks (Gadre et al., 2024, arXiv 2403.08540).

`scaling_testbed.overtraining` has the two that its headline uses, in the same order of models. Dims: R models.
"""

import csv
import gzip
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from smidgen.kit.errors import BadInput, bad
from smidgen.tasks import known

LOSSES = {
    "open_lm": "loss_openlm", "c4": "loss_c4_val", "paloma c4": "loss_paloma_c4_en",
    "programming": "loss_paloma_dolma_100_programing_languages", "refinedweb": "loss_paloma_falcon-refinedweb",
    "penn treebank": "loss_paloma_ptb", "redpajama": "loss_paloma_redpajama", "german": "loss_de-en_val_de-en_100",
}  # fmt: skip


def losses() -> dict[str, np.ndarray]:
    """Nats a token `[R]` on each of `LOSSES`; NaN where a model was not measured.

    Raises:
        BadInput: the table is not there, or another version of it.
    """
    rows = _rows()
    return {name: _column(rows, column) for name, column in LOSSES.items()}


def task_errors(tasks: Sequence[str] | None = None) -> dict[str, np.ndarray]:
    """Top-1 error `[R]` on each task, all 46 by default; NaN where a model was not measured.

    Raises:
        BadInput: an unknown task, or the table is not there.
    """
    rows = _rows()
    every = [name.removeprefix("acc_") for name in rows[0] if name.startswith("acc_")]
    for task in tasks or ():
        if task not in every:
            raise bad("task", f"one of {', '.join(every)}", task)
    return {task: 1 - _column(rows, f"acc_{task}") for task in tasks or every}


def _rows() -> list[dict[str, str]]:
    with gzip.open(_path(), "rt", newline="") as file:
        return list(csv.DictReader(file))


def _path() -> Path:
    return known.place("scaling_overtrain104") / "runs.csv.gz"


def _column(rows: list[dict[str, str]], name: str) -> np.ndarray:
    try:
        return np.array([float(row[name]) if row[name] else np.nan for row in rows])
    except KeyError:
        raise BadInput(f"{_path().name} has no column '{name}': it is another version of the table.") from None
    except ValueError as error:
        raise BadInput(f"{_path().name}, column {name}: {error}.") from None
