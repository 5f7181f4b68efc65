"""The runner of grids at its edges: what it refuses, keeps, cuts short, and counts."""

import json
import math

import numpy as np
import pandas as pd
import pytest

from smidgen.kit.errors import BadInput
from smidgen.studies.augment_peft_cells import paired
from smidgen.studies.grid import Found, Grid, run


@pytest.mark.parametrize(
    ("axes", "values", "together", "said"),
    [
        ({"a": [1], "b": []}, (), (), "axis 'b': expected at least one level, each once, got []."),
        ({"a": [1, 2, 1]}, (), (), "axis 'a': expected at least one level, each once, got [1, 2, 1]."),
        ({"a": [1], "b": [2]}, (), ("z", "b", "y"), "together: expected of a, b, got y, z."),
        ({"a": [1], "b": [2]}, ("b", "v", "a"), (),
         "values: expected other names than those of axes, and not 'error', got a, b."),
        ({"a": [1]}, ("error",), (), "values: expected other names than those of axes, and not 'error', got error."),
    ],
)  # fmt: skip
def test_grids_that_cannot_be(axes, values, together, said):
    with pytest.raises(BadInput) as caught:
        Grid(axes, values, together)
    assert str(caught.value) == said


def test_cells_and_blocks_in_their_order():
    grid = Grid({"a": [2, 1], "b": ["x", "y"], "c": [0]}, ("v",), ("a", "c"))
    assert [tuple(c.values()) for c in grid.cells()] == [(2, "x", 0), (2, "y", 0), (1, "x", 0), (1, "y", 0)]
    assert [[(c["a"], c["b"]) for c in block] for block in grid.blocks()] == [
        [(2, "x"), (1, "x")],
        [(2, "y"), (1, "y")],
    ]
    assert [len(block) for block in Grid({"a": [1, 2]}, ()).blocks()] == [1, 1]


def values(cells):
    return [{"v": 10.0 * c["a"]} for c in cells]


def test_without_time_what_is_known_is_told_all_the_same(tmp_path):
    grid = Grid({"a": [1, 2, 3]}, ("v",))
    run(Grid({"a": [3]}, ("v",)), values, tmp_path / "g")
    told = []
    made = run(grid, values, tmp_path / "g", max_seconds=0, clock=lambda: 7.0, progress=lambda *at: told.append(at))
    assert not made.finished and made.table["a"].tolist() == [3] and told == [(1, 3)]
    assert made.axes == ("a",) and list(made.table.columns) == ["a", "v", "error"]
    now = iter([0.0, 4.9, 4.9, 5.0, 5.0, 5.0])  # of one block it is asked whether it may begin, and how long it took
    some = run(grid, values, max_seconds=5, clock=lambda: next(now))
    assert some.table["a"].tolist() == [1] and not some.finished
    assert run(grid, values).finished and run(grid, values).table["v"].tolist() == [10.0, 20.0, 30.0]


def test_a_file_holds_what_was_measured_with_its_time(tmp_path):
    ticks = iter([0.0, 100.0, 200.0])
    grid = Grid({"a": [1, 2]}, ("v", "w"), ("a",))

    def measure(cells):
        cells[0]["a"] = 99  # its own copies
        return [{"v": np.inf, "w": (1, np.array([np.nan, 2]))}, {"v": np.float32(0.5), "w": [], "more": "?"}]

    made = run(grid, measure, str(tmp_path / "g"), clock=lambda: next(ticks), max_seconds=None)
    rows = [json.loads(line) for line in (tmp_path / "g").read_text().splitlines()[1:]]
    assert rows == [
        {"cell": {"a": 1}, "values": {"v": None, "w": [1.0, [None, 2.0]]}, "seconds": pytest.approx(50.0)},
        {"cell": {"a": 2}, "values": {"v": 0.5, "w": []}, "seconds": pytest.approx(50.0)},
    ]
    assert math.isnan(made.table["v"][0]) and made.table["w"].tolist() == [[1.0, [None, 2.0]], []]
    ticks = iter([0.0, 100.0, 100.12344])
    run(Grid({"a": [1]}, ("v",)), values, tmp_path / "h", clock=lambda: next(ticks))
    assert json.loads((tmp_path / "h").read_text().splitlines()[1])["seconds"] == 0.1234


