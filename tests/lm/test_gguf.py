"""The GGUF file says what the folder says: a reader of another hand and llama's own order of rotary pairs give the same
logits."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from smidgen.cli.main import main
from smidgen.kit.errors import BadInput
from smidgen.lm import gguf as ours
from smidgen.lm import tokenizer
from smidgen.lm.model import LanguageModel, save
from smidgen.nets.decoder import Decoder, DecoderConfig

gguf = pytest.importorskip("gguf")

TEXT = "It's 1234 o'clock,  and all's well;\n\tthey've seen naïve 東京 🙂. " * 20
CONFIG = DecoderConfig(400, 32, 2, 4, 2, 48, 64, init_std=0.2, norm_eps=1e-3, rope_theta=500.0)


@pytest.fixture(scope="module")
def words():
    return tokenizer.train([TEXT], 330)


def model_of(words, **switches):
    decoder = Decoder(replace(CONFIG, **switches), seed=3).eval()
    with torch.no_grad():
        for p in decoder.parameters():
            p.add_(0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(1)))  # norms and biases too
    return LanguageModel(decoder, words)


def read(path):
    reader = gguf.GGUFReader(path)
    fields = {name: field.contents() for name, field in reader.fields.items()}
    return fields, {t.name: np.asarray(t.data, np.float32) for t in reader.tensors}


def logits(fields, w, ids):
    """A llama as llama.cpp computes it, in numpy: rotary pairs are neighbours (2 i, 2 i + 1)."""
    of = {k.removeprefix("llama."): v for k, v in fields.items()}
    H, G, T = of["attention.head_count"], of["attention.head_count_kv"], len(ids)
    K = of["embedding_length"] // H
    angles_TK = np.arange(T)[:, None] / of["rope.freq_base"] ** (np.arange(0, K, 2) / K)

    def norm(x, name):
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + of["attention.layer_norm_rms_epsilon"]) * w[name]

    def linear(x, name):
        return x @ w[f"{name}.weight"].T + w.get(f"{name}.bias", 0.0)

    def turned(x_TD):
        x_THK2 = x_TD.reshape(T, -1, K // 2, 2)
        turn = np.exp(1j * angles_TK)[:, None] * (x_THK2[..., 0] + 1j * x_THK2[..., 1])
        return np.stack([turn.real, turn.imag], -1).reshape(T, -1, K)

    x_TD = w["token_embd.weight"][ids]
    for n in range(of["block_count"]):
        h_TD = norm(x_TD, f"blk.{n}.attn_norm.weight")
        q_THK, k_TGK = (turned(linear(h_TD, f"blk.{n}.attn_{name}")) for name in "qk")
        v_TGK = linear(h_TD, f"blk.{n}.attn_v").reshape(T, G, K)
        k_THK, v_THK = (np.repeat(a, H // G, 1) for a in (k_TGK, v_TGK))
        scores_HTT = np.einsum("thk,shk->hts", q_THK, k_THK) / np.sqrt(K)
        shares_HTT = np.exp(scores_HTT) * np.tri(T)
        mixed_TD = np.einsum("hts,shk->thk", shares_HTT / shares_HTT.sum(-1, keepdims=True), v_THK).reshape(T, -1)
        x_TD = x_TD + linear(mixed_TD, f"blk.{n}.attn_output")
        h_TD = norm(x_TD, f"blk.{n}.ffn_norm.weight")
        gate_TF = linear(h_TD, f"blk.{n}.ffn_gate")
        x_TD = x_TD + linear(gate_TF / (1 + np.exp(-gate_TF)) * linear(h_TD, f"blk.{n}.ffn_up"), f"blk.{n}.ffn_down")
    return norm(x_TD, "output_norm.weight") @ w.get("output.weight", w["token_embd.weight"]).T


@pytest.mark.parametrize(
    "switches",
    [{}, {"tie_embeddings": False, "bias": True}, {"scale_emb": 12.0, "scale_depth": 1.4, "width_base": 20}],
    ids=["tied", "bias", "multipliers"],
)
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_logits_are_those_of_the_model(words, switches, precision, tmp_path):
    model = model_of(words, **switches)
    ours.export(model, tmp_path / "m.gguf", precision)
    ids = [words.end, *words.encode(TEXT[:70])]
    with torch.no_grad():
        wanted = model.decoder(torch.tensor([ids]))[0].numpy()
    got = logits(*read(tmp_path / "m.gguf"), ids)
    assert wanted.std() > 0.3
    np.testing.assert_allclose(got, wanted, atol=1e-4 if precision == "fp32" else 2e-2 * wanted.std())


def test_the_vocabulary_is_said_as_llama_cpp_reads_it(words, tmp_path, capsys):
    save(model_of(words), tmp_path / "m")
    assert main(["lm", "export", str(tmp_path / "m"), "--gguf", str(tmp_path / "m.gguf"), "--precision", "fp16"]) == 0
    assert "m.gguf" in capsys.readouterr().out and not list(tmp_path.glob(".m*"))
    fields, tensors = read(tmp_path / "m.gguf")
    said = {k.removeprefix("tokenizer.ggml."): v for k, v in fields.items()}
    assert (said["model"], said["pre"], said["add_bos_token"]) == ("gpt2", "gpt-2", True)
    assert said["bos_token_id"] == said["eos_token_id"] == words.end
    content = json.loads(words.json)["model"]
    assert [said["tokens"][i] for i in content["vocab"].values()] == list(content["vocab"])
    assert said["merges"] == [" ".join(m) for m in content["merges"]] and len(said["merges"]) > 40
    kinds = gguf.TokenType
    assert len(said["tokens"]) == len(tensors["token_embd.weight"]) == CONFIG.vocab  # more rows than words: fillers
    wanted = [kinds.NORMAL] * words.words + [kinds.UNUSED] * (CONFIG.vocab - words.words)
    wanted[words.end] = kinds.CONTROL
    assert said["token_type"] == wanted


def test_what_llama_cpp_cannot_compute_is_refused(words, tmp_path):
    model = model_of(words)
    out = tmp_path / "m.gguf"
    with torch.no_grad():
        model.decoder.model.layers[1].mlp.up_proj.weight[0, 0] = 1e5
    other = tokenizer.parse(words.json.replace(b'"use_regex": true', b'"use_regex": false'))
    for made, precision, says in (
        (model, "fp16", r"up_proj.* 16 bits cannot hold"),
        (model, "q4", "fp32 or fp16"),
        (model_of(words, norm_position="post"), "fp32", "norms behind"),
        (LanguageModel(model.decoder, other), "fp32", "GPT-2's pre-tokenizer"),
        (LanguageModel(model.decoder, tokenizer.train(["abc"], 257)), "fp32", "without merges"),
    ):
        with pytest.raises(BadInput, match=says):
            ours.export(made, out, precision)
    with pytest.raises(BadInput, match="a folder that is there"):
        ours.export(model, tmp_path / "none" / "m.gguf")
    assert not list(tmp_path.iterdir())
