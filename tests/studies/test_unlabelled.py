import json

import numpy as np
import pandas as pd
import pytest

import smidgen
from smidgen.cli import results
from smidgen.data.views.rows import Rows
from smidgen.kit import methods
from smidgen.kit.errors import BadInput
from smidgen.kit.notes import note
from smidgen.kit.seeds import derive_seed
from smidgen.learn.label_spreading import LabelSpreading
from smidgen.learn.logistic import LogisticClassifier
from smidgen.learn.member import Member
from smidgen.studies import unlabelled
from smidgen.studies.candidates import candidates, forecast
from smidgen.studies.fit import describe_json
from smidgen.studies.losses import Scale
from smidgen.studies.measured import measure
from smidgen.studies.prices import offers_of
from smidgen.studies.purchases import all_draws, mixed_draws
from smidgen.studies.ready import Ready, able
from smidgen.studies.trial import Trial, parts, run_trial
from smidgen.studies.unlabelled import NEXT, another_kind, told_apart
from smidgen.tasks.read import read
from smidgen.web.report import report


@pytest.fixture(scope="module")
def three():
    """Three groups in a plane, and between them a strip where nobody has a label."""
    rng = np.random.default_rng(0)
    centres = np.array([[0.0, 0.0], [6.0, 0.0], [0.0, 6.0]])
    y = np.arange(60) % 3
    frame = pd.DataFrame(centres[y] + rng.normal(size=(60, 2)), columns=["a", "b"])
    frame["kind"] = np.array(["x", "y", "z"])[y]
    pool = pd.DataFrame(centres[np.arange(90) % 3] + rng.normal(size=(90, 2)), columns=["a", "b"])
    pool.loc[80:, :] = np.array([3.0, 3.0]) + rng.normal(size=(10, 2)) / 4
    return frame, pool


def test_another_kind_of_rows_is_told_and_the_same_kind_is_not():
    rng = np.random.default_rng(1)
    own, same, far = rng.normal(size=(40, 30)), rng.normal(size=(200, 30)), rng.normal(size=(200, 30)) + 1.5
    assert another_kind(own, same, 0) == []
    (said,) = another_kind(own, far, 0)
    assert said.level == "warning" and "another kind" in said.text
    assert told_apart(own[:10], far, 0) is None  # too few to tell


def test_a_fit_says_which_rows_are_most_worth_a_label(three):
    frame, pool = three
    rest = frame.copy()
    rest.loc[50:, "kind"] = None  # ten rows of the table itself have none
    fitted = smidgen.fit(rest, "kind", unlabelled=pool, methods="logistic,label_spreading", trials=4, workers=1)
    found = json.loads(describe_json(fitted.summary))["pool"]
    assert found["n"] == 100 and found["looked"] == 100
    names = [r["name"] or r["row"] for r in found["next"]]
    assert len(names) == len(set(names)) == NEXT
    strip = {f"row {i + 1} of the rows without labels" for i in range(80, 90)}
    assert names[0] in strip  # the least sure lies between the groups
    assert set(names) - strip  # and not all of them are one doubt
    for row in found["next"]:
        at = int(str(row["name"] or row["row"]).split()[1]) - 1 if row["name"] else row["row"] - 1
        if not row["name"]:
            assert 50 <= at < 60
        here = (pool if row["name"] else frame).loc[at, ["a", "b"]].to_numpy(float)
        apart = ((frame.loc[:49, ["a", "b"]].to_numpy() - here) ** 2).sum(1)
        assert [n["row"] - 1 for n in row["near"]] == np.argsort(apart)[:3].tolist()
    assert len(found["map"]["x"]) == 100 and len(found["map"]["own"]["x"]) == 50


def test_methods_learn_from_rows_without_labels_and_only_those_that_can(three):
    """The pool changes what label spreading says and nothing else; where there is none it is not tried."""
    frame, pool = three
    few = frame.groupby("kind").head(4)
    kinds = {"methods": "logistic,label_spreading", "trials": 4, "workers": 1, "seed": 3}
    with_pool = smidgen.fit(few, "kind", unlabelled=pool, **kinds).summary["leaderboard"]
    other_pool = smidgen.fit(few, "kind", unlabelled=pool + 1.0, **kinds).summary["leaderboard"]
    scores = [{row["method"]: row["estimate"] for row in board} for board in (with_pool, other_pool)]
    assert scores[0]["learn/logistic"] == scores[1]["learn/logistic"]
    assert scores[0]["learn/label_spreading"] != scores[1]["learn/label_spreading"]
    found, skipped = candidates(read(few, "kind"))
    assert "learn/label_spreading" not in {c.method for c in found}
    assert "without labels" in next(s.why for s in skipped if s.method == "learn/label_spreading")


