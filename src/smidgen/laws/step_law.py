"""Learning rate and batch size for a language model of N parameters on D tokens (Step Law, 2025, arXiv 2503.04715).

lr = 1.79 N^-0.713 D^0.307; batch = 0.58 D^0.571 tokens: fitted by its authors on AdamW (beta2 0.95, weight decay 0.1)
for N from 0.06e9 to 1.07e9 non-embedding parameters and D from 2e9 to 100e9 tokens. Far outside of that it is an
extrapolation, and says so.

Its band is fitted here, on the released table of dense runs (`optimal_step.fit_optimal_step`; 129 of 1,911 runs lie
within 0.25 % of the best of their cell): the doubt about the exponents, from 1,000 bootstrap fits of these runs, and
how far the middle of each cell's near-best runs lies from what the law says. The refit itself has other exponents
(-0.77, 0.20, 0.61) and leads away from the published law far from the runs: the band reaches around both.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

from smidgen.kit.errors import bad

N_RANGE = (5.9e7, 1.07e9)  # non-embedding parameters of the published runs
D_RANGE = (2e9, 1e11)  # tokens of the published runs
# Factors by which rate and batch may be off, the other at its best, for a loss within 0.25 %: medians of the 17 cells
# of the released dense runs, by `optimal_step.OptimalStep.plateau`.
PLATEAU = (1.87, 1.90)
FAR = 10.0  # beyond this factor outside the range the law is not used
LEVEL = 0.9
NORMAL = 1.6449  # sds of a normal law to either side that hold `LEVEL`
CENTRE = (3.94e8, 2.99e10)  # N, D: geometric means of the near-best released runs


class Spread(NamedTuple):
    """Of log rate or log batch: covariance of (value at `CENTRE`, exponents) over the bootstrap, N left out for the
    batch; `cells`: root mean square over the released cells of how far their near-best runs' middle is from the law."""

    covariance: tuple[tuple[float, ...], ...]
    cells: float

    def sd(self, parameters: float, tokens: float) -> float:
        """At a size and length: grows with the distance from `CENTRE`."""
        away = (1.0, math.log(parameters / CENTRE[0]), math.log(tokens / CENTRE[1]))
        x = away if len(self.covariance) == 3 else (away[0], away[2])
        doubt = sum(a * c * b for a, row in zip(x, self.covariance, strict=True) for b, c in zip(x, row, strict=True))
        return math.sqrt(doubt + self.cells**2)


LR_SPREAD = Spread(
    ((0.000865, -0.000096, 0.000317), (-0.000096, 0.00276, -0.000549), (0.000317, -0.000549, 0.001136)), 0.173
)
BATCH_SPREAD = Spread(((0.001064, 0.000029), (0.000029, 0.001616)), 0.162)


# Our refit: logarithm of rate or batch at `CENTRE`, exponents of N (not of the batch) and D.
LR_REFIT = (-6.0600, -0.7668, 0.1956)
BATCH_REFIT = (13.2076, 0.6131)


@dataclass(frozen=True)
class Step:
    """Predicted optimum. `lr`: peak rate of AdamW; `batch_tokens`; `outside`: how far out of the range of the runs
    that the law was fitted on, as a factor (1 inside). `lr_interval`, `batch_interval`: at `level`, around the law and
    our refit."""

    lr: float
    batch_tokens: float
    outside: float
    lr_interval: tuple[float, float]
    batch_interval: tuple[float, float]
    level: float = LEVEL

    @property
    def usable(self) -> bool:
        return self.outside <= FAR


def step_law(parameters: float, tokens: float) -> Step:
    """The published law. Raises BadInput: not positive.

    Args:
        parameters: without embeddings. tokens: to be trained on.
    """
    for name, value in (("parameters", parameters), ("tokens", tokens)):
        if not 0 < value < math.inf:
            raise bad(name, "a finite number above 0", value)
    ratios = [max(low / v, v / high, 1.0) for v, (low, high) in ((parameters, N_RANGE), (tokens, D_RANGE))]
    lr = 1.79 * parameters**-0.713 * tokens**0.307
    batch = 0.58 * tokens**0.571
    n_off, d_off = math.log(parameters / CENTRE[0]), math.log(tokens / CENTRE[1])
    lr_refit = math.exp(LR_REFIT[0] + LR_REFIT[1] * n_off + LR_REFIT[2] * d_off)
    batch_refit = math.exp(BATCH_REFIT[0] + BATCH_REFIT[1] * d_off)
    return Step(
        lr, batch, max(ratios), _ends((lr, lr_refit), LR_SPREAD.sd(parameters, tokens)),
        _ends((batch, batch_refit), BATCH_SPREAD.sd(parameters, tokens)),
    )  # fmt: skip


def _ends(values: tuple[float, float], sd: float) -> tuple[float, float]:
    factor = math.exp(NORMAL * sd)
    return min(values) / factor, max(values) * factor
