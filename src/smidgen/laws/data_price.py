"""What a clean row is worth in noisy ones, from the scores of models of several mixtures (Daras et al., 2024, "How much
is a noisy image worth?", arXiv 2411.02780).

A mixture that scores as n0 clean rows do alone has n_noisy noisy rows in place of n0 - n_clean clean ones. Its price is
n_noisy / (n0 - n_clean) noisy rows for a clean one. `data_price` reads n0 off the curve of the clean-only rows;
`MixtureScalingLaw` fits one law to all rows and answers for mixtures that were not measured. Scores are positive and
better when smaller (Frechet distance, loss, error).

A table is anything with columns by name (a DataFrame, a mapping): "n_clean", "n_noisy", "score", and if there is one
"seed", by which rows of one draw of the data belong together; else equal mixtures are repeats of their own.

Dims: R rows of the table, C cells (different mixtures, clean-only ones too), M those with noisy rows, G those without,
S seeds, K draws.
"""

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np

from smidgen.kit.errors import bad
from smidgen.laws.draws import bootstrap
from smidgen.laws.form import Parameter
from smidgen.laws.law import Law, fit
from smidgen.laws.points import Numbers, Points

DRAWS, LEVEL = 1000, 0.9
ROUNDING = 1e-9  # log scores nearer to each other are equal
Range = tuple[float, float]


@dataclass(frozen=True)
class MixturePrice:
    """One mixture. `equal_clean`: how many clean rows alone score as it does; `price`: noisy rows for one clean row;
    each as (low, high), which are one number unless the curve of clean rows is flat there, or ends before: then they
    reach to 0 or `inf`. `interval`: of the price, with the luck of the seeds."""

    n_clean: int
    n_noisy: int
    equal_clean: Range
    price: Range
    interval: Range


def data_price(results: Any, *, level: float = LEVEL, draws: int = DRAWS, seed: int = 0) -> Range:
    """Noisy rows for one clean row: the central interval over the mixtures of the table and the luck of its seeds;
    without repeats over the mixtures alone. `inf`: noisy rows may be worth nothing. 0: they may be worth more than the
    largest clean-only row of the table can tell.

    Args:
        results: a table, see above.
    Raises:
        BadInput: as `mixture_prices`.
    """
    _, _, ends_KM2 = _measured(results, draws, seed)
    return _central(ends_KM2, level)


def mixture_prices(results: Any, *, level: float = LEVEL, draws: int = DRAWS, seed: int = 0) -> list[MixturePrice]:
    """The price at each mixture of the table, by clean and noisy rows.

    The curve of clean rows is made never to rise and is straight in logarithms between its sizes; it is not carried
    beyond them. Seeds: logarithms of mean scores vary as Student's t around those that were found, together over the
    cells where all have the same seeds.

    Raises:
        BadInput: as `read_table`, fewer than two clean-only sizes, or no mixture.
    """
    mixed_M2, equal_M, ends_KM2 = _measured(results, draws, seed)
    return [
        MixturePrice(int(n), int(noisy), equal, _price(n, noisy, equal), _central(ends_KM2[:, i], level))
        for i, ((n, noisy), equal) in enumerate(zip(mixed_M2.tolist(), equal_M, strict=True))
    ]


