"""Searches and their files, bits of language models, luck of a search: numbers by hand."""

import json
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from smidgen.kit.errors import BadInput, BudgetSpent
from smidgen.laws import qid
from smidgen.studies import language_bits as bits
from smidgen.studies.gradual import GradualSearch
from smidgen.studies.language_bits import is_language_model, plan_bits
from smidgen.studies.prices import offers_of
from smidgen.studies.search_luck import Search
from smidgen.studies.trialfile import Spent, TrialFile, content

# -- a search of one setting after the other --


def searched(space, value, place, **how):
    calls: list[dict] = []

    def evaluate(config, seed):
        calls.append(dict(config))
        return value(config)

    return GradualSearch(space, evaluate, place, **how).run(), calls


def test_it_begins_in_the_middle_and_widens_at_most_three_times(tmp_path):
    best, calls = searched({"x": [1, 2, 3, 4]}, lambda c: c["x"], tmp_path / "a")
    assert [c["x"] for c in calls] == [2, 1, 3, 4, 5, 6, 7] and best.config == {"x": 7}
    best, calls = searched({"x": [1, 2, 3, 4]}, lambda c: c["x"], tmp_path / "b", widenings=1, start={"x": 4})
    assert [c["x"] for c in calls] == [4, 1, 2, 3, 5]
    best, calls = searched({"x": [3]}, lambda c: c["x"], tmp_path / "c")
    assert calls == [{"x": 3}] and best.trials == 1 and best.finished
    best, calls = searched({"x": [True, False], "y": ["a", "b"]}, lambda c: c["x"] + (c["y"] == "b"), tmp_path / "d")
    assert best.config == {"x": True, "y": "b"} and len(calls) == 3  # these have no beyond


@pytest.mark.parametrize(
    ("values", "minimize", "tried"),
    [
        ([1.0, 2.0, 4.0], False, [8.0, 16.0, 32.0]), ([4.0, 2.0, 1.0], True, [0.5, 0.25, 0.125]),
        ([1.0, 1.5, 2.0], False, [2.5, 3.0, 3.5]), ([0.0, 1.0, 2.0], True, [-1.0, -2.0, -4.0]),
        ([1, 2, 3], True, [0, -1, -2]), ([8, 4, 2], True, [1]), ([-1.0, -2.0], True, [-4.0, -8.0, -16.0]),
        ([1.0, 1.9], False, [3.61, 6.859, 13.0321]), ([1.0, 1.89], False, [2.78, 3.67, 4.56]),
    ],
)  # fmt: skip
def test_what_grows_by_factors_is_widened_by_factors_and_the_rest_by_steps(tmp_path, values, minimize, tried):
    _, calls = searched({"x": values}, lambda c: c["x"], tmp_path / "s", minimize=minimize)
    assert [c["x"] for c in calls if c["x"] not in values][: len(tried)] == pytest.approx(tried)


def test_limits_bound_the_widening_with_their_ends(tmp_path):
    for limit, count in ((7, 3), (6, 2), (5, 1), (4, 0)):
        _, calls = searched({"x": [3, 4]}, lambda c: c["x"], tmp_path / f"s{limit}", limits={"x": (0, limit)})
        assert len({c["x"] for c in calls}) == 2 + count
    _, calls = searched({"x": [3, 4]}, lambda c: -c["x"], tmp_path / "low", limits={"x": (2, 9)})
    assert sorted({c["x"] for c in calls}) == [2, 3, 4]


def test_sweeps_go_on_while_they_change_something(tmp_path):
    def value(c):  # y is worth something only once x is 2
        return c["x"] + (10 if c["x"] == 2 and c["y"] == 2 else 0) - (c["y"] == 2) * (c["x"] != 2)

    space = {"y": [1, 2], "x": [1, 2]}
    once, _ = searched(space, value, tmp_path / "a", widenings=0)
    twice, calls = searched(space, value, tmp_path / "b", widenings=0, sweeps=9)
    assert once.config == {"y": 1, "x": 2} and twice.config == {"y": 2, "x": 2} and twice.value == 12
    assert len(calls) == 4 == twice.trials


