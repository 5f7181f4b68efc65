"""A model that `fit` made becomes smaller, loads as ever, and what it loses is measured on rows that chose nothing."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import smidgen
from smidgen.compress.allocate import Infeasible
from smidgen.compress.work_folder import WorkFolder
from smidgen.kit.errors import BadInput
from smidgen.learn.packed_arrays import pack_array, unpack_array

pytest.importorskip("torch")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pd.DataFrame]:
    from sklearn.datasets import load_digits

    frame = load_digits(as_frame=True).frame.sample(500, random_state=0).reset_index(drop=True)
    place = tmp_path_factory.mktemp("fitted")
    fitted = smidgen.fit(
        frame[:80], target="target", trials=6, methods=["logistic", "lda"], out=place / "m",
        store=f"sqlite:///{place / 'runs.db'}", workers=1,
    )  # fmt: skip
    assert fitted.model.path is not None
    return fitted.model.path, frame[80:].drop(columns="target")


def test_it_fits_and_predicts_nearly_the_same(model: tuple[Path, pd.DataFrame], tmp_path: Path) -> None:
    folder, rows = model
    out = tmp_path / "small"
    least = smidgen.compress(folder, bits=16, dry_run=True, out=out)["smallest"]  # type: ignore[operator]
    most = int(1.1 * least)
    planned = smidgen.compress(folder, size=most, dry_run=True)  # type: ignore[operator]
    assert least < planned["would_be"] <= most and not (tmp_path / "small").exists()
    found = smidgen.compress(folder, size=most, calibration=rows[:100], out=out)  # type: ignore[operator]
    assert found["bytes"] == sum(f.stat().st_size for f in out.iterdir()) <= most
    was, now = smidgen.load(folder).predict_proba(rows[100:]), smidgen.load(out).predict_proba(rows[100:])
    moved = np.abs(was - now).sum(1).mean() / 2
    assert found["loss_before"] == 0 and 0 < moved < 3 * found["loss_after"] + 0.01 and found["loss_after"] < 0.2
    with pytest.raises(BadInput, match="compressed already"):
        smidgen.compress(out, bits=4)  # type: ignore[operator]
    with pytest.raises(Infeasible, match="smallest reachable"):
        smidgen.compress(folder, size="1KB", calibration=rows[:20], out=tmp_path / "x")  # type: ignore[operator]


def test_after_a_stop_nothing_is_measured_twice(
    model: tuple[Path, pd.DataFrame], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, rows = model
    kept: list[str] = []
    write = WorkFolder.write

    def stopping(self: WorkFolder, key: list, *rest: object) -> None:
        write(self, key, *rest)  # type: ignore[arg-type]
        kept.append(json.dumps(key))
        if len(kept) == stop:
            raise KeyboardInterrupt

    def compressed(out: Path) -> None:
        smidgen.compress(folder, bits=5, calibration=rows[:40], out=out, steps=0)  # type: ignore[operator]

    stop = 0
    monkeypatch.setattr(WorkFolder, "write", stopping)
    compressed(tmp_path / "whole")
    whole, stop = list(kept), len(kept) // 2
    kept.clear()
    with pytest.raises(KeyboardInterrupt):
        compressed(tmp_path / "out")
    compressed(tmp_path / "out")
    assert [k for k in kept if "stopped" not in k] == whole and len(whole) == len(set(whole)) > 6
    for file in (tmp_path / "whole").iterdir():
        assert (tmp_path / "out" / file.name).read_bytes() == file.read_bytes()


def test_a_limit_of_loss_is_met_and_damage_is_said(model: tuple[Path, pd.DataFrame], tmp_path: Path) -> None:
    folder, rows = model
    out = tmp_path / "small"
    found = smidgen.compress(folder, max_loss=0.01, calibration=rows[:60], out=out)  # type: ignore[operator]
    chosen = next(t for t in found["tried"] if t["bytes"] == found["bytes"])
    assert chosen["loss"] <= 0.01 and found["bytes"] < found["bytes_before"]
    assert all(t["loss"] > 0.01 for t in found["tried"] if t["bytes"] < found["bytes"])
    hasty = smidgen.compress(folder, max_loss=0.01, calibration=rows[:60], out=tmp_path / "h", time=1e-3)  # type: ignore[operator]
    uniform = [t for t in hasty["tried"] if "throughout" in t["name"]]
    assert uniform and all(hasty["bytes"] <= t["bytes"] for t in uniform if t["loss"] <= 0.01)
    with pytest.raises(BadInput, match="needs rows"):
        smidgen.compress(folder, max_loss=0.01, out=tmp_path / "x")  # type: ignore[operator]
    head = json.loads((out / "model.json").read_text())
    assert head["schema"] == 2 and head["packed"]
    (out / "model.json").write_text(json.dumps({**head, "packed": {}}))
    with pytest.raises(BadInput, match="not as it was saved"):
        smidgen.load(out)


def test_without_rows_nothing_is_claimed(model: tuple[Path, pd.DataFrame], tmp_path: Path) -> None:
    found = smidgen.compress(model[0], bits=8, out=tmp_path / "small")  # type: ignore[operator]
    assert found["loss_after"] is None and "not known" in found["notes"][0]
    assert np.isfinite(smidgen.load(tmp_path / "small").predict_proba(model[1][:5])).all()


@pytest.mark.parametrize("option", ["float32", "float16", "int8/64", "int4+offset/32/double"])
def test_arrays_come_back_near_what_they_were(option: str) -> None:
    array = np.random.default_rng(0).normal(size=(7, 33))
    back = unpack_array(pack_array(array, option), option, array.shape, "float64")
    assert back.dtype == np.float64 and back.shape == array.shape
    assert np.abs(back - array).max() < {"float32": 1e-6, "float16": 3e-3, "int8/64": 0.03}.get(option, 0.3)
