"""Training in few bits: layers against products written by hand, optimizers against their float32 selves, runs that
resume to the bit, and messages whose sum is what was meant."""

import copy
import warnings

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn

from smidgen.formats.grid import grid
from smidgen.formats.rounding import round_to
from smidgen.kit.errors import BadInput
from smidgen.train.loop import LoopConfig, Run, train
from smidgen.train.low_precision import (
    Compressor,
    Delayed,
    LossScale,
    PrecisionPolicy,
    apply_policy,
    measured_bytes,
    memory_estimate,
)
from smidgen.train.low_precision.communicate import among_workers
from smidgen.train.low_precision.layers import Scaler, chunked_product, covered, raise_again
from smidgen.train.low_precision.number import Number
from smidgen.train.low_precision.policy import StateFormat


def draws(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


X, Y = draws(64, 32), draws(64, 1, seed=1)


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(32, 48), nn.ReLU(), nn.Linear(48, 1))


def loss_of(model, x, y):
    return (model(x) - y).square().sum(), len(y)


def updates(model, optimizer, count, first=0):
    for step in range(first, first + count):
        torch.manual_seed(step)
        loss, n = loss_of(model, X, Y)
        optimizer.zero_grad()
        (loss / n).backward()
        optimizer.step()
    return float(loss.detach() / n)


def adam(model, rate=1e-2):
    return torch.optim.AdamW(model.parameters(), lr=rate)


def test_a_linear_layer_multiplies_what_the_policy_says_in_all_three_products():
    names = {
        "weights": "int4/16",
        "activations": "e4m3fn/tensor",
        "act_grads": "e5m2ieee/tensor",
        "weight_grads": "bfloat16",
    }
    layer = nn.Sequential(nn.Linear(32, 8))
    w = layer[0].weight.detach().clone()
    apply_policy(layer, adam(layer), PrecisionPolicy(**names))
    x, into = X.clone().requires_grad_(), draws(64, 8, seed=2)
    y = layer(x)
    y.backward(into)
    qx, qw, qg = (Number.parse(names[k]).round(v) for k, v in (("activations", X), ("weights", w), ("act_grads", into)))
    assert torch.equal(y, F.linear(qx, qw, layer[0].bias))
    assert torch.allclose(x.grad, qg @ qw, atol=1e-6)
    assert torch.equal(layer[0].weight.grad, (qg.T @ qx).bfloat16().float())


@pytest.mark.parametrize("kind", ["conv", "transposed"])
def test_convolutions_too_and_the_policy_comes_off_again(kind):
    layer = nn.Conv2d(3, 4, 3, groups=1) if kind == "conv" else nn.ConvTranspose2d(3, 4, 2, stride=2)
    model, x = nn.Sequential(layer), draws(2, 3, 6, 6)
    wide = model(x).detach()
    apply_policy(model, adam(model), PrecisionPolicy(weights="int3/tensor"))
    by_hand = copy.deepcopy(layer)
    raise_again(by_hand)
    with torch.no_grad():
        by_hand.weight.copy_(Number.parse("int3/tensor").round(layer.weight))
    assert torch.equal(model(x), by_hand(x)) and not torch.equal(model(x), wide)
    raise_again(model)
    assert type(model[0]) is type(layer) and torch.equal(model(x), wide)
    assert set(model.state_dict()) == {"0.weight", "0.bias"}


def test_numbers_by_name():
    x = torch.tensor([1e-9, 3e-6, 1.0, 70000.0])
    assert Number.parse("float16").round(x).tolist() == x.half().float().tolist()  # infinity and zero included
    assert Number.parse("fixed4.12").round(x).tolist() == [0, 0, 1, 8 - 2**-12]
    assert torch.equal(Number.parse("posit16e1").round(x), round_to(x, grid("posit16e1")))
    rounded = torch.stack([Number.parse("bfloat16").round(torch.full((2000,), 1.001), "stochastic")])
    assert set(rounded.unique().tolist()) == {1.0, 1.0078125} and abs(float(rounded.mean()) - 1.001) < 3e-4
    assert (
        Number.parse("int8/32/float16").bytes((3, 40)) == 3 * (40 + 2 * 2) and Number.parse("fixed3.5").bytes((5,)) == 5
    )


