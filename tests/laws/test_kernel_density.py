"""Kernel densities in many dimensions: thresholds, phases, bandwidths, against closed forms, sums and draws."""

import math

import numpy as np
import pytest

from smidgen.kit.errors import BadInput
from smidgen.laws import density_phases
from smidgen.laws.density_phases import (
    empirical_thresholds,
    gaussian_kl,
    gaussian_thresholds,
    participation,
    phase_diagram,
    squared_distances,
    tail_index,
)
from smidgen.laws.kernel_density import KernelDensity, divergence, fit_density, silverman

D, N = 40, 3000
VARIANCES = np.geomspace(0.3, 2.0, D)


@pytest.fixture(scope="module")
def drawn():
    rng = np.random.default_rng(1000)
    return rng.standard_normal((N, D)), rng.standard_normal((300, D))


def test_thresholds_solve_their_equations():
    edges = gaussian_thresholds(20000, 50)
    lam, alpha = 1 / edges.h_g**2, math.log(20000) / 50
    assert 2 * alpha == pytest.approx(math.log(1 + lam) - lam / (1 + lam) ** 2)
    assert edges.h_opt == pytest.approx(edges.h_g * math.sqrt(1 + 2 * edges.h_g**2) / (1 + edges.h_g**2))
    assert edges.h_clt == pytest.approx(math.sqrt(2) * edges.h_g)
    scaled = gaussian_thresholds(20000, 50, np.full(50, 9.0))
    assert (scaled.h_g, scaled.h_opt) == pytest.approx((3 * edges.h_g, 3 * edges.h_opt))
    lines = phase_diagram([alpha / 2, alpha, 3 * alpha])
    assert np.asarray(lines.h_g)[1] == pytest.approx(edges.h_g) and (np.diff(lines.h_g) < 0).all()


def test_costs_of_any_variances_are_those_of_the_tilted_law():
    """s is the relative entropy of the terms that count: y tilted towards x, a normal law; e_min is their |x - y|^2."""
    edges, rng = gaussian_thresholds(N, D, VARIANCES), np.random.default_rng(0)
    lam, x = 1 / edges.h_g**2, rng.normal(0, np.sqrt(VARIANCES), (20_000, D))
    narrow = VARIANCES / (1 + lam * VARIANCES)
    middle = x * lam * narrow
    cost = 0.5 * (narrow / VARIANCES - 1 - np.log(narrow / VARIANCES) + middle**2 / VARIANCES).mean()
    assert cost == pytest.approx(edges.alpha, rel=5e-3)
    assert ((x - middle) ** 2 + narrow).mean() == pytest.approx(edges.h_opt**2, rel=5e-3)


def test_relative_entropy_is_continuous_and_least_at_the_best_bandwidth():
    edges = gaussian_thresholds(N, D, VARIANCES)
    below, above = gaussian_kl([edges.h_g * (1 - 1e-9), edges.h_g], N, D, VARIANCES)
    assert below == pytest.approx(above)
    told = math.log(edges.h_opt) + edges.alpha - 0.5 * np.log(VARIANCES).mean()
    assert gaussian_kl([edges.h_opt], N, D, VARIANCES)[0] == pytest.approx(told)
    h = np.linspace(0.5, 1.5, 201) * edges.h_opt
    assert h[np.argmin(gaussian_kl(h, N, D, VARIANCES))] == pytest.approx(edges.h_opt, rel=0.01)


def test_density_is_the_sum_and_blocks_do_not_matter(drawn, monkeypatch):
    x, new = drawn[0][:50, :3], drawn[1][:20, :3]
    parts = [np.exp(-((new - y) ** 2).sum(1) / (2 * 0.4**2)) / (2 * math.pi * 0.4**2) ** 1.5 for y in x]
    density = KernelDensity(x, 0.4)
    told = np.log(np.mean(parts, 0))
    np.testing.assert_allclose(density.log_density(new), told, rtol=1e-10)
    blocks = list(squared_distances(new, x, 8 * 50 * 6))
    assert [len(b) for b in blocks] == [6, 6, 6, 2]
    np.testing.assert_allclose(np.concatenate(blocks)[:, 7], ((new - x[7]) ** 2).sum(1))
    weights = np.array(parts) / np.sum(parts, 0)
    np.testing.assert_allclose(density.participation(new), (weights**2).sum(0))
    assert density.tail_index(new, 5) == pytest.approx(tail_index(np.log(weights.T), 5))
    far = KernelDensity(x, 1e-3)
    assert np.isfinite(far.log_density(new)).all() and far.participation(new).min() > 0.99


