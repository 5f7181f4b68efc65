"""A decoding study at its bounds: lengths, pieces, settings by themselves, errors, the clock."""

import math
from functools import partial

import pytest
import torch
from sure_decoders import sure, token_ids
from torch import nn

from smidgen.kit.errors import BadInput
from smidgen.nets.decoder import DecoderConfig
from smidgen.nets.packed import PackedLinear
from smidgen.studies import decoding_measures as m
from smidgen.studies import decoding_sensitivity as ds
from smidgen.studies import decoding_variants as variants

V = 13
CONFIG = DecoderConfig(vocab=V, hidden=16, layers=1, heads=2, kv_heads=2, ffn=16, max_len=24)


@pytest.fixture(scope="module")
def whole():
    return sure(CONFIG)


ids = partial(token_ids, V)


def study(whole, prompts=None, models=None, **more):
    settings = {"temperatures": (0.8,), "top_k": (3,), "max_new_tokens": (4,), "seeds": (0,), "rounds": 0, **more}
    return ds.DecodingStudy({"float": whole, **(models or {})}, ids(2, 8) if prompts is None else prompts, **settings)


def test_the_longest_length_counts(whole):
    assert study(whole, max_new_tokens=(16, 2)).lengths == [2, 16]  # 24 in all
    with pytest.raises(BadInput, match=r"prompt and answer: expected at most the 24 tokens of 'float', got 25\."):
        study(whole, max_new_tokens=(17, 2))
    with pytest.raises(BadInput, match=r"references: expected \[2, at least 4\], got \[2, 3\]"):
        study(whole, max_new_tokens=(2, 4), references=ids(2, 3))
    with pytest.raises(BadInput, match=r"got \[3, 4\]"):
        study(whole, references=ids(3, 4))
    made = study(whole, max_new_tokens=(2, 4), references=ids(2, 9, 1))
    assert torch.equal(made.held, torch.cat([ids(2, 8), ids(2, 9, 1)[:, :4]], 1)) and made.top_k == [3]
    assert study(whole, greedy=True).temperatures == [0.0, 0.8] and study(whole, top_k=(1, 0)).top_k == [1, 0]
    with pytest.raises(BadInput, match=r"temperature: expected above 0, got -0\.1\. For the likeliest token give"):
        study(whole, temperatures=(0.5, -0.1))
    with pytest.raises(BadInput, match=r"prompts: expected of one length, got \[1, 2\]\. Cut them to the shortest\."):
        study(whole, [[1, 2], [3]])
    assert study(whole, [[1, 2], [3, 4]]).P_T.tolist() == [[1, 2], [3, 4]]


def test_a_study_of_one_model_has_nothing_to_set_it_against(whole):
    told = []
    made = study(whole, max_new_tokens=(16, 5), references=ids(2, 16, 1), temperatures=(0.8, 1.0))
    found = made.run(progress=lambda *at: told.append(at))
    assert found.kl.empty and found.finished and told[-1] == (4, 4) and len(found.table) == 4
    assert found.table["tokens_per_s"].isna().all() and (found.table["same"] == 1).all()
    answers = made._answers("float")
    for row in found.samples.itertuples():
        own = answers[[0.8, 1.0].index(row.temperature), 0, :, : row.length]
        nats = m.read_answers(whole, made.P_T, own)[0].sum(1)
        assert row.bits_per_byte == pytest.approx(nats[row.prompt] / math.log(2) / row.length, rel=1e-4)
    alike = found.table.set_index("length")["mauve_like"]
    assert alike[16].notna().all() and alike[5].isna().all()  # a piece has 16 tokens
    short = study(whole, max_new_tokens=(15,), references=ids(2, 16, 1)).run()
    assert short.table["mauve_like"].isna().all()