def read_table(results: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Counts `[R, 2]`, scores `[R]` and seeds `[R]` of a table.

    Raises:
        BadInput: a column is missing or of another length, a count below 0 or no row at all, a score that is not above
            0, or a seed twice in one mixture.
    """
    missing = [name for name in ("n_clean", "n_noisy", "score") if name not in results]
    if missing:
        raise bad("table of results", "columns n_clean, n_noisy and score", f"no {missing[0]}")
    n_R, noisy_R, score_R = (np.asarray(results[name], float) for name in ("n_clean", "n_noisy", "score"))
    seed_R = np.asarray(results["seed"]) if "seed" in results else np.arange(len(score_R))
    if not (n_R.ndim == 1 and n_R.shape == noisy_R.shape == score_R.shape == seed_R.shape):
        raise bad("columns", "lists of one length", f"{n_R.shape}, {noisy_R.shape}, {score_R.shape}, {seed_R.shape}")
    for row, (n, noisy, score) in enumerate(zip(n_R.tolist(), noisy_R.tolist(), score_R.tolist(), strict=True)):
        if not (n >= 0 and noisy >= 0 and 0 < n + noisy < np.inf):
            raise bad(f"counts of row {row}", "0 or more, and one above 0", f"{n:g} and {noisy:g}")
        if not 0 < score < np.inf:
            raise bad(f"score of row {row}", "a finite number above 0", score)
    if len(set(zip(n_R.tolist(), noisy_R.tolist(), seed_R.tolist(), strict=True))) < len(n_R):
        raise bad("seed", "each once in a mixture", "one of them twice")
    return np.stack([n_R, noisy_R], 1), score_R, seed_R


def _measured(results: Any, draws: int, seed: int) -> tuple[np.ndarray, list[Range], np.ndarray]:
    """Mixtures `[M, 2]`, the clean rows that equal each, and the ends of their prices under each draw `[K, M, 2]`."""
    counts_R2, score_R, seed_R = read_table(results)
    cells_C2, cell_R = np.unique(counts_R2, axis=0, return_inverse=True)
    cell_R, log_R, clean_C = cell_R.reshape(-1), np.log(score_R), cells_C2[:, 1] == 0
    if clean_C.sum() < 2:
        raise bad("clean-only sizes", "at least 2 different ones", int(clean_C.sum()))
    if clean_C.all():
        raise bad("mixtures", "at least one with noisy rows", 0)
    many_C, mixed_M2 = np.bincount(cell_R).astype(float), cells_C2[~clean_C]
    mean_C = np.bincount(cell_R, log_R) / many_C

    def equals(log_C: np.ndarray) -> list[Range]:
        from scipy.optimize import isotonic_regression

        log_G = isotonic_regression(log_C[clean_C], weights=many_C[clean_C], increasing=False).x
        return [_crossing(cells_C2[clean_C, 0], log_G, value) for value in log_C[~clean_C].tolist()]

    luck_KC = _luck(log_R, cell_R, seed_R, draws, seed)
    if not luck_KC.any():  # nothing was repeated: all draws are one
        luck_KC = luck_KC[:1]
    each = [equals(log_C) for log_C in mean_C + luck_KC]
    ends = [[_price(n, noisy, e) for (n, noisy), e in zip(mixed_M2.tolist(), row, strict=True)] for row in each]
    return mixed_M2, equals(mean_C), np.array(ends)


def _luck(log_R: np.ndarray, cell_R: np.ndarray, seed_R: np.ndarray, draws: int, seed: int) -> np.ndarray:
    """Draws of how far the means of cells may be off `[K, C]`: a multivariate t whose covariance is that of the means
    and whose degrees of freedom are the seeds but one. Cells have draws of their own where they differ in seeds."""
    rng = np.random.default_rng(seed)
    seeds, seed_R = np.unique(seed_R, return_inverse=True)
    C = int(cell_R.max()) + 1
    out_KC, log_SC = np.zeros((draws, C)), np.full((len(seeds), C), np.nan)
    log_SC[seed_R.reshape(-1), cell_R] = log_R
    if np.isfinite(log_SC).all():
        groups = [(log_SC, np.arange(C))]
    else:
        groups = [(log_R[cell_R == c][:, None], np.array([c])) for c in range(C)]
    for own_SC, place in groups:
        free = len(own_SC) - 1
        if free:
            off_SC = (own_SC - own_SC.mean(0)) / np.sqrt(len(own_SC) * free)
            scale_K = np.sqrt(free / rng.chisquare(free, draws))
            out_KC[:, place] = scale_K[:, None] * (rng.normal(size=(draws, len(own_SC))) @ off_SC)
    return out_KC


def _crossing(n_G: np.ndarray, log_G: np.ndarray, value: float) -> Range:
    """Where a curve that never rises is `value`: a range where it is flat, and down to 0 or up to infinity beyond."""
    under_G, over_G = log_G <= value + ROUNDING, log_G >= value - ROUNDING
    if not over_G[0]:
        return 0.0, float(n_G[0])
    if not under_G[-1]:
        return float(n_G[-1]), np.inf
    first, last = int(np.argmax(under_G)), len(log_G) - 1 - int(np.argmax(over_G[::-1]))

    def between(i: int, j: int) -> float:
        share = (log_G[i] - value) / (log_G[i] - log_G[j])
        return float(n_G[i] * (n_G[j] / n_G[i]) ** share)

    return (
        float(n_G[first]) if over_G[first] else between(first - 1, first),
        float(n_G[last]) if under_G[last] else between(last, last + 1),
    )


def _price(n_clean: float, n_noisy: float, equal_clean: Range) -> Range:
    """n_noisy / (n0 - n_clean) at both ends of n0; no gain at all makes it infinite."""
    fewest, most = (n0 - n_clean for n0 in equal_clean)
    return n_noisy / most if most > 0 else np.inf, n_noisy / fewest if fewest > 0 else np.inf


def _central(ends: np.ndarray, level: float) -> Range:
    """Central interval of ranges `[..., 2]`, by ranks: nothing lies between a number and infinity."""
    low, high = (np.sort(ends[..., i].ravel()) for i in (0, 1))
    out = int((1 - level) / 2 * len(low) + 1e-9)  # left out on either side
    return float(low[out]), float(high[len(high) - 1 - out])


class MixtureForm:
    """score = floor + scale (e / middle)^-alpha + clean ((n_clean + 1) / middle)^-alpha, with e = n_clean + n_noisy /
    price, rows of full worth: the second term is what only clean rows teach, details below the noise. Inputs may be 0.
    """

    name, inputs = "clean and noisy rows", ("n_clean", "n_noisy")
    parameters = (
        Parameter(name="scale", log=True),
        Parameter(name="alpha", low=0.01, high=4.0),
        Parameter(name="price", low=float(np.log(0.1)), high=float(np.log(1e4)), log=True),
        Parameter(name="clean", low=-25.0, log=True),
        Parameter(name="floor", low=-25.0, log=True),
    )

    def __init__(self, middle: float) -> None:
        self.middle = middle

    def terms(self, theta_KP: np.ndarray, x_RI: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(logarithms of the three terms `[3, K, R]`, rows of full worth e `[K, R]`)."""
        scale, alpha, price, clean, floor = (theta_KP[:, i, None] for i in range(5))
        e_KR = x_RI[:, 0] + x_RI[:, 1] * np.exp(-price)
        one = scale - alpha * np.log(e_KR / self.middle)
        two = clean - alpha * np.log((x_RI[:, 0] + 1) / self.middle)
        return np.stack([one, two, np.broadcast_to(floor, one.shape)]), e_KR

    def log_value(self, theta_KP: np.ndarray, x_RI: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        terms_3KR, e_KR = self.terms(theta_KP, x_RI)
        log_KR = np.logaddexp.reduce(terms_3KR)
        one, two, three = np.exp(terms_3KR - log_KR)  # shares
        noisy_KR = x_RI[:, 1] * np.exp(-theta_KP[:, 2, None]) / e_KR
        by_alpha = -one * np.log(e_KR / self.middle) - two * np.log((x_RI[:, 0] + 1) / self.middle)
        return log_KR, np.stack([one, by_alpha, one * theta_KP[:, 1, None] * noisy_KR, two, three], -1)

    def starts(self, x_RI: np.ndarray, log_y_R: np.ndarray) -> np.ndarray:
        out = []
        for alpha, price, *shares in itertools.product((0.2, 0.5, 1.0), (1.5, 5.0, 30.0), (0.3, 0.01), (0.5, 0.05)):
            theta_P = np.array([0.0, alpha, np.log(price), -25.0, -25.0])
            scale = float(np.mean(log_y_R - self.terms(theta_P[None], x_RI)[0][0, 0]))
            clean, floor = np.log(shares)
            theta_P[[0, 3, 4]] = scale, scale + clean, float(log_y_R.min()) + floor
            out.append(theta_P)
        return np.array(out)


@dataclass(frozen=True)
class MixtureScalingLaw:
    """The fitted law of a table, with draws for intervals.

    law = MixtureScalingLaw.fit(table)
    law.predict(500, 5000); law.solve(500, equal_to=2000); law.exchange_rate(500, 5000)
    """

    law: Law
    form: MixtureForm

    @classmethod
    def fit(cls, results: Any, *, draws: int = 400, seed: int = 0) -> "MixtureScalingLaw":
        """The law with the least robust squares of log scores; each row of the table is a point.

        Raises:
            BadInput: as `read_table`; fewer than 6 rows, 3 sizes of the clean part or 2 mixtures with noisy rows.
        """
        counts_R2, score_R, _ = read_table(results)
        mixtures = len(np.unique(counts_R2[counts_R2[:, 1] > 0], axis=0))
        if mixtures < 2:
            raise bad("mixtures with noisy rows", "at least 2 different ones", mixtures)
        if len(np.unique(counts_R2[:, 0])) < 3:
            raise bad("sizes of the clean part", "at least 3 different ones", len(np.unique(counts_R2[:, 0])))
        form = MixtureForm(float(np.exp(np.log(counts_R2.sum(1)).mean())))
        return cls(bootstrap(fit(form, Points(form.inputs, counts_R2, score_R)), draws, seed=seed), form)

    @property
    def price(self) -> float:
        """Noisy rows that are worth one clean row, apart from what only clean ones teach."""
        return self.law.values["price"]

    def predict(self, n_clean: Numbers | float, n_noisy: Numbers | float) -> np.ndarray:
        """Scores of mixtures `[R]`."""
        return np.exp(self.form.log_value(self.law.theta_P[None], _counts(n_clean, n_noisy))[0][0])

    def interval(
        self, n_clean: Numbers | float, n_noisy: Numbers | float, level: float = LEVEL
    ) -> tuple[np.ndarray, np.ndarray]:
        """Ends of the central interval of the law at mixtures, `[R]` each."""
        # no rows of one kind is a mixture too, and has no logarithm by which a law tells how far it carries
        log_KR = self.law.log_draws(_counts(n_clean, n_noisy), anyway=True)
        low, high = np.quantile(log_KR, [(1 - level) / 2, (1 + level) / 2], axis=0)
        return np.exp(low), np.exp(high)

    def exchange_rate(self, n_clean: float, n_noisy: float, level: float = LEVEL) -> tuple[float, float, float]:
        """(likely, low, high): noisy rows that one more clean row is worth at this mixture, the ratio of the slopes:
        `price`, and more where clean rows are so few that what only they teach is missing."""
        theta_KP = self._likely_and_draws()
        (one, two, _), e_KR = self.form.terms(theta_KP, _counts(n_clean, n_noisy))
        rate_KR = np.exp(theta_KP[:, 2, None]) * (1 + np.exp(two - one) * e_KR / (n_clean + 1))
        return _with_interval(rate_KR[:, 0], level)

    def solve(self, n_clean: float, *, equal_to: float, level: float = LEVEL) -> tuple[float, float, float] | None:
        """(likely, low, high): noisy rows that with `n_clean` clean ones score as `equal_to` clean rows alone; None:
        likely no number does. Over `equal_to - n_clean` that is the price of the clean rows that are saved.

        Raises:
            BadInput: `equal_to` is not above `n_clean`.
        """
        if not equal_to > n_clean >= 0:
            raise bad("equal_to", f"above n_clean = {n_clean:g}", equal_to)
        theta_KP = self._likely_and_draws()
        wanted_K = np.exp(self.form.log_value(theta_KP, _counts(equal_to, 0))[0][:, 0])
        two_K, floor_K = np.exp(self.form.terms(theta_KP, _counts(n_clean, 1))[0][1:, :, 0])
        left_K = np.maximum(wanted_K - two_K - floor_K, 1e-300)  # for the first term
        with np.errstate(over="ignore"):  # to infinity, where nothing is left
            e_K = self.form.middle * np.exp((theta_KP[:, 0] - np.log(left_K)) / theta_KP[:, 1])
        noisy_K = np.where(left_K > 1e-300, (e_K - n_clean) * np.exp(theta_KP[:, 2]), np.inf)
        return _with_interval(noisy_K, level) if np.isfinite(noisy_K[0]) else None

    def _likely_and_draws(self) -> np.ndarray:
        assert self.law.draws_KP is not None
        return np.concatenate([self.law.theta_P[None], self.law.draws_KP])


def _with_interval(value_K: np.ndarray, level: float) -> tuple[float, float, float]:
    """The first, and the central interval of the others."""
    return float(value_K[0]), *_central(np.stack([value_K[1:]] * 2, -1), level)


def _counts(n_clean: Numbers | float, n_noisy: Numbers | float) -> np.ndarray:
    """`[R, 2]`. Raises BadInput: below 0, or no row at all."""
    counts_R2 = np.stack(np.broadcast_arrays(*(np.atleast_1d(np.asarray(n, float)) for n in (n_clean, n_noisy))), 1)
    if not ((counts_R2 >= 0).all() and (counts_R2.sum(1) > 0).all()):
        raise bad("numbers of rows", "0 or more, and one above 0", str(counts_R2.tolist()))
    return counts_R2
