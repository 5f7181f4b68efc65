"""Model folders: what transformers reads from ours, what we read from theirs, and what is refused."""

import json
from dataclasses import replace

import pytest
import torch

from smidgen.kit.errors import BadInput
from smidgen.nets.decoder import Decoder, DecoderConfig

SMALL = DecoderConfig(97, 48, 2, 6, 2, 80, 64, init_std=0.1, norm_eps=1e-3)
TRANSFERABLE = {"scale_emb": 12.0, "scale_depth": 1.4, "width_base": 20}
IDS = torch.randint(0, 97, (2, 30), generator=torch.Generator().manual_seed(0))

transformers = pytest.importorskip("transformers")
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()


def edit(folder, **values):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize(
    "switches",
    [
        {},
        {"tie_embeddings": False, "bias": True, "rope_theta": 500.0},
        TRANSFERABLE,
        {**TRANSFERABLE, "tie_embeddings": False},
    ],
)
def test_transformers_computes_the_same(switches, tmp_path):
    model = Decoder(replace(SMALL, **switches), seed=3)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(1)))  # norms and biases too
    model.save(tmp_path / "m", bos=0, eos=0)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "m")
    again = Decoder.load(tmp_path / "m")
    assert again.config == model.config
    assert type(theirs).__name__ == "LlamaForCausalLM"
    assert theirs.generation_config.eos_token_id == 0
    with torch.no_grad():
        ours = model(IDS)
        assert ours.abs().max() > 0.1
        torch.testing.assert_close(theirs(IDS).logits, ours, atol=1e-4, rtol=0)
        torch.testing.assert_close(again(IDS), ours, atol=1e-5, rtol=0)
    again.load_state_dict(model.state_dict())  # names and shapes are its own


def test_their_folder_is_read(tmp_path):
    config = transformers.LlamaConfig(
        vocab_size=97, hidden_size=48, intermediate_size=80, num_hidden_layers=2, num_attention_heads=6,
        num_key_value_heads=3, max_position_embeddings=64,
    )  # fmt: skip
    theirs = transformers.LlamaForCausalLM(config)
    theirs.save_pretrained(tmp_path)
    model = Decoder.load(tmp_path)
    with torch.no_grad():
        torch.testing.assert_close(model(IDS), theirs(IDS).logits, atol=1e-5, rtol=0)
    assert all(p.requires_grad for p in model.parameters())


def test_plain_weights_come_back_bit_by_bit(tmp_path):
    model = Decoder(SMALL).to(torch.bfloat16)
    model.save(tmp_path / "m")
    again = Decoder.load(tmp_path / "m").state_dict()
    assert all(torch.equal(again[name], t) and t.dtype == torch.bfloat16 for name, t in model.state_dict().items())


def test_post_norm_is_not_taken_for_a_llama(tmp_path):
    model = Decoder(replace(SMALL, norm_position="post"))
    model.save(tmp_path / "m")
    torch.testing.assert_close(Decoder.load(tmp_path / "m")(IDS), model(IDS))
    with pytest.raises(ValueError, match="smidgen_post_norm"):
        transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "m")
    with pytest.raises(BadInput, match="Untie"):
        Decoder(replace(SMALL, norm_position="post", **TRANSFERABLE)).save(tmp_path / "n")
    assert not (tmp_path / "n").exists()


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"model_type": "gpt2"}, "model_type: expected llama"),
        ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4}}, "rope_type"),
        ({"hidden_act": "gelu"}, "hidden_act"),
        ({"head_dim": 16}, "head_dim"),
        ({"hidden_size": None}, "hidden_size is missing"),
        ({"intermediate_size": 96}, "80 x 48, config.json says 96 x 48"),
        ({"num_hidden_layers": 3}, "model.layers.2"),
        ({"smidgen": {"schema": 2}}, "newer version"),
        ({"vocab_size": "97"}, "vocab_size: expected a whole number"),
        ({"smidgen": [1]}, "smidgen: expected an object"),
    ],
)
def test_what_would_compute_something_else_is_refused(values, says, tmp_path):
    Decoder(SMALL).save(tmp_path / "m")
    edit(tmp_path / "m", **values)
    with pytest.raises(BadInput, match=says):
        Decoder.load(tmp_path / "m")


def test_damaged_folders_are_named(tmp_path):
    Decoder(SMALL).save(tmp_path / "m")
    weights = tmp_path / "m" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-5])
    with pytest.raises(BadInput, match="model.safetensors is damaged"):
        Decoder.load(tmp_path / "m")
    weights.unlink()
    with pytest.raises(BadInput, match=r"no model\.safetensors"):
        Decoder.load(tmp_path / "m")
    (tmp_path / "m" / "config.json").write_text("[]")
    with pytest.raises(BadInput, match="an object"):
        Decoder.load(tmp_path / "m")
