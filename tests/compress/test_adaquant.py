"""Learned rounding of each kind of layer."""

import pytest
import torch
from torch import nn

from smidgen.compress.adaquant import AdaQuantConfig, adaquant, kurtosis, learn_layers
from smidgen.compress.fake import bytes_of, fake_quantize, learnable, packed, quantized_weights
from smidgen.formats.format import Format
from smidgen.kit.errors import BadInput

INT4 = Format.parse("int4+offset/channel")


def _net():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1, bias=False),
            nn.ReLU(),
            nn.Conv2d(8, 8, 3, groups=8, padding=1),  # depthwise
            nn.ReLU(),
            nn.Conv2d(8, 16, 3, groups=2, stride=2),
            nn.ReLU(),
            nn.ConvTranspose2d(16, 4, 2, stride=2, groups=2),
            nn.Flatten(),
            nn.Linear(4 * 6 * 6, 10),
        ).eval()


def _data(seed=1, count=3):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(30, 3, 8, 8, generator=generator) for _ in range(count)]


@pytest.mark.parametrize("sequential", [False, True])
def test_every_kind_of_layer_learns_and_is_exported(sequential):
    net, data = _net(), _data()
    config = AdaQuantConfig(steps=40, batch=10, sequential=sequential)
    made, report = adaquant(net, data, INT4, input_bits=4, config=config)
    assert report["layer"].tolist() == ["0", "2", "4", "6", "8"]
    assert (report["mse_after"] <= report["mse_before"]).all()
    assert (report["mse_after"] < 0.9 * report["mse_before"]).sum() >= 4
    assert (report["snr"] > 10).all()
    fresh = _data(2, 1)[0]
    with torch.no_grad():
        wanted, plain = net(fresh), fake_quantize(net, INT4, data, input_bits=4)(fresh)
        got = made(fresh)
        assert float((got - wanted).square().mean()) < 0.8 * float((plain - wanted).square().mean())
        small = packed(made)
        torch.testing.assert_close(small(fresh), got)
    assert bytes_of(small) == bytes_of(made) == report["bytes"].sum()
    for name, weight in quantized_weights(made).items():
        layer = learnable(made)[name]
        value = weight.dequantize()
        torch.testing.assert_close(value.transpose(0, 1) if layer.transposed else value, layer.rounded())
        assert int(weight.codes.max()) <= 15


def test_weights_cross_borders_where_inputs_go_together():
    """With two inputs that are nearly the same only the sum of their weights counts: rounding each to the nearest is
    not the best, and moving by a whole step is."""
    generator = torch.Generator().manual_seed(3)
    common = torch.randn(200, 8, generator=generator).repeat_interleave(2, 1)
    x = common + 0.02 * torch.randn(200, 16, generator=generator)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        net = nn.Sequential(nn.Linear(16, 12))
    three = Format.parse("int3+offset/channel/float32")
    config = AdaQuantConfig(steps=200, weight_ranges=False, bias=False)
    plain = fake_quantize(net, three)
    before = quantized_weights(plain)["0"]
    made, report = adaquant(net, [x], three, config=config)
    after = quantized_weights(made)["0"]
    assert float(report["mse_after"][0]) < 0.7 * float(report["mse_before"][0])
    torch.testing.assert_close(after.scaled.scales, before.scaled.scales)
    assert bool((after.codes != before.codes).any())


def test_sequential_inputs_come_through_the_quantized_part():
    net, data = nn.Sequential(_net()[0], nn.ReLU(), _net()[2]), _data()
    two = Format.parse("int2+offset/channel")
    for sequential in (False, True):
        made = fake_quantize(net, two, data)
        config = AdaQuantConfig(steps=5, batch=20, sequential=sequential)
        report = learn_layers(made, net, data, config, ["0"])
        start = learnable(made)["2"]
        with torch.no_grad():
            x = torch.cat([(made[:2] if sequential else net[:2])(d) for d in data])
            wanted = net(torch.cat(data))
            error = float((start(x) - wanted).square().mean())
        report = learn_layers(made, net, data, config, ["2"])
        assert report["mse_before"][0] == pytest.approx(error, rel=1e-5)


def test_a_layer_is_never_worse_than_before_on_its_data():
    from dataclasses import replace

    from smidgen.compress.adaquant import Rates

    wild = AdaQuantConfig(steps=3, batch=20, decay=False, rates=replace(Rates(), weights=5.0))
    made, report = adaquant(_net(), _data(), INT4, input_bits=4, config=wild)
    assert (report["mse_after"] == report["mse_before"]).all()
    plain = fake_quantize(_net(), INT4, _data(), input_bits=4)
    for name, weight in quantized_weights(plain).items():
        torch.testing.assert_close(quantized_weights(made)[name].codes, weight.codes)


def test_sequences_embeddings_and_tied_weights():
    """Texts of several lengths as mappings; the table is shared with the output layer, and rounded once."""

    class Tagger(nn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.mid = nn.Embedding(20, 8), nn.Linear(8, 8)
            self.out = nn.Linear(8, 20, bias=False)
            self.out.weight = self.table.weight

        def forward(self, ids):
            return self.out(torch.relu(self.mid(self.table(ids))))

    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = Tagger()
    generator = torch.Generator().manual_seed(0)
    data = [{"ids": torch.randint(20, (10, n), generator=generator)} for n in (3, 7)]
    made, report = adaquant(net, data, INT4, config=AdaQuantConfig(steps=30, batch=10))
    assert report["layer"].tolist() == ["mid"]
    assert float(report["mse_after"][0]) < float(report["mse_before"][0])
    small = packed(made)
    assert small.table.weight is small.out.weight
    torch.testing.assert_close(small(data[1]["ids"]), made(data[1]["ids"]))
    assert bytes_of(made) == bytes_of(small) == INT4.bytes((20, 8)) + INT4.bytes((8, 8)) + 8 * 4


def test_what_is_wrong():
    with pytest.raises(BadInput, match="at least 99 samples"):
        adaquant(_net(), _data(), INT4, config=AdaQuantConfig(batch=99))
    with pytest.raises(BadInput, match="layer"):
        adaquant(_net(), _data(), {"nine": INT4}, config=AdaQuantConfig(batch=5))
    with pytest.raises(BadInput, match="at least one batch"):
        fake_quantize(_net(), INT4, input_bits=4)
    with pytest.raises(BadInput, match="one with a quantizer"):
        learn_layers(fake_quantize(_net(), {"0": INT4}), _net(), _data(), AdaQuantConfig(batch=5), ["2"])


def test_kurtosis_of_known_shapes():
    x = torch.linspace(-1, 1, 10001)
    assert kurtosis(x) == pytest.approx(1.8, abs=1e-3)
    assert kurtosis(torch.special.ndtri(torch.linspace(0.00005, 0.99995, 10000))) == pytest.approx(3, abs=0.03)
    assert kurtosis(torch.ones(5)) == 0
