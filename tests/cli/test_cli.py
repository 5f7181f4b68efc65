"""The contract of the command line, with a stand-in fit: exit status, exactly one JSON object, one sentence."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import smidgen
from smidgen.cli.main import main
from smidgen.kit.errors import BadInput, BudgetSpent
from web import samples

ROOT = Path(__file__).resolve().parents[2]
NOISE = """
import os, sys, smidgen
from types import SimpleNamespace
from smidgen.cli.main import main
sys.path.insert(0, "tests")
from web import samples

def fit(source, *, progress, **options):
    print("chatter of a library")
    os.write(1, b"chatter of C code\\n")
    progress({"kind": "trial", "text": "a trial", "done": 1, "total": 2, "seconds_left": 3.0})
    return SimpleNamespace(summary=samples.two_classes() | {"r2": float("nan")}, path=None, interrupted=False)

smidgen.fit = fit
sys.exit(main(sys.argv[1:]))
"""


def stand_in(monkeypatch, result=None, error=None, **more):
    """Replaces `smidgen.fit`; gives the list of the calls that it got."""
    calls = []

    def fit(source, *, progress, begun, **options):
        assert begun <= time.monotonic()  # the person's clock: from the start of the command
        calls.append({"source": source, **options})
        progress({"kind": "read", "text": "read \x1b[31mred", "done": 0, "total": None, "seconds_left": None})
        if error is not None:
            raise error
        return SimpleNamespace(
            **{"summary": result or samples.two_classes(), "path": None, "interrupted": False, "study": "s1", **more}
        )

    monkeypatch.setattr(smidgen, "fit", fit, raising=False)
    return calls


def process(*args, **environment):
    """The stand-in fit in a process of its own."""
    env = {**os.environ, "PYTHONPATH": str(ROOT / "src"), **environment}
    return subprocess.run([sys.executable, "-c", NOISE, *args], capture_output=True, cwd=ROOT, env=env, timeout=60)


def test_json_is_all_that_standard_output_gets(tmp_path):
    done = process("fit", "x.csv", "--target", "y", "--out", str(tmp_path / "m"), "--json")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.decode().splitlines()
    assert len(lines) == 1
    found = json.loads(lines[0], parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    wanted = {
        "model",
        "study",
        "method",
        "metric",
        "estimate",
        "interval",
        "level",
        "accuracy",
        "seconds",
        "spent",
        "leaderboard",
    }
    assert wanted <= found.keys() and found["r2"] is None
    assert {"method", "estimate", "interval", "seconds", "chosen"} <= found["leaderboard"][0].keys()
    assert found["estimate"] == samples.two_classes()["estimate"]
    assert (
        b"chatter of C code" in done.stderr
        and b"chatter of a library" in done.stderr
        and b"a trial (1 of 2" in done.stderr
    )


def test_any_terminal_encoding_will_do(tmp_path):
    done = process("fit", "x.csv", "--out", str(tmp_path / "m"), PYTHONIOENCODING="ascii", COLUMNS="120")
    assert done.returncode == 0, done.stderr
    assert b"0.238 to 0.437" in done.stdout and b'"churned"' in done.stdout


def test_all_flags_reach_fit(monkeypatch, capsys, tmp_path):
    calls = stand_in(monkeypatch)
    flags = {
        "target": "y",
        "out": str(tmp_path / "m"),
        "time": "9s",
        "memory": "4GB",
        "size": "5MB",
        "metric": "auc",
        "unlabelled": "u.csv",
        "group": "g",
        "methods": "knn,svm",
        "task": "classification",
        "seed": "7",
        "store": "sqlite:///s.db",
        "workers": "2",
        "executor": "ray",
        "replay": "abc",
    }
    line = [part for name, value in flags.items() for part in (f"--{name}", value)]
    assert main(["fit", "x.csv", *line, "--set", "knn.k=3", "--set", "svm.c=2", "--dry-run", "--json"]) == 0
    expected = {k: v for k, v in flags.items() if k != "task"} | {
        "source": "x.csv",
        "kind": "classification",
        "seed": 7,
        "workers": 2,
        "trials": None,
        "settings": ["knn.k=3", "svm.c=2"],
        "dry_run": True,
    }
    assert calls == [expected]
    assert main(["fit", "x.csv", "--trials", "12", "--out", str(tmp_path / "m")]) == 0
    assert calls[1]["trials"] == 12 and calls[1]["time"] is None and calls[1]["settings"] is None


@pytest.mark.parametrize(
    ("error", "status", "says"),
    [
        (BadInput("x.csv: no column 'y'. Did you mean 'Y'?"), 2, "smidgen: x.csv: no column 'y'. Did you mean 'Y'?"),
        (
            BudgetSpent("The time ended before any model. Give more."),
            3,
            "smidgen: The time ended before any model. Give more.",
        ),
        (PermissionError(13, "Permission denied", "/m"), 2, "smidgen: /m: Permission denied."),
    ],
)
def test_errors_are_one_sentence_and_a_status(monkeypatch, capsys, tmp_path, error, status, says):
    stand_in(monkeypatch, error=error)
    assert main(["fit", "x.csv", "--out", str(tmp_path / "m"), "--json"]) == status
    out, err = capsys.readouterr()
    assert out == "" and err.splitlines()[1:] == [says]
    assert "\x1b" not in err  # a column's name commands no terminal


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (["fit"], "FILE_OR_FOLDER"),
        (["fit", "x.csv", "--tim", "3"], "--time"),
        (["fit", "x.csv", "--trials", "0"], "--trials"),
        (["fit", "x.csv", "--trials", "many"], "--trials"),
        (["fitt", "x.csv"], "fitt"),
        (["fit", "x.csv", "--task", "guess"], "classification"),
        (["predict", "nowhere", "x.csv"], "nowhere"),
        (["predict", "m", "x.csv", "--out", "no/such/p.csv"], "no/such"),
        (["methods", "show", "logistik"], "logistic"),
        (["studies", "show", "a"], "no studies here"),
    ],
)
def test_wrong_use_is_status_2(capsys, monkeypatch, tmp_path, line, says):
    monkeypatch.chdir(tmp_path)
    assert main(line) == 2
    out, err = capsys.readouterr()
    lines = 1 + ("run: smidgen explain" in err)  # where to read on has a line of its own
    assert out == "" and len(err.splitlines()) == lines and says in err and "Traceback" not in err


def test_an_error_of_our_own_shows_its_trace(monkeypatch, tmp_path):
    stand_in(monkeypatch, error=ZeroDivisionError("a bug"))
    with pytest.raises(ZeroDivisionError):
        main(["fit", "x.csv", "--out", str(tmp_path / "m")])


def test_ctrl_c_before_and_after_the_first_model(monkeypatch, capsys, tmp_path):
    line = ["fit", "x.csv", "--out", str(tmp_path / "m"), "--json"]
    stand_in(monkeypatch, interrupted=True)
    assert main(line) == 130
    out, err = capsys.readouterr()
    assert json.loads(out)["study"] == "5f3a9c" and "studies resume s1" in err

    def stopped(source, *, progress, **options):
        os.kill(os.getpid(), 2)
        raise AssertionError("the signal came too late")

    monkeypatch.setattr(smidgen, "fit", stopped, raising=False)
    assert main(line) == 130
    assert "Stopped before any model" in capsys.readouterr().err

    def nothing_yet(source, *, progress, **options):
        try:
            os.kill(os.getpid(), 2)
        except KeyboardInterrupt:
            raise BudgetSpent("nothing was measured") from None

    monkeypatch.setattr(smidgen, "fit", nothing_yet, raising=False)
    assert main(line) == 130


def test_a_folder_with_other_files_is_not_replaced(monkeypatch, capsys, tmp_path):
    calls = stand_in(monkeypatch)
    (tmp_path / "thesis.txt").write_text("years of work")
    assert main(["fit", "x.csv", "--out", str(tmp_path)]) == 2
    assert "other files" in capsys.readouterr().err and calls == []
    (tmp_path / "model.json").write_text("{}")
    assert main(["fit", "x.csv", "--out", str(tmp_path)]) == 0


def test_people_get_leaderboard_sentences_and_paths(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("COLUMNS", "120")
    (tmp_path / "report.html").write_text("")
    stand_in(monkeypatch, path=tmp_path)
    assert main(["fit", "x.csv", "--out", str(tmp_path / "m")]) == 0
    out = capsys.readouterr().out
    first = next(line for line in out.splitlines() if "logistic" in line)
    assert first.startswith("*") and "0.312" in first and "0.226 to 0.421" in first and "62" in first
    assert "still improving" in out and str(tmp_path / "report.html") in out and "118 trials" in out
    assert "tabpfn on columns: needs 3.1 GB, there are 2.0 GB" in out


def test_dry_run_lists_what_would_be_tried(monkeypatch, capsys, tmp_path):
    entry = {"method": "learn/knn", "view": "linear", "seconds": 1.5, "memory_bytes": 350e6, "note": "8 fits"}
    stand_in(monkeypatch, result={"plan": [entry], "seconds": 12.0})
    assert main(["fit", "x.csv", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "knn" in out and "350 MB" in out and "12 s" in out
    assert main(["fit", "x.csv", "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["plan"] == [entry]
    columns = [{"name": "cm", "kind": "number", "note": ""}, {"name": "id", "kind": "id", "note": "it counts the rows"}]
    said = ["Column 'id' is left out: it counts the rows.", "Column 'cm' is read with a decimal comma."]
    findings = [{"level": "note", "text": text} for text in said]
    stand_in(monkeypatch, result={"plan": [entry], "seconds": 1.0, "columns": columns, "findings": findings})
    assert main(["fit", "x.csv", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "left out: it counts the rows\n" in out and out.count("counts the rows") == 1 and f"Note: {said[1]}" in out


def model(kind="classification", classes=("no", "=cmd()", "-1", "+x")):
    proba = np.random.default_rng(0).dirichlet(np.ones(len(classes)), 9) if classes else None
    values = np.random.default_rng(1).normal(size=9)
    return (
        SimpleNamespace(kind=kind, classes=classes, predict_proba=lambda source: proba, predict=lambda source: values),
        proba,
        values,
    )


def test_predictions_keep_every_digit_and_run_no_formula(monkeypatch, capsys, tmp_path):
    import csv

    made, proba, _ = model()
    monkeypatch.setattr(smidgen, "load", lambda folder: made, raising=False)
    assert main(["predict", "m", "x.csv"]) == 0
    rows = list(csv.reader(capsys.readouterr().out.splitlines()))
    assert rows[0] == ["prediction", "proba_no", "proba_=cmd()", "proba_-1", "proba_+x"]
    assert np.array_equal(np.array([r[1:] for r in rows[1:]], float), proba)  # bit for bit
    shown = {"no": "no", "=cmd()": "'=cmd()", "-1": "-1", "+x": "'+x"}
    assert [r[0] for r in rows[1:]] == [shown[made.classes[k]] for k in proba.argmax(1)]
    assert {r[0] for r in rows[1:]} >= {"'=cmd()", "-1"}
    assert main(["predict", "m", "x.csv", "--out", str(tmp_path / "p.csv")]) == 0
    assert list(csv.reader((tmp_path / "p.csv").read_text().splitlines())) == rows
    assert capsys.readouterr().out == ""


def test_predictions_as_parquet_and_numbers(monkeypatch, capsys, tmp_path):
    pd, _ = pytest.importorskip("pandas"), pytest.importorskip("pyarrow")
    made, proba, _ = model()
    monkeypatch.setattr(smidgen, "load", lambda folder: made, raising=False)
    assert main(["predict", "m", "x.csv", "--out", str(tmp_path / "p.parquet")]) == 0
    frame = pd.read_parquet(tmp_path / "p.parquet")
    assert np.array_equal(frame.iloc[:, 1:].to_numpy(), proba)
    assert list(frame["prediction"]) == [made.classes[k] for k in proba.argmax(1)]
    made, _, values = model("regression", ())
    monkeypatch.setattr(smidgen, "load", lambda folder: made, raising=False)
    assert main(["predict", "m", "x.csv", "--out", "-"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "prediction" and [float(v) for v in lines[1:]] == values.tolist()


def test_predictions_of_a_folder_say_which_image_each_is_of(monkeypatch, capsys, tmp_path):
    made, proba, _ = model(classes=("cat", "dog"))
    made.predict_proba = lambda source: proba[:3]
    monkeypatch.setattr(smidgen, "load", lambda folder: made)
    for name in ("b/2.JPG", "a/1.png", "=3.png", "b/4.heic", "Thumbs.db"):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "photos" / name).touch()
    assert main(["predict", "m", str(tmp_path / "photos")]) == 0
    out, err = capsys.readouterr()
    rows = [line.split(",") for line in out.splitlines()]
    assert rows[0] == ["image", "prediction", "proba_cat", "proba_dog"]
    assert [r[0] for r in rows[1:]] == ["'=3.png", "a/1.png", "b/2.JPG"]  # as they are read, and no formula
    assert "1 HEIC picture (such as 4.heic)" in err


def test_a_reader_that_leaves_early_is_no_error(tmp_path):
    code = (
        "import sys, smidgen, numpy as np\nfrom types import SimpleNamespace as S\nfrom smidgen.cli.main import main\n"
        "smidgen.load = lambda f: S(kind='regression', predict=lambda s: np.arange(200000.0))\n"
        "sys.exit(main(['predict', 'm', 'x']))"
    )
    done = subprocess.run(
        f'{sys.executable} -c "{code}" | head -1',
        shell=True,
        capture_output=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )
    assert done.stdout == b"prediction\n" and b"Traceback" not in done.stderr and b"Error" not in done.stderr


def test_help_version_and_bare_words(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"smidgen {smidgen.__version__}\n"
    for line in ([], ["--help"], ["studies"], ["methods"], ["fit", "-h"]):
        assert main(line) == 0
        assert "Usage: smidgen" in capsys.readouterr().out


def test_methods_are_listed_and_shown(capsys):
    from smidgen.kit import methods

    assert main(["methods", "ls"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in methods.names())
    assert main(["methods", "show", "logistic"]) == 0
    out = capsys.readouterr().out
    assert methods.card("learn/logistic").tldr in out and "strength" in out and "auto" in out and "penalty" in out
