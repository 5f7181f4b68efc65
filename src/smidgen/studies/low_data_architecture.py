"""Which architecture for how little data: stacks x sizes x examples a class x seeds, each trained and scored.

After Dagli (2023), arXiv 2304.05350: large-data choices (more attention, more width) need not carry over. What is
compared is on the same seeds, so differences are paired. Scores are higher-is-better.

Dims: R seeds.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from smidgen.kit.errors import BudgetSpent, NotFound, bad
from smidgen.kit.files import digest
from smidgen.studies.trialfile import Spent, TrialFile

COLUMNS = ("stack", "size", "n_per_class", "seed")
# Of (stack, size, examples a class, seed): numbers, "score" among them.
TrainAndScore = Callable[[str, Any, int, int], Mapping[str, float]]


@dataclass(frozen=True)
class ArchitectureGrid:
    """What is tried: every stack in every size, from every number of examples a class.

    Attributes:
        stacks: names such as "C-C-C-T". sizes: names or factors of the width, as the trainer reads them; from small to
            large. n_per_class: examples of each class.

    Raises:
        BadInput: an empty axis, one that names something twice, fewer than 1 example.
    """

    stacks: tuple[str, ...]
    sizes: tuple[str | float, ...] = (1.0,)
    n_per_class: tuple[int, ...] = (100,)

    def __post_init__(self) -> None:
        for name in ("stacks", "sizes", "n_per_class"):
            axis = getattr(self, name)
            if not axis or len(set(axis)) < len(axis):
                raise bad(name, "at least one, none twice", axis)
        if min(self.n_per_class) < 1:
            raise bad("n_per_class", "at least 1", self.n_per_class)

    @property
    def cells(self) -> list[tuple[str, str | float, int]]:
        """The cheap ones first: few examples, small sizes."""
        return [(stack, size, n) for n in sorted(self.n_per_class) for size in self.sizes for stack in self.stacks]


@dataclass(frozen=True)
class Difference:
    """One cell less another on the same seeds.

    Attributes:
        mean, error: of the difference, and the standard error of the mean (NaN with one seed). seeds: how many.
    """

    mean: float
    error: float
    seeds: int


@dataclass(frozen=True)
class ArchitectureResult:
    """What a study found.

    Attributes:
        table: a row a cell and seed: stack, size, n_per_class, seed, score and what else was noted; NaN where a trial
            failed. finished: whether the study came to its end, or its budget did.
    """

    table: pd.DataFrame
    grid: ArchitectureGrid
    finished: bool

    def summary(self) -> pd.DataFrame:
        """By cell: mean score, its standard error, how many seeds have one."""
        grouped = self.table.dropna(subset=["score"]).groupby(list(COLUMNS[:3]), sort=False)["score"]
        found = grouped.agg(["mean", "sem", "count"]).reset_index()
        return found.rename(columns={"sem": "error", "count": "seeds"})

    def difference(self, first: tuple[str, str | float, int], second: tuple[str, str | float, int]) -> Difference:
        """Score of one cell (stack, size, examples a class) less that of another, on seeds that have both.

        Raises:
            NotFound: there is no such seed.
        """
        a, b = self._scores(first), self._scores(second)
        both = a.index.intersection(b.index)
        if both.empty:
            raise NotFound(f"No seed has scores of both {first} and {second}: let the study go on.")
        gap_R = np.asarray(a[both], float) - np.asarray(b[both], float)
        error = float(gap_R.std(ddof=1) / math.sqrt(len(gap_R))) if len(gap_R) > 1 else math.nan
        return Difference(float(gap_R.mean()), error, len(gap_R))

    def best(self, n_per_class: int) -> pd.DataFrame:
        """Cells of that many examples a class, best mean first, each with `behind`, the mean difference from the best
        on the same seeds, and its standard error `behind_error`.

        Raises:
            NotFound: none has a score.
        """
        part = self.summary().query("n_per_class == @n_per_class").sort_values("mean", ascending=False, kind="stable")
        if part.empty:
            raise NotFound(f"No cell of {n_per_class} examples a class has a score: let the study go on.")
        cells = list(part[list(COLUMNS[:3])].itertuples(index=False, name=None))
        gaps = [self._behind(cells[0], cell) for cell in cells]
        return part.assign(behind=[g.mean for g in gaps], behind_error=[g.error for g in gaps]).reset_index(drop=True)

    def monotone(self, stack: str, n_per_class: int) -> pd.DataFrame:
        """Each size but the first: its gain over the size before, on the same seeds, and whether it is more than its
        standard error (`better`)."""
        rows = []
        for small, large in zip(self.grid.sizes, self.grid.sizes[1:], strict=False):
            gap = self.difference((stack, large, n_per_class), (stack, small, n_per_class))
            better = gap.mean > gap.error  # never with one seed, whose error is not known
            rows.append({"size": large, "gain": gap.mean, "error": gap.error, "seeds": gap.seeds, "better": better})
        return pd.DataFrame(rows, columns=pd.Index(["size", "gain", "error", "seeds", "better"]))

    def _behind(self, best: tuple[Any, ...], cell: tuple[Any, ...]) -> Difference:
        try:
            return self.difference(cell, best)  # pyright: ignore[reportArgumentType]
        except NotFound:
            return Difference(math.nan, math.nan, 0)

    def _scores(self, cell: tuple[Any, ...]) -> pd.Series:
        known = np.logical_and.reduce([self.table[c] == v for c, v in zip(COLUMNS, cell, strict=False)])
        return self.table.loc[known].set_index("seed")["score"].dropna()


def low_data_architecture(
    train_and_score: TrainAndScore,
    grid: ArchitectureGrid,
    seeds: Sequence[int],
    store: Path | str,
    *,
    values: Sequence[str] = (),
    name: str = "",
    max_seconds: float | None = None,
    max_trials: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ArchitectureResult:
    """Measures what the store does not hold yet, seed by seed, until the end or the budget, whichever is first.

    Args:
        train_and_score: of a stack, a size, examples a class and a seed: numbers, "score" among them. It draws its
            examples by the seed alone, a smaller draw within a larger one, so that cells are compared on the same.
        store: file of JSON lines, a trial each as soon as it is done; a grid may grow on it.
        values: names of other numbers to keep (parameters, say). name: what the trainer is: a file of another name is
            refused. max_seconds: for this run; a trial that has begun is finished. max_trials: in all.
        progress: called with (done, in all).
    Raises:
        BadInput: no seed, a store of another study, in use, or damaged. BudgetSpent: no cell has a score.
    """
    seeds = list(dict.fromkeys(seeds))
    if not seeds:
        raise bad("seeds", "at least one", "none")
    names = ("score", *(v for v in values if v != "score"))
    found: list[dict[str, Any]] = []
    finished, todo = True, grid.cells

    def measure(config: dict[str, Any], seed: int) -> Mapping[str, float]:
        return train_and_score(config["stack"], config["size"], config["n_per_class"], seed)

    space = digest(json.dumps([name, names]))
    with TrialFile(store, space, names, max_seconds=max_seconds, max_trials=max_trials) as trials:
        try:
            for seed in seeds:
                for cell in todo:
                    config: dict[str, Any] = dict(zip(COLUMNS, cell, strict=False))
                    found.append(config | {"seed": seed} | trials.trial(config, seed, measure))
                    if progress:
                        progress(len(found), len(todo) * len(seeds))
        except Spent:
            finished = False
    if not any(math.isfinite(row["score"]) for row in found):
        raise BudgetSpent(f"The study ended before any cell had a score: allow more, or look at errors in {store}.")
    return ArchitectureResult(pd.DataFrame(found, columns=pd.Index([*COLUMNS, *names])), grid, finished)
