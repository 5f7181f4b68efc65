"""Noise of full precision, members, and the stress test's defaults: by hand, at their bounds."""

import math
from itertools import combinations

import numpy as np
import pandas as pd
import pytest

from smidgen.formats.arithmetic import Counts
from smidgen.kit.errors import BadInput
from smidgen.kit.seeds import derive_seed
from smidgen.studies.precision_members import EachMember, Ensemble, run_ensemble
from smidgen.studies.precision_noise import Noise, noise, pooled, verdict
from smidgen.studies.precision_test import precision_stress_test
from smidgen.studies.wasserstein import gridpoint_wasserstein


def references(count: int = 3, members: int = 4) -> list[np.ndarray]:
    return list(np.random.default_rng(0).normal(size=(count, 3, 2, members)))


@pytest.mark.parametrize(("members", "p"), [(4, 1.0), (3, 2.0), (8, 1.0)])
def test_pairs_and_draws_of_the_noise(members: int, p: float) -> None:
    own = references()
    found = noise(own, members, p, draws=20, seed=5)
    pairs = [gridpoint_wasserstein(pooled(a), pooled(b), p) for a, b in combinations(own, 2)]
    assert found.pairs == pytest.approx(np.stack(pairs)) and found.drawn.shape == (20, 2)
    everything, rng = np.concatenate(own, 2), np.random.default_rng(derive_seed(5, "noise"))
    for row in found.drawn:
        places = rng.permutation(12)
        first, second = (everything[:, :, part] for part in (places[:members], places[members : members + 4]))
        assert row == pytest.approx(gridpoint_wasserstein(pooled(first), pooled(second), p))
    if p == 1.0 and members == 4:
        plain = noise(own, 4)
        assert plain.drawn.shape == (100, 2) and np.array_equal(plain.drawn, noise(own, 4, 1.0, 100, 0).drawn)


def test_what_gives_no_noise_is_refused() -> None:
    own = references()
    assert noise(own, 8, draws=20).drawn.shape == (20, 2)
    with pytest.raises(BadInput, match="members: expected at most 8, got 9. Make more reference ensembles."):
        noise(own, 9, draws=20)
    with pytest.raises(BadInput, match="draws: expected at least 20, got 19"):
        noise(own, 4, draws=19)
    with pytest.raises(BadInput, match=r"references: expected two or more ensembles of one shape, got \[\(3, 2, 4\)\]"):
        noise(own[:1], 2)
    with pytest.raises(BadInput, match="of one shape"):
        noise([own[0], own[1][:2]], 2)
    assert noise(own[:2], 4, draws=20).pairs.shape == (1, 2)


def test_a_band_has_both_ends_and_its_own_points() -> None:
    made = Noise(np.zeros((1, 2)), np.c_[np.arange(101.0), np.full(101, 50.0)])
    assert made.band(slice(0, 1), 0.9) == pytest.approx((5, 95)) and made.band(slice(1, 2)) == (50, 50)
    assert made.band() == pytest.approx(((2.5 + 50) / 2, (97.5 + 50) / 2)) and made.band(slice(0, 1), 0.5) == (25, 75)
    assert [verdict(w, 1.0, 2.0) for w in (1.0, 1.0001, 2.0, 2.0001, math.inf, -math.inf)] == [
        "negligible", "minor", "minor", "large", "unstable", "unstable",
    ]  # fmt: skip


# -- members --


def seen_by(seeds: list[int], **how: object) -> tuple[list[list[int]], Ensemble]:
    asked: list[list[int]] = []

    def model(arithmetic: object, own: list[int]) -> np.ndarray:
        asked.append(list(own))
        return np.array([[own], [own]], float)

    return asked, run_ensemble(model, seeds, **how)  # type: ignore[arg-type]


def test_members_are_run_in_batches_in_their_order() -> None:
    for batch, parts in ((None, [[5, 3, 4, 1, 2]]), (2, [[5, 3], [4, 1], [2]]), (9, [[5, 3, 4, 1, 2]]),
                         (1, [[5], [3], [4], [1], [2]])):  # fmt: skip
        asked, found = seen_by([5, 3, 4, 1, 2], batch=batch)
        assert asked == parts and found.trajectory.tolist() == [[[5, 3, 4, 1, 2]]] * 2
    asked, found = seen_by([7, 7], workers=2, batch=2)
    assert asked == [[7, 7]] and found.distinct == 0.5  # one part needs no process
    single = EachMember(lambda arithmetic, seed: [[seed, 2 * seed]])
    assert run_ensemble(single, [3, 4]).trajectory.tolist() == [[[3, 4], [6, 8]]]
    assert single(None, [3]).shape == (1, 2, 1)
    with pytest.raises(BadInput, match="members: expected one at a time, got 2. Use batch=1."):
        single(None, [3, 4])
    for shape in ((3, 2), (1, 1, 1)):
        with pytest.raises(BadInput, match=r"model: expected a trajectory \[time, points, 2 members\], got shape"):
            run_ensemble(lambda arithmetic, own, shape=shape: np.ones(shape), [1, 2])