def test_no_fold_learns_from_rows_whose_group_it_judges(three):
    frame, pool = three
    few = frame.groupby("kind").head(4).assign(who=lambda f: np.arange(len(f)) % 6)
    task = read(few, "kind", group="who", unlabelled=pool.assign(who=np.arange(len(pool)) % 9))
    rows = Rows(task.frame, pool=unlabelled.pool_of(task, 0)[0])
    trial = Trial(task="t", method="learn/label_spreading", version=1, view="linear", draw="cv:k=3:r=0", seed=0)
    found = run_trial(task, rows, trial)
    assert found.error is None
    for i, (train, test) in enumerate(parts(task, trial.draw, trial.seed)):
        judged = set(few["who"].to_numpy()[test])
        kept = np.array([w % 9 not in judged for w in range(len(pool))])
        assert judged and 0 < kept.sum() < len(pool)
        seen = Rows(task.frame, pool=Rows(task.unlabelled[kept].reset_index(drop=True))).take(train)
        member = Member(trial.method, trial.view, task.kind, 3)
        member.fit(seen, task.target[train], task.columns, derive_seed(0, trial.method, trial.view, trial.draw, i))
        assert np.array_equal(found.predictions[test], member.predict(rows.take(test)))


@pytest.mark.parametrize("pooled", [True, False])
def test_a_plan_gives_rows_without_labels_to_the_method_that_learns_from_them(three, pooled):
    """Beside the pool, where there is one; other methods guess their labels."""
    task = read(three[0], "kind", unlabelled=three[1] if pooled else None)
    rows = Rows(task.frame, pool=unlabelled.pool_of(task, 0)[0] if pooled else None)
    offer = offers_of({"unlabelled": 0.1})[0]
    names = ("learn/logistic", "learn/label_spreading")
    readies = [Ready(task, Scale.of("log_loss"), name, "linear", {}, 0, 5, 0.4) for name in names]
    assert [r.learns_itself for r in readies] == [False, True]
    guessed, given = (mixed_draws(task, offer, 5, 1, itself=r.learns_itself)[0][0] for r in readies)
    assert guessed == given.replace("p=", "u=") and given in all_draws(task, [offer], 5, itself=True)
    found = run_trial(task, rows, readies[1].trial(given))
    assert found.error is None
    for i, ((train, test), (again, _)) in enumerate(zip(parts(task, given, 0), parts(task, guessed, 0), strict=True)):
        assert np.array_equal(train, again)  # the same rows, whoever learns from them
        rest = task.frame.iloc[train[24:]]
        more = pd.concat([task.unlabelled, rest] if pooled else [rest], ignore_index=True)
        member = Member("learn/label_spreading", "linear", task.kind, 3)
        seed = derive_seed(0, "learn/label_spreading", "linear", given, i)
        member.fit(Rows(task.frame, pool=Rows(more)).take(train[:24]), task.target[train[:24]], task.columns, seed)
        assert len(rest) == 24 and np.array_equal(found.predictions[test], member.predict(rows.take(test)))
    assert measure(readies[1], [offer], {given: found.predictions}).mixed("unlabelled") == 1
    known, unknown = able([offer], task, "learn/barlow_pictures")
    assert not known and "learns from all of them once" in unknown[0]["why"]


def test_copies_are_no_pool_and_a_large_pool_is_drawn_from(three, monkeypatch):
    """A copy of a labelled row in the pool would show a method what it is judged on."""
    frame, pool = three
    more = pd.concat([frame[["a", "b"]][:7], pool, pool[:2]], ignore_index=True)
    task = read(frame, "kind", unlabelled=more)
    assert len(task.unlabelled) == 90
    assert any("9 rows without a label are exact copies, 7 of them of labelled" in f.text for f in task.findings)
    assert task.pool_rows.tolist() == [-(i + 1) for i in range(7, 97)]  # in the numbers of the file
    monkeypatch.setattr(unlabelled, "MOST_POOL", 20)
    (drawn, said), (again, _) = unlabelled.pool_of(task, 3), unlabelled.pool_of(task, 3)
    assert len(drawn) == 20 and "20 of the 90" in said[0].text
    assert drawn.frame.equals(again.frame)


def test_labels_that_mean_none_and_labels_that_are_wrong():
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(size=(20, 2)), rng.normal(size=(20, 2)) + 8])
    truth = np.repeat([0, 1], 20)
    few = np.where(np.arange(40) % 20 < 2, truth, -1)
    forms = [few, np.where(few < 0, None, few.astype(object)), pd.Series(few).map({0: "a", 1: "b"}).to_numpy(object)]
    for y in forms:
        head = LabelSpreading().fit(X, y)
        assert (np.searchsorted(head.classes_, head.predict(X)) == truth).all()
    said = head.predict_proba(X)
    assert said.max() < 0.95  # four labels are no certainty
    for wrong, match in ((None, "requires y"), (few[:5], "inconsistent"), (np.where(few == 1, -1, few), "no label")):
        with pytest.raises(ValueError, match=match):
            LabelSpreading().fit(X, wrong)


def test_a_map_that_cannot_be_drawn_loses_no_model(three, tmp_path, monkeypatch):
    def gone(*_):
        raise OSError("a photo was moved")

    monkeypatch.setattr("smidgen.studies.run.look", gone)
    frame, pool = three
    made = smidgen.fit(frame, "kind", unlabelled=pool, methods="logistic", trials=1, workers=1, out=tmp_path / "m")
    assert made.summary["pool"] is None
    assert smidgen.load(tmp_path / "m").predict(pool).shape == (90,)


