"""Every number of a decoding study, beside the same computed by its definition from the ids that were sampled."""

import itertools
import math
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from sure_decoders import sure, token_ids

from smidgen.kit.errors import BadInput
from smidgen.kit.seeds import derive_seed
from smidgen.nets.decoder import DecoderConfig
from smidgen.studies import decoding_measures as m
from smidgen.studies import decoding_sensitivity as ds
from smidgen.studies import decoding_statistics as st
from smidgen.studies.decoding_variants import model_bytes, unpacked, variant

V = 19
CONFIG = DecoderConfig(vocab=V, hidden=32, layers=1, heads=2, kv_heads=2, ffn=64, max_len=48)


@pytest.fixture(scope="module")
def whole():
    return sure(CONFIG)


ids = partial(token_ids, V)


def nats(model, prompts, answers):
    """Of each answer's tokens, by whole distributions."""
    with torch.no_grad():
        logp = torch.log_softmax(model(torch.cat([prompts, answers], 1)), -1)
    return -logp[:, prompts.shape[1] - 1 : -1].gather(2, answers[..., None])[..., 0].numpy()


def grams(rows, n):
    return [tuple(row[i : i + n]) for row in rows for i in range(len(row) - n + 1)]


def test_n_grams_are_counted_one_by_one_and_short_texts_have_none():
    rows = np.random.default_rng(0).integers(0, 3, (4, 12))
    for n in (1, 2, 3):
        assert m.distinct(rows, n) == len(set(grams(rows, n))) / (4 * (13 - n))
    assert m.duplicate_rate(rows, 2) == pytest.approx([1 - len(set(grams([r], 2))) / 11 for r in rows])
    assert m.distinct(rows[:, :2], 3) == 0.0 and m.distinct(rows[:, :3], 3) > 0


def test_answers_are_read_in_parts_as_in_one(whole, monkeypatch):
    prompts, answers = ids(5, 6), ids(5, 37, 1)
    with torch.no_grad():
        x = whole.hidden(torch.cat([prompts, answers], 1))[:, 5:-1]
    pieces = np.stack([x[:, :16].mean(1), x[:, 16:32].mean(1)], 1)  # five tokens are left over
    texts = ids(5, 9)
    apart = unpacked(variant(whole, "int4"))
    together = m.divergence(whole, apart, texts, (1.0, 0.5)), m.losses(whole, texts)
    for chunk in (m.CHUNK, 8):
        monkeypatch.setattr(m, "CHUNK", chunk if chunk > 8 else 2)
        own, found = m.read_answers(whole, prompts, answers)
        assert own == pytest.approx(nats(whole, prompts, answers), abs=1e-4)
        assert found.shape == (5, 2, 32) and found == pytest.approx(pieces, abs=1e-4)
        monkeypatch.setattr(m, "CHUNK", chunk)
        assert m.divergence(whole, apart, texts, (1.0, 0.5)) == pytest.approx(together[0], rel=1e-4)
    monkeypatch.setattr(m, "CHUNK", 2)
    assert m.losses(whole, texts) == pytest.approx(together[1], rel=1e-5)


def test_likeness_is_the_area_below_the_frontier_of_two_histograms():
    """Two clusters far apart, so that shares are known without any clustering."""
    reference, texts = (np.repeat([[0.0], [9.0]], n, 0) for n in ((6, 2), (1, 3)))
    p, q = np.array([0.25, 0.75]), np.array([0.75, 0.25])

    def kl(a, b):
        return sum(x * math.log(x / y) for x, y in zip(a, b, strict=True) if x > 0)

    for scale in (5.0, 1.0):
        line = [(0.0, 1.0), (1.0, 0.0)]
        for share in np.linspace(1e-6, 1 - 1e-6, 25):
            mix = share * p + (1 - share) * q
            line.append((math.exp(-scale * kl(q, mix)), math.exp(-scale * kl(p, mix))))
        line.sort(key=lambda at: (at[0], -at[1]))
        area = sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in itertools.pairwise(line))
        made = m.Likeness(reference) if scale == 5.0 else m.Likeness(reference, scale=scale)
        assert made.clusters == 2 and made(texts) == pytest.approx(area, abs=1e-9)
    assert m.Likeness(reference, clusters=1).clusters == 1 == m.Likeness(reference[:7]).clusters
    assert m.Likeness(reference[:7])(texts) == pytest.approx(1)  # in one cluster all are alike
    assert m.Likeness(np.arange(200.0)[:, None]).clusters == 16


