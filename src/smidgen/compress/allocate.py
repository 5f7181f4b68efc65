"""Which option each layer takes (a width, a codebook, a sparsity), so that all together fit a limit and lose least.

An integer program (CalibTIP; Hubara et al., 2020, arXiv 2006.10518, section 4), solved by HiGHS: x_lo in {0, 1},
sum_o x_lo = 1, least sum of losses under a limit of bytes, or least bytes under a limit of loss. It takes the losses of
layers to add up; `additivity` says how far they do. Dims: L layers, O options (of all layers, behind each other).
"""

import contextlib
import ctypes
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from smidgen.kit.errors import BadInput, bad

CUTS = 100  # mixes that the solver's tolerance let through, before it is given up
_SPREAD = 1e5  # largest cost of a mix worth looking at, in the solver's units: its absolute tolerance is 1e-6
_TIE = 1e-7  # of the cost: what less weight may cost, so that equal costs go to the lighter mix


class Infeasible(BadInput):
    """No mix meets the limit. `smallest`: what can be reached (bytes, or loss)."""

    def __init__(self, message: str, smallest: float) -> None:
        super().__init__(message)
        self.smallest = smallest

    def __reduce__(self) -> tuple:
        return Infeasible, (str(self), self.smallest)


@dataclass(frozen=True)
class Choice:
    """A layer's option.

    Attributes:
        bytes: all that it takes, scales included. loss: what it adds to the loss; infinite: not to be taken.
    """

    layer: str
    option: str
    bytes: int
    loss: float


@dataclass(frozen=True)
class Mix:
    """An option for each layer, with the sums of their bytes and losses."""

    options: dict[str, str]
    bytes: int
    loss: float


def allocate(
    choices: Iterable[Choice], *, most_bytes: int | None = None, most_loss: float | None = None
) -> dict[str, str]:
    """The option of each layer: of least summed loss within `most_bytes`, or of fewest bytes within `most_loss`.

    Equal losses go to fewer bytes, equal bytes to less loss. Bytes are compared exactly.

    Raises:
        Infeasible: no mix meets the limit; it names the smallest size (or loss) that can be reached.
        BadInput: not one limit; no choices, an option twice, a loss of NaN, bytes below 0 or not whole.
    """
    return best_mix(choices, most_bytes=most_bytes, most_loss=most_loss).options


def best_mix(choices: Iterable[Choice], *, most_bytes: int | None = None, most_loss: float | None = None) -> Mix:
    """`allocate`, with the sums."""
    if (most_bytes is None) == (most_loss is None):
        raise bad("limit", "most_bytes or most_loss, one of them", {"most_bytes": most_bytes, "most_loss": most_loss})
    layers = _by_layer(choices)
    if most_bytes is not None:
        smallest = sum(min(c.bytes for c in own) for own in layers)
        if smallest > most_bytes:
            raise Infeasible(f"No mix fits {most_bytes} bytes: the smallest reachable is {smallest} bytes.", smallest)
        return _mix(_solve(layers, [[c.loss for c in own] for own in layers], _sizes(layers), int(most_bytes)))
    assert most_loss is not None
    losses = [[c.loss for c in own] for own in layers]
    smallest = math.fsum(min(own) for own in losses)
    limit = most_loss + 1e-9 * abs(most_loss)  # a sum that is the limit but for its last digits meets it
    if not smallest <= limit:
        raise Infeasible(
            f"No mix keeps the loss within {most_loss:g}: the smallest reachable is {smallest:g}.", smallest
        )
    return _mix(_solve(layers, _sizes(layers), losses, limit))


