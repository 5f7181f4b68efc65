"""Which mixture of data sources to buy, from a small sample of each (Projektor, arXiv 2307.02460).

Sellers show a few rows. Models trained on mixtures of these, at two small sizes, and the distances of the mixtures from
a validation set tell the score of any mixture at a size that nobody has yet; steps along the gradient of that forecast
find the best shares. Unlike in the released notebook the gradient is that of the whole forecast at the target size,
draws are without replacement, and shares are put back on the simplex after each step.

Dims: m sources, T pilot mixtures, R repeats, K draws of the bootstrap.
"""

import copy
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from smidgen.data.mixtures import MixturePerformance, mixture_grid, nearest_mixture, on_simplex, project
from smidgen.data.transport import Classes, Target, Transport, classes_of, unit_spread
from smidgen.kit.errors import bad
from smidgen.kit.seeds import derive_seed

Train = Callable[[Any, Any, int], float]  # rows, labels, seed -> score on the buyer's validation rows
FIRST_STEP = 0.1  # its length in shares, Euclidean, where no rate is given
FAR = 10  # sizes beyond so many times the larger pilot size are warned about
TRIED = 0.02  # least share of a source where the gradient is taken


@dataclass(frozen=True)
class Cost:
    """What the forecast took: models trained, rows they were trained on, and distances solved."""

    trainings: int = 0
    rows: int = 0
    transports: int = 0


@dataclass(frozen=True)
class Choice:
    """The chosen shares `[m]`, with the way there: shares `[steps + 1, m]` and forecasts at the size asked for."""

    p: np.ndarray
    trace: np.ndarray
    forecasts: np.ndarray


