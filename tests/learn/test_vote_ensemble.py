"""Votes against their formula; memory by index, whatever the order of batches."""

import numpy as np
import pytest
import torch

from smidgen.kit.errors import BadInput
from smidgen.learn.vote_ensemble import TemporalEnsemble, confident_votes, most_confident


def test_votes_are_probabilities_by_confidence():
    logits = [torch.tensor([[3.0, 0.0, 1.0], [1.0, 1.0, 1.0]]), torch.tensor([[0.0, 2.0, 0.0], [5.0, 0.0, 0.0]])]
    expected = np.zeros((2, 3))
    for own in logits:
        p = np.exp(own.numpy() / 0.5)
        p /= p.sum(1, keepdims=True)
        expected += (1 + (p * np.log(p)).sum(1) / np.log(3))[:, None] * p / 2
    np.testing.assert_allclose(confident_votes(logits), expected, atol=1e-6)
    assert confident_votes([torch.zeros(1, 4)]).abs().max() < 1e-6  # who knows nothing has no vote
    assert torch.isfinite(confident_votes([torch.tensor([[1e4, 0.0]])])).all()


def test_only_the_most_confident_are_kept():
    votes = torch.tensor([[0.1, 0.2], [0.9, 0.0], [0.3, 0.4], [0.0, 0.8]])
    labels, kept = most_confident(votes, 0.5)
    assert labels.tolist() == [1, 0, 1, 1] and kept.tolist() == [False, True, False, True]
    assert most_confident(votes[:1], 0.9)[1].tolist() == [True]


def test_memory_is_by_index_and_lives_across_batches():
    """Rows come in another order and with other neighbours each time; each has its own mean of its own votes."""
    rng = np.random.default_rng(0)
    votes = rng.random((4, 6, 3)).astype(np.float32)  # of 4 passes
    memory = TemporalEnsemble(6, 3, decay=0.9, mix=0.3)
    for number, own in enumerate(votes):
        order = rng.permutation(6)
        got = np.empty((6, 3))
        for part in np.split(order, [2]):
            got[part] = memory.update(torch.from_numpy(part), torch.from_numpy(own[part]))
        weights = 0.9 ** np.arange(number)[::-1]
        before = np.tensordot(weights / weights.sum(), votes[:number], 1) if number else own
        np.testing.assert_allclose(got, 0.7 * own + 0.3 * before if number else own, atol=1e-6)
    copy = TemporalEnsemble(6, 3, decay=0.9, mix=0.3)
    copy.load_state_dict(memory.state_dict())
    assert torch.equal(copy.average(torch.arange(6)), memory.average(torch.arange(6)))


def test_a_row_never_seen_is_not_mixed_with_nothing():
    memory = TemporalEnsemble(3, 2)
    memory.update(torch.tensor([0]), torch.tensor([[1.0, 0.0]]))
    got = memory.update(torch.tensor([2, 0]), torch.tensor([[0.0, 1.0], [0.0, 1.0]]))
    torch.testing.assert_close(got, torch.tensor([[0.0, 1.0], [0.3, 0.7]]))
    assert memory.average(torch.tensor([1])).tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize("index", [[0, 5], [-1, 0], [1, 1], [0.0, 1.0]])
def test_wrong_indices_are_refused(index):
    with pytest.raises(BadInput, match="index"):
        TemporalEnsemble(5, 2).update(torch.tensor(index), torch.zeros(2, 2))
