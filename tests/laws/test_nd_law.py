"""The law of size and data: known laws found again, outliers borne, published fits met, the optimum in closed form."""

import gzip
from dataclasses import replace

import numpy as np
import pytest

from smidgen.kit.errors import BadInput
from smidgen.laws.law import TooFar
from smidgen.laws.nd_law import NDLaw, fit_nd_law

TRUE = NDLaw(cn=406.4, alpha=0.34, cd=410.7, beta=0.28, l0=1.69)
N = np.repeat(np.geomspace(4e7, 2e9, 6), 4)
D = N * np.tile([10, 20, 30, 60], 6)


def test_finds_a_law_again_and_bears_outliers():
    loss = TRUE.loss(N, D)
    loss[[3, 17]] *= 1.3
    law = fit_nd_law(N, D, loss)
    assert law.loss(7e10, 1.4e12, anyway=True) == pytest.approx(TRUE.loss(7e10, 1.4e12), rel=2e-3)
    for far in (lambda: law.loss([1e9, 7e10], 1e11), lambda: law.loss(1e9, 1e7), lambda: law.optimal(1e25)):
        with pytest.raises(TooFar, match="10 times outside the runs"):
            far()
    assert law.loss(1e10, 1e11) < law.loss(1e9, 1e11) and law.optimal(1e25, anyway=True)[0] > 1e10
    assert (law.alpha, law.beta, law.l0) == pytest.approx((0.34, 0.28, 1.69), rel=2e-2)
    assert (law.range_n, law.range_d[0]) == ((N.min(), N.max()), D.min())


def test_the_optimum_is_the_least_loss_of_a_line():
    law, flops = TRUE, 5.76e23
    n, d = law.optimal(flops)
    sizes = np.geomspace(n / 10, n * 10, 2001)
    assert 6 * n * d == pytest.approx(flops)
    assert sizes[np.argmin(law.loss(sizes, flops / 6 / sizes))] == pytest.approx(n, rel=5e-3)
    k = (law.alpha * law.cn / (law.beta * law.cd)) ** (1 / (law.alpha + law.beta))
    eta = (law.beta - law.alpha) / (law.alpha + law.beta)
    assert n / d == pytest.approx(k**2 * (flops / 6) ** eta)  # MiniCPM's form


def test_meets_the_published_fit(data_folder):
    """Besiroglu et al., 2024, arXiv 2404.10102, on the points of Hoffmann et al.: 0.3478, 0.3658, 1.8172."""
    with gzip.open(data_folder / "chinchilla_points" / "chinchilla_points.csv.gz", "rt") as file:
        names = file.readline().strip().split(",")
        rows = np.array([[float(x) for x in line.split(",")] for line in file])
    rows = rows[np.argsort(rows[:, names.index("loss")])][:-5]  # as they did
    law = fit_nd_law(*(rows[:, names.index(name)] for name in ("params", "tokens", "loss")))
    assert (law.alpha, law.beta, law.l0) == pytest.approx((0.3478, 0.3658, 1.8172), rel=5e-3)


def test_what_cannot_be_fitted_is_refused():
    loss = TRUE.loss(N, D)
    for n, d, y, why in (
        (N[:5], D[:5], loss[:5], "at least 6"),
        (N, D, loss[:-1], "one length"),
        (N, D, -loss, "above 0"),
        (np.full(24, 1e8), D, loss, "3 different"),
    ):
        with pytest.raises(BadInput, match=why):
            fit_nd_law(n, d, y)
    with pytest.raises(BadInput, match="above 0"):
        TRUE.optimal(0)
    with pytest.raises(BadInput, match="falls with both"):
        replace(TRUE, alpha=0.0).optimal(1e20)
