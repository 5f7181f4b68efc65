"""The supervised contrastive loss against the sums of its formula, with and without a memory."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from smidgen.kit.errors import BadInput  # noqa: E402
from smidgen.learn.supervised_contrastive import CrossBatchMemory, supervised_contrastive_loss  # noqa: E402

T = 0.2


def by_sums(z, y, others, labels, left_out):
    """Mean over anchors; `left_out[i]`: places of the others that i is not compared with."""
    z, others = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (z, others))
    losses = []
    for i in range(len(z)):
        compared = [a for a in range(len(others)) if a not in left_out[i]]
        total = sum(np.exp(z[i] @ others[a] / T) for a in compared)
        positive = [p for p in compared if labels[p] == y[i]]
        if positive:
            losses.append(-np.mean([np.log(np.exp(z[i] @ others[p] / T) / total) for p in positive]))
    return np.mean(losses), len(losses)


@pytest.fixture
def rows():
    rng = np.random.default_rng(0)
    return rng.standard_normal((7, 5)), np.array([0, 1, 1, 2, 0, 1, 3])


def test_it_is_the_formula(rows):
    z, y = rows
    got = supervised_contrastive_loss(torch.tensor(z * 10), torch.tensor(y), T)
    expected, anchors = by_sums(z, y, z, y, [{i} for i in range(7)])
    assert got.anchors == anchors == 5 and not got.no_positives
    assert float(got.loss) == pytest.approx(expected, rel=1e-9)


def test_a_memory_adds_rows_but_not_ones_own(rows):
    z, y = rows
    memory = CrossBatchMemory(4, 5)
    ids = torch.arange(7)
    for part in (slice(0, 3), slice(2, 5)):  # the newest 4: row 1 is left of the first, then 2 again, 2, 3, 4
        memory.add(torch.tensor(z[part]), torch.tensor(y[part]), ids[part])
    assert memory.rows_M.tolist() == [2, 2, 3, 4] and not memory.z_MD.requires_grad
    now = [1, 2, 3]
    zt = torch.tensor(z[now], requires_grad=True)
    got = supervised_contrastive_loss(zt, torch.tensor(y[now]), T, memory, ids[now])
    kept = [2, 2, 3, 4]
    left_out = [{i, *(3 + k for k, r in enumerate(kept) if r == now[i])} for i in range(3)]
    expected, anchors = by_sums(z[now], y[now], z[now + kept], y[now + kept], left_out)
    assert got.anchors == anchors and float(got.loss.detach()) == pytest.approx(expected, rel=1e-9)
    got.loss.backward()
    assert torch.isfinite(zt.grad).all() and zt.grad.abs().sum() > 0


def test_without_positives_it_is_0_and_says_so(rows):
    z = torch.tensor(rows[0][:3], requires_grad=True)
    got = supervised_contrastive_loss(z, torch.tensor([0, 1, 2]))
    assert got.no_positives and float(got.loss.detach()) == 0
    got.loss.backward()
    assert (z.grad == 0).all()
    with pytest.raises(BadInput, match="a label for each embedding"):
        supervised_contrastive_loss(z, torch.tensor([0, 1]))
