"""Numbers behind a race by hand: folds, repeats, who leaves, what other tasks say, and the luck of a search."""

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from smidgen.kit.seeds import derive_seed
from smidgen.studies import priors
from smidgen.studies.candidates import BASELINE, Candidate
from smidgen.studies.choose import ChoiceConfig, choose, own_losses
from smidgen.studies.race import Race, RaceConfig, folds_at, folds_for
from smidgen.studies.search_luck import Search
from smidgen.tasks.read import read

N = 40


def table(n=N, classes=2, **more):
    rng = np.random.default_rng(0)
    return pd.DataFrame({"a": rng.normal(size=n), "b": rng.normal(size=n), **more, "y": np.arange(n) % classes})


@pytest.fixture(scope="module")
def task():
    return read(table(), "y", kind="classification")


# -- folds and repeats --


@pytest.mark.parametrize(
    ("units", "largest", "folds"),
    [
        (2, 1, 2), (5, 5, 5), (5, 3, 3), (8, 8, 8), (9, 9, 8), (120, 60, 8), (121, 60, 5), (1500, 800, 5),
        (1501, 800, 3), (121, 4, 4),
    ],
)  # fmt: skip
def test_folds_by_units_and_the_largest_class(units, largest, folds):
    assert folds_for(units, largest) == folds


def test_fits_that_are_costly_have_fewer_folds():
    assert [folds_at(s, 8) for s in (0.0, 10.0, 10.1, 40.0, 40.1)] == [8, 8, 4, 4, 3]
    assert [folds_at(99.0, k) for k in (2, 3, 8)] == [2, 3, 3] and folds_at(11.0, 3) == 3


@pytest.mark.parametrize(("rows", "repeats"), [(130, 6), (160, 5), (320, 2), (533, 2), (534, 1), (2000, 1)])
def test_repeats_go_on_until_so_many_rows_were_judged(rows, repeats):
    task = read(table(rows), "y", kind="classification")
    assert Race(task, [Candidate("learn/lda", "linear")], np.ones(1), 0).repeats == repeats


