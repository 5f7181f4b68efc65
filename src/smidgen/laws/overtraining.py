"""Loss of models trained far longer than is best for their compute, and the downstream error that goes with it (Gadre
et al., 2024, "Language models scale reliably with over-training and on downstream tasks", arXiv 2403.08540).

L(C, M) = E + (a M^eta + b M^-eta) C^-eta with C = 6 N D and the token multiplier M = D / N: a law of size and data
whose two exponents are tied, so that lines of equal M are parallel. Err(L) = eps - k exp(-gamma L) for the mean error
over a fixed basket of tasks; the error of a single task is not forecast reliably.

`small_scale_plan` gives the cheap runs that both laws are fitted to. M near 20 is what compute alone would choose; the
law is meant from there upward, under-trained runs are off by more. N counts embeddings; losses of different tokenizers
cannot be compared: give bits a byte.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from smidgen.kit.errors import bad
from smidgen.laws.draws import laplace
from smidgen.laws.form import Form, Parameter, PowerSum, Term
from smidgen.laws.law import Law, fit
from smidgen.laws.points import Numbers, Points

CHINCHILLA = 20.0  # tokens a parameter at which compute alone is spent best, about
SIZES = (0.011e9, 0.079e9, 0.154e9, 0.411e9)  # the published runs, at M = 20
LONGEST = 320.0  # ... and the smallest once more at this M


def loss_form(middle_c: float) -> PowerSum:
    """E + a M^eta (C / middle)^-eta + b M^-eta (C / middle)^-eta."""
    return PowerSum(
        "over-training",
        ("c", "m"),
        (
            Parameter(name="e", log=True),
            Parameter(name="a", log=True),
            Parameter(name="b", log=True),
            Parameter(name="eta", low=1e-3, high=1.5),
        ),
        (
            Term("e"),
            Term("a", {"c": ("eta", 1.0), "m": ("eta", -1.0)}),
            Term("b", {"c": ("eta", 1.0), "m": ("eta", 1.0)}),
        ),
        {"c": middle_c},
    )


@dataclass(frozen=True)
class OvertrainingLaw:
    """The fitted loss law. `law.values`: e, a and b (where 6 N D is `middle_c`), eta."""

    law: Law
    middle_c: float

    def predict(self, n: Numbers | float, d: Numbers | float) -> np.ndarray:
        """Loss of `n` parameters trained on `d` tokens `[R]`, however far from the runs: see `outside`."""
        return self.law.predict(_inputs(n, d), anyway=True)

    def interval(self, n: Numbers | float, d: Numbers | float, level: float = 0.9) -> tuple[np.ndarray, np.ndarray]:
        """Of the law itself, by its draws; as `predict`."""
        return self.law.interval(_inputs(n, d), level, anyway=True)

    def outside(self, n: Numbers | float, d: Numbers | float) -> np.ndarray:
        """How far compute and tokens a parameter are out of the range of the runs that the law was fitted to, as a
        factor `[R]` (1 inside). It was tested on 300 times the compute and twice the tokens a parameter."""
        ratios = [np.ones(1)]
        for name, x_R in _inputs(n, d).items():
            own = self.law.points.column(name)
            ratios += [own.min() / x_R, x_R / own.max()]
        return np.max(np.broadcast_arrays(*ratios), axis=0)

    @property
    def constants(self) -> dict[str, float]:
        """E, A, B and p of the same law as E + A N^p + B 6^(p/2) (M N)^p, with p = -2 eta: as it is published."""
        v = self.law.values
        scale = (self.middle_c / 6) ** v["eta"]
        return {"E": v["e"], "A": v["a"] * scale, "B": v["b"] * scale * 6 ** v["eta"], "p": -2 * v["eta"]}


def fit_overtraining(n: Numbers, d: Numbers, loss: Numbers) -> OvertrainingLaw:
    """Raises BadInput: unequal lengths, numbers not above 0, fewer than 5 runs, or one token multiplier in all."""
    points = Points.of({"n": n, "d": d}, loss)
    if len(points) < 5:
        raise bad("runs", "at least 5 for four unknowns", len(points), "Take those of small_scale_plan.")
    inputs = _inputs(points.column("n"), points.column("d"))
    m = np.asarray(inputs["m"])
    if m.max() < 1.5 * m.min():
        raise bad("token multipliers", "at least two", f"{m.min():.3g} in all", "Train the smallest model longer.")
    middle = float(np.exp(np.log(inputs["c"]).mean()))
    return OvertrainingLaw(
        _fit_unweighted(loss_form(middle), ("c", "m"), np.stack([inputs["c"], m], 1), points.y_R), middle
    )


class Downstream:
    """The form Err(L) = eps - k exp(-gamma L)."""

    name, inputs = "error of loss", ("loss",)

    def __init__(self, chance: float) -> None:
        """`chance`: the error of guessing, near which eps lies."""
        self.chance = chance
        self.parameters = (
            Parameter(name="eps", low=0.05, high=1.0, prior=(chance, 0.15)),
            Parameter(name="k", log=True, prior=(math.log(2.0), 2.0)),
            Parameter(name="gamma", log=True, prior=(math.log(0.7), 1.0)),
        )

    def log_value(self, theta_KP: np.ndarray, x_RI: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        eps, k, gamma = theta_KP[:, :1], np.exp(theta_KP[:, 1:2]), np.exp(theta_KP[:, 2:3])
        loss_R = x_RI[:, 0]
        fall_KR = k * np.exp(-gamma * loss_R)
        value_KR = np.maximum(eps - fall_KR, 1e-6)
        slope_KRP = np.stack([np.ones_like(fall_KR), -fall_KR, fall_KR * gamma * loss_R], -1) / value_KR[..., None]
        return np.log(value_KR), np.where(value_KR[..., None] > 1e-6, slope_KRP, 0.0)

    def starts(self, x_RI: np.ndarray, log_y_R: np.ndarray) -> np.ndarray:
        del x_RI, log_y_R
        grid = [(e, k, g) for e in (-0.1, 0.0, 0.1) for k in (0.5, 2.0, 8.0) for g in (0.35, 0.7, 1.4)]
        return np.array([(self.chance + e, math.log(k), math.log(g)) for e, k, g in grid])


def fit_downstream(loss: Numbers, error: Numbers, chance: float = 0.85) -> Law:
    """The law of error by loss, input "loss". Raises BadInput: fewer than 4 points, or numbers not above 0."""
    points = Points.of({"loss": loss}, error)
    if len(points) < 4:
        raise bad("models", "at least 4 for three unknowns", len(points))
    return _fit_unweighted(Downstream(chance), ("loss",), points.x_RI, points.y_R)


def forecast_downstream(
    loss_law: OvertrainingLaw, error_law: Law, n: Numbers | float, d: Numbers | float
) -> tuple[np.ndarray, np.ndarray]:
    """(loss, error) of models of `n` parameters trained on `d` tokens, `[R]` each, however far from the runs: see
    `OvertrainingLaw.outside`."""
    loss = loss_law.predict(n, d)
    return loss, error_law.predict({"loss": loss}, anyway=True)


def small_scale_plan(flops: float) -> list[dict[str, float]]:
    """Five runs that carry both laws and together cost about `flops` (6 N D): four sizes in the published ratios at
    M = 20, and the smallest at M = 320.

    Raises:
        BadInput: not above 0.
    """
    if not flops > 0:
        raise bad("flops", "above 0", flops)
    cost = sum(6 * CHINCHILLA * n**2 for n in SIZES) + 6 * LONGEST * SIZES[0] ** 2
    scale = math.sqrt(flops / cost)
    sizes = [n * scale for n in SIZES]
    runs = [(n, CHINCHILLA) for n in sizes] + [(sizes[0], LONGEST)]
    return [{"n": n, "d": n * m, "m": m, "flops": 6 * n * n * m} for n, m in runs]


def report(
    law: OvertrainingLaw, n: Numbers, d: Numbers, loss: Numbers, names: list[str] | None = None
) -> list[dict[str, float | str]]:
    """What the law says of runs that it was not fitted to, beside what they came to, with the relative error and how
    far `outside` they are."""
    points = Points.of({"n": n, "d": d}, loss)
    n_R, d_R = points.column("n"), points.column("d")
    columns = [v.tolist() for v in (n_R, d_R, points.y_R, law.predict(n_R, d_R), law.outside(n_R, d_R))]
    return [
        {"name": names[i] if names else str(i), "n": a, "d": b, "m": b / a, "observed": y, "forecast": f,
         "error": abs(f - y) / y, "outside": out}
        for i, (a, b, y, f, out) in enumerate(zip(*columns, strict=True))
    ]  # fmt: skip


def _fit_unweighted(form: Form, inputs: tuple[str, ...], x_RI: np.ndarray, y_R: np.ndarray) -> Law:
    """Least squares of the values themselves, as published: their logarithms are the surer the larger they are."""
    sd_R = 0.005 * y_R.mean() / y_R
    for _ in range(3):
        law = fit(form, Points(inputs, x_RI, y_R, sd_R), huber=math.inf)
        residual_R = law.predict(dict(zip(inputs, x_RI.T, strict=True)), anyway=True) - y_R
        free = max(len(y_R) - len(form.parameters), 1)
        sd_R = max(math.sqrt(float(residual_R @ residual_R) / free), 1e-4 * y_R.mean()) / y_R
    return laplace(law)


def _inputs(n: Numbers | float, d: Numbers | float) -> Mapping[str, np.ndarray]:
    n, d = np.broadcast_arrays(np.atleast_1d(np.asarray(n, float)), np.atleast_1d(np.asarray(d, float)))
    return {"c": 6 * n * d, "m": d / n}