def test_delayed_scales_clip_once_and_lie_in_the_state():
    model = nn.Sequential(nn.Linear(32, 4))
    policy = PrecisionPolicy(activations="int8/tensor", scaling=Delayed(history=4))
    apply_policy(model, adam(model), policy)
    scale = float(X.abs().max()) / 127
    model(X)
    grown = model[0].precision["activations"](3 * X)
    assert float(grown.max()) == pytest.approx(127 * scale, rel=1e-3)  # clipped to what was seen before
    assert float(model[0].precision["activations"](3 * X).abs().max()) == pytest.approx(3 * 127 * scale, rel=0.02)
    history = model.state_dict()["0.precision.activations.history"]
    assert history.tolist() == pytest.approx([0, *(m * float(X.abs().max()) for m in (1, 3, 3))])


def test_loss_scale_saves_small_gradients_and_leaves_overflows_out():
    small = PrecisionPolicy(act_grads="float16", weight_grads="float16", loss_scale=LossScale(start=2.0**20, every=3))
    with pytest.warns(UserWarning, match="without loss scaling"):
        without = PrecisionPolicy(act_grads="float16")
    moved = {}
    for name, policy in (("with", small), ("without", without)):
        model = network()
        model, optimizer = apply_policy(model, torch.optim.SGD(model.parameters(), lr=1.0), policy)
        before = model[2].weight.detach().clone()
        (loss_of(model, X, Y)[0] * 1e-11).backward()
        optimizer.step()
        moved[name] = float((model[2].weight - before).detach().abs().max())
    assert moved["with"] > 0 and moved["without"] == 0
    m = network()
    _, optimizer = apply_policy(m, adam(m), small)
    before = copy.deepcopy(m.state_dict())
    updates(m, optimizer, 1)  # gradients times 2^20 are beyond 65504
    assert optimizer.scaler.skipped == 1 and optimizer.scaler.scale == 2.0**19
    assert all(torch.equal(v, before[k]) for k, v in m.state_dict().items())
    updates(m, optimizer, 12)
    assert optimizer.scaler.skipped < 13 and not torch.equal(m[0].weight, before["0.weight"])
    scaler = Scaler(scale=8.0)
    for _ in range(3):
        scaler.update(3)
    assert scaler.scale == 16.0


