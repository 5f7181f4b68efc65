"""Megabytes at some bits a weight: what is rounded is the study's very fit, and rounding makes room for it."""

from contextlib import closing

import numpy as np
import pandas as pd
import pytest

import smidgen
from smidgen.data.views.rows import Rows
from smidgen.kit.errors import BadInput
from smidgen.learn.member import Member
from smidgen.learn.rounded_state import rounded
from smidgen.studies import bits_ladder, buying
from smidgen.studies.pool import InlinePool
from smidgen.studies.prices import offers_of
from smidgen.studies.ready import ready
from smidgen.studies.store import RunStore
from smidgen.studies.study_board import study_board
from smidgen.studies.trial import Trial, draw_in_words, run_trial
from smidgen.tasks.read import read

SIZE = "15KB"  # the neighbours' rows fit only when they are rounded


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Four quadrants, that a line cannot tell apart and neighbours can."""
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("bits")
    x = rng.normal(size=(240, 5))
    frame = pd.DataFrame(x, columns=list("abcde")).assign(target=np.where(x[:, 0] * x[:, 1] > 0, "same", "other"))
    frame.to_csv(folder / "few.csv", index=False)
    return folder


def fitted(place, name, **more):
    return smidgen.fit(
        place / "few.csv", "target", out=place / name, metric="log_loss", workers=1, methods="logistic,knn", trials=8,
        store=str(place / f"{name}.db"), **more,
    )  # fmt: skip


def planned(place, made, name, prices, spend=1.0, **more):
    return smidgen.plan(made, prices, spend, store=str(place / f"{name}.db"), workers=1, **more)


@pytest.fixture
def here(inline, monkeypatch):
    monkeypatch.setattr(buying, "Pool", InlinePool)


def test_prices_name_the_bits():
    (eight, bare) = offers_of(["mb@8=2", "mb=1"])
    assert (eight.name, eight.kind, eight.bits, eight.error, bare.bits) == ("mb@8", "mb", 8, None, None)
    for wrong in ("mb@7=2", "mb@0.2=2", "mb@x=2"):
        with pytest.raises(BadInput, match="bits of mb"):
            offers_of([wrong])
    with pytest.raises(BadInput, match="bits only for mb"):
        offers_of(["hour@8=2"])


def test_a_rounded_trial_is_that_of_the_study_but_for_the_rounding(place, monkeypatch):
    task, seeds, fit = read(place / "few.csv", "target"), [], Member.fit
    monkeypatch.setattr(Member, "fit", lambda self, *given: (seeds.append(given[-1]), fit(self, *given))[1])
    results = {}
    for draw in ("cv:k=4:r=0", "cv:k=4:r=0:b=16", "cv:k=4:r=0:b=8", "cv:k=4:r=0:b=2"):
        trial = Trial(task=task.fingerprint, method="learn/knn", version=1, view="linear", draw=draw, seed=3)
        results[draw[11:]] = run_trial(task, Rows(task.frame), trial)
    assert len(seeds) == 16 and seeds == 4 * seeds[:4]
    off = {k: float(np.abs(r.predictions - results[""].predictions).mean()) for k, r in results.items()}
    assert off["b=16"] < 1e-3 and off["b=16"] < off["b=8"] < 0.02 < off["b=2"]
    sizes = [results[k].model_bytes for k in ("", "b=16", "b=8", "b=2")]
    assert sizes == sorted(sizes, reverse=True) and sizes[-1] < sizes[0] / 3
    assert draw_in_words("cv:k=4:r=0:b=8") == "all labels of 3 folds in 4, rounded to 8 bits"


def test_an_array_that_does_not_bear_the_bits_stays():
    state = {"spread": np.geomspace(1e-12, 1.0, 150), "middle": np.linspace(0.1, 3.3, 150), "few": np.ones(3) / 3}

    def works(made):
        return bool((made["spread"] > 0).all())  # as float16 the first are 0

    assert not works(rounded(state, 16)[0])
    kept, size = rounded(state, 16, works)
    assert (kept["spread"] == state["spread"]).all() and size == rounded(state, 16)[1] + 150 * 6
    assert (kept["middle"] != state["middle"]).any() and (kept["few"] == state["few"]).all()
    assert (rounded(state, 16, lambda made: False)[0]["middle"] == state["middle"]).all()


def test_the_same_megabytes_hold_a_larger_member_at_fewer_bits(place, here):
    made = fitted(place, "bounded", size=SIZE)
    assert "knn" not in str(made)
    told = planned(place, made, "bounded", {"mb@8": 2.0, "mb@4": 2.0, "mb": 2.0})
    keys = {"purchase", "amount", "total", "cost", "metric", "estimate", "interval", "level"}
    assert all(keys <= f.keys() for f in told["forecasts"])
    first = {n: next(f for f in told["forecasts"] if f["purchase"] == n) for n in ("mb@8", "mb@4", "mb")}
    assert (first["mb@8"]["amount"], first["mb@8"]["cost"], first["mb@8"]["total"]) == (0, 0, 0.015)
    assert first["mb@8"]["estimate"] < 0.9 * told["now"]["estimate"] and first["mb"]["amount"] > 0
    assert first["mb@8"]["estimate"] == pytest.approx(first["mb"]["estimate"], rel=0.05)  # that of more bytes as it is
    assert told["free"] and told["split"]["mb"] == 0 and told["after"]["estimate"] < 0.9 * told["now"]["estimate"]
    said = " ".join(told["sentences"])
    assert "nothing on megabytes at" in told["sentence"] and "then smidgen compress the model --size 15KB" in said
    again = planned(place, made, "bounded", {"mb@8": 2.0})
    assert again["forecasts"][0] == first["mb@8"] and again["seconds"] < told["seconds"]


def test_fewer_bits_of_an_unbounded_model_are_told_and_not_bought(place, here):
    made = fitted(place, "free")
    told = planned(place, made, "free", {"mb@8": 2.0, "mb@2": 2.0, "label": 1.0}, spend=5.0)
    eight, two = ([f for f in told["forecasts"] if f["purchase"] == n] for n in ("mb@8", "mb@2"))
    assert len(eight) == len(two) == 1 and two[0]["amount"] < eight[0]["amount"] < 0
    assert eight[0]["cost"] == pytest.approx(2 * eight[0]["amount"], rel=0.01)
    assert eight[0]["estimate"] == pytest.approx(told["now"]["estimate"], rel=0.02)
    assert told["split"]["mb@8"] == told["split"]["mb@2"] == 0 and not told["free"]
    assert "at 2 bits a weight, would bring" in " ".join(told["sentences"])


def test_why_bits_cannot_be_told(place, here):
    fitted(place, "why")
    offers = offers_of({"mb@8": 1})
    with closing(RunStore(str(place / "why.db"))) as runs:
        found = runs.studies()[0]
        own = ready(found, None)
        assert bits_ladder.bits_ladder(offers_of({"mb": 1}), own, found, runs) is None
        ladder = bits_ladder.bits_ladder(offers, own, found, runs)
    assert ladder is not None and [t.draw[-3:] for t in ladder.trials()] == ["b=8"] * len(ladder.wanted)
    told, unknown = ladder.others(50)
    assert not told and "the time ended" in unknown[0]["why"]
    with closing(RunStore(str(place / "empty.db"))) as runs:
        assert not study_board(own, found, runs).tried
        gone = bits_ladder.bits_ladder(offers, own, found, runs)
    assert gone is not None and not gone.trials() and "no longer there" in gone.others(50)[1][0]["why"]
