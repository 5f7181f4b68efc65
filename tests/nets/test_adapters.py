"""Prefixes and LoRA against their formulas and PEFT's own; files that PEFT reads, and the other way round."""

import json
import warnings

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
peft = pytest.importorskip("peft")

from smidgen.kit.errors import BadInput  # noqa: E402
from smidgen.nets.adapters import Adapted, FullTuning, LoRA, PrefixTuning, load_adapter  # noqa: E402
from smidgen.nets.text_encoder import PassThrough  # noqa: E402

D, S, LAYERS = 16, 5, 2
COMMON = {"vocab_size": 30, "hidden_size": D, "num_attention_heads": 2, "num_hidden_layers": LAYERS}
SIZES = {
    "Bert": {**COMMON, "intermediate_size": 24},
    "Roberta": {**COMMON, "intermediate_size": 24},
    "Electra": {**COMMON, "intermediate_size": 24, "embedding_size": D},
    "DistilBert": {"vocab_size": 30, "dim": D, "n_heads": 2, "n_layers": LAYERS, "hidden_dim": 24},
}


def encoder(kind: str = "Bert", **changed):
    """A small one, of which states go in."""
    config = getattr(transformers, f"{kind}Config")(**(SIZES[kind] | changed))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = getattr(transformers, f"{kind}Model")(config).eval()
    model.embeddings = PassThrough()
    return model


@pytest.fixture
def batch():
    x = torch.randn(2, S, D, generator=torch.Generator().manual_seed(1))
    return x, torch.tensor([[1] * S, [1, 1, 1, 0, 0]])


def shaken(adapted: Adapted) -> Adapted:
    generator = torch.Generator().manual_seed(2)
    for p in adapted.trained():
        p.data.add_(torch.randn(p.shape, generator=generator) * 0.3)
    return adapted.eval()


@pytest.mark.parametrize("kind", list(SIZES))
def test_a_prefix_enters_each_layer_of_any_encoder_and_masks_stay(kind, batch):
    x, mask = batch
    prefix = shaken(Adapted(encoder(kind), PrefixTuning(n_prefix=3)))
    out = prefix(x, mask)
    assert torch.allclose(prefix(x[1:, :3], mask[1:, :3])[0], out[1, :3], atol=1e-5)  # padding is not looked at
    (out * torch.randn(out.shape, generator=torch.Generator().manual_seed(3)))[0].sum().backward()
    assert [p.shape for p in prefix.trained()] == [(3, LAYERS * 2 * D)]
    by_layer = prefix.trained()[0].grad.view(3, LAYERS, 2, D).abs().sum((0, 3))
    assert (by_layer > 1e-3).all()  # keys and values of each
    assert all(p.grad is None for n, p in prefix.body.named_parameters() if "prompt" not in n)


def test_a_prefix_is_what_the_formula_says(batch):
    model = encoder()
    attention, seen = model.encoder.layer[0].attention.self, []
    attention.register_forward_hook(lambda _m, given, out: seen.append((given[0], out[0])))
    x, mask = batch
    prefix = shaken(Adapted(model, PrefixTuning(n_prefix=3)))
    prefix(x, mask)
    (h, got), (k, v) = seen[0], prefix.prefixes()[0]
    heads = [f(h).view(2, S, 2, D // 2).transpose(1, 2) for f in (attention.query, attention.key, attention.value)]
    key, value = (torch.cat([p.expand(2, -1, -1, -1), own], 2) for p, own in zip((k, v), heads[1:], strict=True))
    scores = heads[0] @ key.transpose(2, 3) / (D // 2) ** 0.5
    hidden = torch.cat([torch.ones(2, 3), mask], 1)[:, None, None] == 0
    expected = scores.masked_fill(hidden, -torch.inf).softmax(-1) @ value
    assert torch.allclose(got, expected.transpose(1, 2).reshape(2, S, D), atol=1e-6)


def test_low_rank_change_is_what_the_formula_says(batch):
    x, mask = batch
    base, lora = encoder(), Adapted(encoder(), LoRA(r=2, alpha=6, targets=("q",))).eval()
    expected = base(inputs_embeds=x, attention_mask=mask).last_hidden_state
    assert torch.equal(lora(x, mask), expected)  # B = 0
    assert sum(p.numel() for p in shaken(lora).trained()) == LAYERS * 2 * 2 * D
    for own, layer in zip(base.encoder.layer, lora.body.base_model.model.encoder.layer, strict=True):
        q = layer.attention.self.query
        own.attention.self.query.weight.data += 3 * q.lora_B["default"].weight @ q.lora_A["default"].weight
    expected = base(inputs_embeds=x, attention_mask=mask).last_hidden_state
    assert torch.allclose(lora(x, mask), expected, atol=1e-5)
    with pytest.raises(BadInput, match="q, k, v, o or dense"):
        Adapted(encoder(), LoRA(targets=("q", "nowhere")))


@pytest.mark.parametrize(
    "tuner", [FullTuning(), LoRA(r=2), PrefixTuning(n_prefix=3), PrefixTuning(reparameterize=True)]
)
def test_saved_and_loaded(tuner, batch, tmp_path):
    adapted = shaken(Adapted(encoder(), tuner))
    adapted.save(tmp_path)
    assert not list(tmp_path.glob("*.bin"))
    expected = adapted(*batch)
    assert torch.equal(load_adapter(encoder(), tmp_path).eval()(*batch), expected)
    if isinstance(tuner, FullTuning):
        return
    with pytest.raises(BadInput, match="other names or shapes"):
        load_adapter(encoder(num_hidden_layers=1), tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PEFT's calls into transformers
        theirs = peft.PeftModel.from_pretrained(encoder(), str(tmp_path)).eval()
        got = theirs(inputs_embeds=batch[0], attention_mask=batch[1]).last_hidden_state
    assert torch.allclose(got, expected, atol=1e-6)


def test_only_tensors_of_known_kinds_are_read(tmp_path):
    Adapted(encoder(), LoRA(r=2)).save(tmp_path)
    settings = json.loads((tmp_path / "adapter_config.json").read_text())
    for change, why in (({"peft_type": "BONE"}, "LORA or PREFIX_TUNING"), ({"use_dora": True}, "use_dora")):
        (tmp_path / "adapter_config.json").write_text(json.dumps(settings | change))
        with pytest.raises(BadInput, match=why):
            load_adapter(encoder(), tmp_path)
    (tmp_path / "adapter_model.safetensors").rename(tmp_path / "adapter_model.bin")
    with pytest.raises(BadInput, match="safetensors only"):
        load_adapter(encoder(), tmp_path)
