"""Public measurements of how language models scale: tables of runs, checked as they are read.

`overtraining()`: 104 models of 11 million to 6.9 billion parameters on three texts, trained for 5 to 640 tokens a
parameter (Gadre et al., 2024, arXiv 2403.08540; MIT). `steps()`: 1,911 runs over learning rate and batch size in 17
cells of size and tokens (Li et al., 2025, arXiv 2503.04715).
"""

import csv
import gzip
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from smidgen.kit.errors import BadInput
from smidgen.tasks import known

# Of 46 tasks those that a small model is clearly above chance on (github.com/mlfoundations/scaling, constants.py).
BASKET = (
    "bigbench_operators", "pubmed_qa_labeled", "hellaswag_zeroshot", "boolq", "arc_easy", "coqa",
    "bigbench_dyck_languages", "lambada_openai", "bigbench_novel_concepts", "winograd", "bigbench_cs_algorithms",
    "commonsense_qa", "bigbench_qa_wikidata", "hellaswag", "copa", "squad", "piqa",
)  # fmt: skip
STEP_LENGTH = 2048  # tokens of a sequence of the step-law runs


@dataclass(frozen=True)
class Models:
    """R trained models. `text`: what each was trained on; `n`: parameters with embeddings; `d`: tokens; `times`: tokens
    a parameter over 20; `loss`: nats a token on C4; `error`: mean over `BASKET`."""

    text: np.ndarray
    n: np.ndarray
    d: np.ndarray
    times: np.ndarray
    loss: np.ndarray
    error: np.ndarray

    def take(self, rows: np.ndarray) -> "Models":
        return Models(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))

    def at(self, n: float, times: float) -> np.ndarray:
        """Mask of the models of about `n` parameters (within a tenth) at `times` 20 tokens a parameter."""
        return (np.abs(self.n / n - 1) < 0.1) & (self.times == times)


def overtraining() -> Models:
    """Raises BadInput: the table is not there, or lacks a column or a number."""
    path = known.place("scaling_overtrain104") / "runs.csv.gz"
    rows = _read(path)
    error = 1 - np.mean([_column(path, rows, f"acc_{task}") for task in BASKET], 0)
    return Models(
        text=np.array([row["train_set"] for row in rows]),
        n=_column(path, rows, "params"),
        d=_column(path, rows, "tokens"),
        times=_column(path, rows, "chinchilla_multiplier"),
        loss=_column(path, rows, "loss_c4_val"),
        error=error,
    )


def steps() -> dict[str, np.ndarray]:
    """Columns n (without embeddings), d, lr, batch_tokens, loss (smoothed), as `laws.optimal_step` takes them.

    Raises:
        BadInput: the table is not there, or lacks a column or a number.
    """
    path = known.place("steplaw_dense") / "steplaw_dense.csv.gz"
    rows = _read(path)
    found = {"n": "N", "d": "D", "lr": "lr", "batch_tokens": "bs", "loss": "smooth loss"}
    out = {name: _column(path, rows, column) for name, column in found.items()}
    return {**out, "batch_tokens": out["batch_tokens"] * STEP_LENGTH}


def _read(path: Path) -> list[dict[str, str]]:
    with gzip.open(path, "rt", newline="") as file:
        return list(csv.DictReader(file))


def _column(path: Path, rows: list[dict[str, str]], name: str) -> np.ndarray:
    try:
        return np.array([float(row[name]) for row in rows])
    except KeyError:
        raise BadInput(f"{path.name} has no column '{name}': it is another version of the table.") from None
    except ValueError as error:
        raise BadInput(f"{path.name}, column {name}: {error}.") from None
