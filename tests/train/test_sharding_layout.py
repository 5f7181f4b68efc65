"""Which rank owns which elements: each exactly once, in equal parts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smidgen.train.sharding.layout import Layout

SIZES = st.lists(st.integers(0, 40), min_size=1, max_size=8).map(lambda s: {f"t{i}": n for i, n in enumerate(s)})


@given(SIZES, st.integers(1, 5), st.integers(1, 50), st.booleans())
def test_every_element_has_one_owner(sizes, ranks, bucket, uncut):
    layout = Layout(sizes, ranks, bucket, uncut=uncut)
    owned = []
    for rank in range(ranks):
        ranges = layout.ranges(rank)
        owned += [(r.name, i) for r in ranges for i in range(r.start, r.start + r.length)]
        places = [r.at + i for r in ranges for i in range(r.length)]
        assert len(set(places)) == len(places) and all(0 <= p < layout.shard for p in places)
        if uncut:
            assert all(r.start == 0 and r.length == sizes[r.name] for r in ranges)
    assert sorted(owned) == sorted((name, i) for name, n in sizes.items() for i in range(n))


@given(SIZES, st.integers(1, 5), st.integers(1, 50), st.booleans())
def test_buckets_tile_the_unit_and_divide_among_ranks(sizes, ranks, bucket, uncut):
    layout = Layout(sizes, ranks, bucket, uncut=uncut)
    ends = [0, *(b.start + b.length for b in layout.buckets)]
    assert [b.start for b in layout.buckets] == ends[:-1] and ends[-1] == layout.padded == ranks * layout.shard
    for b in layout.buckets:
        assert b.length == ranks * b.part and (uncut or b.length <= max(ranks, bucket))
        inside = layout.inside(b)
        assert all(r.place - b.start == r.at for r in inside)
    assert sum(r.length for b in layout.buckets for r in layout.inside(b)) == sum(sizes.values())
    if not uncut:
        assert layout.padded - sum(sizes.values()) < ranks


def test_whole_tensors_are_shared_out_evenly():
    layout = Layout({"a": 9, "b": 5, "c": 4, "d": 1}, 2, 8, uncut=True)
    assert [[r.name for r in layout.ranges(rank)] for rank in (0, 1)] == [["a", "d"], ["b", "c"]]
    assert layout.padded == 20 and Layout({"a": 3}, 4, 8, everywhere=True).shard == 4


@pytest.mark.parametrize("rank", [0, 1])
def test_a_range_lies_where_its_part_does(rank):
    layout = Layout({"a": 3, "b": 6}, 2, 4)
    got = [(r.name, r.start, r.length, r.place, r.at) for r in layout.ranges(rank)]
    first = [("a", 0, 2, 0, 0), ("b", 1, 2, 4, 2), ("b", 5, 1, 8, 4)]
    second = [("a", 2, 1, 2, 0), ("b", 0, 1, 3, 1), ("b", 3, 2, 6, 2)]
    assert got == (second if rank else first)
