"""Packed codes: what goes in comes out, in as many bytes as it should, bit by bit where they should lie."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from smidgen.formats import packing
from smidgen.kit.errors import BadInput


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.integers(0, 8), st.integers(1, 5), st.integers(0, 70), st.integers(0, 2**31))
def test_round_trip_at_any_length(bits, rows, columns, seed):
    ternary = bits == 0
    bits = bits or 2
    most = 3 if ternary else 2**bits
    random = torch.Generator().manual_seed(seed)
    codes = torch.randint(most, (rows, columns), generator=random, dtype=torch.uint8)
    packed = packing.pack(codes, bits, ternary)
    assert packed.dtype == torch.uint8
    assert packed.shape == (rows, packing.packed_columns(columns, bits, ternary))
    assert packed.shape[1] == (-(-columns // 5) if ternary else -(-columns * bits // 8))
    assert torch.equal(packing.unpack(packed, bits, columns, ternary), codes)


@pytest.mark.parametrize("bits", range(1, 9))
def test_code_j_lies_in_bits_jb(bits):
    codes = torch.randint(2**bits, (1, 29), generator=torch.Generator().manual_seed(bits), dtype=torch.uint8)
    row = int.from_bytes(bytes(packing.pack(codes, bits)[0].tolist()), "little")
    assert [(row >> (j * bits)) & (2**bits - 1) for j in range(29)] == codes[0].tolist()
    assert row >> (29 * bits) == 0


def test_ternary_is_base_three():
    codes = torch.tensor([[2, 0, 1, 2, 1, 1, 2]], dtype=torch.uint8)
    assert packing.pack(codes, 2, True).tolist() == [[2 + 1 * 9 + 2 * 27 + 1 * 81, 1 + 2 * 3]]


def test_what_does_not_fit_is_refused():
    with pytest.raises(BadInput):
        packing.pack(torch.tensor([[4]], dtype=torch.uint8), 2)
    with pytest.raises(BadInput):
        packing.pack(torch.tensor([[3]], dtype=torch.uint8), 2, True)
    with pytest.raises(BadInput):
        packing.pack(torch.zeros(1, 1, dtype=torch.uint8), 9)
    with pytest.raises(BadInput):
        packing.unpack(torch.zeros(2, 3, dtype=torch.uint8), 4, 8)
