"""The main job as a whole: reproducible by count, kept under a clock, resumed after a kill, honest at any size."""

import contextlib
import functools
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from misfits import COINS, LIGHT

from smidgen.kit.errors import BadInput, BudgetSpent, SmidgenError
from smidgen.learn.model import Model
from smidgen.studies import fit as fitting
from smidgen.studies import trial
from smidgen.studies.fit import describe_json, fit, resume
from smidgen.studies.owner import is_gone
from smidgen.studies.race import RaceConfig
from smidgen.studies.store import RunStore

POLL_SECONDS = 0.02
GRACE = 90.0  # only a test that fails waits so long
GATED = f"{LIGHT},gate_a,gate_b"

SCRIPT = """
import json, sys
from smidgen.studies.fit import describe_json, fit
order = json.loads(sys.argv[1])
made = fit(order.pop("source"), "target", **order)
print(describe_json(made.summary))
"""


def arrays(folder) -> tuple[bytes, dict]:
    """What a model predicts with: its arrays, and the rest without what is only said about it."""
    head = json.loads((folder / "model.json").read_text())
    return (folder / "arrays.safetensors").read_bytes(), {
        k: head[k] for k in ("members", "weights", "log_t", "classes", "columns")
    }


def sane(fitted) -> None:
    """What holds for every result."""
    s = fitted.summary
    low, high = s["interval"]
    assert low <= s["estimate"] <= high and np.isfinite([low, high]).all() and low < high
    assert sum(r["weight"] for r in s["leaderboard"]) == pytest.approx(1)
    assert sum(fitted.model.weights) == pytest.approx(1)
    assert {r["method"] for r in s["leaderboard"] if r["chosen"]} == {m.method for m in fitted.model.members}
    json.loads(describe_json(s), parse_constant=pytest.fail)


def notes(fitted) -> dict[str, str]:
    return {r["method"].split("/")[1]: r["note"] for r in fitted.summary["leaderboard"]}


