"""The grid of augmentations with trainings that only say what they were asked: which are made, in which order, with
what settings; and its statistics by hand."""

import json
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from smidgen.data.augment.texts import EasyDataAugmentation
from smidgen.kit.errors import BadInput, BudgetSpent
from smidgen.kit.seeds import derive_seed
from smidgen.studies.augment_peft_cells import PLACE, cell_table, holm, interaction, paired
from smidgen.studies.augment_peft_measures import MEASURED, OF_COPIES, default_probes

pytest.importorskip("torch")

from smidgen.data.augment.text_mixup import SentenceMixup  # noqa: E402
from smidgen.learn import adapter_tuning  # noqa: E402
from smidgen.learn.adapter_tuning import TuningConfig  # noqa: E402
from smidgen.nets import text_encoder  # noqa: E402
from smidgen.studies import augment_peft as module  # noqa: E402
from smidgen.studies.augment_peft import Arm, AugmentPeftStudy, TextTask  # noqa: E402

TEXTS = [f"text {i}" for i in range(12)]
Y = np.array(["b", "a", "b", "c"] * 3)
TASK = TextTask("films", TEXTS, Y, ["one", "two"], ["a", "b"])
EDA = EasyDataAugmentation(n_aug=1)
PROBE: Any = SimpleNamespace(name="probe")
NO: Any = SimpleNamespace(name="no", missing="no translator")


class Fake(AugmentPeftStudy):
    """Measures nothing; writes down what it was to measure."""

    def _encoder(self, model):
        self.opened = [*getattr(self, "opened", []), model]
        return f"encoder {model}"

    def _measure(self, encoder, config, seed):
        self.asked = [*getattr(self, "asked", []), (encoder, config, seed)]
        return dict.fromkeys(MEASURED, 0.5) | {"score": float(len(self.asked))}


@pytest.fixture(autouse=True)
def prints(monkeypatch):
    monkeypatch.setattr(text_encoder, "fingerprint", lambda config: f"print of {config}")


def study(kind=Fake, **changed) -> Any:
    given = {
        "tasks": [TASK], "models": {"m": "M", "k": "K"}, "tuners": {"full": "F", "lora": "L"},
        "augmenters": {"none": None, "eda": EDA, "no": NO}, "n_train": [6, 9], "seeds": [4, 2, 4],
    } | changed  # fmt: skip
    return kind(**given)


def test_tasks_and_arms():
    for more, said in (
        ((["x"], [1], ["y"], [1, 2]), "task 'films': expected a label for each text, got another number."),
        ((["x"], [1, 2], ["y"], [1]), "task 'films': expected a label for each text, got another number."),
        ((["x", "z"], [1, 2], ["z", "x", "y"], [1, 2, 1]),
         "Task 'films' has 2 test texts among its training texts: remove them."),
    ):  # fmt: skip
        with pytest.raises(BadInput) as caught:
            TextTask("films", *more)
        assert str(caught.value) == said
    mix = SentenceMixup(alpha=0.3)
    assert [a.name for a in (Arm(), Arm(NO), Arm(NO, mix, 0.5, 7), Arm(None, mix), Arm(None, None, 0.25))] == [
        "none", "no", "no + mixup cls 0.3 + contrast 0.5 7", "mixup cls 0.3", "contrast 0.25 0"
    ]  # fmt: skip
    assert (Arm(NO).missing, Arm(EDA).missing, Arm().missing) == ("no translator", None, None)


def test_grids_that_cannot_be():
    for name in ("tasks", "models", "tuners", "augmenters", "n_train", "seeds", "budgets"):
        with pytest.raises(BadInput, match="n_train, seeds, budgets: expected at least one each, got"):
            study(**{name: {} if name in ("models", "tuners", "augmenters") else []})
    with pytest.raises(BadInput, match=r"rates: expected of full or lora, got prefix, x\."):
        study(rates={"x": [1.0], "prefix": [1.0], "full": [1.0]})
    for n in (5, 13):
        with pytest.raises(BadInput, match=f"n_train of 'films': expected 6 to 12, got {n}"):
            study(n_train=[6, n])
    assert len(study(n_train=[12]).draw(TASK, 12, 0)) == 12
    assert [p.name for p in study().probes] == [p.name for p in default_probes()] and study(probes=[]).probes == []
    assert study().config == TuningConfig() and study().seeds == [4, 2]


