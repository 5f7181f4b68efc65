"""The width-transferable parametrisation: what is scaled, what stays, and that updates are alike at all widths."""

import pytest
import torch

from smidgen.kit.errors import BadInput
from smidgen.lm.search import optimizer_of
from smidgen.nets.decoder import Decoder, DecoderConfig, mean_loss
from smidgen.train.width import at_width, transferable, width_groups

SHAPE = DecoderConfig(vocab=50, hidden=32, layers=2, heads=4, kv_heads=2, ffn=96, max_len=16)


def test_groups_scale_matrices_and_keep_what_decay_does():
    model = Decoder(transferable(at_width(SHAPE, 128), width_base=32))
    inner, others = width_groups(model.named_parameters(), 0.01, scale=model.config.logits_scale, weight_decay=0.1)
    assert inner["lr"] == 0.01 / 4 and inner["lr"] * inner["weight_decay"] == pytest.approx(0.01 * 0.1)
    assert others["lr"] == 0.01 and others["weight_decay"] == 0.0
    assert len(inner["params"]) == 2 * 7 and all(p.ndim == 2 for p in inner["params"])
    assert any(p is model.model.embed_tokens.weight for p in others["params"])
    assert len(others["params"]) == 1 + 2 * 2 + 1  # the tied embedding, norms
    with pytest.raises(BadInput, match="width_base / width"):
        width_groups(model.named_parameters(), 0.01, scale=0.0)


def test_frozen_parameters_are_left_out():
    model = Decoder(SHAPE)
    model.model.embed_tokens.weight.requires_grad_(False)
    assert sum(len(g["params"]) for g in width_groups(model.named_parameters(), 1.0, scale=1.0)) == 2 * 7 + 5


def moved(width, scaled):
    """How far one update of AdamW moves the logits of a model, on average."""
    config = transferable(at_width(SHAPE, width), width_base=32, init_std=0.28)
    if not scaled:
        config = DecoderConfig(**{**vars(config), "width_base": None})
    model, ids = Decoder(config, seed=1), torch.randint(50, (8, 17), generator=torch.Generator().manual_seed(0))
    optimizer = torch.optim.AdamW(width_groups(model.named_parameters(), 0.01, scale=config.logits_scale))
    before = model(ids[:, :-1]).detach()
    mean_loss(model, ids[:, :-1].contiguous(), ids[:, 1:].contiguous()).backward()
    optimizer.step()
    return float((model(ids[:, :-1]).detach() - before).square().mean().sqrt())


def test_an_update_moves_the_output_alike_at_all_widths():
    scaled, plain = ([moved(w, s) for w in (128, 512)] for s in (True, False))
    assert 1 / 1.5 < scaled[1] / scaled[0] < 1.5
    assert plain[1] / plain[0] > 2.5


def test_shapes_and_warnings():
    wide = at_width(SHAPE, 128)
    assert (wide.heads, wide.kv_heads, wide.ffn, wide.layers, wide.width) == (16, 8, 384, 2, SHAPE.width)
    with pytest.raises(BadInput, match="multiple of 16"):
        at_width(SHAPE, 40)
    with pytest.warns(UserWarning, match="no multiple of width_base 256"):
        config = transferable(SHAPE)
    assert (config.scale_emb, config.scale_depth, config.init_std, config.logits_scale) == (12, 1.4, 0.1, 8)
    assert transferable(SHAPE, width_base=16).logits_scale == 0.5


def test_muon_follows_the_width_by_itself():
    model = Decoder(transferable(at_width(SHAPE, 128), width_base=32))
    rates = {kind: [g["lr"] for g in optimizer_of(model, 0.01, kind).param_groups] for kind in ("adamw", "muon")}
    assert rates == {"adamw": [0.01 / 4, 0.01], "muon": [0.01, 0.01]}