@pytest.fixture(scope="module")
def study(whole):
    """A study of two settings twice, three prompts, two seeds, ids of 1 to 4 bytes."""
    texts = ids(3, 42)
    made = ds.DecodingStudy(
        {"float": whole, "nf4": variant(whole, "nf4")}, texts[:, :12], references=texts[:, 12:],
        temperatures=(0.7, 1.0), top_k=(0, 4), max_new_tokens=(20, 8), seeds=(0, 1), rounds=1,
        byte_lengths=np.arange(V) % 4,
    )  # fmt: skip
    return made, made.run()


def test_each_cell_is_what_its_texts_are(study, whole):
    made, result = study
    answers = {name: made._answers(name).numpy() for name in ("float", "nf4")}
    pieces = m.read_answers(whole, made.P_T, made.references[:, :20])[1]
    likeness = m.Likeness(pieces.reshape(-1, 32))
    table = result.table.set_index(list(ds.AXES))
    samples = result.samples.set_index([*ds.AXES, "prompt"])
    assert len(table) == 2 * 2 * 2 * 2 * 2 and len(samples) == 3 * len(table)
    for (k, (t, top)), (s, seed), n, name in itertools.product(
        enumerate(itertools.product((0.7, 1.0), (0, 4))), enumerate((0, 1)), (8, 20), ("float", "nf4")
    ):
        own, base = answers[name][k, s][:, :n], answers["float"][k, s][:, :n]
        size = [max(sum(v % 4 for v in row), 1) for row in own]
        bits = nats(whole, made.P_T, torch.tensor(own)).sum(1) / math.log(2) / size
        same = [next((i for i in range(n) if a[i] != b[i]), n) / n for a, b in zip(own, base, strict=True)]
        dup = [1 - len(set(grams([r], 4))) / (n - 3) for r in own]
        row = table.loc[(name, t, top, n, seed)]
        for j in range(3):
            one = samples.loc[(name, t, top, n, seed, j)]
            assert one.tolist() == pytest.approx([bits[j], dup[j], same[j]], rel=1e-4)
        assert row["bits_per_byte"] == pytest.approx(np.mean(bits), rel=1e-4)
        assert row["distinct_2"] == len(set(grams(own, 2))) / (3 * (n - 1)) and row["same"] == pytest.approx(
            np.mean(same)
        )
        alike = likeness(m.read_answers(whole, made.P_T, torch.tensor(own))[1].reshape(-1, 32)) if n == 20 else math.nan
        assert row["mauve_like"] == pytest.approx(alike, rel=1e-6, nan_ok=True)
        model = made.models[name]
        assert row["peak_bytes"] == model_bytes(model) + whole.new_cache(1, 12 + n).bytes
        assert row["tokens_per_s"] > 0 and math.isnan(row["ppl_under_fp"])  # not of bytes
    speeds = result.table.groupby(["variant", "length"])["tokens_per_s"].nunique()
    assert (speeds == 1).all() and result.table.groupby("variant")["tokens_per_s"].nunique().eq(2).all()


def test_forced_texts_are_the_prompts_with_their_references(study, whole):
    made, result = study
    held = torch.cat([made.P_T, made.references[:, :20]], 1)
    assert torch.equal(made.held, held)
    for name in ("float", "nf4"):
        own = result.forced.query("variant == @name")
        model = unpacked(made.models[name])
        assert own["text"].tolist() == [0, 1, 2] and own["nats"].to_numpy() == pytest.approx(m.losses(model, held))
    apart = m.divergence(whole, unpacked(made.models["nf4"]), held, (0.7, 1.0))
    for k, t in enumerate((0.7, 1.0)):
        own = result.kl[result.kl["temperature"] == t]
        assert own["kl"].to_numpy() == pytest.approx(apart[:, k]) and set(own["variant"]) == {"nf4"}


