"""Sampling of many texts from shared uniform numbers."""

import pytest
import torch

from smidgen.kit.errors import BadInput
from smidgen.lm.generate import Sampling, chances, next_tokens
from smidgen.lm.paired import chances_of_rows, pick, sample_rows
from smidgen.nets.decoder import Decoder, DecoderConfig

CONFIG = DecoderConfig(vocab=23, hidden=16, layers=2, heads=2, kv_heads=1, ffn=24, max_len=40)


def test_rows_have_the_chances_that_single_texts_have():
    logits = torch.randn(6, 23, generator=torch.Generator().manual_seed(0)) * 3
    settings = [(0.2, 0), (1.0, 5), (0.0, 0), (0.7, 1), (2.0, 23), (0.0, 4)]
    t, k = (torch.tensor(x) for x in zip(*settings, strict=True))
    rows = chances_of_rows(logits, t, k)
    for i, (temperature, top_k) in enumerate(settings):
        one = chances(logits[i], torch.zeros(1, dtype=torch.long), Sampling(temperature=temperature, top_k=top_k))
        assert torch.allclose(rows[i], one, atol=1e-7)


def test_a_token_is_where_the_sum_crosses():
    p = torch.tensor([[0.0, 0.25, 0.0, 0.75, 0.0]])
    u = torch.tensor([0.0, 0.2499, 0.25, 0.9999999])
    assert pick(p.expand(4, 5), u).tolist() == [1, 1, 3, 3]
    grid = (torch.arange(4000) + 0.5) / 4000
    shares = torch.bincount(pick(p.expand(4000, 5), grid), minlength=5) / 4000
    assert torch.allclose(shares, p[0], atol=1e-3)


def test_greedy_rows_are_the_greedy_texts_and_equal_models_draw_the_same():
    model = Decoder(CONFIG, 3).eval()
    with torch.no_grad():
        model.model.embed_tokens.weight *= 40
    prompts = torch.randint(23, (4, 6), generator=torch.Generator().manual_seed(1))
    u = torch.rand(4, 12, generator=torch.Generator().manual_seed(2))
    t, k = torch.tensor([0.0, 0.0, 0.8, 0.8]), torch.tensor([0, 3, 0, 5])
    made = sample_rows(model, prompts, u, t, k)
    for row in (0, 1):
        alone = list(next_tokens(model, prompts[row].tolist(), Sampling(temperature=0, max_tokens=12)))
        assert made[row].tolist() == alone
    assert torch.equal(made[2:, :5], sample_rows(model, prompts[2:], u[2:, :5], t[2:], k[2:]))  # beginnings, any batch
    with pytest.raises(BadInput, match="40 tokens"):
        sample_rows(model, prompts, torch.rand(4, 35), t, k)
