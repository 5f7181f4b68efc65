"""Choosing among few without fooling oneself: tempering, posterior weights, and an estimate that pays for the choice.

Dims: K candidates, R repeats of cross-validation, N rows, C classes, T temperatures, B bootstrap draws.

1. Each candidate's out-of-fold probabilities are tempered: p^(1/T) normalised, T by penalised log loss (a normal
   prior on log T, so that few rows move it little).
2. Weights are the posterior mode of a mixture under a Dirichlet prior:
   sum_i log sum_k w_k p_ki + a sum_k pi'_k log w_k.
   The prior pi (how methods rank on small tasks, `studies.priors`) is first sharpened by a part of the evidence:
   pi'_k ~ pi_k exp(-eta loss_k), losses summed over rows, so that a method that is plainly worse leaves even where few
   rows say so; `a` is worth that many rows. With few rows the blend stays near the prior; with many it goes where
   the losses say. For regression the same with squared errors.
3. The score of the chosen blend on its own out-of-fold rows is too good, since these rows chose it. So the whole of
   1 and 2 is done again on bootstrap draws of the rows, and scored on the rows that each draw left out
   (Tsamardinos, Greasidou, Borboudakis 2018, "Bootstrapping the out-of-sample predictions", arXiv 1708.07180).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from smidgen.kit.seeds import derive_seed
from smidgen.learn.blend import FLOOR, tempered

LOG_T = np.arange(-9, 19) / 10


@dataclass(frozen=True, kw_only=True)
class ChoiceConfig:
    """Constants of the choice, settled on the development tables (`benchmarks/priors.py`)."""

    prior_rows: float = 8.0  # `a`: how many rows the prior is worth
    evidence: float = 0.2  # `eta`: the part of the log likelihood that sharpens the prior
    temper_sd: float = 0.35  # prior standard deviation of log T
    min_weight: float = 0.03  # smaller weights are dropped: each member costs bytes and time
    max_members: int = 8
    draws: int = 100  # B


@dataclass
class OutOfFold:
    """Out-of-fold predictions of the candidates that are compared, all on the same repeats.

    Attributes:
        predictions: `[K, R, N, C]` probabilities or `[K, R, N]` values.
        truth: `[N]` class codes or values. prior: `[K]`, sums to 1. units: `[N]` rows of one group share a number:
            they are drawn together.
    """

    predictions: np.ndarray
    truth: np.ndarray
    prior: np.ndarray
    units: np.ndarray
    losses: np.ndarray = field(init=False)  # [K, T, R, N]; regression: errors [K, R, N]

    def __post_init__(self):
        if self.classes:
            own = np.take_along_axis(self.predictions, self.truth[None, None, :, None], -1)[..., 0]
            self.losses = np.stack(
                [
                    np.log(_power_sum(self.predictions, np.exp(-t))) - np.exp(-t) * np.log(np.maximum(own, FLOOR))
                    for t in LOG_T
                ],
                1,
            )
        else:
            self.losses = self.predictions - self.truth

    @property
    def classes(self) -> int:
        return self.predictions.shape[-1] if self.predictions.ndim == 4 else 0

    @property
    def size(self) -> int:
        return len(self.truth)


def _power_sum(p: np.ndarray, power: float) -> np.ndarray:
    return (np.maximum(p, FLOOR) ** power).sum(-1)


@dataclass
class Choice:
    """Weights `[K]` (sum 1, dropped ones 0) and log temperatures `[K]` (0 for regression)."""

    weights: np.ndarray
    log_t: np.ndarray


def choose(board: OutOfFold, config: ChoiceConfig, multiplicity: np.ndarray | None = None) -> Choice:
    """Steps 1 and 2 on the rows, each counted `multiplicity` times `[N]` (default: once)."""
    m = np.ones(board.size) if multiplicity is None else multiplicity
    if not board.classes:
        mse = (board.losses**2).mean(1) @ m / m.sum()
        prior = _sharpened(board.prior, config.evidence * 0.5 * m.sum() * np.log(np.maximum(mse, 1e-300)))
        return Choice(_trim(_simplex_squares(board.losses, m, prior, config.prior_rows), config), np.zeros(len(prior)))
    index = temper(board.losses, m, config)
    losses = board.losses[np.arange(len(index)), index]  # [K, R, N]
    prior = _sharpened(board.prior, config.evidence * (losses.mean(1) @ m))
    return Choice(_trim(_mixture_weights(np.exp(-losses), m, prior, config.prior_rows), config), LOG_T[index])


def _sharpened(prior: np.ndarray, cost: np.ndarray) -> np.ndarray:
    w = prior * np.exp(-np.minimum(cost - cost.min(), 600.0))
    return w / w.sum()


def temper(losses: np.ndarray, m: np.ndarray, config: ChoiceConfig) -> np.ndarray:
    """Index into LOG_T for each candidate: penalised loss over the rows, repeats averaged."""
    total = (losses @ m).mean(-1)  # [K, T]
    return np.argmin(total + 0.5 * (LOG_T / config.temper_sd) ** 2, 1)


def _mixture_weights(p: np.ndarray, m: np.ndarray, prior: np.ndarray, a: float, steps: int = 150) -> np.ndarray:
    """EM for the Dirichlet-penalised mixture; p `[K, R, N]` true-class probabilities."""
    k, r, _ = p.shape
    flat = p.transpose(0, 2, 1).reshape(k, -1)
    each = np.repeat(m, r) / r
    rows = m.sum()
    w = prior.copy()
    for _ in range(steps):
        mix = w @ flat
        new = (w * (flat @ (each / np.maximum(mix, 1e-300))) + a * prior) / (rows + a)
        done = np.abs(new - w).max() < 1e-5
        w = new
        if done:
            break
    return w / w.sum()


def _simplex_squares(errors: np.ndarray, m: np.ndarray, prior: np.ndarray, a: float, steps: int = 300) -> np.ndarray:
    """min over the simplex of rows/(2 s2) * mean squared error of the blend - a sum pi log w; s2: the best single's."""
    k, r, _ = errors.shape
    gram = np.einsum("krn,jrn,n->kj", errors, errors, m, optimize=True) / r
    s2 = max(gram.diagonal().min() / m.sum(), 1e-300)
    gram = gram / s2
    w = prior.copy()
    rate = 1.0 / (np.abs(gram).max() + a + 1e-9)
    for _ in range(steps):
        gradient = gram @ w - a * prior / np.maximum(w, 1e-9)
        step = w * np.exp(-np.clip(rate * gradient * k, -0.5, 0.5))
        new = step / step.sum()
        done = np.abs(new - w).max() < 1e-6
        w = new
        if done:
            break
    return w


