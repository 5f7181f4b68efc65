"""The sensor network: its shape, what is frozen, its file."""

import pytest
import torch

from smidgen.kit.errors import BadInput
from smidgen.nets.tpn_encoder import TPNClassifier, TPNConfig, TPNEncoder, dense_head, read_tpn, tpn_bytes


def test_published_shape_and_the_shortest_window():
    net = TPNEncoder(6).eval()
    assert [tuple(c.weight.shape) for c in net.convolutions] == [(32, 6, 24), (64, 32, 16), (96, 64, 8)]
    x = torch.randn(2, 150, 6, generator=torch.Generator().manual_seed(0))
    assert net(x).shape == (2, 96) and net.config.least == 46
    h = x.mT
    for conv in net.convolutions:
        h = torch.nn.functional.conv1d(h, conv.weight, conv.bias).clamp_min(0)
    torch.testing.assert_close(net(x), h.max(2).values)
    assert net(x[:, :46]).shape == (2, 96)
    with pytest.raises(BadInput, match="at least 46 samples"):
        net(x[:, :45])
    heads = [m.out_features for m in dense_head(96, (256, 128, 50)) if isinstance(m, torch.nn.Linear)]
    assert heads == [256, 128, 50] and len(dense_head(96, ())) == 0


def test_frozen_convolutions_get_no_gradient():
    net = TPNClassifier(TPNEncoder(2, TPNConfig(widths=(3, 4, 5), kernels=(3, 2, 2))).freeze(2), 3, hidden=7)
    net(torch.randn(4, 9, 2)).sum().backward()
    assert [c.weight.grad is None for c in net.encoder.convolutions] == [True, True, False]


def test_file(tmp_path):
    net = TPNEncoder(2, TPNConfig(widths=(3, 4), kernels=(3, 2)), seed=5)
    (tmp_path / "net").write_bytes(tpn_bytes(net))
    again = read_tpn(tmp_path / "net")
    x = torch.randn(3, 8, 2)
    assert torch.equal(again.eval()(x), net.eval()(x))
    (tmp_path / "net").write_bytes(tpn_bytes(net)[:-4])
    with pytest.raises(BadInput):
        read_tpn(tmp_path / "net")
