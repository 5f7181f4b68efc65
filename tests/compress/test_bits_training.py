"""Trainings with rounded weights and products, and sweeps of checkpoints, against plain formulas and runs of their
own."""

import copy
import itertools

import numpy as np
import pytest
import torch
from torch import nn

from smidgen.compress import float_training, ptq_sweep, qat
from smidgen.compress.calibrated_rounding import CalibratedRounding
from smidgen.compress.qat_sweep import Split, Sweep
from smidgen.formats.format import Format
from smidgen.kit.errors import BadInput
from smidgen.train.loop import LoopConfig, Run, train
from smidgen.train.two_phases import classic_cooldown, fused_cooldown

INT4 = Format("int4", "channel", False, "float32")


def net(seed=0, width=8):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, width), nn.Tanh(), nn.Linear(width, 3))


def data(n=0):
    rng = torch.Generator().manual_seed(n)
    x = torch.randn(16, 6, generator=rng)
    return x, x[:, :3].sin()


def loss_of(model, x, y):
    return ((model(x) - y) ** 2).sum(), len(x)


def int4(w_OI):
    s = w_OI.abs().amax(1, keepdim=True) / 7
    return (w_OI / s).round().clamp(-8, 7) * s


def test_weights_are_seen_rounded_and_moved_exactly():
    model, plain, (x, y) = net(), net(), data()
    weights = [m.weight for m in (model[0], model[2])]
    assert qat.start_qat(model, INT4, search="absmax") == ["0", "2"]
    with torch.no_grad():
        plain[0].weight.copy_(int4(plain[0].weight)), plain[2].weight.copy_(int4(plain[2].weight))
    torch.testing.assert_close(model(x), plain(x))
    for one in (model, plain):
        loss_of(one, x, y)[0].backward()
    for w, m in zip(weights, (plain[0], plain[2]), strict=True):
        torch.testing.assert_close(w.grad, m.weight.grad)  # the same parameters, the gradient at the rounded ones
    with pytest.raises(BadInput, match="finish_qat"):
        qat.start_qat(model, INT4)
    exact = copy.deepcopy(model)
    qat.finish_qat(exact, rounded=False)
    torch.testing.assert_close(exact[0].weight, net()[0].weight)
    out = model.eval()(x)
    qat.finish_qat(model)
    torch.testing.assert_close(model(x), out)
    assert type(model[0]) is nn.Linear and torch.equal(model[0].weight, int4(net()[0].weight))


def test_one_bit_is_a_sign_times_the_mean_and_embeddings_stay():
    model = nn.Sequential(nn.Embedding(5, 6), nn.Linear(6, 5, bias=False))
    assert qat.start_qat(model, Format("int1", "channel", False, "float32"), every=9) == ["1"]
    w = model[1].parametrizations.weight.original
    torch.testing.assert_close(model[1].weight, w.sign() * w.abs().mean(1, keepdim=True))
    old = model[1].weight.detach().clone()
    with torch.no_grad():
        w.mul_(2.0)
    assert torch.equal(model[1].weight, old) and not torch.equal(model.eval()[1].weight, old)  # old scales
    assert torch.equal(model.train()[1].weight, old)  # a look changes nothing
    tied = nn.Sequential(nn.Embedding(5, 6), nn.Linear(6, 5, bias=False))
    tied[1].weight = tied[0].weight
    with pytest.raises(BadInput, match="No layer"):
        qat.start_qat(tied, INT4)


def test_cost_of_a_step_is_a_ratio_of_times():
    ticks = itertools.accumulate(itertools.cycle([1.0, 5.0, 1.0, 15.0]))  # 5 a plain pass, 15 a rounded one
    ratio = qat.step_cost(net, INT4, lambda m: loss_of(m, *data())[0], clock=lambda: next(ticks))
    assert ratio == pytest.approx(3.0)


def test_fused_rates_fall_once_within_the_second_phase_and_classic_twice():
    fused = fused_cooldown(70, 30, 5)
    rates = np.array([fused(s) for s in range(100)])
    assert (rates[4:70] == 1).all() and rates[70] < 1 and rates[-1] == 0 and (np.diff(rates[70:]) < 0).all()
    assert fused_cooldown(70, 30, 5, fall=10)(89) == 1 and fused_cooldown(0, 30, 5)(4) == 1
    classic = classic_cooldown(70, 30, 5, qat_warmup=3)
    rates = np.array([classic(s) for s in range(100)])
    assert rates[69] == 0 and (rates[5:56] == 1).all() and rates[70] == pytest.approx(1 / 3) and rates[99] == 0
    assert (rates[72:94] == 1).all() and classic.flat_until == 56 and classic.end == 100
    with pytest.raises(BadInput, match="warmup"):
        fused_cooldown(2, 2, 5)


