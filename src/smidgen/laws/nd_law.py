"""Loss by model size and data, L(N, D) = C_N N^-alpha + C_D D^-beta + L0, fitted to a few runs (Hoffmann et al., 2022,
arXiv 2203.15556, approach 3; MiniCPM, Hu et al., 2024, arXiv 2404.06395, section 4).

With a stable run for each size and a short fall for each length, the grid of runs that a fit needs costs little more
than the longest run of each size (`train.branching`). Published fits disagree on the best ratio of data to model: 20
tokens a parameter (Hoffmann), 192 (MiniCPM). It depends on the range that was fitted: ask a fit only within a few
times its own range.

Dims: R runs, S starts.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from smidgen.kit.errors import bad

DELTA = 1e-3  # of the Huber loss, on the logarithm of the loss: residuals beyond a thousandth count linearly
Numbers = Sequence[float] | np.ndarray


@dataclass(frozen=True)
class NDLaw:
    """The fitted law; N in parameters, D in tokens, loss in nats a token.

    Attributes:
        cn, alpha, cd, beta, l0: as in the formula. huber: mean Huber loss of the fit, of the logarithms.
        range_n, range_d: smallest and largest of the runs that were fitted.
    """

    cn: float
    alpha: float
    cd: float
    beta: float
    l0: float
    huber: float = math.nan
    range_n: tuple[float, float] = (0.0, math.inf)
    range_d: tuple[float, float] = (0.0, math.inf)

    def loss(self, n: Numbers | float, d: Numbers | float) -> np.ndarray:
        """Of models of `n` parameters trained on `d` tokens."""
        n, d = np.asarray(n, float), np.asarray(d, float)
        return self.cn * n**-self.alpha + self.cd * d**-self.beta + self.l0

    def optimal(self, flops: float) -> tuple[float, float]:
        """(N, D) of the least loss with 6 N D = `flops`, in closed form.

        Raises:
            BadInput: not positive; a fitted exponent is 0, so that no size is best.
        """
        if not flops > 0:
            raise bad("flops", "above 0", flops)
        if not (self.alpha > 0 and self.beta > 0 and self.cn > 0 and self.cd > 0):
            raise bad("the fit", "a loss that falls with both N and D", f"alpha {self.alpha:g}, beta {self.beta:g}")
        k = (self.alpha * self.cn / (self.beta * self.cd)) ** (1 / (self.alpha + self.beta))
        n = k * (flops / 6) ** (self.beta / (self.alpha + self.beta))
        return n, flops / 6 / n


def fit_nd_law(n: Numbers, d: Numbers, loss: Numbers, *, delta: float = DELTA) -> NDLaw:
    """The law with the least Huber loss of the logarithm of the loss, best of many starts.

    Args:
        n, d, loss: `[R]`; parameters, tokens and final loss of each run.
    Raises:
        BadInput: unequal lengths, numbers that are not positive, fewer than 6 runs, or fewer than 3 different sizes or
            lengths: then an exponent and the loss that is left cannot be told apart.
    """
    n_R, d_R, loss_R = (np.asarray(x, float) for x in (n, d, loss))
    _check(n_R, d_R, loss_R, delta)
    from scipy.optimize import minimize

    # Logarithms relative to their middle: then all five unknowns are of one size.
    middle_n, middle_d = np.log(n_R).mean(), np.log(d_R).mean()
    u_R, v_R, y_R = np.log(n_R) - middle_n, np.log(d_R) - middle_d, np.log(loss_R)
    low = float(y_R.min())
    grid = itertools.product((-3.0, -1.0, 0.0), (0.2, 0.5), (-3.0, -1.0, 0.0), (0.2, 0.5), (0.5, 0.9))
    starts_S5 = [(low + a, alpha, low + b, beta, low + math.log(e)) for a, alpha, b, beta, e in grid]
    bounds = [(None, None), (0.0, 5.0), (None, None), (0.0, 5.0), (None, None)]
    fits = [
        minimize(_huber, start, (u_R, v_R, y_R, delta), jac=True, method="L-BFGS-B", bounds=bounds)
        for start in starts_S5
    ]
    best = min(fits, key=lambda f: f.fun)
    polished = minimize(
        _huber, best.x, (u_R, v_R, y_R, delta), jac=True, method="L-BFGS-B", bounds=bounds,
        options={"ftol": 1e-15, "gtol": 1e-12, "maxiter": 10_000},
    )  # fmt: skip
    a, alpha, b, beta, e = (polished if polished.fun <= best.fun else best).x.tolist()
    return NDLaw(
        cn=math.exp(a + alpha * middle_n),
        alpha=alpha,
        cd=math.exp(b + beta * middle_d),
        beta=beta,
        l0=math.exp(e),
        huber=float(min(polished.fun, best.fun)) * delta**2,
        range_n=(float(n_R.min()), float(n_R.max())),
        range_d=(float(d_R.min()), float(d_R.max())),
    )


def _huber(
    x_5: np.ndarray, u_R: np.ndarray, v_R: np.ndarray, y_R: np.ndarray, delta: float
) -> tuple[float, np.ndarray]:
    """Mean Huber loss in units of delta^2, and its gradient by the five unknowns."""
    a, alpha, b, beta, e = x_5
    terms_3R = np.stack([a - alpha * u_R, b - beta * v_R, np.full_like(y_R, e)])
    top_R = terms_3R.max(0)
    shares_3R = np.exp(terms_3R - top_R)
    total_R = shares_3R.sum(0)
    z_R = (top_R + np.log(total_R) - y_R) / delta
    size_R = np.abs(z_R)
    value = np.where(size_R <= 1, 0.5 * z_R**2, size_R - 0.5).mean()
    pull_3R = np.clip(z_R, -1, 1) / delta / len(y_R) * shares_3R / total_R
    to_n_R, to_d_R, to_l0_R = pull_3R
    slopes = [to_n_R.sum(), -(to_n_R * u_R).sum(), to_d_R.sum(), -(to_d_R * v_R).sum(), to_l0_R.sum()]
    return float(value), np.array(slopes)


def _check(n_R: np.ndarray, d_R: np.ndarray, loss_R: np.ndarray, delta: float) -> None:
    if not (n_R.ndim == 1 and n_R.shape == d_R.shape == loss_R.shape):
        raise bad("n, d and loss", "three lists of one length", f"{n_R.shape}, {d_R.shape}, {loss_R.shape}")
    for name, values in (("n", n_R), ("d", d_R), ("loss", loss_R)):
        wrong = values[~(np.isfinite(values) & (values > 0))]
        if len(wrong):
            raise bad(name, "finite numbers above 0", float(wrong[0]))
    if len(loss_R) < 6:
        raise bad("runs", "at least 6 for five unknowns", len(loss_R))
    for name, values in (("model sizes", n_R), ("lengths of training", d_R)):
        if len(np.unique(values)) < 3:
            raise bad(name, "at least 3 different ones", len(np.unique(values)), "Measure more runs.")
    if not delta > 0:
        raise bad("delta", "above 0", delta)
