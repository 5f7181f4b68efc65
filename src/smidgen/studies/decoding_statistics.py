"""How sure the findings of a decoding study are: differences to the baseline at equal settings, seeds and prompts.

Prompts and seeds are crossed, so both are drawn anew, each by itself (the pigeonhole bootstrap; Owen, 2007, "The
pigeonhole bootstrap", which is rather too wide than too narrow). Duplicate rates and the like change with temperature
for every model; only differences at equal temperature are compared.

Dims: K levels of a factor, S seeds, P prompts, D draws.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from smidgen.kit.errors import bad
from smidgen.kit.seeds import derive_seed

FACTORS = ("temperature", "top_k", "length")
WINDOW = (0.5, 0.8)  # of temperature, where the paper finds 4-bit models most sensitive


def sensitivity(
    samples: pd.DataFrame, by: str = "temperature", *, measure: str = "bits_per_byte", baseline: str = "float",
    level: float = 0.9, draws: int = 1000, seed: int = 0,
) -> pd.DataFrame:  # fmt: skip
    """How the distance to the baseline changes with a factor; other factors are averaged.

    Args:
        samples: of a `DecodingResult`.
    Returns:
        A row a variant. "range": largest less smallest |difference| over the levels, with "range_low", "range_high";
        noise alone makes a range, "range_noise" is by how much draws exceed it on average. "slope" of |difference| per
        unit of the factor, "slope_low", "slope_high". "mean": of |difference|, "largest", and the level "at" which.
    Raises:
        BadInput: no such factor or baseline, or seeds and prompts are not all there.
    """
    rows = []
    levels = _levels(samples, by)
    for name, cube in _curves(samples, by, measure, baseline).items():
        point, drawn = np.abs(_mean(cube)), np.abs(_bootstrap(cube, draws, seed))
        spread, spreads = np.ptp(point), np.ptp(drawn, axis=1)
        line = levels - levels.mean()
        weights = line / (line**2).sum() if len(levels) > 1 else line
        rows.append({
            "variant": name, "range": spread, **_ends("range", spreads, level),
            "range_noise": float(spreads.mean() - spread), "slope": float(point @ weights),
            **_ends("slope", drawn @ weights, level), "mean": float(point.mean()), "largest": float(point.max()),
            "at": float(levels[point.argmax()]),
        })  # fmt: skip
    return pd.DataFrame(rows)


def curves(
    samples: pd.DataFrame, by: str = "temperature", *, measure: str = "bits_per_byte", baseline: str = "float",
    level: float = 0.9, draws: int = 1000, seed: int = 0,
) -> pd.DataFrame:  # fmt: skip
    """Difference to the baseline at each level of a factor: "variant", `by`, "difference", "low", "high"."""
    rows = []
    levels = _levels(samples, by)
    for name, cube in _curves(samples, by, measure, baseline).items():
        point, drawn = _mean(cube), _bootstrap(cube, draws, seed)
        for k, at in enumerate(levels):
            ends = _ends("", drawn[:, k], level)
            rows.append({"variant": name, by: float(at), "difference": float(point[k]), "low": ends["_low"],
                         "high": ends["_high"]})  # fmt: skip
    return pd.DataFrame(rows)


def difference(
    samples: pd.DataFrame, a: str, b: str, *, measure: str = "bits_per_byte", level: float = 0.9, draws: int = 1000,
    seed: int = 0,
) -> dict[str, float]:  # fmt: skip
    """Of a variant to another, all settings averaged: "difference", "se", "low", "high"."""
    cube = _curves(samples, "temperature", measure, b, only=(a,))[a].mean(0, keepdims=True)
    drawn = _bootstrap(cube, draws, seed)[:, 0]
    ends = _ends("", drawn, level)
    return {
        "difference": float(cube.mean()),
        "se": float(drawn.std(ddof=1)),
        "low": ends["_low"],
        "high": ends["_high"],
    }


def window_effect(
    samples: pd.DataFrame, variants: Sequence[str], window: tuple[float, float] = WINDOW, *,
    measure: str = "bits_per_byte", baseline: str = "float", level: float = 0.9, draws: int = 1000, seed: int = 0,
) -> dict[str, float]:  # fmt: skip
    """Mean |difference to the baseline| at temperatures inside the window less that outside, over variants: "inside",
    "outside", "effect", "low", "high".

    Raises:
        BadInput: no temperature inside, or none outside.
    """
    levels = _levels(samples, "temperature")
    inside = (levels >= window[0] - 1e-9) & (levels <= window[1] + 1e-9)
    if inside.all() or not inside.any():
        raise bad("window", "temperatures inside and outside of it", window)
    found = _curves(samples, "temperature", measure, baseline, only=tuple(variants))
    points = np.mean([np.abs(_mean(c)) for c in found.values()], 0)
    drawn = np.mean([np.abs(_bootstrap(c, draws, seed)) for c in found.values()], 0)
    effect = points[inside].mean() - points[~inside].mean()
    effects = drawn[:, inside].mean(1) - drawn[:, ~inside].mean(1)
    ends = _ends("", effects, level)
    return {"inside": float(points[inside].mean()), "outside": float(points[~inside].mean()), "effect": float(effect),
            "low": ends["_low"], "high": ends["_high"]}  # fmt: skip


def _curves(
    samples: pd.DataFrame, by: str, measure: str, baseline: str, only: Sequence[str] | None = None
) -> dict[str, np.ndarray]:
    """Differences to the baseline `[K, S, P]` of each variant."""
    if by not in FACTORS:
        raise bad("by", ", ".join(FACTORS), by)
    names = list(dict.fromkeys(samples["variant"]))
    for name in (baseline, *(only or ())):
        if name not in names:
            raise bad("variant", ", ".join(names), name)
    table: Any = samples.pivot_table(
        index=["variant", by, "seed", "prompt"], values=measure, aggfunc="mean", sort=True
    )[measure]
    levels, seeds, prompts = (sorted(samples[c].unique()) for c in (by, "seed", "prompt"))
    whole = pd.MultiIndex.from_product([names, levels, seeds, prompts])
    cube = table.reindex(whole).to_numpy(float).reshape(len(names), len(levels), len(seeds), len(prompts))
    if not np.isfinite(cube).all():
        raise bad("samples", "a number for every variant, setting, seed and prompt", "some are missing")
    base = cube[names.index(baseline)]
    return {n: cube[names.index(n)] - base for n in (names if only is None else only) if n != baseline}


def _levels(samples: pd.DataFrame, by: str) -> np.ndarray:
    return np.array(sorted(samples[by].unique()), float)


def _mean(cube_KSP: np.ndarray) -> np.ndarray:
    return cube_KSP.mean((1, 2))


def _bootstrap(cube_KSP: np.ndarray, draws: int, seed: int) -> np.ndarray:
    """Means `[D, K]` over seeds and prompts drawn anew; the same draws for every variant."""
    K, S, P = cube_KSP.shape
    rng = np.random.default_rng(derive_seed(seed, "crossed bootstrap"))
    s_DS = rng.multinomial(S, np.full(S, 1 / S), draws) / S
    p_DP = rng.multinomial(P, np.full(P, 1 / P), draws) / P
    return np.einsum("ksp,ds,dp->dk", cube_KSP, s_DS, p_DP, optimize=True)


def _ends(name: str, drawn: np.ndarray, level: float) -> dict[str, float]:
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return {f"{name}_low": float(low), f"{name}_high": float(high)}
