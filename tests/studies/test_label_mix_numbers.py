"""Budgets of two kinds of labels: what is told of a table of scores, computed once more by loops."""

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from smidgen.data.label_sources import given_labels
from smidgen.kit.errors import BadInput, BudgetSpent
from smidgen.laws.budget_grid import best_share, pareto_front, regime
from smidgen.studies.label_mix import MixDraw, MixGrid, MixResult, QuantityQualityStudy, auroc_and_accuracy

GRID = MixGrid((32, 8), (0.5, 0.05), weak_cost=0.5)
SEEDS = (3, 0, 1, 2)


def made(score=None, seeds=SEEDS, grid=GRID):
    rng = np.random.default_rng(5)
    rows = [
        {"total": c.total, "share": c.share, "n_weak": c.second, "n_oracle": c.first,
         "cost": c.first + grid.weak_cost * c.second, "seed": seed,
         "score": float(rng.random()) if score is None else score(c, seed)}
        for seed in seeds for c in grid.cells(None)
    ]  # fmt: skip
    return MixResult(pd.DataFrame(rows), grid, True)


def test_cells_of_a_pool():
    grid = MixGrid()
    assert sorted({c.total for c in grid.cells(None)}) == [16, 64, 256, 1024, 4096]
    assert [c.share for c in grid.cells(None)[:7]] == [0, 0.05, 0.2, 0.4, 0.6, 0.8, 1]
    assert [(c.first, c.second) for c in grid.cells(None)[:7]] == [
        (0, 160), (0, 160), (3, 130), (6, 100), (9, 70), (12, 40), (16, 0)
    ]  # fmt: skip
    assert [(c.total, c.first, c.second) for c in MixGrid((8, 4, 8), (0.5, 0.5), 2.0).cells(8)] == [
        (4, 0, 2), (4, 2, 1), (4, 4, 0), (8, 0, 4), (8, 4, 2), (8, 8, 0)
    ]  # fmt: skip
    exact = MixGrid((4,), (0.5,), 0.5)
    assert [c.second for c in exact.cells(8)] == [8, 4, 0]
    take = MixGrid((4,), (0.5,), 0.5, "take all")
    assert [(c.first, c.second) for c in take.cells(4)] == [(0, 4), (2, 2), (4, 0)]
    with pytest.raises(BadInput) as caught:
        exact.cells(7)
    assert str(caught.value) == (
        "A budget of 4 with a share of 0 takes 0 oracle and 8 weak labels, but the pool has 7 rows: give a larger "
        "pool, ask for smaller budgets, or take what there is (beyond='take all')."
    )
    with pytest.raises(BadInput, match="share of 1 takes 4 oracle and 0 weak labels, but the pool has 3 rows"):
        take.cells(3)
    for wrong, said in (
        ({"budgets": ()}, r"budgets: expected at least 1, the price of one oracle label, got \(\)"),
        ({"budgets": (8, 0.99)}, r"budgets: expected at least 1, the price of one oracle label, got \(8, 0.99\)"),
        ({"beyond": "take"}, "beyond: expected 'error' or 'take all', got take"),
        ({"weak_cost": -1.0}, "prices: expected above 0"),
        ({"oracle_shares": (-0.1,)}, "share: expected 0 to 1"),
    ):
        with pytest.raises(BadInput, match=said):
            MixGrid(**wrong)
    assert len(MixGrid((1.0,), ()).cells(None)) == 2


def test_scores_by_share_are_of_seeds_that_have_all():
    result = made(lambda c, seed: c.share + seed if (c.share, seed) != (0.5, 1) else math.nan)
    assert result.scores(32).columns.tolist() == [0.0, 0.05, 0.5, 1.0]
    assert result.scores(8).columns.tolist() == [0.0, 0.5, 1.0]  # a twentieth of 8 buys no oracle's label
    assert result.scores(8).index.tolist() == [0, 2, 3] and result.scores(8).loc[2].tolist() == [2.0, 2.5, 3.0]
    with pytest.raises(BadInput, match=r"scores at 8: expected every share of a seed, at least, got none\."):
        made(lambda c, seed: math.nan if c.share == 0.5 else 1.0).scores(8)