def test_phases_and_entropy_as_predicted(drawn):
    x, new = drawn
    edges, density = gaussian_thresholds(N, D), KernelDensity(x, 1.0)
    phases = [density.at(f * edges.h_g).phase_at(new) for f in (0.6, 1.15, 1.6)]
    assert phases == ["condensed", "heavy-tailed", "clt"]
    known = -0.5 * (new**2).sum(1) - 0.5 * D * math.log(2 * math.pi)
    found, error = divergence(density.at(1.4 * edges.h_g), new, known)
    assert found == pytest.approx(gaussian_kl([1.4 * edges.h_g], N, D)[0], abs=3 * error) and error < 0.01
    measured = empirical_thresholds(x)
    assert measured.h_g == pytest.approx(edges.h_g, rel=0.04) and 1 < measured.h_opt / edges.h_opt < 1.08
    skewed = np.sqrt(VARIANCES) * x
    assert empirical_thresholds(skewed).h_g == pytest.approx(gaussian_thresholds(N, D, VARIANCES).h_g, rel=0.04)


def test_tail_index_of_pareto_weights():
    weights = np.random.default_rng(0).pareto(1.4, (200, 5000)) + 1
    assert tail_index(np.log(weights), 20) == pytest.approx(1.4, rel=0.04)
    assert tail_index(np.log(weights[0]) + 7) == pytest.approx(tail_index(np.log(weights[:1])))
    assert participation(np.zeros((2, 8))) == pytest.approx([1 / 8, 1 / 8])


def test_bandwidths_that_are_chosen(drawn, recwarn):
    x = drawn[0]
    assert fit_density(x, "kl").bandwidth == pytest.approx(gaussian_thresholds(N, D).h_opt, rel=0.02)
    few = x[:400, :2]
    chosen = fit_density(few, "cv")
    grid = np.geomspace(0.15, 0.8, 60)
    apart = ((few[:, None] - few) ** 2).sum(-1) + np.diag(np.full(400, np.inf))
    gain = [np.log(np.exp(-apart / (2 * h * h)).sum(1)).mean() - 2 * math.log(h) for h in grid]
    assert chosen.bandwidth == pytest.approx(grid[int(np.argmax(gain))], rel=0.05) and chosen.phase == "clt"
    assert silverman(20000, 50) == pytest.approx(0.794, abs=1e-3)
    assert not recwarn.list
    with pytest.warns(UserWarning, match="condensed phase"):
        assert fit_density(x, "silverman").phase == "condensed"
    assert fit_density(x, 0.5, phase_check=False).phase == ""


def test_refusals(drawn):
    x = drawn[0][:30]
    for call, message in (
        (lambda: gaussian_thresholds(1, 5), "n: expected at least 2"),
        (lambda: gaussian_thresholds(9, 0), "d: expected at least 1"),
        (lambda: gaussian_thresholds(9, 3, [1.0, 2.0]), "variances: expected 3 numbers"),
        (lambda: fit_density(x, -1.0), "bandwidth: expected"),
        (lambda: fit_density(x, "scott"), "kl, cv or silverman, got scott"),
        (lambda: fit_density(np.where(x == x[4, 4], np.nan, x)), "x, row 4: expected finite"),
        (lambda: fit_density(np.ones((9, 2))), "at least two that differ"),
        (lambda: fit_density(np.repeat(x, 9, 0), "cv"), "few copies"),
        (lambda: KernelDensity(x, 1.0).log_density(x[:, 1:]), "rows of 40 numbers"),
        (lambda: empirical_thresholds(x, 16), "probes: expected 2 to 15"),
        (lambda: density_phases.tail_index(np.zeros(10), 10), "top: expected from 1 to 9"),
    ):
        with pytest.raises(BadInput, match=message):
            call()