def test_kept_weights_move_only_by_chance_when_updates_are_small():
    ends = {}
    for mode in ("nearest", "stochastic"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            policy = PrecisionPolicy(weights="bfloat16", master=False, rounding=mode)
        m = network()
        with torch.no_grad():
            m[0].weight.fill_(1.0)
        model, optimizer = apply_policy(m, torch.optim.SGD(m.parameters(), lr=1.0), policy)
        torch.manual_seed(0)
        for _ in range(40):
            for p in m.parameters():
                p.grad = torch.full_like(p, 1e-4)
            optimizer.step()
        assert torch.equal(m[0].weight, m[0].weight.bfloat16().float())
        ends[mode] = 1 - float(m[0].weight.detach().mean())
    assert ends["nearest"] == 0 and ends["stochastic"] == pytest.approx(40e-4, rel=0.25)


STATES = [
    "float32",
    "dynamic8",
    "dynamic8/64",
    "linear8/tensor",
    "bfloat16",
    ("int8/64", "uint8/64"),
    "e4m3fn/128",
    "e5m10",
]


@pytest.mark.parametrize("states", STATES, ids=str)
def test_moments_in_few_bits_stay_near_and_second_ones_never_vanish(states):
    policy = PrecisionPolicy(optimizer_states=states)
    m, exact = network(), network()
    _, optimizer = apply_policy(m, adam(m, 1e-4), policy, smallest=0)
    plain = adam(exact, 1e-4)
    updates(m, optimizer, 5)
    updates(exact, plain, 5)
    for p, q in zip(m.parameters(), exact.parameters(), strict=True):
        got, true = optimizer.moments(p), plain.state[q]
        assert torch.allclose(got["exp_avg"], true["exp_avg"], atol=0.1 * float(true["exp_avg"].abs().max()))
        assert bool(((got["exp_avg_sq"] > 0) | (true["exp_avg_sq"] == 0)).all())
        if states == "float32":
            assert torch.equal(p, q)


@pytest.mark.parametrize(
    "text",
    [
        "optimizer_states=dynamic8, act_grads=e5m2ieee/tensor, activations=e4m3fn/tensor, scaling=delayed",
        "weights=bfloat16, master=no, rounding=stochastic, act_grads=float16, loss_scale=dynamic",
        "optimizer_states=int8/64+uint8/64, act_grads=int4/64, rounding=stochastic",
    ],
)
def test_a_run_resumes_to_the_bit(text):
    policy = PrecisionPolicy.parse(text)

    def new():
        m = network()
        model, optimizer = apply_policy(m, adam(m), policy, smallest=64)
        return Run(model, optimizer)

    def batch(number):
        return X[number % 2 :: 2], Y[number % 2 :: 2]

    torch.manual_seed(5)
    whole = train(new(), batch, loss_of, lambda s: 1.0, LoopConfig(), steps=12)
    torch.manual_seed(5)
    part = train(new(), batch, loss_of, lambda s: 1.0, LoopConfig(), steps=7)
    state = copy.deepcopy(part.state_dict())
    again = new()
    again.load_state_dict(state)
    train(again, batch, loss_of, lambda s: 1.0, LoopConfig(), steps=12)
    for a, b in zip(whole.model.state_dict().values(), again.model.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_sums_in_few_bits():
    a, b = draws(5, 200), draws(200, 7, seed=1)
    parts = [(a[:, k : k + 64] @ b[k : k + 64]).bfloat16().float() for k in range(0, 200, 64)]
    total = parts[0]
    for part in parts[1:]:
        total = (total + part).bfloat16().float()
    assert torch.equal(chunked_product(a, b, "bfloat16"), total)
    ones = torch.ones(1, 32768)
    assert float(chunked_product(ones, ones.T, "bfloat16")) == 16384  # from there on 64 more are half a step
    model = network()
    apply_policy(model, adam(model), PrecisionPolicy(accumulate="bfloat16"))
    assert updates(model, adam(model), 30) < 0.9 * updates(network(), adam(network()), 1)
    with pytest.raises(BadInput, match="accumulate"):
        apply_policy(c := nn.Sequential(nn.Conv1d(1, 1, 2)), adam(c), PrecisionPolicy(accumulate="float16"))


@pytest.mark.parametrize("number", ["int1/tensor", "int4/64", "bfloat16", "e4m3fn/32"])
def test_errors_are_sent_later(number):
    own, lossy = Compressor(number), Compressor(number, error_feedback=False)
    grad = draws(3, 50)
    got = sum(own.send("a", grad) for _ in range(50)) / 50
    plain = sum(lossy.send("a", grad) for _ in range(50)) / 50
    assert float((got - grad).abs().mean()) < 0.2 * float((plain - grad).abs().mean())
    left = copy.deepcopy(own.state_dict())
    again = Compressor(number)
    again.load_state_dict(left)
    assert torch.equal(own.send("a", grad), again.send("a", grad))
    assert sum(v.nbytes for v in Compressor("int1/tensor").encode(0, draws(80, 80)).values()) <= 80 * 10 + 4


def test_simulated_workers_give_the_mean_of_what_they_send():
    m, senders = network(), [Compressor("int1/tensor") for _ in range(2)]
    loss, count = among_workers(loss_of, senders)(m, X, Y)
    (loss / count).backward()
    assert float(loss.detach()) == pytest.approx(float(loss_of(m, X, Y)[0].detach()), rel=1e-5)
    expected = 0
    for k in range(2):
        n = network()
        part, size = loss_of(n, X[k::2], Y[k::2])
        (part / size).backward()
        g = n[0].weight.grad
        expected = expected + g.sign() * g.abs().mean() / 2
    assert torch.allclose(m[0].weight.grad, expected, atol=1e-3 * float(expected.abs().max()))


def test_the_hook_of_distributed_training_sends_packed_gradients(tmp_path):
    dist.init_process_group("gloo", store=dist.FileStore(str(tmp_path / "store"), 1), rank=0, world_size=1)
    try:
        m, alone = network(), network()
        parallel = nn.parallel.DistributedDataParallel(m)
        own, by_hand = Compressor("int4/32"), Compressor("int4/32")
        parallel.register_comm_hook(None, own.hook(list(m.parameters())))
        for _ in range(3):
            for net in (parallel, alone):
                for p in net.parameters():
                    p.grad = None
                (loss_of(net, X, Y)[0] / len(Y)).backward()
            for i, (p, q) in enumerate(zip(m.parameters(), alone.parameters(), strict=True)):
                assert torch.allclose(p.grad, by_hand.send(i, q.grad), atol=1e-7)
    finally:
        dist.destroy_process_group()


POLICIES = [
    "rounding=nearest",
    "weights=e4m3fn/tensor, activations=e4m3fn/tensor, act_grads=e5m2ieee/tensor, optimizer_states=dynamic8",
    "weights=bfloat16, master=no, rounding=stochastic, optimizer_states=bfloat16",
    "weights=int4/64, weight_grads=int8/64, optimizer_states=int8/128+uint8/128, skip=0",
]


@pytest.mark.parametrize("text", POLICIES)
def test_foretold_bytes_are_those_of_the_tensors(text):
    m = network()
    model, optimizer = apply_policy(m, adam(m), policy := PrecisionPolicy.parse(text), smallest=64)
    updates(model, optimizer, 1)
    told, counted = (
        memory_estimate(model, policy, smallest=64, run=lambda net: net(X)),
        measured_bytes(model, optimizer),
    )
    for part, size in counted.items():
        if part != "total":
            assert told[part] == pytest.approx(size, rel=0.02), part
    number, read = Number.parse(policy.activations), {"0": (64, 32), "2": (64, 48)}
    assert told["activations"] == sum(number.bytes(read[name]) for name in covered(model, policy.skip))
    if policy.skip:  # moments too
        assert told["optimizer_states"] == 2 * 4 * sum(p.numel() for p in m.parameters())


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("weights=int8/64, weights=int4/64", "twice"),
        ("wieghts=int8/64", "part"),
        ("optimizer_states=uint8/64", "either sign"),
        ("optimizer_states=linear8/0", "BLOCK"),
        ("master=no", "master"),
        ("weights=dynamic8", "format"),
        ("scaling=delayed, weights=int8/64", "tensor"),
        ("accumulate=int8", "accumulate"),
        ("rounding=up", "rounding"),
    ],
)
def test_policies_that_cannot_be(text, what):
    with pytest.raises(BadInput, match=what):
        PrecisionPolicy.parse(text)
    assert StateFormat.parse("dynamic8", signed=False).blockwise(10).keep_positive


def test_models_and_optimizers_that_do_not_fit():
    m = network()
    with pytest.raises(BadInput, match="optimizer"):
        apply_policy(m, adam(network()), PrecisionPolicy())
    apply_policy(m, adam(m), PrecisionPolicy(weights="int8/64"))
    with pytest.raises(BadInput, match="no policy"):
        apply_policy(m, adam(m), PrecisionPolicy(weights="int8/64"))
    with pytest.raises(BadInput, match="skip"):
        apply_policy(n := network(), adam(n), PrecisionPolicy(skip=("0", "2")))
    with pytest.raises(BadInput, match="comm"):
        Compressor("fixed4.4")
