"""Two regimes, each number once more by hand: draws, scales, bands, crossings, the mixture and the labels it takes."""

import math
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.special import stdtrit
from sklearn.base import BaseEstimator

from smidgen.kit.errors import BadInput
from smidgen.kit.seeds import derive_seed
from smidgen.learn.naive_bayes import SharedVarianceGaussianNB
from smidgen.studies import two_regimes
from smidgen.studies.two_regimes import (
    crossing_point,
    few_shot,
    learning_curve_pair,
    make_gaussian_mixture,
    mean_curves,
    mixture_bayes_error,
    samples_to_reach,
)


class Seen(BaseEstimator):
    """Writes down what it is given; says class 0 of every row whose first feature is at most `cut`."""

    calls: list = []  # noqa: RUF012

    def __init__(self, cut=0.5):
        self.cut = cut

    def fit(self, X, y):
        self.kept = (X, y)
        return self

    def predict(self, X):
        Seen.calls.append((*self.kept, X))
        return (X[:, 0] > self.cut).astype(int)


@pytest.fixture
def calls():
    Seen.calls = []
    return Seen.calls


def in_turns(y, m, balanced, seed):
    """One row of each class in each round, in the order in which chance has them; unbalanced: one round, then chance's
    order."""
    met, rounds = Counter(), {}
    for row in np.random.default_rng(derive_seed(seed, "few shot")).permutation(len(y)):
        rounds.setdefault(met[y[row]] if balanced else min(met[y[row]], 1), []).append(int(row))
        met[y[row]] += 1
    return [row for turn in sorted(rounds) for row in rounds[turn]][:m]


@pytest.mark.parametrize("balanced", [True, False])
def test_draws_go_round_the_classes(balanced):
    y = np.random.default_rng(0).permutation(list("aaaaaaabbbcccccd"))
    for seed in (0, 3):
        for m in (4, 5, 9, 15, 16):
            assert few_shot(y, m, balanced, seed).tolist() == in_turns(y, m, balanced, seed)
    assert few_shot(list(y), 9).tolist() == in_turns(y, 9, True, 0)
    for m in (3, 17):
        with pytest.raises(BadInput, match=r"m: expected 4 \(one row a class\) to 16 \(all rows\)"):
            few_shot(y, m)
    assert sorted(few_shot([5, 7], 2).tolist()) == [0, 1]


def test_features_are_scaled_by_the_draw_and_both_probes_see_the_same(calls):
    rng = np.random.default_rng(1)
    X, y = rng.normal(size=(20, 3)) * [1, 10, 1] + [0, 5, 0], np.arange(20) % 2
    X[:, 2] = 4.0  # the same everywhere: its span is taken for 1
    new, truth = rng.normal(size=(7, 3)), np.arange(7) % 2
    pair = (Seen(0.5), Seen(0.2))
    made = learning_curve_pair(X, y, new, truth, [6, 12], 2, balanced=False, probes=pair, seed=8)
    assert made[["m", "repeat"]].to_numpy().tolist() == [[6, 0], [12, 0], [6, 1], [12, 1]] and len(calls) == 8
    for i, row in enumerate(made.itertuples()):
        rows = few_shot(y, row.m, False, derive_seed(8, "repeat", row.repeat))
        low = X[rows].min(0)
        span = X[rows].max(0) - low + [0, 0, 1]
        for (got, labels, test), cut, error in zip(
            calls[2 * i : 2 * i + 2], (0.5, 0.2), (row.err_nb, row.err_lr), strict=True
        ):
            assert got == pytest.approx((X[rows] - low) / span) and labels.tolist() == y[rows].tolist()
            assert test == pytest.approx((new - low) / span) and test[:, 2] == pytest.approx(new[:, 2] - 4)
            assert error == ((test[:, 0] > cut) != truth).mean()
    calls.clear()
    plain = learning_curve_pair(X, y, new, truth, [6], scale="none", probes=pair)
    assert len(plain) == 5 and (calls[0][2] == new).all()
    rows = few_shot(y, 6, True, derive_seed(0, "repeat", 0))
    assert (calls[0][0] == X[rows]).all()
    by_default = learning_curve_pair(X, y, new, truth, [8], 1, "none")
    rows = few_shot(y, 8, True, derive_seed(0, "repeat", 0))
    own = SharedVarianceGaussianNB().fit(X[rows], y[rows]).predict(new)
    assert by_default["err_nb"].tolist() == [(own != truth).mean()]


