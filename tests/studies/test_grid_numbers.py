"""Grids of cells and their statistics by hand: gains, what lower precision loses, shortened texts, altered texts."""

import json
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from smidgen.data.augment.texts import AugmentedTexts
from smidgen.kit.errors import BadInput
from smidgen.studies import augment_peft_measures as altered
from smidgen.studies import format_table, precision_map
from smidgen.studies.grid import Found, Grid, run
from smidgen.studies.precision_members import Ensemble, run_ensemble
from smidgen.studies.precision_noise import Noise, pooled
from smidgen.studies.precision_test import _limits, _rows, precision_stress_test
from smidgen.studies.shortening import Draw, ShorteningResult, ShorteningStudy, measure
from smidgen.studies.split_rule import AnnotationPrices, decision_rule
from smidgen.studies.strategies import StrategyResult, fit_crossover, softmax_sgd
from smidgen.studies.wasserstein import gridpoint_wasserstein


def test_gains_of_a_grid_are_paired_by_all_other_axes():
    rng = np.random.default_rng(0)
    rows = [
        {"a": a, "b": b, "seed": s, "v": float(rng.normal())} for a in ("x", "y", "z") for b in (1, 2) for s in range(4)
    ]
    found = Found(("a", "b", "seed"), pd.DataFrame(rows).sample(frac=1, random_state=1), True)
    table = found.table.set_index(["a", "b", "seed"])["v"].sort_index()
    gains = found.gains("a", "x", "v").set_index(["b", "a"])
    assert len(gains) == 4
    for (b, a), row in gains.iterrows():
        own = stats.ttest_rel(table[a, b], table["x", b])
        assert row["p"] == pytest.approx(own.pvalue) and row["seeds"] == 4
        assert [row["low"], row["high"]] == pytest.approx(list(own.confidence_interval()))
    wide = found.gains("a", "x", "v", level=0.8, overlap=0.5).set_index(["b", "a"])
    assert (wide["p"] > gains["p"]).all()
    with pytest.raises(BadInput, match="a: expected"):
        found.gains("a", "w", "v")
    means = found.summary(["b"], "v").set_index("b")
    for b in (1, 2):
        own = found.table.loc[found.table["b"] == b, "v"]
        assert means.loc[b].tolist() == pytest.approx([own.mean(), own.std(), 12])


def test_a_grid_skips_stops_and_goes_on(tmp_path):
    ticks, calls, told = [0.0], [], []
    grid = Grid(
        {"a": ["x", "y"], "b": [1, 2, 3]}, ("v", "w"), ("b",), lambda c: "odd" if c == {"a": "x", "b": 2} else ""
    )

    def values(cells):
        calls.append(cells)
        ticks[0] += 4.0
        return [{"v": c["b"], "w": [math.nan, c["b"] * 2.0]} for c in cells]

    def go(**more):
        return run(grid, values, tmp_path / "g", clock=lambda: ticks[0], progress=lambda *at: told.append(at), **more)

    first = go(max_seconds=2.0)
    assert not first.finished and len(first.table) == 3 and len(calls) == 1 and told == [(3, 6)]
    assert first.table["error"].tolist() == ["", "odd", ""] and math.isnan(first.table["v"].iloc[1])
    assert [c["b"] for c in calls[0]] == [1, 3] and first.table["w"].iloc[0] == [None, 2.0]
    lines = [json.loads(line) for line in (tmp_path / "g").read_text().splitlines()[1:]]
    assert [(r["cell"]["b"], r["seconds"]) for r in lines] == [(1, 2.0), (3, 2.0)]
    whole = go()
    assert whole.finished and len(whole.table) == 6 and len(calls) == 2 and told[1:] == [(3, 6), (6, 6)]
    at_once = run(grid, values, max_seconds=0.0, clock=lambda: ticks[0])
    assert not at_once.finished and at_once.table["error"].tolist() == ["odd"]
    wrong = run(grid, lambda cells: [{"v": 1, "w": 2}], tmp_path / "h")
    assert wrong.table["error"].str.startswith("ValueError: 1 results for").sum() == 2 or len(wrong.table) == 6
    for axes, more in (
        ({"a": []}, {}),
        ({"a": [1, 1]}, {}),
        ({"a": [1]}, {"together": ("b",)}),
        ({"v": [1]}, {}),
        ({"error": [1]}, {}),
    ):
        with pytest.raises(BadInput):
            Grid(axes, ("v",) if "error" not in axes else ("error",), **more)


