import pytest
import torch

from smidgen.nets import presets
from smidgen.nets.decoder import Decoder, parameters


@pytest.mark.parametrize(
    ("name", "inner", "whole"),
    [("minicpm_1_2b", 1_247_442_432, 1_360_246_272), ("minicpm_2_4b", 2_442_057_984, 2_724_880_896)],
)
def test_published_sizes(name, inner, whole):
    """1.2B and 2.4B without the embedding; "2B" has 2.7e9 with it."""
    config = getattr(presets, name)()
    with torch.device("meta"):
        made = sum(p.numel() for p in Decoder(config).parameters())
    assert made == parameters(config) == whole and whole - config.vocab * config.hidden == inner
    assert config.logits_scale == 256 / config.hidden and config.residual_scale == pytest.approx(
        1.4 / config.layers**0.5
    )
