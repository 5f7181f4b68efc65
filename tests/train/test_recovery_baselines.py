"""What CheckFree is compared with, the schedule of failures that all meet, and the time it would take."""

import json

import pytest
import torch
from recovery_samples import ADAM, batches, model, weights

from smidgen.kit.errors import BadInput
from smidgen.train.recovery import (
    ENDS,
    CheckFreeRecovery,
    Checkpoints,
    Failure,
    FailureSchedule,
    History,
    NoFailure,
    PeriodicCheckpoint,
    RedundantStage,
    Step,
    UnrecoverableFailure,
    first_at,
    rate_per_iteration,
    train_through,
    wallclock,
)

mse = torch.nn.functional.mse_loss


def run(recovery, events, iterations=9):
    return train_through(recovery, batches, mse, FailureSchedule(5, iterations, events))


def test_shadows_restore_the_very_bits():
    """Redundant stages lose nothing, neither weights nor moments; CheckFree+ restores embedding and head so."""
    calm, redundant = NoFailure(model(), ADAM), RedundantStage(model(), ADAM)
    history = run(redundant, ((2, (1, 3)), (4, (ENDS,)), (6, (0, 4))))
    assert run(calm, ((2, (1,)),)).steps == history.steps and torch.equal(weights(calm.model), weights(redundant.model))
    assert [f.how for f in history.failures] == ["restored"] * 3
    with pytest.raises(UnrecoverableFailure, match="stages 1 and 2"):
        redundant.on_failure({1, 2})  # the second was the only copy of the first's shadow
    redundant.shadows[3] = redundant.parts[3]  # so that the only copy is what was lost
    redundant.on_failure({3})
    assert weights(redundant.parts[3].module).isnan().all()  # really lost
    plus, swapped = (make(model(swap_ends=True), ADAM) for make in (plus_recovery, NoFailure))
    run(plus, ((3, (ENDS,)),)), run(swapped, ())
    assert torch.equal(weights(plus.model), weights(swapped.model))


def plus_recovery(*arguments):
    return CheckFreeRecovery(*arguments, plus=True)


def test_periodic_checkpoints_really_roll_back_and_data_go_on(tmp_path):
    """After update 5 back to that of 4: batch 4 was lost, batch 5 comes next, for weights and moments of update 4."""
    periodic = PeriodicCheckpoint(model(), ADAM, 2, tmp_path)
    history = run(periodic, ((5, (0, 1)),), iterations=7)
    periodic.close()
    by_hand, seen = NoFailure(model(), ADAM), [0, 1, 2, 3, 5, 6]
    steps = train_through(by_hand, lambda i: batches(seen[i]), mse, FailureSchedule(5, 6)).steps
    assert torch.equal(weights(periodic.model), weights(by_hand.model))
    assert [s.update for s in history.steps] == [1, 2, 3, 4, 5, 5, 6] and history.failures[0].how == "rolled back"
    assert [s.loss for s in history.steps[5:]] == [s.loss for s in steps[4:]]


def test_a_checkpoint_is_the_fallback_for_neighbours_lost_together(tmp_path):
    recovery = CheckFreeRecovery(model(), ADAM, fallback=Checkpoints(tmp_path, 3))
    history = run(recovery, ((2, (2,)), (5, (2, 3)), (7, (1,))))
    recovery.close()
    assert [f.how for f in history.failures] == ["rebuilt", "rolled back", "rebuilt"]
    assert [s.update for s in history.steps] == [1, 2, 3, 4, 5, 4, 5, 6, 7]
    assert recovery.parts[2].rebuilt == [2] and recovery.parts[1].rebuilt == [5]  # the boost came back as well


def test_schedules(tmp_path):
    assert rate_per_iteration(0.16, 91.3) == pytest.approx(0.00441, abs=1e-5)  # the paper: 0.004
    assert rate_per_iteration(0.5, 3600) == pytest.approx(0.5)
    drawn = FailureSchedule.bernoulli(0.9, 900, 6, 2000, seed=1, protected=(0, 5))
    lost = [k for _, stages in drawn.events for k in stages]
    assert set(lost) == {1, 2, 3, 4} and len(lost) / 8000 == pytest.approx(1 - 0.1**0.25, abs=0.02)
    assert drawn == FailureSchedule.bernoulli(0.9, 900, 6, 2000, seed=1, protected=(0, 5))
    iteration, stages = drawn.events[3]
    assert drawn.at(iteration) == [set(stages)]
    drawn.to_json(tmp_path / "a.json")
    assert FailureSchedule.from_json(tmp_path / "a.json") == drawn
    for text in ("{", json.dumps({"n_stages": 3, "n_iters": 5, "events": [{"iteration": 5, "stages": [1]}]}), "[]"):
        (tmp_path / "b.json").write_text(text)
        with pytest.raises(BadInput):
            FailureSchedule.from_json(tmp_path / "b.json")
    with pytest.raises(BadInput, match="of stages 0 to 2"):
        FailureSchedule(3, 5, ((1, (3,)),))


def test_wall_clock():
    steps = [Step(number, number + 1, 3.0 - number) for number in range(4)]
    failures = [Failure(2, (1,), "rebuilt"), Failure(2, (3,), "rebuilt"), Failure(3, (1,), "ignored")]
    assert wallclock(History(steps, failures), 10, 3) == [10, 20, 36, 46]
    assert first_at([s.loss for s in steps], 1.5) == 2 and first_at([3.0], 1.0) is None
