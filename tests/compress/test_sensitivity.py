"""Losses of single layers, and whole pipelines."""

import pytest
import torch
from torch import nn

from smidgen.compress.adaquant import AdaQuantConfig
from smidgen.compress.allocate import Infeasible, allocate
from smidgen.compress.fake import bytes_of, fake_quantize
from smidgen.compress.mixed_precision import MixedConfig, Width, advanced, light
from smidgen.compress.sensitivity import FLOOR, choices, exchanged, loss_to, mixed, multiplications, sensitivity
from smidgen.compress.tuning import TuneConfig
from smidgen.formats.format import Format

WIDTHS = (Width.of(8, 8), Width.of(4, 4), Width.of(2, 4))


def _net():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 12, 3, groups=4),
            nn.BatchNorm2d(12),
            nn.ReLU(),
            nn.ConvTranspose2d(12, 4, 2, stride=2),
            nn.Flatten(),
            nn.Linear(4 * 12 * 12, 10),
            nn.PReLU(10),
        )
        for norm in (net[1], net[4]):
            norm.momentum = None  # statistics of these data, as a trained network has those of its own
        for x in _data():
            net(x)
    return net.eval()


def _data():
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(20, 3, 8, 8, generator=generator) for _ in range(2)]


def test_one_layer_at_a_time():
    net, data = _net(), _data()
    nets = {str(b): fake_quantize(net, Width.of(b).format) for b in (8, 4, 2)}
    base, loss = nets.pop("8"), loss_to(net, data)
    table = sensitivity(base, nets, loss, of="8").set_index(["layer", "option"])
    assert len(table) == 4 * 3
    start = loss(base)
    by_hand = fake_quantize(net, {n: Width.of(2 if n == "3" else 8).format for n in ("0", "3", "6", "8")})
    assert table.loc[("3", "2"), "delta_loss"] == pytest.approx(loss(by_hand) - start, rel=1e-5)
    assert table.loc[("3", "2"), "bytes"] == Format.parse("int2+offset/channel").bytes((12, 2, 3, 3)) + 4 * 12
    assert (table.xs("8", level="option")["delta_loss"] == 0).all()
    assert (table.xs("4", level="option")["delta_loss"] >= FLOOR).all()
    assert loss(base) == start
    with pytest.raises(RuntimeError, match="stop"), exchanged(base, nets["2"], ["0"]):
        raise RuntimeError("stop")
    assert loss(base) == start
    mix = mixed(base, nets, {"0": "8", "3": "2", "6": "8", "8": "8"})
    assert loss(mix) == pytest.approx(loss(by_hand), rel=1e-6)
    assert bytes_of(mix) == bytes_of(by_hand)


def test_multiplications_and_bit_operations():
    net, data = _net(), _data()
    macs = multiplications(net, data[0][:1])
    by_hand = {"0": 64 * 8 * 27, "3": 36 * 12 * 18, "6": 36 * 12 * 4 * 4, "8": 576 * 10}
    assert macs == by_hand
    quantized = {str(b): fake_quantize(net, Width.of(b).format, data, input_bits=b) for b in (8, 4)}
    assert multiplications(quantized["4"], data[0][:1]) == by_hand
    base = quantized.pop("8")
    rows = choices(sensitivity(base, quantized, loss_to(net, data), of="8"), "bops", macs)
    assert {c.bytes for c in rows if c.layer == "6"} == {6912 * 64, 6912 * 16}
    whole = sum(by_hand.values())
    assert set(allocate(rows, most_bytes=64 * whole).values()) == {"8"}


def test_pipelines_meet_the_limit_and_repair():
    net, data = _net(), _data()
    config = MixedConfig(widths=WIDTHS, biases=TuneConfig(epochs=2, repeats=3, rates=((0, 1e-3),)))
    plain = MixedConfig(widths=WIDTHS)
    limit = 2500
    before = light(net, data, most_bytes=limit, config=plain)
    after = light(net, data, most_bytes=limit, config=config)
    best = advanced(net, data, most_bytes=limit, config=config, learn=AdaQuantConfig(steps=25, batch=10))
    for made in (before, after, best):
        assert made.bytes <= limit
        assert bytes_of(made.packed()) == made.bytes
        assert set(made.options) == {"0", "3", "6", "8"} and len(set(made.options.values())) > 1
        x = data[0]
        torch.testing.assert_close(made.packed()(x), made.model(x), rtol=1e-4, atol=1e-5)
    assert after.loss < before.loss
    assert best.loss < 0.8 * after.loss
    assert len(best.report) == 3 * 4
    small = light(net, data, most_loss=before.predicted * 1.5, config=plain)
    assert small.bytes <= before.bytes
    with pytest.raises(Infeasible, match=rf"smallest reachable is {_smallest(net)} bytes"):
        light(net, data, most_bytes=500, config=plain)


def _smallest(net):
    from smidgen.compress.folding import fold_norms

    return bytes_of(fake_quantize(fold_norms(net, _data()[0])[0], WIDTHS[-1].format, _data(), input_bits=4))
