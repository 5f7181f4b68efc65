"""Where networks are trained, and how their weights lie in memory there."""

import pytest
import torch

from smidgen.nets.small_convnet import SmallResNet
from smidgen.train.device import safe_layout
from smidgen.train.loop import LoopConfig, Run, train


@pytest.mark.parametrize(
    ("processor", "widths", "last"),
    [("AVX2", (4, 8), False), ("AVX2", (8, 4), True), ("AVX512", (4, 8), True)],
)
def test_where_channels_last_spoils_memory_weights_lie_as_usual(monkeypatch, processor, widths, last):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: processor)
    net = SmallResNet(widths=widths)
    before = {name: (p, p.clone()) for name, p in net.named_parameters()}
    safe_layout(net)
    for name, p in net.named_parameters():
        assert p is before[name][0] and torch.equal(p, before[name][1])
    kept = dict(net.named_parameters())["stages.0.0.conv1.weight"]
    assert kept.is_contiguous(memory_format=torch.channels_last) is last


def test_the_loop_lays_them_so_before_its_first_update(monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    net = SmallResNet(widths=(4, 8))
    run = Run(net, torch.optim.SGD(net.parameters(), lr=0.1))
    train(run, lambda step: [], lambda model, batch: (torch.tensor(0.0), 1), lambda step: 1.0, LoopConfig(), steps=0)
    assert all(p.is_contiguous() for p in net.parameters())