def test_defaults_and_what_is_refused(whole):
    texts = ids(2, 30)
    plain = ds.DecodingStudy({"float": whole}, texts[:, :8], max_new_tokens=(4,))
    assert plain.temperatures == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0] and plain.top_k == [5, 20, 0]
    assert plain.seeds == [0, 1, 2] and plain.rounds == 3 and torch.equal(plain.held, texts[:, :8])
    assert ds.DecodingStudy({"float": whole}, texts[:, :8], max_new_tokens=(40, 1)).lengths == [1, 40]  # 48 in all
    for wrong, says in (
        ({"max_new_tokens": (41,)}, "48 tokens"),
        ({"max_new_tokens": (0,)}, "at least 1"),
        ({"max_new_tokens": ()}, "at least 1"),
        ({"temperatures": (math.inf,)}, "above 0"),
        ({"top_k": (1.5,)}, "top_k"),
        ({"references": texts[:1, 8:]}, "references"),
        ({"references": texts[:, 8:11]}, "references"),
    ):
        with pytest.raises(BadInput, match=says):
            ds.DecodingStudy({"float": whole}, texts[:, :8], **{"max_new_tokens": (4,), **wrong})
    with pytest.raises(BadInput, match="of one length"):
        ds.DecodingStudy({"float": whole}, [[1, 2], [1]], max_new_tokens=(4,))
    spaces = {
        ds.DecodingStudy(models, given, max_new_tokens=(4,), **more)._space()
        for models, given, more in (
            ({"float": whole}, texts[:, :8], {}),
            ({"float": variant(whole, "nf4")}, texts[:, :8], {}),
            ({"float": whole}, texts[:, 1:9], {}),
            ({"float": whole}, texts[:, :8], {"held": texts[:, 8:]}),
            ({"float": whole}, texts[:, :8], {"byte_lengths": np.ones(V)}),
            ({"float": whole, "b": whole}, texts[:, :8], {"baseline": "b"}),
        )
    }
    assert len(spaces) == 6  # whatever it stands on, another file of results


def test_answers_do_not_depend_on_how_many_rows_are_sampled_at_once(whole, monkeypatch):
    def answers():
        made = ds.DecodingStudy(
            {"float": whole, "b": whole}, ids(3, 8), temperatures=(0.8,), top_k=(3,), max_new_tokens=(5,), rounds=0
        )
        return made._answers("b")

    whole_ones = answers()
    monkeypatch.setattr(ds, "ROWS", 4)
    assert torch.equal(answers(), whole_ones) and whole_ones.shape == (1, 3, 3, 5)
    assert len({tuple(seed.flatten().tolist()) for seed in whole_ones[0]}) == 3


# -- statistics --

LEVELS, SEEDS, PROMPTS = (0.5, 0.6, 0.8, 1.0), (3, 5), (0, 1, 2)


def made_up():
    """(samples, differences `[variant, level, seed, prompt]` to the float model)."""
    rng = np.random.default_rng(1)
    base, apart = rng.normal(size=(4, 2, 3)), rng.normal(0.3, 1, size=(2, 4, 2, 3))
    rows = [
        (v, t, k, 8, s, p, base[i, a, b] + (apart["xy".index(v), i, a, b] if v != "float" else 0) + shift)
        for v in ("y", "float", "x")
        for (i, t), (a, s), (b, p) in itertools.product(enumerate(LEVELS), enumerate(SEEDS), enumerate(PROMPTS))
        for k, shift in ((0, -1.0), (4, 1.0))  # another factor, averaged
    ]
    names = ["variant", "temperature", "top_k", "length", "seed", "prompt", "bits_per_byte"]
    return pd.DataFrame(rows, columns=names), dict(zip("xy", apart, strict=True))