def test_tuples_have_as_many_values_as_names_and_spaces_are_told_apart(tmp_path):
    with pytest.raises(BadInput, match="tuples of 2 values"):
        GradualSearch({("a", "b"): [(1, 2), (1, 2, 3)]}, lambda c, s: 0.0, tmp_path / "s")
    with pytest.raises(BadInput, match="at least one setting"):
        GradualSearch({}, lambda c, s: 0.0, tmp_path / "s")
    one = GradualSearch({"x": [1, 2]}, lambda c, s: 0.0, tmp_path / "s")
    assert one.hash != GradualSearch({"x": [1, 2]}, lambda c, s: 0.0, tmp_path / "s", minimize=True).hash
    assert one.hash != GradualSearch({"x": [2, 1]}, lambda c, s: 0.0, tmp_path / "s").hash
    assert (one.widenings, one.sweeps, one.repeats, one.minimize) == (3, 1, 1, False)
    none = GradualSearch({"x": [1]}, lambda c, s: math.nan, tmp_path / "none")
    with pytest.raises(BudgetSpent, match="before any configuration"):
        none.run()


def test_a_file_of_trials_keeps_what_was_measured(tmp_path):
    ticks = [0.0]
    calls: list[Any] = []

    def file(**how):
        return TrialFile(tmp_path / "t", "space", ("a", "b"), clock=lambda: ticks[0], **how)

    def evaluate(config, seed):
        calls.append((config, seed))
        ticks[0] += 2.0
        config["x"] = 99  # a copy
        return {"a": seed, "b": math.inf if seed else 5, "c": 1}

    with file(max_seconds=3.0) as trials:
        assert trials.trial({"x": 1}, 0, evaluate) == {"a": 0.0, "b": 5.0}
        assert trials.trial({"x": 1}, 0, evaluate)["a"] == 0.0 and len(calls) == 1 and len(trials) == 1
        second = trials.trial({"x": 1}, 1, evaluate)
        assert second["a"] == 1.0 and math.isnan(second["b"])
        with pytest.raises(Spent):
            trials.trial({"x": 1}, 2, evaluate)
        second["a"] = 7.0
        assert trials.trial({"x": 1}, 1, evaluate)["a"] == 1.0
    rows = [json.loads(line) for line in (tmp_path / "t").read_text().splitlines()[1:]]
    assert rows == [
        {"config": {"x": 1}, "seed": 0, "a": 0.0, "b": 5.0, "seconds": 2.0},
        {"config": {"x": 1}, "seed": 1, "a": 1.0, "b": None, "seconds": 2.0},
    ]
    with file(max_trials=3) as trials:
        again = trials.trial({"x": 1}, 1, evaluate)
        assert again["a"] == 1.0 and math.isnan(again["b"]) and len(calls) == 2 and len(trials) == 2
        failed = trials.trial({"x": 2}, 0, lambda c, s: {"a": 1})
        assert all(map(math.isnan, failed.values()))
        with pytest.raises(Spent):
            trials.trial({"x": 3}, 0, evaluate)
    last = json.loads((tmp_path / "t").read_text().splitlines()[-1])
    assert last["error"] == "KeyError: 'b'" and last["a"] is None
    with (tmp_path / "t").open("a") as out:
        out.write('{"config": {"x": 9}, "seed": 0, "a": 1}\n')
    with pytest.raises(BadInput, match="line 5"), file():
        pass


def test_rows_are_known_by_what_they_hold():
    texts = [np.array(["a", "b"], object), ["a", "b"]]
    assert content(np.array([1.0, 2.0])) != content(np.array([1.0, 3.0])) != content(np.array([[1.0, 3.0]]))
    assert content(np.array([1.0, 2.0])) != content(np.array([1, 2]))
    assert content(texts[0]) == content(np.array(["a", "b"], object)) != content(np.array(["a", "c"], object))
    assert content(texts[1]) == content(["a", "b"])


# -- the luck of a search --


def test_ranks_of_other_tasks_count_as_far_as_they_hold_here():
    ranks, losses = np.array([0.0, 1.0, 2.0, 5.0]), np.array([0.1, 0.4, 0.9, 1.1])

    def slope(of, by):
        return Search(of, np.ones(4), by, np.zeros(1), np.zeros(1))._slope()

    centred = ranks - 2
    assert slope(losses, ranks) == pytest.approx(centred @ losses / (centred @ centred * (1 + 2 / 4)))
    assert slope(-losses, ranks) == 0.0 == slope(losses, np.ones(4))


