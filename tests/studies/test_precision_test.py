"""The stress test: short numbers are found out where they err, and only there."""

import numpy as np
import pytest

from smidgen.kit.errors import BadInput
from smidgen.studies.precision_members import EachMember, run_ensemble
from smidgen.studies.precision_noise import noise, pooled, verdict
from smidgen.studies.precision_test import precision_stress_test
from smidgen.studies.wasserstein import gridpoint_wasserstein
from smidgen.tasks.dynamics.lorenz63 import Lorenz63
from smidgen.tasks.dynamics.shallow_water import ShallowWater1D


def slow(arithmetic, seeds):
    """From 4, small steps to a target of each member's own, 3 +- 0.1: to nearest in few bits they are lost."""
    target = 3 + 0.1 * np.array([[np.random.default_rng(seed).standard_normal() for seed in seeds]])
    x = arithmetic.array(np.full((1, len(seeds)), 4.0))
    for _ in range(2000):
        x += 0.002 * (target - x)
    return np.asarray(x)[None]


def growing(arithmetic, seeds):
    x, out = arithmetic.array(1 + np.arange(len(seeds))[None] / 10), []
    for _ in range(30):
        x = x * 1.5
        out.append(np.asarray(x))
    return np.stack(out)


def test_verdicts_are_those_of_the_arithmetic():
    table = precision_stress_test(slow, (9, 20), n_members=16, reference_members=16, draws=40)
    verdicts = {(r.sbits, r.mode): r.verdict for r in table.itertuples()}
    assert verdicts == {
        (9, "nearest"): "large",
        (9, "stochastic"): "negligible",
        (20, "nearest"): "negligible",
        (20, "stochastic"): "negligible",
    }
    row = table.iloc[0]
    assert row.stagnated > 0.49 and row.operations == 16 * 2000 * 3 and row.noise_mean <= row.noise_max
    assert row.W_mean > row.minor_to > row.noise_high > row.noise_low


def test_overflow_is_a_verdict():
    table = precision_stress_test(growing, [10], ["nearest"], 6, 6, references=2, exponent_bits=5, draws=20)
    assert table.verdict.tolist() == ["unstable"] and table.unstable.tolist() == [6] and np.isnan(table.W_mean[0])


def one(arithmetic, seed):
    return Lorenz63(time=1.2, spin_up=1.0)(arithmetic, [seed])[:, :, 0]


def test_members_do_not_depend_on_batches_or_processes():
    model, seeds = Lorenz63(time=1.2, spin_up=1.0), [4, 5, 6]
    whole = run_ensemble(model, seeds, 6, "stochastic")
    others = (
        run_ensemble(model, seeds, 6, "stochastic", batch=2, workers=2),
        run_ensemble(EachMember(one), seeds, 6, "stochastic"),
    )
    for other in others:
        assert np.array_equal(whole.trajectory, other.trajectory) and whole.counts == other.counts
    assert whole.distinct == 1 and whole.counts.operations == 120 * 68 * 3
    assert np.allclose(run_ensemble(model, seeds, 51).trajectory, run_ensemble(model, seeds).trajectory, rtol=1e-9)


def test_orbits_that_merged_are_counted():
    def converging(arithmetic, seeds):
        x = arithmetic.array(np.array([seeds]))
        for _ in range(9):
            x = x * 0.5 + 1
        return np.asarray(x)[None]

    assert run_ensemble(converging, range(1, 9)).distinct == 1
    assert run_ensemble(converging, range(1, 9), 4).distinct == 1 / 8


def test_the_band_holds_what_it_says_for_samples_that_repeat():
    """Samples of a member nearly equal: a band of single samples would be five times too narrow."""
    rng, inside = np.random.default_rng(0), []
    for trial in range(40):
        level = rng.standard_normal((4, 1, 3, 12))
        low, *known = level + 0.1 * rng.standard_normal((4, 25, 3, 12))
        base = noise(known, 12, draws=60, seed=trial)
        W = gridpoint_wasserstein(pooled(low), pooled(known[0]))
        bottom, top = base.band(level=0.8)
        inside.append(bottom <= W.mean() <= top)
    assert 0.66 <= np.mean(inside) <= 0.93
    assert base.pairs.shape == (3, 3) and np.allclose(
        base.pairs[0], gridpoint_wasserstein(pooled(known[0]), pooled(known[1]))
    )
    all_of_them = noise([np.zeros((2, 1, 5)), np.ones((2, 1, 5))], 5, draws=20).drawn
    assert 0 < all_of_them.max() <= 1 and set((5 * all_of_them[:, 0]).round(9) % 2) <= {0.0, 1.0}


def test_variables_and_a_changed_parameter():
    model = ShallowWater1D(places=12, time=20, spin_up=10, every=8)
    other = ShallowWater1D(places=12, time=20, spin_up=10, every=8, force=0.006)
    table = precision_stress_test(model, [6], ["stochastic"], 8, 8, draws=20, perturbed=other, seed=1)
    assert table.variable.tolist() == ["all", "u", "height"]
    assert table.W_mean[0] == pytest.approx(table.W_mean[1:].mean())
    assert (table.minor_to >= table.noise_high).all()
    assert [verdict(w, 1.0, 2.0) for w in (1.0, 1.5, 2.5, np.nan)] == ["negligible", "minor", "large", "unstable"]


def test_errors_say_what_to_do():
    model = Lorenz63(time=0.2, spin_up=0.1, every=2)
    for call, match in (
        (lambda: precision_stress_test(model, [10], n_members=4), "at least 5"),
        (lambda: precision_stress_test(model, [60]), "sbits"),
        (lambda: precision_stress_test(model, [10], ["up"]), "mode"),
        (lambda: precision_stress_test(model, [10], n_members=20, reference_members=5, references=3), "reference"),
        (lambda: run_ensemble(lambda a, s: np.ones((3, 2)), [1, 2]), "time, points, 2 members"),
    ):
        with pytest.raises(BadInput, match=match):
            call()
