"""Why a learning curve has its slope: four regimes (Bahri et al., 2021, "Explaining neural scaling laws", arXiv
2102.06701).

Where one of data and width is the bottleneck and the other is plenty, loss falls to its limit of 0 with an exponent
that the dimension of the data or the spectrum of the kernel sets (resolution-limited): more of it helps, as fast. Where
one is fixed and the other grows past it, loss falls to a limit above 0 with an exponent of 1, whatever the data
(variance-limited): more of it soon helps no longer, the fixed one does.

Dims: R points, N rows, D features.
"""

import math
from dataclasses import dataclass

import numpy as np

from smidgen.kit.errors import bad
from smidgen.laws.draws import laplace
from smidgen.laws.form import Parameter, PowerSum, Term
from smidgen.laws.law import Law, fit
from smidgen.laws.points import Numbers, Points

LEVEL = 0.9
NEAR_ONE = (0.8, 1.35)  # exponents that count as 1 on a short range
AT_LIMIT = 0.05  # of the smallest loss: a limit below it is none
BENT = 0.3  # halves of a curve whose exponents differ by more, and beyond their intervals, are two regimes
FEWEST = 4


@dataclass(frozen=True)
class PowerFit:
    """loss = floor + prefactor x^-exponent. `interval`: of the exponent, at 90 %; `r2`: of the logarithms above the
    floor; `law`: the fit itself, for predictions."""

    exponent: float
    prefactor: float
    floor: float
    interval: tuple[float, float]
    r2: float
    law: Law


def fit_power_law(x: Numbers, loss: Numbers, floor: float | None = 0.0) -> PowerFit:
    """The law of a curve, above a known floor, or with None above one that is fitted.

    A floor that is wrong bends the slope: give the loss of a much larger run, or a limit that is computed.
    Raises:
        BadInput: fewer than 4 points, numbers not above 0, or a loss at or below the floor.
    """
    points = Points.of({"x": x}, loss)
    if len(points) < FEWEST:
        raise bad("points", f"at least {FEWEST}", len(points), "Measure more sizes, a factor of 2 apart.")
    if floor is not None:
        under = points.y_R[points.y_R <= floor]
        if len(under):
            raise bad("losses", f"above the floor of {floor:g}", float(under[0]), "The floor is not the curve's limit.")
        points = Points(points.inputs, points.x_RI, points.y_R - floor)
    middle = float(np.exp(np.log(points.x_RI).mean()))
    slope = Parameter(name="exponent", low=-1.0, high=8.0)
    terms, parameters = [Term("scale", {"x": ("exponent", 1.0)})], [Parameter(name="scale", log=True), slope]
    if floor is None:
        terms.append(Term("floor"))
        parameters.append(Parameter(name="floor", log=True))
    law = laplace(fit(PowerSum("power law", ("x",), parameters, terms, {"x": middle}), points))
    values = law.values
    assert law.draws_KP is not None
    low, high = np.quantile(law.draws_KP[:, 1], [(1 - LEVEL) / 2, (1 + LEVEL) / 2]).tolist()
    log_R = np.log(points.y_R)
    off_R = np.log(law.predict({"x": points.column("x")}, anyway=True)) - log_R
    spread = float(((log_R - log_R.mean()) ** 2).sum())
    return PowerFit(
        values["exponent"],
        values["scale"] * middle ** values["exponent"],
        values["floor"] if floor is None else floor,
        (low, high),
        1 - float(off_R @ off_R) / spread if spread > 0 else 0.0,
        law,
    )


def classify_regime(x: Numbers, loss: Numbers, loss_at_inf: float, variable: str = "data") -> tuple[str, str]:
    """("variance-limited" | "resolution-limited" | "crossover", what that means for the person).

    Args:
        x: what grows: labels, or width (not parameters, of which a dense net has about width squared).
        loss_at_inf: the loss with endless `x`, all else the same. variable: "data" or "width".
    Raises:
        BadInput: as `fit_power_law`, or another variable.
    """
    if variable not in ("data", "width"):
        raise bad("variable", "data or width", variable)
    whole = fit_power_law(x, loss, loss_at_inf)
    order = np.argsort(np.asarray(x, float))
    x_R, loss_R = np.asarray(x, float)[order], np.asarray(loss, float)[order]
    other = "width" if variable == "data" else "data"
    if len(x_R) >= 2 * FEWEST:
        cut = len(x_R) // 2
        first, last = (fit_power_law(x_R[s], loss_R[s], loss_at_inf) for s in (slice(0, cut), slice(cut, None)))
        apart = abs(first.exponent - last.exponent)
        if apart > max(BENT, sum(h - m for m, h in ((f.exponent, f.interval[1]) for f in (first, last)))):
            return "crossover", (
                f"The exponent goes from {first.exponent:.2f} to {last.exponent:.2f}: do not extend either beyond here."
            )
    if loss_at_inf <= AT_LIMIT * float(loss_R.min()):
        return "resolution-limited", (
            f"{variable.capitalize()} is the bottleneck: twice as much takes the loss to {2**-whole.exponent:.0%}."
        )
    if NEAR_ONE[0] <= whole.exponent <= NEAR_ONE[1]:
        return "variance-limited", (
            f"More {variable} soon helps no longer: {loss_at_inf:.3g} stays. More {other} would lower that."
        )
    return "crossover", (
        f"An exponent of {whole.exponent:.2f} to a limit of {loss_at_inf:.3g} is neither regime: measure further out."
    )


def kernel_exponent(K_NN: np.ndarray, window: tuple[int, int] = (30, 500)) -> tuple[float, tuple[float, float]]:
    """alpha of eigenvalues that fall as i^-(1 + alpha), with its interval: what resolution-limited curves should show
    for targets as rough as the kernel's own functions.

    Args:
        K_NN: kernel matrix. window: first and last eigenvalue of the fit; the largest and the smallest ones are bent.
    Raises:
        BadInput: not square, not symmetric, or with eigenvalues below 0 beyond rounding; a window without 4 of them.
    """
    K_NN = np.asarray(K_NN, float)
    if K_NN.ndim != 2 or K_NN.shape[0] != K_NN.shape[1]:
        raise bad("K", "a square matrix", K_NN.shape)
    if not np.allclose(K_NN, K_NN.T, rtol=1e-6, atol=1e-9 * np.abs(K_NN).max()):
        raise bad("K", "a symmetric matrix", f"entries that differ by {np.abs(K_NN - K_NN.T).max():.3g}")
    values = np.linalg.eigvalsh(K_NN)[::-1]
    if values[-1] < -1e-6 * values[0]:
        raise bad("K", "no eigenvalue below 0", f"{values[-1]:.3g}")
    first, last = window[0], min(window[1], int((values > 1e-12 * values[0]).sum()))
    if last - first < FEWEST:
        raise bad("eigenvalues in the window", f"at least {FEWEST}", max(0, last - first), "Take more rows.")
    i = np.arange(first, last + 1)
    found = fit_power_law(i, values[first - 1 : last])
    low, high = found.interval
    return found.exponent - 1, (low - 1, high - 1)


def smooth_exponents(dimension: float) -> tuple[float, float]:
    """The range in which a resolution-limited exponent is expected on a manifold of that dimension: (1/d, 4/d): 1/d for
    losses whose slope does not vanish at their best, 2/d for squares and cross-entropy, 4/d for piecewise linear
    networks on smooth targets.

    Raises:
        BadInput: not above 0.
    """
    if not dimension > 0 or not math.isfinite(dimension):
        raise bad("dimension", "above 0", dimension)
    return 1 / dimension, 4 / dimension
