"""Formats chosen by tails, conversions and training in a format: against the numbers by hand, on small real layers."""

import copy

import pytest
import torch
from torch import nn

from smidgen.compress.conversion import convert_formats, in_one_format, measure_in
from smidgen.compress.format_search import (
    fit_scale,
    format_report,
    in_formats,
    inputs_of,
    kurtosis,
    round_input,
    sqnr,
    tails,
    threshold,
)
from smidgen.compress.learned_ranges import FakeRounding, QATConfig, finish, prepare
from smidgen.formats.noise import Density
from smidgen.kit.errors import BadInput


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.ConvTranspose2d(8, 4, 2), nn.Flatten(), nn.Linear(4 * 81, 10)
    )


X = torch.randn(32, 1, 8, 8, generator=generator())


def run(model):
    return model(X)


def likeness(to):
    return lambda model: float(torch.cosine_similarity(model(X).flatten(), to.flatten(), 0).detach())


def test_tails_of_known_densities():
    for shape, expected in (("uniform", 1.8), ("normal", 3.0), ("laplace", 6.0)):
        x = Density.of(shape).sample(200_000, generator())
        assert kurtosis(x + 5) == pytest.approx(expected, rel=0.05)
    assert tails(torch.tensor([0.0, 0.0, 0.0, 2.0]))["crest"] == 2.0
    for wrong in (torch.zeros(0), torch.ones(5), torch.tensor([1.0, float("inf")])):
        with pytest.raises(BadInput):
            tails(wrong)


def test_light_tails_want_integers_heavy_ones_exponents():
    best = {}
    for shape in ("uniform", "normal", "t3"):
        x = Density.of(shape).sample(30_000, generator())
        found = {f: sqnr(x, fit_scale(x, f)) for f in ("int8", "e2m5", "e3m4", "e4m3", "e5m2")}
        best[shape] = max(found, key=lambda f, found=found: found[f])
    assert best == {"uniform": "int8", "normal": "e2m5", "t3": "e3m4"}


def test_inputs_are_what_layers_read():
    net = network()
    read = inputs_of(net, run)
    assert torch.equal(read["0"].sort()[0], X.flatten().sort()[0])
    some = inputs_of(net, run, most=100)["0"]
    assert len(some) == 100 and float(some.max()) == float(X.max())
    with pytest.raises(BadInput, match="read nothing"):
        inputs_of(nn.ModuleList([net, nn.Linear(2, 2)]), lambda m: m[0](X))


def test_report_has_every_tensor_and_agrees_with_rounding():
    net = network()
    report = format_report(net, run, ("int8", "e4m3")).set_index(["tensor", "part"])
    assert len(report) == 6
    row = report.loc[("0", "input")]
    scaled = fit_scale(X.flatten(), "int8")
    noise = (X - round_input(X, scaled)).square().sum()
    assert row["int8"] == pytest.approx(float(10 * torch.log10(X.square().sum() / noise)), abs=1e-3)
    assert row["best"] == "int8"
    net[0].weight.data.fill_(0.1)
    with pytest.raises(BadInput, match="weight of 0"):
        format_report(net, run, ("int8",))


def test_a_border_makes_the_fewest_mistakes():
    assert threshold([1, 2, 3, 4], [False, False, True, True]) == 2.5
    assert threshold([1, 2, 3, 4], [True, True, True, True]) == 0
    assert threshold([4, 1, 3, 2], [False, False, False, False]) == 5


def test_a_network_in_formats_is_itself_again_afterwards():
    net = network()
    before, y = copy.deepcopy(net.state_dict()), net(X).detach()
    weight = torch.zeros(4, 8, 2, 2)  # of the transposed convolution, outputs first
    with in_formats(net, {"2": weight}, {"0": fit_scale(X, "int2")}):
        assert float(net[2].weight.detach().abs().max()) == 0 and not torch.equal(net(X), y)
    assert torch.equal(net(X), y) and all(torch.equal(v, net.state_dict()[k]) for k, v in before.items())
    with pytest.raises(BadInput), in_formats(net, {"9": weight}, {}):
        pass


def test_conversion_loses_little_without_outliers_and_wide_inputs_repair_it_with_them():
    net = network()
    y = net(X).detach()
    found, table = convert_formats(net, run, likeness(y), wide=(0, 3))
    assert found["e4m3 to int8"] > found["e4m3"] - 1e-3 and len(table) == 3
    assert bool((table["input step"] > table["input e4m3"] + 3).all())  # it hardly changes what E4M3 left
    read = inputs_of(net, run)
    coarse, fine = in_one_format(net, read, "e2m1"), in_one_format(net, read, "int8")
    alone, after = (measure_in(net, fine, likeness(y), before=b) for b in (None, coarse))
    assert after < alone - 1e-3  # inputs are what the first format left of them
    with torch.no_grad():
        net[0].weight[0] *= 300  # a channel of outliers that nobody needs
        net[2].weight[0] = 0
    y = net(X).detach()
    found, _ = convert_formats(net, run, likeness(y), wide=(0, 1))
    assert found["e4m3 to int8"] < 0.99 < found["e4m3 to int8 with 1 inputs in int16"]


@pytest.mark.parametrize("grids", [("int4/channel", "int4"), ("nf4/32", "int3")])
def test_training_in_a_format_recovers_and_leaves_what_the_format_can_say(grids):
    net = network()
    y = net(X).detach()
    scales = prepare(net, run, QATConfig(weights=grids[0], inputs=grids[1]))
    with pytest.raises(BadInput):
        prepare(net, run)
    others = [p for p in net.parameters() if not any(p is s for s in scales)]
    optimizer = torch.optim.Adam([{"params": scales, "lr": 3e-3}, {"params": others}], lr=1e-3)
    losses = []
    for _ in range(60):
        loss = (net(X) - y).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert min(losses[-10:]) < 0.6 * losses[0]
    trained = net(X).detach()
    inputs = finish(net)
    assert set(net.state_dict()) == set(network().state_dict()) and set(inputs) == {"0", "2", "4"}
    with in_formats(net, {}, inputs):
        assert torch.allclose(net(X), trained, atol=1e-6)
    if "channel" in grids[0]:
        per_row = [len(row.unique()) for row in net[4].weight.detach()]
        assert max(per_row) <= 16


def test_scale_gradients_are_those_of_the_published_quantizer():
    """LSQ: level - x / s inside, the end of the grid outside; here with respect to log s, with its factor."""
    x = torch.tensor([0.3, -0.8, 5.0])
    fake = FakeRounding(fit_scale(torch.tensor([1.4, -0.1, 0.7]), "int3", fine=False))
    s = float(fake.scales().detach())
    fake(x).sum().backward()
    v = x / s
    by_hand = torch.where(v > 3, 3.0, v.round() - v).sum() * s * fake.factor
    assert float(fake.log_scales.grad) == pytest.approx(float(by_hand), rel=1e-5)
