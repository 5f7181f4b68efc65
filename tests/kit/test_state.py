"""States: what is packed comes back bit for bit, and nothing that could carry code can be packed."""

import json

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from smidgen.kit.errors import BadInput
from smidgen.kit.files import parse_tensors, tensor_bytes
from smidgen.kit.state import pack, unpack

DTYPES = ["<f8", "<f4", "<f2", "<i8", "<i4", "<i2", "|i1", "|u1", "<u2", "<u4", "<u8", "|b1"]
arrays_of = st.sampled_from(DTYPES).flatmap(
    lambda d: hnp.arrays(np.dtype(d), hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3))
)
keys = st.text(max_size=3) | st.sampled_from(["$array", "$list", "$float", "$dict", "a.b", "a", "0", "b", "0.a"])
plain = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
states = st.recursive(
    plain | arrays_of, lambda s: st.lists(s, max_size=3) | st.dictionaries(keys, s, max_size=4), max_leaves=12
)


def through_a_folder(value):
    arrays: dict[str, np.ndarray] = {}
    text = json.dumps(pack(value, arrays), allow_nan=False)
    return unpack(json.loads(text), parse_tensors(tensor_bytes(arrays)))


def same(a, b) -> bool:
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, dict):
        return isinstance(b, dict) and list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list):
        return isinstance(b, list) and len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, float) and a != a:
        return b != b
    return type(a) is type(b) and a == b and str(a) == str(b)


@given(states)
@example({"a.b": np.zeros(1), "a": {"b": np.ones(2)}})
@example({"0": {"$array": "x"}, "x": [float("inf"), float("nan"), -0.0]})
def test_bit_for_bit(value):
    assert same(value, through_a_folder(value))


@given(states)
def test_twice_is_once(value):
    once: dict[str, np.ndarray] = {}
    again: dict[str, np.ndarray] = {}
    assert pack(value, once) == pack(value, again) or "NaN" in repr(value)
    assert once.keys() == again.keys()


@pytest.mark.parametrize(
    "value", [lambda: 0, {1, 2}, b"code", {1: 2}, object, np.array([1 + 2j])[0]], ids=lambda v: type(v).__name__
)
def test_nothing_else_can_be_packed(value):
    with pytest.raises(TypeError):
        pack({"x": [value]}, {})


def test_texts_and_tuples():
    value = {"words": np.array(["a", "bc"]), "pair": (1, 2.5), "n": np.int64(3)}
    got = through_a_folder(value)
    assert got["words"].tolist() == ["a", "bc"] and got["pair"] == [1, 2.5] and type(got["n"]) is int


def test_an_array_that_is_missing():
    with pytest.raises(BadInput, match=r"'a\.b' is missing"):
        unpack({"a": {"$array": "a.b"}}, {})


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"$array": [1, {"c": {}}]}, "The array '.1, .'c'.*is missing"),  # was a TypeError, as all of these
        ({"$float": [1]}, "damaged or was edited"),
        ({"$float": "much"}, "damaged or was edited"),
        ({"$list": [[1], [2, 3]]}, "damaged or was edited"),
        ({"$dict": 5}, "damaged or was edited"),
        ({"$dict": "ab"}, "damaged or was edited"),
    ],
)
def test_what_was_never_packed(value, said):
    with pytest.raises(BadInput, match=said):
        unpack({"a": [value]}, {"a": np.zeros(2)})
