"""The wind tunnel: what it tries, what it gives, and that a short run on text is what it measures."""

import math

import numpy as np
import pytest

from smidgen.kit.errors import BadInput
from smidgen.lm import shards
from smidgen.lm.held import Held
from smidgen.lm.mixture import numbered
from smidgen.lm.plan import make_plan
from smidgen.lm.wind_tunnel import Setting, random_settings, rates, short_runs, wind_tunnel
from smidgen.nets.decoder import DecoderConfig
from smidgen.train.order import Order

TARGET = DecoderConfig(vocab=40, hidden=128, layers=2, heads=8, kv_heads=8, ffn=336, max_len=16)


def test_gives_the_best_for_the_target():
    seen = []

    def measure(config, lr):
        seen.append(config)
        return math.nan if lr > 0.05 else abs(math.log(lr / 0.02))

    found = wind_tunnel(TARGET, 32, rates(), measure)
    assert {(c.hidden, c.heads, c.width_base) for c in seen} == {(32, 2, 32)}
    assert found.rate == 0.02 and found.inner_rate == 0.005 and not found.at_edge
    assert (found.target.hidden, found.target.width_base, found.target.scale_emb) == (128, 32, 12.0)
    assert wind_tunnel(TARGET, 32, rates((0.02, 0.04)), measure).at_edge
    with pytest.raises(BadInput, match="failed"):
        wind_tunnel(TARGET, 32, rates((0.1,)), measure)
    with pytest.raises(BadInput, match="at least one"):
        wind_tunnel(TARGET, 32, [], measure)


def test_random_settings_lie_around_the_published():
    drawn, usual = random_settings(200, seed=3), Setting()
    ratios = np.array([[getattr(s, k) / getattr(usual, k) for k in vars(usual)] for s in drawn])
    assert drawn == random_settings(200, seed=3) and ratios.min() > 1 / 8.01 and ratios.max() < 8.01
    assert abs(np.log(ratios).mean(0)).max() < 0.4  # even on a logarithmic scale


def test_measures_runs_on_text(tmp_path):
    ids = np.arange(4000) * 7 % 40
    tokens, held = (shards.write(tmp_path / name, [part], 40, "none") for name, part in (("a", ids), ("b", ids[:400])))
    plan = make_plan(corpus_bytes=8000, size=100_000, seconds=None, flops_a_second=1e9, context=16, words=64, batch=4)
    text = Held({"text": held}, {"text": 1.0})
    measure = short_runs(plan, numbered(Order(tokens, 16, plan.rows, 0)), text, steps=20)
    found = wind_tunnel(TARGET, 32, rates((1e-4, 1e-2)), measure)
    assert found.rate == 1e-2 and found.losses[1][1] < 3 < found.losses[0][1] < math.inf
    with np.errstate(all="ignore"):
        assert measure(Setting().config(TARGET, 128), 1e6) > 10
