"""Small parts of the main job: names, folders, what is said of a task, and a result as people see it."""

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from smidgen.kit.errors import BadInput
from smidgen.studies.fit import GIVEN, _folder, _name, _place, _said, describe_json
from smidgen.studies.fitted import Fitted
from smidgen.studies.named import flat, own_settings, wanted_methods


def test_names_and_folders_come_from_the_file():
    assert [_name(s) for s in ("a/few.csv.gz", Path("x.tsv"), ".csv", object())] == ["few", "x", "study", "frame"]
    assert _folder("out", "a.csv") == Path("out") and _folder(None, "d/few.csv") == Path("few-model")
    assert _folder(None, object()) is None
    assert _place("a/b") == str(Path("a/b").absolute()) and _place(None) is None and _place([1]) == GIVEN


def test_a_task_in_a_sentence():
    class Task(SimpleNamespace):
        def __len__(self):
            return 1500

    two: Any = Task(classes=("a", "b"), unlabelled=range(2000), modalities=("table", "text"), target_name="y")
    assert _said(two) == "1,500 labelled rows, 2,000 without a label; table and text; target 'y': 2 classes"
    value: Any = Task(classes=(), unlabelled=None, modalities=(), target_name="y")
    assert _said(value) == "1,500 labelled rows; no usable columns; target 'y': a number"


def test_what_json_cannot_say_is_null():
    made = describe_json({"a": [1.5, math.nan, (math.inf, -math.inf)], "b": "ä", "c": None, "d": 0.0})
    assert made == '{"a": [1.5, null, [null, null]], "b": "ä", "c": null, "d": 0.0}'


def test_methods_and_settings_as_people_write_them():
    assert wanted_methods(None) is None
    assert (
        wanted_methods("lda, logistic,,lda")
        == ["learn/lda", "learn/logistic"]
        == wanted_methods(["logistic", "learn/lda"])
    )
    made = own_settings(["logistic.strength=0.5"], None)
    assert made == {"learn/logistic": {"strength": 0.5}} == own_settings({"logistic.strength": 0.5}, ["learn/logistic"])
    assert own_settings(["strength=2"], ["learn/logistic"]) == {"learn/logistic": {"strength": 2}}
    assert own_settings(None, None) == {} and flat(made) == {"learn/logistic.strength": 0.5}
    for given, wanted in ((["strength=2"], None), (["strength=2"], ["learn/logistic", "learn/lda"])):
        with pytest.raises(BadInput, match="METHOD.NAME=VALUE"):
            own_settings(given, wanted)
    with pytest.raises(BadInput, match="not among --methods"):
        own_settings(["logistic.strength=1"], ["learn/lda"])
    with pytest.raises(BadInput, match="strenth"):
        own_settings(["logistic.strenth=1"], None)


def test_a_result_as_people_see_it():
    rows = [
        {"method": "m", "view": "v", "estimate": 0.5, "interval": [0.4, 0.6], "weight": 1.0, "chosen": True,
         "repeats": 2, "seconds": 1.0, "params": {}, "note": "early", "remarks": ["thin", "flat"]},
        {"method": "n", "view": "", "estimate": None, "interval": None, "weight": 0.0, "chosen": False, "repeats": 0,
         "seconds": 0.0, "params": {}, "note": "not here"},
    ]  # fmt: skip
    asked: list[tuple[str, Any]] = []

    class Model:
        def predict(self, rows):
            asked.append(("predict", rows))
            return [1]

        def predict_proba(self, rows):
            asked.append(("proba", rows))
            return [0.5]

    model: Any = Model()
    summary = {"leaderboard": rows, "estimate": 0.5, "interval": [0.4, 0.6], "metric": "accuracy", "level": 0.9,
               "n": 40,
               "method": "m"}  # fmt: skip
    made = Fitted(model, summary, "s")
    board = made.leaderboard
    assert board["note"].tolist() == ["early thin flat", "not here"] and board["low"].iloc[0] == 0.4
    assert board["high"].iloc[0] == 0.6 and board["high"].isna().iloc[1] and board["low"].isna().iloc[1]
    assert made.estimate == 0.5 and made.interval == (0.4, 0.6) and not made.interrupted and made.path is None
    assert made.predict("x") == [1] and made.predict_proba("y") == [0.5] and asked == [("predict", "x"), ("proba", "y")]
    assert repr(made) == "Fitted(m; accuracy 0.500, 90% interval 0.400 to 0.600; n = 40)"
    skipped = SimpleNamespace(method="o", view="", why="no package")
    plan: Any = SimpleNamespace(
        forecast=lambda: (3.5, [{"method": "m", "tried": True}]), skipped=[skipped], described=lambda: {"n": 40}
    )
    dry = Fitted.planned(plan)
    assert dry.model is None and dry.summary["seconds"] == 3.5 and dry.summary["n"] == 40
    assert dry.summary["plan"][1] == {"method": "o", "view": "", "seconds": None, "memory_bytes": None, "tried": False,
                                      "note": "no package"}  # fmt: skip
    assert repr(dry) == "Fitted(dry run: 1 candidates)"
