"""Older model folders: each kind that there was, as that program wrote it (`old_models/make_models.py`), opens and says
the same; one of a newer form is refused by name."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from smidgen.kit.errors import BadInput

sys.path.insert(0, str(Path(__file__).parent / "old_models"))

from make_models import HERE, MAKERS, loaded, predicted  # noqa: E402

FOLDERS = sorted(said.parent for said in HERE.glob("*/*/said.json"))


def test_there_is_a_folder_of_each_kind_and_all_are_small():
    assert {folder.name for folder in FOLDERS} == set(MAKERS)
    for folder in FOLDERS:
        assert sum(f.stat().st_size for f in folder.rglob("*")) < 100_000


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda f: f"{f.parent.name}-{f.name}")
def test_an_old_model_opens_and_says_the_same(folder):
    try:
        now = predicted(folder)
    except ImportError as error:
        pytest.skip(str(error))
    # sums of floats differ a little from one processor to the next
    assert np.allclose(now, json.loads((folder / "said.json").read_text()), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("kind", "file", "keys"),
    [
        ("classes", "model.json", ("schema",)),
        ("compressed", "model.json", ("schema",)),
        ("language", "config.json", ("smidgen", "schema")),
        ("language-small", "config.json", ("quantization_config", "schema")),
    ],
)
def test_a_model_of_a_newer_form_is_refused_by_name(kind, file, keys, tmp_path):
    if kind.startswith("language"):
        pytest.importorskip("torch")
    found = [folder for folder in FOLDERS if folder.name == kind][-1]
    copy = Path(shutil.copytree(found / "model", tmp_path / "copy"))
    told = head = json.loads((copy / file).read_text())
    for key in keys[:-1]:
        told = told[key]
    told[keys[-1]] = 99
    (copy / file).write_text(json.dumps(head))
    with pytest.raises(BadInput, match=r"newer (version of )?smidgen"):
        loaded(copy)
