"""Norms folded and tuned, biases tuned."""

import pytest
import torch
from torch import nn

from smidgen.compress.fake import fake_quantize, quantized_weights
from smidgen.compress.folding import fold_norms, seen_norms
from smidgen.compress.sensitivity import loss_to
from smidgen.compress.tuning import TuneConfig, batchnorm_tune, bias_tune
from smidgen.formats.format import Format
from smidgen.kit.errors import BadInput


class _Net(nn.Module):
    """Norms that can be folded (plain, grouped transposed, linear), or not (behind pooling, of a shared output)."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.up, self.up_norm = nn.ConvTranspose2d(8, 6, 2, stride=2, groups=2), nn.BatchNorm2d(6)
        self.pooled, self.pooled_norm = nn.Conv2d(6, 4, 3), nn.BatchNorm2d(4)
        self.shared, self.shared_norm = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)
        self.line, self.line_norm = nn.Linear(4, 5), nn.BatchNorm1d(5)

    def forward(self, x):
        x = torch.relu(self.norm(self.conv(x)))
        x = torch.relu(self.up_norm(self.up(x)))
        x = self.pooled_norm(-torch.max_pool2d(-self.pooled(x), 2))
        y = self.shared(x)
        x = self.shared_norm(y) + y
        return self.line_norm(self.line(x.mean((2, 3))))


def _case():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = _Net()
        data = [torch.randn(30, 3, 8, 8) for _ in range(2)]
        for module in net.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                nn.init.uniform_(module.weight, -1.5, 1.5)
                nn.init.normal_(module.bias)
                module.momentum = None
        net.train()
        for x in data:
            net(x)
    return net.eval(), data


def test_folding_keeps_what_the_network_says():
    net, data = _case()
    folded, norms = fold_norms(net, data[0])
    assert sorted(norms) == ["conv", "line", "up"]
    fresh = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(9))
    torch.testing.assert_close(folded(fresh), net(fresh), rtol=1e-4, atol=1e-5)
    assert isinstance(folded.norm, nn.Identity) and isinstance(folded.pooled_norm, nn.BatchNorm2d)
    torch.testing.assert_close(norms["conv"].std, net.norm.weight.detach().abs())
    seen = seen_norms(folded, norms, data)["conv"]  # of the very data that the norms know
    torch.testing.assert_close(seen.mean, norms["conv"].mean, rtol=1e-2, atol=1e-2)
    torch.testing.assert_close(seen.std, norms["conv"].std, rtol=1e-2, atol=1e-3)


def test_tuned_norms_give_channels_their_mean_and_spread():
    net, data = _case()
    folded, norms = fold_norms(net, data[0])
    made = fake_quantize(folded, Format.parse("int3+offset/channel/float32"), data, input_bits=3)
    before = quantized_weights(made)
    batchnorm_tune(made, norms, data)
    x = torch.cat(data)
    with torch.no_grad():
        y_KN = made.conv(x).transpose(0, 1).flatten(1)
    torch.testing.assert_close(y_KN.mean(1), norms["conv"].mean, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(y_KN.std(1), norms["conv"].std, rtol=1e-2, atol=1e-3)
    after = quantized_weights(made)
    for name in ("conv", "line"):  # factors went into the scales
        assert float((after[name].codes != before[name].codes).float().mean()) < 0.02
    torch.testing.assert_close(after["up"].scaled.scales, before["up"].scaled.scales)  # groups share them: only a shift
    with torch.no_grad():
        y_KN = made.up(torch.relu(made.conv(x))).transpose(0, 1).flatten(1)
    assert float((y_KN.mean(1) - norms["up"].mean).abs().max()) < 0.1
    with pytest.raises(BadInput, match="larger batches"):
        batchnorm_tune(made, norms, [data[0][:1]])


def test_biases_learn_the_answers():
    net, data = _case()
    folded, _ = fold_norms(net, data[0])
    made = fake_quantize(folded, Format.parse("int3+offset/channel"), data, input_bits=4)
    loss = loss_to(folded, data)
    before, codes = loss(made), quantized_weights(made)["up"].codes
    history = bias_tune(made, folded, data, TuneConfig(epochs=3, repeats=15, rates=((0, 1e-3), (2, 1e-4))))
    assert len(history) == 3
    assert loss(made) < 0.8 * before
    torch.testing.assert_close(quantized_weights(made)["up"].codes, codes)
    torch.testing.assert_close(folded.conv.weight, fold_norms(net, data[0])[0].conv.weight)
    kept = loss(made)
    bias_tune(made, folded, data, TuneConfig(epochs=1, repeats=3, rates=((0, 1e3),)))  # a rate that only does harm
    assert loss(made) == pytest.approx(kept, rel=1e-4)
