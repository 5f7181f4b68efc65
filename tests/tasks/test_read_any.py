"""Whatever is given, there comes a whole task or one sentence for the person, and nothing else."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from nearly import FRAME, SEEDS, broken, tables

from smidgen.kit.errors import BadInput
from smidgen.tasks.read import read, read_new
from smidgen.tasks.task import Task

QUICK = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def check(task: Task) -> None:
    n = len(task)
    assert n >= 2 and len(task.frame) == n and list(task.frame.index) == list(range(n))
    assert any(c.used for c in task.columns) and set(task.frame.columns) == {c.name for c in task.columns}
    if task.kind == "classification":
        assert task.target.dtype == np.int64 and len(task.classes) >= 2
        assert set(task.target) == set(range(len(task.classes)))
    else:
        assert np.isfinite(task.target).all() and np.ptp(task.target) > 0
    assert task.groups is None or (len(task.groups) == n and task.groups.max() >= 1)
    for column in task.columns:
        values = task.frame[column.name]
        if column.kind == "number":
            assert values.dtype == np.float64 and not np.isinf(values).any()
        elif column.kind == "date":
            assert values.dtype == "datetime64[us]"
        elif column.kind in ("category", "text"):
            assert all(v is None or (isinstance(v, str) and v and v == v.strip()) for v in values)
    assert len(task.fingerprint) == 32


def same_again(task: Task, source) -> None:
    """What is read for prediction is what was read for the fit."""
    frame = read_new(source, task.columns, task.target_name)
    for column in task.columns:
        if column.used and task.unlabelled is None and len(frame) == len(task):
            assert frame[column.name].astype(str).equals(task.frame[column.name].astype(str))


def attempt(source) -> None:
    task, refused = None, ""
    try:
        task = read(source, "label")
    except BadInput as error:
        refused = str(error)
    if task is None:
        assert len(refused) > 25
    else:
        check(task)
        same_again(task, source)


@QUICK
@given(broken())
def test_broken_files(tmp_path, named):
    name, data = named
    (tmp_path / name).write_bytes(data)
    attempt(tmp_path / name)
    assert [p.name for p in tmp_path.iterdir() if p.name != name and not p.name.startswith("t.")] == []


@QUICK
@given(tables())
def test_odd_frames(frame):
    attempt(frame)


@QUICK
@given(tables())
def test_odd_csv_files(tmp_path, frame):
    frame.to_csv(tmp_path / "t.csv", index=False, errors="replace")
    attempt(tmp_path / "t.csv")


def test_parquet_with_damaged_text_is_refused(tmp_path):
    FRAME.to_parquet(tmp_path / "t.parquet", index=False, compression=None)
    whole = (tmp_path / "t.parquet").read_bytes()
    (tmp_path / "t.parquet").write_bytes(whole.replace(b"nothing to add", b"noth\xffng to add"))
    with pytest.raises(BadInput, match="not a whole Parquet file"):
        read(tmp_path / "t.parquet", "label")


@pytest.mark.parametrize("place", range(len(SEEDS)))
def test_every_format_gives_the_same_task(tmp_path, place):
    name, data = SEEDS[place]
    (tmp_path / name).write_bytes(data)
    task, plain = read(tmp_path / name, "label"), read(FRAME, "label")
    check(task)
    assert [(c.name, c.kind) for c in task.columns] == [
        ("length", "number"),
        ("colour", "category"),
        ("seen", "date"),
        ("said", "text"),
    ]
    for column in ("length", "colour", "seen", "said"):
        assert task.frame[column].astype(str).equals(plain.frame[column].astype(str)), column
    assert task.classes == ("a", "b") and len(task) == 7
    assert task.unlabelled is not None and task.unlabelled.said.tolist() == ["yes it is"]
