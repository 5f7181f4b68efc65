"""What a decoding study concludes, at the bounds of its rules, and the defaults of its statistics."""

import math

import numpy as np
import pandas as pd
import pytest

from smidgen.kit.errors import BadInput
from smidgen.studies import decoding_report as report
from smidgen.studies import decoding_statistics as st
from smidgen.studies.decoding_sensitivity import DecodingResult

NAMES = ["variant", "temperature", "top_k", "length", "seed", "prompt", "bits_per_byte"]
ALL = ["float", "int8", "nf4", "nf4-double", "fp4", "fp4-double"]


def samples(names=("float", "int8", "nf4"), temperatures=(0.4, 0.6)):
    rng = np.random.default_rng(0)
    rows = [(v, t, 0, 8, s, p, rng.normal()) for v in names for t in temperatures for s in (0, 1) for p in (0, 1, 2)]
    return pd.DataFrame(rows, columns=NAMES)


def result(names=tuple(ALL), speeds=None, sizes=None, nats=None, **more):
    table = pd.DataFrame({
        "variant": list(names), "tokens_per_s": speeds or [10.0] * len(names),
        "peak_bytes": sizes or [4.0] * len(names),
    })  # fmt: skip
    forced = pd.DataFrame({"variant": list(names), "nats": nats or [2.0] * len(names)})
    return DecodingResult("float", table, samples(names, **more), forced, pd.DataFrame(), True)


@pytest.mark.parametrize(
    ("gap", "se", "held"), [(0.0199, 0.01, "yes"), (0.02, 0.01, "no"), (-0.0199, 0.01, "yes"), (-0.021, 0.01, "no")]
)
def test_equal_is_less_than_two_standard_errors_apart(monkeypatch, gap, se, held):
    asked = []
    monkeypatch.setattr(
        st, "difference", lambda *of, **how: asked.append((of[1:], how)) or {"difference": gap, "se": se}
    )
    told = report._equal(result(), ALL, 0.8)
    assert told == ("R1", "nf4 and fp4 are equal in quality: choose freely",
                    f"nf4 less fp4: {gap:+.4f} bits a byte, standard error 0.0100", held)  # fmt: skip
    assert asked == [(("nf4", "fp4"), {"level": 0.8})]
    for names in (["float", "nf4"], ["float", "fp4"]):
        assert report._equal(result(), names, 0.9)[2:] == ("", "not measured")


@pytest.mark.parametrize(
    ("low", "own", "effect", "first", "second"),
    [((0.3, 0.5), 0.39, 0.01, "yes", "yes"), ((0.3, 0.5), 0.4, 0.0, "no", "no"), ((0.3, 0.5), 0.41, -0.1, "no", "no")],
)
def test_more_sensitive_is_a_range_whose_lower_end_lies_above(monkeypatch, low, own, effect, first, second):
    wide = pd.DataFrame({"variant": ["int8", "nf4", "fp4"], "range": [own, 0.6, 0.8], "range_low": [0.1, *low]})
    monkeypatch.setattr(st, "sensitivity", lambda *of, **how: wide)
    found = {"inside": 0.5, "outside": 0.25, "low": effect, "high": 0.75}
    monkeypatch.setattr(st, "window_effect", lambda *of, **how: found)
    told = report._temperature(result(), ALL, ["nf4", "fp4"], "int8", 0.9)
    assert [(r, held) for r, _, _, held in told] == [("R2", first), ("R2, window", second)]
    assert told[0][2] == f"range 0.7000 bits a byte at 4 bits (from 0.4000), {own:.4f} with int8"
    assert told[1][2] == f"distance 0.5000 inside, 0.2500 outside; effect from {effect:+.4f} to +0.7500"

    def nothing(*of, **how):
        raise BadInput("no temperature inside")

    monkeypatch.setattr(st, "window_effect", nothing)
    told = report._temperature(result(), ALL, ["nf4"], "int6", 0.9)
    assert [row[2:] for row in told] == [("", "not measured")] * 2