def test_members_that_are_lost_and_states_that_are_alike_are_counted() -> None:
    last = [[1.0, 1.0, 2.0, np.inf], [3.0, 3.0, 3.0, 3.0]]
    made = Ensemble(np.array([[[0.0, np.nan, 0, 0], [0, 0, 0, 0]], last]), Counts())
    assert made.unstable == 2 and made.distinct == 3 / 4
    with pytest.raises(AttributeError):
        made.counts = Counts()  # type: ignore[misc]


# -- the test --


def steps(arithmetic, seeds):
    x = arithmetic.array(np.array([[np.random.default_rng(s).normal() for s in seeds] for _ in range(2)]))
    out = []
    for _ in range(3):
        x = x * 0.9 + 0.1
        out.append(np.asarray(x))
    return np.stack(out)


def test_defaults_are_fifty_members_and_three_references() -> None:
    plain = precision_stress_test(steps, (6,))
    said = precision_stress_test(
        steps, (6,), ("nearest", "stochastic"), 50, 50, references=3, p=1.0, perturbed=None, tolerance=2.5, level=0.95,
        draws=100, exponent_bits=11, batch=None, workers=1, seed=0,
    )  # fmt: skip
    pd.testing.assert_frame_equal(plain, said)
    assert plain["mode"].tolist() == ["nearest", "stochastic"] and plain["sbits"].tolist() == [6, 6]
    assert list(plain.columns) == [
        "sbits", "mode", "variable", "W_mean", "W_q90", "W_q95", "noise_mean", "noise_q90", "noise_q95", "noise_low",
        "noise_high", "noise_max", "minor_to", "operations", "stagnated", "unstable", "distinct", "verdict",
    ]  # fmt: skip
    assert (plain["minor_to"] == 2.5 * plain["noise_high"]).all() and plain["operations"].tolist() == [600, 600]
    assert (plain["stagnated"] == 0).all() and (plain["unstable"] == 0).all() and (plain["distinct"] <= 1).all()


def test_five_members_are_enough_and_no_number_in_full_precision_is_an_error() -> None:
    found = precision_stress_test(steps, (6, 7), ("nearest",), 5, 5, draws=20)
    assert found["sbits"].tolist() == [6, 7] and found["variable"].tolist() == ["all", "all"]
    for members in ((4, 5), (5, 4)):
        with pytest.raises(BadInput, match="members: expected at least 5 in each ensemble, got 4"):
            precision_stress_test(steps, (6,), ("nearest",), *members, draws=20)

    asked: list[int] = []
    for wrong in ({"sbits": (6, 60)}, {"modes": ("nearest", "up")}, {"n_members": 4}):
        with pytest.raises(BadInput, match=next(iter(wrong)).removeprefix("n_").removesuffix("s")):
            precision_stress_test(lambda arithmetic, seeds: asked.extend(seeds), **{"sbits": (6,), **wrong})  # type: ignore
    assert asked == []  # nothing is run before all is known to be right

    def broken(arithmetic, seeds):
        made = steps(arithmetic, seeds)
        made[-1, 0, 0] = np.inf
        return made

    with pytest.raises(BadInput) as refused:
        precision_stress_test(broken, (6,), ("nearest",), 5, 5, draws=20)
    assert str(refused.value) == (
        "model: expected finite numbers in double precision, got NaN or infinity. Shorten its time step."
    )


def test_a_changed_parameter_begins_at_the_same_states() -> None:
    seen: list[list[int]] = []

    def changed(arithmetic, seeds):
        seen.append(list(seeds))
        return steps(arithmetic, seeds) + 1.0

    found = precision_stress_test(steps, (6,), ("nearest",), 5, 6, references=2, draws=20, perturbed=changed, seed=9)
    assert seen == [[derive_seed(9, "low", i) for i in range(5)]]
    known = [run_ensemble(steps, [derive_seed(9, f"reference {k}", i) for i in range(6)]).trajectory for k in range(2)]
    other = pooled(run_ensemble(changed, seen[0]).trajectory)
    apart = np.mean([gridpoint_wasserstein(other, pooled(k)) for k in known])
    assert found.loc[0, "minor_to"] == pytest.approx(max(apart, found.loc[0, "noise_high"]))
