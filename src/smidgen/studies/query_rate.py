"""How often a teacher is wrong, counted on rows that a person labelled too: `query@5/50` is 5 wrong answers of 50.

So few rows leave the rate in doubt, and the doubt is carried into what an answer is worth. Without any count nothing
can be forecast; then it is said what to count, and up to which rate the answers would pay beside labels.

Dims: K draws, N rows that both labelled.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import beta

from smidgen.kit.errors import bad
from smidgen.kit.seeds import derive_seed
from smidgen.studies.prices import Offer

ENOUGH = 50  # rows to count on
HALF = 0.5  # of a wrong and of a right answer beside those counted (Jeffreys)


def count_wrong(labels: Sequence[Any] | np.ndarray, answers: Sequence[Any] | np.ndarray) -> tuple[int, int]:
    """(wrong answers, rows), for `query@WRONG/ROWS`; rows without an answer (None, NaN) are not counted.

    Raises:
        BadInput: not an answer for each label, or none at all.
    """
    if len(labels) != len(answers):
        raise bad("answers", f"{len(labels)}, one for each label", len(answers))
    both = [(a, b) for a, b in zip(labels, answers, strict=True) if b is not None and b == b]
    if not both:
        raise bad("rows that both labelled", "at least 1", 0, f"Let the teacher answer about {ENOUGH} labelled rows.")
    return sum(bool(a != b) for a, b in both), len(both)


def rate_of(wrong: int, rows: int) -> float:
    """The expected share of wrong answers."""
    return (wrong + HALF) / (rows + 2 * HALF)


def rate_interval(wrong: int, rows: int, level: float = 0.9) -> tuple[float, float]:
    """Its interval."""
    low, high = beta.ppf([(1 - level) / 2, (1 + level) / 2], wrong + HALF, rows - wrong + HALF).tolist()
    return low, high


def rates_of(offer: Offer, draws: int, seed: int) -> np.ndarray:
    """Plausible shares of wrong labels `[K]`: of a counted rate what the count leaves open, else the rate as stated.
    What a label is worth and what it costs the probabilities are told of the same rate."""
    if offer.counted is None:
        return np.full(draws, offer.error or 0.0)
    wrong, rows = offer.counted
    rng = np.random.default_rng(derive_seed(seed, "rate", offer.name))
    return rng.beta(wrong + HALF, rows - wrong + HALF, draws)


def doubtful(worth_K: np.ndarray, offer: Offer, classes: int, rate_K: np.ndarray) -> np.ndarray:
    """Worths of labels at the expected rate, moved to those of a counted one (`rates_of`) `[K]`; others as they are.

    The worth falls with the rate e as (1 - e C / (C - 1))^2 (`laws.worth`), whatever else it was measured to be.
    """
    if offer.counted is None or offer.error is None:
        return worth_K
    most = (classes - 1) / classes
    left_K = np.maximum(1 - rate_K / most, 0.0)
    return np.minimum(worth_K * (left_K / max(1 - offer.error / most, 1e-9)) ** 2, 1.0)


def unrated(offer: Offer, offers: Sequence[Offer], classes: int) -> str:
    """Why an answer without a rate cannot be told, and what to do."""
    if not classes:
        return "for numbers a share of wrong answers has no meaning, and no answers of the teacher are known"
    text = (
        f"how many of its answers are wrong is not known: let it answer about {ENOUGH} of the rows that you labelled, "
        f"count, and plan again with query@5/{ENOUGH}={offer.price:g} where 5 are wrong (or query@0.1 if that is known)"
    )
    label = next((o for o in offers if o.name == "label"), None)
    if label is None:
        return text
    if offer.price >= label.price:
        return f"{text}; at this price it cannot pay beside labels, which cost no more and are right"
    most = (classes - 1) / classes
    pays = most * (1 - math.sqrt(offer.price / label.price))
    return f"{text}; by the usual rule it pays beside labels as long as fewer than {100 * pays:.2g} % are wrong"