def test_a_setting_is_sampled_as_if_it_were_alone(whole):
    both = study(whole, temperatures=(0.7, 1.0), top_k=(0, 4), seeds=(5, 6))
    answers = both._answers("float")
    assert both._settings() == [(0.7, 0), (0.7, 4), (1.0, 0), (1.0, 4)] and both._answers("float") is answers
    for k, (t, top) in enumerate(both._settings()):
        for s, seed in enumerate((5, 6)):
            alone = study(whole, temperatures=(t,), top_k=(top,), seeds=(seed,))._answers("float")
            assert torch.equal(alone[0, 0], answers[k, s])
    assert answers.shape == (4, 2, 2, 4)


def test_a_baseline_that_was_not_measured_ends_the_study(whole, monkeypatch, tmp_path):
    study(whole).run(tmp_path)
    with pytest.raises(BadInput) as late:
        study(whole).run(max_seconds=0)
    assert str(late.value) == "The baseline 'float' could not be measured: no time was left"

    def broken(*given):
        raise ArithmeticError("odd")

    made = study(whole)
    monkeypatch.setattr(m, "duplicate_rate", broken)
    with pytest.raises(BadInput, match="'float' could not be measured: ArithmeticError: odd"):
        made.run()
    with pytest.raises(BadInput, match="'float' could not be measured: ArithmeticError: odd"):
        study(whole, temperatures=(0.8, 1.0)).run(tmp_path)  # the first setting is known, the other one cannot be


def test_a_variant_whose_speed_is_not_known_has_none(whole, monkeypatch):
    made = study(whole, models={"odd": whole}, rounds=1)
    monkeypatch.setattr(ds, "tokens_per_second", lambda *given: 7.5)
    costs = made._costs

    def failing(cells):
        if cells[0]["variant"] == "odd":
            raise ValueError("no room")
        return costs(cells)

    monkeypatch.setattr(made, "_costs", failing)
    table = made.run().table.set_index("variant")
    assert table["tokens_per_s"].to_dict()["float"] == 7.5 and math.isnan(table.loc["odd", "tokens_per_s"])


def test_the_best_of_the_rounds_after_the_first_is_the_speed(monkeypatch):
    now, asked, seconds = [0.0], [], iter([1.0, 5.0, 2.0, 4.0, 1.0])

    def tokens(model, prompt, how):
        asked.append((prompt, how.max_tokens, how.seed))
        now[0] += next(seconds)
        yield from range(10)

    monkeypatch.setattr(variants, "next_tokens", tokens)
    monkeypatch.setattr(variants.time, "perf_counter", lambda: now[0])
    assert variants.tokens_per_second(None, [1], 10) == 5.0  # of 5, 2 and 4 seconds; the first one is not counted
    assert asked == [([1], 10, 0)] * 4
    assert variants.tokens_per_second(None, [1], 10, 0) == 0.0


def test_unpacked_layers_keep_their_bias_and_shared_weights_count_once(whole):
    one = nn.Linear(8, 4)
    both = nn.ModuleDict({"a": one, "b": one, "c": nn.Linear(8, 4, bias=False)})
    assert variants.model_bytes(both) == 4 * (8 * 4 + 4 + 8 * 4)
    packed = variants.variant(whole, "int4")
    plain = variants.unpacked(packed)
    assert not any(isinstance(x, PackedLinear) for x in plain.modules()) and not plain.training
    count = sum(isinstance(x, PackedLinear) for x in packed.modules())
    assert count == sum("_proj" in n for n, _ in whole.named_parameters()) > 4
    assert not any(p.requires_grad for n, p in plain.named_parameters() if "_proj" in n)
    layer = next(x for x in packed.modules() if isinstance(x, PackedLinear))
    weight, bias = layer.weight(), torch.arange(float(len(layer.weight())))
    layer.bias = nn.Parameter(bias, requires_grad=False)
    made, x = nn.Sequential(layer), torch.ones(1, weight.shape[1])
    for same in (variants.unpacked(made), variants.dequantizing(made)):  # type: ignore[arg-type]
        assert torch.allclose(same(x), x @ weight.T + bias, atol=1e-5)
    with pytest.raises(BadInput, match="variant: expected float, int8, nf4"):
        variants.variant(whole, "int5")
    float_copy = variants.variant(whole.train(), "float")
    assert float_copy is not whole and not float_copy.training
    whole.eval()
