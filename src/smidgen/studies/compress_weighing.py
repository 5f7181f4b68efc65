"""What options of arrays lose, when there is not the time to measure them all: the important first, the rest forecast.

Big arrays come first, of each its middle width, then its coarsest and its finest, then the middle of what lies between
two that were measured and differ. What was not measured is forecast by the error of the numbers themselves: losses
follow it between two measured options, and in proportion beyond them. So at any moment there is a loss for every option
of every array, and the more time, the more of them are measured.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

SAME = 1.05  # losses of a coarse and a fine option within this factor: those between need no measuring
FLOOR = 1e-12  # of losses and errors, where their logarithms are taken


@dataclass(frozen=True)
class Array:
    """An array and its options.

    Attributes:
        numbers: how many it has. weight: how much it counts, while nothing is known: the share of its member.
        options: the coarsest first. errors: of each, the root mean square of what it changes over that of the array.
    """

    name: str
    numbers: int
    weight: float
    options: tuple[str, ...]
    errors: tuple[float, ...]


@dataclass
class Weighed:
    """What was measured, by array and option, and a loss for everything else.

    Attributes:
        measured: losses. skipped: options that lie between two measured ones of like loss.
    """

    arrays: Sequence[Array]
    measured: dict[tuple[str, str], float] = field(default_factory=dict)
    skipped: int = 0

    def loss(self, array: Array, place: int) -> float:
        """Of an option: as measured, or forecast; infinite where the model cannot answer with it."""
        known = {
            i: self.measured[array.name, o] for i, o in enumerate(array.options) if (array.name, o) in self.measured
        }
        if place in known:
            return known[place]
        error = array.errors[place]
        if error == 0:
            return 0.0
        coarser = max((i for i in known if i < place), default=None)
        finer = min((i for i in known if i > place), default=None)
        if finer is not None and not math.isfinite(known[finer]):
            return math.inf  # it is coarser than what cannot be used
        near = [i for i in (finer, coarser) if i is not None and math.isfinite(known[i])]
        if len(near) == 2:
            return _between(error, [(array.errors[i], known[i]) for i in near])
        if near:
            return known[near[0]] * error / max(array.errors[near[0]], FLOOR)
        return self._rate() * array.weight * error

    def _rate(self) -> float:
        """Loss by weight and error, of the arrays that were measured."""
        rates = [
            self.measured[a.name, o] / (a.weight * e)
            for a in self.arrays
            for o, e in zip(a.options, a.errors, strict=True)
            if math.isfinite(self.measured.get((a.name, o), math.inf)) and a.weight * e > 0
        ]
        return median(rates) if rates else 1.0


def weigh(
    arrays: Sequence[Array],
    measure: Callable[[str, str], float],
    more: Callable[[], bool],
    tell: Callable[[int, int], None] = lambda *_: None,
) -> Weighed:
    """Measures options in order of importance, as long as `more` says so.

    Args:
        measure: of an array and an option, what the whole model loses by it. tell: called with (options done, all).
    """
    found = Weighed(arrays)
    total = sum(len(a.options) for a in arrays)
    ordered = sorted(arrays, key=lambda a: (-a.numbers, a.name))
    for level in range(max((len(order(len(a.options))) for a in arrays), default=0)):
        for array in ordered:
            steps = order(len(array.options))
            for place, ends in steps[level] if level < len(steps) else ():
                if ends is not None and _alike(found.measured, array, ends):
                    found.skipped += 1
                    continue
                if not more():
                    return found
                option = array.options[place]
                found.measured[array.name, option] = measure(array.name, option)
                tell(len(found.measured) + found.skipped, total)
    return found


def order(options: int) -> list[list[tuple[int, tuple[int, int] | None]]]:
    """Places among so many options, level by level: the middle, both ends, then bisection; each with the places between
    which it lies, for those that may be skipped."""
    if not options:
        return []
    middle = options // 2
    levels: list[list[tuple[int, tuple[int, int] | None]]] = [[(middle, None)]]
    ends = [(p, None) for p in (0, options - 1) if p != middle]
    if ends:
        levels.append(list(dict.fromkeys(ends)))
    open_ = [(0, middle), (middle, options - 1)]
    while open_ := [(a, b) for a, b in open_ if b - a > 1]:
        levels.append([((a + b) // 2, (a, b)) for a, b in open_])
        open_ = [pair for a, b in open_ for pair in ((a, (a + b) // 2), ((a + b) // 2, b))]
    return levels


def _alike(measured: Mapping[tuple[str, str], float], array: Array, ends: tuple[int, int]) -> bool:
    known = [measured.get((array.name, array.options[i])) for i in ends]
    if any(k is None for k in known):
        return True  # one of them was skipped, since what lies around it is alike
    coarse, fine = known
    assert coarse is not None and fine is not None
    return coarse <= SAME * fine + FLOOR


def _between(error: float, known: list[tuple[float, float]]) -> float:
    """By the logarithms of errors and losses, on the line through two."""
    (x0, y0), (x1, y1) = [(math.log(max(e, FLOOR)), math.log(max(loss, FLOOR))) for e, loss in known]
    if x1 - x0 < 1e-9:
        return max(known[0][1], known[1][1])
    share = min(max((math.log(max(error, FLOOR)) - x0) / (x1 - x0), 0.0), 1.0)
    return math.exp(y0 + share * (y1 - y0)) if max(known[0][1], known[1][1]) > 0 else 0.0
