"""What a rule for learning rate and batch size costs on a sweep that it was not fitted to: the loss of the run nearest
to its setting over the best of each cell, as the Step Law is judged (Li et al., 2025, arXiv 2503.04715).

A cell is what was swept at one size and length. With mixtures of experts the size may be all parameters or the active
ones: `excess_by` compares the two, and both with the one setting that is best on average, and says what the released
runs of experts gave (`tasks.expert_runs`).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from smidgen.kit.errors import bad
from smidgen.laws.optimal_step import sweep
from smidgen.laws.run_table import columns
from smidgen.laws.step_law import step_law

Cell = tuple[float, ...]


def excess_of(
    runs: Mapping[str, Any], rule: Callable[[Cell], tuple[float, float]], by: Sequence[str] = ("n", "d")
) -> dict[Cell, float]:
    """Of each cell the relative excess of the run nearest to the rule's setting (in the logarithms of both) over the
    best.

    Args:
        runs: columns lr, batch_tokens, loss and those of `by`. rule: from a cell to (rate, batch in tokens). by: the
            columns that make a cell.
    Raises:
        BadInput: a column is missing or holds what is no number; a setting that is not above 0.
    """
    x = columns(runs, (*by, "lr", "batch_tokens", "loss"))
    cells_R, out = np.stack([x[name] for name in by], 1), {}
    for cell in np.unique(cells_R, axis=0):
        own_R = (cells_R == cell).all(1)
        lr, batch = rule(tuple(cell.tolist()))
        if not (lr > 0 and batch > 0):
            raise bad("setting of a rule", "a rate and a batch above 0", (lr, batch))
        apart = np.log(x["lr"][own_R] / lr) ** 2 + np.log(x["batch_tokens"][own_R] / batch) ** 2
        loss = x["loss"][own_R]
        out[tuple(cell.tolist())] = float(loss[apart.argmin()] / loss.min() - 1)
    return out


def excess_by(runs: Mapping[str, Any], sizes: Sequence[str] = ("n", "active")) -> dict[str, dict[Cell, float]]:
    """Excess of the published law with each column of `sizes` for N, and of "one setting": the rate and batch, of those
    swept, that are best on average over the other cells. Cells are (sizes..., d).

    On the 708 runs of experts, all with about as many parameters: by all of them 0.159 % on average and 0.51 at worst,
    by the active ones 1.00 and 2.24, one setting 0.148 and 0.42. The law is asked with all parameters, and where their
    number stands still it knows no more than the average of the other cells.
    Raises:
        BadInput: as `excess_of`; a single cell.
    """
    by = (*sizes, "d")
    out = {}
    for i, name in enumerate(sizes):

        def published(cell: Cell, i: int = i) -> tuple[float, float]:
            at = step_law(cell[i], cell[-1])
            return at.lr, at.batch_tokens

        out[name] = excess_of(runs, published, by)
    x = columns(runs, ("lr", "batch_tokens"))
    tried = sorted({*zip(x["lr"].tolist(), x["batch_tokens"].tolist(), strict=True)})
    each = {setting: excess_of(runs, lambda cell, s=setting: s, by) for setting in tried}
    cells = list(next(iter(each.values())))
    if len(cells) < 2:
        raise bad("cells of the sweep", "at least 2", len(cells))
    out["one setting"] = {
        cell: each[min(tried, key=lambda s: sum(v for c, v in each[s].items() if c != cell))][cell] for cell in cells
    }
    return out


def sparse_sweep(runs: Mapping[str, Any], size: str = "active") -> dict[str, np.ndarray]:
    """The runs as `optimal_step.fit_optimal_step` takes them, with a column of one's choice for N.

    Raises:
        BadInput: a column is missing, or a number not above 0.
    """
    x = columns(runs, (size, "d", "lr", "batch_tokens", "loss"))
    out = {"n": x[size], **{name: x[name] for name in ("d", "lr", "batch_tokens", "loss")}}
    sweep(out)
    return out
