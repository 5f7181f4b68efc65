"""From what decides a target to labels or numbers.

Dims: R rows, K outputs, C classes, P pieces or prototypes.
"""

import numpy as np

from smidgen.data.prior_tasks.draws import CONSTANT, log_uniform, pick, standardised, whole

LEAST_SHARE = 0.1  # of an equal share: the rarest class of an imbalanced task has about this or more
BALANCING_STEPS, BALANCING_DECAY = 14, 0.78
MOST_OUTLYING = 30.0  # standard deviations of the noise
DIRT = {"heavy": "heavy_tailed", "uneven": "heteroscedastic", "few": "discretised", "bent": "warped"}  # of `numbers`


def outputs_for(rng: np.random.Generator, classes: int) -> tuple[str, int]:
    """How labels will be made, and how many outputs this takes. A number takes two: itself, and where noise is."""
    if classes < 2:
        return "cuts", 2 - classes
    way = pick(rng, ("cuts", "argmax", "prototypes"))
    return way, {"cuts": 1, "argmax": classes, "prototypes": whole(rng, 2, 4)}[way]


def class_shares(rng: np.random.Generator, classes: int, uneven: bool) -> np.ndarray:
    """Shares of the classes, `[C]`: equal, or drawn from a Dirichlet distribution."""
    if not uneven:
        return np.full(classes, 1 / classes)
    drawn = rng.standard_gamma(log_uniform(rng, 0.5, 3.0), classes) + 1e-9
    return (1 - LEAST_SHARE) * drawn / drawn.sum() + LEAST_SHARE / classes


def labels(rng: np.random.Generator, z_RK: np.ndarray, share_C: np.ndarray, way: str, noise: float) -> np.ndarray:
    """A class for each row, `[R]`, of about these shares; some may be absent where outputs take few values.

    Args:
        z_RK: standardised. way: "cuts": the first output is cut into intervals, and each has a class; "argmax": the
            largest output decides; "prototypes": the nearest of a few points does.
        noise: standard deviation of what is added to outputs. Shares hold for outputs with noise; but where outputs
            take few values, for those without, lest borders be put amid rows that only noise tells apart.
    """
    softmax = way == "argmax" and rng.random() < 0.5  # then labels are draws from a softmax
    added_RK = rng.gumbel(size=z_RK.shape) if softmax else rng.standard_normal(z_RK.shape)
    noisy_RK = z_RK + noise * added_RK
    settled_RK = z_RK if len(np.unique(z_RK[:, 0])) < len(z_RK) else noisy_RK
    if way == "cuts":
        piece_P = _pieces(rng, len(share_C))
        share_P = share_C[piece_P] / np.bincount(piece_P)[piece_P]
        return piece_P[np.searchsorted(cut_points(settled_RK[:, 0], share_P), noisy_RK[:, 0])]
    if way == "argmax":
        return np.argmax(noisy_RK + balancing(settled_RK, share_C), axis=1)
    piece_P = _pieces(rng, len(share_C))
    point_PK = z_RK[rng.permutation(len(z_RK))[: len(piece_P)]]
    piece_P = piece_P[: len(point_PK)]
    settled_RC, noisy_RC = (_nearness(z, point_PK, piece_P, len(share_C)) for z in (settled_RK, noisy_RK))
    return np.argmax(noisy_RC + balancing(settled_RC, share_C), axis=1)


def _pieces(rng: np.random.Generator, classes: int) -> np.ndarray:
    """The class of each piece, in random order; each class has one, and at times some have more."""
    extra = whole(rng, 1, classes) if rng.random() < 0.4 else 0
    return rng.permutation(np.concatenate([np.arange(classes), (rng.random(extra) * classes).astype(int)]))


