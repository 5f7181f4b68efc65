"""A law: a formula fitted to measurements, with what its draws say about the doubt, and how far it may be asked.

    law = fit(form, Points.of({"n": [20, 40, 80]}, error))
    law.predict({"n": 320}); law.interval({"n": 320}); law.solve(0.05, "n")

Robust by default (Huber loss of residuals of logarithms); priors of the form's parameters count as they stand.
Dims: K draws, R rows, P parameters, I inputs.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from smidgen.kit.errors import BadInput, bad
from smidgen.laws.form import Form
from smidgen.laws.points import Numbers, Points, matrix
from smidgen.laws.solver import solve

HUBER = 2.0  # standard deviations; residuals beyond count linearly
REACH = 1.0  # points carry a law beyond them as far, in logarithms, as they span themselves ...
DOUBT = math.log(2.0)  # ... and no further than where the interval is a factor of 2 to either side


class TooFar(BadInput):
    """The law was asked about something that its points say too little about."""


@dataclass(frozen=True)
class Law:
    """A fitted law.

    Attributes:
        form: the formula. points: what it was fitted to. theta_P: fitted numbers. sd: of one measurement's log y, as
            a relative error. cost: of the fit, see `solver.Solved`.
        draws_KP: plausible parameters (`bootstrap`, `laplace`, `posterior`), None before one of these was called.
    """

    form: Form
    points: Points
    theta_P: np.ndarray
    sd: float
    cost: float
    draws_KP: np.ndarray | None = field(default=None, repr=False)

    @property
    def values(self) -> dict[str, float]:
        """The parameters as people read them."""
        return {p.name: p.shown(v) for p, v in zip(self.form.parameters, self.theta_P.tolist(), strict=True)}

    def predict(self, x: Mapping[str, Numbers | float], *, anyway: bool = False) -> np.ndarray:
        """The likely result at each row of `x` `[R]`.

        Raises:
            TooFar: beyond what the points carry; the message says how far they do. `anyway` asks nevertheless.
        """
        x_RI = matrix(self.form.inputs, x)
        if not anyway:
            self.check(x_RI)
        return np.exp(self.form.log_value(self.theta_P[None], x_RI)[0][0])

    def interval(
        self, x: Mapping[str, Numbers | float], level: float = 0.9, *, noise: bool = False, seed: int = 0,
        anyway: bool = False,
    ) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
        """Ends of the central interval at each row, from the draws: of the law itself, or with `noise` of one new
        measurement.

        Raises:
            TooFar: as `predict`. BadInput: no draws were made.
        """
        log_KR = self.log_draws(matrix(self.form.inputs, x), anyway=anyway)
        if noise:
            log_KR = log_KR + np.random.default_rng(seed).normal(0.0, self.sd, log_KR.shape)
        low, high = np.quantile(log_KR, [(1 - level) / 2, (1 + level) / 2], axis=0)
        return np.exp(low), np.exp(high)

    def log_draws(self, x_RI: np.ndarray, *, anyway: bool = False) -> np.ndarray:
        """Logarithm of the value under each draw `[K, R]`. Raises as `interval`."""
        if self.draws_KP is None:
            raise BadInput("The law has no draws yet: call bootstrap, laplace or posterior first.")
        if not anyway:
            self.check(x_RI)
        return self.form.log_value(self.draws_KP, x_RI)[0]

    def with_draws(self, draws_KP: np.ndarray) -> "Law":
        return replace(self, draws_KP=draws_KP)

    def solve(self, target: float, name: str, *, anyway: bool = False, **others: float) -> float | None:
        """The value of input `name` at which the law is `target`, the others given; None: none within reach is.

        Raises:
            BadInput: the target is not above 0, or the form has no such input.
        """
        if not target > 0:
            raise bad("target", "above 0", target)
        found = self._crossing(self.theta_P[None], target, name, others, anyway)[0]
        return None if math.isnan(found) else float(found)

    def solve_draws(self, target: float, name: str, *, anyway: bool = False, **others: float) -> np.ndarray:
        """`solve` under each draw `[K]`; NaN where it is not reached."""
        if self.draws_KP is None:
            raise BadInput("The law has no draws yet: call bootstrap, laplace or posterior first.")
        return self._crossing(self.draws_KP, target, name, others, anyway)

    def carries(self, name: str, level: float = 0.9) -> tuple[float, float]:
        """Smallest and largest value of an input, the others at those of the last point, that the points carry."""
        own = self.points.column(name)
        low, high = float(own.min()), float(own.max())
        span = REACH * math.log(high / low)
        ends = low * math.exp(-span), high * math.exp(span)
        if self.draws_KP is None:
            return ends
        grid = np.geomspace(high, max(ends[1], high * (1 + 1e-9)), 60)
        log_KR = self.log_draws(self._along(name, grid, {}), anyway=True)  # this is where it is found out
        half = np.diff(np.quantile(log_KR, [(1 - level) / 2, (1 + level) / 2], axis=0), axis=0)[0] / 2
        sure = np.flatnonzero(half <= DOUBT)
        return ends[0], float(grid[sure[-1]]) if len(sure) else high

    def check(self, x_RI: np.ndarray) -> None:
        """Raises TooFar where a row lies beyond what the points carry."""
        for i, name in enumerate(self.form.inputs):
            low, high = self.carries(name)
            out = x_RI[(x_RI[:, i] < low * (1 - 1e-9)) | (x_RI[:, i] > high * (1 + 1e-9)), i]
            if len(out):
                own = self.points.column(name)
                raise TooFar(
                    f"{name} of {out[0]:g} is too far from the {len(self.points)} points, which lie between "
                    f"{own.min():g} and {own.max():g}: they carry the law from {low:.3g} to {high:.3g}. "
                    "Measure nearer to it, or ask with anyway=True."
                )

    def _along(self, name: str, values: np.ndarray, others: Mapping[str, float]) -> np.ndarray:
        last = self.points.x_RI[-1]
        x_RI = np.repeat(last[None], len(values), 0)
        for key, value in others.items():
            x_RI[:, self.form.inputs.index(key)] = value
        x_RI[:, self.form.inputs.index(name)] = values
        return x_RI

    def _crossing(
        self, theta_KP: np.ndarray, target: float, name: str, others: Mapping[str, float], anyway: bool
    ) -> np.ndarray:
        if name not in self.form.inputs:
            raise bad("input to solve for", ", ".join(self.form.inputs), name)
        own = self.points.column(name)
        low, high = (own.min() / 1e6, own.max() * 1e6) if anyway else self.carries(name)
        grid = np.geomspace(low, high, 400)
        over_KR = self.form.log_value(theta_KP, self._along(name, grid, others))[0] - math.log(target)
        change_KR = over_KR[:, :-1] * over_KR[:, 1:] <= 0
        at_K = change_KR.argmax(1)
        each_K = np.arange(len(theta_KP))
        left_K, right_K = over_KR[each_K, at_K], over_KR[each_K, at_K + 1]
        share_K = left_K / np.where(left_K == right_K, 1.0, left_K - right_K)
        found_K = np.exp(np.log(grid[at_K]) + share_K * np.log(grid[at_K + 1] / grid[at_K]))
        return np.where(change_KR.any(1), found_K, np.nan)


def fit(form: Form, points: Points, *, huber: float = HUBER) -> Law:
    """The form's best fit to the points, from many starts.

    Where points carry no sd, it is estimated from the residuals (robustly) and the fit repeated with it.
    Args:
        huber: residuals beyond so many sd count linearly; infinite: least squares.
    Raises:
        BadInput: fewer points than parameters without a prior, or other inputs than the form has.
    """
    if points.inputs != form.inputs:
        raise bad("inputs of the points", ", ".join(form.inputs), ", ".join(points.inputs))
    free = sum(p.prior is None for p in form.parameters)
    if len(points) < max(free + 1, 2):
        missing = max(free + 1, 2) - len(points)
        raise bad(
            f"points of {form.name}", f"at least {max(free + 1, 2)} for its {free} free parameters", len(points),
            f"Measure {missing} more, best where {form.inputs[0]} is far from the others.",
        )  # fmt: skip
    log_y_R = np.log(points.y_R)
    starts_SP = form.starts(points.x_RI, log_y_R)
    known = points.sd_R is not None
    sd_R = points.sd_R if known else np.full(len(points), max(0.05 * log_y_R.std(), 1e-6))
    assert sd_R is not None
    rough = solve(form, points.x_RI, log_y_R, sd_R, starts_SP, huber=huber, steps=40)
    best_KP = rough.theta_KP[np.argsort(rough.cost_K)[:8]]
    for _ in range(1 if known else 4):
        solved = solve(form, points.x_RI, log_y_R, sd_R, best_KP, huber=huber)
        best = int(np.argmin(solved.cost_K))
        best_KP = solved.theta_KP[[best]]
        residual_R = form.log_value(best_KP, points.x_RI)[0][0] - log_y_R
        if not known:
            sd_R = np.full(len(points), spread(residual_R, free))
    return Law(form, points, best_KP[0], float(np.median(sd_R)), float(solved.cost_K[best]))


def spread(residual_R: np.ndarray, free: int) -> float:
    """A robust standard deviation of residuals: the smaller of the usual one and 1.48 times the median size, the
    degrees of freedom paid for; never 0."""
    rows = len(residual_R)
    pay = math.sqrt(rows / max(rows - free, 1))
    usual, robust = math.sqrt(np.mean(residual_R**2)), 1.4826 * float(np.median(np.abs(residual_R)))
    return max(pay * (min(usual, robust) if robust > 1e-3 * usual else usual), 1e-9)
