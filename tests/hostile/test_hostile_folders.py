"""Forged model folders: each is refused in a sentence or answers with numbers. Digests are right in all of them."""

import random
from pathlib import Path

import numpy as np
import pytest
from hostile_help import TIMES, cli, forge, read_parts, small_models
from liars import changed_array, changed_text

from smidgen.kit.errors import BadInput
from smidgen.learn.model import Model
from smidgen.learn.packed_arrays import unpacked


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> list[Path]:
    return small_models(tmp_path_factory.mktemp("models"))


@pytest.mark.parametrize("part", range(4 * TIMES))
@pytest.mark.filterwarnings("ignore")  # numbers out of all bounds overflow
def test_a_forged_model_answers_in_numbers_or_in_a_sentence(models, tmp_path, part):
    draw, table = random.Random(part), models[0].parent / "small.csv"
    answered = 0
    for _ in range(40):
        source = draw.choice(models)
        head, arrays = read_parts(source)
        if draw.random() < 0.55:
            changed_text(head, draw)
        else:
            changed_array(arrays, draw)
        forge(source, tmp_path / "forged", head, arrays)
        try:
            model = Model.load(tmp_path / "forged")
            found = model.predict_proba(table)
        except BadInput:
            continue
        answered += 1
        assert found.shape == (30, 2) and np.isfinite(found).all()
    assert 5 < answered < 35  # some changes do no harm; most are noticed


def test_the_command_line_says_so_in_one_sentence(models, tmp_path):
    head, arrays = read_parts(models[0])
    arrays["0.head_state.learned.coef_"] = arrays["0.head_state.learned.coef_"][:, :-1]
    forge(models[0], tmp_path / "forged", head, arrays)
    said = cli("predict", tmp_path / "forged", models[0].parent / "small.csv", "--out", tmp_path / "p.csv")
    assert "cannot answer" in said.sentence() and not (tmp_path / "p.csv").exists()


@pytest.mark.parametrize("name", ["int4", "float16", "e4m3fn", "int99", "", "../x"])
@pytest.mark.parametrize("shape", [[10**12, 10**6], [-1], ["x"], [0], [3, 3], None, [2**63]])
def test_a_description_of_packed_arrays_that_does_not_fit(name, shape):
    told = {"a": {"format": name, "shape": shape, "dtype": "float32", "parts": ["", "codes"]}}
    with pytest.raises(BadInput):
        unpacked({"a|": np.zeros(4, np.float32), "a|codes": np.zeros(4, np.uint8)}, told, "model.json")
