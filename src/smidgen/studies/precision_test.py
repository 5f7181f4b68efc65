"""Can a long simulation, or any long iterative program, run with fewer bits? Distributions are compared, not orbits.

A chaotic program's orbits part at the first rounding; what must stay is how often it is where. Ensembles in short
numbers are held against ensembles in double precision by the Wasserstein distance at each point, and this against the
distance between two of double precision (`precision_noise`). After Paxton et al. (2021, arXiv 2104.15076), sections 2
and 3.

Judge with several seeds: error is not monotone in the bits, since rounding to nearest sends different orbits into one
cycle; where `distinct` is below 1 this has happened. A shorter time step makes smaller increments, and more of them
stagnate. Only what goes through wrapped arrays is rounded (`formats.low_precision_array`).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from smidgen.formats.significand import Mode, Significand, check_mode
from smidgen.kit.errors import bad
from smidgen.kit.seeds import derive_seed
from smidgen.studies.precision_members import Ensemble, Model, run_ensemble
from smidgen.studies.precision_noise import Noise, noise, pooled, verdict
from smidgen.studies.wasserstein import gridpoint_wasserstein

FEWEST = 5  # members


def precision_stress_test(
    model: Model,
    sbits: Sequence[int],
    modes: Sequence[Mode] = ("nearest", "stochastic"),
    n_members: int = 50,
    reference_members: int = 50,
    *,
    references: int = 3,
    p: float = 1.0,
    perturbed: Model | None = None,
    tolerance: float = 2.5,
    level: float = 0.95,
    draws: int = 100,
    exponent_bits: int = 11,
    batch: int | None = None,
    workers: int = 1,
    seed: int = 0,
) -> pd.DataFrame:
    """Ensembles in short numbers against ensembles in double precision: one row for each sbits, mode and variable.

    Args:
        model: (arithmetic, seeds) to `[time, points, members]` after spin-up, written in ordinary operators on arrays
            from `arithmetic.array`; `EachMember` makes one of a program for a single member. Its `variables`, a mapping
            of names to slices of points, are reported one by one.
        n_members, reference_members: of each ensemble. references: ensembles in double precision.
        perturbed: the model with a parameter changed by what is not known of it; run in double precision, its distance
            is what is still minor. Without it, `tolerance` times the upper end of the noise band is.
        level: of that band. draws: pairs of sets of members that it is measured by.
        batch, workers: as in `run_ensemble`.

    Returns:
        W_mean, W_q90, W_q95: mean and quantiles over points of W to the references (averaged over these); noise_mean,
        noise_q90, noise_q95: of W between two references; noise_low, noise_high: band of the mean, and noise_max: the
        largest mean of the pairs. minor_to: up to which W_mean is "minor". operations, stagnated (share of additions),
        unstable (members), distinct (share of last states). verdict: "negligible", "minor", "large" or "unstable".

    Raises:
        BadInput: no such sbits or mode, or too few members. An overflow is a verdict, not an error.
    """
    for s in sbits:
        Significand(s, exponent_bits)
    for mode in modes:
        check_mode(mode)
    if min(n_members, reference_members) < FEWEST:
        raise bad("members", f"at least {FEWEST} in each ensemble", min(n_members, reference_members))

    def run(program: Model, name: str, members: int, **how: Any) -> Ensemble:
        seeds = [derive_seed(seed, name, i) for i in range(members)]
        return run_ensemble(program, seeds, batch=batch, workers=workers, **how)

    known = [run(model, f"reference {i}", reference_members).trajectory for i in range(references)]
    if not all(np.isfinite(k).all() for k in known):
        raise bad("model", "finite numbers in double precision", "NaN or infinity", "Shorten its time step.")
    base = noise(known, n_members, p, draws, seed)
    samples = [pooled(k) for k in known]

    def distances(low: Ensemble) -> np.ndarray:
        """W `[P]`; NaN where a member has no number."""
        if low.unstable:
            return np.full(low.trajectory.shape[1], np.nan)
        return np.mean([gridpoint_wasserstein(pooled(low.trajectory), s, p) for s in samples], axis=0)

    names = {"all": slice(None), **getattr(model, "variables", {})}
    changed = None if perturbed is None else distances(run(perturbed, "low", n_members))
    limits = _limits(names, base, changed, level, tolerance)
    rows = []
    for s in sbits:
        for mode in modes:  # all from the same initial states: pairs
            low = run(model, "low", n_members, sbits=s, mode=mode, exponent_bits=exponent_bits)
            rows += _rows(s, mode, low, distances(low), names, limits)
    return pd.DataFrame(rows)


def _limits(
    names: Mapping[str, slice], base: Noise, changed: np.ndarray | None, level: float, tolerance: float
) -> dict[str, dict[str, float]]:
    """The noise's columns, and what is minor, by variable."""
    out = {}
    for name, points in names.items():
        low, high = base.band(points, level)
        at = base.pairs[:, points]
        q90, q95 = np.quantile(at, [0.9, 0.95], axis=1).mean(axis=1)
        out[name] = {
            "noise_mean": float(at.mean()),
            "noise_q90": float(q90),
            "noise_q95": float(q95),
            "noise_low": low,
            "noise_high": high,
            "noise_max": float(at.mean(axis=1).max()),
            "minor_to": max(high, float(changed[points].mean())) if changed is not None else tolerance * high,
        }
    return out


def _rows(
    sbits: int, mode: Mode, low: Ensemble, distance: np.ndarray, names: Mapping[str, slice], limits: Any
) -> list[dict[str, Any]]:
    counts, rows = low.counts, []
    for name, points in names.items():
        own, limit = distance[points], limits[name]
        q90, q95 = np.quantile(own, [0.9, 0.95])
        rows.append(
            {"sbits": sbits, "mode": mode, "variable": name}
            | {"W_mean": float(own.mean()), "W_q90": float(q90), "W_q95": float(q95)}
            | limit
            | {"operations": counts.operations, "stagnated": counts.stagnated / max(counts.additions, 1)}
            | {"unstable": low.unstable, "distinct": low.distinct}
            | {"verdict": verdict(float(own.mean()), limit["noise_high"], limit["minor_to"])}
        )
    return rows