def redrawn(cube, draws):
    """The bootstrap, draw by draw: seeds and prompts each counted as often as they were drawn."""
    rng = np.random.default_rng(derive_seed(0, "crossed bootstrap"))
    seeds, prompts = (rng.multinomial(n, [1 / n] * n, draws) for n in (2, 3))
    return np.array([
        [sum(a * b * level[i, j] for i, a in enumerate(x) for j, b in enumerate(y)) / 6 for level in cube]
        for x, y in zip(seeds, prompts, strict=True)
    ])  # fmt: skip


def ends(values, level=0.9):
    return np.quantile(values, [(1 - level) / 2, 1 - (1 - level) / 2])


def test_intervals_are_those_of_draws_of_seeds_and_prompts():
    samples, apart = made_up()
    found = st.sensitivity(samples, draws=40).set_index("variant")
    for name, cube in apart.items():
        point, drawn, row = np.abs(cube.mean((1, 2))), np.abs(redrawn(cube, 40)), found.loc[name]
        spreads = drawn.max(1) - drawn.min(1)
        slopes = [np.polyfit(LEVELS, one, 1)[0] for one in (point, *drawn)]
        assert row["range"] == pytest.approx(point.max() - point.min())
        assert row["range_noise"] == pytest.approx(spreads.mean() - row["range"])
        assert row[["range_low", "range_high"]].tolist() == pytest.approx(ends(spreads))
        assert row["slope"] == pytest.approx(slopes[0])
        assert row[["slope_low", "slope_high"]].tolist() == pytest.approx(ends(slopes[1:]))
        assert row[["mean", "largest", "at"]].tolist() == pytest.approx(
            [point.mean(), point.max(), LEVELS[point.argmax()]]
        )
        lines = st.curves(samples, draws=40, level=0.5).query("variant == @name")
        assert lines["temperature"].tolist() == list(LEVELS)
        assert lines["difference"].to_numpy() == pytest.approx(cube.mean((1, 2)))
        assert lines[["low", "high"]].to_numpy() == pytest.approx(np.array([ends(d, 0.5) for d in redrawn(cube, 40).T]))
    gap = apart["x"] - apart["y"]
    told, drawn = st.difference(samples, "x", "y", draws=40), redrawn(gap.mean(0, keepdims=True), 40)[:, 0]
    expected = [gap.mean(), drawn.std(ddof=1), *ends(drawn)]
    assert [told[k] for k in ("difference", "se", "low", "high")] == pytest.approx(expected)


def test_the_window_has_its_ends_and_is_set_against_the_rest():
    samples, apart = made_up()
    point = np.mean([np.abs(c.mean((1, 2))) for c in apart.values()], 0)
    drawn = np.mean([np.abs(redrawn(c, 40)) for c in apart.values()], 0)
    for window, inside in (((0.5, 0.8), [0, 1, 2]), ((0.6, 1.0), [1, 2, 3]), ((0.55, 0.7), [1])):
        outside = [i for i in range(4) if i not in inside]
        told = st.window_effect(samples, ["x", "y"], window, draws=40)
        parts = point[inside].mean(), point[outside].mean()
        each = drawn[:, inside].mean(1) - drawn[:, outside].mean(1)
        assert list(told.values()) == pytest.approx([*parts, parts[0] - parts[1], *ends(each)])
    assert st.window_effect(samples, ["x"], draws=9) == st.window_effect(samples, ["x"], (0.5, 0.8), draws=9)
    for nothing in ((0.5, 1.0), (2.0, 3.0)):
        with pytest.raises(BadInput, match="window"):
            st.window_effect(samples, ["x"], nothing)
    one = samples[samples["temperature"] == 0.5]
    assert st.sensitivity(one, draws=9)["slope"].tolist() == [0.0, 0.0]
    with pytest.raises(BadInput, match="by"):
        st.sensitivity(samples, "seed")
    with pytest.raises(BadInput, match="variant"):
        st.difference(samples, "x", "z")
