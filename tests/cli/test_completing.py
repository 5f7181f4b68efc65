"""What the shell is offered, through the door that the shell uses."""

import os
import subprocess
import sys

import pytest

from smidgen.cli import completing
from smidgen.studies.store import RunStore


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("cars-model", "cats", "work/cars-old", ".hidden"):
        (tmp_path / folder).mkdir(parents=True)
    for model in ("cars-model", "work/cars-old"):
        (tmp_path / model / "model.json").write_text("{}")
    (tmp_path / "cars.csv").write_text("a,b\n")
    return tmp_path


def offered(line, place):
    """What bash is told for a line whose last word is being written."""
    env = {**os.environ, "COMP_WORDS": line, "COMP_CWORD": str(line.count(" ")), "_SMIDGEN_COMPLETE": "complete_bash"}
    done = subprocess.run([sys.executable, "-m", "smidgen"], cwd=place, env=env, capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    return done.stdout.split()


def test_the_shell_gets_verbs_flags_and_names(place):
    assert {"fit", "doctor", "explain"} <= set(offered("smidgen ", place))
    assert "--dry-run" in offered("smidgen fit --dr", place)
    assert offered("smidgen fit --methods knn,kn", place) == []  # it is in the list already
    assert offered("smidgen predict ca", place) == ["cars-model", "cats/"]


def test_names_of_methods_topics_and_models(place):
    assert completing.method("kn") == ["knn"] and completing.method("learn/kn") == ["learn/knn"]
    assert completing.method_list("svm,kn") == ["svm,knn"]
    assert completing.topics("ex") == ["extras", "excel"]
    assert completing.models("") == ["cars-model", "cats/", "work/"]
    assert completing.models("work/c") == ["work/cars-old"] and completing.models("nowhere/x") == []


def test_studies_of_the_store_here_and_none_is_made(place):
    assert completing.studies("") == [] and not (place / ".smidgen").exists()
    with RunStore() as store:
        id = store.open_study("cars", "f" * 32, {}, {}).id
    assert completing.studies("car") == [id] and completing.studies("x") == []
    assert completing.models_and_studies("cars") == [id, "cars-model"]
    (place / ".smidgen" / "runs.db").write_bytes(b"damaged" * 999)
    assert completing.studies("") == []


def test_the_script_is_shown():
    done = subprocess.run([sys.executable, "-m", "smidgen", "--help"], capture_output=True, text=True)
    assert "--install-completion" in done.stdout and "--show-completion" in done.stdout
