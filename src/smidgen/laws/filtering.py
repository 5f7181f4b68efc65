"""How strictly to filter data, by the compute there is (Goyal et al., 2024, "Scaling laws for data filtering: data
curation cannot be compute agnostic", arXiv 2404.07177).

The best data wears out: each pass over a pool is worth less, by a half-life. A short training wants the best pools
alone, a long one more and worse data. The law is fitted to trainings on single pools and forecasts any mixture of them.

While a pool is passed over for the j-th time (from 0) the error above its floor falls as samples^(b 2^(-j / tau)):
    error = floor + (a n_1)^b * product over passes j = 1, 2, ... of (n_(j+1) / n_j)^(b 2^(-j / tau)),
n_j samples seen after pass j, the last one in part. Of p pools together one pass is over all of them, the half-life of
each in passes grows by all rows over its own, and exponents are averaged by their rows. It is monotone: it cannot say
that wrong labels are learnt by heart in long trainings.

Dims: T checkpoints, A, B and H grid values of scale, exponent and half-life, K draws, Q pools, G budgets.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from smidgen.kit.errors import bad
from smidgen.laws.points import Numbers

SCALES = np.geomspace(1e-3, 1e3, 100)
EXPONENTS = -np.geomspace(0.005, 1.5, 100)
HALF_LIVES = np.geomspace(0.5, 100, 60)
FEWEST = 3
LEAST_NOISE = 0.005  # of the error, as a share: checkpoints of one training are not exact


@dataclass(frozen=True)
class UtilityLaw:
    """Of one pool. `a`: scale, per `unit` samples; `b`: exponent, below 0; `tau`: half-life in passes; `floor`: error
    that stays; `size`: rows of the pool; `unit`: the mean size of the pools fitted together; `draws_K3`:
    plausible (a, b, tau), from the likelihood over the whole grid."""

    a: float
    b: float
    tau: float
    floor: float
    size: int
    unit: float
    draws_K3: np.ndarray

    def predict(self, samples: Numbers | float) -> np.ndarray:
        """Error after so many samples, those of repeated passes counted `[T]`."""
        return mixture_error([self], samples)


def fit_pools(
    curves: Sequence[tuple[int, Numbers, Numbers]],
    floor: float = 0.0,
    *,
    shared_scale: bool = True,
    draws: int = 400,
    seed: int = 0,
) -> list[UtilityLaw]:
    """The laws of several pools, by exhaustive search of a grid for the least squares of the error (gradient methods
    are unstable here).

    Args:
        curves: (rows of the pool, samples seen, error) of a training on each pool alone.
        shared_scale: one `a` for all pools, as published, so that exponents can be compared.
    Raises:
        BadInput: fewer than 3 checkpoints, errors not above the floor or above 1, fewer samples than one.
    """  # fmt: skip
    tables, noises = [], []
    unit = float(np.mean([rows for rows, _, _ in curves]))
    for rows, samples, error in curves:
        n_T, y_T = np.asarray(samples, float), np.asarray(error, float)
        _check(rows, n_T, y_T, floor)
        tables.append(_losses(n_T / rows, rows / unit, y_T, floor))  # [A, B, H]
        noises.append(max(float(tables[-1].min()) / max(len(n_T) - 3, 1), (LEAST_NOISE * float(y_T.mean())) ** 2))
    logs = [-0.5 * table / noise for table, noise in zip(tables, noises, strict=True)]
    if shared_scale:
        best = np.sum([log.max((1, 2)) for log in logs], 0)
        kept = np.exp(best - best.max())  # profile of the scale, the same for all pools
    out, rng = [], np.random.default_rng(seed)
    for (rows, _, _), log in zip(curves, logs, strict=True):
        if shared_scale:
            log = log - log.max((1, 2), keepdims=True) + np.log(np.maximum(kept, 1e-300))[:, None, None]
        at = np.unravel_index(int(log.argmax()), log.shape)
        weights = np.exp(log - log.max()).ravel()
        picks = np.unravel_index(rng.choice(weights.size, draws, p=weights / weights.sum()), log.shape)
        a, b, tau = float(SCALES[at[0]]), float(EXPONENTS[at[1]]), float(HALF_LIVES[at[2]])
        drawn_K3 = np.stack([SCALES[picks[0]], EXPONENTS[picks[1]], HALF_LIVES[picks[2]]], 1)
        out.append(UtilityLaw(a, b, tau, floor, int(rows), unit, drawn_K3))
    return out


def mixture_error(laws: Sequence[UtilityLaw], samples: Numbers | float) -> np.ndarray:
    """Error of a training on all these pools together, after so many samples `[G]`; pools may differ in size.

    Raises:
        BadInput: no pool, pools of another scale or floor, or fewer samples than one.
    """
    _alike(laws)
    parameters_Q3 = np.array([[law.a, law.b, law.tau] for law in laws])
    return _mixed(parameters_Q3[None], laws, np.atleast_1d(np.asarray(samples, float)))[0]


@dataclass(frozen=True)
class Choice:
    """For one budget: how many of the best pools, the error that is forecast, its interval, and in what share of the
    draws this number is the best."""

    samples: float
    pools: int
    error: float
    interval: tuple[float, float]
    sure: float


def best_prefix(laws: Sequence[UtilityLaw], budgets: Numbers, level: float = 0.9) -> list[Choice]:
    """How many of the pools to keep for each budget of samples. Pools are taken by exponent, the steepest first.

    Raises:
        BadInput: as `mixture_error`.
    """
    _alike(laws)
    order = sorted(laws, key=lambda law: law.b)
    budgets_G = np.atleast_1d(np.asarray(budgets, float))
    point_QG = np.stack([mixture_error(order[: q + 1], budgets_G) for q in range(len(order))])
    draws = min(len(law.draws_K3) for law in order)
    draws_KQ3 = np.stack([law.draws_K3[:draws] for law in order], 1)
    drawn_QKG = np.stack([_mixed(draws_KQ3[:, : q + 1], order[: q + 1], budgets_G) for q in range(len(order))])
    best_KG = drawn_QKG.argmin(0)
    out = []
    for g, samples in enumerate(budgets_G.tolist()):
        q = int(point_QG[:, g].argmin())
        low, high = np.quantile(drawn_QKG[q, :, g], [(1 - level) / 2, (1 + level) / 2]).tolist()
        out.append(Choice(samples, q + 1, float(point_QG[q, g]), (low, high), float((best_KG[:, g] == q).mean())))
    return out


def thresholds(laws: Sequence[UtilityLaw], most: float) -> list[tuple[int, float]]:
    """(pools, samples from which on so many are the best), up to `most` samples."""
    least = min(law.size for law in laws) / 10
    choices = best_prefix(laws, np.geomspace(least, most, 300))
    out: list[tuple[int, float]] = []
    for choice in choices:
        if not out or choice.pools > out[-1][0]:
            out.append((choice.pools, choice.samples))
    return out


def effective_error(a: float, b: float, tau: float, floor: float, size: int, samples: Numbers | float) -> np.ndarray:
    """The other form, for comparison: repeated samples count for less (after Muennighoff et al., 2023, arXiv
    2305.16264): floor + (a n_eff)^b, n_eff the sum of each pass' samples times 2^(-pass / tau)."""
    n_G = np.atleast_1d(np.asarray(samples, float)) / size
    passes = np.arange(int(np.ceil(n_G.max())))
    seen_GP = np.clip(n_G[:, None] - passes, 0.0, 1.0)
    return floor + (a * (seen_GP * 2.0 ** (-passes / tau)).sum(1)) ** b


