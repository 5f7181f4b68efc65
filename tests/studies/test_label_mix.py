"""Cells are measured once, the store is gone on with, and regimes, front and prices say what the scores do."""

import json
from dataclasses import dataclass, field

import numpy as np
import pytest

from smidgen.data.label_sources import given_labels
from smidgen.kit.errors import BadInput, BudgetSpent
from smidgen.learn.weak_to_strong import SequentialSFT, Stage
from smidgen.studies.label_mix import MixDraw, MixGrid, QuantityQualityStudy

GRID = MixGrid((8, 32, 512), (0.05, 0.5))


@dataclass
class Toy:
    """A model is what it was trained on."""

    calls: list = field(default_factory=list)

    def fit(self, x, sources, counts, *, seed):
        self.calls.append((counts["weak"], counts["oracle"], seed))
        self.bought = counts["weak"], counts["oracle"], seed
        return self

    def predict_proba(self, x):
        raise AssertionError


def score(model, draw):
    """At 8 weak labels win, at 32 both together, at 512 the oracle's."""
    weak, oracle, seed = model.bought
    both = 0.3 if weak and oracle else 0.0
    return {"score": min(weak, 160) / 200 + min(oracle, 512) / 160 + both * (10 <= oracle < 100) + 0.01 * seed}


def study(recipe, grid=GRID, seeds=(0, 1, 2), **settings):
    settings = {"evaluate": score, "values": ()} | settings
    labels = np.zeros(6000)
    draw = MixDraw(
        np.zeros((6000, 1)), given_labels("weak", 0.1, labels), given_labels("oracle", 1, labels), None, labels
    )
    return QuantityQualityStudy(lambda seed: draw, lambda: recipe, grid, seeds, **settings)


@pytest.fixture
def measured(tmp_path):
    toy = Toy()
    return toy, study(toy).run(tmp_path / "cells.jsonl")


def test_budgets_become_labels():
    got = [(c.total, c.share, c.first, c.second) for c in MixGrid((8,), (0.05, 0.2, 0.4)).cells(100)]
    assert got == [(8, 0.0, 0, 80), (8, 0.05, 0, 80), (8, 0.2, 1, 70), (8, 0.4, 3, 50), (8, 1.0, 8, 0)]
    with pytest.raises(BadInput, match="0 oracle and 80 weak labels, but the pool has 79 rows"):
        MixGrid((8,), ()).cells(79)
    capped = MixGrid((8,), (0.4,), beyond="take all").cells(20)
    assert [(c.first, c.second) for c in capped] == [(0, 20), (3, 17), (8, 0)]
    with pytest.raises(BadInput, match="the pool has 7 rows"):
        MixGrid((8,), (), beyond="take all").cells(7)
    for wrong in ({"budgets": (0.9,)}, {"oracle_shares": (1.2,)}, {"weak_cost": 0.0}, {"beyond": "?"}):
        with pytest.raises(BadInput):
            MixGrid(**wrong)


def test_equal_purchases_are_measured_once_and_regimes_are_told(measured):
    toy, result = measured
    assert len(toy.calls) == len(set(toy.calls)) == 3 * 11  # 3 budgets of 4 shares; at 8 two buy the same
    assert len(result.table) == 3 * 12 and result.finished
    assert result.scores(8).columns.tolist() == [0.0, 0.5, 1.0]
    assert result.regimes()[["total", "share", "regime", "seeds"]].to_numpy().tolist() == [
        [8, 0.0, "quantity", 3], [32, 0.5, "mixed", 3], [512, 1.0, "quality", 3],
    ]  # fmt: skip
    assert set(result.regimes(margin=10.0)["regime"]) == {"not told apart"}
    assert (result.table["cost"] <= result.table["total"] + 1e-9).all()


def test_the_front_is_what_nobody_beats(measured):
    _, result = measured
    front = result.front(draws=50)
    assert len(front) == 11
    for row in front.to_dict("records"):
        better = (front["cost"] <= row["cost"]) & (front["score"] > row["score"])
        cheaper = (front["cost"] < row["cost"]) & (front["score"] >= row["score"])
        assert row["on_front"] != (better | cheaper).any()
        assert row["chance"] == pytest.approx(float(row["on_front"]))  # seeds differ by a constant
        assert row["low"] <= row["score"] <= row["high"]


def test_the_front_doubts_what_seeds_doubt(tmp_path):
    def shaky(model, draw):
        weak, oracle, seed = model.bought
        return {"score": 1.0 if weak and not oracle else (2.0 if seed else 0.0)}

    front = study(Toy(), MixGrid((8,), ()), (0, 1), evaluate=shaky).run(tmp_path / "c").front(draws=2000)
    assert front["chance"].tolist() == pytest.approx([0.75, 0.25], abs=0.05)  # equal cost; means of 0, 1, 1 and 2