def test_what_cannot_be_compared_is_refused():
    X, y = np.ones((6, 2)), np.arange(6) % 2
    for old, new in ((X[:, 0], X), (X, X[:, 0]), (X, X[:, :1]), (X[:, :, None], X)):
        with pytest.raises(BadInput, match="X_test: expected rows like those of X"):
            learning_curve_pair(old, y, new, y, [2], 1)
    with pytest.raises(BadInput, match="scale: expected 'minmax' or 'none', got std"):
        learning_curve_pair(X, y, X, y, [2], 1, "std")


def test_bands_of_the_mean_are_students_at_any_level():
    rng = np.random.default_rng(0)
    rows = [(m, r, *rng.random(2)) for m in (40, 5) for r in range(4)] + [(9, 0, 0.3, 0.1)]
    table = pd.DataFrame(rows, columns=["m", "repeat", "err_nb", "err_lr"])
    for level, more in ((0.9, {}), (0.6, {"level": 0.6})):
        made = mean_curves(table, **more).set_index("m")
        assert made.index.tolist() == [5, 9, 40]
        for m in (5, 40):
            for name in ("err_nb", "err_lr"):
                own = table.loc[table["m"] == m, name]
                low, high = stats.t.interval(level, 3, own.mean(), own.sem())
                got = made.loc[m, [name, f"{name}_low", f"{name}_high"]].tolist()
                assert got == pytest.approx([own.mean(), low, high])
        assert made.loc[9, ["err_nb", "err_lr"]].tolist() == [0.3, 0.1] and made.loc[9].isna().sum() == 4


def first_lower(gap, level, lasting):
    """The place of the first size where a paired test says that logistic regression is better."""
    R, sizes = gap.shape
    for j in range(sizes):
        mean, error = gap[:, j].mean(), gap[:, j].std(ddof=1) / math.sqrt(R)
        if mean > stdtrit(R - 1, 1 - level / sizes) * error and (not lasting or (gap[:, j:].mean(0) > 0).all()):
            return j
    return sizes


@pytest.mark.parametrize(("level", "lasting"), [(0.05, True), (0.2, False)])
def test_crossings_and_their_intervals_are_those_of_a_test_a_size(level, lasting):
    found = set()
    for seed in range(8):
        rng = np.random.default_rng(seed)
        gap = rng.normal(size=(5, 3)) * 0.05 + [-0.02, 0.03, 0.05]
        table = pd.DataFrame(
            [(2 ** (j + 3), r, 0.4 + gap[r, j], 0.4) for j in (2, 0, 1) for r in range(5)],
            columns=["m", "repeat", "err_nb", "err_lr"],
        )
        sizes = [8.0, 16.0, 32.0, math.inf]
        at = first_lower(gap, level, lasting)
        found.add(at)
        given = {} if (level, lasting) == (0.05, True) else {"level": level, "lasting": lasting, "seed": seed}
        got = crossing_point(table, resamples=50, **given)
        if at == 3:
            assert got is None
            continue
        draws = np.random.default_rng(derive_seed(given.get("seed", 0), "crossing")).integers(5, size=(50, 5))
        ends = sorted(first_lower(gap[rows], level, lasting) for rows in draws)
        assert got == (int(sizes[at]), (sizes[ends[math.ceil(2.5) - 1]], sizes[ends[math.ceil(47.5) - 1]]))
        assert type(got[0]) is int
    assert len(found) > 2


def test_crossings_need_all_cells_of_two_repeats():
    rows = [(m, r, 0.5, 0.4) for m in (2, 4) for r in (0, 1)]
    table = pd.DataFrame(rows, columns=["m", "repeat", "err_nb", "err_lr"])
    for part, said in (
        (table[table["repeat"] == 0], "1 repeats, 0 gaps"),
        (table.iloc[1:], "2 repeats, 1 gaps"),
        (table.iloc[:0], "0 repeats, 0 gaps"),
    ):
        with pytest.raises(BadInput, match=f"at least 2 repeats, each with all sizes, got {said}"):
            crossing_point(part)


