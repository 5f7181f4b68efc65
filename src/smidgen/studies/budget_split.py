"""One annotation budget, two things to buy: demonstrations for supervised fine-tuning, or preferences between answers.

After "Balancing the Budget" (2025), arXiv 2502.11284: at each total, shares of the money are tried; a cell is
fine-tuned on its demonstrations, then on its preferences. `BudgetSplitStudy` measures cells and recommends a share with
its doubt; `split_rule.decision_rule` tells what the paper concluded, for who cannot
measure.

Equal money is not equal numbers (prices), nor equal compute (a pair is two answers): see `equal_compute`.

Dims: R repeats (seeds), S shares.
"""

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pandas as pd

from smidgen.kit.errors import BadInput, BudgetSpent, bad
from smidgen.kit.files import digest
from smidgen.laws.budget_grid import Cell, best_share, cells, nested, regime
from smidgen.studies.split_rule import AnnotationPrices, split_budget
from smidgen.studies.trialfile import Spent, TrialFile

if TYPE_CHECKING:
    from smidgen.lm.tuning import Example, Preference

SHARES = (0.0, 0.01, 0.1, 0.25, 0.5, 0.75, 1.0)  # of the money that goes to demonstrations; as published
COLUMNS = ("total", "share", "n_sft", "n_pref", "seed")
NAMES = {"first": "demonstrations", "second": "preferences"}
Rows = tuple[list[Any], list[Any]]  # demonstrations and preferences


class Tune(Protocol):
    """Fine-tunes a base on rows of both kinds, either of which may be empty, and gives something whose `model` is the
    result, and whose `numbers()` are noted beside the score; `lm.two_stages.TwoStages` does. `work` is asked only for
    equal compute."""

    def __call__(
        self,
        model: Any,
        demonstrations: Sequence["Example"],
        pairs: Sequence["Preference"],
        seed: int,
        *,
        stretch: float,
    ) -> Any: ...

    def work(self, model: Any, demonstrations: Sequence["Example"], pairs: Sequence["Preference"]) -> Any: ...


@dataclass(frozen=True)
class Recommendation:
    """The share of a total that should go to demonstrations.

    Attributes:
        share, n_sft, n_pref: the best on the mean of the seeds, and what it buys.
        low, high: between these it lies in nine of ten bootstrap draws of the seeds.
        chances: by share, how often it was the best of them.
        regime: "demonstrations", "preferences", "mixed" or "not told apart".
        measured: False where the scores are those between two measured totals (straight in the total's logarithm).
    """

    total: float
    share: float
    low: float
    high: float
    n_sft: int
    n_pref: int
    chances: dict[float, float]
    regime: str
    measured: bool


@dataclass(frozen=True)
class BudgetSplitResult:
    """What a study found.

    Attributes:
        table: one row a cell and seed: total, share, n_sft, n_pref, seed, score and what else was noted; NaN where a
            trial failed. trials: in the file. finished: whether the study came to its end, or its budget did.
    """

    table: pd.DataFrame
    prices: AnnotationPrices
    trials: int
    finished: bool

    def scores(self, total: float) -> pd.DataFrame:
        """Of the seeds that have all shares, `[R, S]`, at a measured total or between two. Of shares that buy the same
        (at both of the two), only the lowest is there.

        Raises:
            BadInput: beyond the measured totals, or fewer than 2 such seeds.
        """
        totals = np.unique(self.table["total"].to_numpy(float))
        if not totals[0] <= total <= totals[-1]:
            raise bad(
                "total",
                f"{totals[0]:g} to {totals[-1]:g}, as measured",
                f"{total:g}",
                "Measure it, or see `split_rule`.",
            )
        above = int(np.searchsorted(totals, total))
        ends = totals[above : above + 1] if totals[above] == total else totals[above - 1 : above + 1]
        parts = [self.table.loc[self.table["total"] == end] for end in ends]
        bought = pd.concat(
            [p.drop_duplicates("share").set_index("share")[["n_sft", "n_pref"]] for p in parts], axis=1
        ).sort_index()
        shares = bought.index[~bought.duplicated()].tolist()
        whole = [p.pivot(index="seed", columns="share", values="score").reindex(columns=shares).dropna() for p in parts]
        seeds = [s for s in whole[0].index if all(s in p.index for p in whole)]
        if len(seeds) < 2:
            raise bad("seeds", f"at least 2 with a score of every share at {total:g}", len(seeds), "Measure more.")
        if len(whole) == 1:
            return whole[0].loc[seeds]
        place = math.log(total / ends[0]) / math.log(ends[1] / ends[0])
        return (1 - place) * whole[0].loc[seeds] + place * whole[1].loc[seeds]

    def recommend(self, total: float) -> Recommendation:
        """The best share of a total and how sure that is. Raises BadInput as `scores`."""
        table = self.scores(total)
        shares, scores_RS = [float(s) for s in table.columns], table.to_numpy(float)
        best = best_share(shares, scores_RS)
        kind = regime(shares, scores_RS) if {0.0, 1.0} <= set(shares) else "not told apart"
        chances = dict(zip(shares, best.chance_S.tolist(), strict=True))
        measured = bool((self.table["total"] == total).any())
        return Recommendation(
            total, best.share, best.low, best.high, *split_budget(total, best.share, self.prices), chances,
            NAMES.get(kind, kind), measured,
        )  # fmt: skip