def frontier(choices: Iterable[Choice], points: int = 20) -> list[Mix]:
    """The trade-off: best mixes under limits in equal steps from the smallest size to that of least loss, by size;
    fewer than `points` where limits give the same mix."""
    if points < 2:
        raise bad("points", "at least 2", points)
    choices = list(choices)
    layers = _by_layer(choices)
    low = sum(min(c.bytes for c in own) for own in layers)
    high = sum(min((c.loss, c.bytes) for c in own)[1] for own in layers)
    found: list[Mix] = []
    for limit in sorted({low + (high - low) * i // (points - 1) for i in range(points)}):
        mix = best_mix(choices, most_bytes=limit)
        if not found or mix != found[-1]:
            found.append(mix)
    return found


@dataclass(frozen=True)
class Additivity:
    """How far summed losses tell those of whole mixes.

    Attributes:
        rank: Spearman's correlation; NaN where one of them is constant. ratio: measured to predicted, by least squares
            through 0: 1 where losses add up. error: mean absolute difference, as a share of the mean measured loss.
    """

    rank: float
    ratio: float
    error: float


def additivity(predicted: Sequence[float], measured: Sequence[float]) -> Additivity:
    """Of mixes whose loss was predicted by a sum over layers and then measured.

    Raises:
        BadInput: fewer than 3 mixes, other lengths, or numbers that are not finite.
    """
    p, m = np.asarray(predicted, float), np.asarray(measured, float)
    if p.ndim != 1 or p.shape != m.shape or len(p) < 3 or not np.isfinite([p, m]).all():
        raise bad("losses", "as many predicted as measured ones, at least 3, all finite", f"{p.shape} and {m.shape}")
    same = bool((p == p[0]).all() or (m == m[0]).all())
    rank = math.nan if same else float(np.corrcoef(_ranks(p), _ranks(m))[0, 1])
    ratio = float(p @ m / (p @ p)) if p.any() else math.nan
    size = float(np.abs(m).mean())
    return Additivity(rank, ratio, float(np.abs(m - p).mean()) / size if size else math.nan)


def _ranks(x: np.ndarray) -> np.ndarray:
    """Equal numbers share the mean of their ranks."""
    _, place, count = np.unique(x, return_inverse=True, return_counts=True)
    return (np.cumsum(count) - (count - 1) / 2)[place]


def _by_layer(choices: Iterable[Choice]) -> list[list[Choice]]:
    """Options worth having: none beside it is at most as large and loses at most as much. Smallest first."""
    layers: dict[str, list[Choice]] = {}
    seen: set[tuple[str, str]] = set()
    for c in choices:
        if c.bytes < 0 or c.bytes != int(c.bytes):
            raise bad(f"bytes of {c.option} for {c.layer}", "a whole number of at least 0", c.bytes)
        if math.isnan(c.loss) or c.loss == -math.inf:
            raise bad(f"loss of {c.option} for {c.layer}", "a number", c.loss)
        if (c.layer, c.option) in seen:
            raise bad(f"options of {c.layer}", "each once", c.option)
        seen.add((c.layer, c.option))
        layers.setdefault(c.layer, []).append(c)
    if not layers:
        raise bad("choices", "at least one", "none")
    kept = []
    for name, own in layers.items():
        best: list[Choice] = []
        for c in sorted(own, key=lambda c: (c.bytes, c.loss)):
            if c.loss < (best[-1].loss if best else math.inf):
                best.append(c)
        if not best:
            raise bad(f"losses of {name}", "a finite one", math.inf)
        kept.append(best)
    return kept


def _sizes(layers: list[list[Choice]]) -> list[list[int]]:
    return [[c.bytes for c in own] for own in layers]


def _mix(chosen: list[Choice]) -> Mix:
    return Mix(
        {c.layer: c.option for c in chosen}, sum(int(c.bytes) for c in chosen), math.fsum(c.loss for c in chosen)
    )


def _solve(
    layers: list[list[Choice]], costs: Sequence[Sequence[float]], weights: Sequence[Sequence[float]], limit: float
) -> list[Choice]:
    """One option a layer: least cost with weights within the limit (which can be met); ties to less weight."""
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import csr_array

    # Beyond each layer's least, costs and weights are small numbers whatever the layers' sizes are.
    cost_O = np.array([c - min(own) for own in costs for c in own], float)
    weight_O = np.array([w - min(own) for own in weights for w in own], float)
    at_O = np.repeat(np.arange(len(layers)), [len(own) for own in layers])
    room = max(float(limit - _total([min(own) for own in weights])), 0.0)
    start = _by_price(cost_O, weight_O, at_O, room)
    most = float(cost_O[start].sum())
    if most == 0.0:  # everybody's cheapest fits
        return _picked(layers, start)
    within = weight_O <= room * (1 + 1e-9)  # dearer options than a whole mix, and too heavy ones, are in no best mix
    keep = np.flatnonzero((cost_O <= most) & within)
    objective = cost_O[keep] * (_SPREAD / most) + weight_O[keep] * (_TIE * _SPREAD / max(weight_O[keep].sum(), 1e-300))
    one = csr_array((np.ones(len(keep)), (at_O[keep], np.arange(len(keep)))), (len(layers), len(keep)))
    limits = [LinearConstraint(one, 1, 1)]  # type: ignore[arg-type]
    if room > 0:
        limits.append(LinearConstraint(weight_O[keep][None] / room, -np.inf, 1))
    for _ in range(CUTS):
        with _silent():
            found = milp(
                objective,
                integrality=np.ones(len(keep)),
                bounds=Bounds(0, 1),
                constraints=limits,
                options={"mip_rel_gap": 0.0},
            )
        if found.x is None:
            break
        chosen = keep[np.flatnonzero(found.x > 0.5)]
        if _total([_flat(weights)[i] for i in chosen]) <= limit:
            better = cost_O[chosen].sum() <= most
            return _picked(layers, chosen if better else start)
        taken = np.isin(keep, chosen).astype(float)  # over the limit by less than the solver's tolerance: not this one
        limits.append(LinearConstraint(taken[None], -np.inf, len(layers) - 1))
    return _picked(layers, start)


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """The solver writes a line of its own debugging to the process's standard output now and then; not here."""
    flush = getattr(ctypes.CDLL(None), "fflush", None) if os.name == "posix" else None
    if flush is None:
        yield
        return
    flush(None)
    kept, nothing = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nothing, 1)
        yield
    finally:
        flush(None)  # what it wrote may still lie in C's buffer
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nothing)


