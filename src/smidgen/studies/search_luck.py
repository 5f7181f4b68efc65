"""What more time would bring to a search that its budget ended: the luck of the candidates that were not tried.

Scores of tried candidates say how good such candidates are and how far they differ; an untried one is a draw from the
same, moved by how it ranked on other small tasks. The best of more draws is expected to be better, the less the more
there were already. What is chosen is what looks best on few rows, and the luck in that is taken off: chosen is the
lowest measured loss, told is its true one.

Dims: C tried candidates, L untried ones, K draws.
"""

from dataclasses import dataclass

import numpy as np

from smidgen.kit.seeds import derive_seed

LEAST = 3  # candidates, below which nothing is known of how far they differ
LEAST_SPREAD = 0.3  # of the noise's variance, that true losses differ by at least
SLOPE_ROWS = 2.0  # candidates' worth of doubt whether other tasks' ranks hold here


@dataclass(frozen=True)
class Search:
    """A search so far.

    Attributes:
        losses_C: log losses measured; noise_C: their standard errors beside one another (what all share is left out).
        ranks_C, ranks_L: expected excess loss of tried and untried ones by other tasks, any unit.
        hours_L: that each untried one takes on one worker. Untried are in the order in which they would come.
    """

    losses_C: np.ndarray
    noise_C: np.ndarray
    ranks_C: np.ndarray
    ranks_L: np.ndarray
    hours_L: np.ndarray

    def change(self, count: int, draws: int, seed: int = 0) -> np.ndarray:
        """Plausible changes of the chosen one's true log loss after the next `count` candidates `[K]`."""
        rng = np.random.default_rng(derive_seed(seed, "search"))
        slope = self._slope()
        x_C = self.losses_C - slope * (self.ranks_C - self.ranks_C.mean())
        tried, noise2 = len(x_C), float(np.mean(self.noise_C**2))
        # bad candidates have no limit: they count as no farther from the middle than the best one
        middle = float(np.median(x_C))
        seen2 = float(np.var(np.minimum(x_C, 2 * middle - x_C.min()), ddof=1))
        seen2_K = seen2 * (tried - 1) / rng.chisquare(tried - 1, draws)
        s_K = np.sqrt(np.maximum(seen2_K - noise2, LEAST_SPREAD * noise2) + 1e-12)
        mean_K = middle + s_K * rng.normal(size=draws) * (np.pi / 2 / tried) ** 0.5
        best, off_C = int(np.argmin(self.losses_C)), slope * (self.ranks_C - self.ranks_C.mean())
        keep_K = s_K**2 / (s_K**2 + self.noise_C[best] ** 2)
        likely_K = mean_K + keep_K * (x_C[best] - mean_K) + off_C[best]
        true_K = likely_K + np.sqrt(keep_K) * self.noise_C[best] * rng.normal(size=draws)
        # all untried are drawn, so that more of them are a longer list of the same
        new_KL = mean_K[:, None] + s_K[:, None] * rng.normal(size=(draws, len(self.ranks_L)))
        seen_KL = new_KL + noise2**0.5 * rng.normal(size=new_KL.shape)
        off_L = slope * (self.ranks_L[:count] - self.ranks_C.mean())
        seen_KC = np.column_stack([np.full(draws, self.losses_C[best]), seen_KL[:, :count] + off_L])
        true_KC = np.column_stack([true_K, new_KL[:, :count] + off_L])
        return true_KC[np.arange(draws), seen_KC.argmin(1)] - true_K

    def _slope(self) -> float:
        """Log loss for each unit of rank, as this task's candidates say, held towards 0; never below it."""
        ranks = self.ranks_C - self.ranks_C.mean()
        var = float(ranks @ ranks)
        if not var > 0:
            return 0.0
        return max(float(ranks @ self.losses_C) / (var * (1 + SLOPE_ROWS / len(ranks))), 0.0)
