"""Random functions of a table's rows: each call draws one, with several outputs, and gives its values.

Inputs are standardised columns; outputs are of any scale. What is drawn depends on the generator and the numbers of
columns, rows and outputs alone, never on values: the same generator on other values gives the same function, but for
thresholds, which lie at values of rows.

Dims: R rows, D columns, K outputs, M random features, T trees, N inner nodes, Q rules, C conditions of a rule.
"""

from collections.abc import Callable

import numpy as np

from smidgen.data.prior_tasks.draws import log_uniform, pick, some, whole

Function = Callable[[np.random.Generator, np.ndarray, int], np.ndarray]
FEATURES = 64  # of a Gaussian process


def linear(rng: np.random.Generator, x_RD: np.ndarray, outputs: int) -> np.ndarray:
    """All columns, normal weights."""
    return x_RD @ rng.standard_normal((x_RD.shape[1], outputs))


def sparse_linear(rng: np.random.Generator, x_RD: np.ndarray, outputs: int) -> np.ndarray:
    """A few columns, double-exponential weights; half of the time also products of two of them."""
    used = some(rng, x_RD.shape[1], 0.5)
    z_RK = x_RD[:, used] @ rng.laplace(size=(len(used), outputs))
    if rng.random() < 0.5:
        a, b = (used[(rng.random(len(used)) * len(used)).astype(int)] for _ in range(2))
        z_RK = z_RK + (x_RD[:, a] * x_RD[:, b]) @ rng.laplace(size=(len(used), outputs))
    return z_RK


def _relu(h: np.ndarray) -> np.ndarray:
    return np.maximum(h, 0)


def _square(h: np.ndarray) -> np.ndarray:
    return np.minimum(h * h, 9.0)


def _bump(h: np.ndarray) -> np.ndarray:
    return np.exp(-h * h)


ACTIVATIONS = (np.tanh, np.sin, np.abs, np.sign, _relu, _square, _bump)


def network(rng: np.random.Generator, x_RD: np.ndarray, outputs: int) -> np.ndarray:
    """An untrained network of 1 to 3 layers, 4 to 32 wide, with part of its weights 0."""
    h = x_RD[:, _relevant(rng, x_RD.shape[1])]
    width, gain, kept = int(log_uniform(rng, 4, 33)), log_uniform(rng, 0.5, 2.5), 0.3 + 0.7 * rng.random()
    for _ in range(whole(rng, 1, 3)):
        shape = (h.shape[1], width)
        weights = rng.standard_normal(shape) * (rng.random(shape) < kept) * (gain / np.sqrt(kept * shape[0]))
        h = pick(rng, ACTIVATIONS)(h @ weights + rng.standard_normal(width))
    return h @ rng.standard_normal((width, outputs))


def gaussian_process(rng: np.random.Generator, x_RD: np.ndarray, outputs: int) -> np.ndarray:
    """Draws of a Gaussian process, by random Fourier features (Rahimi and Recht, 2007).

    Squared-exponential, or Matérn of smoothness 3/2 or 5/2, whose spectral density is Student's t; each column has a
    length scale of its own.
    """
    h = x_RD[:, _relevant(rng, x_RD.shape[1])]
    scale_D = np.exp(0.7 * rng.standard_normal(h.shape[1]))
    # The argument of a cosine then has this standard deviation, whatever the number of columns.
    scale_D *= log_uniform(rng, 0.3, 2.0) / np.sqrt((scale_D * scale_D).sum())
    spectrum_DM = rng.standard_normal((h.shape[1], FEATURES))
    freedom = pick(rng, (0, 3, 5))
    if freedom:
        spectrum_DM /= np.sqrt(rng.chisquare(freedom, FEATURES) / freedom)
    phase_M = 2 * np.pi * rng.random(FEATURES)
    return np.cos((h * scale_D) @ spectrum_DM + phase_M) @ rng.standard_normal((FEATURES, outputs))


def forest(rng: np.random.Generator, x_RD: np.ndarray, outputs: int) -> np.ndarray:
    """The sum of 1 to 16 complete trees, 1 to 5 deep, thresholds at values of random rows."""
    trees, depth = pick(rng, (1, 1, 1, 2, 4, 8, 16)), whole(rng, 1, 5)
    inner, rows = 2**depth - 1, len(x_RD)
    column_TN, threshold_TN = _cuts(rng, x_RD, (trees, inner))
    value_TLK = rng.standard_normal((trees * (inner + 1), outputs))
    tree_T, row_R1 = np.arange(trees), np.arange(rows)[:, None]
    node_RT = np.zeros((rows, trees), int)
    for _ in range(depth):  # children of node i are 2 i + 1 and 2 i + 2
        at_RT = node_RT + tree_T * inner
        right_RT = x_RD[row_R1, column_TN.ravel()[at_RT]] > threshold_TN.ravel()[at_RT]
        node_RT = 2 * node_RT + 1 + right_RT
    leaf_RT = node_RT - inner + tree_T * (inner + 1)
    z_RK = value_TLK[leaf_RT[:, 0]]
    for tree in range(1, trees):
        z_RK = z_RK + value_TLK[leaf_RT[:, tree]]
    return z_RK


def rules(rng: np.random.Generator, x_RD: np.ndarray, outputs: int) -> np.ndarray:
    """What people write down: a decision list, a sum of points for rules that hold, or a count of conditions."""
    kind = pick(rng, ("list", "points", "count"))
    count = whole(rng, 2, 4) if kind == "count" else whole(rng, 1, 6)
    conditions = 1 if kind == "count" else pick(rng, (1, 1, 2, 2, 3))  # that must all hold
    column_QC, threshold_QC = _cuts(rng, x_RD, (count, conditions))
    holds_RQ = ((x_RD[:, column_QC] > threshold_QC) == (rng.random((count, conditions)) < 0.5)).all(2)
    if kind == "points":
        return holds_RQ @ rng.standard_normal((count, outputs))
    values = rng.standard_normal((count + 1, outputs))
    if kind == "count":  # any function of how many hold: majority, at least m of n, parity
        return values[holds_RQ.sum(1)]
    return values[np.where(holds_RQ.any(1), holds_RQ.argmax(1), count)]  # the first that holds decides


def _relevant(rng: np.random.Generator, width: int) -> np.ndarray:
    """All columns, or as often only some of them."""
    return np.arange(width) if rng.random() < 0.5 else some(rng, width)


def _cuts(rng: np.random.Generator, x_RD: np.ndarray, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Random columns, and for each the value of a random row: cuts fall where rows are."""
    used = _relevant(rng, x_RD.shape[1])
    column = used[(rng.random(shape) * len(used)).astype(int)]
    return column, x_RD[(rng.random(shape) * len(x_RD)).astype(int), column]


FUNCTIONS: dict[str, Function] = {
    "linear": linear,
    "sparse_linear": sparse_linear,
    "network": network,
    "gaussian_process": gaussian_process,
    "forest": forest,
    "rules": rules,
}
