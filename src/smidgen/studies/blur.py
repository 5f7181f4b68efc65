"""What wrong labels cost a model's probabilities, however many of them there are.

Where a share b of all labels is drawn evenly from the classes, a model that believes its labels learns probabilities
p~ = (1 - b) p + b / C: no number of rows removes that. Models that hold back, as all do that are fitted to few rows,
learn less still: on development tasks (`benchmarks/planning.py`) log loss fitted best as blurred by a share of
1 - (1 - b)^2 (the power 2 is 0.2 to 3.4 by task). On accuracy it costs nothing, the order of the classes stays; on log
loss the mean divergence KL(p || p~), on Brier scores the mean squared distance. The surer a model is, the dearer: the
cost is told for a loss so many times today's, the probabilities made sharper or flatter until they expect that.

Dims: N rows, C classes, B shares, G degrees of sharpness, K draws.
"""

import math
from dataclasses import dataclass, replace

import numpy as np

from smidgen.laws.worth import Mix
from smidgen.learn.blend import tempered

LEAST = 1e-6  # a probability
ROWS = 1000  # more say no more of a mean
POWER = 2.0
DOUBT = 0.5  # of a cost, relative
SHARES_B = np.linspace(0.0, 1.0, 41)
LOG_T_G = np.linspace(-3.5, 3.5, 29)


@dataclass(frozen=True)
class Blur:
    """Costs `[G, B]` of each share of evenly drawn labels, at `SHARES_B`, for models that expect a loss of `loss_G`
    (rising), in the unit of the metric; `today`: what the model as it is expects."""

    classes: int
    today: float
    loss_G: np.ndarray
    cost_GB: np.ndarray

    @classmethod
    def of(cls, p_NC: np.ndarray, metric: str) -> "Blur | None":
        """From probabilities as the model gives them today; None: a metric that blurring does not touch."""
        if metric not in ("log_loss", "brier") or p_NC.ndim != 2:
            return None
        p_NC, classes = p_NC[:: -(-len(p_NC) // ROWS)], p_NC.shape[1]
        halved = 2 if classes == 2 else 1  # of two classes the Brier score counts one (`tasks.metrics`)
        losses, costs = [], []
        for log_t in LOG_T_G:
            p = np.clip(tempered(p_NC, log_t), LEAST, None)
            p = p / p.sum(1, keepdims=True)
            blurred = [(1 - b) * p + b / classes for b in SHARES_B]
            if metric == "log_loss":
                losses.append(-(p * np.log(p)).sum(1).mean())
                costs.append([(p * np.log(p / q)).sum(1).mean() for q in blurred])
            else:
                losses.append((1 - (p**2).sum(1)).mean() / halved)
                costs.append([((p - q) ** 2).sum(1).mean() / halved for q in blurred])
        order = np.argsort(losses)
        today = losses[int(np.abs(LOG_T_G).argmin())]
        return cls(classes, float(today), np.array(losses)[order], np.array(costs)[order])

    def cost(self, wrong_K: float | np.ndarray, times_K: float | np.ndarray = 1.0) -> np.ndarray:
        """Where a share `wrong_K` of all labels is wrong, of a model whose loss without them is `times_K` today's
        `[K]`. An evenly drawn label is right in one of C cases."""
        wrong_K, times_K = np.broadcast_arrays(np.asarray(wrong_K, float), np.asarray(times_K, float))
        drawn_K = np.minimum(wrong_K * self.classes / (self.classes - 1), 1.0)
        b_K, past_b_K = _between(SHARES_B, 1 - (1 - drawn_K) ** POWER)
        g_K, past_g_K = _between(self.loss_G, self.today * times_K)
        low_K, high_K = (
            (1 - past_b_K) * self.cost_GB[g, b_K] + past_b_K * self.cost_GB[g, b_K + 1] for g in (g_K, g_K + 1)
        )
        return (1 - past_g_K) * low_K + past_g_K * high_K

    def without(self, wrong: float, loss: float, today: float) -> float:
        """The loss that, with this cost, becomes `loss`; `today`: measured of the model as it is."""
        clean_G = np.append(0.0, self.loss_G * today / max(self.today, LEAST))
        with_G = np.maximum.accumulate(clean_G + self.cost(wrong, clean_G / today))
        return float(np.clip(np.interp(loss, with_G, clean_G), loss / 4, loss))

    def taken_off(self, mix: Mix, error: float, today: float) -> Mix:
        """A measured mixture without this cost, with the doubt about it: such few rows may not show all of it."""
        clean = self.without(error * mix.other / (mix.right + mix.other), mix.loss, today)
        doubt = DOUBT * (mix.loss - clean) / clean * math.sqrt(mix.repeats)
        return replace(mix, loss=clean, spread=math.hypot(mix.spread, doubt))


def _between(grid: np.ndarray, values_K: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(number of the grid's value below, share of the way to the next) of each value; beyond the grid its end."""
    at_K = np.clip(np.searchsorted(grid, values_K, side="right") - 1, 0, len(grid) - 2)
    step_K = np.maximum(grid[at_K + 1] - grid[at_K], 1e-300)
    return at_K, np.clip((values_K - grid[at_K]) / step_K, 0.0, 1.0)