def _mixed(parameters_KQ3: np.ndarray, laws: Sequence[UtilityLaw], samples_G: np.ndarray) -> np.ndarray:
    """`[K, G]`."""
    if (samples_G < 1).any():
        raise bad("samples", "at least 1", float(samples_G.min()))
    sizes_Q = np.array([law.size for law in laws], float)
    shares_Q, whole = sizes_Q / sizes_Q.sum(), sizes_Q.sum()
    scale_K = np.exp(np.log(parameters_KQ3[..., 0]) @ shares_Q)
    halves_KQ = parameters_KQ3[..., 2] / shares_Q
    n_G = samples_G / whole
    passes = np.arange(int(np.ceil(n_G.max())))
    ends_GP = np.clip(n_G[:, None], passes, passes + 1.0)
    ratio_GP = np.log(ends_GP[:, 1:] / np.maximum(passes[1:], 1)) if len(passes) > 1 else np.zeros((len(n_G), 0))
    bend_KPQ = 2.0 ** (-passes[None, :, None] / halves_KQ[:, None])
    exponent_KP = (bend_KPQ * parameters_KQ3[:, None, :, 1]) @ shares_Q
    # of p pools together the first pass is over p times the rows
    first_G = np.log(np.minimum(n_G, 1.0)) + np.log(whole / laws[0].unit)
    log_KG = exponent_KP[:, :1] * (np.log(scale_K)[:, None] + first_G) + exponent_KP[:, 1:] @ ratio_GP.T
    return laws[0].floor + np.exp(log_KG)


def _losses(n_T: np.ndarray, units: float, y_T: np.ndarray, floor: float) -> np.ndarray:
    """Sums of squared errors over the whole grid `[A, B, H]`; n in pool sizes, of so many units each."""
    passes = np.arange(max(1, int(np.ceil(n_T.max()))))
    ends_TP = np.clip(n_T[:, None], passes, passes + 1.0)
    ratio_TP = np.log(ends_TP[:, 1:] / np.maximum(passes[1:], 1)) if len(passes) > 1 else np.zeros((len(n_T), 0))
    first_T = np.log(np.minimum(n_T, 1.0)) + np.log(units)
    out = np.empty((len(SCALES), len(EXPONENTS), len(HALF_LIVES)))
    for h, tau in enumerate(HALF_LIVES):
        grown_T = first_T + ratio_TP @ 2.0 ** (-passes[1:] / tau)
        log_ABT = EXPONENTS[:, None] * (np.log(SCALES)[:, None, None] + grown_T)
        out[:, :, h] = ((floor + np.exp(np.minimum(log_ABT, 50.0)) - y_T) ** 2).sum(-1)
    return out


def _alike(laws: Sequence[UtilityLaw]) -> None:
    if not laws:
        raise bad("pools", "at least 1", 0)
    if len({(law.floor, law.a, law.unit) for law in laws}) > 1:
        raise bad("pools", "laws with one scale and one floor", "different ones", "Fit them together: fit_pools.")


def _check(rows: int, n_T: np.ndarray, y_T: np.ndarray, floor: float) -> None:
    if rows < 1:
        raise bad("rows of a pool", "at least 1", rows)
    if n_T.shape != y_T.shape or len(n_T) < FEWEST:
        raise bad("checkpoints of a pool", f"at least {FEWEST}, each with an error", len(n_T))
    wrong = y_T[~((y_T > floor) & (y_T <= 1))]
    if len(wrong):
        raise bad("errors", f"above the floor of {floor:g} and at most 1", float(wrong[0]))
    if not (n_T >= 1).all():
        raise bad("samples", "at least 1", float(n_T.min()))
