"""Loss by model size and data, L(N, D) = C_N N^-alpha + C_D D^-beta + L0, fitted to a few runs (Hoffmann et al., 2022,
arXiv 2203.15556, approach 3; MiniCPM, Hu et al., 2024, arXiv 2404.06395, section 4).

With a stable run for each size and a short fall for each length, the grid of runs that a fit needs costs little more
than the longest run of each size (`train.branching`). Published fits disagree on the best ratio of data to model: 20
tokens a parameter (Hoffmann), 192 (MiniCPM). It depends on the range that was fitted: ask a fit only within a few
times its own range.

Dims: R runs.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from smidgen.kit.errors import bad
from smidgen.laws.form import Parameter, PowerSum, Term
from smidgen.laws.law import TooFar, fit
from smidgen.laws.points import Points

FAR = 10.0  # times outside the runs, beyond which the law is not asked
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

    def loss(self, n: Numbers | float, d: Numbers | float, *, anyway: bool = False) -> np.ndarray:
        """Of models of `n` parameters trained on `d` tokens.

        Raises:
            TooFar: more than `FAR` times outside the runs that were fitted. `anyway` asks nevertheless.
        """
        n, d = np.asarray(n, float), np.asarray(d, float)
        if not anyway:
            self._check_reach(n, d)
        return self.cn * n**-self.alpha + self.cd * d**-self.beta + self.l0

    def optimal(self, flops: float, *, anyway: bool = False) -> tuple[float, float]:
        """(N, D) of the least loss with 6 N D = `flops`, in closed form.

        Raises:
            TooFar: as `loss`. BadInput: not positive; a fitted exponent is 0, so that no size is best.
        """
        if not flops > 0:
            raise bad("flops", "above 0", flops)
        if not (self.alpha > 0 and self.beta > 0 and self.cn > 0 and self.cd > 0):
            raise bad("the fit", "a loss that falls with both N and D", f"alpha {self.alpha:g}, beta {self.beta:g}")
        k = (self.alpha * self.cn / (self.beta * self.cd)) ** (1 / (self.alpha + self.beta))
        n = k * (flops / 6) ** (self.beta / (self.alpha + self.beta))
        if not anyway:
            self._check_reach(np.asarray(n), np.asarray(flops / 6 / n))
        return n, flops / 6 / n

    def _check_reach(self, n: np.ndarray, d: np.ndarray) -> None:
        for name, values, (low, high) in (("n", n, self.range_n), ("d", d, self.range_d)):
            out = values[(values < low / FAR) | (values > high * FAR)]
            if out.size:
                raise TooFar(
                    f"{name} of {out.flat[0]:.3g} is more than {FAR:g} times outside the runs that the law was fitted "
                    f"to, {low:.3g} to {high:.3g}. Measure nearer to it, or ask with anyway=True."
                )


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
    points = Points(("n", "d"), np.stack([n_R, d_R], 1), loss_R, np.full(len(loss_R), delta))
    middle = {"n": math.exp(np.log(n_R).mean()), "d": math.exp(np.log(d_R).mean())}
    law = fit(nd_form(middle), points, huber=1.0)
    a, alpha, b, beta, e = law.theta_P.tolist()
    return NDLaw(
        cn=math.exp(a) * middle["n"] ** alpha,
        alpha=alpha,
        cd=math.exp(b) * middle["d"] ** beta,
        beta=beta,
        l0=math.exp(e),
        huber=law.cost / len(loss_R) * delta**2,
        range_n=(float(n_R.min()), float(n_R.max())),
        range_d=(float(d_R.min()), float(d_R.max())),
    )


def nd_form(middle: dict[str, float] | None = None) -> PowerSum:
    """L = cn (n / middle)^-alpha + cd (d / middle)^-beta + l0; fitted are the logarithms of cn, cd and l0."""
    return PowerSum(
        "size and data",
        ("n", "d"),
        (
            Parameter(name="cn", log=True),
            Parameter(name="alpha", low=0.0, high=5.0),
            Parameter(name="cd", log=True),
            Parameter(name="beta", low=0.0, high=5.0),
            Parameter(name="l0", log=True),
        ),
        (Term("cn", {"n": ("alpha", 1.0)}), Term("cd", {"d": ("beta", 1.0)}), Term("l0")),
        middle,
    )


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
