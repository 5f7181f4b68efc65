"""Stages rebuilt from their neighbours: the formula, what is refused, and a run against one written by hand."""

import math

import pytest
import torch
from recovery_samples import ADAM, SGD, Residual, batches, model, weights

from smidgen.kit.errors import BadInput
from smidgen.nets.decoder import Decoder, DecoderConfig
from smidgen.train.loop import NonFinite
from smidgen.train.recovery import (
    ENDS,
    Boost,
    CheckFreeRecovery,
    FailureSchedule,
    NoFailure,
    StagedModel,
    UnrecoverableFailure,
    fresh_stage,
    recover_stage,
    recovery_weights,
    staged_decoder,
    train_through,
)

mse = torch.nn.functional.mse_loss


@pytest.mark.parametrize("tied", [True, False])
def test_a_decoder_in_stages_is_that_decoder_and_swaps_its_ends(tied):
    config = DecoderConfig(
        vocab=11, hidden=8, layers=10, heads=2, kv_heads=1, ffn=12, max_len=6,
        tie_embeddings=tied, scale_emb=3.0, scale_depth=1.4, width_base=4,
    )  # fmt: skip
    whole, staged = Decoder(config, seed=2), staged_decoder(config, 5, seed=2, swap_ends=True)
    ids_BT = torch.randint(11, (2, 6))
    assert torch.equal(staged(ids_BT, 0), whole(ids_BT)) and torch.equal(staged(ids_BT, 2), whole(ids_BT))
    layers = list(whole.model.layers)
    whole.model.layers = torch.nn.ModuleList([layers[i] for i in (2, 3, 0, 1, 4, 5, 8, 9, 6, 7)])
    assert torch.equal(staged(ids_BT, 1), whole(ids_BT)) and not torch.equal(staged(ids_BT, 1), staged(ids_BT, 0))
    assert sum(p.numel() for p in staged.parameters()) == sum(p.numel() for p in whole.parameters())
    with pytest.raises(BadInput, match="divisor of the 10 layers"):
        staged_decoder(config, 4)


def test_shares_of_the_neighbours():
    assert recovery_weights([9, 3.0, 9, 1.0, 9], 2) == pytest.approx((3.0001 / 4.0002, 1.0001 / 4.0002))
    assert recovery_weights([3.0, 9, 1.0], 1, power=2, eps=1) == pytest.approx((10 / 12, 2 / 12))
    assert recovery_weights([0.0, 9, 0.0], 1) == (0.5, 0.5)
    for norms in ([-1.0, 0, 1.0], [math.nan, 0, 1.0], [1.0, 0, math.inf]):
        with pytest.raises(BadInput, match="gradient norms"):
            recovery_weights(norms, 1)


@pytest.mark.parametrize("mode", ["weighted", "uniform", "copy", "random"])
def test_a_stage_is_rebuilt_parameter_by_parameter(mode):
    staged, new = model(), Residual()
    staged.stages[1].calls += 7
    (a, b), old = [weights(staged.stages[i]) for i in (1, 3)], weights(staged)
    recover_stage(staged, 2, [0, 3.0, math.nan, 1.0, 0], mode, fresh=lambda: new)
    share = 3.0001 / 4.0002
    wanted = {"weighted": share * a + (1 - share) * b, "uniform": (a + b) / 2, "copy": a, "random": weights(new)}
    assert torch.allclose(weights(staged.stages[2]), wanted[mode], atol=1e-7)
    assert staged.stages[2].calls == (0 if mode == "random" else 7)  # no number to average
    changed = (weights(staged) != old).sum()
    assert 0 < changed <= weights(staged.stages[2]).numel()  # and nothing else
    with torch.no_grad():
        staged.stages[2].inner.weight.zero_()
    assert torch.equal(weights(staged.stages[1]), a)  # a copy, not the same memory


def test_an_average_of_16_bit_weights_is_made_in_32():
    staged = model(3).to(torch.bfloat16)
    a, b = (weights(staged.stages[i]).float() for i in (0, 2))
    recover_stage(staged, 1, [2.0, 0, 1.0])
    assert torch.equal(weights(staged.stages[1]), (2.0001 / 3.0002 * a + 1.0001 / 3.0002 * b).bfloat16())


def test_with_swaps_the_ends_stand_in_for_each_other():
    for lost, source in ((0, 1), (1, 0), (3, 4), (4, 3)):
        staged = model(swap_ends=True)
        recover_stage(staged, lost, [1.0] * 5)
        assert torch.equal(weights(staged.stages[lost]), weights(staged.stages[source]))
    staged = model(swap_ends=True)
    average = (weights(staged.stages[1]) + weights(staged.stages[3])) / 2
    recover_stage(staged, 2, [1.0] * 5)
    assert torch.allclose(weights(staged.stages[2]), average)


