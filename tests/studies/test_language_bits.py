"""Bits of a language model: by the law where it has runs, measured elsewhere, an interval that released models set."""

import gzip
import json
import math
import os

import numpy as np
import pandas as pd
import pytest

import smidgen
from smidgen.cli.planning import shown_bits
from smidgen.kit.errors import BadInput
from smidgen.laws import qid
from smidgen.studies.language_bits import OFF, is_language_model, plan_bits
from smidgen.studies.prices import offers_of

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")


def described(folder, hidden, layers, tokens, **more):
    """A folder that says what it is, with a file of as many bytes as float32 weights take, and none of them."""
    from smidgen.nets.decoder import DecoderConfig, parameters
    from smidgen.nets.folder import to_llama

    config = DecoderConfig(vocab=1000, hidden=hidden, layers=layers, heads=8, kv_heads=8, ffn=4 * hidden, max_len=64)
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(to_llama(config) | {"torch_dtype": "float32"} | more))
    (folder / "log.jsonl").write_text(json.dumps({"step": 1, "tokens": tokens}) + '\n{"step": 2, "tok')
    (folder / "model.safetensors").touch()
    os.truncate(folder / "model.safetensors", 4 * parameters(config))
    return parameters(config) - 1000 * hidden * (1 if config.tie_embeddings else 2)


def test_near_the_runs_of_the_law_it_answers_without_a_weight(tmp_path):
    n, d = described(tmp_path / "m", 1024, 16, 10**10), 10**10
    assert is_language_model(tmp_path / "m") and not is_language_model(tmp_path)
    told = smidgen.plan(tmp_path / "m", {"mb": 2.0, "mb@4": 3.0}, 10)
    law = qid.published()
    assert (told["by"], told["outside"], told["parameters"], told["tokens"]) == ("law", 1.0, n, d)
    assert [f["purchase"] for f in told["forecasts"]] == ["mb@2", "mb@3", "mb@4"]
    three = told["forecasts"][1]
    assert three["estimate"] == pytest.approx(float(law.qid(n, d, 3)[0]))
    assert three["interval"] == pytest.approx([three["estimate"] * off for off in OFF])
    assert three["amount"] < 0 and three["cost"] == pytest.approx(2 * three["amount"], rel=0.01)
    assert told["forecasts"][0]["interval"][1] <= math.log(1000)  # no worse than to guess
    assert {u["purchase"] for u in told["unknown"]} == {"mb@5", "mb@6", "mb@8", "mb@16"}
    four = told["forecasts"][2]
    assert four["cost"] == pytest.approx(3 * four["amount"], rel=0.01)
    assert told["split"] == {"mb": 0.0, "mb@4": 0.0} and "more bits would bring nothing" in told["sentence"]


def test_far_from_its_runs_the_law_is_refused_and_how_far_is_said(tmp_path):
    described(tmp_path / "m", 64, 2, 10**6)
    told = plan_bits(tmp_path / "m", offers_of({"mb": 1}), 10, dry_run=True)
    assert told["by"] == "measured" and not told["forecasts"] and told["outside"] > 1000
    packed = described(tmp_path / "p", 1024, 16, 10**10, quantization_config={"quant_method": "smidgen"})
    assert packed and not plan_bits(tmp_path / "p", offers_of({"mb": 1}), 10)["forecasts"]
    with pytest.raises(BadInput, match="--price mb=1"):
        plan_bits(tmp_path / "m", offers_of({"label": 1}), 10)
    with pytest.raises(BadInput, match="Leave --target out"):
        plan_bits(tmp_path / "m", offers_of({"mb": 1}), 10, target=0.5)


def test_what_is_measured_is_the_loss_of_rounded_weights(tmp_path):
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        num_hidden_layers=1, hidden_size=64, intermediate_size=128, num_attention_heads=4, vocab_size=60,
        tie_word_embeddings=True, max_position_embeddings=32, bos_token_id=0, eos_token_id=1, pad_token_id=2,
    )  # fmt: skip
    model = transformers.LlamaForCausalLM(config)
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(4 if p.dim() > 1 else 1)  # sure of what it says, so that there is something to lose
    model.save_pretrained(tmp_path / "m")
    told = smidgen.plan(tmp_path / "m", ["mb=2", "label=1"], 10)
    lost = {f["purchase"]: f for f in told["forecasts"]}
    assert told["outside"] is None and "does not say how many tokens" in " ".join(told["sentences"])
    assert lost["mb@2"]["estimate"] > 3 * lost["mb@4"]["estimate"] > 10 * abs(lost["mb@8"]["estimate"])
    assert abs(lost["mb@16"]["estimate"]) < 1e-3
    totals = [f["total"] for f in told["forecasts"]]
    assert totals == sorted(totals) and all(f["interval"][0] < f["estimate"] < f["interval"][1] for f in lost.values())
    assert [u["purchase"] for u in told["unknown"]] == ["label"] and "wrote those" in told["warnings"][0]
    made = smidgen.compress(tmp_path / "m", bits=8, dry_run=True)
    eight = next(u["bytes"] for u in made["uniform"] if u["name"] == "8 bits, groups of 64")
    assert lost["mb@8"]["total"] == pytest.approx(eight / 1e6, rel=0.01)  # as compress will have it
    said = "\n".join(shown_bits(told))
    assert said.count("mb@") == 7 and "label: a language model has no rows" in said and "Warning: No texts" in said


def test_the_interval_of_the_law_is_how_far_released_models_lay_from_it(data_folder):
    with gzip.open(data_folder / "llama3_quant_table" / "llama3_quant.csv.gz", "rt") as file:
        table = pd.read_csv(file)
    whole = table[table.w_bits == 16].set_index("model_b")
    own = table[table.method.isin(["RTN", "GPTQ", "AWQ"]) & (table.group == 128) & (table.w_bits < 5)]
    law = qid.published().qid(own.model_b.to_numpy() * 1e9, 15e12, own.w_bits.to_numpy(), anyway=True)
    off = [np.log(own[c] / own.model_b.map(whole[c])) / law for c in ("ppl_wikitext2", "ppl_c4", "ppl_ptb")]
    assert np.size(off) == 54
    assert pytest.approx(tuple(np.quantile(np.concatenate(off), [0.05, 0.95])), rel=0.01) == OFF