def test_regimes_are_those_of_the_shares():
    result = made()
    for more in ({}, {"margin": 0.05, "sure": 0.5}):
        found = result.regimes(**more)
        assert found["total"].tolist() == [8, 32] and found["seeds"].tolist() == [4, 4]
        for row in found.to_dict("records"):
            wide = result.scores(row["total"])
            best = best_share(list(wide.columns), wide.to_numpy())
            kind = regime(list(wide.columns), wide.to_numpy(), more.get("margin", 0.0), more.get("sure", 0.8))
            assert (row["share"], row["low"], row["high"]) == (best.share, best.low, best.high)
            assert row["regime"] == {"first": "quality", "second": "quantity"}.get(kind, kind)
    names = {0.0: "quantity", 0.5: "mixed", 1.0: "quality"}
    for share, name in names.items():
        assert made(lambda c, seed, s=share: float(c.share == s)).regimes()["regime"].tolist() == [name] * 2


def cells_of(result):
    """By purchase (weak, oracle), the scores `[seeds]`."""
    out: dict[Any, dict[int, float]] = {}
    for row in result.table.to_dict("records"):
        out.setdefault((row["n_weak"], row["n_oracle"]), {}).setdefault(row["seed"], row["score"])
    return {k: np.array([v[s] for s in sorted(SEEDS)]) for k, v in out.items()}


@pytest.mark.parametrize("price", [None, 2.0])
def test_the_front_by_loops(price):
    result = made()
    cost = 0.5 if price is None else price
    table = result.table.sort_values("share", kind="stable").drop_duplicates(["n_weak", "n_oracle", "seed"])
    own = cells_of(MixResult(table, GRID, True))
    picks = np.random.default_rng(7).integers(0, 4, (60, 4))
    found = result.front(price, draws=60, seed=7)
    assert len(found) == len(own) == 7
    names = [(r["n_weak"], r["n_oracle"]) for r in found.to_dict("records")]
    costs = {n: n[1] + cost * n[0] for n in names}
    assert found["cost"].tolist() == [costs[n] for n in names] == sorted(costs.values())
    drawn = np.array([[own[n][pick].mean() for n in names] for pick in picks])
    fronts = [{names[i] for i in pareto_front(list(costs.values()), row.tolist())} for row in drawn]
    on = pareto_front(list(costs.values()), [own[n].mean() for n in names])
    for i, (n, row) in enumerate(zip(names, found.to_dict("records"), strict=True)):
        assert row["score"] == pytest.approx(own[n].mean()) and row["on_front"] == (i in on)
        assert (row["low"], row["high"]) == pytest.approx(tuple(np.quantile(drawn[:, i], [0.05, 0.95])))
        assert row["chance"] == pytest.approx(np.mean([n in front for front in fronts]))
    again = result.front()
    assert again.equals(result.front(0.5, draws=1000, seed=0)) and not again.equals(result.front(draws=900))
    tie = made(lambda c, seed: c.share + seed, grid=MixGrid((8,), (0.5,), 0.5)).front(draws=4)
    assert tie["cost"].nunique() == 1 and tie["score"].is_monotonic_decreasing


def test_other_prices_by_loops():
    result = made()
    own = cells_of(result)
    picks = np.random.default_rng(3).integers(0, 4, (80, 4))
    kinds = {n: "quantity" if not n[1] else "quality" if not n[0] else "mixed" for n in own}
    found = result.price_sweep([0.25, 2.0, 0.5], [8, 1, 4], sure=0.5, draws=80, seed=3).to_dict("records")
    assert [(r["weak_cost"], r["total"]) for r in found] == [(0.25, 8), (0.25, 4), (2.0, 8), (0.5, 8)]
    for row in found:
        can = [n for n in own if n[1] + row["weak_cost"] * n[0] <= row["total"] + 1e-9]
        best = max(can, key=lambda n: own[n].mean())
        assert (row["n_weak"], row["n_oracle"]) == best and row["score"] == pytest.approx(own[best].mean())
        assert row["cost"] == best[1] + row["weak_cost"] * best[0]
        assert row["share"] == pytest.approx(best[1] / row["cost"])
        won = [kinds[max(can, key=lambda n, p=pick: own[n][p].mean())] for pick in picks]
        kind = max(("quantity", "mixed", "quality"), key=won.count)
        assert row["regime"] == (kind if won.count(kind) >= 40 else "not told apart")
    assert {r["regime"] for r in found} >= {"not told apart"} or len({r["regime"] for r in found}) > 1
    every = result.price_sweep([0.5])
    assert every["total"].tolist() == [8, 32]
    assert every.equals(result.price_sweep([0.5], [8, 32], sure=0.8, draws=1000, seed=0))
    for price in (0, math.inf, math.nan):
        with pytest.raises(BadInput, match="weak_cost: expected above 0, got"):
            result.price_sweep([price])
    with pytest.raises(BadInput, match=r"scores: expected a seed with all cells, at least, got none\."):
        made(lambda c, seed: math.nan if c.share == 1 else 1.0).front()


