"""The verbs one after the other, on real data, with nothing replaced but the size of the budget."""

import csv
import json
import re
from pathlib import Path

import pytest

import smidgen
from smidgen.cli import fitting
from smidgen.cli.main import main


@pytest.fixture
def small(monkeypatch, tmp_path):
    """In an empty folder; fits are few."""
    monkeypatch.chdir(tmp_path)
    return ["--trials", "4", "--methods", "logistic,lda", "--workers", "1"]


def test_demo_predict_and_studies(small, monkeypatch, capsys):
    whole = smidgen.fit
    monkeypatch.setattr(
        smidgen,
        "fit",
        lambda *a, **o: whole(*a, **{**o, "time": None, "trials": 4, "methods": "logistic,lda", "workers": 1}),
        raising=False,
    )
    assert main(["demo"]) == 0
    out = capsys.readouterr().out
    assert (
        "60 labelled rows" in out
        and "509 rows that nothing above has seen" in out
        and "smidgen-demo/model/report.html" in out
    )
    truth, expected = re.search(r"accuracy (\d+)\s%; expected (\d+)\s%", out).groups()
    assert int(truth) > 85 and int(expected) > 80
    assert fitting.DEMO_TIME == "30s"

    assert main(["predict", "smidgen-demo/model", "smidgen-demo/rest.csv", "--out", "p.csv"]) == 0
    rows, given = (list(csv.DictReader(Path(f).read_text().splitlines())) for f in ("p.csv", "smidgen-demo/rest.csv"))
    assert len(rows) == len(given) == 509 and list(rows[0]) == ["prediction", "proba_benign", "proba_malignant"]
    assert all(abs(float(r["proba_benign"]) + float(r["proba_malignant"]) - 1) < 1e-9 for r in rows)
    right = sum(r["prediction"] == g["diagnosis"] for r, g in zip(rows, given, strict=True)) / 509
    assert round(100 * right) == int(truth)  # in the order of the input

    capsys.readouterr()
    assert main(["studies", "ls"]) == 0
    id = capsys.readouterr().out.splitlines()[1].split()[0]
    assert main(["studies", "show", id]) == 0
    assert "4 done" in capsys.readouterr().out
    assert main(["studies", "rm", id]) == 0
    assert main(["studies", "ls"]) == 0
    assert "No studies yet" in capsys.readouterr().out


def test_fit_json_then_resume(small, capsys):
    from sklearn.datasets import load_diabetes

    load_diabetes(as_frame=True).frame.iloc[:40].to_csv("few.csv", index=False)
    line = ["few.csv", "--target", "target", "--trials", "2", "--methods", "ridge", "--workers", "1", "--json"]
    assert main(["fit", *line]) == 0
    first = json.loads(capsys.readouterr().out)
    assert (
        first["r2"] is not None and first["model"] == "few-model" and first["report"].endswith("few-model/report.html")
    )
    assert main(["studies", "resume", first["study"], "--trials", "2", "--workers", "1", "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["study"] == first["study"] and again["estimate"] == first["estimate"]
    assert again["spent"]["reused"] == again["spent"]["trials"]  # nothing was done twice
