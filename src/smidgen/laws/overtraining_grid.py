"""The laws of `overtraining` over many losses and tasks: on what they forecast well, and on what they do not (Gadre et
al., 2024, arXiv 2403.08540).

`forecast_grid` fits the small runs of each text on each loss and says how far the others lie from it. Errors of a task
go through a loss of one's choice, `fit_task`: of a single task the law is not reliable, and it warns.

Dims: R models.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from smidgen.kit.errors import bad
from smidgen.laws.law import Law
from smidgen.laws.overtraining import fit_downstream, fit_overtraining
from smidgen.laws.points import Numbers

BASKET = 8  # tasks of a mean from which on a law of it is not warned of


@dataclass(frozen=True)
class Cell:
    """One text and one loss. `errors`: relative, of each run that was not fitted, by row number of the table; `kept`:
    runs that the law was fitted to; `outside`: the largest of the runs', see `OvertrainingLaw.outside`."""

    text: str
    loss: str
    kept: int
    errors: Mapping[int, float]
    outside: float

    @property
    def mean(self) -> float:
        return float(np.mean(list(self.errors.values())))

    @property
    def worst(self) -> float:
        return max(self.errors.values())


def forecast_grid(
    text: Sequence[str] | np.ndarray, n: Numbers, d: Numbers, losses: Mapping[str, Numbers], small: Numbers
) -> list[Cell]:
    """A cell for each text and loss: the law fitted to the small runs, and its relative error on all others.

    Args:
        text: what each of R models was trained on. n, d: parameters, tokens. losses: by name, nats a token `[R]`; NaN:
            not measured. small: which runs are fitted, bool `[R]`.
    Raises:
        BadInput: columns of other lengths; a text of fewer than 5 small runs, or with none to forecast.
    """
    text_R, n_R, d_R, small_R = np.asarray(text), np.asarray(n, float), np.asarray(d, float), np.asarray(small, bool)
    columns = {name: np.asarray(column, float) for name, column in losses.items()}
    for name, column_R in {"n": n_R, "d": d_R, "small": small_R, **columns}.items():
        if column_R.shape != text_R.shape:
            raise bad(f"rows of {name}", str(len(text_R)), len(column_R))
    cells = []
    for name, loss_R in columns.items():
        known_R = np.isfinite(loss_R)
        for own in dict.fromkeys(text_R.tolist()):
            fitted_R = (text_R == own) & small_R & known_R
            rest = np.flatnonzero((text_R == own) & ~small_R & known_R)
            if not len(rest):
                raise bad(f"runs on {own} to forecast", "at least 1", 0)
            law = fit_overtraining(n_R[fitted_R], d_R[fitted_R], loss_R[fitted_R])
            off = np.abs(law.predict(n_R[rest], d_R[rest]) / loss_R[rest] - 1)
            far = float(law.outside(n_R[rest], d_R[rest]).max())
            errors = dict(zip(rest.tolist(), off.tolist(), strict=True))
            cells.append(Cell(str(own), name, int(fitted_R.sum()), errors, far))
    return cells


def fit_task(loss: Numbers, errors: Mapping[str, Numbers], chance: float = 0.85) -> Law:
    """The law of the mean error over some tasks by the loss, input "loss".

    A mean over fewer than `BASKET` tasks warns: single tasks step and saturate where the mean is smooth.
    Raises:
        BadInput: no tasks, fewer than 4 models, or numbers not above 0.
    """
    if not errors:
        raise bad("tasks", "at least 1", 0)
    if len(errors) < BASKET:
        warnings.warn(
            f"The law of error by loss is not reliable for {', '.join(errors)} alone: take the mean over {BASKET} "
            "tasks or more on which small models are above chance.",
            stacklevel=2,
        )
    return fit_downstream(loss, np.mean([np.asarray(e, float) for e in errors.values()], axis=0), chance)
