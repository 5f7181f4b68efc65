"""Grids of architectures: cells in their order, paired differences by hand, ties, what is missing."""

import math

import numpy as np
import pandas as pd
import pytest

from smidgen.kit.errors import BadInput, BudgetSpent, NotFound
from smidgen.studies.low_data_architecture import (
    ArchitectureGrid,
    ArchitectureResult,
    Difference,
    low_data_architecture,
)

GRID = ArchitectureGrid(("B", "A"), ("s", "m", "l"), (50, 10))


def result(scores):
    """Of {(stack, size, n): [scores by seed]}."""
    rows = [
        {"stack": c[0], "size": c[1], "n_per_class": c[2], "seed": s, "score": v}
        for c, own in scores.items() for s, v in enumerate(own)
    ]  # fmt: skip
    return ArchitectureResult(pd.DataFrame(rows), GRID, True)


def test_grids():
    assert GRID.cells == [
        (stack, size, n) for n in (10, 50) for size in ("s", "m", "l") for stack in ("B", "A")
    ]  # fmt: skip
    assert ArchitectureGrid(("C",)).cells == [("C", 1.0, 100)]
    for axes, said in (
        (((),), r"stacks: expected at least one, none twice, got \(\)"),
        ((("A",), ()), r"sizes: expected at least one, none twice, got \(\)"),
        ((("A",), (1, 2, 1)), r"sizes: expected at least one, none twice, got \(1, 2, 1\)"),
        ((("A",), (1,), (5, 5)), r"n_per_class: expected at least one, none twice, got \(5, 5\)"),
        ((("A",), (1,), (5, 0)), r"n_per_class: expected at least 1, got \(5, 0\)"),
    ):
        with pytest.raises(BadInput, match=said):
            ArchitectureGrid(*axes)
    assert ArchitectureGrid(("A",), (1,), (1,)).n_per_class == (1,)


NAN = math.nan
MADE = result({
    ("A", "s", 10): [1.0, 2.0, 6.0, NAN], ("B", "s", 10): [2.0, NAN, 3.0, 9.0], ("A", "m", 10): [1.5, 2.5, 6.5, 7.0],
    ("A", "l", 10): [NAN, NAN, NAN, 6.0], ("B", "l", 10): [NAN] * 4, ("A", "s", 50): [1.0, 3.0, NAN, NAN],
    ("A", "m", 50): [1.0, 3.0, 5.0, 5.0], ("A", "l", 50): [2.0, 8.0, 5.0, 5.0],
})  # fmt: skip


def test_means_by_cell():
    made = MADE.summary().set_index(["stack", "size", "n_per_class"])
    assert list(made.columns) == ["mean", "error", "seeds"] and len(made) == 7
    for at, own in ((("A", "s", 10), [1, 2, 6]), (("B", "s", 10), [2, 3, 9]), (("A", "l", 50), [2, 8, 5, 5])):
        want = [np.mean(own), np.std(own, ddof=1) / math.sqrt(len(own)), len(own)]
        assert made.loc[at].tolist() == pytest.approx(want)
    assert made.loc[("A", "l", 10), "seeds"] == 1 and math.isnan(made.loc[("A", "l", 10), "error"])


def test_differences_are_of_seeds_that_have_both():
    gap = MADE.difference(("A", "s", 10), ("B", "s", 10))  # seeds 0 and 2: -1 and 3
    assert (gap.mean, gap.error, gap.seeds) == (1.0, pytest.approx(2.0), 2)
    one = MADE.difference(("A", "l", 10), ("A", "m", 10))
    assert (one.mean, one.seeds) == (-1.0, 1) and math.isnan(one.error)
    with pytest.raises(NotFound) as caught:
        MADE.difference(("A", "s", 10), ("B", "l", 10))
    assert str(caught.value) == ("No seed has scores of both ('A', 's', 10) and ('B', 'l', 10): let the study go on.")


