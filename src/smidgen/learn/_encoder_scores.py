"""How well predicted responses match measured ones, unit by unit: explained variance, R2, noise ceilings, regions.

Dims: N stimuli, V units, R repeats of a stimulus.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import pandas as pd

from smidgen.kit.errors import BadInput, bad
from smidgen.learn._encoder_episodes import unit_scales

LEAST_CEILING = 0.01  # units of which less could be explained are left out


def explained_variance(predicted: Any, measured: Any, ceiling: Any = None) -> np.ndarray:
    """`1 - Var(measured - predicted) / Var(measured)` of each unit, `[V]`. It does not see a wrong mean: `r_squared`
    does. NaN, with a warning, where the responses do not vary, or the ceiling is near 0.

    Args:
        predicted, measured: `[N, V]` (or `[N]`: one unit); measured ones that are NaN do not count.
        ceiling: `[V]`, what could be explained at best (`noise_ceiling`); the result is a share of it.
    Raises:
        BadInput: shapes that differ.
    """
    return _score(predicted, measured, ceiling, lambda off, spread_V: unit_scales(off)[1] ** 2 / spread_V**2)


def r_squared(predicted: Any, measured: Any, ceiling: Any = None) -> np.ndarray:
    """`1 - mean((measured - predicted)^2) / Var(measured)` of each unit; otherwise as `explained_variance`."""
    return _score(predicted, measured, ceiling, lambda off, spread_V: np.nanmean(off**2, axis=0) / spread_V**2)


def noise_ceiling(repeats_RNV: Any, averaged: int = 1) -> np.ndarray:
    """The explained variance `[V]` of a perfect model, from responses to the same stimuli measured again and again.

    Noise is the variance among repeats of a stimulus; signal is what the variance of the means has beyond its share of
    noise (Allen et al., 2022, Nature Neuroscience 25, 116-126).

    Args:
        repeats_RNV: responses; NaN: not measured. A stimulus counts for a unit with at least two.
        averaged: how many repeats the scored responses are means of.
    Raises:
        BadInput: fewer than two repeats.
    """
    y = np.asarray(repeats_RNV, np.float64)
    if y.ndim != 3 or len(y) < 2:
        raise bad("repeats", "[at least 2 repeats, stimuli, units]", f"shape {y.shape}")
    known = np.isfinite(y)
    count_NV = known.sum(0)
    y = np.where(known, y, 0.0)
    mean_NV = y.sum(0) / np.maximum(count_NV, 1)
    within_NV = (np.where(known, y - mean_NV, 0.0) ** 2).sum(0)
    used = count_NV >= 2
    freedom_V = np.where(used, count_NV - 1, 0).sum(0)
    noise_V = np.where(used, within_NV, 0.0).sum(0) / np.maximum(freedom_V, 1)
    stimuli_V = used.sum(0)
    center_V = np.where(used, mean_NV, 0.0).sum(0) / np.maximum(stimuli_V, 1)
    between_V = (np.where(used, mean_NV - center_V, 0.0) ** 2).sum(0) / np.maximum(stimuli_V - 1, 1)
    share_V = np.where(used, 1 / np.maximum(count_NV, 1), 0.0).sum(0) / np.maximum(stimuli_V, 1)
    signal_V = np.maximum(between_V - noise_V * share_V, 0.0)
    total_V = signal_V + noise_V / averaged
    return np.where((stimuli_V >= 2) & (total_V > 0), signal_V / np.where(total_V > 0, total_V, 1.0), np.nan)


def by_region(values: Mapping[str, Any], regions: Sequence[str]) -> pd.DataFrame:
    """Means, medians and standard errors of values of each unit, by region (a row each); NaN does not count.

    Args:
        values: by name, `[V]` each. regions: of each unit.
    """
    frame = pd.DataFrame({name: np.asarray(v, np.float64) for name, v in values.items()})
    if len(frame) != len(regions):
        raise bad("regions", f"one for each of {len(frame)} units", len(regions))
    groups = frame.groupby(np.asarray(regions, object))
    parts = {f"{name} {how}": groups[name].agg(how) for name in values for how in ("mean", "median", "sem")}
    return pd.DataFrame({"units": groups.size(), **parts}).rename_axis("region")


class Predictor(Protocol):
    """What answers `[M, V]` to embeddings `[M, E]`."""

    def predict(self, X: Any, /) -> np.ndarray: ...


def context_curve(
    fit: Callable[[np.ndarray, np.ndarray], Predictor],
    pool: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
    sizes: Sequence[int],
    draws: int = 5,
    seed: int = 0,
) -> np.ndarray:
    """Explained variance `[sizes, V]` on test stimuli by the size of the context, averaged over disjoint contexts.

    Args:
        fit: makes a predictor of embeddings and responses: `InContextEncoder(...).fit`, `ridge_cv`.
        pool, test: embeddings `[N, E]` and responses `[N, V]`: contexts are drawn from the pool; equal seeds give equal
            contexts, so that predictors can be compared.
        draws: contexts of each size; fewer where the pool has no more.
    Raises:
        BadInput: a size above that of the pool.
    """
    X, Y = np.asarray(pool[0]), np.asarray(pool[1])
    if max(sizes) > len(X):
        raise bad("sizes", f"at most the {len(X)} stimuli of the pool", max(sizes))
    order = np.random.default_rng(seed).permutation(len(X))
    curve = []
    for size in sizes:
        parts = [order[k * size : (k + 1) * size] for k in range(min(draws, len(X) // size))]
        curve.append(np.mean([explained_variance(fit(X[p], Y[p]).predict(test[0]), test[1]) for p in parts], axis=0))
    return np.array(curve)


def _score(predicted: Any, measured: Any, ceiling: Any, lost: Callable[[np.ndarray, np.ndarray], Any]) -> np.ndarray:
    p, y = np.asarray(predicted, np.float64), np.asarray(measured, np.float64)
    if p.shape != y.shape or y.ndim not in (1, 2):
        raise bad("predicted, measured", "the same shape, [stimuli, units]", f"{p.shape}, {y.shape}")
    p, y = (a.reshape(len(a), -1) for a in (p, y))
    spread_V = unit_scales(y)[1]
    limit_V = np.ones(len(spread_V)) if ceiling is None else np.asarray(ceiling, np.float64)
    if limit_V.shape != spread_V.shape:
        raise bad("ceiling", f"one for each of {len(spread_V)} units", f"shape {limit_V.shape}")
    if not np.isfinite(p).all():
        raise BadInput("predicted: it holds values that are not finite.")
    with np.errstate(invalid="ignore"):
        fair = (spread_V > 0) & (limit_V >= LEAST_CEILING)
    if not fair.all():
        warnings.warn(
            f"{(~fair).sum()} of {len(fair)} units do not vary, or nothing of them could be explained: they get NaN.",
            UserWarning,
            stacklevel=3,
        )
    out = np.full(len(spread_V), np.nan)
    if fair.any():
        out[fair] = (1 - lost(y[:, fair] - p[:, fair], spread_V[fair])) / limit_V[fair]
    return out