@pytest.mark.parametrize(
    "row", [{"values": {}}, {"cell": [1], "values": {}}, {"cell": {"a": 1}}, {"cell": {"a": 1}, "values": 3}]
)
def test_a_damaged_line_is_named(tmp_path, row):
    grid = Grid({"a": [1]}, ("v",))
    run(grid, values, tmp_path / "g")
    with (tmp_path / "g").open("a") as file:
        file.write(json.dumps(row) + "\n")
    with pytest.raises(BadInput, match="line 3"):
        run(grid, values, tmp_path / "g")


def test_what_fails_is_kept_and_cut(tmp_path):
    grid = Grid({"a": [1, 2]}, ("v",), ("a",), lambda cell: "")

    def fails(cells):
        raise KeyError("x" * 400)

    long = run(grid, fails, tmp_path / "g").table
    assert long["error"].tolist() == [("KeyError: '" + "x" * 400)[:300]] * 2 and long["v"].isna().all()
    assert run(grid, values, tmp_path / "g").table["error"].equals(long["error"])  # a result too
    few = run(grid, lambda cells: values(cells)[:1]).table
    assert few["error"].tolist() == ["ValueError: 1 results for 2 cells"] * 2
    with pytest.raises(KeyboardInterrupt):
        run(grid, lambda cells: (_ for _ in ()).throw(KeyboardInterrupt()))


def test_what_is_left_out_is_not_measured_and_counts():
    told, seen = [], []
    grid = Grid({"a": [1, 2], "b": [1, 2]}, ("v",), ("b",), lambda c: "no" if c["a"] == 1 else "")

    def measure(cells):
        seen.append(cells)
        return values(cells)

    made = run(grid, measure, progress=lambda *at: told.append(at))
    assert seen == [[{"a": 2, "b": 1}, {"a": 2, "b": 2}]] and told == [(2, 4), (4, 4)]
    assert made.table["error"].tolist() == ["no", "no", "", ""] and made.finished


def test_gains_by_another_name_of_the_seed_and_means_by_axes():
    rng = np.random.default_rng(0)
    rows = [
        {"draw": d, "m": m, "k": k, "v": float(rng.normal())} for d in range(3) for m in ("b", "a", "c") for k in (2, 1)
    ]
    found = Found(("draw", "m", "k"), pd.DataFrame(rows[:-1]), True)  # the last of "c" is missing
    by = {(r["draw"], r["m"], r["k"]): r["v"] for r in rows[:-1]}
    made = found.gains("m", "a", "v", seed="draw", level=0.8, overlap=0.25)
    assert made[["k", "m"]].to_numpy().tolist() == [[2, "b"], [1, "b"], [2, "c"], [1, "c"]]
    for row in made.to_dict("records"):
        own = [by[d, row["m"], row["k"]] - by[d, "a", row["k"]] for d in range(3) if (d, row["m"], row["k"]) in by]
        want = paired(np.array(own), 0.25, 0.8)
        assert {k: row[k] for k in want} == pytest.approx(want) and row["seeds"] == len(own)
    with pytest.raises(BadInput) as caught:
        found.gains("k", 3, "v")
    assert str(caught.value) == "k: expected 2 or 1, got 3."
    means = found.summary(["m", "k"], "v")
    assert list(means.columns) == ["m", "k", "mean", "std", "n"] and means["m"].tolist() == [
        "b",
        "b",
        "a",
        "a",
        "c",
        "c",
    ]
    assert means["n"].tolist() == [3, 3, 3, 3, 3, 2]