def test_the_best_and_how_far_the_others_are_behind():
    made = MADE.best(10)
    assert made[["stack", "size"]].to_numpy().tolist() == [["A", "l"], ["B", "s"], ["A", "m"], ["A", "s"]]
    assert made["mean"].tolist() == pytest.approx([6, 14 / 3, 4.375, 3])
    assert made["behind"].tolist()[:3] == [0, 3, 1] and math.isnan(made["behind"][3])  # no seed in common
    assert made["behind_error"].isna().all()
    large = MADE.best(50)
    assert large["size"].tolist() == ["l", "m", "s"] and large["behind"].tolist() == pytest.approx([0, -1.5, -3])
    assert large["behind_error"].tolist() == pytest.approx([0, np.std([1, 5, 0, 0], ddof=1) / 2, 2])
    assert large.index.tolist() == [0, 1, 2]
    ties = result({("B", "s", 10): [1.0, 2.0], ("A", "s", 10): [2.0, 1.0]}).best(10)
    assert ties["stack"].tolist() == ["B", "A"]
    with pytest.raises(NotFound, match=r"^No cell of 7 examples a class has a score: let the study go on\.$"):
        MADE.best(7)
    assert MADE._behind(("A", "s", 10), ("B", "l", 10)).seeds == 0


def test_each_size_beside_the_one_before():
    made = MADE.monotone("A", 50)
    assert list(made.columns) == ["size", "gain", "error", "seeds", "better"] and made["size"].tolist() == ["m", "l"]
    assert made["gain"].tolist() == [0, 1.5] and made["seeds"].tolist() == [2, 4]
    assert made["better"].tolist() == [False, np.std([1, 5, 0, 0], ddof=1) / 2 < 1.5] == [False, True]
    even = result({("A", s, 10): own for s, own in zip("sml", ([0.0, 0.0], [0.0, 2.0], [1.0, 3.0]), strict=True)})
    assert even.monotone("A", 10)[["gain", "error", "better"]].to_numpy().tolist() == [[1, 1, False], [1, 0, True]]
    alone = ArchitectureResult(MADE.table, ArchitectureGrid(("A",)), True).monotone("A", 10)
    assert len(alone) == 0 and list(alone.columns) == ["size", "gain", "error", "seeds", "better"]
    assert Difference(1.0, 2.0, 3) == Difference(1.0, 2.0, 3)


def test_a_study_trial_by_trial(tmp_path):
    seen, told = [], []

    def score(*at):
        seen.append(at)
        return {"score": len(seen), "parameters": 3, "unasked": 4}

    grid = ArchitectureGrid(("A",), (1.0, 2.0), (5,))
    made = low_data_architecture(
        score, grid, (3, 1, 3), tmp_path / "s", values=("parameters", "score"), progress=lambda *at: told.append(at)
    )
    assert seen == [("A", 1.0, 5, 3), ("A", 2.0, 5, 3), ("A", 1.0, 5, 1), ("A", 2.0, 5, 1)]
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)] and made.finished and made.grid is grid
    assert list(made.table.columns) == ["stack", "size", "n_per_class", "seed", "score", "parameters"]
    assert made.table.iloc[2].tolist() == ["A", 1.0, 5, 1, 3.0, 3.0]
    again = low_data_architecture(score, grid, (1,), tmp_path / "s", values=("parameters",), max_seconds=0)
    assert again.finished and len(seen) == 4
    late = low_data_architecture(score, grid, (1, 2), tmp_path / "s", values=("parameters",), max_seconds=0)
    assert not late.finished and len(late.table) == 2
    with pytest.raises(BadInput, match=r"seeds: expected at least one, got none\."):
        low_data_architecture(score, grid, (), tmp_path / "s")
    with pytest.raises(BudgetSpent) as caught:
        low_data_architecture(lambda *at: {"score": math.inf}, grid, (1,), tmp_path / "t")
    assert str(caught.value) == (
        f"The study ended before any cell had a score: allow more, or look at errors in {tmp_path / 't'}."
    )
    for other in ({"name": "x"}, {"values": ("parameters",)}):
        with pytest.raises(BadInput, match="another search space"):
            low_data_architecture(score, grid, (1,), tmp_path / "t", **other)