def test_draws_go_round_the_classes():
    rng = np.random.default_rng(derive_seed(3, "rows", "films"))
    a, b, c = (list(rng.permutation(np.flatnonzero(name == Y))) for name in "abc")
    turns = [a[0], b[0], c[0], a[1], b[1], c[1], a[2], b[2], c[2], b[3], b[4], b[5]]
    for n in (6, 10, 12):
        assert study().draw(TASK, n, 3).tolist() == turns[:n]


def test_every_cell_once_and_what_cannot_run_is_marked(tmp_path):
    one, told = study(), []
    found = one.run(tmp_path / "g", progress=lambda *at: told.append(at))
    assert one.opened == ["m", "k"] and found.finished and found.trials == 2 * 2 * 2 * 2 * 2
    cells = [(m, n, tuner, seed, arm) for m in ("m", "k") for n in (6, 9) for tuner in ("full", "lora")
             for seed in (4, 2) for arm in ("none", "eda", "no")]  # fmt: skip
    ran = [c for c in cells if c[4] != "no"]
    assert [(c["model"], c["n_train"], c["tuner"], seed, c["arm"]) for _, c, seed in one.asked] == ran
    first = one.asked[1]
    assert first == ("encoder m", {
        "task": "films", "model": "m", "tuner": "full", "n_train": 6, "budget": "epochs", "arm": "eda", "seed": 4,
        "encoder": "print of M", "settings": "F", "made": EDA.name, "tried": None,
    }, 4)  # fmt: skip
    assert told == [(i + 1, 48) for i, c in enumerate(cells) if c[4] != "no"]
    table = found.table
    assert list(table.columns) == ["task", "model", "tuner", "n_train", "budget", "arm", "seed", *MEASURED, "skipped"]
    assert table["skipped"].tolist() == ["", "", "no translator"] * 16
    assert table["score"].dropna().tolist() == list(range(1, 33)) and table["score"].isna().sum() == 16
    assert found.skipped == {"no": "no translator"} and found.overlap == {("films", 6): 0.5, ("films", 9): 0.75}
    again = study()
    assert again.run(tmp_path / "g").table.equals(table) and not hasattr(again, "asked")
    more = study(budgets=("epochs", "steps"), n_train=[6], seeds=[4])
    assert len(more.run(tmp_path / "g", max_trials=35).table) == 9
    assert [c["budget"] for _, c, _ in more.asked] == ["steps"] * 3


def test_a_budget_ends_it_and_nothing_at_all_is_an_error(tmp_path):
    part = study().run(tmp_path / "g", max_trials=3)
    assert not part.finished and part.trials == 3 and part.table["skipped"].tolist() == ["", "", "no translator", ""]
    late = study().run(tmp_path / "g", max_seconds=0)
    assert not late.finished and late.trials == 3
    with pytest.raises(BudgetSpent) as caught:
        study().run(tmp_path / "h", max_trials=0)
    assert str(caught.value) == f"No cell has a score: allow more, or look into the errors in {tmp_path / 'h'}."


def test_other_data_or_settings_are_another_grid(tmp_path):
    study().run(tmp_path / "g", max_trials=1)
    others = [
        TextTask("films", [*TEXTS[:-1], "x"], Y, ["one", "two"], ["a", "b"]),
        TextTask("films", TEXTS, Y[[1, 0, *range(2, 12)]], ["one", "two"], ["a", "b"]),
        TextTask("films", TEXTS, Y, ["one", "three"], ["a", "b"]),
        TextTask("films", TEXTS, Y, ["one", "two"], ["b", "b"]),
        TextTask("books", TEXTS, Y, ["one", "two"], ["a", "b"]),
    ]
    changes = [{"tasks": [t]} for t in others] + [{"config": TuningConfig(epochs=1)}, {"probes": []}]
    for change in changes:
        with pytest.raises(BadInput, match="another search space"):
            study(**change).run(tmp_path / "g")
    assert study(models={"m": "N"}).run(tmp_path / "g", max_trials=2).trials == 2  # another encoder: more cells