class BudgetSplitStudy:
    """Totals, shares and seeds, each cell trained and scored.

    In a cell no prompt has rows of both kinds: demonstrations are taken from the front of one order of all prompts that
    depends on the seed, preferences from its back. What a smaller total buys is among what a larger one does.

    Args:
        model_factory: `model_factory(seed)` gives the base model, untouched, each time it is called.
        tune: see `Tune`. One setting for all shares favours the share that it was found at: say which that was.
        demonstrations, preferences: what can be bought, best on the same prompts: their qualities compare then.
            Pairs whose answers are equal say nothing: they are dropped, `dropped` tells how many.
        evaluate: `evaluate(model, seed)`, a score, the higher the better; or several numbers, "score" among them. It
            must not be the test that the chosen share is reported on.
        totals, prices: money. shares: of it for demonstrations. values: names of what else is noted.
        held_prompts: prompts of the test and validation rows; none may be among those that are bought.
        equal_compute: each cell of a total trains as long as the one with the most work, by more epochs.
        name: what the model, its tuning and evaluation are: a file of another name is refused. Give another one where
            one of them changes, or its scores are taken for those of before.

    Raises:
        BadInput: prompts of the test among the rows, not enough rows for a cell, a share out of 0 to 1, nothing to do.
    """

    def __init__(
        self,
        model_factory: Callable[[int], Any],
        tune: Tune,
        demonstrations: Sequence["Example"],
        preferences: Sequence["Preference"],
        evaluate: Callable[[Any, int], float | Mapping[str, float]],
        totals: Sequence[float],
        shares: Sequence[float] = SHARES,
        prices: AnnotationPrices | None = None,
        seeds: Sequence[int] = (0, 1, 2),
        *,
        held_prompts: Iterable[str] = (),
        values: Sequence[str] = (),
        equal_compute: bool = False,
        name: str = "",
    ) -> None:
        if not totals or not shares or not seeds:
            raise bad("totals, shares, seeds", "at least one each", (len(totals), len(shares), len(seeds)))
        self.prices = prices or AnnotationPrices()
        self.cells = cells(sorted(set(totals)), sorted(set(shares)), self.prices.pair)
        self.seeds = list(dict.fromkeys(seeds))
        self.model_factory, self.tune, self.evaluate = model_factory, tune, evaluate
        self.values, self.equal_compute = ("score", *(v for v in values if v != "score")), equal_compute
        told_apart = [p for p in preferences if p.chosen != p.rejected]
        self.dropped = len(preferences) - len(told_apart)
        _check_held("preferences", (p.prompt for p in preferences), held_prompts)
        _check_held("demonstrations", (e.prompt for e in demonstrations), held_prompts)
        self._shown, self._pairs = _by_prompt(demonstrations), _by_prompt(told_apart)
        self._order = cache(self._prompts)
        self._most: dict[tuple[float, int], float] = {}  # work of a total's dearest cell, by seed
        for seed in self.seeds:
            for cell in self.cells:
                self.rows(cell, seed)
        everything = [[[e.prompt, e.answer] for e in demonstrations], [list(vars(p).values()) for p in told_apart]]
        self._space = digest(json.dumps([everything, self.prices.pair, equal_compute, name, self.values]))

    def rows(self, cell: Cell, seed: int) -> Rows:
        """What a cell buys. Raises BadInput where there are not so many rows whose prompts do not meet."""
        order = self._order(seed)
        shown = _take(order, self._shown, cell.first)
        pairs = _take(order[::-1], self._pairs, cell.second)
        for kind, got, asked in (("demonstrations", shown, cell.first), ("preferences", pairs, cell.second)):
            if len(got) < asked:
                raise BadInput(
                    f"A total of {cell.total:g} with a share of {cell.share:g} takes {asked:,} {kind}: there are only "
                    f"{len(got):,} that can be used. Give more, or ask for smaller totals."
                )
        if met := {e.prompt for e in shown} & {p.prompt for p in pairs}:
            raise BadInput(
                f"A total of {cell.total:g} with a share of {cell.share:g} takes {cell.first:,} demonstrations and "
                f"{cell.second:,} preferences of different prompts, but {len(met):,} prompts would be in both: give "
                "rows of more prompts, or ask for smaller totals."
            )
        return shown, pairs

    def run(
        self,
        store: Path | str,
        *,
        max_seconds: float | None = None,
        max_trials: int | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> BudgetSplitResult:
        """Measures what the store does not hold yet, until the end or the budget, whichever is first.

        Args:
            store: file of JSON lines, a trial each as soon as it is done. max_seconds: for this run; a trial that has
                begun is finished. max_trials: in all, with those in the store. progress: called with (done, in all).
        Raises:
            BadInput: a store of another study, in use, or damaged. BudgetSpent: no cell has a score.
        """
        found, finished = [], True
        todo = [(cell, seed) for seed in self.seeds for cell in self.cells]
        with TrialFile(store, self._space, self.values, max_seconds=max_seconds, max_trials=max_trials) as trials:
            try:
                for cell, seed in todo:
                    config: dict[str, Any] = {"n_sft": cell.first, "n_pref": cell.second}
                    if self.equal_compute:
                        config["total"] = cell.total
                    got = trials.trial(config, seed, lambda _, seed, cell=cell: self._measure(cell, seed))
                    found.append({**config, "total": cell.total, "share": cell.share, "seed": seed, **got})
                    if progress:
                        progress(len(found), len(todo))
            except Spent:
                finished = False
            if not any(math.isfinite(row["score"]) for row in found):
                raise BudgetSpent(
                    f"The study ended before any cell had a score: allow more, or look into the errors in {store}."
                )
            table = pd.DataFrame(found, columns=pd.Index([*COLUMNS, *self.values]))
            return BudgetSplitResult(table, self.prices, len(trials), finished)

    def _measure(self, cell: Cell, seed: int) -> dict[str, float]:
        shown, pairs = self.rows(cell, seed)
        model = self.model_factory(seed)
        tuned = self.tune(model, shown, pairs, seed, stretch=self._stretch(model, cell, seed))
        got = self.evaluate(tuned.model, seed)
        scored = dict(got) if isinstance(got, Mapping) else {"score": float(got)}
        return {**tuned.numbers(), **scored}

    def _stretch(self, model: Any, cell: Cell, seed: int) -> float:
        """Factor of the epochs with which this cell trains as long as the one of its total with the most work."""
        if not self.equal_compute:
            return 1.0
        key = cell.total, seed
        if key not in self._most:
            alike = [c for c in self.cells if c.total == cell.total]
            self._most[key] = max(self.tune.work(model, *self.rows(c, seed)).total for c in alike)
        own = self.tune.work(model, *self.rows(cell, seed))
        return (self._most[key] - own.once) / own.training

    def _prompts(self, seed: int) -> list[str]:
        """All prompts: those with demonstrations alone, with both, with preferences alone; each part in the order of
        the seed, so that ends meet as late as can be."""
        prompts = sorted(self._shown.keys() | self._pairs.keys())
        order = [prompts[i] for i in nested(len(prompts), seed, "prompts")]
        return sorted(order, key=lambda p: (p in self._pairs) - (p in self._shown))


def _by_prompt(rows: Sequence[Any]) -> dict[str, list[Any]]:
    out: dict[str, list[Any]] = {}
    for row in rows:
        out.setdefault(row.prompt, []).append(row)
    return out


def _take(order: Sequence[str], rows: Mapping[str, list[Any]], count: int) -> list[Any]:
    """The first rows in the order of their prompts; fewer where there are not so many."""
    out: list[Any] = []
    for prompt in order:
        if len(out) >= count:
            break
        out += rows.get(prompt, ())
    return out[:count]


def _check_held(kind: str, prompts: Iterable[str], held: Iterable[str]) -> None:
    """Prompts that differ in white space alone are the same.

    Raises:
        BadInput: one of the prompts is among those held out.
    """
    known = {" ".join(p.split()) for p in held}
    met = sorted({" ".join(p.split()) for p in prompts} & known)
    if met:
        raise BadInput(
            f"{len(met):,} prompts of the {kind} are in the test set as well, '{met[0][:60]}' for one: its score would "
            "not be that of new prompts. Remove them from one of the two."
        )
