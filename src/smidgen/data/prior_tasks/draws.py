"""Small random choices that all parts share, and the joint distributions that columns are drawn from.

`Generator.choice` takes longer than the arithmetic on a small table, so that choices are made of one uniform number.
Dims: R rows, D columns.
"""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")
CONSTANT = 1e-9  # a standard deviation below it is rounding


def pick(rng: np.random.Generator, options: Sequence[T]) -> T:
    """One of them, equally likely."""
    return options[int(rng.random() * len(options))]


def whole(rng: np.random.Generator, low: int, high: int) -> int:
    """A whole number from low to high, both included."""
    return low + int(rng.random() * (high - low + 1))


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """From low to high, uniform in the logarithm."""
    return low * (high / low) ** rng.random()


def some(rng: np.random.Generator, count: int, most: float = 1.0) -> np.ndarray:
    """Indices below `count`, at least one and at most the share `most` of them, more often few than many."""
    return rng.permutation(count)[: 1 + int(rng.random() ** 2 * (most * count - 1e-9))]


def standardised(x_RD: np.ndarray) -> np.ndarray:
    """Mean 0 and standard deviation 1 along rows; a constant becomes 0."""
    x_RD = x_RD - x_RD.mean(0)
    spread_D = np.sqrt((x_RD * x_RD).mean(0))
    return x_RD / np.where(spread_D > CONSTANT, spread_D, 1.0) * (spread_D > CONSTANT)


def inputs(rng: np.random.Generator, rows: int, width: int) -> np.ndarray:
    """Columns `[R, D]` of mean about 0 and standard deviation 1.

    Normal, uniform, heavy-tailed, made of a few common factors, or in groups of rows.
    """
    kind = pick(rng, ("normal", "uniform", "tails", "factors", "groups"))
    if kind == "uniform":
        return standardised(rng.random((rows, width)))
    x_RD = rng.standard_normal((rows, width))
    if kind == "tails":
        x_RD = np.sinh(x_RD * (1.5 * rng.random(width)))
    elif kind == "factors":
        factors = whole(rng, 1, width)
        loadings = rng.standard_normal((factors, width)) / np.sqrt(factors)
        x_RD = log_uniform(rng, 0.1, 1) * x_RD + rng.standard_normal((rows, factors)) @ loadings
    elif kind == "groups":
        groups = whole(rng, 2, 6)
        centre_GD = rng.standard_normal((groups, width))
        x_RD = log_uniform(rng, 0.2, 1) * x_RD + centre_GD[(rng.random(rows) * groups).astype(int)]
    return standardised(x_RD)