# -- lower precision --


def test_what_is_lost_is_paired_with_float32():
    rows = []
    for seed, (base, low, broken) in enumerate(((0.9, 0.8, 0.7), (0.8, 0.75, math.nan), (0.7, 0.5, math.nan))):
        for part, score in (("none", base), ("weights", low), ("gradients", broken)):
            cell = dict(zip(precision_map.COLUMNS, (part, "integer", 4, "int4/64", "nearest"), strict=True))
            rows.append({**cell, "seed": seed, "score": score})
    lost = precision_map.PrecisionMap(pd.DataFrame(rows), True).lost().set_index("part")
    gaps = np.array([0.1, 0.05, 0.2])
    assert lost.loc["weights", ["lost", "error", "seeds", "broken"]].tolist() == pytest.approx(
        [gaps.mean(), gaps.std(ddof=1) / 3**0.5, 3, 0]
    )
    assert lost.loc["gradients", ["lost", "seeds", "broken"]].tolist() == pytest.approx([0.2, 1, 2])
    assert math.isnan(lost.loc["gradients", "error"])


def test_values_beside_the_score_are_kept_in_their_order(tmp_path):
    grid = precision_map.PrecisionGrid({("integer", 4): "int4/64"}, ("weights",), together=False)
    made = precision_map.precision_map(
        lambda policy, seed: {"score": 1.0, "a": seed, "z": 3.0},
        grid,
        (5, 5),
        tmp_path / "m",
        values=("z", "score", "a"),
    )
    assert list(made.table.columns) == [*precision_map.COLUMNS, "seed", "score", "z", "a"] and len(made.table) == 2
    assert made.table["a"].tolist() == [5.0, 5.0] and made.finished


def test_cells_of_the_grid_are_those_that_can_be():
    assert sorted({bits for _, bits in precision_map.FORMATS}) == [1, 2, 4, 8, 16] and len(precision_map.FORMATS) == 12
    cells = precision_map.PrecisionGrid().cells
    sendable = [n for n in precision_map.FORMATS.values() if precision_map._can_be_sent(n)]
    assert 0 < len(sendable) < 12 and "fixed4.12" not in sendable and "bfloat16" in sendable
    assert len(cells) == 1 + 12 * (2 + 3 * 2) + len(sendable)  # rounding by chance says nothing going forward
    some = precision_map.PrecisionGrid({("x", 4): "int4/64"}, ("weights", "gradients"), ("stochastic",), together=False)
    assert [c["part"] for c in some.cells] == ["none", "weights", "gradients"]
    assert {c["rounding"] for c in some.cells[1:]} == {"stochastic"}
    with pytest.raises(BadInput):
        precision_map.PrecisionGrid({}, ("weights",))
    with pytest.raises(BadInput):
        precision_map.PrecisionGrid(roundings=())
    sent = precision_map.policy_of({"part": "communication", "format": "int8/64", "rounding": "nearest"})
    assert sent.comm == "int8/64" and sent.lowered == ("comm",) or sent.comm == "int8/64"
    grads = precision_map.policy_of({"part": "gradients", "format": "int8/64", "rounding": "stochastic"})
    assert (grads.act_grads, grads.weight_grads, grads.rounding) == ("int8/64", "int8/64", "stochastic")
    acts = precision_map.policy_of({"part": "activations", "format": "e4m3fn/tensor", "rounding": "nearest"})
    assert acts.activations == "e4m3fn/tensor" and acts.weights == "float32"