@pytest.fixture
def tuned(monkeypatch):
    """What classifiers were made of and fitted on, in place of their training."""
    seen: list[Any] = []

    class Classifier:
        def __init__(self, *given):
            self.given = given

        def fit(self, texts, y):
            seen.append((*self.given, texts, y.tolist()))
            self.rate_ = 0.25
            self.spent_ = SimpleNamespace(updates=3, epochs=1.5, rows=8, trained=9, no_positives=0, loss=7.0)

    def measure(one, task, probes, seed):
        return {"score": 0.75, "seen": (task.name, list(probes), seed)}

    def search(one, texts, y, rates):
        seen.append((*one.given, texts, y.tolist(), rates))
        return rates[0], {rates[0]: {1e-3: 0.5, 1e-2: 0.25, 0.1: math.nan, 0.5: 0.3}[rates[0]]}

    monkeypatch.setattr(adapter_tuning, "AdapterClassifier", Classifier)
    monkeypatch.setattr(adapter_tuning, "search_rate", search)
    monkeypatch.setattr(module, "measure", measure)
    return seen


def test_a_training_is_set_up_by_its_cell(tuned):
    mix = SentenceMixup()
    one = study(
        AugmentPeftStudy, config=TuningConfig(epochs=2, memory=5), probes=[PROBE],
        augmenters={"none": None, "eda": EDA, "all": Arm(EDA, mix, 0.5, 9), "close": Arm(contrast=0.25)},
    )  # fmt: skip
    own = {"epochs": 2, "seed": derive_seed(2, "training")}
    for arm, tried, config, augmenter in (
        ("none", None, TuningConfig(**own, memory=5, budget="steps"), None),
        ("eda", 0.01, TuningConfig(**own, memory=5, budget="steps", rate=0.01), EDA),
        ("all", None, TuningConfig(**own, memory=9, budget="steps", mixup=mix, contrast=0.5), EDA),
        ("close", None, TuningConfig(**own, memory=0, budget="steps", contrast=0.25), None),
    ):
        cell = {"task": "films", "arm": arm, "n_train": 6, "tried": tried, "budget": "steps", "tuner": "lora"}
        got = one._measure("encoder", cell, 2)
        rows = one.draw(TASK, 6, 2)
        assert tuned[-1] == ("encoder", "L", config, augmenter, [TEXTS[i] for i in rows], Y[rows].tolist())
        assert got == {
            "rate": 0.25, "updates": 3, "epochs": 1.5, "rows": 8, "trained": 9, "no_positives": 0, "score": 0.75,
            "seen": ("films", [PROBE], derive_seed(2, "probe")),
        }  # fmt: skip


def test_the_rate_with_the_least_loss_holds_for_all_arms_and_seeds(tuned, tmp_path):
    rates = {"lora": (1e-3, 1e-2, 0.1, 0.5), "full": (0.1,)}
    one = study(rates=rates, models={"m": "M"}, n_train=[6])
    one.run(tmp_path / "g")
    assert [(c["tuner"], c["tried"]) for _, c, _ in one.asked] == [("full", None)] * 4 + [("lora", 1e-2)] * 4
    rows = one.draw(TASK, 6, 4)
    own = TuningConfig(seed=4)
    assert [s[-1] for s in tuned] == [[0.1], [1e-3], [1e-2], [0.1], [0.5]]
    assert tuned[1][:-1] == ("encoder m", "L", own, [TEXTS[i] for i in rows], Y[rows].tolist())
    lines = [json.loads(line) for line in (tmp_path / "g").read_text().splitlines()[1:]]
    found = {r["config"]["search"]: r for r in lines if "search" in r["config"] and r["config"]["settings"] == "L"}
    assert found[1e-2]["config"] == {"search": 1e-2, "task": "films", "model": "m", "n_train": 6,
                                     "encoder": "print of M", "settings": "L"}  # fmt: skip
    assert (found[1e-2]["score"], found[1e-2]["log_loss"], found[1e-2]["rate"]) == (-0.25, 0.25, 1e-2)
    assert found[1e-2]["updates"] is None and len(lines) == 5 + 8


# -- statistics --


