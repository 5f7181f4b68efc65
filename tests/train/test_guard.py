"""Spikes are seen, a new normal is accepted, and the guard's memory survives a checkpoint."""

import json
import math

import pytest
import torch

from smidgen.kit.errors import BadInput
from smidgen.train.guard import Spike, SpikeGuard, shrink_gradients, shrink_shallow_gradients


def test_spikes_and_nan():
    guard = SpikeGuard(factor=1.5, window=20)
    assert [guard.check(s, 2.0 - 0.01 * s) for s in range(20)] == [None] * 20
    assert guard.check(20, 4.0) == "replace_batch" == guard.check(21, math.nan)
    assert guard.check(22, 1.8) is None and [s.step for s in guard.seen] == [20, 21]


def test_a_new_normal_is_accepted_but_nan_never():
    guard = SpikeGuard(window=10, patience=3)
    for s in range(10):
        guard.check(s, 1.0)
    assert [guard.check(s, 5.0) for s in range(10, 14)] == ["replace_batch"] * 3 + [None]
    assert all(guard.check(s, math.inf) for s in range(50))


def test_many_spikes_in_a_row_ask_to_go_back_and_count_on_after_that():
    guard = SpikeGuard(window=10, rollback_after=3)
    for s in range(10):
        guard.check(s, 1.0)
    kept = guard.state_dict()
    assert [guard.check(10, math.nan) for _ in range(3)] == ["replace_batch", "replace_batch", "rollback"]
    after = SpikeGuard(window=10, rollback_after=3)
    after.load_state_dict(kept)
    after.rolled_back(guard)
    assert len(after.seen) == 3 and [after.check(10, math.nan) for _ in range(3)][-1] == "rollback"
    assert after.check(10, 1.0) is None and after.check(11, math.nan) == "replace_batch"
    with pytest.raises(BadInput, match="rollback_after"):
        SpikeGuard(rollback_after=0)


def test_near_zero_twice_as_much_is_nothing():
    guard = SpikeGuard(factor=2.0, least=0.2)
    for s in range(12):
        guard.check(s, 0.05)
    assert guard.check(12, 0.15) is None and guard.check(13, 0.3) == "replace_batch"


def test_state_goes_on():
    a, b = SpikeGuard(window=10), SpikeGuard(window=10)
    for s, loss in enumerate([1.0] * 10 + [9.0, math.nan]):
        a.check(s, loss)
    b.load_state_dict(a.state_dict())
    assert b.check(12, 9.0) == a.check(12, 9.0) and b.state_dict() == a.state_dict()


def test_shrunk_gradients():
    p = torch.nn.Parameter(torch.ones(3))
    p.grad = torch.full((3,), 2.0)
    shrink_gradients([p], 0.1)
    assert p.grad.tolist() == pytest.approx([0.2] * 3)


def test_the_log_names_the_batches_of_each_spike_and_survives_json():
    guard, asked = SpikeGuard(window=10), []
    for s in range(10):
        guard.check(s, 1.0, range(2 * s, 2 * s + 2))
    guard.check(10, 9.0, range(20, 22))
    guard.check(10, math.nan)
    other = SpikeGuard()
    other.load_state_dict(json.loads(json.dumps(guard.state_dict())))
    assert other.seen[0] == Spike(10, 9.0, range(20, 22)) and other.seen[1].batches is None
    assert [again for _, again in other.replay(lambda n: asked.append(n) or n * n)] == [[400, 441], []]
    assert asked == [20, 21]
    other.load_state_dict({"good": [1.0], "row": 0, "seen": [[3, 2.0]]})  # of a checkpoint before there were numbers
    assert other.seen == [Spike(3, 2.0)]


def test_shallow_gradients_shrink_until_it_ends():
    def gradients(words: tuple[str, ...] | None) -> list[float]:
        torch.manual_seed(0)
        model = torch.nn.ModuleDict({"embed_tokens": torch.nn.Embedding(5, 3), "head": torch.nn.Linear(3, 2)})
        end = shrink_shallow_gradients(model, 0.1, words) if words else None
        for _ in range(2):  # two micro-batches add up
            model["head"](model["embed_tokens"](torch.tensor([1, 2]))).square().sum().backward()
        if end:
            end()
            model["head"](model["embed_tokens"](torch.tensor([1, 2]))).square().sum().backward()
        return [p.grad.norm().item() for p in model.parameters()]

    embedding, *others = gradients(None)
    shrunk, *same = gradients(("embed",))
    assert shrunk == pytest.approx((0.1 + 0.1 + 1.0) / 2 * embedding) and same == pytest.approx(
        [1.5 * g for g in others]
    )
    with pytest.raises(BadInput, match="names of parameters, got layer"):
        gradients(("layer",))
    with pytest.raises(BadInput, match="at most 1"):
        shrink_shallow_gradients(torch.nn.Linear(1, 1), 2.0)
