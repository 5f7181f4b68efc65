"""A blend of many arrays: what changes of them do, their bytes, and what a short time does to the choice."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from smidgen.compress.fitting import Limit
from smidgen.data.views.rows import Rows
from smidgen.kit.files import read_json
from smidgen.learn.member import Member
from smidgen.learn.model import Model, load
from smidgen.learn.packed_arrays import packed, unpacked
from smidgen.studies.compress_fitted import compress_fitted
from smidgen.studies.compress_opened import open_fitted
from smidgen.tasks.task import Column

pytest.importorskip("torch")
METHODS = ("learn/logistic", "learn/lda", "learn/knn", "learn/forest")


@pytest.fixture(scope="module")
def blend(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pd.DataFrame]:
    """Eight members, 12 arrays of floats; forests have whole numbers, too."""
    from sklearn.datasets import load_digits

    frame = load_digits(as_frame=True).frame.sample(220, random_state=0).reset_index(drop=True)
    rows, codes = frame.drop(columns="target"), frame["target"].to_numpy()
    columns = tuple(Column(name=name, kind="number") for name in rows.columns)
    members = []
    for i in range(8):
        some = np.random.default_rng(i).permutation(140)[:70]
        made = Member(METHODS[i % 4], "tree" if i % 4 == 3 else "linear", "classification", 10)
        made.fit(Rows(rows.iloc[some].reset_index(drop=True)), codes[some], columns, seed=i)
        members.append(made)
    model = Model("classification", tuple(range(10)), columns, "target", members, [1 / 8] * 8, [0.0] * 8)
    return model.save(tmp_path_factory.mktemp("blend") / "m"), rows[140:]


class Ticks:
    """A clock that goes on by a second each time it is read."""

    def __init__(self) -> None:
        self.read = 0

    def __call__(self) -> float:
        self.read += 1
        return float(self.read)


def compressed(blend: tuple[Path, pd.DataFrame], out: Path, most: int, seconds: float | None) -> dict[str, Any]:
    return compress_fitted(
        blend[0], Limit(bytes=most), blend[1], out, 0, False, lambda *_: None, seconds=seconds, now=Ticks()
    )


def test_losses_from_kept_predictions_and_counted_bytes_are_those_of_the_whole_model(
    blend: tuple[Path, pd.DataFrame],
) -> None:
    opened = open_fitted(*blend)
    floats = sorted(n for n, a in opened.arrays.items() if a.dtype.kind == "f" and a.size >= 64)
    assert len(floats) >= 12
    options: dict[str, str] = {}
    for name, option in zip(floats[::3], ["int4+offset/32/double", "float16", "int8/64"] * 99, strict=False):
        options[name] = option
        kept, told = packed(opened.arrays, options)
        whole = Model.from_parts(opened.head, unpacked(kept, told, "here"))
        now, was = (m.predict_proba(opened.choose.frame) for m in (whole, opened.model))  # type: ignore[union-attr]
        assert opened.lost(options) == pytest.approx(np.abs(now - was).sum(1).mean() / 2, abs=1e-12)
        assert opened.size(options) == sum(map(len, opened.written(options)))


def test_a_short_time_measures_a_part_the_same_part_each_time_and_keeps_the_limit(
    blend: tuple[Path, pd.DataFrame], tmp_path: Path
) -> None:
    most = open_fitted(blend[0], None).size({}) // 3
    whole = compressed(blend, tmp_path / "whole", most, None)
    short, again = (compressed(blend, tmp_path / name, most, 40.0) for name in ("short", "again"))
    assert 0 < short["measured"]["options"] < whole["measured"]["options"] and "In the time" in short["notes"][0]
    assert not any("In the time" in note for note in whole["notes"])
    for file in ("model.json", "arrays.safetensors"):
        assert (tmp_path / "short" / file).read_bytes() == (tmp_path / "again" / file).read_bytes()
    assert short["loss_after"] == again["loss_after"]
    for found in (whole, short, compressed(blend, tmp_path / "none", most, 0.0)):
        assert found["bytes"] <= most
        names = {t["name"]: t["loss"] for t in found["tried"]}
        assert "mixed" in names and any("throughout" in name for name in names)  # a uniform width is always measured
        was, now = load(blend[0]).predict_proba(blend[1]), load(found["model"]).predict_proba(blend[1])
        assert np.abs(was - now).sum(1).mean() / 2 < 0.1


def test_whole_numbers_take_the_fewest_bytes_and_come_back(blend: tuple[Path, pd.DataFrame], tmp_path: Path) -> None:
    found = compressed(blend, tmp_path / "small", open_fitted(blend[0], None).size({}), None)
    told = read_json(Path(found["model"]) / "model.json")["packed"]
    whole = [name for name, one in told.items() if one["format"] == "whole"]
    assert any("feature" in name for name in whole)
    was, now = (load(f).to_parts()[1] for f in (blend[0], found["model"]))
    assert len(was) == len(now)  # arrays are again of the kind that they were
