"""What columns look like: few values, codes, copies, noise, other scales, missing cells.

Dims: R rows, D columns of a mechanism, F columns of a task.
"""

from dataclasses import dataclass

import numpy as np

from smidgen.data.prior_tasks.draws import inputs, log_uniform, pick, some, standardised, whole

FAR = 6.0  # standard deviations beyond which a column is cut off before it is bent


@dataclass(frozen=True)
class Plan:
    """What is asked of a mechanism.

    Attributes:
        rows, outputs, classes: how many; `outputs` are of what decides the target. classes is 0 for a number.
        levels: `[D]`, number of values of each column, 0 for any. codes: `[D]`, whether these are without order.
        noise: standard deviation of noise within the mechanism, where it has any.
    """

    rows: int
    outputs: int
    classes: int
    levels: np.ndarray
    codes: np.ndarray
    noise: float


def draw_levels(rng: np.random.Generator, width: int, rows: int, codes: bool, few: bool) -> tuple[np.ndarray, ...]:
    """`levels` and `codes` of a plan: where `codes`, at least one column is; where `few`, some others have few values.

    Numbers of levels are log-uniform, and a third of the rows at most.
    """
    levels_D, codes_D = np.zeros(width, int), np.zeros(width, bool)
    most = max(rows // 3, 2)
    if few:
        for j in some(rng, width):
            levels_D[j] = min(1 + int(log_uniform(rng, 1, 30)), most)
    if codes:
        for j in some(rng, width):
            codes_D[j], levels_D[j] = True, min(1 + int(log_uniform(rng, 1, 12)), most)
    return levels_D, codes_D


def snap(rng: np.random.Generator, x_R: np.ndarray, levels: int, codes: bool) -> tuple[np.ndarray, np.ndarray]:
    """A column cut into levels of random sizes, none empty but for ties.

    Returns:
        (effect, shown), both `[R]`: what functions see, of mean 0 and standard deviation 1, and what the table shows:
        0 to levels - 1. Levels without order have effects and codes at random.
    """
    places = rng.permutation(len(x_R) - 1)[: levels - 1] + 1  # from the second row: the lowest level has the first
    level_R = np.searchsorted(np.sort(np.sort(x_R)[places]), x_R, side="right")
    if not codes:
        return standardised(level_R.astype(float)), level_R.astype(float)
    return standardised(rng.standard_normal(levels)[level_R]), rng.permutation(levels)[level_R].astype(float)


def snapped(rng: np.random.Generator, x_RD: np.ndarray, plan: Plan) -> tuple[np.ndarray, np.ndarray]:
    """(effects, shown) `[R, D]`: columns with levels cut, the others as they are in both."""
    if not plan.levels.any():
        return x_RD, x_RD
    effect_RD, shown_RD = x_RD.copy(), x_RD.copy()
    for j in np.flatnonzero(plan.levels):
        effect_RD[:, j], shown_RD[:, j] = snap(rng, x_RD[:, j], int(plan.levels[j]), bool(plan.codes[j]))
    return effect_RD, shown_RD


def irrelevant(rng: np.random.Generator, x_RD: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Columns `[R, count]` that say nothing, and which they are like (-1: none).

    Fresh ones, or columns of the table with their rows in another order.
    """
    rows, width = x_RD.shape
    if rng.random() < 0.5:
        return inputs(rng, rows, count), np.full(count, -1)
    like = (rng.random(count) * width).astype(int)
    return rng.permuted(x_RD[:, like], axis=0), like


def redundant(rng: np.random.Generator, x_RD: np.ndarray, count: int) -> np.ndarray:
    """Columns `[R, count]`: each a sum of one to three of the table's, and noise."""
    width = x_RD.shape[1]
    out = log_uniform(rng, 0.01, 0.7) * rng.standard_normal((len(x_RD), count))
    z_RD = standardised(x_RD)
    for j in range(count):
        used = (rng.random(whole(rng, 1, 3)) * width).astype(int)
        out[:, j] += standardised(z_RD[:, used] @ rng.standard_normal(len(used)))
    return out


def warped(rng: np.random.Generator, x_RF: np.ndarray) -> np.ndarray:
    """Each column bent monotonically: not at all, by a power, an exponential (to either side), or drawn in."""
    z_RF = np.clip(standardised(x_RF), -FAR, FAR)
    kind_F, strength_F = (rng.random(z_RF.shape[1]) * 4).astype(int), rng.random(z_RF.shape[1])
    for kind in (1, 2, 3):
        at = np.flatnonzero(kind_F == kind)
        if not len(at):
            continue
        z, s = z_RF[:, at], strength_F[at]
        if kind == 1:
            bent = np.sign(z) * np.abs(z) ** (0.4 * 6.0**s)  # exponents 0.4 to 2.4
        elif kind == 2:
            rate = np.where(s < 0.35, -1, 1) * (0.1 + 1.4 * rng.random(len(at)))  # more often to the right
            bent = np.expm1(rate * z) / rate
        else:
            bent = np.tanh((0.3 + 1.7 * s) * z)
        z_RF[:, at] = bent
    return z_RF


def scaled(rng: np.random.Generator, x_RF: np.ndarray) -> np.ndarray:
    """Columns in units of their own, 1e-3 to 1e3, half of them away from 0."""
    width = x_RF.shape[1]
    origin_F = 5 * rng.standard_normal(width) * (rng.random(width) < 0.5)
    return (x_RF + origin_F) * 10.0 ** (6 * rng.random(width) - 3)


def missing_cells(rng: np.random.Generator, x_RF: np.ndarray, most: float, why: str | None = None) -> np.ndarray:
    """Which cells are not known, `[R, F]`; at least one, and never all of a column.

    Args:
        most: largest share of a column's rows.
        why: "chance", "own" (high or low values of the cell itself) or "other" (of another column); None: drawn.
    """
    rows, width = x_RF.shape
    why = why or pick(rng, ("chance", "chance", "own", "other"))
    hit_F = np.ones(width, bool)
    if rng.random() < 0.7:
        hit_F[:] = False
        hit_F[some(rng, width)] = True
    rate_F = np.minimum(most * rng.random() * (0.5 + rng.random(width)), most)
    count_F = np.clip(np.rint(rate_F * rows).astype(int), 1, rows - 1) * hit_F
    score_RF = rng.standard_normal(x_RF.shape)
    if why != "chance":
        z_RF = standardised(x_RF)
        driver_RF = z_RF if why == "own" else z_RF[:, rng.permutation(width)]
        score_RF = score_RF + driver_RF * (rng.standard_normal(width) * 2)
    threshold_F = np.sort(score_RF, axis=0)[count_F, np.arange(width)]
    return score_RF < threshold_F
