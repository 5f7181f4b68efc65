"""Many cheap labels or few good ones: shares of one budget, each trained and scored, and what that says to buy.

After "Balancing Label Quantity and Quality for Scalable Elicitation" (2024), arXiv 2410.13215. Budgets are in the
price of an oracle's label. What is left of a budget after the oracle's part buys weak labels.

Dims: N rows of a pool, R repeats (seeds), S shares, C cells.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd

from smidgen.data.label_sources import LabelSource
from smidgen.kit.errors import BadInput, BudgetSpent, bad
from smidgen.kit.files import digest
from smidgen.laws.budget_grid import Cell, best_share, cells, pareto_front, regime
from smidgen.studies.trialfile import Spent, TrialFile, content
from smidgen.tasks.metrics import METRICS

COLUMNS = ("total", "share", "n_weak", "n_oracle", "cost", "seed")
NAMES = {"first": "quality", "second": "quantity"}


@dataclass(frozen=True)
class MixGrid:
    """Budgets, and the oracle's shares of them; the ends, 0 and 1, are always among these.

    Attributes:
        weak_cost: of a weak label, in oracle labels.
        beyond: what happens where a budget buys more weak labels than the pool has rows for: "error", or "take all",
            and money is left over.

    Raises:
        BadInput: a budget below one oracle label, a share out of 0 to 1, a price not above 0.
    """

    budgets: tuple[float, ...] = (16, 64, 256, 1024, 4096)
    oracle_shares: tuple[float, ...] = (0.8, 0.6, 0.4, 0.2, 0.05)
    weak_cost: float = 0.1
    beyond: str = "error"

    def __post_init__(self) -> None:
        if not self.budgets or min(self.budgets) < 1:
            raise bad("budgets", "at least 1, the price of one oracle label", self.budgets)
        if self.beyond not in ("error", "take all"):
            raise bad("beyond", "'error' or 'take all'", self.beyond)
        self.cells(None)

    def cells(self, pool: int | None) -> list[Cell]:
        """Cells by budget and share, of a pool of so many rows: `first` are oracle labels, `second` weak ones.

        Raises:
            BadInput: a cell asks for more labels than there are rows.
        """
        shares = sorted({0.0, *self.oracle_shares, 1.0})
        out = []
        for cell in cells(sorted(set(self.budgets)), shares, (1.0, self.weak_cost)):
            room = math.inf if pool is None else pool - cell.first
            if room < (cell.second if self.beyond == "error" else 0):
                raise BadInput(
                    f"A budget of {cell.total:g} with a share of {cell.share:g} takes {cell.first:,} oracle and "
                    f"{cell.second:,} weak labels, but the pool has {pool:,} rows: give a larger pool, ask for smaller "
                    "budgets, or take what there is (beyond='take all')."
                )
            out.append(replace(cell, second=min(cell.second, int(room))) if room < cell.second else cell)
        return out


@dataclass(frozen=True)
class MixDraw:
    """A task as one seed sees it.

    Attributes:
        x: of the pool, as the recipe reads it: features `[N, D]`, or texts. weak, oracle: who labels its rows; their
            costs are for their own ledgers, the study's prices are the grid's.
        x_test, y_test: other rows, with gold labels 0 and 1.
    """

    x: Any
    weak: LabelSource
    oracle: LabelSource
    x_test: Any
    y_test: np.ndarray


class Recipe(Protocol):
    """Learns from what a cell buys and gives itself; `learn.weak_to_strong.SequentialSFT` is one."""

    def fit(self, x: Any, sources: Mapping[str, LabelSource], counts: Mapping[str, int], *, seed: int) -> Any: ...

    def predict_proba(self, x: Any) -> np.ndarray: ...


def auroc_and_accuracy(model: Recipe, draw: MixDraw) -> dict[str, float]:
    """Both on the test rows, 0 to 1; the score is the AUROC, which no threshold and no prior enters."""
    p_n2 = model.predict_proba(draw.x_test)
    right = (p_n2[:, 1] > 0.5) == (np.asarray(draw.y_test) > 0.5)
    return {"score": METRICS["auc"].score(draw.y_test, p_n2), "accuracy": float(right.mean())}


@dataclass(frozen=True)
class MixResult:
    """What a study found.

    Attributes:
        table: one row a cell and seed: total, share, n_weak, n_oracle, cost, seed, score and what else was noted. NaN
            where a trial failed. finished: whether the study came to its end, or its budget did.
    """

    table: pd.DataFrame
    grid: MixGrid
    finished: bool

    def scores(self, total: float) -> pd.DataFrame:
        """Scores at a budget, a line a seed that has all shares, a column a share. Of shares that buy the same, only
        the lowest is there. Raises BadInput where no seed has all."""
        part = self.table.query("total == @total")
        bought = part.drop_duplicates("share").sort_values("share").drop_duplicates(["n_weak", "n_oracle"])
        wide = part.pivot(index="seed", columns="share", values="score").reindex(columns=bought["share"]).dropna()
        if wide.empty:
            raise bad(f"scores at {total:g}", "every share of a seed, at least", "none")
        return wide

    def regimes(self, *, margin: float = 0.0, sure: float = 0.8) -> pd.DataFrame:
        """By budget: the share with the best mean, `low` and `high` between which it lies in nine of ten bootstrap
        draws of the seeds, and the regime: "quantity" (all weak), "mixed" or "quality" (all oracle) where that wins by
        more than `margin` and in at least `sure` of the draws, else "not told apart"."""
        found = []
        for total in sorted(self.table["total"].unique().tolist()):
            wide = self.scores(total)
            shares, scores_RS = [float(s) for s in wide.columns], wide.to_numpy(float)
            best = best_share(shares, scores_RS)
            kind = regime(shares, scores_RS, margin, sure)
            found.append(
                {
                    "total": total, "share": best.share, "low": best.low, "high": best.high,
                    "regime": NAMES.get(kind, kind), "seeds": len(wide),
                }
            )  # fmt: skip
        return pd.DataFrame(found)

    def front(self, weak_cost: float | None = None, *, draws: int = 1000, seed: int = 0) -> pd.DataFrame:
        """Which cells nobody beats at their cost or less: all distinct cells, cheapest first, with cost, mean score,
        bounds of it in nine of ten bootstrap draws of the seeds (`low`, `high`), `on_front`, and `chance` of being on
        it in these draws.

        Args:
            weak_cost: another price of a weak label: the same runs, valued anew.
        """
        bought, scores_RC = self._distinct()
        cost_C = self._cost(bought, weak_cost)
        means_DC = scores_RC[_redrawn(len(scores_RC), draws, seed)].mean(1)
        chance_C = np.zeros(len(cost_C))
        for mean_C in means_DC:
            chance_C[pareto_front(cost_C.tolist(), mean_C.tolist())] += 1 / draws
        low_C, high_C = np.quantile(means_DC, [0.05, 0.95], axis=0)
        on_C = np.isin(np.arange(len(cost_C)), pareto_front(cost_C.tolist(), scores_RC.mean(0).tolist()))
        columns = {"cost": cost_C, "score": scores_RC.mean(0), "low": low_C, "high": high_C}
        found = bought.assign(**columns, on_front=on_C, chance=chance_C.clip(0, 1))
        return found.sort_values(["cost", "score"], ascending=[True, False], ignore_index=True)

    def price_sweep(
        self, weak_costs: Sequence[float], budgets: Sequence[float] | None = None, *, sure: float = 0.8,
        draws: int = 1000, seed: int = 0,
    ) -> pd.DataFrame:  # fmt: skip
        """What to buy if weak labels had another price: no run is made, those that there are get their new cost.

        Of the cells that a budget pays for, the one with the best mean, its oracle's share of what it costs, and the
        regime, as in `regimes`: which kind of cell is the best in at least `sure` of bootstrap draws of the seeds. A
        grid that was laid out for one price is coarse at another.

        Raises:
            BadInput: a price not above 0.
        """
        bought, scores_RC = self._distinct()
        kinds_C = np.where(bought["n_oracle"] == 0, "quantity", np.where(bought["n_weak"] == 0, "quality", "mixed"))
        picks = _redrawn(len(scores_RC), draws, seed)
        found = []
        for price in weak_costs:
            cost_C = self._cost(bought, price)
            for total in budgets or sorted(set(self.grid.budgets)):
                can = np.flatnonzero(cost_C <= total + 1e-9)
                if not len(can):
                    continue
                best = int(can[scores_RC[:, can].mean(0).argmax()])
                won = kinds_C[can][scores_RC[:, can][picks].mean(1).argmax(1)]
                chances = {kind: float((won == kind).mean()) for kind in ("quantity", "mixed", "quality")}
                kind = max(chances, key=lambda k: chances[k])
                found.append(
                    {
                        "weak_cost": float(price), "total": total, **bought.iloc[best].to_dict(), "cost": cost_C[best],
                        "share": bought["n_oracle"].iloc[best] / cost_C[best], "score": scores_RC[:, best].mean(),
                        "regime": kind if chances[kind] >= sure else "not told apart",
                    }
                )  # fmt: skip
        return pd.DataFrame(found)

    def _distinct(self) -> tuple[pd.DataFrame, np.ndarray]:
        """Purchases, each once, and their scores `[R, C]` on the seeds that have all."""
        cell, counts = ["total", "share"], ["n_weak", "n_oracle"]
        bought = self.table.pivot(index=cell, columns="seed", values=counts)  # pools of seeds may differ in size
        bought = bought.loc[~bought.duplicated()]
        wide = self.table.pivot(index="seed", columns=cell, values="score")[bought.index.tolist()].dropna()
        if wide.empty:
            raise bad("scores", "a seed with all cells, at least", "none")
        means = {name: bought[name].mean(axis=1).to_numpy() for name in counts}
        return pd.DataFrame(means), wide.to_numpy(float)

    def _cost(self, bought: pd.DataFrame, weak_cost: float | None) -> np.ndarray:
        price = self.grid.weak_cost if weak_cost is None else weak_cost
        if not 0 < price < math.inf:
            raise bad("weak_cost", "above 0", price)
        return bought["n_oracle"].to_numpy(float) + price * bought["n_weak"].to_numpy(float)


def _redrawn(repeats: int, draws: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, repeats, (draws, repeats))


class QuantityQualityStudy:
    """Cells and seeds, each trained and scored. Cells that buy the same are measured once.

    Args:
        draw: `draw(seed)`, the task as a seed sees it.
        recipe: learns from sources named "weak" and "oracle". It takes rows so that a smaller purchase lies in a larger
            one, and charges the rows that it validates on.
        evaluate: `evaluate(model, draw)`: numbers with "score" among them, higher is better. values: names of the
            others.
        name: what labels and recipe are: a file of another name is refused, one of other rows measured anew. Give
            another one where either changes, or its scores are taken for those of before.
    """

    def __init__(
        self,
        draw: Callable[[int], MixDraw],
        recipe: Callable[[], Recipe],
        grid: MixGrid | None = None,
        seeds: Sequence[int] = (0, 1, 2),
        *,
        evaluate: Callable[[Any, MixDraw], Mapping[str, float]] = auroc_and_accuracy,
        values: Sequence[str] = ("accuracy",),
        name: str = "",
    ) -> None:
        if not seeds:
            raise bad("seeds", "at least one", "none")
        self.draw, self.recipe, self.grid, self.evaluate = draw, recipe, grid or MixGrid(), evaluate
        self.seeds = list(dict.fromkeys(seeds))
        self.values = ("score", *(v for v in values if v != "score"))
        self._space = digest(json.dumps([name, self.values]))

    def run(
        self,
        store: Path | str,
        *,
        max_seconds: float | None = None,
        max_trials: int | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> MixResult:
        """Measures what the store does not hold yet, until the end or the budget, whichever is first.

        Args:
            store: file of JSON lines, a trial each as soon as it is done; a grid may grow on it. max_seconds: for this
                run; a trial that has begun is finished. max_trials: in all. progress: called with (done, in all).
        Raises:
            BadInput: a cell asks for more labels than a draw's pool has, before anything of that draw is trained; a
                store of another study, in use, or damaged. BudgetSpent: no cell has a score.
        """
        found: list[dict[str, Any]] = []
        finished = True
        with TrialFile(store, self._space, self.values, max_seconds=max_seconds, max_trials=max_trials) as trials:
            try:
                for seed in self.seeds:
                    task = self.draw(seed)
                    todo = self.grid.cells(len(task.x))
                    drawn = digest(content(task.x), content(task.y_test))
                    for cell in todo:
                        config = {"n_weak": cell.second, "n_oracle": cell.first, "draw": drawn}
                        got = trials.trial(config, seed, lambda c, seed, task=task: self._measure(c, seed, task))
                        cost = cell.first + self.grid.weak_cost * cell.second
                        bought = {"n_weak": cell.second, "n_oracle": cell.first, "cost": cost}
                        found.append({"total": cell.total, "share": cell.share, **bought, "seed": seed, **got})
                        if progress:
                            progress(len(found), len(todo) * len(self.seeds))
            except Spent:
                finished = False
        if not any(math.isfinite(row["score"]) for row in found):
            raise BudgetSpent(f"The study ended before any cell had a score: allow more, or look at errors in {store}.")
        return MixResult(pd.DataFrame(found, columns=pd.Index([*COLUMNS, *self.values])), self.grid, finished)

    def _measure(self, config: dict[str, Any], seed: int, task: MixDraw) -> Mapping[str, float]:
        counts = {"weak": config["n_weak"], "oracle": config["n_oracle"]}
        model = self.recipe().fit(task.x, {"weak": task.weak, "oracle": task.oracle}, counts, seed=seed)
        return self.evaluate(model, task)
