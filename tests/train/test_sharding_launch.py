"""`torchrun ... -m smidgen.train.launch`: the command trains, by real processes, and says what is wrong."""

import json
import os
import random
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest

from smidgen.kit.errors import BadInput
from smidgen.lm.forecast import memory_bytes
from smidgen.lm.model import load
from smidgen.lm.prepare import Survey
from smidgen.lm.setup import set_up
from smidgen.lm.wish import Wish
from smidgen.train import launch
from smidgen.train.sharding import Sharding, start, stop

WORDS = ["the", "cat", "dog", "owl", "sees", "hears", "runs", "over", "under", "tree", "house", "river"]


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("launch") / "animals.txt"
    draw = random.Random(0)
    path.write_text(". ".join(" ".join(draw.choices(WORDS, k=6)) for _ in range(100)))
    return path


def test_two_processes_train_a_model_that_opens(text):
    out = text.parent / "model"
    asked = [str(text), "--size", "60k", "--context", "16", "--stage", "3", "--out", str(out), "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "smidgen.train.launch", *asked],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    said = json.loads(done.stdout)  # of rank 0 alone
    losses = [json.loads(line)["loss"] for line in (out / "log.jsonl").read_text().splitlines()]
    assert said["finished"] and len(losses) == said["steps"] and losses[-1] < losses[0] - 1
    assert said["plan"]["rows"] % 2 == 0 and "over 2 processes, stage 3" in done.stderr
    assert not (out / ".train").exists() and load(out).decoder.config.vocab == said["plan"]["words"]


def test_a_world_size_that_does_not_divide_is_told_what_would():
    with pytest.raises(BadInput, match=r"12 rows of a batch divide \(1, 2, 3, 4, 6, 12\), got 5"):
        Sharding(ranks=SimpleNamespace(rank=0, size=5)).rows(12)
    assert Sharding(ranks=SimpleNamespace(rank=2, size=4)).rows(12) == slice(6, 9)


@pytest.mark.parametrize(("rate", "precision"), [(0.01, "fp32"), (0.01, "bf16"), (None, "fp32")])
def test_the_forecast_is_of_one_process_of_them(rate, precision):
    surveys = {"a": Survey(10, 10**7, "x", 2.0, 10**5)}
    setup = set_up(surveys, Wish(size=500_000, rate=rate, batch=8, context=32, precision=precision))
    held = setup.forecast.memory_bytes - memory_bytes(setup.plan, precision, 0, list(surveys.values()))
    sharding = Sharding(3, ranks=SimpleNamespace(rank=0, size=4))
    plan = launch._suited(setup, surveys, sharding)
    whole = memory_bytes(plan.plan, precision, held, list(surveys.values()))
    if rate is None:  # the search is rank 0's alone
        assert plan.forecast.memory_bytes == pytest.approx(whole)
    else:
        rows = memory_bytes(replace(plan.plan, rows=2), precision, held, list(surveys.values()))
        states = (16 if precision == "fp32" else 8) * plan.plan.parameters
        assert plan.forecast.memory_bytes == pytest.approx(rows - 0.75 * states, rel=1e-3) and rows < whole


def test_one_process_needs_no_torchrun_and_errors_are_sentences(text, tmp_path, capsys, monkeypatch):
    assert launch.main([str(text), "--size", "60k", "--out", str(tmp_path / "x"), "--dry-run"]) == 0
    assert "over 1 process, stage 2" in capsys.readouterr().err and not (tmp_path / "x").exists()
    for args, code, said in (
        ([str(text), "--stage", "5"], 2, "--stage"),
        ([str(text), "--backend", "other"], 2, "native or fsdp"),
        ([str(text), "--backend", "fsdp"], 2, "3 with --backend fsdp"),
        ([str(text), "--backend", "fsdp", "--stage", "3", "--offload"], 2, "--backend native"),
        ([str(tmp_path / "none.txt"), "--size", "60k"], 2, "none.txt"),
        ([str(text), "--out", str(tmp_path), "--resume"], 2, "nothing to go on with"),
    ):
        assert launch.main(args) == code
        stop()
        assert said in capsys.readouterr().err
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(BadInput, match="WORLD_SIZE is not"):
        start()
