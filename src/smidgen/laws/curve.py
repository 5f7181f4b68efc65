"""Learning curves: what a score measured on few labels will be with more of them, and how sure that is.

    curve = fit_curve("error", points, baseline=0.5, labels=60)
    curve.forecast(240)        # (likely, low, high)
    curve.amount(0.12)         # labels that reach it: (likely, low, high), or None

The law is loss(n) = level (floor + (1 - floor) (n / 50)^-power), loss as a share of the baseline's: three unknowns and
few noisy points, so each has a prior, made from learning curves of other tasks (`curve_prior.json`, by kind of loss).
All points of one study are scored on the same few rows, so that they err together: an unknown offset, as large as so
few rows allow, is part of the fit and not of the forecast. Intervals are those of one more training: they hold the
doubt about the curve and the luck of the draw.

Dims: K draws, R points, P parameters.
"""

import functools
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from smidgen.kit.errors import BadInput, bad
from smidgen.laws.curve_points import HOME, Counted, CurvePrior, Point, rows_sd, settled
from smidgen.laws.draws import posterior
from smidgen.laws.form import Parameter
from smidgen.laws.law import Law, fit
from smidgen.laws.points import Points

LEVEL = 0.9
FAMILIES = ("error", "log_loss", "rmse")
CARRY = 16.0  # a forecast goes no further than so many times the labels that there are
HELD = 2  # points scored on more than so many rows a label were scored on rows held out
FREE = 3.0  # sd of an offset that is bound by a count of errors instead
VAGUE = 1.0  # sd that is added to the prior of the level: tasks differ by more than a normal law of few tasks says


@functools.cache
def known_priors() -> dict[str, CurvePrior]:
    """By family, from `curve_prior.json`."""
    found = json.loads((Path(__file__).parent / "curve_prior.json").read_text())
    return {
        name: CurvePrior(
            **{**prior, "mean": tuple(prior["mean"]), "covariance": tuple(map(tuple, prior["covariance"]))}
        )
        for name, prior in found["priors"].items()
    }


