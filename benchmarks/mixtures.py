"""Scores of mixtures of sources, forecast from what sellers show (arXiv 2307.02460), beside forecasts from the shares.

    python benchmarks/mixtures.py run     # a few minutes; writes results/mixtures.json
    python benchmarks/mixtures.py show

The market of claim 077 on seeds that it did not use: three sources of skewed MNIST digits, 66 mixtures trained at 150
and 300 rows (logistic regression, three draws each, medians). smidgen: the default form, a straight line in the
distance. Baselines: forms of the shares alone (linear; linear and squares; quadratic; a ratio of two linear forms), all
but the last with the same choice of a ridge penalty. Inside: fitted to 40 % of the mixtures, 10 splits, asked about the
others; outside: fitted where the second source has at most 40 %, asked beyond; larger: fitted to all at both sizes,
carried on to 1,500 rows along the logarithm of the rows, for 100 new mixtures. Mean absolute errors in points of
accuracy, forecasts kept within 0 and 1. Seconds: forecasts of 20 mixtures with the pilots there, distances included.
"""

import argparse
import json
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from smidgen.kit.machine import machine, versions

RESULTS = Path(__file__).resolve().parent / "results" / "mixtures.json"
SEEDS, SPLITS, FITTED, EDGE, NEW, TIMED = (23, 24, 25), 10, 0.4, 0.4, 100, 20
FORMS = {
    "smidgen": "ot", "shares, linear": "shares linear", "shares and squares": "shares pq",
    "shares, quadratic": "shares quadratic",
}  # fmt: skip
Told = Callable[[np.ndarray, np.ndarray], np.ndarray]  # of mixtures and their distances


def fitted(name: str, P: np.ndarray, ot: np.ndarray, score: np.ndarray) -> Told:
    """A form fitted to pilots."""
    if name == "ratio":
        return ratio(P, score)
    from smidgen.data.mixtures import MixturePerformance

    return MixturePerformance(FORMS[name]).fit(P, ot, score).predict


def ratio(P: np.ndarray, score: np.ndarray) -> Told:
    """(a p) / (b p) with b above 0 and its mean 1, by least squares from the linear form."""
    from scipy.optimize import least_squares

    m = P.shape[1]

    def told(theta: np.ndarray, P: np.ndarray) -> np.ndarray:
        b = np.exp(theta[m:] - theta[m:].mean())
        return (P @ theta[:m]) / (P @ b)

    start = np.r_[np.linalg.lstsq(P, score, rcond=None)[0], np.zeros(m)]
    found = least_squares(lambda t: told(t, P) - score, start, bounds=(-20, 20)).x
    return lambda P, ot: told(found, P)


def errors(seed: int) -> dict[str, Any]:
    """Of one market: mean absolute errors in points by test and form, seconds, and trainings of the pilots."""
    from smidgen.data.mixtures import project
    from smidgen.papers.p077_projektor import Market

    began = time.perf_counter()
    market = Market(seed, True)
    pilots, P = market.pilots, market.pilots.ratios_
    medians = list(zip(np.median(pilots.ot_, 2), np.median(pilots.score_, 2), strict=True))
    out: dict[str, Any] = {"seconds of the pilots": time.perf_counter() - began, "trainings": pilots.cost.trainings}
    rng = np.random.default_rng(seed)
    splits = {
        "inside": [rng.permutation(len(P)) < FITTED * len(P) for _ in range(SPLITS)],
        "outside": [P[:, 1] <= EDGE + 1e-9],
    }
    new = rng.dirichlet(np.ones(3), NEW)
    truth = np.array([np.median(market.measured(p, market.draws, "bench")) for p in new])
    began = time.perf_counter()
    pilots.with_terms("ot").predict(new[:TIMED], market.target)
    out["seconds"] = time.perf_counter() - began
    far = np.array([np.median(pilots.distances(p), 1) for p in new]).T
    for name in (*FORMS, "ratio"):
        for test, parts in splits.items():
            off = []
            for own in parts:
                for ot, score in medians:
                    told = np.clip(fitted(name, P[own], ot[own], score[own])(P[~own], ot[~own]), 0, 1)
                    off.append(np.abs(told - score[~own]).mean())
            out[f"{test}, {name}"] = 100 * float(np.mean(off))
        low, high = (fitted(name, P, *m)(new, d) for m, d in zip(medians, far, strict=True))
        told = np.clip(project(low, high, pilots.sizes_, market.target), 0, 1)
        out[f"larger, {name}"] = 100 * float(np.abs(told - truth).mean())
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=["run", "show"])
    if parser.parse_args().verb == "run":
        with threadpool_limits(1):
            found = {str(seed): errors(seed) for seed in SEEDS}
        about = {"date": date.today().isoformat(), "machine": machine(), "versions": versions()}
        RESULTS.write_text(json.dumps({"markets": found, "timed": TIMED, **about}, indent=1) + "\n")
    print(RESULTS.read_text() if RESULTS.exists() else "nothing measured yet: python benchmarks/mixtures.py run")


if __name__ == "__main__":
    main()
