"""Recovery tables and text similarity."""

import math
from functools import cache

import numpy as np
import pandas as pd
import pytest

from smidgen.kit.errors import BadInput
from smidgen.studies.recovery import recovery, recovery_table, run_recovery
from smidgen.studies.text_similarity import longest_common, output_similarity, rouge_1, rouge_l


def test_recovery_is_paired_by_seed(tmp_path):
    base = {"a": [0.5, 0.8, 0.6], "b": [0.9, 0.7, 0.8]}
    keeps = {"float": [1, 1, 1], "int4": [0.9, 0.92, 0.94]}
    made = []

    def score(method, seed):
        made.append((method, seed))
        return lambda task: base[task][seed] * keeps[method][seed]

    found = run_recovery(list(keeps), list(base), [0, 1, 2], score, store=tmp_path / "r.jsonl")
    assert len(made) == 6  # a model serves all its tasks
    table = recovery_table(found.table).set_index(["method", "task"])
    row = table.loc[("int4", "a")]
    assert row["recovery"] == pytest.approx(92) and row["seeds"] == 3
    assert row["high"] - row["low"] == pytest.approx(2 * 4.302652729911275 * 2 / math.sqrt(3))
    own = np.array(base["a"]) * keeps["int4"]
    assert row["of_means"] == pytest.approx(100 * own.mean() / np.mean(base["a"])) and row["of_means"] != pytest.approx(
        92
    )
    assert row["std"] == pytest.approx(own.std(ddof=1))
    assert table.loc[("int4", "all tasks"), "recovery"] == pytest.approx(92)
    assert table.loc[("float", "b"), ["recovery", "low", "high"]].tolist() == [100, 100, 100]
    with pytest.raises(BadInput, match="at least 2"):
        run_recovery(list(keeps), list(base), [0, 0], score)


def test_losses_recover_the_other_way_round_and_zero_is_refused():
    assert recovery(2.2, 2.0, higher_is_better=False) == pytest.approx(100 / 1.1)
    assert recovery(0.51, 0.5) == 102  # noise above 100 is shown as it is
    for bad_pair in ((0.5, 0.0), (math.nan, 1.0)):
        with pytest.raises(BadInput):
            recovery(*bad_pair)
    rows = [(m, "nll", s, v) for m, v in (("float", 1.0), ("q", 1.25)) for s in (0, 1)]
    table = recovery_table(pd.DataFrame(rows, columns=["method", "task", "seed", "score"]), higher_is_better=())
    assert table.set_index("method").loc["q", "recovery"] == 80


def test_rouge_is_its_definition():
    a, b = "the cat sat on the mat", "The cat was on a mat."
    assert rouge_1(a, b) == pytest.approx(4 / 6) and rouge_l(a, b) == pytest.approx(4 / 6)
    assert rouge_1("on mat the cat", "the cat on mat") == 1 > rouge_l("on mat the cat", "the cat on mat") == 0.5
    assert rouge_1("", "") == 1 and rouge_l("", "word") == 0

    def plain(x, y):
        @cache
        def at(i, j):
            if i == len(x) or j == len(y):
                return 0
            return 1 + at(i + 1, j + 1) if x[i] == y[j] else max(at(i + 1, j), at(i, j + 1))

        return at(0, 0)

    random = np.random.default_rng(0)
    for _ in range(30):
        x, y = (tuple(map(str, random.integers(0, 4, random.integers(0, 12)))) for _ in range(2))
        assert longest_common(x, y) == plain(x, y)


def test_similarity_of_outputs():
    vectors = {"a": [1.0, 0], "b": [0.6, 0.8], "c": [-1.0, 0]}
    table = output_similarity(["a", "a", "a"], ["a", "b", "c"], lambda texts: np.array([vectors[t] for t in texts]))
    assert np.allclose(table["embed_cos"], [1, 0.6, -1]) and np.allclose(table["sts"], [5, 3, 0])
    assert table["same"].tolist() == [True, False, False] and table["rouge1"].tolist() == [1, 0, 0]
    with pytest.raises(BadInput):
        output_similarity(["a"], [])
