"""Splitting money between purchases where it buys most: steps along the gradient of the forecast per unit of money.

Dims: K draws of the forecast, O offers, S shares of the spend.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from smidgen.kit.errors import bad

STEPS = 20  # parts in which the money is spent

Gain = Callable[[np.ndarray], np.ndarray]  # money by offer [O] -> plausible losses [K]


@dataclass(frozen=True)
class Split:
    """Money by offer `[O]`; `losses_K`: plausible losses after it; `best_O`: the share of draws in which all the money
    on that offer alone is the best of such purchases: a doubt about the split."""

    money: np.ndarray
    losses_K: np.ndarray
    best_O: np.ndarray


def split(loss_after: Gain, offers: int, spend: float, steps: int = STEPS) -> Split:
    """Spends in equal steps, each on the offer that lowers the mean log loss most; then tries whether all on one offer,
    or halves on two, is better still, so that a purchase which pays only in quantity is found.

    Args:
        loss_after: plausible losses after spending so much on each offer.
    Raises:
        BadInput: no offer, or a spend not above 0.
    """
    if offers < 1:
        raise bad("offers", "at least 1", offers)
    if not spend > 0:
        raise bad("spend", "above 0", spend)
    money_O = np.zeros(offers)
    for _ in range(steps):
        tried = money_O + np.eye(offers) * (spend / steps)
        money_O = tried[int(np.argmin([_score(loss_after(m)) for m in tried]))]
    alone_OO = np.eye(offers) * spend
    alone_OK = np.stack([loss_after(m) for m in alone_OO])
    halves = [(alone_OO[a] + alone_OO[b]) / 2 for a in range(offers) for b in range(a)]
    best = min([money_O, *alone_OO, *halves], key=lambda m: _score(loss_after(m)))
    won_O = np.bincount(alone_OK.argmin(0), minlength=offers) / alone_OK.shape[1]
    return Split(best, loss_after(best), won_O)


def _score(losses_K: np.ndarray) -> float:
    return float(np.log(np.maximum(losses_K, 1e-12)).mean())
