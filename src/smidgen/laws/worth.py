"""What a row that is no clean label is worth in clean labels: a wrong-at-times label, a row without one.

n right labels and m others are taken to do what n + worth * m right ones would; `worth` is measured on a few mixes, and
has a prior where these say little, as where the curve is flat. For labels of which a share e is wrong, evenly among C
classes, the prior is (1 - e C / (C - 1))^2: each tells so much less of its class (Natarajan et al., 2013, NeurIPS,
weigh the loss by this factor; its square is what the noise costs in variance).

Dims: K draws of the curve, G values of a grid, M mixes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from smidgen.kit.errors import bad
from smidgen.laws.curve import Curve

GRID = np.linspace(-0.25, 1.0, 51)
PRIOR_SD = 0.25
LEAST_SD = 0.04  # of one mix' log loss


@dataclass(frozen=True)
class Mix:
    """A measured mixture: mean loss with `right` labels and `other` rows, over `repeats` trainings; `spread`: standard
    deviation of the log loss between them."""

    right: float
    other: float
    loss: float
    spread: float = 0.0
    repeats: int = 1


def noisy_prior(error: float, classes: int) -> tuple[float, float]:
    """Mean and sd of what a label is worth that is wrong with probability `error`.

    Raises:
        BadInput: an error that leaves nothing to learn: at or above (C - 1) / C.
    """
    most = (classes - 1) / classes
    if not 0 <= error < most:
        raise bad("error rate", f"0 or more and below {most:.3g}, as guessing among {classes} classes has", error)
    return (1 - error / most) ** 2, PRIOR_SD * min(1.0, 2 * error / most + 0.1)


def worth(curve: Curve, mixes: Sequence[Mix], prior: tuple[float, float], seed: int = 0) -> np.ndarray:
    """Plausible worths `[K]`, one a draw of the curve, so that doubts about both go together.

    Args:
        mixes: scored on the same rows as the curve's points. prior: mean and sd.
    """
    draws_KP = curve.law.draws_KP
    assert draws_KP is not None
    log_prior_G = -0.5 * ((GRID - prior[0]) / prior[1]) ** 2
    log_like_KG = np.repeat(log_prior_G[None], len(draws_KP), 0)
    for mix in mixes:
        n_G = np.maximum(mix.right + GRID * mix.other, 1.0)
        # with the offset: the mixes are scored on the rows that the curve was scored on
        told_KG = curve.law.form.log_value(draws_KP, n_G[:, None])[0] + np.log(curve.baseline)
        sd = max(mix.spread / np.sqrt(mix.repeats), LEAST_SD)
        log_like_KG = log_like_KG - 0.5 * ((told_KG - np.log(max(mix.loss, 1e-6 * curve.baseline))) / sd) ** 2
    weights_KG = np.exp(log_like_KG - log_like_KG.max(1, keepdims=True))
    total_KG = np.cumsum(weights_KG, 1)
    pick_K = np.random.default_rng(seed).random(len(draws_KP)) * total_KG[:, -1]
    return GRID[(total_KG < pick_K[:, None]).sum(1)]
