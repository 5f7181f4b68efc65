"""An ensemble in a given arithmetic: members together as one array, or in batches, in one process or several."""

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from smidgen.formats.arithmetic import Counts, precision
from smidgen.formats.significand import Mode
from smidgen.kit.errors import bad

Model = Callable[[Any, Sequence[int]], np.ndarray]


@dataclass(frozen=True)
class Ensemble:
    """`trajectory` `[T, P, M]`, and the counts of its arithmetic."""

    trajectory: np.ndarray
    counts: Counts

    @property
    def unstable(self) -> int:
        """Members that reached NaN or infinity."""
        return int((~np.isfinite(self.trajectory).all(axis=(0, 1))).sum())

    @property
    def distinct(self) -> float:
        """Different last states, as a share of the members: below 1 some have run into one orbit."""
        last = self.trajectory[-1]
        return len(np.unique(last, axis=1).T) / last.shape[1]


@dataclass(frozen=True)
class EachMember:
    """A model of one member, (arithmetic, seed) to `[T, P]`, as one of ensembles."""

    model: Callable[[Any, int], Any]

    def __call__(self, arithmetic: Any, seeds: Sequence[int]) -> np.ndarray:
        if len(seeds) > 1:
            raise bad("members", "one at a time", len(seeds), "Use batch=1.")
        return np.asarray(self.model(arithmetic, seeds[0]), float)[:, :, None]


def run_ensemble(
    model: Model,
    seeds: Sequence[int],
    sbits: int = 52,
    mode: Mode = "nearest",
    *,
    exponent_bits: int = 11,
    batch: int | None = None,
    workers: int = 1,
) -> Ensemble:
    """All members, `batch` of them as one array, in so many processes; what comes out depends on neither.

    Args:
        model: (arithmetic, seeds) to `[T, P, members]`; with several workers, one that can be pickled.
        seeds: of the members, all different. Rounding draws from streams that are derived from them, and so should the
            model derive its initial states.
        sbits: 52 with 11 exponent bits is plain double precision.
    """
    size = 1 if isinstance(model, EachMember) else batch or -(-len(seeds) // workers)
    parts = [seeds[i : i + size] for i in range(0, len(seeds), size)]
    if workers > 1 and len(parts) > 1:
        run = partial(_run, model, sbits=sbits, mode=mode, exponent_bits=exponent_bits)
        with ProcessPoolExecutor(min(workers, len(parts)), multiprocessing.get_context("spawn")) as pool:
            done = list(pool.map(run, parts))
    else:
        done = [_run(model, part, sbits, mode, exponent_bits) for part in parts]
    return Ensemble(np.concatenate([e.trajectory for e in done], axis=2), sum((e.counts for e in done), start=Counts()))


def _run(model: Model, seeds: Sequence[int], sbits: int, mode: Mode, exponent_bits: int) -> Ensemble:
    with precision(sbits, mode, seeds=list(seeds), exponent_bits=exponent_bits) as arithmetic:
        trajectory = np.asarray(model(arithmetic, seeds), float)
    if trajectory.ndim != 3 or trajectory.shape[2] != len(seeds):
        raise bad("model", f"a trajectory [time, points, {len(seeds)} members]", f"shape {trajectory.shape}")
    return Ensemble(trajectory, arithmetic.counts)
