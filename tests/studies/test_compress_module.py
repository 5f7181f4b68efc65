"""`compress` on a network of torch: any limit, with and without data, and a folder that fills the network again."""

import math

import pytest
import torch
from torch import nn

import smidgen
from smidgen.kit.errors import BadInput


@pytest.fixture(scope="module")
def net() -> nn.Module:
    torch.manual_seed(0)
    body = [nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 32, 3, stride=2, groups=4)]
    return nn.Sequential(*body, nn.ReLU(), nn.Flatten(), nn.Linear(32 * 49, 10)).eval()


def batches(n: int) -> list[torch.Tensor]:
    g = torch.Generator().manual_seed(7)
    return [torch.randn(16, 3, 16, 16, generator=g) for _ in range(n)]


def test_a_network_fits_and_its_folder_fills_another(net: nn.Module, tmp_path) -> None:
    found = smidgen.compress(net, size="9KB", calibration=batches(8), steps=5, out=tmp_path / "small")  # type: ignore[operator]
    files = list((tmp_path / "small").iterdir())
    assert found["bytes"] == sum(f.stat().st_size for f in files) <= 9000
    assert found["loss_before"] == 0 and 0 < found["loss_after"] < 0.2
    torch.manual_seed(5)
    other = type(net)(*[type(m)(*_made(m)) if list(m.parameters()) else m for m in net])
    again = smidgen.load_packed(other, tmp_path / "small")
    x = batches(1)[0]
    torch.testing.assert_close(again(x), found["module"](x), rtol=2e-2, atol=2e-2)
    with pytest.raises(BadInput, match="does not have|does not fit"):
        smidgen.load_packed(nn.Sequential(nn.Linear(4, 4)), tmp_path / "small")
    (tmp_path / "small" / "model.safetensors").write_bytes(b"x" * 50)
    with pytest.raises(BadInput, match="damaged"):
        smidgen.load_packed(net, tmp_path / "small")


def test_without_data_it_rounds_and_says_so(net: nn.Module) -> None:
    found = smidgen.compress(net, bits=4.5)  # type: ignore[operator]
    assert found["loss_after"] is None and "without looking" in found["notes"][0] and found["model"] is None
    assert not any(math.isnan(t["loss"] or 0.0) for t in found["tried"])
    with pytest.raises(BadInput, match="at least 3 batches"):
        smidgen.compress(net, bits=4, calibration=batches(2))  # type: ignore[operator]
    with pytest.raises(BadInput, match="a model folder or a network"):
        smidgen.compress(3, bits=4)  # type: ignore[operator]


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_attention_of_torch_is_kept_and_named_and_the_rest_packed(dtype: torch.dtype, tmp_path) -> None:
    torch.manual_seed(0)
    net = nn.TransformerEncoder(nn.TransformerEncoderLayer(32, 4, 64, batch_first=True), 2).eval().to(dtype)
    data = [torch.randn(4, 6, 32).to(dtype) for _ in range(4)]
    found = smidgen.compress(net, bits=5, calibration=data, steps=2, out=tmp_path / "t")  # type: ignore[operator]
    assert {a["name"] for a in found["layers"]} == {f"layers.{i}.linear{j}" for i in (0, 1) for j in (1, 2)}
    assert "layers.1.self_attn.out_proj" in found["kept"] and 0 < found["loss_after"] < 0.1
    again = smidgen.load_packed(net, tmp_path / "t")
    padding = torch.zeros(4, 6, dtype=torch.bool)
    padding[:, 4:] = True
    for mask in (None, padding):  # with it torch has a second fast path
        with torch.no_grad():
            said = again(data[0], src_key_padding_mask=mask)[:, :4].float()
            wanted = net(data[0], src_key_padding_mask=mask)[:, :4].float()
        assert 0 < float((said - wanted).square().mean() / wanted.square().mean()) < 0.1
    assert found["module"](data[0].float()).shape == data[0].shape


def test_only_a_shared_weight(tmp_path) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Embedding(90, 32), nn.Linear(32, 90, bias=False))
    net[1].weight = net[0].weight
    data = [torch.randint(90, (4, 6)) for _ in range(4)]
    for bits, format in ((4, "int"), (16, "float16")):
        found = smidgen.compress(net, bits=bits, calibration=data, steps=2, out=tmp_path / "t")  # type: ignore[operator]
        assert len(found["layers"]) == 1 and found["layers"][0]["format"].startswith(format)
        assert found["bytes"] < 2.2 * 90 * 32 + 1000  # counted and written once
        again = smidgen.load_packed(net, tmp_path / "t")
        torch.testing.assert_close(again(data[0]), found["module"](data[0]), rtol=1e-2, atol=1e-2)
    assert found["notes"] == []


def _made(m: nn.Module) -> tuple:
    if isinstance(m, nn.Conv2d):
        return (m.in_channels, m.out_channels, 3, m.stride, m.padding, 1, m.groups)
    return (m.num_features,) if isinstance(m, nn.BatchNorm2d) else (m.in_features, m.out_features)
