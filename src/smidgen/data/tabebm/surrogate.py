"""The task that gives a class its energy: its rows against artificial negatives at far corners.

Dims: N rows, S negatives, D features.
"""

import numpy as np

from smidgen.kit.errors import bad


def corners(count: int, features: int, distance: float, seed: int) -> np.ndarray:
    """Different corners of the cube `[-distance, distance]^D`, `[S, D]`: random ones, each followed by its opposite.

    Four in two dimensions are all there are. S is `count`, or as many as the cube has.

    Raises:
        BadInput: fewer than 1 of them or of the features, or a distance that is not above 0.
    """
    for name, value in (("n_negatives", count), ("features", features)):
        if value < 1:
            raise bad(name, "at least 1", value)
    if not 0 < distance < np.inf:
        raise bad("neg_distance", "above 0", distance)
    rng = np.random.default_rng(seed)
    found: dict[tuple[int, ...], None] = {}
    while len(found) < min(count, 2 ** min(features, 62)):
        sign_D = rng.choice([-1, 1], features)
        found |= {tuple(sign_D.tolist()): None, tuple((-sign_D).tolist()): None}
    return distance * np.array(list(found)[:count], float)


def surrogate_task(own_ND: np.ndarray, negative_SD: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """X `[N + S, D]`, the rows first, and y: 0 for rows of the class, 1 for negatives."""
    return np.concatenate([own_ND, negative_SD]), np.repeat([0, 1], [len(own_ND), len(negative_SD)])