@pytest.mark.parametrize(("mode", "n"), [("easy", 5), ("hard", 5), ("easy", 2), ("hard", 4)])
def test_the_mixture_row_by_row(mode, n):
    variances = np.array([n] * (n // 2) + [1] * (n - n // 2), float)
    covariance = np.diag(variances)
    if mode == "hard":
        A = np.random.default_rng(derive_seed(0, "hard", n)).uniform(-1, 1, (n, n))
        covariance = A.T @ A
        covariance[np.diag_indices(n)] = variances
    values, vectors = np.linalg.eigh(covariance)
    root = vectors @ np.diag(np.sqrt(np.abs(values))) @ vectors.T
    for seed in (0, 6):
        X, y = make_gaussian_mixture(4, n, 11, mode, seed)
        rng = np.random.default_rng(derive_seed(seed, "mixture"))
        own = rng.permutation([0, 1, 2, 3] * 2 + [0, 1, 2])
        assert y.tolist() == own.tolist()
        assert pytest.approx(np.array([-1, 1, 2, 4])[own][:, None] + rng.normal(size=(11, n)) @ root) == X
    shift = np.sqrt(np.ones(n) @ np.linalg.inv(root @ root) @ np.ones(n))  # Mahalanobis, of means 1 apart
    tails = stats.norm.cdf(-np.array([2, 1, 2]) * shift / 2)
    assert mixture_bayes_error(4, n, mode) == pytest.approx(tails.sum() / 2)
    assert mixture_bayes_error(2, n, mode) == pytest.approx(tails[0])


def test_the_mixture_by_default_and_its_bounds():
    assert (make_gaussian_mixture(2, 3, 4)[0] == make_gaussian_mixture(2, 3, 4, "easy", 0)[0]).all()
    assert mixture_bayes_error(3, 3) == mixture_bayes_error(3, 3, "easy")
    assert two_regimes._levels(2).tolist() == [-1, 1] and two_regimes._root(2, "easy").tolist() == [2**0.5, 1]
    for function in (lambda *at: make_gaussian_mixture(*at[:2], 4, at[2]), mixture_bayes_error):
        for at, said in (
            ((1, 3, "easy"), "K: expected at least 2 classes, got 1"),
            ((2, 1, "hard"), "n: expected at least 2 features, got 1"),
            ((2, 3, "odd"), "mode: expected 'easy' or 'hard', got odd"),
        ):
            with pytest.raises(BadInput, match=said):
                function(*at)


def test_labels_are_added_until_the_error_is_near_the_best(calls):
    told = []
    assert samples_to_reach(Seen(math.inf), 2, 2, test=40, progress=lambda *at: told.append(at)) is None
    assert [m for m, _ in told] == list(range(4, 201))  # 100 a feature, one by one: ceil(log 2) = 1
    assert {error for _, error in told} == {0.5}
    X_test, truth = make_gaussian_mixture(2, 2, 40, "easy", derive_seed(0, "test", 2))
    assert (calls[0][2] == X_test).all() and truth.sum() == 20
    for (X, y, _), (m, _) in zip(calls, told, strict=True):
        rng = np.random.default_rng(derive_seed(0, "train", 2, m))
        own = rng.integers(2, size=m)
        while len(set(own)) < 2:
            own = rng.integers(2, size=m)
        assert y.tolist() == own.tolist()
        assert pytest.approx(np.where(own, 1, -1)[:, None] + rng.normal(size=(m, 2)) * [2**0.5, 1]) == X
    calls.clear()
    assert samples_to_reach(Seen(math.inf), 3, 21, limit=14, seed=4) is None
    assert [len(y) for _, y, _ in calls] == [6, 10, 14] and len(calls[0][2]) == 10_000  # ceil(log 21) = 4
    assert all(len(set(y)) == 3 for _, y, _ in calls)
    error = np.mean(
        (calls[0][2][:, 0] > 0.1) != make_gaussian_mixture(3, 21, 10_000, "easy", derive_seed(4, "test", 21))[1]
    )
    best = mixture_bayes_error(3, 21)
    for slack, reached in ((error - best + 1e-9, 6), (error - best - 1e-9, None)):
        assert samples_to_reach(Seen(0.1), 3, 21, slack=slack, seed=4, limit=9) == reached
    X_hard, _ = make_gaussian_mixture(2, 3, 30, "hard", derive_seed(0, "test", 3))
    calls.clear()
    samples_to_reach(Seen(), 2, 3, "hard", test=30, limit=4)
    assert (calls[0][2] == X_hard).all()