def _by_price(cost_O: np.ndarray, weight_O: np.ndarray, at_O: np.ndarray, room: float) -> np.ndarray:
    """A good mix that fits, `[L]`: each layer's least of cost + price * weight, at the lowest price that fits."""
    first = np.flatnonzero(np.r_[True, at_O[1:] != at_O[:-1]])

    def at(price: float) -> np.ndarray:
        value = cost_O + price * weight_O if math.isfinite(price) else weight_O
        least = np.repeat(np.minimum.reduceat(value, first), np.diff(np.r_[first, len(at_O)]))
        equal = np.flatnonzero(value == least)
        return equal[np.r_[True, np.diff(at_O[equal]) > 0]]

    if weight_O[at(0.0)].sum() <= room:
        return at(0.0)
    scale = max(float(cost_O.max()), 1e-300) / max(float(weight_O.max()), 1e-300)
    best, low, high = at(math.inf), -40.0, 40.0  # powers of two of the price
    for _ in range(60):
        middle = (low + high) / 2
        mix = at(scale * 2.0**middle)
        if weight_O[mix].sum() <= room:
            best, high = mix, middle
        else:
            low = middle
    return best


def _picked(layers: list[list[Choice]], places: np.ndarray) -> list[Choice]:
    return [_flat(layers)[i] for i in places]


def _flat(rows: Sequence[Sequence]) -> list:
    return [x for own in rows for x in own]


def _total(numbers: Sequence[float]) -> float:
    """The exact sum: of whole numbers as they are, of others rounded once."""
    return sum(numbers) if all(isinstance(n, int) for n in numbers) else math.fsum(numbers)