@pytest.mark.parametrize(
    ("plus", "lost", "named"),
    [
        (False, {1, 2}, (1, 2)),
        (False, {0}, (0,)),
        (False, {2, 4}, (4,)),
        (False, {ENDS}, (ENDS,)),
        (True, {0, 1}, (0, 1)),
        (True, {1, 2, 4}, (1, 2)),
        (True, {ENDS, 0, 4}, (ENDS, 0, 4)),
    ],
)
def test_what_neighbours_cannot_repair_is_refused_and_nothing_touched(plus, lost, named):
    recovery = CheckFreeRecovery(model(swap_ends=plus), SGD, plus=plus)
    before = weights(recovery.model)
    with pytest.raises(UnrecoverableFailure) as raised:
        recovery.on_failure(lost)
    assert raised.value.stages == named and torch.equal(weights(recovery.model), before)


def test_wrong_models_and_arguments():
    for n_stages, plus in ((2, False), (3, True)):
        with pytest.raises(BadInput, match="stages: expected at least"):
            CheckFreeRecovery(model(n_stages, swap_ends=plus), SGD, plus=plus)
    with pytest.raises(BadInput, match="swap_ends"):
        CheckFreeRecovery(model(), SGD, plus=True)
    with pytest.raises(BadInput, match="needs fresh"):
        CheckFreeRecovery(model(), SGD, mode="random")
    with pytest.raises(BadInput, match="between two others"):
        recover_stage(model(), 4, [1.0] * 5)
    uneven = StagedModel(torch.nn.Identity(), [Residual(6), Residual(6), Residual(5)], torch.nn.Identity())
    with pytest.raises(BadInput, match=r"differ in 'inner\.bias'"):
        recover_stage(uneven, 1, [1.0] * 3)
    config = DecoderConfig(vocab=5, hidden=4, layers=3, heads=1, kv_heads=1, ffn=4, max_len=4)
    assert not torch.equal(weights(fresh_stage(config, 3, 1)), weights(staged_decoder(config, 3, 0).stages[0]))


@pytest.mark.parametrize("boost", [1.1, Boost(1.1, updates=2)])
def test_equals_a_run_written_by_hand(boost):
    """Adam with a clip; stage 2 is lost before update 3: norms are those before clipping, its moments are zero, its
    rate is boosted, the others go on as ever, and no batch is seen twice."""
    recovery = CheckFreeRecovery(model(), ADAM, boost, clip=0.05)
    probes = []
    history = train_through(
        recovery, batches, mse, FailureSchedule(5, 7, ((3, (2,)),)), probe=lambda m: probes.append(1) or len(probes)
    )
    by_hand = model()
    modules = [by_hand.ends, *by_hand.stages]
    optimizers = [ADAM(m.parameters()) for m in modules]
    norms, losses = [0.0] * 6, []
    for step in range(7):
        if step == 3:
            share = (norms[2] + 1e-4) / (norms[2] + norms[4] + 2e-4)  # the ends come first
            assert norms[2] > 0.05 < norms[4]
            with torch.no_grad():
                for lost, a, b in zip(*(modules[i].parameters() for i in (3, 2, 4)), strict=True):
                    lost.copy_(share * a + (1 - share) * b)
            optimizers[3] = ADAM(modules[3].parameters())
        losses.append(sum(mse(by_hand(x, i), y) / 2 for i, (x, y) in enumerate(batches(step))))
        losses[-1].backward()
        for i, (module, optimizer) in enumerate(zip(modules, optimizers, strict=True)):
            norms[i] = float(torch.nn.utils.clip_grad_norm_(module.parameters(), 0.05))
            rate = 1e-2
            if i == 3 and step >= 3:
                rate *= 1.1 if boost == 1.1 else 1 + 0.1 * max(0, 1 - (step - 3) / 2)
            optimizer.param_groups[0]["lr"] = rate
            optimizer.step()
            optimizer.zero_grad()
    assert torch.allclose(weights(recovery.model), weights(by_hand), atol=1e-6)
    assert [s.loss for s in history.steps] == pytest.approx([v.item() for v in losses], abs=1e-6)
    assert [(f.number, f.stages, f.how, f.jump) for f in history.failures] == [(3, (2,), "rebuilt", 1.0)]
    assert [recovery.parts[k].norm for k in range(5)] == pytest.approx(norms[1:], abs=1e-6)


def test_a_loss_that_is_no_number_ends_the_run():
    recovery = NoFailure(model(), SGD)
    recovery.parts[2].lose()
    with pytest.raises(NonFinite):
        train_through(recovery, batches, mse, FailureSchedule(5, 1))
