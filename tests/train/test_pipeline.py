"""Stages in processes that are killed come to the very bits of the same failures in one process."""

import subprocess
import sys

import pipeline_run
import pytest
import torch
from checkpoint_samples import same

from smidgen.nets.decoder import loss
from smidgen.train.recovery import (
    CheckFreeRecovery,
    Checkpoints,
    FailureSchedule,
    RedundantStage,
    train_through,
)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What each case left; run apart, as tests themselves may open no connection."""
    folder = tmp_path_factory.mktemp("pipeline")
    done = subprocess.run([sys.executable, pipeline_run.__file__, folder], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return {case: torch.load(folder / f"{case}.pt", weights_only=False) for case in pipeline_run.KILLS}


@pytest.mark.parametrize("case", ["plus", "redundant", "checkpoint", "late"])
def test_killed_processes_and_one_process_come_to_the_same_bits(case, found, tmp_path):
    """The lost stage is rebuilt, restored or rolled back, its optimizer and rate too, and the same batch goes on."""
    model, optimizer = pipeline_run.make(case == "plus"), pipeline_run.UPDATING.make_optimizer
    recovery = {
        "plus": lambda: CheckFreeRecovery(model, optimizer, plus=True, clip=0.5),
        "redundant": lambda: RedundantStage(model, optimizer, clip=0.5),
        "late": lambda: CheckFreeRecovery(model, optimizer, clip=0.5),
        "checkpoint": lambda: CheckFreeRecovery(
            model, optimizer, clip=0.5, fallback=Checkpoints(tmp_path, pipeline_run.EVERY)
        ),
    }[case]()
    history = found[case]["history"]
    kills = tuple((number, tuple(parts)) for number, parts in pipeline_run.KILLS[case].items())
    assert tuple((f.number, f.stages) for f in history.failures) == kills
    schedule = FailureSchedule(pipeline_run.STAGES, pipeline_run.ITERATIONS + 1, kills)
    simulated = train_through(recovery, pipeline_run.batches, loss, schedule, pipeline_run.ITERATIONS)
    how = [f.how for f in simulated.failures] + [recovery.on_failure(s) for s in schedule.at(pipeline_run.ITERATIONS)]
    recovery.close()
    assert history.steps == simulated.steps and [f.how for f in history.failures] == how
    for number, part in recovery.parts.items():
        assert same(found[case]["states"][number], part.state_dict()), number
    if case == "checkpoint":
        assert [step.update for step in history.steps] == [1, 2, 3, 4, 5, 4, 5]


def test_what_cannot_be_recovered_ends_all_processes(found):
    assert found["refused"]["error"].startswith("UnrecoverableFailure: Lost stages 1 and 2")


def test_a_process_that_fails_at_its_work_says_why(found):
    assert "embedding and head failed: BadInput: token ids: expected 0 to 12" in found["bad data"]["error"]
