"""The fitter of laws: a thousand bootstrap fits against scipy's, and the laws refitted on published measurements.

    python benchmarks/laws.py run     # about a minute; writes results/laws.json
    python benchmarks/laws.py show

Speed: the law of size and tokens (5 parameters) on 100 points, its bootstrap beside scipy's `least_squares` with the
same loss, one fit after another from the same start, the best of three rounds each; the spread of the exponents must
agree. One core.
Accuracy: the forecasts of claims 044 (104 models) and 097 (17 cells of rates and batches) on the released tables.
"""

import argparse
import json
import os
import time
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from smidgen.kit.machine import machine, versions

RESULTS = Path(__file__).resolve().parent / "results" / "laws.json"
POINTS, FITS, PEER_FITS, ROUNDS = 100, 1000, 100, 3
TRUE = {"e": 1.7, "a": 400.0, "b": 410.0, "alpha": 0.34, "beta": 0.28}


def made_points() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sizes, tokens and losses `[R]` of the law with noise of 1 %."""
    rng = np.random.default_rng(0)
    n_R, d_R = 10 ** rng.uniform(6, 10, POINTS), 10 ** rng.uniform(8, 12, POINTS)
    loss_R = TRUE["e"] + TRUE["a"] / n_R ** TRUE["alpha"] + TRUE["b"] / d_R ** TRUE["beta"]
    return n_R, d_R, loss_R * np.exp(0.01 * rng.normal(size=POINTS))


def bootstrap_speed() -> dict[str, Any]:
    from scipy.optimize import least_squares

    from smidgen.laws.draws import bootstrap
    from smidgen.laws.law import fit
    from smidgen.laws.nd_law import nd_form
    from smidgen.laws.points import Points

    n_R, d_R, loss_R = made_points()
    law = fit(nd_form({"n": 1e8, "d": 1e10}), Points.of({"n": n_R, "d": d_R}, loss_R))
    drawn, seconds = law, []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        drawn = bootstrap(law, FITS)
        seconds.append(time.perf_counter() - start)
    assert drawn.draws_KP is not None
    logs = [np.log(n_R / 1e8), np.log(d_R / 1e10)]

    def value(theta: np.ndarray) -> np.ndarray:
        e, a, b, alpha, beta = theta
        return np.logaddexp.reduce([np.full(POINTS, e), a - alpha * logs[0], b - beta * logs[1]])

    start_P = np.array([0.5, 0.0, 0.0, 0.3, 0.3])

    def peer(target_R: np.ndarray, at: np.ndarray) -> np.ndarray:
        found = least_squares(lambda t: value(t) - target_R, at, loss="huber", f_scale=0.0134)
        return found.x

    base_P = peer(np.log(loss_R), start_P)
    residual_R = np.log(loss_R) - value(base_P)
    residual_R = (residual_R - residual_R.mean()) * np.sqrt(POINTS / (POINTS - 5))
    rng, found, peer_seconds = np.random.default_rng(0), [], []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for _ in range(PEER_FITS):
            found.append(peer(value(base_P) + residual_R[rng.integers(0, POINTS, POINTS)], base_P))
        peer_seconds.append((time.perf_counter() - start) * FITS / PEER_FITS)
    names = [p.name for p in law.form.parameters]
    return {
        "seconds": min(seconds),
        "scipy_seconds": min(peer_seconds),
        "parameters": names,
        "sd": dict(zip(names, drawn.draws_KP.std(0).tolist(), strict=True)),
        "scipy_sd": dict(zip(("l0", "cn", "cd", "alpha", "beta"), np.std(found, 0).tolist(), strict=True)),
    }


def released() -> dict[str, float]:
    from smidgen.laws.step_excess import excess_of
    from smidgen.laws.step_rules import RULES, setting
    from smidgen.papers import p044_overtraining, p097_step_law
    from smidgen.tasks.scaling_testbed import steps

    parts = [p097_step_law.excesses(seed) for seed in range(p097_step_law.FOLDS)]  # each cell once
    whole = {f"excess of {name}": float(np.mean([e for part in parts for e in part[name]])) for name in parts[0]}
    for rule in RULES:  # none was fitted to these runs
        excess = excess_of(steps(), setting(rule)).values()
        whole[f"excess of the rule {rule(1e9, 2e10).name}"] = 100 * float(np.mean(list(excess)))
    return {**p044_overtraining.released(), **whole}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=["run", "show"])
    if parser.parse_args().verb == "run":
        with threadpool_limits(1):
            found: dict[str, Any] = {"bootstrap": bootstrap_speed()}
        if "SMIDGEN_DATA" in os.environ:
            found["released"] = released()
        about = {"date": date.today().isoformat(), "machine": machine(), "versions": versions()}
        RESULTS.write_text(json.dumps({**found, **about}, indent=1) + "\n")
    print(RESULTS.read_text() if RESULTS.exists() else "nothing measured yet: python benchmarks/laws.py run")


if __name__ == "__main__":
    main()