def new_run():
    model = net()
    return Run(model, torch.optim.AdamW(model.parameters(), lr=0.02))


@pytest.mark.parametrize("kind", ["classic", "fused"])
def test_splits_that_share_their_beginning_are_the_runs_alone(kind):
    def evaluate(model):
        return float(loss_of(model, *data(999))[0].detach())

    sweep = Sweep(new_run, data, loss_of, evaluate, warmup=3)
    splits = [Split(30, 0.2, kind), Split(30, 1.0, kind), Split(18, 0.5, kind)]
    rows = sweep.run(splits, {"4": INT4, "2": Format("int2", "channel")}, search="absmax")
    assert [(r["steps"], r["fraction"], r["format"]) for r in rows[:3]] == [
        (30, 0.2, "4"),
        (30, 0.2, "2"),
        (30, 1, "4"),
    ]
    assert [r["targets_qat"] for r in rows[::2]] == [16 * s.steps_qat for s in splits]
    assert sweep.updates_fp + sweep.updates_qat < sweep.updates_alone == 2 * (30 + 30 + 18)
    split, run = splits[0], new_run()
    schedule = split.schedule(3)
    train(run, data, loss_of, schedule, LoopConfig(), steps=24)
    qat.start_qat(run.model, INT4, search="absmax")
    train(run, data, loss_of, schedule, LoopConfig(), steps=30)
    assert rows[0]["loss"] == evaluate(run.model.eval())


def e2m1(x, axis):
    levels = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6])
    levels = torch.cat([-levels.flip(0), levels])
    s = x.abs().amax(axis, keepdim=True) / 6
    return levels[(x / s).unsqueeze(-1).sub(levels).abs().argmin(-1)] * s


@pytest.mark.parametrize("targets", [("w_fwd", "dy_dx", "dy_dw"), ("x_fwd", "w_dx", "x_dw"), ()])
def test_each_of_the_six_inputs_is_rounded_along_what_its_product_sums_over(targets):
    torch.manual_seed(1)
    x, dy = torch.randn(12, 8, requires_grad=True), torch.randn(12, 4)
    layer = nn.Linear(8, 4)
    w = layer.weight.detach().clone()
    model = nn.Sequential(layer)
    assert float_training.train_in(model, float_training.float_format(2, 1, "channel"), targets) == ["0"]
    y = model(x)
    y.backward(dy)
    seen = {
        name: e2m1(value.detach(), axis) if name in targets else value.detach()
        for name, value, axis in (("x_fwd", x, 1), ("w_fwd", w, 1), ("dy_dx", dy, 1), ("w_dx", w, 0),
                                  ("dy_dw", dy, 0), ("x_dw", x, 0))
    }  # fmt: skip
    torch.testing.assert_close(y, seen["x_fwd"] @ seen["w_fwd"].T + layer.bias)
    torch.testing.assert_close(x.grad, seen["dy_dx"] @ seen["w_dx"])
    torch.testing.assert_close(layer.weight.grad, seen["dy_dw"].T @ seen["x_dw"])
    assert list(model.state_dict()) == ["0.weight", "0.bias"]


@pytest.mark.parametrize(("e", "m"), [(0, 3), (1, 1), (2, 1), (3, 2), (4, 3), (5, 9)])
def test_formats_round_as_their_table_of_numbers_says(e, m):
    bias = 2 ** (e - 1) - 1 if e else 0
    small = 1 - bias if e else 0  # the exponent of numbers below the smallest normal one
    table = [k * 2.0 ** (small - m) if p == 0 else (1 + k * 2.0**-m) * 2.0 ** (p - bias)
             for p in range(2**e) for k in range(2**m)]  # fmt: skip
    table = torch.tensor(sorted({*table, *(-v for v in table)}))
    x = torch.randn(2, 64, generator=torch.Generator().manual_seed(e))
    scale = x.reshape(2, 2, 32).abs().amax(-1, keepdim=True) / table[-1]
    units = (x.reshape(2, 2, 32) / scale).double()
    wanted = (table[(units.unsqueeze(-1) - table).abs().argmin(-1)] * scale).reshape(2, 64)
    torch.testing.assert_close(float_training.fake(x, float_training.float_format(e, m, 32)), wanted, rtol=1e-6, atol=0)
    with pytest.raises(BadInput, match="divisor"):
        float_training.fake(x[:, :40], float_training.float_format(e, m, 32))


