"""`smidgen plan`, end to end on a real table: what it says, that it reuses trials, and every input that cannot be."""

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer

import smidgen
from smidgen.cli.main import main
from smidgen.kit.errors import BadInput
from smidgen.studies import buying, trial
from smidgen.studies.losses import Scale
from smidgen.studies.pool import InlinePool
from smidgen.studies.prices import offers_of
from smidgen.studies.runner import Runner
from smidgen.studies.store import RunStore
from smidgen.studies.trial import Result, run_trial
from smidgen.tasks.metrics import METRICS
from smidgen.web import plans

PRICES = {"label": 0.4, "label@0.1": 0.1, "label@0.4": 0.1, "unlabelled": 0.001, "hour": 1.2}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plan")
    data = load_breast_cancer(as_frame=True).frame.sample(60, random_state=1)
    data.iloc[:, [0, 1, 2, 5, -1]].to_csv(folder / "few.csv", index=False)
    smidgen.fit(
        folder / "few.csv", "target", out=folder / "model", trials=12, methods="logistic,naive_bayes",
        metric="accuracy", store=str(folder / "runs.db"), workers=2,
    )  # fmt: skip
    return folder


def planned(place, *more, prices=("label=0.4",), spend="100"):
    asked = [a for p in prices for a in ("--price", p)]
    return main(["plan", str(place / "model"), "--store", str(place / "runs.db"), *asked, "--spend", spend, *more])


def test_says_what_each_purchase_brings_and_how_to_split(place):
    found = smidgen.plan(place / "model", PRICES, 100, target=0.99, store=str(place / "runs.db"), workers=2)
    json.dumps(found)  # plain
    keys = {"purchase", "amount", "total", "cost", "metric", "estimate", "interval", "level"}
    assert all(keys <= f.keys() for f in found["forecasts"]) and found["metric"] == "accuracy"
    label = [f for f in found["forecasts"] if f["purchase"] == "label"]
    assert [f["total"] for f in label if f["total"] / 60 in (2, 4, 10)] == [120, 240, 600]
    estimates = [f["estimate"] for f in sorted(label, key=lambda f: f["total"])]
    assert estimates == sorted(estimates) and estimates[0] > found["now"]["estimate"]
    assert all(f["interval"][0] < f["estimate"] < f["interval"][1] and f["level"] == 0.9 for f in found["forecasts"])
    assert 99 < sum(found["split"].values()) <= 100 and set(found["split"]) == set(PRICES) - {"hour"}
    assert found["worth"]["label@0.4"]["estimate"] < found["worth"]["label@0.1"]["estimate"] <= 1
    assert found["split"]["label@0.4"] == 0  # of the same price as better ones
    assert [u["purchase"] for u in found["unknown"]] == ["hour"] and found["sentence"]
    report = (place / "model" / "report.html").read_text()
    assert "What to buy next" in report and found["sentences"][0].split(":")[0] in report.replace("&#39;", "'")
    with RunStore(str(place / "runs.db")) as store:
        assert store.studies()[0].summary["plan"]["split"] == found["split"]


def test_trials_are_used_again_and_equal_runs_are_equal(place):
    found, counts = [], []
    for workers in (1, 2):
        found.append(smidgen.plan(place / "model", PRICES, 100, store=str(place / "runs.db"), workers=workers))
        with RunStore(str(place / "runs.db")) as store:
            counts.append(len(store.trials(store.studies()[0].id)))
    assert {**found[0], "seconds": 0} == {**found[1], "seconds": 0} and counts[0] == counts[1]


