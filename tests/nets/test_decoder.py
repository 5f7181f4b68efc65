"""The decoder against transformers' Llama, against itself with plain operations, and piece by piece."""

from dataclasses import replace

import pytest
import torch

from smidgen.kit.errors import BadInput
from smidgen.nets import fused, presets
from smidgen.nets.decoder import Decoder, DecoderConfig, flops_per_token, loss, mean_loss, parameters

SMALL = DecoderConfig(vocab=97, hidden=48, layers=2, heads=6, kv_heads=2, ffn=80, max_len=200, init_std=0.1)
TRANSFERABLE = {"scale_emb": 12.0, "scale_depth": 1.4, "width_base": 20}


def ids(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, SMALL.vocab, shape, generator=torch.Generator().manual_seed(seed))


def gradients(config: DecoderConfig, documents: torch.Tensor | None) -> tuple[torch.Tensor, list[torch.Tensor]]:
    model, targets = Decoder(config), ids(3, 150, seed=1)
    targets[0, :9] = -100
    value = mean_loss(model, ids(3, 150), targets, documents_BT=documents)
    value.backward()
    assert value.item() == pytest.approx(loss(model(ids(3, 150), documents_BT=documents), targets).item(), abs=1e-5)
    return value.detach(), [p.grad for p in model.parameters() if p.grad is not None]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    "switches", [{}, {"tie_embeddings": False, "bias": True}, TRANSFERABLE, {"norm_position": "post"}]
)
def test_the_fast_kernels_give_the_gradients_of_plain_operations(switches, packed):
    documents = torch.tensor([[0] * 30 + [1] * 120, [7] * 150, [1] + [2] * 149]) if packed else None
    config = replace(SMALL, **switches)
    value, fast = gradients(config, documents)
    other, plain = gradients(replace(config, kernels="plain"), documents)
    assert len(fast) == len(plain) == len(list(Decoder(config).parameters()))
    torch.testing.assert_close(value, other)
    for a, b in zip(fast, plain, strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-4)


def test_long_sequences_and_caches_agree_with_blocks(monkeypatch):
    model = Decoder(SMALL)
    documents = torch.tensor([[0] * 70 + [1] * 80, [0] * 150])
    blocks = [model(ids(2, 150)), model(ids(2, 150), documents_BT=documents)]
    monkeypatch.setattr(fused, "ATTENTION_LONGEST", 10)  # the kernel of torch
    torch.testing.assert_close(blocks[0], model(ids(2, 150)), atol=1e-5, rtol=0)
    torch.testing.assert_close(blocks[1], model(ids(2, 150), documents_BT=documents), atol=1e-5, rtol=0)


def test_packed_documents_are_as_if_alone():
    model, tokens = Decoder(SMALL), ids(1, 150)
    documents = torch.tensor([[0] * 65 + [1] * 85])
    packed = model(tokens, documents_BT=documents)
    apart = torch.cat((model(tokens[:, :65]), model(tokens[:, 65:])), 1)
    torch.testing.assert_close(packed, apart, atol=1e-5, rtol=0)
    assert (model(tokens)[:, 65:] - packed[:, 65:]).abs().max() > 1e-2  # the mask matters
    turns = model.seen(tokens, None, documents, None).cos
    torch.testing.assert_close(turns[0, 65:130], turns[0, :65])  # positions restart: they stay within what was trained


@pytest.mark.parametrize("kv_heads", [1, 6])
def test_cached_decoding_is_uncached(kv_heads):
    model = Decoder(replace(SMALL, kv_heads=kv_heads))
    tokens, cache = ids(2, 20), model.new_cache(2, 20)
    whole = model(tokens)
    parts = [model(tokens[:, a:b], cache=cache) for a, b in ((0, 7), (7, 8), (8, 13))]
    cache.crop(10)
    parts = [torch.cat(parts, 1)[:, :10], *(model(tokens[:, i : i + 1], cache=cache) for i in range(10, 20))]
    torch.testing.assert_close(torch.cat(parts, 1), whole, atol=1e-4, rtol=0)
    assert (
        cache.bytes == 2 * 2 * 2 * kv_heads * 20 * 8 * 4
    )  # keys and values, layers, batch, heads, tokens, width, float32
    with pytest.raises(BadInput, match="at most 20 tokens"):
        model(tokens[:, :1], cache=cache)


