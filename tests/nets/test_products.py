"""The faster products are float32 products, and are asked for only where that is known."""

import pytest
import torch

from smidgen.nets import products
from smidgen.nets.decoder import Decoder, DecoderConfig, mean_loss

INTEL = "vendor_id: GenuineIntel\nflags: avx512f"
AMD = "vendor_id: AuthenticAMD\nflags: avx512f"


def precision():
    return torch.backends.mkldnn.matmul.fp32_precision


def test_gradients_are_those_of_float32_products():
    model = Decoder(DecoderConfig(97, 48, 2, 6, 2, 80, 130))
    ids = torch.randint(0, 97, (2, 2, 130), generator=torch.Generator().manual_seed(0))
    found = []
    for block in (torch.enable_grad(), products.full_speed()):
        with block:
            mean_loss(model, *ids).backward()
        found.append([p.grad for p in model.parameters()])
        model.zero_grad()
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, atol=2e-6, rtol=1e-4)  # bfloat16 would be off by 1e-2


@pytest.mark.parametrize(
    ("info", "wanted"),
    [(AMD, True), (INTEL, False), (AMD + " amx_tile amx_bf16", False), ("AuthenticAMD avx2", False), ("", False)],
)
def test_only_known_processors_are_trusted(info, wanted, tmp_path, monkeypatch):
    (tmp_path / "cpuinfo").write_text(info)
    monkeypatch.setattr(products, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(products, "largest_error", lambda: 1e-7)
    products._useful.cache_clear()
    try:
        before = precision()
        with products.full_speed() as used:
            assert used == (wanted and torch.backends.mkldnn.is_available())
            assert precision() == ("bf16" if used else before)
        assert precision() == before
        monkeypatch.setattr(products, "largest_error", lambda: 3e-3)
        products._useful.cache_clear()
        with products.full_speed() as used:
            assert not used
    finally:
        products._useful.cache_clear()


def test_rounding_to_bfloat16_would_be_seen(monkeypatch):
    rounded, real = torch.bmm, products.largest_error()
    monkeypatch.setattr(torch, "bmm", lambda a, b: rounded(a.bfloat16().float(), b.bfloat16().float()))
    assert products.largest_error() > products._ROUNDING
    assert real >= 0
