"""The loop against a hand-written one, its accumulation, its resuming to the bit, and what it does with bad batches."""

import copy
import math
import random

import numpy as np
import pytest
import torch

from smidgen.train.guard import SpikeGuard
from smidgen.train.journal import Journal, read
from smidgen.train.loop import LoopConfig, NonFinite, Run, train
from smidgen.train.schedules import Cosine


def data(number):
    g = torch.Generator().manual_seed(number)
    x = torch.randn(4, 5, generator=g)
    return x, x.sum(1, keepdim=True)


def loss_of(model, x, y):
    return ((model(x) - y) ** 2).sum(), len(y)


def new(guard=None):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(5, 8), torch.nn.Dropout(0.2), torch.nn.Linear(8, 1))
    return Run(model, torch.optim.AdamW(model.parameters(), lr=1e-2), guard)


def weights(run):
    return torch.cat([p.detach().flatten() for p in run.model.parameters()])


def test_equals_a_loop_written_by_hand():
    run, by_hand = new(), new()
    run.model[1].p = by_hand.model[1].p = 0.0
    schedule = Cosine(steps=20, warmup=3)
    train(run, data, loss_of, schedule, LoopConfig(accumulate=2, clip=0.5), steps=20)
    for step in range(20):
        for group in by_hand.optimizer.param_groups:
            group["lr"] = 1e-2 * schedule(step)
        x, y = (torch.cat(parts) for parts in zip(data(2 * step), data(2 * step + 1), strict=True))
        ((by_hand.model(x) - y) ** 2).mean().backward()
        torch.nn.utils.clip_grad_norm_(by_hand.model.parameters(), 0.5)
        by_hand.optimizer.step()
        by_hand.optimizer.zero_grad()
    assert torch.allclose(weights(run), weights(by_hand), atol=1e-6)
    assert (run.step, run.batch, run.targets) == (20, 40, 160)


def test_resumes_to_the_bit():
    whole, part = new(SpikeGuard()), new(SpikeGuard())
    schedule, config = Cosine(steps=20), LoopConfig()
    train(whole, data, loss_of, schedule, config, steps=20)
    torch.manual_seed(0)
    part = new(SpikeGuard())
    train(part, data, loss_of, schedule, config, steps=9)
    state = copy.deepcopy(part.state_dict())
    torch.manual_seed(99)
    again = new(SpikeGuard())
    again.load_state_dict(state)
    train(again, data, loss_of, schedule, config, steps=20)
    assert torch.equal(weights(again), weights(whole))  # dropout's random numbers too


def test_every_generator_of_random_numbers_goes_on():
    def drawn():
        return float(torch.rand(1)), float(np.random.rand()), random.random()

    run = new()
    state = copy.deepcopy(run.state_dict())
    first = drawn()
    run.load_state_dict(state)
    assert drawn() == first
    state["random"] = state["random"]["torch"]  # as early versions kept it
    run.load_state_dict(state)
    assert drawn()[0] == first[0]


def test_a_bad_batch_is_left_out():
    def broken(number):
        x, y = data(number)
        return (x * math.nan, y) if number == 12 else (x, y)

    seen = []
    run = new(SpikeGuard(factor=1e6))
    train(run, broken, loss_of, lambda s: 1.0, LoopConfig(), steps=20, on_update=seen.append)
    assert run.step == 20 and run.batch == 21 and torch.isfinite(weights(run)).all()
    assert [u.action for u in seen if u.action] == ["replace_batch"]
    assert run.guard is not None and [s.batches for s in run.guard.seen] == [range(12, 13)]
    with pytest.raises(NonFinite, match="micro-batches 12 to 12.* not a number"):
        train(new(), broken, loss_of, lambda s: 1.0, LoopConfig(), steps=20)
    with pytest.raises(NonFinite, match="in a row"):
        train(
            new(SpikeGuard()),
            lambda n: (data(n)[0] * math.nan, data(n)[1]),
            loss_of,
            lambda s: 1.0,
            LoopConfig(strikes=5),
            steps=20,
        )


def test_rollback_goes_behind_the_spike():
    guard = SpikeGuard(factor=1e6, action="rollback", span=5)
    run, kept = new(guard), {}

    def broken(number):
        x, y = data(number)
        return (x * math.nan, y) if number == 12 else (x, y)

    def keep(update):
        if update.step == 8 and not kept:
            kept.update(copy.deepcopy(run.state_dict()))

    train(run, broken, loss_of, lambda s: 1.0, LoopConfig(), steps=10, on_update=keep)
    run.seconds += 1000.0
    spent = run.seconds
    train(
        run,
        broken,
        loss_of,
        lambda s: 1.0,
        LoopConfig(),
        steps=14,
        roll_back=lambda r: r.load_state_dict(copy.deepcopy(kept)),
    )
    assert [spike.step for spike in run.guard.seen] == [12]  # remembered, though the run went back
    assert run.seconds > spent  # and what was spent stays spent
    assert run.step == 14 and run.batch == 13 + 5 + 6  # past the bad batch and the span, six updates from step 8


def test_journal_drops_what_is_done_again(tmp_path):
    journal = Journal(tmp_path / "log.jsonl")
    for step in range(5):
        journal.write(step, loss=float(step), bad=math.nan)
    journal.close()
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"step": 5, "lo')
    journal = Journal(tmp_path / "log.jsonl", after=3)
    journal.write(3, loss=0.5)
    journal.close()
    lines = read(tmp_path / "log.jsonl")
    assert [(x["step"], x["loss"]) for x in lines] == [(0, 0), (1, 1), (2, 2), (3, 0.5)] and lines[0]["bad"] is None