def test_underflowing_probabilities_have_their_exact_loss():
    x, weight = torch.tensor([[1000.0], [1.0]], requires_grad=True), torch.tensor([[1.0], [0.5]], requires_grad=True)
    value = fused.output_loss(x, weight, torch.tensor([1, -100]))
    value.backward()
    assert value.item() == 500
    torch.testing.assert_close(x.grad, torch.tensor([[0.5], [0.0]]))


def test_the_loss_never_holds_the_logits():
    x, weight = torch.randn(2000, 4, requires_grad=True), torch.randn(50, 4, requires_grad=True)
    sizes = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.append(t.numel()) or t, lambda t: t):
        fused.output_loss(x, weight, torch.zeros(2000, dtype=torch.long)).backward()
    assert sizes and max(sizes) <= 2000 * 4


@pytest.mark.parametrize("kernels", ["fast", "plain"])
def test_mixed_precision_is_near(kernels):
    config = replace(SMALL, kernels=kernels)
    exact = mean_loss(Decoder(config), ids(2, 60), ids(2, 60, seed=1))
    model = Decoder(config)
    with torch.autocast("cpu", torch.bfloat16):
        value = mean_loss(model, ids(2, 60), ids(2, 60, seed=1))
    value.backward()
    assert value.item() == pytest.approx(exact.item(), rel=5e-3)
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in model.parameters())
    half = mean_loss(Decoder(config).to(torch.bfloat16), ids(2, 60), ids(2, 60, seed=1))
    assert half.item() == pytest.approx(exact.item(), rel=2e-2)


def test_parameters_are_counted_without_making_them():
    for config in (SMALL, replace(SMALL, bias=True, tie_embeddings=False), replace(SMALL, norm_position="post")):
        assert sum(p.numel() for p in Decoder(config).parameters()) == parameters(config)
    with torch.device("meta"):
        geb = Decoder(presets.geb_1_3b())
    assert sum(p.numel() for p in geb.parameters()) == parameters(presets.geb_1_3b()) == 1_348_044_800
    mini = presets.geb_mini(3, 128)
    assert (mini.heads, mini.kv_heads, mini.ffn, mini.tie_embeddings) == (4, 1, 352, False)
    for size, vocab in ((1_000_000, 1024), (10_000_000, 4096), (50_000_000, 8192)):
        assert parameters(presets.sized(size, vocab, 256)) == pytest.approx(size, rel=0.1)
    with pytest.raises(BadInput, match="at least"):
        presets.sized(100_000, 8192, 256)
    assert parameters(presets.sized(146_566, 320, 16)) < 1.2 * 146_566  # the likeliest shape is too large here


def test_flops_are_what_torch_counts():
    from torch.utils.flop_counter import FlopCounterMode

    model = Decoder(replace(SMALL, kernels="plain"))
    with FlopCounterMode(display=False) as counter:
        model(ids(2, 64))
    seen_all = SMALL.layers * 4 * SMALL.hidden * (64 - 1) / 2  # torch's attention multiplies the masked half too
    assert counter.get_total_flops() == 2 * 64 * (flops_per_token(SMALL, 64, training=False) + seen_all)


def test_weights_depend_on_the_seed_alone():
    torch.manual_seed(1)
    a, b, c = Decoder(SMALL), Decoder(SMALL), Decoder(SMALL, seed=1)
    same = [torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True)]
    assert all(same)
    assert not torch.equal(a.output_weight_VD, c.output_weight_VD)
    assert a.model.layers[0].mlp.gate_proj.weight.std().item() == pytest.approx(0.1, rel=0.05)
    assert a.model.layers[0].mlp.down_proj.weight.std().item() == pytest.approx(0.05, rel=0.05)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"heads": 5}, "multiple of the 5 heads"),
        ({"kv_heads": 4}, "multiple of the 4 key/value heads"),
        ({"heads": 16, "kv_heads": 2}, "even number"),
        ({"layers": 0}, "at least 1"),
        ({"norm_position": "mid"}, "pre or post"),
        ({"scale_emb": 0.0}, "positive"),
    ],
)
def test_wrong_shapes_are_named(wrong, says):
    with pytest.raises(BadInput, match=says):
        replace(SMALL, **wrong)


def test_wrong_tokens_are_named():
    model = Decoder(SMALL)
    with pytest.raises(BadInput, match="0 to 96, got 97"):
        model(torch.tensor([[1, 97]]))
    with pytest.raises(BadInput, match="at most 200 tokens, got 201"):
        model(ids(1, 201))
    with pytest.raises(BadInput, match="either the cache or the documents"):
        model(ids(1, 4), documents_BT=ids(1, 4), cache=model.new_cache(1, 9))