def test_what_is_to_be_known_of_a_fit_is_kept_and_shown(three, tmp_path, inline, monkeypatch):
    real = LogisticClassifier._fit

    def told(self, X, codes):
        note("<b>Training</b>: the GPU has too little memory, so it is done on the processor.")
        if len(X) == len(three[0]):
            note("the last fit was rough.")
        return real(self, X, codes)

    order = {"methods": "logistic,naive_bayes", "trials": 4, "store": str(tmp_path / "s.db")}
    with monkeypatch.context() as patched:
        patched.setattr(LogisticClassifier, "_fit", told)
        made = smidgen.fit(three[0], "kind", **order)
    rows = {r["method"]: r for r in made.summary["leaderboard"]}
    assert len(rows["learn/logistic"]["remarks"]) == 2 and rows["learn/naive_bayes"]["remarks"] == []
    assert rows["learn/logistic"]["note"] == ""  # it was not stopped, nothing was wrong
    assert made.leaderboard.set_index("method").note["learn/logistic"].endswith("processor. the last fit was rough.")
    lines = "\n".join(results.leaderboard(made.summary))
    assert "logistic: <b>Training</b>: the GPU has" in lines and lines.count("processor") == 1
    assert "&lt;b&gt;Training&lt;/b&gt;: the GPU has" in report(made.summary)
    again = smidgen.fit(three[0], "kind", **order)  # from the store: trials remember, the last fit is made anew
    known = {r["method"]: r["remarks"] for r in again.summary["leaderboard"]}["learn/logistic"]
    assert known == rows["learn/logistic"]["remarks"][:1]


def test_under_a_count_slow_methods_are_tried_only_by_name(three, monkeypatch):
    monkeypatch.setattr("smidgen.studies.slow.UNASKED", 0.3)
    frame = three[0]
    made = smidgen.fit(frame, "kind", trials=3, workers=1)
    note = {r["method"]: r["note"] for r in made.summary["leaderboard"]}["learn/lightgbm"]
    assert "name it" in note
    dry = smidgen.fit(frame, "kind", trials=3, workers=1, dry_run=True)
    planned = {(e["method"], e["view"]): e["note"] for e in dry.summary["plan"] if not e["tried"]}
    board = {(r["method"], r["view"]): r["note"] for r in made.summary["leaderboard"] if r["estimate"] is None}
    assert planned.keys() == board.keys()  # a dry run says what then happens, and why
    assert {k for k, why in planned.items() if "name it" in why} == {k for k, why in board.items() if "name it" in why}
    assert "without labels" in planned["learn/label_spreading", ""]
    assert sum("3 trials are for the 3 methods before it" in why for why in planned.values()) >= 2
    assert len(dry.summary["plan"]) == 3 + len(planned) and "3 candidates" in repr(dry)
    assert dry.summary["seconds"] == pytest.approx(
        3 + sum(e["seconds"] for e in dry.summary["plan"] if e["tried"]), abs=0.1
    )
    shown = "\n".join(results.plan(dry.summary))
    assert shown.index("constant") < shown.index("Not tried") < shown.index("lightgbm")
    named = smidgen.fit(frame, "kind", trials=1, workers=1, methods="lightgbm")
    assert named.summary["leaderboard"][0]["weight"] == 1


def test_forecasts_count_the_pool_and_misfits_are_named(three):
    frame, pool = three
    alone, both = (read(frame, "kind", unlabelled=more) for more in (None, pool))
    card = methods.card("learn/label_spreading")
    (few, little, _), (many, much, _) = (forecast(card, task, "linear") for task in (alone, both))
    assert few < many and little < much
    words = frame.assign(text=[f"a text of some words, number {i} of them, which differ" for i in range(len(frame))])
    task = read(words, "kind")
    assert task.modalities == ("table", "text")
    assert any(s.method == "learn/tuned_encoder" and "alone" in s.why for s in candidates(task)[1])
    with pytest.raises(BadInput, match="one column of text alone"):
        candidates(task, ["learn/tuned_encoder"])


@pytest.mark.parametrize("given", ["frame", "file"])
def test_a_study_goes_on_with_its_pool_or_says_why_not(three, tmp_path, monkeypatch, given):
    monkeypatch.chdir(tmp_path)
    frame, pool = three
    frame.to_csv("own.csv", index=False)
    pool.to_csv("more.csv", index=False)
    more = pool if given == "frame" else "more.csv"
    made = smidgen.fit("own.csv", "kind", unlabelled=more, methods="label_spreading", trials=1, workers=1, store="s.db")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    if given == "frame":
        with pytest.raises(BadInput, match="were no file"):
            smidgen.resume(made.study, store=f"sqlite:///{tmp_path}/s.db")
    else:
        assert smidgen.resume(made.study, store=f"sqlite:///{tmp_path}/s.db").summary["unlabelled"] == 90