def test_gains_by_students_test():
    gains = np.array([0.1, math.nan, 0.3, -0.1, math.inf])
    got = paired(gains, 0.25, 0.8)
    error = math.sqrt((1 / 3 + 1 / 3) * np.var([0.1, 0.3, -0.1], ddof=1))
    low, high = stats.t.interval(0.8, 2, 0.1, error)
    assert got == pytest.approx(
        {"gain": 0.1, "low": low, "high": high, "p": 2 * stats.t.sf(0.1 / error, 2), "seeds": 3}
    )
    assert paired(gains[[0, 1]], 0.0)["seeds"] == 1 and math.isnan(paired(gains[[0, 1]], 0.0)["p"])
    none = paired(np.array([math.nan]), 0.0)
    assert none["seeds"] == 0 and all(math.isnan(none[k]) for k in ("gain", "low", "high", "p"))
    all_rows = paired(np.array([0.5, 1.5]), 1.0)
    assert all_rows == {"gain": 1.0, "low": -math.inf, "high": math.inf, "p": 1.0, "seeds": 2}
    assert [paired(np.array([v, v]), 0.0)["p"] for v in (0.5, 0.0)] == [0.0, 1.0]
    assert (
        paired(np.array([0.5, 0.5]), 0.0)["low"] == 0.5
        and paired(np.array([1.0, 2.0]), 0.0)["p"] == (paired(np.array([-1.0, -2.0]), 0.0)["p"])
    )
    assert paired(np.array([0.1, 0.2]), 0.0) == paired(np.array([0.1, 0.2]), 0.0, 0.95)
    assert holm(np.array([0.5, 0.02, 0.6, 0.02])) == pytest.approx([1, 0.08, 1, 0.08])
    assert np.isnan(holm(np.array([math.nan]))).all() and len(holm(np.array([]))) == 0


def cells(**scores):
    rows = [
        {"task": "t", "model": "m", "tuner": tuner, "n_train": 8, "budget": "steps", "arm": arm, "seed": s, "score": v,
         "updates": s, "epochs": 2.0 * s, "skipped": ""}
        for name, own in scores.items() for tuner, arm in [name.split("_")] for s, v in enumerate(own)
    ]  # fmt: skip
    return pd.DataFrame(rows).iloc[::-1]


def test_cells_and_interactions():
    table = cells(b_none=[0.1, 0.2, 0.4], b_eda=[0.2, 0.4, 0.4], a_none=[0.5, 0.5, 0.6], a_eda=[0.5, 0.7, 0.8])
    overlap = {("t", 8): 0.2}
    made = cell_table(table, overlap, "none", 0.9)
    assert list(made.columns) == [*PLACE, "arm", "score", "std", "updates", "epochs", "skipped", "gain", "low", "high",
                                  "p", "p_holm"]  # fmt: skip
    assert made[["tuner", "arm"]].to_numpy().tolist() == [["a", "eda"], ["a", "none"], ["b", "eda"], ["b", "none"]]
    own, other = paired(np.array([0, 0.2, 0.2]), 0.2, 0.9), paired(np.array([0.1, 0.2, 0]), 0.2, 0.9)
    for row, want in ((made.iloc[0], own), (made.iloc[2], other)):
        assert {k: row[k] for k in ("gain", "low", "high", "p")} == pytest.approx(
            {k: want[k] for k in ("gain", "low", "high", "p")}
        )
    assert made["p_holm"].iloc[[0, 2]].tolist() == pytest.approx(holm(np.array([own["p"], other["p"]])))
    assert made[["gain", "p_holm"]].iloc[[1, 3]].isna().all(axis=None)
    assert made.iloc[0][["score", "std", "updates", "epochs"]].tolist() == pytest.approx(
        [2 / 3, np.std([0.5, 0.7, 0.8], ddof=1), 1, 2]
    )
    gap = interaction(table, overlap, "eda", "a", "b", "none", 0.9)
    want = paired(np.array([-0.1, 0, 0.2]), 0.2, 0.9)
    assert gap.iloc[0].to_dict() == {
        "task": "t", "model": "m", "n_train": 8, "budget": "steps", "arm": "eda", "first": "a", "second": "b",
        **{k: pytest.approx(v) for k, v in want.items()},
    }  # fmt: skip
    for call, said in (
        (lambda: cell_table(table, overlap, "x", 0.9), "arm: expected eda or none, got x."),
        (lambda: interaction(table, overlap, "x", "a", "b", "none", 0.9), "arm: expected eda or none, got x."),
        (lambda: interaction(table, overlap, "eda", "a", "b", "x", 0.9), "arm: expected eda or none, got x."),
        (lambda: interaction(table, overlap, "eda", "x", "b", "none", 0.9), "tuner: expected a or b, got x."),
        (lambda: interaction(table, overlap, "eda", "a", "x", "none", 0.9), "tuner: expected a or b, got x."),
    ):
        with pytest.raises(BadInput) as caught:
            call()
        assert str(caught.value) == said
    assert set(OF_COPIES) < set(MEASURED)
