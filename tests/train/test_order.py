"""Every window once an epoch, the same from any point on, whatever the ranks and threads."""

import itertools

import numpy as np
import pytest
import torch

from smidgen.kit.errors import BadInput
from smidgen.train.order import Order, permuted, windows_of


class Stream:
    """Place i holds the number i; documents begin at the given places."""

    def __init__(self, length, begins=(0,)):
        self.length, self.begins, self.fingerprint = length, np.array(begins), f"stream {length}"

    def __len__(self):
        return self.length

    def read(self, start, stop):
        assert 0 <= start < stop <= self.length
        return np.arange(start, stop)

    def starts(self, start, stop):
        return self.begins[(self.begins >= start) & (self.begins < stop)]


def taken(order, used, count):
    return list(itertools.islice(order.batches(used), count))


@pytest.mark.parametrize("count", [1, 2, 3, 17, 256, 1000])
def test_permutations_are_permutations(count):
    one, other = (permuted(np.arange(count), count, key) for key in (1, 2))
    assert sorted(one) == sorted(other) == list(range(count))
    if count > 16:
        assert (one != other).mean() > 0.8
        assert abs(np.corrcoef(one, np.arange(count))[0, 1]) < 0.5
        assert permuted(np.array([5]), count, 1)[0] == one[5]


def test_orders_are_near_uniform():
    """Where place 0 of 8 goes, over many keys, and which neighbours follow each other."""
    orders = np.array([permuted(np.arange(8), 8, key) for key in range(4000)])
    for column in (orders[:, 0], orders[:, 5], (orders[:, 1] - orders[:, 0]) % 8):
        counts = np.bincount(column, minlength=8)
        counts = counts[counts > 0]
        assert np.abs(counts - 4000 / len(counts)).max() < 150  # five to six standard deviations


def test_the_order_of_a_seed_never_changes():
    """Checkpoints of older versions must go on with the batches they would have had."""
    assert permuted(np.arange(10), 10, 7).tolist() == [3, 0, 9, 1, 6, 8, 5, 7, 4, 2]
    places = [Order(Stream(1000), 10, 1, seed=3).places(n, 1)[0] for n in (0, 1, 150)]
    assert places == [(0, 78, 789), (0, 50, 509), (1, 38, 380)]


def test_an_epoch_holds_each_window_once():
    order = Order(Stream(1003), 10, 3)
    assert order.epoch_windows == 99
    epochs = [order.places(99 * e, 99) for e in range(3)]
    for number, places in enumerate(epochs):
        assert sorted(w for _, w, _ in places) == list(range(99)) and {e for e, _, _ in places} == {number}
    firsts = [sorted(start for _, _, start in places) for places in epochs]
    assert all(np.diff(f).tolist() == [10] * 98 for f in firsts)
    assert len({f[0] for f in firsts}) > 1  # cut elsewhere
    assert [w for _, w, _ in epochs[0]] != [w for _, w, _ in epochs[1]]


def test_targets_are_the_next_tokens_and_documents_are_marked():
    order = Order(Stream(64, begins=[0, 10, 11, 40]), 16, 2)
    for batch in taken(order, 0, 6):
        assert torch.equal(batch.targets_BT, batch.ids_BT + 1)
        marks = batch.documents_BT if batch.documents_BT is not None else torch.zeros_like(batch.ids_BT)
        inner = torch.isin(batch.ids_BT[:, 1:], torch.tensor([10, 11, 40]))
        assert torch.equal(marks.diff(), inner.long()) and (marks[:, 0] == 0).all()
    assert all(b.documents_BT is None for b in taken(Order(Stream(64, [0, 10]), 16, 2, documents=False), 0, 4))
    assert all(b.documents_BT is None for b in taken(Order(Stream(64), 16, 2), 0, 4))


@pytest.mark.parametrize(("ranks", "ahead"), [(1, 3), (2, 0), (4, 2)])
def test_resuming_gives_the_next_batch_whatever_ranks_and_threads(ranks, ahead):
    stream = Stream(997, begins=range(0, 997, 37))
    whole = taken(Order(stream, 10, 8, seed=5), 0, 30)  # over two epochs
    used = Order(stream, 10, 8, seed=5).state(whole[11].number)
    parts = []
    for rank in range(ranks):
        order = Order(stream, 10, 8, seed=5, ahead=ahead)
        own = slice(rank * 8 // ranks, (rank + 1) * 8 // ranks)
        parts.append([batch.part(own) for batch in taken(order, order.resume(used), 19)])
    for expected, rows in zip(whole[11:], zip(*parts, strict=True), strict=True):
        assert torch.equal(expected.ids_BT, torch.cat([r.ids_BT for r in rows]))
        assert expected.windows == tuple(w for r in rows for w in r.windows)
        assert {r.number for r in rows} == {expected.number}
        marks = [r.documents_BT if r.documents_BT is not None else torch.zeros_like(r.ids_BT) for r in rows]
        assert torch.equal(expected.documents_BT, torch.cat(marks))


def test_another_corpus_seed_or_version_is_refused():
    order = Order(Stream(500), 10, 4)
    state = order.state(40)
    assert order.resume(state) == 40
    for other, says in (
        (Order(Stream(501), 10, 4), "corpus or its tokenizer changed"),
        (Order(Stream(500), 10, 4, seed=1), "another seed"),
        (Order(Stream(500), 20, 4), "another context"),
    ):
        with pytest.raises(BadInput, match=says):
            other.resume(state)
    for wrong in ({**state, "schema": 2}, {}, {**state, "used": -1}, {**state, "used": 1.5}):
        with pytest.raises(BadInput):
            order.resume(wrong)


def test_what_cannot_be_cut_is_said():
    assert windows_of(11, 10) == 1
    for make, says in (
        (lambda: Order(Stream(10), 10, 1), "fewer than one context of 10"),
        (lambda: Order(Stream(99), 10, 0), "at least 1"),
    ):
        with pytest.raises(BadInput, match=says):
            make()