def test_parts_of_tensors_are_whole_rows():
    x = torch.arange(12.0).reshape(3, 2, 2)
    assert format_table._some(x, 0).shape == (3, 4) and format_table._some(torch.arange(5.0), 0).shape == (1, 5)
    large = torch.arange(300_000.0).reshape(300, 1000)
    some = format_table._some(large, 0)
    assert some.shape == (100, 1000) and torch.equal(some[:, 1:] - some[:, :-1], torch.ones(100, 999))
    assert len(set(some[:, 0].tolist())) == 100 and not torch.equal(some, format_table._some(large, 1))
    assert format_table._some(torch.ones(4, 200_000), 0).shape == (1, 200_000)
    exact = format_table.effect(torch.tensor([[1.0, 0.0, -2.0]]), "float16")
    assert exact == {"bits": 16.0, "sqnr": math.inf, "zeroed": 0.0, "shrink": 0.0}
    assert format_table.effect(torch.zeros(1, 4), "float16")["sqnr"] == math.inf
    over = format_table.effect(torch.tensor([[1e6, 1.0]]), "float16")
    assert over["bits"] == 16 and math.isnan(over["sqnr"])


def test_verdicts_by_variable_are_of_their_points():
    rng = np.random.default_rng(0)
    base = Noise(rng.random((3, 4)), rng.random((50, 4)))
    names = {"all": slice(None), "u": slice(0, 2)}
    changed = rng.random(4) + 5
    for name, limit in _limits(names, base, changed, 0.9, 2.5).items():
        at = base.pairs[:, names[name]]
        low, high = np.quantile(base.drawn[:, names[name]].mean(1), [0.05, 0.95])
        assert limit == pytest.approx({
            "noise_mean": at.mean(), "noise_q90": np.mean([np.quantile(r, 0.9) for r in at]),
            "noise_q95": np.mean([np.quantile(r, 0.95) for r in at]), "noise_low": low, "noise_high": high,
            "noise_max": max(r.mean() for r in at), "minor_to": changed[names[name]].mean(),
        })  # fmt: skip
    plain = _limits(names, base, None, 0.9, 2.5)["u"]
    assert plain["minor_to"] == pytest.approx(2.5 * plain["noise_high"])
    assert _limits(names, base, changed * 0, 0.9, 2.5)["u"]["minor_to"] == plain["noise_high"]  # never below noise
    low = Ensemble(
        np.stack([[[1.0, 1.0, 2.0]], [[3.0, 3.0, np.nan]]]), SimpleNamespace(operations=9, stagnated=3, additions=4)
    )  # type: ignore[arg-type]
    assert low.unstable == 1 and low.distinct == 2 / 3
    distance = np.array([1.0, 2.0, 3.0, 6.0])
    limits = {"all": {"noise_high": 1.0, "minor_to": 3.0}, "u": {"noise_high": 1.5, "minor_to": 9.0}}
    first, second = _rows(7, "nearest", low, distance, names, limits)
    assert (first["W_mean"], first["verdict"], second["W_mean"], second["verdict"]) == (3.0, "minor", 1.5, "negligible")
    assert first["W_q90"] == pytest.approx(np.quantile(distance, 0.9)) and first["W_q95"] == pytest.approx(
        np.quantile(distance, 0.95)
    )
    assert (first["operations"], first["stagnated"], first["unstable"], first["sbits"]) == (9, 0.75, 1, 7)


def steps(arithmetic, seeds):
    x = arithmetic.array(np.array([[np.random.default_rng(s).normal() for s in seeds] for _ in range(2)]))
    out = []
    for _ in range(4):
        x = x * 0.9 + 0.1
        out.append(np.asarray(x))
    return np.stack(out)


def test_a_distance_is_the_mean_to_all_references():
    from smidgen.kit.seeds import derive_seed

    table = precision_stress_test(steps, (6,), ("nearest",), 6, 8, references=2, draws=20, seed=3)
    low = run_ensemble(steps, [derive_seed(3, "low", i) for i in range(6)], 6, "nearest")
    known = [run_ensemble(steps, [derive_seed(3, f"reference {k}", i) for i in range(8)]) for k in range(2)]
    each = [gridpoint_wasserstein(pooled(low.trajectory), pooled(k.trajectory)) for k in known]
    assert table.loc[0, "W_mean"] == pytest.approx(np.mean(each)) and len(table) == 1
    assert pooled(np.arange(12.0).reshape(2, 3, 2)).tolist() == [[0, 2, 4], [1, 3, 5], [6, 8, 10], [7, 9, 11]]
    with pytest.raises(BadInput, match="at least 5"):
        precision_stress_test(steps, (6,), n_members=6, reference_members=4)


# -- texts --


