"""Gradual search: it climbs, widens, resumes after anything, and knows its own file."""

import json
import subprocess
import sys

import pytest

from smidgen.kit.errors import BadInput, BudgetSpent
from smidgen.studies.gradual import GradualSearch

SPACE = {"rate": [0.1, 0.2, 0.4], "depth": [1, 2, 3], "kind": ["a", "b"]}


class Bowl:
    """Best at rate 1.6, depth 2, kind b; counts its calls."""

    def __init__(self, stop_after: float = float("inf")):
        self.calls: list[tuple[dict, int]] = []
        self.stop_after = stop_after

    def __call__(self, config: dict, seed: int) -> float:
        if len(self.calls) >= self.stop_after:
            raise KeyboardInterrupt
        self.calls.append((config, seed))
        return -abs(config["rate"] - 1.6) - abs(config["depth"] - 2) + (config["kind"] == "b") + 0.01 * seed


def test_it_widens_at_an_edge_and_finds_the_best(tmp_path):
    bowl = Bowl()
    best = GradualSearch(SPACE, bowl, tmp_path / "s.jsonl").run()
    assert best.config == {"rate": 1.6, "depth": 2, "kind": "b"}
    assert best.finished and best.trials == len(bowl.calls) == 9  # 3 rates, 2 wider and 1 too wide, 2 depths, 1 kind
    assert len({json.dumps(c) for c in bowl.calls}) == len(bowl.calls)  # nothing twice


def test_minimize_limits_and_falling_order(tmp_path):
    found = GradualSearch(
        {"x": [8, 4]}, lambda c, s: c["x"], tmp_path / "a", minimize=True, limits={"x": (2, 64)}
    ).run()
    assert found.config == {"x": 2}
    found = GradualSearch({"x": [0, 5, 10]}, lambda c, s: abs(c["x"] + 9), tmp_path / "b", minimize=True).run()
    assert found.config == {"x": -10}


def test_settings_that_depend_on_each_other_are_searched_together(tmp_path):
    pairs = {("rate", "batch"): [(1, 1), (1, 8), (8, 1), (8, 8)]}
    best = GradualSearch(pairs, lambda c, s: -abs(c["rate"] - c["batch"]) + c["batch"], tmp_path / "s").run()
    assert best.config == {"rate": 8, "batch": 8}


def test_repeats_are_averaged(tmp_path):
    bowl = Bowl()
    best = GradualSearch(SPACE, bowl, tmp_path / "s", repeats=3).run()
    assert best.trials == 27
    assert best.value == pytest.approx(1 + 0.01)


@pytest.mark.parametrize("cut_at", range(9))
def test_stopped_anywhere_and_resumed_it_loses_only_the_trial_that_ran(tmp_path, cut_at):
    whole = GradualSearch(SPACE, Bowl(), tmp_path / "whole").run()
    store, first, second = tmp_path / "s", Bowl(stop_after=cut_at), Bowl()
    with pytest.raises(KeyboardInterrupt):
        GradualSearch(SPACE, first, store).run()
    with store.open("a") as file:
        file.write('{"config": {"rate": 0.')  # as a kill in the middle of a line leaves it
    assert GradualSearch(SPACE, second, store).run() == whole
    assert len(first.calls) + len(second.calls) == whole.trials
    assert all(json.loads(line) for line in store.read_text().splitlines())


def test_killed_for_real(tmp_path):
    code = (
        "import os, sys\nfrom smidgen.studies.gradual import GradualSearch\n"
        "def f(c, s):\n    if c['x'] == 3: os.kill(os.getpid(), 9)\n    return c['x']\n"
        "GradualSearch({'x': [2, 1, 3]}, f, sys.argv[1]).run()"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path / "s")], check=False).returncode == -9
    calls = []
    best = GradualSearch(
        {"x": [2, 1, 3]}, lambda c, s: calls.append(c["x"]) or c["x"], tmp_path / "s", widenings=0
    ).run()
    assert (best.config, calls) == ({"x": 3}, [3])


def test_budgets(tmp_path):
    bowl = Bowl()
    search = GradualSearch(SPACE, bowl, tmp_path / "s")
    best = search.run(max_trials=4)
    assert len(bowl.calls) == 4 and not best.finished and best.trials == 4
    ticks = iter(range(100))
    assert search.run(max_seconds=3, clock=lambda: next(ticks)).trials == 5  # each trial looks at the clock three times
    assert search.run().finished
    with pytest.raises(BudgetSpent):
        GradualSearch(SPACE, bowl, tmp_path / "none").run(max_trials=0)


def test_failures_are_trials_and_never_best(tmp_path):
    def shaky(config: dict, seed: int) -> float:
        if config["x"] == 3:
            raise RuntimeError("out of memory")
        return float("nan") if config["x"] == 2 else config["x"]

    best = GradualSearch({"x": [1, 2, 3]}, shaky, tmp_path / "s", widenings=0).run()
    assert best.config == {"x": 1}
    assert "out of memory" in (tmp_path / "s").read_text()
    with pytest.raises(BudgetSpent):
        GradualSearch({"x": [3]}, shaky, tmp_path / "t").run()


def test_a_store_knows_its_space(tmp_path):
    GradualSearch(SPACE, Bowl(), tmp_path / "s").run()
    with pytest.raises(BadInput, match="another search space"):
        GradualSearch({**SPACE, "depth": [1, 2]}, Bowl(), tmp_path / "s").run()
    lines = (tmp_path / "s").read_text().splitlines()
    (tmp_path / "s").write_text("\n".join([lines[0], "{broken", *lines[1:]]) + "\n")
    with pytest.raises(BadInput, match="line 2"):
        GradualSearch(SPACE, Bowl(), tmp_path / "s").run()
    with pytest.raises(BadInput, match="space"):
        GradualSearch({"x": []}, Bowl(), tmp_path / "t")


def test_two_searches_do_not_share_a_store(tmp_path):
    pytest.importorskip("fcntl")

    def inner(config: dict, seed: int) -> float:
        with pytest.raises(BadInput, match="in use"):
            GradualSearch(SPACE, Bowl(), tmp_path / "s").run()
        return 1.0

    assert GradualSearch({"x": [1]}, inner, tmp_path / "s").run().finished