def test_the_command(place, capsys):
    assert planned(place, "--target", "0.5", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["reached"] and found["target"]["amount"] == 0 and "reached already" in found["sentence"]
    bought = next(f for f in found["forecasts"] if f["amount"] == found["split_amounts"]["label"])
    assert found["after"] == {k: bought[k] for k in ("estimate", "interval")}  # one purchase, one forecast
    assert planned(place, "--target", "0.9999") == 0
    assert "No purchase here reaches accuracy 1" in capsys.readouterr().out
    assert planned(place, "--dry-run") == 0
    assert "nothing was measured" in capsys.readouterr().out
    assert planned(place, "--json", prices=["hour=1"]) == 0
    alone = json.loads(capsys.readouterr().out)
    assert alone["forecasts"] == [] and alone["split"] == {} and "only repeat" in alone["sentence"]
    with RunStore(str(place / "runs.db")) as store:
        shown = plans.section(store.studies()[0].summary)
    assert shown is not None and shown["sentences"] == alone["sentences"] and shown["picture"] is None
    assert "only repeat" in (place / "model" / "report.html").read_text()


def test_a_training_that_failed_is_no_lack_of_time(place, monkeypatch, capsys, inline):
    def lame(task, rows, asked):
        return Result(error="ValueError: no") if ":e=30" in asked.draw else run_trial(task, rows, asked)

    monkeypatch.setattr(buying, "Pool", InlinePool)
    monkeypatch.setattr(trial, "run_trial", lame)
    for _ in range(2):  # the second time the failure is in the store
        assert planned(place, prices=["label=1", "label@0.3=0.5"]) == 0
        told = capsys.readouterr()
        assert "Warning: 4 of the trainings failed and tell nothing (ValueError: no)." in told.out
        assert "time ended" not in told.err
    with monkeypatch.context() as patch:
        patch.setattr(Runner, "_time_is_up", lambda self: len(self._mine) >= 6)
        assert planned(place, prices=["label=1", "label@0.15=0.5", "label@0.25=0.5"]) == 0
        assert "The time ended after 22 of 24 trainings" in capsys.readouterr().err
    few = pd.read_csv(place / "few.csv").iloc[:40]
    found = smidgen.fit(few, "target", trials=2, methods="naive_bayes", store=str(place / "other.db"))
    monkeypatch.setattr(trial, "run_trial", lambda *_: Result(error="ValueError: nothing works"))
    with pytest.raises(BadInput, match="failed on parts of the labels .ValueError: nothing works"):
        smidgen.plan(found, {"label": 1}, 1, store=str(place / "other.db"), data=few)


@pytest.mark.parametrize(
    ("prices", "spend", "said"),
    [
        (["label=0"], "1", "above 0"),
        (["label=-1"], "1", "above 0"),
        (["label=nan"], "1", "finite"),
        (["labl=1"], "1", "Did you mean 'label'"),
        (["label"], "1", "NAME=PRICE"),
        (["label=1", "labels=2"], "1", "given twice"),
        (["hour@0.2=1"], "1", "only for label or query"),
        (["label@0.6=1"], "1", "guessing among 2 classes"),
        (["label=1"], "0", "spend: expected a number above 0"),
        (["label=1"], "0.5", "spend: expected at least 1, the cheapest purchase"),
    ],
)
def test_what_cannot_be_is_one_sentence(place, capsys, prices, spend, said):
    assert planned(place, prices=prices, spend=spend) == 2
    told = capsys.readouterr().err
    assert said in told and told.count("\n") == 1


def test_targets_and_data_that_cannot_be(place, capsys, tmp_path):
    assert planned(place, "--target", "1") == 2
    assert "below 1" in capsys.readouterr().err
    with pytest.raises(BadInput, match="no study"):
        smidgen.plan("nothing", {"label": 1}, 1, store=str(place / "runs.db"))
    frame = pd.read_csv(place / "few.csv")
    with pytest.raises(BadInput, match="changed since"):
        smidgen.plan(place / "model", {"label": 1}, 1, store=str(place / "runs.db"), data=frame.iloc[:50])
    few = frame.groupby("target").head(2)
    smidgen.fit(few, "target", trials=4, methods="naive_bayes", store=str(tmp_path / "r.db"), workers=1)
    with RunStore(str(tmp_path / "r.db")) as store:
        study = store.studies()[0].id
    with pytest.raises(BadInput, match=r"labelled rows: expected at least 6, .* got 4\. Label 2 more"):
        smidgen.plan(study, {"label": 1}, 1, store=str(tmp_path / "r.db"), data=few, workers=1)


def test_every_metric_is_a_loss_and_back():
    for metric in METRICS.values():
        scale, score = Scale(metric), 0.7
        assert scale.score(scale.loss(score)) == pytest.approx(score)
        better = score + 0.1 if metric.greater_is_better else score - 0.1
        assert scale.loss(better) < scale.loss(score)


def test_prices_as_people_write_them():
    first, second = offers_of(["label@20%=0.05", "Queries=0.002"])
    assert (first.name, first.error, second.name, second.price) == ("label@0.2", 0.2, "query", 0.002)
    assert np.isclose(offers_of({"hour": 2})[0].price, 2)
