"""How many numbers must be trained to learn a task: the intrinsic dimension of an objective, d90, and the bound on the
error of new examples that follows from it (Li et al., 2018, arXiv 1804.08838; Aghajanyan et al., 2020, arXiv
2012.13255, sections 3 and 6). `nets.subspace` trains so few numbers; `laws.dimension` is of data, not of objectives.

d90 is the smallest d of a grid with which the score reaches 0.9 of what full training reaches. It is too high when the
rates of small d were too low (the best grows as 1 / sqrt(d)), and too low when full training was tuned too little.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from smidgen.kit.errors import bad

ScoreOf = Callable[[int, float, int], float]  # of (dim, rate, seed)


@dataclass(frozen=True)
class Tried:
    """One training. `score`: NaN when it diverged."""

    dim: int
    rate: float
    seed: int
    score: float


@dataclass(frozen=True, kw_only=True)
class IntrinsicDimension:
    """What a search found.

    Attributes:
        d: the smallest tried dimension whose mean score at its best rate reached the bar; None: none did.
        bar, full_score, frac, floor: bar = floor + frac (full_score - floor).
        seeds: trainings that a mean is of. runs: all that were made, in their order.
    """

    d: int | None
    bar: float
    full_score: float
    frac: float
    floor: float
    seeds: int
    runs: tuple[Tried, ...]

    @property
    def reached(self) -> bool:
        return self.d is not None

    @property
    def curve(self) -> list[dict[str, Any]]:
        """A row for each dimension tried: its best rate, mean and standard deviation there over its seeds, and whether
        the bar was reached. Where no rate has all its seeds (given up early), the numbers are of those that ran."""
        rows = []
        for dim in sorted({r.dim for r in self.runs}):
            by_rate: dict[float, list[float]] = {}
            for r in self.runs:
                if r.dim == dim:
                    by_rate.setdefault(r.rate, []).append(_number(r.score))
            rate = max(by_rate, key=lambda k: (len(by_rate[k]) == self.seeds, np.mean(by_rate[k])))
            own = by_rate[rate]
            whole = len(own) == self.seeds
            sd = float(np.std(own, ddof=1)) if len(own) > 1 and np.isfinite(own).all() else math.nan
            mean = float(np.mean(own))
            rows.append({"dim": dim, "rate": rate, "score": mean, "sd": sd, "runs": len(own), "rates": len(by_rate),
                         "reached": whole and mean >= self.bar})  # fmt: skip
        return rows


def log_grid(low: int, high: int, count: int) -> list[int]:
    """Dimensions from low to high, evenly spaced in their logarithm, rounded, each once.

    Raises:
        BadInput: not 1 <= low < high, or fewer than two.
    """
    if not 1 <= low < high:
        raise bad("low and high", "1 <= low < high", (low, high))
    if count < 2:
        raise bad("count", "at least 2", count)
    return sorted({round(x) for x in np.geomspace(low, high, count)})


def intrinsic_dimension(
    score_of: ScoreOf,
    dims: Sequence[int],
    full_score: float,
    *,
    frac: float = 0.9,
    floor: float = 0.0,
    seeds: Sequence[int] | int = 5,
    rates: Sequence[float] = (1.0,),
    highest: float = math.inf,
    beyond: int = 0,
) -> IntrinsicDimension:
    """The smallest dimension of a grid that is enough, from the lowest up; what cannot change the answer is not run.

    Args:
        score_of: trains in so many dimensions with this rate and seed, and gives the score on rows that were not
            trained on, higher is better. A rate is best a factor of `SubspaceTuner.rate`, so that one grid suits all
            dimensions. A training that diverges may give NaN: it reaches nothing.
        full_score: of training all weights, tuned as well.
        frac, floor: the bar is floor + frac (full_score - floor). The paper's floor is 0; that of guessing is stricter.
        seeds: how many, or which. Another seed is another projection and another order of rows.
        rates: of each dimension the one that did best one dimension before comes first. The first one that reaches the
            bar ends the dimension; the best of several is a choice made on the scored rows.
        highest: that a score can be, 1 for accuracies: a rate is given up as soon as it cannot reach the bar any more.
        beyond: so many more dimensions are run after the first that is enough, for the curve.

    Raises:
        BadInput: an empty or unordered grid, no rate or seed, frac outside 0 to 1, a full score at or below the floor.
    """
    dims, numbers = list(dims), list(range(seeds)) if isinstance(seeds, int) else list(seeds)
    if not dims or dims[0] < 1 or dims != sorted(set(dims)):
        raise bad("dims", "rising whole numbers from 1", dims, "See log_grid.")
    if not numbers or not rates:
        raise bad("seeds and rates", "at least one of each", (len(numbers), len(rates)))
    if not 0 < frac <= 1:
        raise bad("frac", "above 0, at most 1", frac)
    if not full_score > floor:
        raise bad("full_score", f"above the floor of {floor}", full_score, "Full training has learned nothing.")
    bar = floor + frac * (full_score - floor)
    runs: list[Tried] = []
    found, order = None, list(rates)
    for i, dim in enumerate(dims):
        means = {}
        for rate in order:
            own: list[float] = []
            for seed in numbers:
                runs.append(Tried(dim, rate, seed, float(score_of(dim, rate, seed))))
                own.append(_number(runs[-1].score))
                if sum(own) + (len(numbers) - len(own)) * highest < bar * len(numbers) * (1 - 1e-12):
                    break
            means[rate] = float(np.mean(own))
            if len(own) == len(numbers) and means[rate] >= bar:
                found = dim if found is None else found
                break
        order.sort(key=lambda rate: -means.get(rate, -math.inf))  # stable: those not run stay in turn, at the end
        if found is not None and i >= dims.index(found) + beyond:
            break
    return IntrinsicDimension(
        d=found, bar=bar, full_score=full_score, frac=frac, floor=floor, seeds=len(numbers), runs=tuple(runs)
    )


def d90_table(found: Mapping[str, IntrinsicDimension]) -> list[dict[str, Any]]:
    """A row for each model or task: d (None: not within the grid), the largest dimension tried, scores, trainings."""
    return [
        {"name": name, "d": one.d, "largest": max(r.dim for r in one.runs), "frac": one.frac, "bar": one.bar,
         "full": one.full_score, "best": max(row["score"] for row in one.curve), "trainings": len(one.runs)}
        for name, one in found.items()
    ]  # fmt: skip


def compression_bound(
    n: int, d: int, train_error: float, delta: float = 0.05, bits: float = 32, choices: int = 1
) -> float:
    """What the error on new examples is below, but for a chance of `delta`: Occam's bound for models of d numbers of
    so many bits, train_error + sqrt((d bits ln 2 + ln(choices / delta)) / (2 n)), at most 1.

    It holds for a fixed base, seed and d that were chosen without these n examples, or with `choices` counting what was
    chosen among. It is loose: with 32 bits it says nothing until n is far above 11 d. See `quantised_bound`.

    Raises:
        BadInput: n or choices below 1, d or bits below 0, train_error outside 0 to 1, delta outside 0 to 1.
    """
    if n < 1 or choices < 1:
        raise bad("n and choices", "at least 1", (n, choices))
    if d < 0 or bits < 0:
        raise bad("d and bits", "at least 0", (d, bits))
    if not 0 <= train_error <= 1:
        raise bad("train_error", "from 0 to 1", train_error)
    if not 0 < delta < 1:
        raise bad("delta", "between 0 and 1", delta)
    return min(1.0, train_error + math.sqrt((d * bits * math.log(2) + math.log(choices / delta)) / (2 * n)))


def quantise(x: np.ndarray, bits: int) -> np.ndarray:
    """The nearest of 2^bits - 1 equally spaced levels from -max |x| to max |x|, float32; a float32 scale tells them.

    Raises:
        BadInput: bits outside 2 to 24, or numbers that are not finite.
    """
    if not 2 <= bits <= 24:
        raise bad("bits", "2 to 24", bits)
    x = np.asarray(x, np.float64)
    if not np.isfinite(x).all():
        raise bad("x", "finite numbers", "NaN or infinity")
    most = 2 ** (bits - 1) - 1
    scale = float(np.float32(np.abs(x).max(initial=0.0) / most)) or 1.0
    return (np.clip(np.rint(x / scale), -most, most) * scale).astype(np.float32)


@dataclass(frozen=True)
class Bound:
    """`bound` on the error, of the numbers at so many `bits`, with which the training error is `train_error`."""

    bits: int
    train_error: float
    bound: float


def quantised_bound(
    parts: Mapping[str, np.ndarray],
    error_of: Callable[[Mapping[str, np.ndarray]], float],
    n: int,
    *,
    bits: Sequence[int] = (2, 3, 4, 6, 8, 12, 16),
    delta: float = 0.05,
    choices: int = 1,
) -> list[Bound]:
    """The bound at each number of bits, the best first: fewer bits say less of a model, and may spoil it.

    Args:
        parts: what was trained, each array with a scale of its own: {"vector": ..., "scales": lambda - 1}.
        error_of: error on the n training examples with other numbers in their place (0 to 1).
        choices: see `compression_bound`; the choice among bits is counted beside it.

    Raises:
        BadInput: no bits; and as `quantise` and `compression_bound`.
    """
    if not bits:
        raise bad("bits", "at least one number", "none")
    count, made = sum(np.size(x) for x in parts.values()), []
    for b in bits:
        error = float(error_of({name: quantise(x, b) for name, x in parts.items()}))
        told = b + 32 * len(parts) / count if count else 0.0
        made.append(Bound(b, error, compression_bound(n, count, error, delta, told, choices * len(bits))))
    return sorted(made, key=lambda one: (one.bound, one.bits))


def _number(score: float) -> float:
    return score if math.isfinite(score) else -math.inf