class Child:
    """`fit` in a process of its own, with its own group."""

    def __init__(self, env, folder, **order):
        self.gate = folder / "gate"
        self.process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, json.dumps(order)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=folder,
            start_new_session=True,
            env={**env, "SMIDGEN_TEST_GATE": str(self.gate)},
        )

    def kill(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()

    def summary(self) -> dict:
        out, err = self.process.communicate(timeout=GRACE)
        assert self.process.returncode == 0, err
        return json.loads(out)


@pytest.fixture
def child(python, tmp_path):
    started = []

    def start(**order):
        started.append(Child(python, tmp_path, **order))
        return started[-1]

    yield start
    for one in started:
        one.kill()


def rows(store, query: str) -> list[tuple]:
    """What a query gives now; nothing while the store is not there yet."""
    try:
        with contextlib.closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as c:
            return c.execute(query).fetchall()
    except sqlite3.OperationalError:
        return []


def until(condition, *children: Child):
    end = time.monotonic() + GRACE
    while not (found := condition()):
        for one in children:
            assert one.process.poll() is None, one.process.communicate()[1]
        assert time.monotonic() < end, "waited in vain"
        time.sleep(POLL_SECONDS)
    return found


@pytest.fixture(scope="module")
def few(table, tmp_path_factory):
    """50 rows of a real table, as a file."""
    path = tmp_path_factory.mktemp("few") / "wine.csv"
    table("tab_wine", 50).to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def whole(few, tmp_path_factory):
    """A study by count that nothing disturbed, in this process alone."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        from smidgen.studies.pool import InlinePool

        patch.setattr(fitting, "Pool", InlinePool)
        return fit(str(few), "target", out=folder / "model", trials=12, methods=LIGHT, store=str(folder / "runs.db"))


# -- reproducible --


def test_the_count_alone_decides_with_one_worker_or_two_or_none(few, whole, tmp_path):
    sane(whole)
    made = fit(
        str(few), "target", out=tmp_path / "two", trials=12, methods=LIGHT, store=str(tmp_path / "2.db"), workers=2
    )
    assert arrays(made.path) == arrays(whole.path)
    for name in ("estimate", "interval", "accuracy", "accuracy_interval", "calibration", "confusion", "method"):
        assert made.summary[name] == whole.summary[name]
    assert made.summary["spent"]["trials"] == 12


def test_a_study_run_again_measures_nothing_and_gives_the_same(few, whole, tmp_path, inline):
    again = fit(
        str(few), "target", out=tmp_path / "m", trials=12, methods=LIGHT, store=str(whole.path.parent / "runs.db")
    )
    assert again.study == whole.study
    assert again.summary["spent"]["reused"] == again.summary["spent"]["trials"] == 12
    assert arrays(again.path) == arrays(whole.path)


def test_the_seed_matters(few, whole, tmp_path, inline):
    other = fit(str(few), "target", trials=12, methods=LIGHT, store=str(tmp_path / "s.db"), seed=1, out=tmp_path / "m")
    assert other.summary["estimate"] != whole.summary["estimate"]
    assert other.study != whole.study


def test_a_run_under_a_clock_is_replayed_from_its_trials(few, with_outside, tmp_path, monkeypatch):
    """Its clock ended it in mid-round and took a method away; the replay has no clock and the same end."""
    monkeypatch.setenv("SMIDGEN_TEST_GATE", str(tmp_path / "gate"))
    kept = {"methods": f"{LIGHT},gate_a", "store": str(tmp_path / "r.db")}
    timed = fit(str(few), "target", out=tmp_path / "timed", time=9, workers=2, **kept)
    sane(timed)
    assert timed.summary["seconds"] < 9 * 1.1 + 2
    (tmp_path / "gate").touch()
    again = fit(str(few), "target", out=tmp_path / "again", replay=timed.study, workers=1, **kept)
    assert arrays(again.path) == arrays(timed.path)
    assert again.summary["estimate"] == timed.summary["estimate"]
    assert again.summary["spent"]["reused"] == again.summary["spent"]["trials"]


@pytest.mark.parametrize("stop", ["in the first round", "in mid-round", "after a failure"])
def test_a_replay_ends_where_the_clock_did(few, tmp_path, inline, monkeypatch, stop):
    """A clock made of trials: exact, where the test above takes what a real one gives."""
    from smidgen.studies.job import Failure
    from smidgen.studies.runner import Runner

    real, count = Runner._end, [0]

    def end(self, outcome, *others):
        count[0] += 1
        if stop == "after a failure" and count[0] == 6:
            outcome = Failure("took longer than its 2 s", "deadline")
        return real(self, outcome, *others)

    def up(self):
        return count[0] >= {"in the first round": 3, "in mid-round": 6}.get(stop, 1000)

    if stop == "in the first round":  # where a round is closed, all but one leave
        monkeypatch.setattr(
            fitting, "Race", functools.partial(fitting.Race, config=RaceConfig(keep=1, behind=0.0, use=1.0))
        )

    kept = {"methods": LIGHT, "store": str(tmp_path / "r.db"), "out": tmp_path / "m"}
    with monkeypatch.context() as patch:
        patch.setattr(Runner, "_end", end)
        patch.setattr(Runner, "_time_is_up", up)
        timed = fit(str(few), "target", time=1000, **kept)
        before = arrays(timed.path)
    if stop != "after a failure":
        assert timed.summary["spent"]["trials"] == count[0] and len(timed.model.members) > 1
    again = fit(str(few), "target", replay=timed.study, **kept)
    assert arrays(again.path) == before
    assert again.summary["estimate"] == timed.summary["estimate"]


# -- killed, shared --


def test_killed_in_mid_study_and_run_again(few, child, inline, with_outside, tmp_path, monkeypatch):
    order = {
        "source": str(few),
        "out": "model",
        "trials": 10,
        "methods": f"{LIGHT},gate_a",
        "store": "runs.db",
        "workers": 2,
    }
    store = tmp_path / "runs.db"
    one = child(**order)
    done = "SELECT key, finished FROM trials WHERE state = 'done'"
    # All but the gated method have ended their first round, and nothing else can end: the moment is the store's.
    until(
        lambda: len(rows(store, done)) == 4 and len(rows(store, "SELECT 1 FROM trials WHERE state = 'running'")) == 1,
        one,
    )
    one.kill()
    kept = rows(store, done)
    holders = rows(store, "SELECT owner FROM trials WHERE state = 'running'")
    assert all(is_gone(owner) for (owner,) in holders)  # so nobody waits for a lease to end
    assert not (tmp_path / "model").exists()
    with RunStore(store) as runs:
        study = runs.studies()[0]
        assert study.state == "stopped" and len(runs.trials(study.id)) == 5

    one.gate.touch()
    summary = child(**order).summary()
    assert summary["spent"]["reused"] == 4 and summary["spent"]["trials"] == 10
    assert set(kept) <= set(rows(store, done))  # not measured again
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SMIDGEN_TEST_GATE", str(one.gate))
    unkilled = fit(
        order["source"], "target", out="other", trials=10, methods=order["methods"], store="other.db"
    ).summary
    assert unkilled["spent"]["reused"] == 0
    assert arrays(tmp_path / "model") == arrays(tmp_path / "other")
    assert summary["estimate"] == unkilled["estimate"]
    with RunStore(store) as runs:
        assert [s.state for s in runs.studies()] == ["done"]


def test_two_processes_share_one_study(few, child, tmp_path):
    order = {"source": str(few), "trials": 12, "methods": GATED, "store": "runs.db", "workers": 1}
    pair = [child(**order, out=name) for name in ("one", "two")]
    owners = "SELECT DISTINCT owner FROM trials WHERE state = 'running'"
    until(lambda: len(rows(tmp_path / "runs.db", owners)) == 2, *pair)  # both are at work, each held at a gate
    pair[0].gate.touch()
    summaries = [p.summary() for p in pair]
    assert arrays(tmp_path / "one") == arrays(tmp_path / "two")
    assert summaries[0]["estimate"] == summaries[1]["estimate"]
    measured = [s["spent"]["trials"] - s["spent"]["reused"] for s in summaries]
    assert sum(measured) == len(rows(tmp_path / "runs.db", "SELECT 1 FROM trials WHERE state = 'done'")) == 12
    assert min(measured) > 0


def test_resume_goes_on_from_the_stored_options(few, whole, tmp_path, monkeypatch, inline):
    monkeypatch.chdir(tmp_path)
    made = resume(whole.study, store=str(whole.path.parent / "runs.db"), out=tmp_path / "again")
    assert made.study == whole.study and made.summary["spent"]["reused"] == 12  # its own budget, and nothing anew
    assert arrays(made.path) == arrays(whole.path)
    resume(whole.study, store=str(whole.path.parent / "runs.db"), out=tmp_path / "more", trials=16)
    more = resume(whole.study, store=str(whole.path.parent / "runs.db"))  # the budget that was asked for last
    assert more.path == tmp_path / "more" and more.summary["spent"]["trials"] == 16
    frame = pd.read_csv(few)
    mine = fit(frame, "target", trials=2, methods="lda,knn", store="f.db")
    assert mine.path is None
    with pytest.raises(BadInput, match="call smidgen.fit with the data again"):
        resume(mine.study, store="f.db")


def test_a_study_whose_machine_is_lost_is_seen_to_stop_and_goes_on(few, tmp_path, monkeypatch, inline, capsys):
    from smidgen.cli.main import main
    from smidgen.studies import pulse

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pulse, "PULSE_SECONDS", 0.01)
    leases = set()

    def look(event):
        if event["kind"] == "trial":
            until(lambda: leases.update(rows("runs.db", "SELECT lease_until FROM studies")) or len(leases) > 2)

    made = fit(str(few), "target", trials=4, methods="lda,naive_bayes", store="runs.db", progress=look)
    assert len(leases) > 2, "its lease is extended while it runs"
    with contextlib.closing(sqlite3.connect("runs.db")) as raw:  # as its machine left it, a minute ago
        raw.execute("UPDATE studies SET state = 'running', owner = 'elsewhere:1:2:3', lease_until = ?", [time.time()])
        raw.commit()
    for line in (["studies", "ls"], ["studies", "show", made.study]):
        assert main([*line, "--store", "runs.db"]) == 0
        assert " stopped " in capsys.readouterr().out.replace("(stopped)", " stopped ")
    again = resume(made.study, store="runs.db").summary
    assert again["spent"]["reused"] == 4 and again["estimate"] == made.summary["estimate"]
    with RunStore("runs.db") as runs:
        assert runs.study(made.study).state == "done"


# -- time, memory, bytes --


def test_the_time_is_kept_whatever_methods_do(few, with_outside, tmp_path):
    methods = "lda,naive_bayes,constant,sleeper,raiser,nans,unsure,eater"
    made = fit(
        str(few),
        "target",
        out=tmp_path / "m",
        time=12,
        methods=methods,
        memory="700MB",
        store=str(tmp_path / "t.db"),
        workers=2,
    )
    sane(made)
    assert made.summary["seconds"] < 12 * 1.1 + 2
    said = notes(made)
    assert "took longer" in said["sleeper"]
    assert "ArithmeticError: this one always fails" in said["raiser"]
    assert "not finite" in said["nans"]
    assert "do not sum to 1" in said["unsure"]
    assert "out of memory" in said["eater"]
    assert said["lda"] == said["naive_bayes"] == said["constant"] == ""
    assert {"learn/lda", "learn/naive_bayes"} & {m.method for m in made.model.members}
    with RunStore(tmp_path / "t.db") as store:  # what only this budget forbade is not held against the method
        states = {t.trial["method"]: t.state for t in store.trials(made.study)}
        assert states["learn/raiser"] == states["learn/nans"] == "failed"
        assert states["learn/sleeper"] == states["learn/eater"] == "running"
        assert (
            store.claim(next(t.key for t in store.trials(made.study) if t.trial["method"] == "learn/sleeper"), "{}")
            is not None
        )


def test_nothing_but_a_sleeper_spends_the_budget(few, with_outside, tmp_path):
    start = time.monotonic()
    with pytest.raises(
        BudgetSpent, match=r"before any model was fitted \(learn/sleeper on linear: (failed: took longer|not finished)"
    ):
        fit(str(few), "target", time=5, methods="sleeper", store=str(tmp_path / "t.db"), out=tmp_path / "m", workers=1)
    assert time.monotonic() - start < 5 * 1.1 + 2 + 1
    assert not (tmp_path / "m").exists()


def test_nothing_but_failures_is_said_so(few, with_outside, tmp_path, inline):
    with pytest.raises(BudgetSpent, match="ArithmeticError"):
        fit(str(few), "target", trials=5, methods="raiser,nans", store=str(tmp_path / "t.db"), out=tmp_path / "m")
    with RunStore(tmp_path / "t.db") as store:
        assert store.studies()[0].state == "failed"


def test_a_last_fit_that_lacks_memory_does_not_ask_for_time(few, with_outside, tmp_path, inline):
    with pytest.raises(
        SmidgenError, match=r"hungry: out of memory: no room .*Allow more memory, or give fewer"
    ) as error:
        fit(str(few), "target", trials=2, methods="hungry", store=str(tmp_path / "t.db"), out=tmp_path / "m")
    assert not isinstance(error.value, BudgetSpent) and not (tmp_path / "m").exists()


def test_a_broken_package_from_outside_is_listed_and_not_the_end(few, with_outside, tmp_path, inline, monkeypatch):
    monkeypatch.setattr(fitting.registry, "names", lambda room=None: ["learn/broken", "learn/constant", "learn/lda"])
    made = fit(str(few), "target", trials=2, store=str(tmp_path / "t.db"), out=tmp_path / "m")
    assert "a_module_that_is_not_there" in notes(made)["broken"]
    with pytest.raises(BadInput, match="a_module_that_is_not_there"):
        fit(str(few), "target", trials=2, store=str(tmp_path / "t.db"), out=tmp_path / "m", methods="broken")


def test_too_little_memory_for_a_method(few, tmp_path, inline, monkeypatch):
    from smidgen.studies import candidates

    real = candidates.forecast
    monkeypatch.setattr(
        candidates,
        "forecast",
        lambda card, task, view: (0.01, int(9e9) if "knn" in card.name else real(card, task, view)[1], 0.01),
    )
    made = fit(
        str(few), "target", trials=2, methods="lda,knn", memory="1GB", store=str(tmp_path / "t.db"), out=tmp_path / "m"
    )
    assert notes(made)["knn"] == "needs 9.00 GB of memory, there are 1.00 GB"
    with pytest.raises(BadInput, match=r"No method can be tried.*needs .* GB of memory, there are 0.00 GB"):
        fit(str(few), "target", trials=2, memory="1MB", store=str(tmp_path / "t.db"), out=tmp_path / "m")


def test_the_folder_keeps_its_size(table, tmp_path, inline, monkeypatch):
    frame = table("tab_satellite", 120)
    kept = {"trials": 4, "methods": "logistic,lda,naive_bayes,knn", "store": str(tmp_path / "s.db"), "seed": 3}
    page = "<p>" + "a report " * 10_000
    free = fit(frame, "target", out=tmp_path / "free", render=lambda s: page, **kept)
    spent = [sum(f.stat().st_size for f in free.path.iterdir())]
    for limit in (spent[0] - 1, spent[0] - len(page) - 1, 30_000):
        made = fit(frame, "target", out=tmp_path / "small", size=limit, render=lambda s: page, **kept)
        sane(made)
        spent.append(sum(f.stat().st_size for f in made.path.iterdir()))
        assert spent[-1] <= limit
        assert made.summary["spent"]["model_bytes"] == spent[-1]
    assert len(made.model.members) < len(free.model.members)
    assert (tmp_path / "small-report.html").read_text() == page
    with pytest.raises(BadInput, match=r"--size 2.0 KB: the smallest model .* allow that much"):
        fit(frame, "target", out=tmp_path / "tiny", size=2000, **kept)
    assert not (tmp_path / "tiny").exists()
    monkeypatch.setattr(trial, "state_bytes", lambda state: 100)  # a forecast that is wrong
    made = fit(frame, "target", out=tmp_path / "late", size=30_000, **{**kept, "store": str(tmp_path / "o.db")})
    sane(made)
    assert sum(f.stat().st_size for f in made.path.iterdir()) <= 30_000
    with pytest.raises(BadInput, match=r"--size 6.5 KB: the model needs .* allow that much"):
        fit(frame, "target", out=tmp_path / "tiny", size=6500, **{**kept, "store": str(tmp_path / "o.db")})


def test_out_never_replaces_anything_but_a_model(few, tmp_path, inline):
    precious = tmp_path / "work"
    precious.mkdir()
    (precious / "thesis.tex").write_text("years of work")
    for out in (precious, few):
        with pytest.raises(BadInput, match="name a (new )?folder"):
            fit(str(few), "target", trials=2, methods="lda,knn", store=str(tmp_path / "o.db"), out=out)
    assert (precious / "thesis.tex").read_text() == "years of work"


# -- little and odd data --


def _two_a_class(rng):
    return pd.DataFrame({"a": rng.normal(size=4), "target": ["x", "y", "x", "y"]})


def _singles(rng):
    return pd.DataFrame(
        {
            "a": rng.normal(size=13),
            "c": list("uvuvuvuvuvuvu"),
            "target": ["x"] * 5 + ["y"] * 5 + ["one", "two", "three"],
        }
    )


def _thirty(rng):
    code = np.repeat(np.arange(30), 2)
    return pd.DataFrame(
        {
            "a": code % 6 + rng.normal(size=60) / 9,
            "b": code // 6 + rng.normal(size=60) / 9,
            "target": [f"c{c}" for c in code],
        }
    )


def _grouped(rng):
    frame = pd.DataFrame({"a": rng.normal(size=24), "who": np.repeat(["p", "q", "r", "s"], 6)})
    return frame.assign(target=np.where(frame.a + rng.normal(size=24) > 0, "yes", "no"))


@pytest.mark.filterwarnings("ignore:The number of unique classes")
@pytest.mark.parametrize("make", [_two_a_class, _singles, _thirty, _grouped], ids=lambda f: f.__name__[1:])
def test_very_little_still_ends_in_a_model_and_an_interval(make, tmp_path, inline):
    frame = make(np.random.default_rng(7))
    group = "who" if "who" in frame else None
    made = fit(
        frame,
        "target",
        trials=8,
        methods=f"{LIGHT},constant",
        group=group,
        store=str(tmp_path / "l.db"),
        out=tmp_path / "m",
    )
    sane(made)
    p = made.model.predict_proba(frame)
    assert p.shape == (len(frame), frame.target.nunique()) and (p > 0).all()
    np.testing.assert_allclose(p.sum(1), 1)
    assert made.summary["n"] == len(frame)
    assert (
        0
        <= made.summary["accuracy_interval"][0]
        <= made.summary["accuracy"]
        <= made.summary["accuracy_interval"][1]
        <= 1
    )
    if make is _thirty:
        assert made.summary["accuracy"] > 0.5
        assert made.summary["confusion"] is None
    if make is _two_a_class:
        assert made.summary["accuracy_interval"][1] - made.summary["accuracy_interval"][0] > 0.4


@pytest.mark.parametrize("metric", ["rmse", "r2"])
def test_regression(table, tmp_path, inline, metric):
    frame = table("tab_concrete", 80)
    made = fit(
        frame,
        "target",
        trials=6,
        methods="ridge,knn,constant",
        metric=metric,
        store=str(tmp_path / "r.db"),
        out=tmp_path / "m",
    )
    sane(made)
    s = made.summary
    assert s["kind"] == "regression" and s["metric"] == metric and len(s["residuals"]["truth"]) == 80
    better = s["estimate"] > s["baseline"]["estimate"] if metric == "r2" else s["estimate"] < s["baseline"]["estimate"]
    assert better and s["r2"] > 0.2
    np.testing.assert_array_equal(Model.load(made.path).predict(frame), made.model.predict(frame))


def test_text_without_its_encoder_beside_numbers(data_folder, tmp_path, inline, monkeypatch):
    from smidgen.data.views import view

    monkeypatch.setattr(view, "available", lambda name: False)
    monkeypatch.chdir(tmp_path)
    lines = (
        pd.read_json(data_folder / "sms_spam" / "train.jsonl.gz", lines=True)
        if (data_folder / "sms_spam" / "train.jsonl.gz").exists()
        else pd.read_json(data_folder / "trec" / "train.jsonl.gz", lines=True)
    )
    top = lines.label.value_counts().index[:2]
    some = lines[lines.label.isin(top)].groupby("label").head(20)
    frame = pd.DataFrame({"text": some.text, "length": some.text.str.len(), "target": [f"c{v}" for v in some.label]})
    made = fit(frame, "target", trials=4, methods="logistic,naive_bayes,constant", store="t.db", out="m")
    sane(made)
    assert {m.view for m in made.model.members} <= {"linear+tfidf", "linear+tfidf_svd", "linear"}
    assert any("tfidf" in m.view for m in made.model.members)
    np.testing.assert_array_equal(Model.load("m").predict_proba(frame), made.model.predict_proba(frame))


# -- no signal --


def test_on_shuffled_labels_it_does_not_claim_to_have_learnt(table, tmp_path, inline, with_outside):
    """With labels at random nothing beats the class frequencies. The best of many candidates seems to; the
    estimate must not.
    """
    frame = table("tab_pima_diabetes", 200).groupby("target").head(20)  # as many of each: a coin is as good as any
    best, corrected, base = [], [], []
    for seed in range(3):
        shuffled = frame.assign(target=np.random.default_rng(seed).permutation(frame.target.to_numpy()))
        made = fit(
            shuffled,
            "target",
            trials=32,
            kind="classification",
            store=str(tmp_path / "n.db"),
            out=tmp_path / "m",
            seed=seed,
            methods=",".join(["lda", "naive_bayes", "constant", *COINS]),
            metric="accuracy",
        )
        sane(made)
        best.append(max(r["estimate"] for r in made.summary["leaderboard"] if r["estimate"] is not None))
        corrected.append(made.estimate)
        base.append(made.summary["baseline"]["estimate"])
    noise = np.sqrt(0.25 / 40 / 3)
    assert np.mean(corrected) < np.mean(base) + 2 * noise
    assert np.mean(best) > np.mean(corrected) + noise


# -- bad input --


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"time": 5, "trials": 3}, "not both"),
        ({"trials": 0}, "above 0"),
        ({"trials": 3, "workers": -1}, "workers: expected at least 0"),
        ({"trials": 3, "methods": "logistik"}, "Did you mean 'logistic'"),
        ({"trials": 3, "settings": ["strength=1"]}, "one method in --methods"),
        ({"trials": 3, "methods": "knn", "settings": {"lda.shrinkage": 1}}, "not among --methods"),
        ({"replay": "nothing"}, "no study 'nothing'"),
    ],
)
def test_wrong_arguments_are_one_sentence_and_leave_nothing(few, tmp_path, inline, wrong, said):
    with pytest.raises(BadInput, match=said):
        fit(str(few), "target", store=str(tmp_path / "b.db"), out=tmp_path / "m", **wrong)
    assert not (tmp_path / "m").exists()


def test_a_dry_run_does_nothing(few, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    planned = fit(str(few), "target", dry_run=True, methods=LIGHT)
    assert planned.model is None and {e["method"] for e in planned.summary["plan"]} == {
        f"learn/{m}" for m in LIGHT.split(",")
    }
    assert planned.summary["seconds"] > 0 and "dry run: 4" in repr(planned)
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_in_the_race_keeps_the_best_so_far(few, tmp_path, inline, monkeypatch):
    real, count = trial.run_trial, [0]

    def interrupted(*args):
        count[0] += 1
        if count[0] == 6:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(trial, "run_trial", interrupted)
    made = fit(str(few), "target", trials=12, methods=LIGHT, store=str(tmp_path / "c.db"), out=tmp_path / "m")
    sane(made)
    assert made.interrupted and made.summary["spent"]["trials"] == 5
    with RunStore(tmp_path / "c.db") as store:
        assert store.study(made.study).state == "stopped"
