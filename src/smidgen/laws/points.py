"""Measurements that a law is fitted to: inputs, a positive result, and how far each result can be trusted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from smidgen.kit.errors import bad

Numbers = Sequence[float] | np.ndarray


@dataclass(frozen=True)
class Points:
    """R measurements.

    Attributes:
        inputs: names of the columns. x_RI: inputs, above 0. y_R: results, above 0.
        sd_R: standard deviation of log y (a relative error); None: unknown and equal, then taken from the residuals.
    """

    inputs: tuple[str, ...]
    x_RI: np.ndarray
    y_R: np.ndarray
    sd_R: np.ndarray | None = None

    @classmethod
    def of(cls, x: Mapping[str, Numbers], y: Numbers, sd: Numbers | float | None = None) -> "Points":
        """From columns by name.

        Raises:
            BadInput: columns of unequal lengths, or numbers that are not finite and above 0, named with their row.
        """
        y_R = _column("y", y)
        columns = [_column(name, values) for name, values in x.items()]
        for name, column in zip(x, columns, strict=True):
            if len(column) != len(y_R):
                raise bad(name, f"{len(y_R)} numbers, as there are results", len(column))
        sd_R = None
        if sd is not None:
            sd_R = _column("sd", np.full(len(y_R), sd) if np.isscalar(sd) else np.asarray(sd))
            if len(sd_R) != len(y_R):
                raise bad("sd", f"{len(y_R)} numbers, as there are results", len(sd_R))
        x_RI = np.stack(columns, 1) if columns else np.empty((len(y_R), 0))
        return cls(tuple(x), x_RI, y_R, sd_R)

    def __len__(self) -> int:
        return len(self.y_R)

    def take(self, rows: np.ndarray) -> "Points":
        """Some of them, by number or mask."""
        sd_R = None if self.sd_R is None else self.sd_R[rows]
        return Points(self.inputs, self.x_RI[rows], self.y_R[rows], sd_R)

    def column(self, name: str) -> np.ndarray:
        return self.x_RI[:, self.inputs.index(name)]


def matrix(inputs: Sequence[str], x: Mapping[str, Numbers | float]) -> np.ndarray:
    """`[R, I]` from columns by name; single numbers are repeated.

    Raises:
        BadInput: an input is missing or unknown, or a number is not finite and above 0.
    """
    missing, unknown = [n for n in inputs if n not in x], [n for n in x if n not in inputs]
    if missing or unknown:
        raise bad("inputs of the law", ", ".join(inputs), ", ".join(x) or "none")
    columns = {name: np.atleast_1d(np.asarray(x[name], float)) for name in inputs}
    rows = max((len(column) for column in columns.values()), default=1)
    return np.stack([_column(n, np.full(rows, c[0]) if len(c) == 1 else c) for n, c in columns.items()], 1)


def _column(name: str, values: Numbers) -> np.ndarray:
    column = np.asarray(values, float)
    if column.ndim != 1:
        raise bad(name, "a list of numbers", f"an array of shape {column.shape}")
    wrong = np.flatnonzero(~(np.isfinite(column) & (column > 0)))
    if len(wrong):
        raise bad(f"{name}, row {wrong[0]}", "a finite number above 0", float(column[wrong[0]]))
    return column