class CurveForm:
    """log(loss / baseline) = offset + level + log(floor + (1 - floor) (n / 50)^-power).

    Fitted are the offset and three numbers that are standard normal before any point is seen; `shape` turns these into
    level, floor and power.
    """

    name, inputs = "learning curve", ("n",)

    def __init__(self, prior: CurvePrior, offset_sd: float, counted: Counted | None = None) -> None:
        self.counted = counted
        self.mean_3, self.root_33 = np.array(prior.mean), np.linalg.cholesky(np.array(prior.covariance))
        self.parameters = (
            *(Parameter(name=f"z{i}", prior=(0.0, 1.0), low=-5.0, high=5.0) for i in range(3)),
            Parameter(name="offset", prior=(0.0, max(offset_sd, 1e-3))),
        )

    def shape(self, theta_KP: np.ndarray) -> np.ndarray:
        """(level, log odds of the floor, log power) `[K, 3]`."""
        return self.mean_3 + theta_KP[:, :3] @ self.root_33.T

    def log_value(self, theta_KP: np.ndarray, x_RI: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        level, odds, log_power = self.shape(theta_KP).T[..., None]
        share, power = 1 / (1 + np.exp(-np.clip(odds, -30, 30))), np.exp(np.clip(log_power, -8, 1.5))
        log_n_R = np.log(x_RI[:, 0] / HOME)
        falls_KR = np.exp(-power * log_n_R)
        inner_KR = share + (1 - share) * falls_KR
        slopes_KR3 = np.stack(
            [
                np.ones_like(inner_KR),
                share * (1 - share) * (1 - falls_KR) / inner_KR,
                -(1 - share) * falls_KR * log_n_R * power / inner_KR,
            ],
            -1,
        )
        ones = np.ones((*inner_KR.shape, 1))
        return theta_KP[:, 3:] + level + np.log(inner_KR), np.concatenate([slopes_KR3 @ self.root_33, ones], -1)

    def more_cost(self, theta_KP: np.ndarray) -> np.ndarray:
        """Minus the log likelihood of the errors that were counted `[K]`: with few of them a normal law of their
        logarithm is wrong."""
        if self.counted is None:
            return np.zeros(len(theta_KP))
        own_KP = theta_KP.copy()
        own_KP[:, 3] = 0.0
        log_p_K = self.each(own_KP, np.full(len(own_KP), self.counted.n)) + math.log(self.counted.baseline)
        p_K = np.clip(np.exp(log_p_K), 1e-5, 1 - 1e-5)
        wrong, rows = self.counted.share * self.counted.rows, self.counted.rows
        return -(wrong * np.log(p_K) + (rows - wrong) * np.log1p(-p_K))

    def each(self, theta_KP: np.ndarray, n_K: np.ndarray) -> np.ndarray:
        """The logarithm under each set of parameters at its own number of labels `[K]`."""
        level, odds, log_power = self.shape(theta_KP).T
        share, power = 1 / (1 + np.exp(-np.clip(odds, -30, 30))), np.exp(np.clip(log_power, -8, 1.5))
        return theta_KP[:, 3] + level + np.log(share + (1 - share) * (n_K / HOME) ** -power)

    def starts(self, x_RI: np.ndarray, log_y_R: np.ndarray) -> np.ndarray:
        del x_RI, log_y_R
        return np.array([(a, b, c, 0.0) for a in (-1.0, 0.0, 1.0) for b in (-1.0, 1.0) for c in (-1.0, 1.0)])


@dataclass(frozen=True)
class Curve:
    """A fitted learning curve of a loss.

    Attributes:
        law: of loss / baseline, with draws; baseline: loss of the constant prediction. labels: that there are.
        widen: of its intervals. most: that the loss can be.
    """

    law: Law
    prior: CurvePrior
    baseline: float
    labels: int
    widen: float = 1.0
    most: float = math.inf

    def log_losses(self, n: float | np.ndarray, luck: bool = True, seed: int = 0) -> np.ndarray:
        """Plausible log losses of one training on `n` labels (one number, or one for each draw) `[K]`; without `luck`,
        of the mean of many."""
        draws_KP = self.law.draws_KP
        assert draws_KP is not None
        own_KP = draws_KP.copy()
        own_KP[:, 3] = 0.0  # the offset is of the rows that were scored, not of the curve
        n_K = np.broadcast_to(np.asarray(n, float), len(own_KP))
        assert isinstance(self.law.form, CurveForm)
        log_K = self.law.form.each(own_KP, n_K) + math.log(self.baseline)
        middle_K = log_K
        if luck:
            sd = self.prior.luck * np.sqrt(HOME / n_K)
            log_K = log_K + np.random.default_rng(seed).normal(0.0, sd, len(log_K))
        power = 0.5 if self.most < math.inf else 0.0  # noise of a share is even on its square root, of others on logs
        wide_K = widened(np.exp(log_K), float(np.exp(np.median(middle_K))), self.widen, power)
        return np.log(np.minimum(wide_K, self.most))

    def forecast(self, n: float, level: float = LEVEL) -> tuple[float, float, float]:
        """(likely, low, high) loss of one training on `n` labels. Raises BadInput: beyond what the points carry."""
        self.check(n)
        log_K = self.log_losses(n)
        low, high = np.exp(np.quantile(log_K, [(1 - level) / 2, (1 + level) / 2])).tolist()
        return float(np.exp(np.median(self.log_losses(n, luck=False)))), low, high

    @property
    def carries(self) -> float:
        """Labels up to which a forecast is made."""
        return CARRY * self.labels

    def check(self, n: float) -> None:
        if not n > 0:
            raise bad("labels", "above 0", n)
        if n > self.carries * (1 + 1e-9):
            raise BadInput(
                f"The learning curve was measured up to {self.labels:,} labels, which carries it to "
                f"{self.carries:,.0f}: {n:,.0f} are too far. Ask for fewer, or measure again when there are more."
            )

    def amounts(self, loss: float, luck: bool = False) -> np.ndarray:
        """Labels in all at which the curve falls to `loss`, under each draw `[K]`; infinite where none within reach
        does."""
        grid = np.geomspace(self.labels / 4, self.carries, 200)
        log_KG = np.stack([self.log_losses(n, luck) for n in grid], 1)
        under_KG = log_KG <= math.log(loss)
        return np.where(under_KG.any(1), grid[under_KG.argmax(1)], np.inf)

    def amount(self, loss: float, level: float = LEVEL) -> tuple[float, float, float] | None:
        """(likely, low, high) labels in all that reach `loss`; None where most draws reach it nowhere within reach. An
        end may be infinite."""
        found_K = np.sort(self.amounts(loss))
        middle, low, high = (
            found_K[min(int(q * len(found_K)), len(found_K) - 1)] for q in (0.5, (1 - level) / 2, (1 + level) / 2)
        )
        return (float(middle), float(low), float(high)) if math.isfinite(middle) else None


def fit_curve(
    family: str,
    points: Sequence[Point],
    *,
    baseline: float,
    labels: int,
    prior: CurvePrior | None = None,
    noise: float | None = None,
    draws: int = 1000,
    seed: int = 0,
) -> Curve:
    """The curve of a loss.

    Args:
        family: "error" (1 - accuracy, 1 - auc, ...), "log_loss" or "rmse". points: at least two sizes.
        baseline: the loss of a prediction that knows the labels' shares or mean alone. labels: that there are.
        noise: sd of the log loss that the rows scored leave (by resampling them, say), where the loss is neither a
            share of wrong rows nor a log loss nor an RMSE: the family lends its curve then, not its noise.
    Raises:
        BadInput: an unknown family, a baseline not above 0, or too few points: says how many more, and where.
    """
    if family not in FAMILIES:
        raise bad("family", " or ".join(FAMILIES), family)
    if not baseline > 0:
        raise bad("baseline", "a loss above 0", baseline, "With one class there is nothing to learn.")
    sizes = sorted({p.n for p in points})
    if len(sizes) < 2:
        where = f"{max(2, labels // 2)} and {labels}" if not sizes else f"about {max(2, round(sizes[0] / 2))}"
        raise bad(
            "points of the learning curve", "at least 2 sizes", len(sizes),
            f"Measure {2 - len(sizes)} more, at {where} labels.",
        )  # fmt: skip
    prior = prior or known_priors()[family]
    shared = rows_sd(points, family, prior, noise)
    n, y, sd = (np.array(v) for v in zip(*(settled(p, family, baseline, prior, shared) for p in points), strict=True))
    wide, told = vague(prior), Points.of({"n": n}, y, sd)
    law = fit(CurveForm(wide, shared), told)
    if family == "error" and noise is None:
        most = max(points, key=lambda p: p.n)
        counted = Counted(most.n, min(most.loss, 1.0), most.rows / prior.rows**2, baseline)
        law = replace(law, form=CurveForm(wide, FREE, counted))  # how far the rows are off follows from their count
    held = min(p.rows for p in points) > HELD * labels
    widen = prior.widen_held if held else prior.widen
    most = 1.0 if family == "error" else math.inf
    return Curve(posterior(law, draws, seed=seed), prior, baseline, labels, widen, most)


def widened(loss_K: np.ndarray, middle: float, factor: float, power: float) -> np.ndarray:
    """Losses moved away from a middle by a factor, on the scale of a power of them (0: of their logarithm)."""
    if power == 0:
        return middle * (loss_K / middle) ** factor
    return np.maximum(middle**power + factor * (loss_K**power - middle**power), 1e-4) ** (1 / power)


def vague(prior: CurvePrior) -> CurvePrior:
    """A prior that knows less of the level, and of floor and power given the level as much as before."""
    covariance = np.array(prior.covariance)
    along = covariance[:, 0] / covariance[0, 0]
    wider = covariance + VAGUE**2 * np.outer(along, along)
    return replace(prior, covariance=tuple(map(tuple, wider.tolist())))