def test_another_price_needs_no_run(measured):
    toy, result = measured
    runs = len(toy.calls)
    cheap, dear = result.price_sweep([0.01, 1.0], [32]).to_dict("records")
    assert len(toy.calls) == runs
    table = result.table.drop_duplicates(["n_weak", "n_oracle", "seed"])
    mean = table.groupby(["n_weak", "n_oracle"])["score"].mean()
    for row, price in ((cheap, 0.01), (dear, 1.0)):
        can = {k: v for k, v in mean.items() if k[1] + price * k[0] <= 32 + 1e-9}
        assert (row["n_weak"], row["n_oracle"]) == max(can, key=can.get)
        assert row["cost"] == pytest.approx(row["n_oracle"] + price * row["n_weak"])
    assert cheap["regime"] == "mixed" and dear["regime"] == "quality" and dear["share"] == 1.0
    with pytest.raises(BadInput, match="weak_cost"):
        result.price_sweep([0.0])


def test_a_stopped_study_goes_on(tmp_path):
    toy, store = Toy(), tmp_path / "cells.jsonl"
    first = study(toy).run(store, max_trials=5)
    assert not first.finished and len(toy.calls) == 5
    whole = study(toy).run(store)
    assert whole.finished and len(toy.calls) == len(set(toy.calls)) == 33
    assert whole.table.equals(study(Toy()).run(tmp_path / "other").table)
    assert len(store.read_text().splitlines()) == 1 + 33 and json.loads(store.read_text().splitlines()[1])["seed"] == 0
    with pytest.raises(BadInput, match="another search space"):
        study(toy, name="other").run(store)


def test_nothing_is_trained_for_a_pool_that_is_too_small(tmp_path):
    toy = Toy()
    with pytest.raises(BadInput, match="the pool has 6,000 rows"):
        study(toy, MixGrid((8, 1024), ())).run(tmp_path / "c")
    assert not toy.calls

    def broken(model, draw):
        raise RuntimeError("no")

    with pytest.raises(BudgetSpent):
        study(toy, evaluate=broken).run(tmp_path / "d")


def test_real_training_prefers_the_oracle_to_a_liar(tmp_path):
    rng = np.random.default_rng(0)
    gold = np.arange(400) % 2.0
    x = rng.normal(size=(400, 4)) + np.outer(2 * gold - 1, [1, 1, 0, 0])
    sources = given_labels("weak", 0.1, 1 - gold), given_labels("oracle", 1.0, gold)
    draw = MixDraw(x[:300], *sources, x[300:], gold[300:])
    stages = (Stage("weak", presentations=500), Stage("oracle", presentations=500))
    study = QuantityQualityStudy(lambda seed: draw, lambda: SequentialSFT(stages), MixGrid((24,), (0.5,)), (0, 1))
    table = study.run(tmp_path / "c").table.groupby("share")[["score", "accuracy"]].mean()
    assert table["score"][1.0] > 0.9 > 0.1 > table["score"][0.0]
    assert table["score"][0.0] < table["score"][0.5] < table["score"][1.0]
    assert table["accuracy"][1.0] > 0.8


@pytest.mark.parametrize("kind", [list, lambda x: np.array(x, object)])
def test_texts_are_known_again_by_what_they_say(tmp_path, kind):
    def run(word):
        toy, labels = Toy(), np.zeros(60)
        texts = kind(["".join(["text ", word, str(i)]) for i in range(60)])  # new objects in each run
        sources = (given_labels("weak", 0.1, labels), given_labels("oracle", 1, labels))
        draw = MixDraw(texts, *sources, None, labels)
        made = QuantityQualityStudy(lambda s: draw, lambda: toy, MixGrid((8,), (), beyond="take all"), (0,),
                                    evaluate=score, values=())  # fmt: skip
        made.run(tmp_path / "cells")
        return len(toy.calls)

    assert [run("a"), run("a"), run("b")] == [2, 0, 2]


def test_other_rows_are_measured_anew_and_pools_may_differ_in_size(tmp_path):
    def drawn(rows, value):
        labels = np.zeros(rows)
        sources = (given_labels("weak", 0.1, labels), given_labels("oracle", 1, labels))
        return MixDraw(np.full((rows, 1), value), *sources, None, labels)

    def run(value):
        toy = Toy()
        draws = {0: drawn(60, value), 1: drawn(61, value)}
        grid = MixGrid((8, 32), (0.5,), beyond="take all")
        made = QuantityQualityStudy(draws.__getitem__, lambda: toy, grid, (0, 1), evaluate=score, values=())
        return made.run(tmp_path / "cells"), toy.calls

    got, calls = run(0.0)
    front = got.front()
    assert len(front) == 5 and set(front["n_weak"]) >= {60.5} and len(got.price_sweep([0.1])) == 2
    assert run(0.0)[1] == [] and sorted(run(1.0)[1]) == sorted(calls)
