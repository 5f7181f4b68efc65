"""Branches: the stable run goes on to the same bits, a fall is what one long run would do, and what is refused."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from smidgen.kit.errors import BadInput
from smidgen.train.audit import CurveAudit
from smidgen.train.branching import BranchingRun
from smidgen.train.loop import LoopConfig, Run, train
from smidgen.train.schedules import WSD

STABLE = WSD(warmup=3, decay=0, shape="linear")


def batch(number):
    g = torch.Generator().manual_seed(number)
    x = torch.randn(4, 5, generator=g)
    return x, x.sum(1, keepdim=True) + 0.1 * float(np.random.rand())  # draws from a global generator too


def loss_of(model, x, y):
    return ((model(x) - y) ** 2).sum(), len(y)


def new():
    torch.manual_seed(0)
    np.random.seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(5, 8), torch.nn.Dropout(0.2), torch.nn.Linear(8, 1))
    return Run(model, torch.optim.AdamW(model.parameters(), lr=1e-2))


def branching(folder, **settings):
    return BranchingRun(folder, new, batch, loss_of, STABLE, LoopConfig(), checkpoint_every=10, **settings)


def bits(run):
    moments = [m for of in run.optimizer.state.values() for m in of.values()]
    return torch.cat([t.detach().flatten() for t in [*run.model.parameters(), *moments]])


def straight(schedule, steps):
    run = new()
    return train(run, batch, loss_of, schedule, LoopConfig(), steps=steps)


@pytest.mark.parametrize("stopped", [False, True])
def test_the_stable_run_goes_on_to_the_bit(tmp_path, stopped):
    run = branching(tmp_path)
    run.train_to(20)
    run.decay_from(20, 16)
    run.decay_from(10, 40)
    if stopped:
        torch.manual_seed(99)
        run = branching(tmp_path)
        assert run.run.step == 20
    run.train_to(35)
    assert torch.equal(bits(run.run), bits(straight(STABLE, 35)))
    assert run.snapshots == [10, 20, 30, 35]


def test_a_fall_is_the_end_of_one_run_planned_so(tmp_path):
    run = branching(tmp_path, evaluate=lambda model: float(model.get_parameter("0.weight").detach().sum()))
    run.train_to(30)
    fall = run.decay_from(20, 8 * 4)  # 4 targets an update
    planned = straight(replace(STABLE, stable_until=20, decay=8), 28)
    assert torch.equal(bits(fall.run), bits(planned)) and (fall.step, fall.steps) == (20, 8)
    assert fall.after == float(planned.model.get_parameter("0.weight").detach().sum()) != fall.before
    assert [round(u.lr / 1e-2, 6) for u in fall.updates] == [1 - (k + 1) / 8 for k in range(8)]


def test_other_data_come_in_the_fall_only(tmp_path):
    run, seen = branching(tmp_path), []
    run.train_to(10)

    def mix(batches, first):
        def at(number):
            seen.append((number, first))
            return batches(number + 1000)

        return at

    run.decay_from(10, 9, mix)
    assert seen == [(10, 10), (11, 10), (12, 10)]  # 9 targets take 3 updates of 4
    run.train_to(20)
    assert len(seen) == 3 and torch.equal(bits(run.run), bits(straight(STABLE, 20)))


def test_an_audit_changes_no_bit(tmp_path):
    run = branching(tmp_path)

    def audit(model):
        return CurveAudit(model, lambda m: m(torch.ones(3, 5)).square().mean())

    watch = audit(run.run.model)
    run.train_to(10, audit=watch)
    assert torch.equal(bits(run.run), bits(straight(STABLE, 10))) and [k.step for k in watch.looks] == [*range(1, 10)]
    watched, plain = run.decay_from(10, 20, audit=audit), run.decay_from(10, 20)
    assert torch.equal(bits(watched.run), bits(plain.run)) and len(watched.looks) == 4 and not plain.looks


def test_what_cannot_branch_is_refused(tmp_path):
    run = branching(tmp_path)
    with pytest.raises(BadInput, match="none yet"):
        run.decay_from(10, 8)
    run.train_to(12)
    with pytest.raises(BadInput, match=r"\(10, 12\)"):
        run.decay_from(11, 8)
    with pytest.raises(BadInput, match="at least 1"):
        run.decay_from(10, -4)
    with pytest.raises(BadInput, match="12 updates that are done"):
        run.train_to(5)
    with pytest.raises(BadInput, match="fall at step 40"):
        BranchingRun(tmp_path, new, batch, loss_of, STABLE.start_decay(40), LoopConfig(), checkpoint_every=1)
    early = branching(tmp_path / "early")
    early.train_to(2)
    with pytest.raises(BadInput, match="after the warm-up"):
        early.decay_from(2, 8)


def test_weights_alone_are_no_snapshot(tmp_path):
    from smidgen.train.checkpoint import SyncCheckpointer

    state = copy.deepcopy(new().state_dict())
    checkpointer = SyncCheckpointer(tmp_path)
    checkpointer.save({"run": {"model": state["model"]}}, 10)
    checkpointer.close()
    with pytest.raises(BadInput, match="no optimizer's state"):
        branching(tmp_path)
