"""MiniLM in torch against the one in numpy, and what low-rank changes of a layer mean."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from smidgen.nets import minilm

if not minilm.available():
    pytest.skip("the MiniLM weights are not installed", allow_module_level=True)

from smidgen.nets import minilm_torch
from smidgen.nets.minilm_torch import SHAPES, Packing, pool, run_layer

TEXTS = ["", "Where is it?", "one " * 70, "a [PAD] inside", "Hello, world", "It was the best of times, they say."]


def packed(texts):
    ids = minilm.load().token_ids(texts, 128)
    return torch.tensor([i for one in ids for i in one]), Packing.of([len(one) for one in ids])


def test_agrees_with_numpy_and_has_its_identity():
    encoder = minilm_torch.load()
    expected = minilm.load().encode(TEXTS, max_tokens=128, threads=1)
    with torch.no_grad():
        assert np.abs(encoder.embed(*packed(TEXTS)).numpy() - expected).max() < 1e-5
        alone = encoder.embed(*packed(TEXTS[1:2])).numpy()
    assert np.abs(alone - expected[1:2]).max() < 1e-5
    assert encoder.identity == minilm.load().identity


def test_a_low_rank_change_is_another_matrix_and_reaches_its_gradient():
    encoder, (ids, packing) = minilm_torch.load(), packed(TEXTS[1:2] + TEXTS[3:])
    random = torch.Generator().manual_seed(0)
    low_rank = {
        key: (
            (0.05 * torch.randn(3, n, generator=random)).requires_grad_(),
            (0.05 * torch.randn(m, 3, generator=random)).requires_grad_(),
        )
        for key, (m, n) in SHAPES.items()
    }
    x, layer = encoder.first(ids, packing), encoder.layers[2]
    merged = {**layer, **{f"{k}.weight": layer[f"{k}.weight"] + b @ a for k, (a, b) in low_rank.items()}}
    changed = run_layer(layer, x, packing, low_rank)
    assert torch.allclose(changed, run_layer(merged, x, packing), atol=1e-4)
    assert not torch.allclose(changed, run_layer(layer, x, packing), atol=1e-2)
    pool(changed, packing)[:, 0].sum().backward()
    assert all(float(m.grad.abs().max()) > 0 for pair in low_rank.values() for m in pair)


def test_pooling_is_the_mean_of_a_texts_own_tokens():
    packing = Packing.of([2, 3, 1])
    x = torch.arange(6 * 4, dtype=torch.float32).view(6, 4)
    means = torch.stack([x[:2].mean(0), x[2:5].mean(0), x[5]])
    assert torch.allclose(pool(x, packing), F.normalize(means, dim=1))
    assert packing.place.tolist() == [0, 1, 3, 4, 5, 6]