class Model:
    """Says the first letter; keeps what it was given."""

    classes_ = np.array(["a", "b"])

    def fit(self, texts, labels):
        self.texts, self.labels = list(texts), list(labels)
        return self

    def predict(self, texts):
        return np.array([t[0] for t in texts])

    def predict_proba(self, texts):
        return np.array([[0.9, 0.1] if t.startswith("a") else [0.4, 0.6] for t in texts])


def test_cells_of_shortened_texts_are_measured_as_they_are_given():
    train = (["a one two three four", "b five six"], ["a", "b"])
    test = (["a x y z", "b b b", "a u"], ["a", "b", "b"])
    model = Model()
    got = measure({}, 4, Draw(train, test), model, special_tokens=1)
    assert model.texts == ["a one two", "b five six"] and model.labels == ["a", "b"]
    assert got["test"] == pytest.approx(2 / 3) and math.isnan(got["validation"]) and got["processor_seconds"] >= 0
    assert got["tokens"] == (4 + 4 + 4 + 4 + 3) / 5
    split = Model()
    many = measure({"windows": True}, 4, Draw(train, test, test), split, special_tokens=1)
    assert len(split.texts) == len(split.labels) > 2 and split.labels[0] == "a" and split.labels[-1] == "b"
    assert many["test"] == many["validation"] and many["tokens"] > got["tokens"] and many["kept"] == 1.0
    texts = (["a a b b", "b b b b"], ["b", "b"])  # windows of two: 0.9 and 0.4 for the first class, 0.65 on the mean
    assert measure({"windows": True}, 2, Draw(texts, texts), Model(), special_tokens=0)["test"] == 0.5


def test_the_table_of_shortened_texts():
    row = {"hack": "h", "length": 16, "seeds": 2, "validation": 0.5, "test": 0.756, "processor_seconds": 1.234,
           "tokens": 15.6, "kept": 0.5, "gain": -0.0123, "gain_error": math.nan}  # fmt: skip
    lines = ShorteningResult([{**row, "hack": "raw"}, row], "h", 4, True).table().splitlines()
    assert lines[2] == "| raw | 16 | 50.0 | 75.6 |  | 1.23 | 16 | 50% |"
    assert lines[3] == "| **h** | 16 | 50.0 | 75.6 | -1.2 ± - | 1.23 | 16 | 50% |"
    study = ShorteningStudy({"h": {"remove_stopwords": True}}, [16], lambda n, s: None, [0])
    cells = {
        ("raw", 16): {0: {"test": 0.5}, 1: {"test": 0.7}, 2: {"test": 0.1}},
        ("h", 16): {0: {"test": 0.8}, 1: {"test": 0.9}},
    }
    for own in cells.values():
        for values in own.values():
            values |= dict.fromkeys(("validation", "processor_seconds", "tokens", "kept"), 1.0)
    made = study._row(("h", 16), cells)
    assert made["gain"] == pytest.approx(0.25) and made["gain_error"] == pytest.approx(0.05) and made["seeds"] == 2
    cells["h", 16].pop(1)
    assert math.isnan(study._row(("h", 16), cells)["gain_error"]) and study._place(("h", 16)) == (-16, 1)


def test_altered_texts_are_scored_by_how_much_was_altered(monkeypatch):
    classifier: Any = SimpleNamespace(
        classes_=np.array(["b", "d"]),
        embed=lambda texts: np.array([[float(len(t)), 1.0] for t in texts]),
        scores=lambda z: np.array([[0.7, 0.3] if z0 % 2 else [0.2, 0.8] for z0, _ in z]),
    )
    task = SimpleNamespace(test_y=["b", "d", "c", "z"], test_texts=["x", "xx", "xxx", "xxxx"])
    plain = altered.measure(classifier, task, [], 0)
    assert plain["score"] == 0.5
    assert plain["log_loss"] == pytest.approx(-np.mean(np.log([0.7, 0.8, 1e-7, 1e-7])))  # two classes are not known
    assert all(math.isnan(plain[name]) for name in altered.OF_COPIES)

    def augment(texts, y, probe, seed):
        parent = np.array([0, 1, 2, 3, 0, 1])
        shares = np.array([0, 0, 0, 0, 0.05, probe])
        return AugmentedTexts([*texts, "xxxxx", "xxxxxx"], np.asarray(y)[parent], parent, shares, 4)

    monkeypatch.setattr(altered, "augment", augment)
    got = altered.measure(classifier, task, [0.3, 0.9], 0)  # type: ignore[list-item]
    assert got["score"] == 0.5 and [p.alpha_rs for p in altered.default_probes()] == [0.1, 0.3, 0.5]
    shown = [v for k, v in got.items() if k.startswith("accuracy") and not math.isnan(v)]
    assert shown == [1.0, 1.0, 1.0] and 0 < got["copy_cos"] <= 1


