"""A grid of architectures: measured once, resumed, compared on the same seeds."""

import math

import pytest

from smidgen.kit.errors import BadInput, BudgetSpent, NotFound
from smidgen.studies.low_data_architecture import ArchitectureGrid, low_data_architecture

GRID = ArchitectureGrid(("A", "B"), ("small", "large"), (10, 100))
LUCK = {0: 3.0, 1: -5.0, 2: 0.5}


def trainer(calls):
    def score(stack, size, n, seed):
        calls.append((stack, size, n, seed))
        if stack == "B" and size == "large" and n == 10:
            raise RuntimeError("it diverged")
        gain = {"A": 1.0, "B": 0.0}[stack] + (2.0 if (size == "large") == (n == 100) else 0.0)
        return {"score": n / 10 + gain + LUCK[seed] + 0.1 * seed * (size == "large"), "parameters": 7.0}

    return score


def test_a_stopped_study_goes_on_and_ends_the_same(tmp_path):
    calls, whole = [], []
    direct = low_data_architecture(trainer(whole), GRID, (0, 1, 2), tmp_path / "a", values=("parameters",))
    part = low_data_architecture(trainer(calls), GRID, (0, 1, 2), tmp_path / "b", values=("parameters",), max_trials=5)
    assert not part.finished and len(part.table) == len(calls) == 5
    rest = low_data_architecture(trainer(calls), GRID, (0, 1, 2), tmp_path / "b", values=("parameters",))
    assert rest.finished and calls == whole and len(set(calls)) == 24
    assert rest.table.equals(direct.table) and (rest.table["parameters"].dropna() == 7).all()
    grown = ArchitectureGrid(("A", "B", "A2"), ("small", "large"), (10, 100))
    more = []
    low_data_architecture(lambda *a: more.append(a) or {"score": 1.0, "parameters": 1.0}, grown, (0,), tmp_path / "b",
                          values=("parameters",))  # fmt: skip
    assert {call[0] for call in more} == {"A2"}
    with pytest.raises(BadInput, match="another"):
        low_data_architecture(trainer([]), GRID, (0,), tmp_path / "b", name="another trainer")


def test_differences_are_paired(tmp_path):
    found = low_data_architecture(trainer([]), GRID, (0, 1, 2), tmp_path / "a")
    gap = found.difference(("A", "small", 10), ("B", "small", 10))
    assert gap.mean == pytest.approx(1.0) and gap.error == pytest.approx(0, abs=1e-9) and gap.seeds == 3
    summary = found.summary().set_index(["stack", "size", "n_per_class"])
    assert summary.loc[("A", "small", 10), "mean"] == pytest.approx(4 - 0.5) and len(summary) == 7  # luck: -0.5
    best = found.best(10)
    assert best.loc[0, ["stack", "size"]].tolist() == ["A", "small"] and best.loc[0, "behind"] == 0
    assert best.loc[1, ["stack", "size", "behind"]].tolist() == ["B", "small", pytest.approx(-1.0)]
    sizes = found.monotone("A", 10)
    assert sizes.loc[0, "gain"] == pytest.approx(-2 + 0.1) and not sizes.loc[0, "better"]
    assert found.monotone("A", 100).loc[0, "better"]
    with pytest.raises(NotFound, match="go on"):
        found.difference(("A", "small", 10), ("B", "large", 10))


def test_one_seed_says_nothing_of_better(tmp_path):
    found = low_data_architecture(trainer([]), GRID, (0,), tmp_path / "a")
    rise = found.monotone("A", 100)
    assert math.isnan(rise.loc[0, "error"]) and not rise.loc[0, "better"]


def test_errors(tmp_path):
    for axes in ((("A", "A"),), ((),), (("A",), (1.0,), (0,))):
        with pytest.raises(BadInput, match="expected"):
            ArchitectureGrid(*axes)
    with pytest.raises(BadInput, match="seeds"):
        low_data_architecture(trainer([]), GRID, (), tmp_path / "a")
    with pytest.raises(BudgetSpent, match="before any cell"):
        low_data_architecture(trainer([]), GRID, (0,), tmp_path / "b", max_trials=0)
