"""The grid runner: every cell once, also after a stop; gains are paired."""

import json
import math

import numpy as np
import pytest

from smidgen.kit.errors import BadInput
from smidgen.studies.grid import Grid, run

AXES = {"method": ["plain", "clever"], "bits": [2, 4], "seed": [0, 1, 2]}
GRID = Grid(AXES, ("loss", "parts"), together=("seed",))


def loss(cell):
    return cell["seed"] ** 2 + {"plain": 1.0, "clever": 0.25}[cell["method"]] * (1 + 0.1 * cell["seed"]) / cell["bits"]


def test_a_stopped_study_goes_on_and_measures_nothing_twice(tmp_path):
    seen = []

    def measure(cells):
        seen.append([c["seed"] for c in cells])
        return [{"loss": loss(c), "parts": np.arange(c["bits"]) / 3} for c in cells]

    ticks = iter(range(100))
    store = tmp_path / "cells.jsonl"
    first = run(GRID, measure, store, space="a", max_seconds=4, clock=lambda: next(ticks))
    assert not first.finished and 0 < len(first.table) < 12 and seen[0] == [0, 1, 2]
    with store.open("a") as file:
        file.write('{"cell": {"method"')  # what a kill leaves
    told = []
    whole = run(GRID, measure, store, space="a", progress=lambda *x: told.append(x))
    assert whole.finished and len(seen) == 4 and told[-1] == (12, 12)
    again = run(GRID, lambda cells: pytest.fail("measured twice"), store, space="a").table
    assert again.equals(whole.table) and again["parts"].iloc[-1] == [0, 1 / 3, 2 / 3, 1]
    wider = Grid({**AXES, "seed": [0, 1, 2, 3]}, ("loss", "parts"), together=("seed",))
    assert run(wider, measure, store, space="a").finished and seen[-1] == [3]  # only what is new
    with pytest.raises(BadInput, match="another study"):
        run(GRID, measure, store, space="b")


def test_a_cell_that_fails_is_a_result_and_skipped_ones_say_why(tmp_path):
    grid = Grid({"method": ["a", "b"], "bits": [2, 4]}, ("loss",), skip=lambda c: "too few" if c["bits"] == 2 else "")

    def measure(cells):
        if cells[0]["method"] == "a":
            raise RuntimeError("no memory")
        return [{"loss": math.nan} for _ in cells]

    table = run(grid, measure, tmp_path / "x.jsonl").table
    assert table["error"].tolist() == ["too few", "RuntimeError: no memory", "too few", ""]
    assert table["loss"].isna().all()
    assert len(json.loads((tmp_path / "x.jsonl").read_text().splitlines()[1])) == 3


def test_gains_are_paired_by_seed():
    found = run(GRID, lambda cells: [{"loss": loss(c), "parts": []} for c in cells])
    gains = found.gains("method", "plain", "loss").set_index("bits")
    for bits in (2, 4):
        own = [0.75 * (1 + 0.1 * s) / bits for s in range(3)]  # what seeds have in common, s^2, falls out
        assert gains.loc[bits, "gain"] == pytest.approx(-np.mean(own))
        half = 4.302652729911275 * np.std(own, ddof=1) / math.sqrt(3)
        assert gains.loc[bits, "high"] - gains.loc[bits, "gain"] == pytest.approx(half)
    assert found.summary(["method"], "loss")["n"].tolist() == [6, 6]
    for wrong in ({"values": ("bits",)}, {"values": ("x",), "together": ("colour",)}):
        with pytest.raises(BadInput):
            Grid(AXES, **wrong)
    with pytest.raises(BadInput, match="plain or clever"):
        found.gains("method", "none", "loss")
