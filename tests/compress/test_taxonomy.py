"""The published families: complete, found again, and said of policies."""

import pytest

from smidgen.compress.taxonomy import (
    TARGETS,
    classify,
    entries,
    families,
    find,
    hardware,
    parts_of,
    resembling,
    what_goes_wrong,
)
from smidgen.formats.format import Format
from smidgen.kit.errors import BadInput
from smidgen.train.low_precision.policy import PrecisionPolicy


def test_entries_are_whole():
    assert len(entries()) == 120 and len({e.name for e in entries()}) == 120
    assert {e.family for e in entries()} == set(families())
    for e in entries():
        assert e.targets and set(e.targets) <= set(TARGETS) and 2014 <= e.year <= 2025 and e.venue
        assert bool(e.group) == (e.family == "integer")
    assert {f: sum(e.family == f for e in entries()) for f in families()} == {
        "fixed point": 11,
        "integer": 56,
        "binary": 12,
        "floating point": 24,
        "customized": 9,
        "quantization-aware": 8,
    }


def test_search():
    assert [e.name for e in find("block-wise", target="optimizer states")] == ["8-bit optimizers, block-wise"]
    fours = find(target="optimizer states", bits=4, llm=True)
    assert "4-bit optimizer states" in {e.name for e in fours} and all(e.llm for e in fours)
    years = [e.year for e in find(family="binary")]
    assert years == sorted(years, reverse=True) and len(years) == 12
    for wrong in ({"family": "fp8"}, {"target": "weight"}):
        with pytest.raises(BadInput):
            find(**wrong)


FP8 = "weights=e4m3fn/tensor, activations=e4m3fn/tensor, act_grads=e5m2ieee/tensor"


@pytest.mark.parametrize(
    ("text", "family"),
    [
        ("rounding=nearest", ""),
        (FP8, "floating point"),
        (FP8 + ", optimizer_states=dynamic8", "floating point"),
        ("weights=int4/64, activations=int8/64", "quantization-aware"),
        ("weights=int8/64, activations=int8/64, act_grads=int8/64", "integer"),
        ("weights=e2m1/32/e8m0, activations=e2m1/32/e8m0, act_grads=e2m1/32/e8m0", "customized"),
        ("act_grads=posit16e1", "customized"),
        ("act_grads=fixed4.12", "fixed point"),
        ("comm=int1/2048", "binary"),
        ("optimizer_states=dynamic8", "integer"),
    ],
)
def test_policies_have_families(text, family):
    policy = PrecisionPolicy.parse(text)
    assert classify(policy) == family
    assert all(e.family == family for e in resembling(policy)[:5])


def test_what_resembles_lowers_the_same_parts_and_what_goes_wrong_is_said():
    policy = PrecisionPolicy.parse("optimizer_states=dynamic8")
    assert resembling(policy)[0].targets == ("optimizer states",)
    mixed = PrecisionPolicy.parse("act_grads=e5m2ieee/tensor, comm=int1/2048")
    assert set(parts_of(mixed).values()) == {"floating point", "binary"}
    assert set(families()["binary"].wrong) <= set(what_goes_wrong(mixed))
    assert what_goes_wrong(PrecisionPolicy()) == []


def test_hardware_is_noted_of_every_grid():
    for name in ("int8/64", "int4+offset/64", "e4m3fn/tensor", "e2m1/32/e8m0", "nf4/64", "ternary/64"):
        Format.parse(name)
        assert hardware(name)
    assert hardware("float16") and hardware("posit16e1") and hardware("fixed4.12") and hardware("e9") == ""