def test_a_search_without_noise_is_a_draw_from_its_spread():
    losses = np.array([-1.0, -0.8, -0.7, -0.6, -0.4])
    search = Search(losses, np.full(5, 1e-9), np.zeros(5), np.zeros(3), np.zeros(3))
    change = search.change(1, 200_000)
    assert (search.change(2, 9) == search.change(2, 9, 0)).all() and (
        search.change(2, 9) != search.change(2, 9, 1)
    ).any()
    rng = np.random.default_rng(0)
    spread = np.var(np.minimum(losses, 2 * -0.7 + 1.0), ddof=1)  # the worst is as far off as the best
    sd = np.sqrt(spread * 4 / rng.chisquare(4, 200_000))
    middle = -0.7 + sd * rng.normal(size=200_000) * math.sqrt(math.pi / 10)
    new = middle + sd * rng.normal(size=200_000)
    told = np.minimum(new + 1.0, 0.0)
    assert (change <= 0).all() and (change < 0).mean() == pytest.approx((told < 0).mean(), abs=0.005)
    assert np.quantile(change, [0.02, 0.05]) == pytest.approx(np.quantile(told, [0.02, 0.05]), rel=0.05)
    better = Search(losses, np.full(5, 1e-9), losses, np.full(3, -2.0), np.zeros(3)).change(1, 2000)
    assert better.mean() < change.mean()  # it ranks far better elsewhere, and ranks hold here


# -- bits of a language model --

ABOUT = {"n": 1e9, "whole": 1.1e9, "d": 1e11, "vocab": 32_000, "packed": False, "bits": 16, "bytes": 2_200_000_000}


def test_the_law_is_read_at_its_widths_and_nobody_is_worse_than_guessing():
    rows = bits._by_law(ABOUT, [2, 3, 4, 5, 8])
    law = qid.published()
    assert [r["bits"] for r in rows] == [2, 3, 4]
    for row in rows:
        lost = float(law.qid(1e9, 1e11, row["bits"])[0])
        assert row["bytes"] == 1e9 * row["bits"] / 8 + 1e8 * 2 and row["lost"] == pytest.approx(
            min(lost, math.log(32_000))
        )
        assert row["interval"] == pytest.approx([min(lost * off, math.log(32_000)) for off in bits.OFF])
    few = bits._by_law({**ABOUT, "vocab": 2}, [2])[0]
    assert few["lost"] <= math.log(2) and few["interval"][1] == math.log(2)


def told(about=None, **more):
    out = {
        "by": "measured",
        "forecasts": [],
        "outside": None,
        "model": "m",
        "parameters": 10**9,
        "tokens": 10**11,
        **more,
    }
    return bits._sentences(out, {**ABOUT, **(about or {})})


def forecast(width, low, high, total=500.0):
    return {"purchase": f"mb@{width}", "interval": [low, high], "total": total, "amount": -1700.5, "estimate": 0.01}


def test_sentences_about_bits():
    first = "At 16 bits a weight, more bits would bring nothing: nothing is lost by rounding."
    assert told() == [first] and told({"packed": True})[0].startswith("Its weights are packed")
    good = told(forecasts=[forecast(4, 0.01, 0.05), forecast(3, 0.01, 0.051, 400.0), forecast(8, 0.0, 0.01, 900.0)])
    assert good[1] == (
        "4 bits a weight surely lose less than 0.05 nats a token (0.01 to 0.05) and take 500 MB, 1700.5 MB less: "
        "smidgen compress m --size 500000KB."
    )
    assert (
        told(forecasts=[forecast(3, 0.01, 0.051)])[1]
        == "None of these widths surely loses less than 0.05 nats a token."
    )
    assert "is told by the published law" in told(by="law")[1]
    seen = {"windows": 12}
    assert told(seen, outside=bits.FAR)[1].endswith("on 12 windows, rounded to nearest; compress loses less.")
    far = told(seen, outside=1.01 * bits.FAR)[1]
    assert f"lies {1.01 * bits.FAR:,.3g} times outside of its runs" in far and "1,000,000,000 parameters" in far
    assert "its log does not say how many tokens" in told({**seen, "d": 0})[1]
    assert (
        bits._warnings(seen, None, False)
        and not bits._warnings(seen, "x", False)
        and not bits._warnings(seen, None, True)
    )
    assert not bits._warnings({}, None, False)