def test_whole_groups_and_the_largest_class_bound_the_folds():
    one = [Candidate("learn/lda", "linear")]
    grouped = read(table(who=np.arange(N) // 8), "y", kind="classification", group="who")
    assert Race(grouped, one, np.ones(1), 0).folds == 5
    many = read(table(12, 4), "y", kind="classification")
    assert Race(many, one, np.ones(1), 0).folds == 3
    values = read(table(12, 12), "y", kind="regression")
    assert Race(values, one, np.ones(1), 0).folds == 8
    race = Race(values, one, np.ones(1), 0)
    race.set_folds = {one[0].key: 5}
    assert race.folds_of(one[0]) == 5 and race.folds_of(Candidate("learn/knn", "x", seconds=50.0)) == 3


# -- who leaves --


@pytest.mark.parametrize("seed", range(6))
def test_who_is_two_errors_behind_and_hardly_used_leaves(task, seed):
    rng = np.random.default_rng(seed)
    found = [Candidate(f"learn/m{i}", "linear") for i in range(7)] + [Candidate(BASELINE, "linear")]
    race = Race(task, found, np.full(8, 1 / 8), 0, config=RaceConfig(keep=2, behind=1.0, use=0.03))
    for c in race.found:
        skill = 0.0 if c.method == BASELINE else 1.5 - 0.5 * int(c.method[-1])
        for r in range(2):
            up = 1 / (1 + np.exp(-(skill * np.where(task.target, 1, -1) + rng.normal(size=N))))
            race.record(c, race.trial(c, f"cv:k=8:r={r}"), np.c_[1 - up, up])
    tried, board = race.board()
    choice = choose(board, ChoiceConfig(min_weight=0.0, max_members=8))
    losses = own_losses(board, choice)
    means = losses.mean(1)
    gone = {}
    for k, c in enumerate(tried):
        behind = losses[k] - losses[means.argmin()]
        error = np.std(behind) / math.sqrt(N)
        late = (means < means[k]).sum() >= 2
        if c.method != BASELINE and late and behind.mean() > error and choice.weights[k] < 0.03:
            gone[c.key] = f"stopped early: behind by {behind.mean():.3f} after 2 repeat(s)"
    race.close()
    assert race.out == gone and 0 < len(gone) < 6


def test_as_many_as_are_kept_are_not_looked_at(task):
    found = [Candidate(f"learn/m{i}", "linear") for i in range(3)]
    race = Race(task, found, np.full(3, 1 / 3), 0, config=RaceConfig(keep=2))
    for k, c in enumerate(race.found):
        up = np.where(task.target, 0.95 - 0.4 * k, 0.05 + 0.4 * k)
        race.record(c, race.trial(c, "cv:k=8:r=0"), np.c_[1 - up, up])
    race.config = RaceConfig(keep=3)
    race.close()
    assert race.out == {}
    race.config = RaceConfig(keep=2)
    race.close()
    assert [key[0] for key in race.out] == ["learn/m2"]


# -- what other tasks say --


@pytest.mark.parametrize(
    ("n", "features", "classes", "held"),
    [
        (80, 15, 2, (80, 15, 2)), (19, 0, 1, (20, 1, 2)), (21, 2, 3, (21, 2, 3)), (400, 100, 10, (400, 100, 10)),
        (401, 101, 11, (400, 100, 10)), (399, 99, 9, (399, 99, 9)), (20, 1, 2, (20, 1, 2)),
    ],
)  # fmt: skip
def test_a_task_as_five_numbers(n, features, classes, held):
    rows, width, kinds = held
    expected = [1.0, math.log(rows / 80), math.log(width / 15) / 2, math.log(kinds / 2), 0.5 - 0.2]
    assert priors.describe(n, features, classes, 0.5) == pytest.approx(expected)


def test_columns_that_are_used_describe_a_task():
    frame = table(c=np.array(["u", "v"])[np.arange(N) % 2], one="same")
    task = read(frame, "y", kind="classification")
    assert sorted(c.kind for c in task.columns) == ["category", "constant", "number", "number"]
    assert priors.describe_task(task) == pytest.approx(priors.describe(N, 3, 2, 1 / 3))
    assert priors.modality(task) == "table"
    alone = read(frame[["c", "y"]], "y", kind="classification")
    assert priors.describe_task(alone) == pytest.approx(priors.describe(N, 1, 2, 1.0))
    words = read(frame.assign(t=[f"some words, and number {i} of them" for i in range(N)]), "y", kind="classification")
    assert priors.modality(words) == "text"


def test_weights_are_a_softmax_of_what_is_expected(task, monkeypatch):
    x = priors.describe_task(task)
    known = {"table": {"learn/a linear": [0.1, 0.2, 0, 0, 0], "learn/b *": [-0.3, 0, 0, 0, 1.0]}}
    monkeypatch.setattr(priors, "_file", lambda: {"methods": known, "sharpness": 5.0})
    found = [Candidate("learn/a", "linear"), Candidate("learn/b", "tree"), Candidate("learn/c", "linear")]
    excess = [0.1 + 0.2 * x[1], -0.3 + x[4], 0.15]
    assert priors.excess(task, found) == pytest.approx(excess)
    odds = np.exp(-5.0 * np.array(excess))
    assert priors.weights(task, found) == pytest.approx(odds / odds.sum())


def test_without_a_file_all_are_alike(task, monkeypatch, tmp_path):
    monkeypatch.setattr(priors, "FILE", tmp_path / "none.json")
    assert priors._file.__wrapped__() == {"methods": {}, "sharpness": 8.0}


# -- the luck of a search --


def a_search(noise=0.05):
    return Search(
        np.array([-0.5, -0.9, -0.2, 0.9]), np.array([1.0, 2.0, 1.0, 1.0]) * noise, np.array([0.1, -0.2, 0.3, 0.2]),
        np.array([0.05, -0.1, 0.4]), np.ones(3),
    )  # fmt: skip


def changes(s, count, draws, seed):
    """`Search.change`, one draw after the other."""
    rng = np.random.default_rng(derive_seed(seed, "search"))
    centred = s.ranks_C - s.ranks_C.mean()
    slope = max(centred @ s.losses_C / (centred @ centred * (1 + 2 / 4)), 0)
    assert s._slope() == pytest.approx(slope) and slope > 0
    x = s.losses_C - slope * centred
    middle, noise2 = np.median(x), (s.noise_C**2).mean()
    spread2 = np.var([min(v, 2 * middle - x.min()) for v in x], ddof=1)
    spreads, places, truths = rng.chisquare(3, draws), rng.normal(size=draws), rng.normal(size=draws)
    news, seens = rng.normal(size=(draws, 3)), rng.normal(size=(draws, 3))
    out = []
    for k in range(draws):
        s2 = max(3 * spread2 / spreads[k] - noise2, 0.3 * noise2)
        mean = middle + math.sqrt(s2) * places[k] * math.sqrt(math.pi / 2 / 4)
        keep = s2 / (s2 + s.noise_C[1] ** 2)
        now = mean + keep * (x[1] - mean) + slope * centred[1] + math.sqrt(keep) * s.noise_C[1] * truths[k]
        best, true = s.losses_C[1], now
        for j in range(count):
            new = mean + math.sqrt(s2) * news[k, j]
            off = slope * (s.ranks_L[j] - s.ranks_C.mean())
            if (seen := new + math.sqrt(noise2) * seens[k, j] + off) < best:
                best, true = seen, new + off
        out.append(true - now)
    return out


@pytest.mark.parametrize("noise", [0.05, 0.5])
def test_a_search_goes_on_as_it_began(noise):
    s = a_search(noise)
    for count in (1, 2, 3):
        assert s.change(count, 60, 4) == pytest.approx(changes(s, count, 60, 4), abs=1e-6)
    assert (s.change(2, 60) == s.change(2, 60, 0)).all() and (s.change(2, 60) != s.change(2, 60, -1)).any()


def test_ranks_that_say_the_opposite_or_nothing_are_not_followed():
    s: Any = a_search()
    assert Search(-s.losses_C, s.noise_C, s.ranks_C, s.ranks_L, s.hours_L)._slope() == 0.0
    assert Search(s.losses_C, s.noise_C, np.ones(4), s.ranks_L, s.hours_L)._slope() == 0.0
    tiny = Search(s.losses_C, s.noise_C, s.ranks_C / 1e3, s.ranks_L, s.hours_L)
    assert tiny._slope() == pytest.approx(1e3 * s._slope())