def test_pools_of_different_sizes_count_by_their_mean():
    result = made(seeds=(0, 1))
    result.table.loc[(result.table["seed"] == 1) & (result.table["share"] == 0), "n_weak"] += 1
    assert 64.5 in result.front(draws=2)["n_weak"].tolist()


def test_areas_and_shares_of_right_answers():
    p = np.array([0.1, 0.5, 0.9, 0.51, 0.2])
    model: Any = SimpleNamespace(predict_proba=lambda x: np.c_[1 - p, p] if x == "test" else None)
    draw: Any = SimpleNamespace(x_test="test", y_test=[0, 1, 1, 0, 1])
    got = auroc_and_accuracy(model, draw)
    assert got == {"score": pytest.approx(4 / 6), "accuracy": 2 / 5}


class Toy:
    def fit(self, x, sources, counts, *, seed):
        assert sorted(sources) == ["oracle", "weak"]
        self.bought = counts["weak"], counts["oracle"], seed
        return self


def study(seen, rows=9, **more):
    def draw(seed):
        labels = np.zeros(rows)
        sources = (given_labels("weak", 0.5, labels), given_labels("oracle", 1, labels))
        return MixDraw(np.full((rows, 1), float(seed)), *sources, None, labels)

    def evaluate(model, draw):
        seen.append(model.bought)
        return {"score": float(model.bought[0]), "extra": 7.0, "accuracy": 0.5}

    return QuantityQualityStudy(draw, Toy, MixGrid((4,), (0.5,), 0.5), **({"evaluate": evaluate} | more))


def test_a_study_row_by_row(tmp_path):
    seen: list[Any] = []
    told: list[Any] = []
    got = study(seen, seeds=(4, 2, 4), values=("extra", "score")).run(
        tmp_path / "s", progress=lambda *at: told.append(at)
    )
    assert seen == [(8, 0, 4), (4, 2, 4), (0, 4, 4), (8, 0, 2), (4, 2, 2), (0, 4, 2)]
    assert told == [(i, 6) for i in range(1, 7)] and got.finished and got.grid.budgets == (4,)
    assert list(got.table.columns) == ["total", "share", "n_weak", "n_oracle", "cost", "seed", "score", "extra"]
    assert got.table.iloc[1].tolist() == [4, 0.5, 4, 2, 4.0, 4, 4.0, 7.0]
    again = study(seen, seeds=(2,), values=("extra",)).run(tmp_path / "s", max_seconds=0)  # all is there
    assert again.finished and len(seen) == 6
    usual = study(seen).run(tmp_path / "t")
    assert usual.table["seed"].unique().tolist() == [0, 1, 2] and list(usual.table.columns)[-1] == "accuracy"
    with pytest.raises(BadInput, match=r"seeds: expected at least one, got none\."):
        study(seen, seeds=())
    with pytest.raises(BudgetSpent) as caught:
        study(seen, seeds=(9,)).run(tmp_path / "u", max_trials=0)
    assert str(caught.value) == (
        f"The study ended before any cell had a score: allow more, or look at errors in {tmp_path / 'u'}."
    )
    assert isinstance(QuantityQualityStudy(lambda s: None, Toy).grid, MixGrid)  # type: ignore[arg-type,return-value]
