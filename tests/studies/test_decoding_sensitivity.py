"""The decoding study: measures against their definitions, statistics on made-up samples, a whole small study."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

from smidgen.kit.errors import BadInput
from smidgen.nets.decoder import Decoder, DecoderConfig
from smidgen.studies import decoding_measures as m
from smidgen.studies import decoding_statistics as st
from smidgen.studies.decoding_report import conclusions
from smidgen.studies.decoding_sensitivity import DecodingResult, DecodingStudy
from smidgen.studies.decoding_variants import dequantizing, model_bytes, unpacked, variant, variants

CONFIG = DecoderConfig(vocab=19, hidden=32, layers=1, heads=2, kv_heads=2, ffn=64, max_len=48)


def model(seed=0):
    made = Decoder(CONFIG, seed).eval()
    with torch.no_grad():
        for p in made.parameters():
            p *= 1 if p.dim() == 1 else 6  # so that it has opinions
    return made


def test_measures_are_their_definitions():
    text = [1, 2, 3, 4, 1, 2, 3, 4, 1, 9]
    grams = [tuple(text[i : i + 4]) for i in range(7)]
    ids = np.array([text, list(range(10))])
    assert m.duplicate_rate(ids).tolist() == [1 - len(set(grams)) / 7, 0.0]
    assert m.distinct(ids, 1) == 10 / 20 and m.duplicate_rate(ids[:, :3]).tolist() == [0, 0]
    assert m.same_start(ids, np.array([text, [0, 1, 9, *range(7)]])).tolist() == [1.0, 0.2]
    random = np.random.default_rng(0)
    a = random.standard_normal((400, 3))
    likeness = m.Likeness(a)
    assert likeness(a) == pytest.approx(1, abs=1e-9)
    far = [likeness(random.standard_normal((400, 3)) + d) for d in (0, 0.5, 2)]
    assert far[0] > 0.95 > far[1] > far[2]


def test_divergence_and_losses_are_those_of_the_distributions():
    a, b = model(), variant(model(), "int4")
    ids = torch.randint(19, (5, 9), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        p, q = (torch.softmax(x(ids).double() / 0.5, -1) for x in (a, unpacked(b)))
    expected = (p * (p / q).log()).sum(-1).mean(1)
    assert np.allclose(m.divergence(a, unpacked(b), ids, (1.0, 0.5))[:, 1], expected, rtol=1e-4)
    with torch.no_grad():
        own = -torch.log_softmax(a(ids[:, :-1]), -1).gather(2, ids[:, 1:, None])[..., 0].mean(1)
    assert np.allclose(m.losses(a, ids), own, atol=1e-5)


def test_variants_cost_what_they_say_and_unpacked_ones_are_the_same():
    whole = model()
    ids = torch.randint(19, (2, 8), generator=torch.Generator().manual_seed(0))
    made = variants(whole)
    numbers = sum(p.numel() for n, p in whole.named_parameters() if "_proj" in n)
    rest = 4 * (sum(p.numel() for p in whole.parameters()) - numbers)
    nf4, double = model_bytes(made["nf4"]) - rest, model_bytes(made["nf4-double"]) - rest
    rows = sum(-(-p.shape[1] // 64) * p.shape[0] for n, p in whole.named_parameters() if "_proj" in n)
    assert nf4 == numbers / 2 + 4 * rows and numbers / 2 + rows < double < nf4
    outs = {}
    with torch.no_grad():
        for name, one in made.items():
            outs[name] = one(ids)
            for same in (unpacked(one), dequantizing(one)):
                assert torch.allclose(same(ids), outs[name], atol=1e-4)
        error = {n: float((o - outs["float"]).square().mean()) for n, o in outs.items()}
    assert 0 < error["int8"] < error["nf4"] / 10 and error["nf4"] < error["fp4"]


def test_sensitivity_finds_what_was_put_in():
    rng = np.random.default_rng(0)
    levels, S, P = np.round(np.arange(0.2, 1.01, 0.2), 1), 6, 30
    rows = []
    for s in range(S):
        for p in range(P):
            common = rng.normal(0, 3)  # shared by all variants: falls out of differences
            for t in levels:
                for v, extra in (("float", 0.0), ("a", 0.5 * t), ("b", -0.2)):
                    rows.append((v, t, 0, 16, s, p, common - 2 * t + extra + (v != "float") * rng.normal(0, 0.05)))
    frame = pd.DataFrame(rows, columns=["variant", "temperature", "top_k", "length", "seed", "prompt", "bits_per_byte"])
    found = st.sensitivity(frame, draws=300).set_index("variant")
    assert found.loc["a", "slope"] == pytest.approx(0.5, abs=0.03)
    assert found.loc["a", "range"] == pytest.approx(0.4, abs=0.03) and found.loc["a", "at"] == 1.0
    assert found.loc["b", "slope_low"] < 0 < found.loc["b", "slope_high"] and found.loc["b", "range"] < 0.03
    assert found.loc["b", "mean"] == pytest.approx(0.2, abs=0.02)
    gap = st.difference(frame, "a", "b", draws=300)
    assert gap["low"] < 0.5 < gap["high"] and gap["difference"] == pytest.approx(0.5, abs=0.02)
    assert 0.001 < gap["se"] < 0.01
    edge = st.window_effect(frame, ["a"], (0.9, 1.0), draws=300)
    assert edge["effect"] == pytest.approx(0.25, abs=0.02) and edge["low"] > 0.2
    curve = st.curves(frame, draws=300)
    assert len(curve) == 10 and (curve["low"] <= curve["difference"]).all()
    with pytest.raises(BadInput, match="some are missing"):
        st.sensitivity(frame.iloc[1:])


def test_conclusions_follow_from_what_was_measured():
    """Made-up results in which rules 2 and 4 fail and the others hold."""
    rng = np.random.default_rng(0)
    rows = []
    for s in range(4):
        for p in range(20):
            for t in (0.2, 0.6, 1.0):
                for v, extra in (("float", 0), ("int8", t), ("nf4", 0.1), ("fp4", 0.1), ("nf4-double", 0.1)):
                    rows.append((v, t, 0, 8, s, p, extra + (v != "float") * rng.normal(0, 0.05)))
    samples = pd.DataFrame(
        rows, columns=["variant", "temperature", "top_k", "length", "seed", "prompt", "bits_per_byte"]
    )
    names = ["float", "int8", "nf4", "fp4", "nf4-double"]
    table = pd.DataFrame({"variant": names, "tokens_per_s": [9, 3, 2, 2, 1], "peak_bytes": [9, 4, 2, 2, 2]})
    forced = pd.DataFrame({"variant": names, "nats": [1.0, 1.0, 1.1, 1.1, 1.2]})
    result = DecodingResult("float", table, samples, forced, pd.DataFrame(), True)
    found = conclusions(result).set_index("rule")
    assert found["held"].to_dict() == {"R1": "yes", "R2": "no", "R2, window": "no", "R3": "yes", "R4": "no"}
    assert "+9.091 % of the loss" in found.loc["R4", "measured"]
    slow = DecodingResult("float", table.assign(tokens_per_s=[1, 3, 2, 2, 1]), samples, forced, pd.DataFrame(), True)
    assert conclusions(slow).set_index("rule").loc["R3", "held"] == "no"
    with pytest.raises(BadInput, match="nf4"):
        conclusions(result, four_bit=("int3",))


def test_a_whole_study_resumes_and_pairs(tmp_path):
    ids = torch.randint(19, (3, 40), generator=torch.Generator().manual_seed(0))
    whole = model()

    def study(**more):
        models = {"float": whole, "twin": whole, "nf4": variant(whole, "nf4")}
        settings = {
            "temperatures": (0.3, 1.0),
            "top_k": (0, 4),
            "max_new_tokens": (8, 20),
            "seeds": (0, 1),
            "rounds": 1,
        }
        return DecodingStudy(models, ids[:, :12], **{"references": ids[:, 12:], **settings, **more})

    found = study(greedy=True).run(tmp_path)
    table = found.table.set_index("variant")
    assert found.finished and len(found.table) == 3 * 3 * 2 * 2 * 2 and len(found.samples) == 3 * len(found.table)
    assert (table.loc["twin", "same"] == 1).all() and (table.loc["nf4", "same"] < 1).any()
    a, b = (table.loc[v, "bits_per_byte"].to_numpy() for v in ("float", "twin"))
    assert np.array_equal(a, b) and np.allclose(table["ppl_under_fp"], 2 ** table["bits_per_byte"])
    assert table.loc["nf4", "peak_bytes"].max() < table.loc["float", "peak_bytes"].min()
    assert (found.kl.groupby("variant")["kl"].mean()[["nf4"]] > 0).all()
    greedy = found.samples.query("variant == 'nf4' and temperature == 0 and length == 20 and top_k == 0")
    assert greedy.groupby("prompt")["bits_per_byte"].nunique().eq(1).all()  # no seed changes the likeliest
    again = study(greedy=True)
    again._samples = again._costs = again._kl = lambda cells: pytest.fail("measured twice")
    assert again.run(tmp_path).table.equals(found.table)
    with pytest.raises(BadInput, match="another study"):
        study(references=None).run(tmp_path)
    for wrong, says in (
        ({"temperatures": (0.0,)}, "greedy=True"),
        ({"top_k": (-1,)}, "top_k"),
        ({"baseline": "bf16"}, "baseline"),
        ({"max_new_tokens": (80,)}, "48 tokens"),
    ):
        with pytest.raises(BadInput, match=says):
            study(**wrong)
    with pytest.raises(BadInput, match="at least one"):
        DecodingStudy({"float": whole}, [])
    with pytest.raises(BadInput, match="generates"):
        DecodingStudy({"float": torch.nn.Linear(2, 2)}, ids[:, :4], max_new_tokens=(4,))
    assert math.isnan(study(references=None).run().table["mauve_like"].iloc[0])