def _trim(w: np.ndarray, config: ChoiceConfig) -> np.ndarray:
    kept = np.where(w >= min(config.min_weight, w.max()), w, 0.0)
    order = np.argsort(-kept, kind="stable")
    kept[order[config.max_members :]] = 0.0
    return kept / kept.sum()


def own_losses(board: OutOfFold, choice: Choice) -> np.ndarray:
    """Each candidate's loss of each row `[K, N]`, repeats averaged: log loss at its temperature, or squared error."""
    if not board.classes:
        return (board.losses**2).mean(1)
    index = np.searchsorted(LOG_T, choice.log_t - 1e-9)
    return board.losses[np.arange(len(index)), index].mean(1)


def left_out(board: OutOfFold, config: ChoiceConfig, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Step 3: yields, for each draw, the rows it left out and the blend's predictions of them `[R, rows, C]` (or
    `[R, rows]`)
    by the choice that did not see them."""
    rng = np.random.default_rng(derive_seed(seed, "bootstrap"))
    names, unit_of = np.unique(board.units, return_inverse=True)
    cells = board.predictions.size
    draws = config.draws if cells < 2e6 else max(20, int(config.draws * 2e6 / cells))
    for _ in range(draws):
        counts = np.bincount(rng.integers(0, len(names), len(names)), minlength=len(names))
        m = counts[unit_of].astype(float)
        out = np.flatnonzero(m == 0)
        if len(out) == 0 or m.sum() == 0:
            continue
        choice = choose(board, config, m)
        # with the temperatures of this draw: those of all rows have seen the rows that are left out
        part = (
            choice.weights[k] * tempered(board.predictions[k][:, out], choice.log_t[k])
            for k in np.flatnonzero(choice.weights)
        )
        yield out, np.asarray(sum(part))