def test_gaps_of_the_six_inputs():
    gaps = float_training.loss_gaps(lambda targets: 2.0 + sum(0.1 * (1 + (t == "x_dw")) for t in targets))
    assert max(gaps, key=lambda k: gaps[k] * (k in float_training.TARGETS)) == "x_dw"
    assert gaps["+".join(float_training.PUBLISHED)] == pytest.approx(0.3) and len(gaps) == 7


def test_sweep_of_checkpoints_and_its_cache(tmp_path):
    x, y = data(5)
    calls = []

    def loss(model):
        calls.append(model)
        return float(loss_of(model, x, y)[0].detach())

    quantizers = {"rtn4": (4, ptq_sweep.Rounding(INT4)), "rtn2": (2, ptq_sweep.Rounding(Format("int2", "channel")))}
    points = [ptq_sweep.Checkpoint(f"c{i}", 90, 100 * (i + 1), lambda i=i: net(i)) for i in range(2)]
    table = ptq_sweep.sweep_checkpoints(points, quantizers, loss, tmp_path / "rows.jsonl")
    rounded = net(1)
    with torch.no_grad():
        for i in (0, 2):
            rounded[i].weight.copy_(int4(rounded[i].weight))
    row = table[(table.checkpoint == "c1") & (table.quantizer == "rtn4")].iloc[0]
    assert row.loss_q == pytest.approx(loss(rounded)) and row.loss_fp == pytest.approx(loss(net(1)))
    assert len(table) == 4 and set(table.bits) == {4.0, 2.0} and len(calls) == 2 + 4 + 2
    with (tmp_path / "rows.jsonl").open("a") as file:
        file.write('{"key": "cut off')
    again = ptq_sweep.sweep_checkpoints(points, quantizers, loss, tmp_path / "rows.jsonl")
    assert len(calls) == 8 and again.equals(table)


def test_methods_that_look_at_data_are_quantizers_of_a_sweep():
    mixing = torch.randn(6, 6, generator=torch.Generator().manual_seed(0))  # inputs that go together
    x, batches = data(5)[0] @ mixing, [data(i)[0] @ mixing for i in range(4)]
    fine = Format("int3", "channel", False, "float32")
    model, whole = net(1, 32), net(1, 32)(x)

    def loss(m):
        return float(((m(x) - whole) ** 2).mean().detach())

    made = {name: (3, CalibratedRounding(name, fine, batches)) for name in ("rtn", "hqq", "gptq", "awq")}
    points = [ptq_sweep.Checkpoint("c", 90, 100, lambda: model)]
    lost = ptq_sweep.sweep_checkpoints(points, made, loss).set_index("quantizer").loss_q
    assert len(set(lost)) == 4 and (lost > 0).all() and loss(model) == 0  # a copy was rounded
    assert lost["gptq"] < lost["rtn"]
    kept = nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 9, bias=False), nn.Linear(9, 2))
    kept[1].weight = kept[0].weight
    own = kept[0].weight.clone()
    CalibratedRounding("gptq", fine, [torch.arange(9)])(kept)
    assert torch.equal(kept[0].weight, own) and kept[2].weight.unique().numel() < 18
    with pytest.raises(BadInput, match="at least one batch"):
        CalibratedRounding("gptq", fine)(kept)


def test_drift_is_that_of_the_weights():
    a, b = net(), net()
    with torch.no_grad():
        for i in (0, 2):
            b[i].weight.add_(0.5 * b[i].weight.square().mean().sqrt())
    found = ptq_sweep.weight_drift(a, b, (0.5,))
    rms = [[float(m[i].weight.detach().square().mean().sqrt()) for i in (0, 2)] for m in (a, b)]
    scale = [old / new for old, new in zip(*rms, strict=True)]
    assert 0.5 * min(scale) <= found[0.5] * (1 + 1e-5) and found[0.5] <= 0.5 * max(scale) * (1 + 1e-5)
    with pytest.raises(BadInput, match="different models"):
        ptq_sweep.weight_drift(a, net(width=9))