class Projektor:
    """Forecasts scores of mixtures of sources, and chooses shares.

    Args:
        terms, ridge: as of `MixturePerformance`. The default is the distance alone: it has but a slope, which is
            safer outside the range of the pilots; "pq" is the published form. repeats: draws of each mixture, each
            trained once; medians count.
        lam_x, lam_y, reg, most: as of `Target`, for features scaled to a mean squared distance of 1. lam_y=0: for
            targets that are no classes.
        embed: raw rows -> features `[n, d]` for the distances, frozen; None: the rows themselves, flattened.
        bounds: a score cannot leave these. higher_is_better: False for a loss.

    Fitted: `ratios_` `[T, m]`, `ot_` and `score_` `[2, T, R]`, `models_` (of the two sizes), `cost`.
    """

    def __init__(
        self,
        *,
        terms: str | None = "ot",
        ridge: float | None = None,
        repeats: int = 3,
        lam_x: float = 1.0,
        lam_y: float = 1.0,
        reg: float = 1e-2,
        most: int | None = None,
        embed: Callable[[Any], Any] | None = None,
        bounds: tuple[float, float] = (0.0, 1.0),
        higher_is_better: bool = True,
        seed: int = 0,
    ) -> None:
        if repeats < 1:
            raise bad("repeats", "at least 1", repeats)
        self.terms, self.ridge, self.repeats, self.most, self.seed = terms, ridge, repeats, most, seed
        self.lam_x, self.lam_y, self.reg, self.embed = lam_x, lam_y, reg, embed
        self.bounds, self.sign = bounds, 1.0 if higher_is_better else -1.0
        self.cost = Cost()

    def fit(
        self,
        sources: Sequence[tuple[Any, Any]],
        val: tuple[Any, Any],
        sizes: tuple[int, int],
        train_fn: Train,
        ratios: Any = None,
    ) -> Self:
        """Trains the pilots and fits both stages.

        Args:
            sources: disclosed rows and labels of each. val: the buyer's rows and labels.
            sizes: rows of the pilots, N0 < N1. ratios: mixtures `[T, m]`; by default all in steps of a tenth.
        Raises:
            BadInput: N0 >= N1, mixtures off the simplex, a source with fewer rows than a pilot takes (draws are
                without replacement).
        """
        if not 0 < sizes[0] < sizes[1]:
            raise bad("sizes", "0 < N0 < N1", sizes)
        if len(sources) < 2:
            raise bad("sources", "at least 2", len(sources))
        self.sizes_ = (int(sizes[0]), int(sizes[1]))
        self.ratios_ = on_simplex(mixture_grid(len(sources)) if ratios is None else ratios)
        self._sources = [(np.asarray(X), np.asarray(y)) for X, y in sources]
        for p in self.ratios_:  # before any work
            self._counts(p, self.sizes_[1])
        self._prepare(val)
        shape = (2, len(self.ratios_), self.repeats)
        self.ot_, self.score_ = np.empty(shape), np.empty(shape)
        for size, t, r in np.ndindex(shape):
            seed = derive_seed(self.seed, "pilot", size, t, r)
            source, rows = self._draw(self.ratios_[t], self.sizes_[size], seed)
            self.ot_[size, t, r] = self._distance(source, rows).value
            X = np.concatenate([X[rows[source == i]] for i, (X, _) in enumerate(self._sources)])
            y = np.concatenate([y[rows[source == i]] for i, (_, y) in enumerate(self._sources)])
            self.score_[size, t, r] = train_fn(X, y, seed)
            self._spend(trainings=1, rows=len(y))
        self._seen = {p.round(9).tobytes(): self.ot_[:, t] for t, p in enumerate(self.ratios_)}
        self.models_ = self._models(self.terms, self.ridge)
        return self

    def with_terms(self, terms: str | None, ridge: float | None = None) -> Self:
        """A copy that forecasts with another form, from the same pilots: nothing is trained again."""
        other = copy.copy(self)
        other.terms, other.ridge, other.models_ = terms, ridge, self._models(terms, ridge)
        return other

    def predict(self, P: Any, size: float) -> np.ndarray:
        """Scores `[T]` of mixtures `[T, m]` (or one `[m]`) at a size; within `bounds`.

        Warns below the larger pilot size, where pilots can be trained instead, and beyond ten times of it.
        """
        return self._forecast(on_simplex(P), self._warned(size))

    def interval(self, P: Any, size: float, level: float = 0.9, draws: int = 200) -> tuple[np.ndarray, np.ndarray]:
        """Ends `[T]` of the band of the median score: pilots, and their repeats, drawn again with replacement."""
        if not 0 < level < 1:
            raise bad("level", "between 0 and 1", level)
        P, size = on_simplex(P), self._warned(size)
        ot_new = np.stack([self.distances(p) for p in P], 1)  # [2, new, R]
        rng = np.random.default_rng(derive_seed(self.seed, "band"))
        told = np.empty((draws, 2, len(P)))
        for k in range(draws):
            chosen = rng.integers(len(self.ratios_), size=len(self.ratios_))
            for s, model in enumerate(self.models_):
                again = rng.integers(self.repeats, size=(len(chosen), self.repeats))
                ot, score = (np.median(v[s][chosen[:, None], again], 1) for v in (self.ot_, self.score_))
                drawn = MixturePerformance(model.terms_, model.ridge_).fit(self.ratios_[chosen], ot, score)
                other = rng.integers(self.repeats, size=(len(P), self.repeats))
                told[k, s] = drawn.predict(P, np.median(np.take_along_axis(ot_new[s], other, 1), 1))
        scores_KT = np.clip(project(told[:, 0], told[:, 1], self.sizes_, size), *self.bounds)
        low, high = np.quantile(scores_KT, [(1 - level) / 2, (1 + level) / 2], axis=0)
        return low, high

    def select(
        self, size: float, p0: Any = None, steps: int = 100, lr: float | None = None, decay: float = 0.9
    ) -> Choice:
        """Shares with the best forecast at a size, by steps along its gradient from `p0` (default: equal shares).

        Args:
            lr: rate of the first step, share per score and share; the paper's 5e-4 is for scores in percent. None:
                the first step is 0.1 long. Step t has decay^t of that.
        """
        m, size = len(self._sources), self._warned(size)
        p = np.full(m, 1 / m) if p0 is None else on_simplex(p0)[0]
        trace, forecasts = [p], []
        for t in range(steps):
            slope, forecast = self._slope(p, size, derive_seed(self.seed, "step", t))
            slope = self.sign * (slope - slope.mean())
            rate = FIRST_STEP / max(float(np.linalg.norm(slope)), 1e-12) if lr is None else lr
            p = nearest_mixture(p + decay**t * rate * slope)
            trace.append(p)
            forecasts.append(forecast)
        return Choice(p, np.array(trace), np.array([*forecasts, *self._forecast(p[None], size)]))

    def distances(self, p: Any) -> np.ndarray:
        """Distances `[2, R]` of a mixture at both pilot sizes, from fresh draws; those of a pilot are known."""
        p = on_simplex(p)[0]
        key = p.round(9).tobytes()
        if key not in self._seen:
            seeds = [[derive_seed(self.seed, "new", n, r) for r in range(self.repeats)] for n in self.sizes_]
            draws = [[self._draw(p, n, seed) for seed in own] for n, own in zip(self.sizes_, seeds, strict=True)]
            self._seen[key] = np.array([[self._distance(*draw).value for draw in own] for own in draws])
        return self._seen[key]

    def _models(self, terms: str | None, ridge: float | None) -> tuple[MixturePerformance, MixturePerformance]:
        medians = np.median(self.ot_, 2), np.median(self.score_, 2)
        low, high = (MixturePerformance(terms, ridge).fit(self.ratios_, *m) for m in zip(*medians, strict=True))
        return low, high

    def _prepare(self, val: tuple[Any, Any]) -> None:
        """Scaled features of the sources and the validation set, and the clouds of the disclosed classes."""
        embed = self.embed or _flat
        Xv = np.asarray(embed(val[0]), float)
        scale = unit_spread(Xv)
        self._features = [np.asarray(embed(X), float) * scale for X, _ in self._sources]
        options = {"lam_x": self.lam_x, "lam_y": self.lam_y, "reg": self.reg, "most": self.most}
        self._target = Target(Xv * scale, val[1] if self.lam_y else None, **options)
        self._classes: Classes | None = None
        if self.lam_y:
            labels = np.concatenate([y for _, y in self._sources])
            self._classes = classes_of(np.concatenate(self._features), labels, self.most, self.seed)

    def _counts(self, p: np.ndarray, n: int) -> np.ndarray:
        """Rows of each source; the largest remainders are rounded up."""
        whole = np.floor(p * n + 1e-9).astype(int)
        order = np.argsort(whole - p * n, kind="stable")
        whole[order[: n - whole.sum()]] += 1
        for i, (count, (_, y)) in enumerate(zip(whole, self._sources, strict=True)):
            if count > len(y):
                raise bad(f"source {i}", f"at least {count} rows for mixture {p.round(3).tolist()} of {n}", len(y))
        return whole

    def _draw(self, p: np.ndarray, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Source and row in it of `n` rows."""
        rng, counts = np.random.default_rng(seed), self._counts(p, n)
        rows = [rng.choice(len(y), c, replace=False) for c, (_, y) in zip(counts, self._sources, strict=True)]
        return np.repeat(np.arange(len(counts)), counts), np.concatenate(rows)

    def _distance(self, source: np.ndarray, rows: np.ndarray) -> Transport:
        X = np.concatenate([X[rows[source == i]] for i, X in enumerate(self._features)])
        y = np.concatenate([y[rows[source == i]] for i, (_, y) in enumerate(self._sources)])
        self._spend(transports=1)
        return self._target.to(X, y, classes=self._classes)

    def _slope(self, p: np.ndarray, size: float, seed: int) -> tuple[np.ndarray, float]:
        """Gradient `[m]` of the forecast at a size, up to a constant, and the forecast, on fresh draws."""
        p = np.maximum(p, max(TRIED, 2 / self.sizes_[0]))  # what is not in the mixture has no potential
        p = p / p.sum()
        slopes, scores = [], []
        for n, model in zip(self.sizes_, self.models_, strict=True):
            source, rows = self._draw(p, n, derive_seed(seed, n))
            moved = self._distance(source, rows)
            mean = np.bincount(source, moved.f, len(p)) / np.bincount(source, minlength=len(p))
            slopes.append(model.gradient(p, moved.value, mean))
            scores.append(model.predict(p, moved.value)[0])
        score = float(np.clip(project(scores[0], scores[1], self.sizes_, size), *self.bounds))
        return project(slopes[0], slopes[1], self.sizes_, size), score

    def _forecast(self, P: np.ndarray, size: float) -> np.ndarray:
        ot = np.stack([np.median(self.distances(p), 1) for p in P], 1)
        low, high = (model.predict(P, at) for model, at in zip(self.models_, ot, strict=True))
        return np.clip(project(low, high, self.sizes_, size), *self.bounds)

    def _warned(self, size: float) -> float:
        if not hasattr(self, "models_"):
            raise bad("Projektor", "a fitted one", "none", "Call fit first.")
        if size < self.sizes_[1]:
            warnings.warn(
                f"{size:g} rows are fewer than the pilots' {self.sizes_[1]}: train there instead", stacklevel=3
            )
        if size > FAR * self.sizes_[1]:
            warnings.warn(f"{size:g} rows are beyond {FAR} times the pilots' {self.sizes_[1]}: a guess", stacklevel=3)
        return size

    def _spend(self, trainings: int = 0, rows: int = 0, transports: int = 0) -> None:
        had = self.cost
        self.cost = Cost(had.trainings + trainings, had.rows + rows, had.transports + transports)


def _flat(X: Any) -> np.ndarray:
    return np.asarray(X, float).reshape(len(X), -1)