@pytest.mark.parametrize(
    ("speed", "size", "held"),
    [(9.9, 3.9, "yes"), (10.0, 3.9, "no"), (9.9, 4.0, "no"), (10.1, 4.1, "no"), (math.nan, 1.0, "not measured")],
)
def test_less_memory_and_no_more_speed(speed, size, held):
    made = result(["float", "nf4", "fp4"], [10.0, speed, speed], [4.0, size, size])
    rule, says, told, answer = report._speed(made, ["nf4", "fp4"])
    assert (rule, says, answer) == ("R3", "quantization saves memory, by itself no time", held)
    assert told == ("" if math.isnan(speed) else
                    f"{speed:.0f} tokens a second at 4 bits, 10 in float; memory {size / 4:.2f} times")  # fmt: skip


@pytest.mark.parametrize(
    ("nf4", "fp4", "held"), [(2.0198, 2.0, "yes"), (2.0201, 2.0, "no"), (2.0, 1.979, "no"), (2.01, 1.99, "yes")]
)
def test_nothing_is_less_than_a_hundredth_of_the_loss(nf4, fp4, held):
    made = result(nats=[1.0, 1.5, 2.0, nf4, 2.0, fp4])
    told = report._double(made, ALL)
    words = f"nf4: {50 * (nf4 - 2):+.3f} % of the loss, fp4: {50 * (fp4 - 2):+.3f} % of the loss"
    assert told == ("R4", "double quantization costs nothing in quality", words, held)
    assert report._double(made, ["float", "fp4"])[2].startswith("fp4: ")
    assert report._double(result(ALL[:3]), ALL[:3])[2:] == ("", "not measured")


def test_a_row_a_rule(monkeypatch):
    found = report.conclusions(result(), level=0.5)
    assert list(found.columns) == ["rule", "paper", "measured", "held"]
    assert found["rule"].tolist() == ["R1", "R2", "R2, window", "R3", "R4"]
    assert found["paper"].tolist()[1:3] == [
        "4-bit models are more sensitive to temperature: choose it again after quantization",
        "most of all at temperatures of .5 to .8",
    ]
    seen = []
    monkeypatch.setattr(st, "sensitivity", lambda *of, **how: seen.append(how) or pd.DataFrame({"variant": []}))
    report.conclusions(result(["float", "nf4"]))
    assert seen == [{"baseline": "float", "level": 0.9}]
    with pytest.raises(
        BadInput, match=r"variants: expected one of nf4, nf4-double, fp4, fp4-double, int4, got float, int8"
    ):
        report.conclusions(result(["float", "int8"]))


def test_defaults_of_the_statistics_are_a_thousand_draws_and_nine_in_ten():
    own, said = samples(), {"level": 0.9, "draws": 1000, "seed": 0}
    for by in ("temperature", "top_k", "length"):
        assert st.sensitivity(own, by).equals(st.sensitivity(own, by, **said))
    assert st.curves(own).equals(st.curves(own, **said))
    two = st.curves(own, draws=9).query("variant == 'nf4'")["difference"].abs().tolist()
    slopes = st.sensitivity(own, draws=9).set_index("variant")["slope"]
    assert slopes["nf4"] == pytest.approx((two[1] - two[0]) / 0.2)
    assert st.difference(own, "nf4", "int8") == st.difference(own, "nf4", "int8", **said)
    assert st.window_effect(own, ["nf4"]) == st.window_effect(own, ["nf4"], (0.5, 0.8), **said)
    edges = samples(temperatures=(0.4, 0.5, 0.8, 0.9))
    assert st.window_effect(edges, ["nf4"], draws=9) == st.window_effect(edges, ["nf4"], (0.49, 0.81), draws=9)
    for other in ({"level": 0.8}, {"draws": 900}, {"seed": 1}):
        assert st.difference(own, "nf4", "int8", **{**said, **other}) != st.difference(own, "nf4", "int8")
    with pytest.raises(BadInput, match="by: expected temperature, top_k, length, got prompt"):
        st.curves(own, "prompt")
    with pytest.raises(BadInput, match="variant: expected float, int8, nf4, got int3"):
        st.difference(own, "int3", "nf4")
    with pytest.raises(BadInput, match="a number for every variant, setting, seed and prompt, got some are missing"):
        st.curves(own.drop(index=3))
