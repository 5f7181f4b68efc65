"""What is said of a training before it starts, and what it comes to."""

import json
import subprocess
import sys

import pytest

from smidgen.cli.main import main
from smidgen.kit.errors import BadInput
from smidgen.laws.text_loss import text_loss
from smidgen.lm import forecast as forecasts
from smidgen.lm import pace
from smidgen.lm.corpus import open_corpus
from smidgen.lm.forecast import forecast, memory_bytes
from smidgen.lm.plan import make_plan
from smidgen.lm.prepare import Survey, survey

WORDS = "".join(f"The {a} {b} the {c}. " for a in ("cat", "dog", "owl") for b in ("sees", "hears") for c in "abcdefgh")


def planned(**more):
    return make_plan(corpus_bytes=10**6, seconds=None, flops_a_second=1e11, **{"size": 300_000, **more})


def test_a_training_keeps_to_the_memory_that_was_said(tmp_path):
    text = tmp_path / "animals.txt"
    text.write_text(WORDS * 60)
    command = [
        sys.executable,
        "-m",
        "smidgen",
        "lm",
        "train",
        str(text),
        "--size",
        "300k",
        "--context",
        "128",
        "--json",
    ]
    done = subprocess.run([*command, "--out", str(tmp_path / "lm")], check=True, capture_output=True, text=True)
    found = json.loads(done.stdout)
    assert found["memory_bytes"] == pytest.approx(found["forecast"]["memory_bytes"], rel=0.1)
    assert found["forecast"]["seconds"] > 0 and "forecast" in done.stderr


def test_counts_grow_with_what_is_trained():
    small, large, long = planned(), planned(size=3_000_000), planned(context=512)
    assert memory_bytes(large, "fp32", 0) > memory_bytes(small, "fp32", 0) > memory_bytes(small, "bf16", 0)
    assert memory_bytes(long, "fp32", 0) > memory_bytes(small, "fp32", 0)
    apart = memory_bytes(large, "mixed", 0) - memory_bytes(large, "bf16", 0)  # 18 and 8 bytes a parameter
    assert apart == pytest.approx(10 * large.parameters, abs=1)
    short, one = Survey(99, 10**8, "x", 2.0, 10**5), Survey(1, 10**8, "x", 2.0, 10**8)  # equal texts, one in one piece
    tokenizing = memory_bytes(small, "fp32", 0, [one])
    assert tokenizing - memory_bytes(small, "fp32", 0, [short]) > 3 * 10**8
    assert tokenizing == memory_bytes(planned(size=500_000), "fp32", 0, [one])  # that is the most, not the training
    surveys = [Survey(1, 10**6, "x", 2.0, 10**5)]
    slow, fast = (forecast(small, surveys, "fp32", speed, 1e11).seconds for speed in (1e9, 1e10))
    assert slow == pytest.approx(10 * fast, rel=0.1)


def test_a_survey_knows_the_longest_document(tmp_path):
    (tmp_path / "notes.jsonl").write_text("\n".join(json.dumps({"text": t}) for t in ("one", "much longer", "two")))
    found = survey(open_corpus([str(tmp_path / "notes.jsonl")]))
    assert (found.documents, found.bytes, found.longest) == (3, 17, 11)


def test_matrix_speed_counts_a_multiplication_and_an_addition_as_two(monkeypatch):
    monkeypatch.setattr(pace, "_least", lambda work, rounds, seconds: 2.0)
    assert pace.matrix_speed("fp32") == pace.SIDE**3


def test_more_memory_than_is_free_is_refused(monkeypatch):
    monkeypatch.setattr(forecasts, "free_bytes", lambda: 10**8)
    with pytest.raises(BadInput, match="smaller --size"):
        forecast(planned(size=30_000_000), [Survey(1, 10**6, "x", 2.0, 10**5)], "fp32", 1e10, 1e11)


def test_bits_a_byte_fall_with_training_and_with_size():
    low, likely, high = text_loss(1e6, 1e7, 1e6, 2.0)
    assert 0 < low < likely < high < 8
    assert text_loss(1e6, 4e7, 1e6, 2.0)[1] < likely < text_loss(2e5, 1e7, 1e6, 2.0)[1]
    assert likely <= text_loss(1e6, 1e7, 1e6, 2.6)[1]  # dense text is not easier


def test_a_dry_run_says_the_forecast(tmp_path, capsys):
    text = tmp_path / "animals.txt"
    text.write_text(WORDS * 60)
    main(["lm", "train", str(text), "--size", "100k", "--dry-run", "--json"])
    said = json.loads(capsys.readouterr().out)
    assert said["forecast"]["memory_bytes"] > 0 and said["optimizer"] == "muon"