# -- money and strategies --


def test_rules_of_the_split_in_numbers():
    for total, task, prices, share in (
        (1000, "style", (1, 1), 1.0), (1001, "style", (1, 1), 1000 / 1001), (4000, "style", (1, 1), 0.25),
        (40_000, "reasoning", (1, 1), 0.1), (40_000, "style", (1, 1), 0.025), (10_000, "reasoning", (1, 1), 0.1),
        (8000, "style", (2, 1), 0.25 / (0.25 + 0.75 * 2)), (2000, "style", (0.5, 1), 0.25 / (0.25 + 0.75 / 2)),
        (2000, "style", (2, 1), 1.0),
    ):  # fmt: skip
        advice = decision_rule(total, task, AnnotationPrices(*prices))
        assert advice.share == pytest.approx(share)
        assert (
            advice.n_sft == int(total * share / prices[0] + 1e-9)
            and advice.n_sft * prices[0] + advice.n_pref * prices[1] <= total
        )
    assert decision_rule(10, "style").evidence == "abstract" and decision_rule(4000, "style").evidence == "interpolated"
    for wrong in ((0, "style"), (math.inf, "style"), (10, "odd")):
        with pytest.raises(BadInput):
            decision_rule(*wrong)
    for price in (0.0, math.inf, -1.0):
        with pytest.raises(BadInput):
            AnnotationPrices(1.0, price)


def test_strategies_in_a_table_and_where_they_cross():
    scores = {("few", 1): 0.5, ("few", 4.5): 0.6, ("many", 1): 0.4, ("many", 4.5): 0.8}
    rows = [
        {"strategy": s, "n_seed": n, "ratio": r, "seed": d, "score": v + 0.01 * d}
        for n in (10, 5)
        for (s, r), v in scores.items()
        for d in (0, 1)
    ]
    rows = [r for r in rows if not (r["strategy"] == "few" and r["n_seed"] == 5 and r["ratio"] == 1)]
    lines = StrategyResult(rows, True).table().splitlines()
    assert lines[:2] == ["| seeds | strategy | 1 calls a seed | 4.5 calls a seed |", "| ---: | --- | ---: | ---: |"]
    few, many = "| {} | few | {} | 60.5 |", "| {} | many | 40.5 | 80.5 |"
    assert lines[2:] == [few.format(5, "-"), many.format(5), few.format(10, "50.5"), many.format(10)]
    ten = [r for r in rows if r["n_seed"] == 10]
    (crossing,) = fit_crossover(ten).values()
    assert 1 < crossing[10][0] < 4.5
    with pytest.raises(BadInput, match="one with all ratios"):
        fit_crossover(rows)
    with pytest.raises(BadInput, match="at least two"):
        fit_crossover([r for r in ten if r["strategy"] == "few"])


def test_softmax_regression_takes_its_steps_one_by_one():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(5, 2)).astype(np.float32), np.eye(3, dtype=np.float32)[[0, 1, 2, 0, 1]]
    w, b = softmax_sgd(x, y, updates=7, batch=2, rate=0.5, seed=3)
    chance = np.random.default_rng(3)
    order = np.concatenate([chance.permutation(5) for _ in range(3)])[:14]
    own_w, own_b = np.zeros((2, 3)), np.zeros(3)
    for step in range(7):
        rows = order[2 * step : 2 * step + 2]
        s = x[rows] @ own_w + own_b
        p = np.exp(s) / np.exp(s).sum(1, keepdims=True)
        rate = 0.5 * (1 - step / 7)
        own_w -= rate * x[rows].T @ (p - y[rows]) / 2
        own_b -= rate * (p - y[rows]).mean(0)
    assert w == pytest.approx(own_w, abs=1e-5) and b == pytest.approx(own_b, abs=1e-5)
