"""Configurations: what is written is what is read, and a wrong word is answered with the right one."""

import json
from dataclasses import dataclass
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smidgen.kit.config import from_mapping, nearest, parse_settings, to_json
from smidgen.kit.errors import BadInput


@dataclass(frozen=True, kw_only=True)
class Config:
    whole: int = 1
    real: float = 0.5
    flag: bool = False
    text: str = "a"
    maybe: float | None = None
    word: Literal["low", "high"] = "low"
    several: tuple[int, ...] = (1, 2)


@dataclass(frozen=True)
class Must:
    size: int


finite = st.floats(allow_nan=False, allow_infinity=False)
values = st.fixed_dictionaries(
    {},
    optional={
        "whole": st.integers(),
        "real": finite,
        "flag": st.booleans(),
        "text": st.text(),
        "maybe": st.none() | finite,
        "word": st.sampled_from(["low", "high"]),
        "several": st.lists(st.integers()).map(tuple),
    },
)
any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda s: st.lists(s) | st.dictionaries(st.text(), s),
)


@given(values)
def test_through_json_and_back(given_values):
    config = from_mapping(Config, given_values)
    assert from_mapping(Config, json.loads(to_json(config))) == config
    assert all(getattr(config, k) == v for k, v in given_values.items())


@given(values.filter(lambda v: "text" not in v and "maybe" not in v))
def test_texts_of_the_command_line_mean_the_same(given_values):
    def said(v):
        return ",".join(map(str, v)) if isinstance(v, tuple) else str(v)

    pairs = [f"{k}={said(v)}" for k, v in given_values.items() if v != ()]
    expected = from_mapping(Config, {k: v for k, v in given_values.items() if v != ()})
    assert from_mapping(Config, parse_settings(pairs)) == expected


@given(st.sampled_from(["whole", "real", "flag", "text", "maybe", "word", "several"]), any_json)
def test_any_value_is_taken_with_its_type_or_refused(name, value):
    try:
        got = getattr(from_mapping(Config, {name: value}), name)
    except BadInput as error:
        said = str(error)
    else:
        said = name
        kind = {
            "whole": int,
            "real": float,
            "flag": bool,
            "text": str,
            "maybe": float | None,
            "word": str,
            "several": tuple,
        }[name]
        assert isinstance(got, kind) and not (name != "flag" and isinstance(got, bool))
    assert name in said


@pytest.mark.parametrize(
    ("given_values", "said"),
    [
        ({"hole": 1}, "Config: there is no setting 'hole'. Did you mean 'whole'?"),
        ({"zzzz": 1}, "Known: flag, maybe,"),
        ({"whole": 1.5}, "Config.whole: expected a whole number, got 1.5"),
        ({"whole": float("inf")}, "expected a whole number, got inf"),
        ({"real": 10**400}, "expected a number"),
        ({"whole": True}, "expected a whole number"),
        ({"flag": "maybe"}, "expected true or false"),
        ({"word": "middle"}, "expected 'low' or 'high'"),
        ({"whole": None}, "expected a whole number"),
    ],
)
def test_what_is_wrong_is_said(given_values, said):
    with pytest.raises(BadInput) as error:
        from_mapping(Config, given_values)
    assert said in str(error.value)


def test_one_of_several_types_is_each_tried_in_turn():
    @dataclass(frozen=True)
    class Either:
        size: int | tuple[float, ...] | None = None

    found = [from_mapping(Either, {"size": v}).size for v in ("3", "1.5,2", [1, 2.5], "none", None)]
    assert found == [3, (1.5, 2.0), (1.0, 2.5), None, None] and type(found[0]) is int
    with pytest.raises(BadInput, match=r"Either\.size: expected int or tuple.* or NoneType, got x"):
        from_mapping(Either, {"size": "x"})


def test_what_must_be_there_is_missed():
    with pytest.raises(BadInput, match=r"Must\.size: expected a value"):
        from_mapping(Must, {})


@pytest.mark.parametrize("pair", ["strength", "=1", " = 1"])
def test_settings_need_a_name_and_a_value(pair):
    with pytest.raises(BadInput, match="name=value"):
        parse_settings([pair])


def test_a_value_may_hold_an_equals_sign():
    assert parse_settings(["a= b=c "]) == {"a": "b=c"}


def test_nearest_without_anything_known():
    assert nearest("x", []) == "Known: none."
