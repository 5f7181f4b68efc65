"""What ties a target to columns: a random function of them, clusters of rows, or causes in which both have a place.

Each mechanism gives the columns of a table and, beside them, what will decide its target.
Dims: R rows, D columns, K outputs, G groups, V variables of a causal model.
"""

import numpy as np

from smidgen.data.prior_tasks.columns import Plan, snap, snapped
from smidgen.data.prior_tasks.draws import inputs, log_uniform, pick, standardised, whole
from smidgen.data.prior_tasks.functions import FUNCTIONS

DIGITS = 9  # of outputs, after the point
MOST_HIDDEN = 16  # variables of a causal model that the table does not show


def mechanism(rng: np.random.Generator, name: str, plan: Plan) -> tuple[np.ndarray, np.ndarray]:
    """One draw of a named mechanism.

    Returns:
        Columns `[R, D]`, numeric ones of standard deviation about 1, others 0 to levels - 1; and outputs `[R, K]` of
        mean 0 and standard deviation 1 (0 where the draw happens to be constant).
    """
    if name == "causal":
        shown_RD, z_RK = causal(rng, plan)
    elif name == "clusters":
        shown_RD, z_RK = clusters(rng, plan)
    else:
        effect_RD, shown_RD = snapped(rng, inputs(rng, plan.rows, len(plan.levels)), plan)
        z_RK = FUNCTIONS[name](rng, effect_RD, plan.outputs)
    # Equal outputs may differ in their last digits, where rows are summed in another order; they are to stay equal.
    return shown_RD, np.round(standardised(z_RK), DIGITS)


def clusters(rng: np.random.Generator, plan: Plan) -> tuple[np.ndarray, np.ndarray]:
    """Groups of rows that differ in the means and spreads of columns; a row's group decides its target."""
    width = len(plan.levels)
    groups = max(plan.classes, 2) * whole(rng, 1, 3)
    group_R = (rng.random(plan.rows) * groups).astype(int)
    # Columns add up: the more there are, the nearer the groups may lie.
    centre_GD = rng.standard_normal((groups, width)) * (log_uniform(rng, 1.0, 5.0) / np.sqrt(width))
    spread_GD = np.exp(0.4 * rng.standard_normal((groups, width)))
    x_RD = centre_GD[group_R] + spread_GD[group_R] * rng.standard_normal((plan.rows, width))
    _, shown_RD = snapped(rng, standardised(x_RD), plan)
    return shown_RD, rng.standard_normal((groups, plan.outputs))[group_R]


def causal(rng: np.random.Generator, plan: Plan) -> tuple[np.ndarray, np.ndarray]:
    """A structural causal model: each variable is a random function of a few earlier ones, and noise of its own.

    Variables come in small blocks with parents in common. The table shows some of them; what decides the target has a
    place anywhere in the order, so that columns may be its causes, its effects or neither, and some causes are hidden.
    """
    width, outputs = len(plan.levels), plan.outputs
    others = width + whole(rng, 0, min(1 + width // 2, MOST_HIDDEN))
    column_V = _placed(rng, others, width)
    roots = whole(rng, 1, min(others, 2 + others // 3))
    target_at = whole(rng, roots, others)  # before the variable of this number

    values = np.empty((plan.rows, others + outputs))
    shown_RD = np.empty((plan.rows, width))
    seen: list[int] = []  # places in `values` of variables that the table shows
    z_RK: np.ndarray | None = None
    made = placed = 0  # variables so far; places filled, which the target also takes
    while made < others or z_RK is None:
        if made == target_at and z_RK is None:
            # One parent at least is shown; else the target might have nothing to do with the table.
            parents = np.append((rng.random(whole(rng, 0, 4)) * placed).astype(int), pick(rng, seen))
            z_RK = _children(rng, values[:, parents], outputs)  # its noise comes when it turns into labels or numbers
            values[:, placed : placed + outputs] = z_RK
            placed += outputs
            continue
        until = target_at if z_RK is None else others
        size = roots if made == 0 else min(whole(rng, 1, 2 + others // 10), until - made)
        if made == 0:
            block = inputs(rng, plan.rows, size)
        else:
            parents = (rng.random(whole(rng, 1, 4)) * placed).astype(int)
            block = _children(rng, values[:, parents], size)
            spread = 0.01 + plan.noise * rng.random(size)  # so that even a constant function varies
            block = block + spread * rng.standard_normal(block.shape)
        for k in range(size):
            column = column_V[made + k]
            if column >= 0:
                seen.append(placed + k)
                effect_R = shown_R = block[:, k]
                if plan.levels[column]:
                    effect_R, shown_R = snap(rng, shown_R, int(plan.levels[column]), bool(plan.codes[column]))
                block[:, k], shown_RD[:, column] = effect_R, shown_R
        values[:, placed : placed + size] = block
        made, placed = made + size, placed + size
    return shown_RD, z_RK


def _placed(rng: np.random.Generator, others: int, width: int) -> np.ndarray:
    """The column in which each variable is shown, -1 where in none; the first variable always is."""
    order = rng.permutation(others)
    first = int(np.flatnonzero(order < width)[0])
    order[0], order[first] = order[first], order[0]
    return np.where(order < width, order, -1)


def _children(rng: np.random.Generator, parents_RD: np.ndarray, count: int) -> np.ndarray:
    """Functions of the parents, standardised."""
    name = pick(rng, ("linear", "linear", "network", "network", "gaussian_process", "forest", "rules"))
    return standardised(FUNCTIONS[name](rng, parents_RD, count))
