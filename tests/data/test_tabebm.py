"""Energies against their definition, chains against a law in closed form, the set-up of each class, and made tables."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import logsumexp
from sklearn import datasets
from sklearn.linear_model import LogisticRegression

from smidgen.data.synthetic_quality import (
    closest_record,
    column_fidelity,
    density_coverage,
    expected_coverage,
    privacy_distance,
)
from smidgen.data.tabebm import SGLDSampler, TabEBM
from smidgen.data.tabebm.backbones import Faded, KernelClassifier
from smidgen.data.tabebm.energy import energy_of, logits_energy
from smidgen.data.tabebm.surrogate import corners
from smidgen.kit.errors import BadInput
from smidgen.learn.gaussian_process import GPClassifier
from smidgen.learn.knn import KNNClassifier


@pytest.fixture
def rng():
    return np.random.default_rng(1000)


@pytest.fixture(scope="module")
def wine():
    return datasets.load_wine(return_X_y=True)


class Seen(KernelClassifier):
    """Keeps what it was fitted to."""

    log: list["Seen"] = []  # of all copies

    def fit(self, X, y):
        self.X, self.y = X.copy(), y.copy()
        Seen.log.append(self)
        return super().fit(X, y)


class Bump(torch.nn.Module):
    """Logits of two classes from distances to learnt-from rows, differentiable by torch."""

    def fit(self, X, y):
        self.rows, self.sides = torch.from_numpy(X), torch.from_numpy(1.0 - 2 * y)
        return self

    def logits(self, X):
        f = torch.exp(-(torch.cdist(X, self.rows) ** 2) / 8) @ self.sides
        return torch.stack([2 * f, f - f**2], 1)


class Normal:
    """The energy of a normal law."""

    def __init__(self, mean, std):
        self.mean, self.std = np.asarray(mean), np.asarray(std)

    def value(self, x):
        return 0.5 * (((x - self.mean) / self.std) ** 2).sum(1)

    def value_and_gradient(self, x):
        return self.value(x), (x - self.mean) / self.std**2


# -- energies -----------------------------------------------------------------------------------------------------


def test_energy_is_minus_logsumexp_of_logits_with_its_gradient(rng):
    X, y = np.concatenate([rng.normal(size=(9, 3)), corners(4, 3, 5.0, 0)]), np.repeat([0, 1], [9, 4])
    new = rng.normal(size=(6, 3)) * 2
    models = [m.fit(X, y) for m in (KernelClassifier(scale=2.0), Bump(), Faded(LogisticRegression()))]
    for model in models:
        energy = energy_of(model)
        logits = np.asarray(model.logits(torch.from_numpy(new) if isinstance(model, Bump) else new))
        assert logits.shape == (6, 2)
        assert energy.value(new) == pytest.approx(-np.log(np.exp(logits).sum(1)), rel=1e-9)
        e, slope = energy.value_and_gradient(new)
        assert e == pytest.approx(energy.value(new)) and np.abs(slope).max() > 0.01
        for d in range(3):  # and it is the slope of that value
            step = 1e-5 * np.eye(3)[d]
            rise = (energy.value(new + step) - energy.value(new - step)) / 2e-5
            assert slope[:, d] == pytest.approx(rise, abs=1e-5)
        alone = np.concatenate([energy.value_and_gradient(row[None])[1] for row in new])
        assert alone == pytest.approx(slope)  # rows of a batch do not see each other
    assert logits_energy(np.array([[800.0, 800.0]])) == pytest.approx(-800 - np.log(2))


def test_probabilities_give_centred_logits(rng):
    X, y = rng.normal(size=(40, 2)), rng.integers(0, 2, 40)
    model = LogisticRegression().fit(X, y)
    odds = model.decision_function(X)
    assert energy_of(model).value(X) == pytest.approx(-logsumexp([odds / 2, -odds / 2], axis=0))


def test_kernel_energy_rises_away_from_the_rows(rng):
    for rows in (1, 2, 30):
        own = 0.5 * rng.normal(size=(rows, 4))
        model = KernelClassifier().fit(np.concatenate([own, corners(4, 4, 5.0, 0)]), np.repeat([0, 1], [rows, 4]))
        far = model.value(1e3 * rng.normal(size=(20, 4)))
        assert far == pytest.approx(-np.log(2)) and (model.value(own) < -np.log(2) - 0.05).all()
        apart = np.linalg.norm(own[0] - own[1]) if rows == 2 else model.width
        assert model.width == pytest.approx(apart)  # not that of the corners, which are most of the pairs
    same = KernelClassifier(bandwidth=1.0, ridge=1e-9).fit(np.eye(3), np.array([0, 0, 1]))
    assert same.logits(np.eye(3)) == pytest.approx(np.array([[1, -1], [1, -1], [-1, 1]]), abs=1e-6)


# -- chains -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("step", "noise", "steps"), [(0.1, 0.01, 200), (0.1, np.sqrt(0.2), 20), (0.02, 0.2, 1000)])
def test_chains_on_a_normal_law_have_its_mean_and_variance(step, noise, steps):
    """Of a normal energy the chain is linear: mean and variance after any number of steps are known."""
    mean, std, N = np.array([1.0, -3.0]), np.array([1.0, 0.7]), 4000
    got = SGLDSampler(step_size=step, noise_std=noise, n_steps=steps).run(Normal(mean, std), np.full((N, 2), 2.0), 7)
    keep = 1 - step / std**2
    variance = noise**2 * (1 - keep ** (2 * steps)) / (1 - keep**2)
    assert np.abs(got.x_ND.mean(0) - mean - keep**steps * (2 - mean)).max() < 5 * np.sqrt(variance.max() / N)
    assert got.x_ND.var(0) == pytest.approx(variance, rel=5 * np.sqrt(2 / N))
    if step == 0.02:  # noise^2 = 2 step, short steps: the law itself
        assert got.x_ND.var(0) == pytest.approx(std**2, rel=0.12)
    assert abs(np.corrcoef(got.x_ND.T)[0, 1]) < 5 / np.sqrt(N)
    assert got.energy_TN.shape == (steps + 1, N)
    assert got.energy_TN[0] == pytest.approx(0.5 * 1 + 0.5 * (5 / 0.7) ** 2) and got.energy_TN[-1].mean() < 1.1


def test_step_does_not_shrink_with_the_number_of_chains_unless_asked():
    law, start = Normal([0.0], [1.0]), np.full((50, 1), 4.0)
    run = {r: SGLDSampler(noise_std=0.0, n_steps=10, reduction=r).run(law, start, 0).x_ND for r in ("sum", "mean")}
    assert run["sum"] == pytest.approx(4 * 0.9**10) and run["mean"] == pytest.approx(4 * (1 - 0.1 / 50) ** 10)


def test_chains_that_run_off_are_stopped():
    class Slope(Normal):
        def value_and_gradient(self, x):
            return -x.sum(1), -np.where(x > 1, np.inf if self.mean else 5.0, 1.0)

    with pytest.raises(BadInput, match="After 4 steps 2 of 3 chains ran off"):
        SGLDSampler(noise_std=0.0, limit=1.0).run(Slope(0.0, 1.0), np.array([[0.9], [0.9], [-9.0]]), 0)
    with pytest.raises(BadInput, match="1 of 2 chains"):
        SGLDSampler().run(Slope(1.0, 1.0), np.array([[2.0], [-90.0]]), 0)


# -- the task of a class ------------------------------------------------------------------------------------------


def test_negatives_are_far_corners():
    assert {tuple(row) for row in corners(4, 2, 5.0, 3)} == {(-5, -5), (-5, 5), (5, -5), (5, 5)}
    assert sorted(corners(4, 1, 2.0, 0).ravel()) == [-2, 2]
    for seed in range(30):
        made = corners(4, 3, 5.0, seed)
        assert (np.abs(made) == 5).all() and len(np.unique(made, axis=0)) == 4
        assert (made[::2] == -made[1::2]).all()
    assert corners(3, 2000, 1.0, 0).shape == (3, 2000)
    assert (corners(4, 20, 5.0, 0) != corners(4, 20, 5.0, 1)).any()


def test_each_class_has_a_task_and_a_model_of_its_own(wine):
    X, y = wine[0][::6], wine[1][::6]
    Z = (X - X.mean(0)) / X.std(0)
    Seen.log.clear()
    fitted = TabEBM(backbone=Seen(), random_state=3).fit(X, y)
    assert len({id(m) for m in Seen.log}) == 3 and list(fitted.energies) == Seen.log
    for c, model in enumerate(Seen.log):
        own = int((y == c).sum())
        assert model.X[:own] == pytest.approx(Z[y == c]) and (np.abs(model.X[own:]) == 5).all()
        assert model.y.tolist() == [0] * own + [1] * 4
    Seen.log.clear()
    TabEBM(backbone=Seen, contrast="others").fit(X, y)  # from what makes one
    assert [int((m.y == 0).sum()) for m in Seen.log] == np.bincount(y).tolist()
    assert all(len(m.X) == len(X) for m in Seen.log) and Seen.log[0].X[-1] == pytest.approx(Z[-1])


def test_energy_knows_its_class_and_another_fit_does_not_change_it(wine):
    X, y = wine
    settings = TabEBM()
    fitted = settings.fit(X[::2], y[::2])
    before = np.array([fitted.energy(X[1::2], c) for c in range(3)])
    assert (before.argmin(0) == y[1::2]).mean() > 0.85  # rows that it never saw
    settings.fit(X[1::2] + 100, y[1::2])  # the same settings, other rows
    assert np.array_equal(before, [fitted.energy(X[1::2], c) for c in range(3)])


def test_energies_that_fall_away_are_refused_and_can_be_faded(wine):
    X, y = wine
    with pytest.raises(BadInput, match="rises away from the rows.*Faded"):
        TabEBM(backbone=LogisticRegression()).fit(X, y)
    for backbone in (Faded(LogisticRegression()), Bump(), GPClassifier(length=4.0, bend=6.0, line=0.0)):
        made, _ = TabEBM(backbone=backbone, n_steps=5).fit(X[::5], y[::5]).sample(4)
        assert made.shape == (12, 13) and np.isfinite(made).all()


# -- tables -------------------------------------------------------------------------------------------------------


def table(rng, n=60):
    frame = pd.DataFrame(
        {
            "dose": rng.integers(0, 9, n).astype(np.uint8),
            "site": rng.choice(["arm", "leg", "head"], n),
            "weight": rng.normal(70, 9, n).astype(np.float32),
            "fasting": rng.random(n) < 0.4,
            "grade": pd.Categorical(rng.choice(["low", "high"], n), ["low", "high"], ordered=True),
            "visits": pd.array(rng.integers(1, 5, n), "Int64"),
            "unit": "kg",
            "version": 7,
        }
    )
    return frame, np.where(frame["weight"] + 10 * frame["fasting"] > 74, "ill", "well")


def test_made_rows_are_rows_of_the_table(rng):
    X, y = table(rng)
    fitted = TabEBM().fit(X, y, categories=["visits"])
    back = fitted.code.decode(fitted.code.encode(X))
    pd.testing.assert_frame_equal(back.drop(columns="weight"), X.drop(columns="weight"))
    assert back["weight"].to_numpy() == pytest.approx(X["weight"].to_numpy())
    moved = fitted.code.encode(X)
    moved[:, 0] += np.where(np.arange(60) < 30, 0.6, -99) / fitted.code.columns[0].spread
    dose = fitted.code.decode(moved)["dose"]
    assert (dose[:30] == X["dose"][:30] + 1).all() and (dose[30:] == 0).all()  # whole, and none below what bytes hold
    made = TabEBM().augment(X, y, {"ill": 40, "well": 5}, categories=["visits"])
    assert made.X.dtypes.tolist() == X.dtypes.tolist() and made.real.sum() == 60
    pd.testing.assert_frame_equal(made.X[made.real], X)
    new = made.X[~made.real]
    assert made.y[~made.real].tolist() == ["ill"] * 40 + ["well"] * 5 and made.y[made.real].tolist() == y.tolist()
    assert set(new["site"]) <= {"arm", "leg", "head"} and set(new["visits"]) <= {1, 2, 3, 4}
    assert set(new["unit"]) == {"kg"} and set(new["version"]) == {7}
    again = TabEBM(n_steps=0, start_std=0.0).fit(X, y).sample(20)[0]  # no step, no noise: real rows
    assert (closest_record(again[["dose", "weight"]], X[["dose", "weight"]]) < 1e-4).all()


def test_same_seed_same_rows(wine):
    X, y = wine
    state = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    first, again, other = (TabEBM(random_state=s, n_steps=20).fit(X, y).sample(10)[0] for s in (0, 0, 1))
    assert np.array_equal(first, again) and not np.isclose(first, other).all(1).any() and first.dtype == np.float32
    fitted = TabEBM(n_steps=20).fit(X, y)
    assert np.array_equal(fitted.sample({2: 10})[0], first[20:])  # a class does not depend on the others
    assert not np.isclose(fitted.sample(10, seed=9)[0], first).all(1).any()
    assert len(np.unique(np.round(first[:10] - first[10:20], 9), axis=0)) == 10
    assert np.array_equal(np.random.get_state()[1], state[0]) and torch.equal(torch.get_rng_state(), state[1])


def test_counts(wine):
    X, y = wine  # 59, 71, 48
    fitted = TabEBM(n_steps=1).fit(X, y)
    assert np.bincount(fitted.sample("balance")[1]).tolist() == [12, 0, 23]
    assert fitted.sample({1: 3, 0: 2})[1].tolist() == [0, 0, 1, 1, 1]
    drawn = TabEBM(n_steps=1, max_rows=18).fit(X, y)
    assert [len(rows) for rows in drawn.rows] == [5, 7, 4]
    assert np.bincount(drawn.sample("balance")[1]).tolist() == [12, 0, 23]
    even = TabEBM(n_steps=1).augment(X[:40].repeat(2, 0), np.arange(80) % 2, "balance")
    assert len(even.X) == 80 and even.real.all()


def test_made_rows_help_a_classifier_where_plain_ones_are_few(wine):
    """Not that it always helps: that what is made carries the classes."""
    X, y = wine
    made, labels = TabEBM().fit(X[::4], y[::4]).sample(50)
    scale = X[::4].mean(0), X[::4].std(0)
    model = KNNClassifier().fit((made - scale[0]) / scale[1], labels)
    new = np.arange(len(X)) % 4 > 0
    assert (model.predict((X[new] - scale[0]) / scale[1]) == y[new]).mean() > 0.9


@pytest.mark.parametrize(
    ("settings", "X", "y", "said"),
    [
        ({"backbone": "kernal"}, None, None, "there is no 'kernal'.*kernel"),
        ({"backbone": 3}, None, None, "backbone: expected 'kernel', a classifier"),
        ({"step_size": 0}, None, None, "step_size: expected above 0"),
        ({"n_negatives": 0}, None, None, "n_negatives: expected at least 1"),
        ({"neg_distance": float("nan")}, None, None, "neg_distance"),
        ({"contrast": "both"}, None, None, "corners or others"),
        ({}, [[1.0, np.nan], [2, 3]], [0, 1], "column 1, row 1: the cell is missing"),
        ({}, [[1.0, "a"], [2, 3]], [0, 1], "Give a DataFrame"),
        ({}, [[1.0], [2.0]], [4, 4], "at least 2 classes, got one, 4"),
        ({}, [[1.0], [2.0]], [0, np.nan], "label of row 2"),
        ({}, [[1.0], [2.0]], [0, 1, 1], r"shape of y: expected \(2,\)"),
        ({}, [[], []], [0, 1], "a table with rows and columns"),
        ({}, [[1.0], [1.0]], [0, 1], "a column that varies"),
        ({}, pd.DataFrame({"a": ["x", None]}), ["p", "q"], "column a, row 2: the cell is missing"),
    ],
)
def test_bad_input(settings, X, y, said):
    X, y = ([[1.0], [2.0]], [0, 1]) if X is None else (X, y)
    with pytest.raises(BadInput, match=said):
        TabEBM(**settings).fit(X, y)


def test_bad_requests(rng):
    X, y = table(rng)
    fitted = TabEBM().fit(X, y)
    for asked, said in (
        (0, "n_per_class of ill: expected a whole number, at least 1"),
        ({"sick": 3}, "one of ill, well, got sick"),
        ({}, "for some class"),
        ("all", "'balance'"),
    ):
        with pytest.raises(BadInput, match=said):
            fitted.sample(asked)
    with pytest.raises(BadInput, match="column site, row 1: expected one of arm, head, leg, got nose"):
        fitted.energy(X.assign(site="nose"), "ill")
    with pytest.raises(BadInput, match="columns: expected dose, site"):
        fitted.energy(X.drop(columns="dose"), "ill")
    with pytest.raises(BadInput, match="columns of X"):
        TabEBM().fit(X, y, categories=["colour"])

    class Sure:
        def fit(self, X, y):
            self.model = LogisticRegression().fit(X, y)

        def logits(self, X):
            return self.model.predict_proba(X)

    with pytest.raises(BadInput, match="probabilities.*predict_proba"):
        TabEBM(backbone=Sure).fit(X, y)


# -- how good they are --------------------------------------------------------------------------------------------


def test_density_and_coverage_of_few_points():
    real = np.array([[0.0], [1.0], [2.0], [10.0]])  # nearest others at 1, 1, 1, 8
    balls = [(-1, 1), (0, 2), (1, 3), (2, 18)]
    made = np.array([0.5, 1.2, 2.5, 50.0])
    inside = np.array([[low <= m <= high for m in made] for low, high in balls])
    assert density_coverage(real, made[:, None], k=1) == pytest.approx((inside.sum() / 4, inside.any(1).mean()))
    assert density_coverage(real, real, k=1)[1] == 1 and density_coverage(real, [[99.0]], k=3) == (0, 0)


def test_density_and_coverage_of_the_same_law(rng):
    got = np.array([density_coverage(rng.normal(size=(60, 3)), rng.normal(size=(90, 3)), k=3) for _ in range(60)])
    off = 4 * got.std(0) / np.sqrt(60)
    assert (np.abs(got.mean(0) - [1, expected_coverage(60, 90, 3)]) < off).all() and off.max() < 0.1


def test_privacy_distance(rng):
    training, held_out, fresh = (rng.normal(size=(n, 4)) for n in (200, 500, 400))
    even = privacy_distance(fresh, training, held_out)
    assert even.nearer_training == pytest.approx(0.5, abs=0.1) and even.copies == 0
    leak = privacy_distance(training[:50] + 1e-3, training, held_out)
    assert leak.nearer_training == 1 and leak.to_training == pytest.approx(2e-3) and leak.to_held_out > 0.1
    copies = privacy_distance(np.concatenate([training[:30], fresh[:10]]), training, training)
    assert copies.copies == 0.75 and copies.nearer_training == 0.5
    assert closest_record([[0, 0], [3, 4.0]], [[0, 0], [0, 1]]) == pytest.approx([0, np.sqrt(18)])


def test_copies_are_seen_in_any_precision(rng):
    X, y = rng.normal(size=(30, 3)) * 100, np.repeat([0, 1], 15)
    made, _ = TabEBM(n_steps=0, start_std=0.0).fit(X, y).sample(10)
    assert made.dtype == np.float32 and privacy_distance(made, X, X[::-1] + 1).copies == 1


def test_whole_numbers_stay_whole_in_a_matrix(rng):
    X, y = rng.integers(0, 50, size=(30, 3)), np.repeat([0, 1], 15)
    made, _ = TabEBM(n_steps=5).fit(X, y).sample(10)
    assert made.dtype == X.dtype


def test_column_fidelity():
    ks, inverse = column_fidelity([[0, 1], [1, 1], [2, 1], [3, 1]], [[0, 1], [1, 1], [8, 1], [9, 1]])
    assert ks == pytest.approx([0.5, 0])
    assert inverse == pytest.approx([1 / (1 + 2 / 9 * np.log(3)), 1])  # 1.5 rows or 0.5, of 9, in each of ten bins
    x = np.arange(20.0)[:, None]
    assert column_fidelity(x, x[::-1]) == ([0.0], [1.0])


def test_what_cannot_be_compared():
    x = np.arange(6.0).reshape(3, 2)
    for real, made, k, said in (
        (x, x[:, :1], 1, "expected 2, got 1"),
        (x, x * np.nan, 1, "finite"),
        (x, x, 3, "from 1 to 2"),
        (x[:0], x, 1, "rows and columns"),
    ):
        with pytest.raises(BadInput, match=said):
            density_coverage(real, made, k)
    with pytest.raises(BadInput, match="bins"):
        column_fidelity(x, x, bins=1)