def test_logs_and_folders_of_language_models(tmp_path):
    assert bits._tokens(tmp_path) == 0
    (tmp_path / "log.jsonl").write_text('{"tokens": 5}\n{"tokens": 7.0}\n{"step": 1}\n{"tok')
    assert bits._tokens(tmp_path) == 7
    (tmp_path / "log.jsonl").write_text('[]\n{"a": 1}\n')
    assert bits._tokens(tmp_path) == 0
    for said, is_one in (({"architectures": ["XForCausalLM"]}, True), ({"architectures": ["GPT2LMHeadModel"]}, True),
                         ({"architectures": ["BertModel"]}, False), ({}, False), ([], False)):  # fmt: skip
        (tmp_path / "config.json").write_text(json.dumps(said))
        assert is_language_model(tmp_path) == is_one
    (tmp_path / "config.json").write_text(json.dumps({"architectures": ["XForCausalLM"]}))
    (tmp_path / "model.json").touch()
    assert not is_language_model(tmp_path)
    assert bits._kept(tmp_path / "model.json") and not bits._kept(tmp_path / "log.jsonl") and not bits._kept(tmp_path)


def test_a_plan_of_bits_adds_up(tmp_path, monkeypatch):
    monkeypatch.setattr(bits, "_described", lambda folder: dict(ABOUT))
    offers = offers_of(["mb=2", "mb@4=3", "mb@16=9", "label=1"])
    found = plan_bits(tmp_path, offers, 10.0)
    far = float(qid.published().outside(1e9, 1e11, 3))
    assert found["outside"] == far <= bits.FAR and found["by"] == "law" and found["bits"] == 16
    rows = bits._by_law(ABOUT, [2, 3, 4])
    for f, row in zip(found["forecasts"], rows, strict=True):
        more = (row["bytes"] - ABOUT["bytes"]) / 1e6
        assert f["amount"] == float(f"{more:.3g}") < 0 and f["total"] == float(f"{row['bytes'] / 1e6:.3g}")
        price = 3.0 if row["bits"] == 4 else 2.0
        assert f["cost"] == float(f"{more * price:.3g}") and f["level"] == 0.9 and f["estimate"] == row["lost"]
    assert [u["purchase"] for u in found["unknown"]] == ["label", "mb@5", "mb@6", "mb@8"]  # no more than it has
    assert found["now"] == {"estimate": 0.0, "interval": [0.0, 0.0]} and found["parameters"] == 1e9
    only = plan_bits(tmp_path, offers_of(["mb@4=3"]), 10.0)
    assert [f["purchase"] for f in only["forecasts"]] == ["mb@4"] and only["unknown"] == []
    monkeypatch.setattr(bits, "_described", lambda folder: {**ABOUT, "packed": True})
    packed = plan_bits(tmp_path, offers, 10.0)
    assert packed["forecasts"] == [] and "packed already" in packed["unknown"][-1]["why"]
    monkeypatch.setattr(bits, "_described", lambda folder: {**ABOUT, "d": 0})
    asked = []

    def measured(folder, about, widths, data, until, seed):
        asked.append(widths)
        return [{"bits": 2, "bytes": 5e8, "lost": 0.5, "interval": [0.4, 0.6]}]

    monkeypatch.setattr(bits, "_measured", measured)
    found = plan_bits(tmp_path, offers_of(["mb=2"]), 10.0)
    assert found["by"] == "measured" and found["outside"] is None and asked == [[2, 3, 4, 5, 6, 8]]
    assert [u["purchase"] for u in found["unknown"]] == ["mb@3", "mb@4", "mb@5", "mb@6", "mb@8"]
    assert {u["why"] for u in found["unknown"]} == {"the time ended: give more --time"}
    monkeypatch.setattr(bits, "_described", lambda folder: dict(ABOUT))
    assert plan_bits(tmp_path, offers_of(["mb=2"]), 10.0, data="texts")["by"] == "measured" and len(asked) == 2
    dry: Any = SimpleNamespace(**plan_bits(tmp_path, offers_of(["mb=2"]), 10.0, data="texts", dry_run=True))
    assert dry.forecasts == [] and len(asked) == 2 and dry.unknown[0]["why"] == "a dry run measures nothing"
