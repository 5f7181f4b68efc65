"""Whether a law would have forecast its own largest points, from the smaller ones alone."""

from dataclasses import dataclass

import numpy as np

from smidgen.kit.errors import bad
from smidgen.laws.draws import laplace
from smidgen.laws.form import Form
from smidgen.laws.law import HUBER, fit
from smidgen.laws.points import Points


@dataclass(frozen=True)
class Validation:
    """One entry a point that was left out. `errors`: relative; `inside`: whether it lay in the interval of one new
    measurement at `level`."""

    observed: np.ndarray
    forecast: np.ndarray
    inside: np.ndarray
    level: float

    @property
    def errors(self) -> np.ndarray:
        return np.abs(self.forecast - self.observed) / self.observed

    @property
    def mean_error(self) -> float:
        return float(self.errors.mean())


def leave_out_largest(
    form: Form, points: Points, by: str, share: float = 0.25, *, level: float = 0.9, huber: float = HUBER
) -> Validation:
    """Fits the points with the smaller values of input `by` and forecasts the others.

    Args:
        share: of the points to leave out, all that are equal in `by` together; at least one value.
    Raises:
        BadInput: nothing would be left out, or too little stays to fit.
    """
    column = points.column(by)
    values = np.unique(column)
    if len(values) < 2:
        raise bad(f"different {by}", "at least 2", len(values))
    edge = min(np.quantile(column, 1 - share), values[-2])
    out = column > edge
    law = laplace(fit(form, points.take(~out), huber=huber))
    x = {name: points.column(name)[out] for name in points.inputs}
    low, high = law.interval(x, level, noise=True, anyway=True)
    observed = points.y_R[out]
    return Validation(observed, law.predict(x, anyway=True), (observed >= low) & (observed <= high), level)
