"""What is written of each update: beside JSON lines what TensorBoard and MLflow read; none of them stops a training."""

import importlib.util
import math
import resource
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from smidgen.cli.main import main
from smidgen.kit.errors import BadInput, MissingExtra
from smidgen.train import journal
from smidgen.train.journal import Journal, Logs, open_log, read

UPDATE = {"loss": 2.5, "lr": 1, "action": "skip", "held": None, "norm": math.nan}


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """Makes a package of this name and code, where there is none; the real one is used itself."""
    made = []

    def make(name, code):
        if importlib.util.find_spec(name) is not None:
            pytest.skip(f"{name} is installed: it is used itself")
        (tmp_path / f"{name}.py").write_text(code)
        monkeypatch.syspath_prepend(tmp_path)
        made.append(name)

    yield make
    for name in made:
        sys.modules.pop(name, None)


def update(log, steps):
    for step in steps:
        log.write(step, **{**UPDATE, "loss": 2.5 / step})
    log.close()


def test_tensorboard_reads_it(tmp_path):
    pytest.importorskip("tensorboard")
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    update(open_log("tensorboard", tmp_path, tmp_path, after=1), (1, 2, 3))
    update(open_log("tensorboard", tmp_path, tmp_path, after=3), (3,))  # resumed: step 3 is done again
    found = accumulator.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert sorted(found.Tags()["scalars"]) == ["loss", "lr"]
    assert [(e.step, round(e.value, 4)) for e in found.Scalars("loss")] == [(1, 2.5), (2, 1.25), (3, 0.8333)]


def test_mlflow_keeps_one_run(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setattr(journal, "SEND", 2)
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'runs.db'}")
    try:
        for after, steps in ((1, (1, 2, 3)), (4, (4,))):
            update(open_log("mlflow", tmp_path / "letters-lm", tmp_path, after), steps)
        (run,) = mlflow.search_runs(output_format="list", search_all_experiments=True)
        history = mlflow.MlflowClient().get_metric_history(run.info.run_id, "loss")
    finally:
        mlflow.set_tracking_uri(before)
    assert (run.info.run_name, run.info.status, set(run.data.metrics)) == ("letters-lm", "FINISHED", {"loss", "lr"})
    assert [m.step for m in history] == [1, 2, 3, 4]


def test_tensorboard_is_told(tmp_path, monkeypatch, fake):
    fake("tensorboard", "")
    told = []

    class Writer:
        def __init__(self, folder, purge_step):
            told.append((folder, purge_step))

        def add_scalar(self, *said):
            told.append(said)

        def close(self):
            told.append("closed")

    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", SimpleNamespace(SummaryWriter=Writer))
    update(open_log("tensorboard", tmp_path, tmp_path, after=5), (5,))
    assert told == [(str(tmp_path / "tensorboard"), 5), ("loss", 0.5, 5), ("lr", 1.0, 5), "closed"]


FAKE_MLFLOW = """
from types import SimpleNamespace
told = []
entities = SimpleNamespace(Metric=lambda name, value, time, step: (name, value, step))
def start_run(run_id, run_name, nested):
    told.append((run_id, run_name))
    return SimpleNamespace(info=SimpleNamespace(run_id=run_id or "r1"))
def end_run():
    told.append("ended")
class MlflowClient:
    def log_batch(self, run, metrics):
        told.append((run, *metrics))
"""


def test_mlflow_is_told_in_batches(tmp_path, monkeypatch, fake):
    fake("mlflow", FAKE_MLFLOW)
    monkeypatch.setattr(journal, "SEND", 2)
    for after, steps in ((1, (1, 2, 5)), (6, ())):
        update(open_log("mlflow", tmp_path / "letters-lm", tmp_path, after), steps)
    assert sys.modules["mlflow"].told == [
        (None, "letters-lm"),
        ("r1", ("loss", 2.5, 1), ("lr", 1.0, 1), ("loss", 1.25, 2), ("lr", 1.0, 2)),
        ("r1", ("loss", 0.5, 5), ("lr", 1.0, 5)),
        "ended",
        ("r1", "letters-lm"),
        "ended",
    ]


def test_logs_that_cannot_be_are_refused_before_anything_begins(tmp_path, monkeypatch, capsys):
    text = tmp_path / "a.txt"
    text.write_text("words " * 100)
    command = ["lm", "train", str(text), "--size", "100k", "--out", str(tmp_path / "m"), "--log"]
    assert main([*command, "wandb"]) == 2
    assert "--log: expected tensorboard or mlflow, got wandb" in capsys.readouterr().err
    monkeypatch.setattr("smidgen.kit.extras.installed", lambda *modules: "torch" in modules)
    with pytest.raises(MissingExtra, match=r"--log mlflow needs .* 'smidgen\[logs\]'"):
        journal.check(["mlflow"])
    assert main([*command, "tensorboard"]) == 2 and not (tmp_path / "m").exists()
    with pytest.raises(BadInput):
        open_log("wandb", tmp_path, tmp_path, 1)


def test_a_log_that_fails_is_left_out_and_the_others_go_on(tmp_path):
    class Broken:
        def write(self, step, **values):
            raise ConnectionError("no server")

        def close(self):
            raise AssertionError("it was left out")

    said = []
    update(Logs([Broken(), Journal(tmp_path / "log.jsonl")], said.append), (1, 2))
    assert [x["step"] for x in read(tmp_path / "log.jsonl")] == [1, 2] and [str(e) for e in said] == ["no server"]


def test_a_full_disk_costs_no_line_that_still_fits_in_memory(tmp_path):
    said = []
    kept = Journal(tmp_path / "log.jsonl", on_failure=said.append)
    kept.write(1, loss=1.0)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, ((tmp_path / "log.jsonl").stat().st_size, hard))
    try:
        for step in (2, 3):
            kept.write(step, loss=0.5)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [e.errno for e in said] == [27, 27]  # file too large
    kept.write(4, loss=0.25)
    kept.close()
    assert [x["step"] for x in read(tmp_path / "log.jsonl")] == [1, 2, 3, 4]
    full = Journal(Path("/dev/full"), on_failure=said.append)
    full.write(1)
    full.close()
    assert [e.errno for e in said[2:]] == [28, 28]  # no space left on device
    loud = Journal(Path("/dev/full"))
    with pytest.raises(OSError, match="No space left"):
        loud.write(1)
    with pytest.raises(OSError, match="No space left"):
        loud.close()
