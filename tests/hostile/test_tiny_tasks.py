"""Every (rows 2 to 12) x (classes 1 to 5) x (what is wrong with the columns): a model with an honest interval, or one
sentence. A part of the cells on every push, all with SMIDGEN_FUZZ."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from hostile_help import TIMES

import smidgen
from smidgen.kit.errors import BadInput, BudgetSpent
from smidgen.studies import fit as studies
from smidgen.studies.pool import InlinePool

KINDS = ("plain", "missing", "constant", "text", "category", "date", "doubled", "wide", "infinite", "huge")
CELLS = list(product(range(2, 13), range(1, 6), KINDS))
SHOWN = CELLS if TIMES > 1 else [c for i, c in enumerate(CELLS) if i % 53 == 3]


def table(rows: int, classes: int, kind: str) -> pd.DataFrame:
    rng = np.random.default_rng(rows * 100 + classes)
    y = np.arange(rows) % classes
    frame = pd.DataFrame({"x": (y + rng.normal(0, 0.5, rows)).round(2), "z": rng.normal(0, 1, rows).round(2)})
    if kind == "missing":
        frame.loc[rng.random(rows) < 0.5, "x"] = np.nan
    if kind == "constant":
        frame = frame.assign(x=1.0)
    if kind == "text":
        frame = pd.DataFrame({"said": [f"these words say number {i} of sort {k}" for i, k in enumerate(y)]})
    if kind == "category":
        frame = pd.DataFrame({"colour": [f"c{c}" for c in rng.integers(0, 3, rows)], "x": frame["x"]})
    if kind == "date":
        frame = frame.assign(when=[f"2024-0{m}-11" for m in rng.integers(1, 9, rows)])
    if kind == "doubled":  # every row twice, or with another class
        frame = frame.iloc[np.arange(rows) // 2].reset_index(drop=True)
    if kind == "wide":
        frame = pd.DataFrame(rng.normal(0, 1, (rows, 40)), columns=[f"w{i}" for i in range(40)])
    if kind == "infinite":
        frame.loc[rng.random(rows) < 0.3, "x"] = np.inf
    if kind == "huge":
        frame = frame.assign(x=frame["x"] * 1e300, z=frame["z"] * 1e-300)
    return frame.assign(y=[f"k{k}" for k in y])


@pytest.mark.parametrize(("rows", "classes", "kind"), SHOWN)
def test_a_model_or_a_sentence(tmp_path, monkeypatch, rows, classes, kind):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(studies, "Pool", InlinePool)  # without the start of workers
    frame = table(rows, classes, kind)
    try:
        fitted = smidgen.fit(frame, "y", trials=3, methods="logistic,knn,constant", workers=1, out=tmp_path / "m")
    except (BadInput, BudgetSpent) as error:
        fitted, said = None, str(error)
    if fitted is None:
        assert len(said) > 25 and "Traceback" not in said
        assert rows < 2 * classes or classes == 1 or rows < 4 or kind == "doubled", said
        return
    assert classes > 1
    s = fitted.summary
    assert s["n"] == rows  # rows are never added
    low, high = s["interval"] or (None, None)
    if low is not None:
        assert low <= s["estimate"] <= high and high > low
    else:
        assert s["warnings"]  # why there is none
    proba = smidgen.load(tmp_path / "m").predict_proba(frame.drop(columns="y"))
    assert proba.shape == (rows, min(rows, classes)) and np.isfinite(proba).all()
    assert np.allclose(proba.sum(1), 1)


def test_there_are_as_many_cells_as_promised():
    assert len(CELLS) == 550 and len(SHOWN) >= 10 and {kind for *_, kind in SHOWN} == set(KINDS)