def cut_points(z_R: np.ndarray, share_P: np.ndarray) -> np.ndarray:
    """Edges between pieces of about these shares, rising, midway between two values, so that no row lies on one.

    Where there are fewer values than pieces, edges for the first pieces alone.
    """
    value, count = np.unique(z_R, return_counts=True)
    pieces = min(len(share_P), len(value))
    below = count.cumsum()[:-1]  # rows below each gap between two values
    wanted = share_P[: pieces - 1].cumsum() * (len(z_R) / share_P[:pieces].sum())
    gap = np.minimum(np.searchsorted(below, wanted), len(below) - 1)
    lower = np.maximum(gap - 1, 0)
    gap = np.where(wanted - below[lower] < below[gap] - wanted, lower, gap)
    step = np.arange(pieces - 1)  # each edge has a gap of its own
    gap = np.minimum(np.maximum.accumulate(gap - step) + step, len(below) - len(step) + step)
    return (value[gap] + value[gap + 1]) / 2


def _nearness(z_RK: np.ndarray, point_PK: np.ndarray, piece_P: np.ndarray, classes: int) -> np.ndarray:
    """Minus the squared distance to the nearest point of each class, `[R, C]`, in units of its spread."""
    apart_RP = ((z_RK[:, None] - point_PK) ** 2).sum(2)
    near_RC = np.stack([-apart_RP[:, piece_P == c].min(1, initial=99.0) for c in range(classes)], axis=1)
    return near_RC / max(z_RK.shape[1], 1)


def balancing(score_RC: np.ndarray, share_C: np.ndarray) -> np.ndarray:
    """What to add to each class's score for the largest to come about as often as its share, `[C]`.

    Steps shrink, or near points of two classes would swap all their rows for ever; the best of them counts.
    """
    bias_C = np.zeros(len(share_C))
    best, least = bias_C, np.inf
    for step in range(BALANCING_STEPS):
        got_C = np.bincount(np.argmax(score_RC + bias_C, axis=1), minlength=len(share_C)) / len(score_RC)
        off = float(np.abs(got_C - share_C).sum())
        if off < least:
            best, least = bias_C, off
        bias_C = bias_C + BALANCING_DECAY**step * np.log((share_C + 0.01) / (got_C + 0.01))
    return best


def flipped(rng: np.random.Generator, y_R: np.ndarray, share: float) -> np.ndarray:
    """A share of rows, at least one, gets the label of any row, perhaps its own."""
    at = rng.permutation(len(y_R))[: max(round(share * len(y_R)), 1)]
    y_R = y_R.copy()
    y_R[at] = y_R[(rng.random(len(at)) * len(y_R)).astype(int)]
    return y_R


def numbered(rng: np.random.Generator, y_R: np.ndarray) -> tuple[np.ndarray, int]:
    """Classes that occur, numbered from 0 in random order; and how many."""
    found, place_R = np.unique(y_R, return_inverse=True)
    return rng.permutation(len(found))[place_R], len(found)


def numbers(
    rng: np.random.Generator, z_RK: np.ndarray, noise: float, heavy: bool, uneven: bool, few: bool, bent: bool
) -> np.ndarray:
    """A number for each row, `[R]`, of mean 0 and standard deviation 1 (0 where all are equal).

    Args:
        z_RK: standardised; the first output is the signal, the second says where noise is large.
        noise: its standard deviation. heavy: Student's t. uneven: heteroscedastic, by factors.
        few: half of the time rounded, as counts and grades are. bent: an exponential of it, to either side.
    """
    rows = len(z_RK)
    if heavy:
        freedom = log_uniform(rng, 1.5, 6.0)
        e_R = np.clip(rng.standard_t(freedom, rows), -MOST_OUTLYING, MOST_OUTLYING)
    else:
        e_R = rng.standard_normal(rows)
    if uneven:
        e_R = e_R * np.exp(log_uniform(rng, 0.4, 1.2) * np.clip(z_RK[:, 1], -3, 3))
    y_R = z_RK[:, 0] + noise * e_R
    if bent:
        rate = log_uniform(rng, 0.2, 1.0) * (1 if rng.random() < 0.7 else -1)
        y_R = np.expm1(rate * np.clip(standardised(y_R), -6, 6)) / rate
    y_R = standardised(y_R)
    if few and rng.random() < 0.5:  # the flaw is of columns first
        grid = log_uniform(rng, 0.1, 1.0)
        y_R = standardised(np.rint(y_R / grid))
    return y_R


def varies(y_R: np.ndarray) -> bool:
    """Whether a numeric target is one at all."""
    return float(y_R.std()) > CONSTANT
