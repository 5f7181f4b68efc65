"""The cell transformer: what may change nothing, who sees whom, and columns in units of their labelled rows."""

import numpy as np
import pytest
import torch
from scipy.stats import rankdata

from smidgen.kit.errors import BadInput
from smidgen.nets import cells
from smidgen.nets.cell_inputs import SIGNS, bin_edges, column_scales
from smidgen.nets.cells import Cells, CellsConfig

SMALL = CellsConfig(width=16, heads=2, layers=3, hidden=16, group=2)
N, M, F = 12, 7, 5


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def net(seed=0):
    """With weights that are not zero anywhere, so that every path counts."""
    made = Cells(SMALL, seed)
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in made.parameters():
            p.add_(0.3 * torch.randn(p.shape, generator=random))
    return made


def table(seed=0, rows=N + M):
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(2, rows, F, generator=random, dtype=torch.float64)
    x[:, 3, 1] = torch.nan
    x[:, :, 4] = torch.randint(0, 3, (2, rows), generator=random).double()
    return x


def inputs(x, n=N):
    """Cells of a table of which the last column is one of codes."""
    categorical = torch.tensor([[False] * (F - 1) + [True]]).expand(2, F)
    turn = torch.tensor([3, 5])[None, :, None].expand(2, 2, F)
    return column_scales(x[:, :n], categorical, turn).inputs(x)


IDS = torch.tensor([[0, 1, 2], [5, 3, 4]])
Y = {"classes": torch.arange(2 * N).view(2, N) % 3, "numbers": torch.linspace(-2, 2, 2 * N).view(2, N)}
KINDS = list(Y)


@pytest.mark.parametrize("kind", KINDS)
def test_order_of_labelled_rows_says_nothing(kind):
    x, model, order = table(), net(), torch.randperm(N, generator=torch.Generator().manual_seed(1))
    moved = torch.cat([x[:, order], x[:, N:]], 1)
    a, b = model(inputs(x), Y[kind], kind, IDS), model(inputs(moved), Y[kind][:, order], kind, IDS)
    assert a.shape == (2, M, {"classes": 10, "numbers": 64}[kind])
    assert torch.allclose(a, b, atol=1e-3)
    assert not torch.allclose(a, model(inputs(moved), Y[kind], kind, IDS), atol=1e-1)  # but their labels do


@pytest.mark.parametrize("kind", KINDS)
def test_queries_see_only_labelled_rows(kind):
    x, model = table(), net()
    other = x.clone()
    other[:, N + 1 :] = 7.0
    a, b = model(inputs(x), Y[kind], kind, IDS), model(inputs(other), Y[kind], kind, IDS)
    assert torch.equal(a[:, 0], b[:, 0])
    assert not torch.allclose(a[:, 1], b[:, 1])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scores", [cells.SCORES_AT_ONCE, 40])
def test_reading_once_and_answering_in_parts_is_the_same(kind, scores, monkeypatch):
    monkeypatch.setattr(cells, "SCORES_AT_ONCE", scores)
    x, model = table(), net()
    whole = model(inputs(x), Y[kind], kind, IDS)
    with torch.inference_mode():
        memory = model.read(inputs(x).rows(slice(N)), Y[kind], kind, IDS)
        parts = [model.answer(inputs(x).rows(slice(a, a + 3)), memory, IDS) for a in range(N, N + M, 3)]
    assert torch.allclose(whole, torch.cat(parts, 1), atol=1e-3)


def test_tokens_have_no_order_but_vectors_of_their_own():
    """Groups of columns change places: nothing happens if their vectors go with them."""
    x, model = table(), net()
    x = torch.cat([x[..., :4], x[..., :1] * 2, x[..., 1:2] + 1], -1)  # three groups of two
    order = torch.tensor([2, 0, 1])
    moved = x.unflatten(-1, (3, 2))[:, :, order].flatten(2)
    turn = torch.ones(2, 2, 6, dtype=torch.long)

    def seen(x):
        return column_scales(x[:, :N], torch.zeros(2, 6, dtype=torch.bool), turn).inputs(x)

    a = model(seen(x), Y["classes"], "classes", IDS)
    assert torch.allclose(a, model(seen(moved), Y["classes"], "classes", IDS[:, order]), atol=1e-3)
    assert not torch.allclose(a, model(seen(moved), Y["classes"], "classes", IDS), atol=1e-1)


def test_everything_learns():
    model, x = net(), table()
    for kind in KINDS:
        model(inputs(x), Y[kind], kind, IDS).square().sum().backward()
    still = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert still == []


def test_half_precision_is_near():
    model, x = Cells(SMALL), table()
    a, b = (model(inputs(x), Y["classes"], "classes", IDS, t).detach() for t in (torch.float32, torch.bfloat16))
    assert b.dtype == torch.float32
    assert 0 < float((a - b).abs().max()) < 0.1


def test_class_scores_begin_as_frequencies():
    """A network without training or advice pays equal attention: classes by their frequency."""
    y = torch.tensor([[0] * 8 + [1] * 3 + [2]] * 2)
    model = Cells(SMALL)
    torch.nn.init.zeros_(model.read_q.weight)
    torch.nn.init.zeros_(model.trust_classes.bias)
    chance = model(inputs(table()), y, "classes", IDS).softmax(-1)
    assert torch.allclose(chance[0, :, :3], torch.tensor([8 / 12, 3 / 12, 1 / 12]).expand(M, 3), atol=1e-3)


def test_columns_come_in_units_of_labelled_rows():
    x = table()
    a = inputs(x)
    assert torch.allclose(inputs(x * 1000 + 5e4).distance[..., :4], a.distance[..., :4], atol=1e-5)
    bent = inputs(torch.cat([x[..., :4].exp(), x[..., 4:]], -1))
    assert torch.equal(bent.rank, a.rank)
    assert not torch.allclose(bent.distance, a.distance, atol=0.1)
    ranks = (rankdata(x[0, :N, 0].numpy()) - 0.5) / N
    assert np.allclose(a.rank[0, :N, 0].numpy(), np.sqrt(3) * (2 * ranks - 1), atol=1e-6)
    far = x.clone()
    far[:, -1] = 1e9  # of a query: nothing else may change
    assert torch.equal(inputs(far).distance[:, :-1], a.distance[:, :-1])
    assert torch.allclose(inputs(far).rank[:, -1, :4], torch.tensor(3.0).sqrt())


def test_unknown_constant_and_coded_cells():
    x = table()
    x[:, :, 2] = 0.1  # constant
    x[:, 5, 4] = torch.nan
    a = inputs(x)
    assert a.unknown[:, 3, 1].all() and int(a.unknown.sum()) == 4
    for part in (a.distance, a.rank):
        assert part[..., 2].abs().max() < 1e-12 and not part[..., 4].any() and not part[:, 3, 1].any()
        assert part.isfinite().all()
    assert (a.sign[..., :4] == SIGNS).all()
    codes = torch.arange(SIGNS).double()[None, :, None]
    odd = torch.tensor([7, 9])[None, :, None]
    signs = column_scales(codes, torch.ones(1, 1, dtype=torch.bool), odd).inputs(codes).sign
    assert sorted(signs.flatten().tolist()) == list(range(SIGNS))  # none shared


def test_cells_that_cannot_be_compared():
    x = table()
    known, unknown = inputs(x).tokens(1)[0, 4, 0], inputs(x.index_fill(2, torch.tensor([4]), torch.nan)).tokens(1)[0, 4]
    assert known[3 : 3 + SIGNS].sum() == 1 and not unknown[:, 3 : 3 + SIGNS].any()  # an unknown code is no code
    far = x.clone()
    far[:, N:, 0] = 1e200  # beyond what a square holds: far, not near
    assert (inputs(far).distance[:, N:, 0] > 3.9).all()
    never = x.clone()
    never[:, :N, 0] = torch.nan  # of labelled rows none is known: that of a query says nothing
    assert inputs(never).unknown[..., 0].all() and not inputs(never).distance[..., 0].any()
    seconds = x.clone()
    seconds[..., 0] = 1.7e9 + 100 * x[..., 0]  # no constant
    assert torch.allclose(inputs(seconds).distance[..., 0], inputs(x).distance[..., 0], atol=1e-5)


def test_attention_keeps_its_sign_whatever_the_number_of_rows():
    factors = torch.stack([cells.sharpened(torch.tensor(2.0), n) for n in (2, 8, cells.USUAL_ROWS, 2000)])
    assert factors[0] > 0 and (factors.diff() > 0).all() and factors[2] == 1


def test_rows_side_by_side_are_rows_apart(monkeypatch):
    whole = net()(inputs(table()), Y["classes"], "classes", IDS)
    monkeypatch.setattr(cells, "SIDE_BY_SIDE", 1)
    assert torch.allclose(whole, net()(inputs(table()), Y["classes"], "classes", IDS), atol=1e-4)


def test_places_without_a_column_are_empty():
    tokens = inputs(table()).tokens(2)
    assert tokens.shape[:3] == (2, 3, N + M)
    assert not tokens[:, 2, :, tokens.shape[-1] // 2 :].any()
    assert tokens[:, 2, :, : tokens.shape[-1] // 2].any()


def test_edges_rise_and_mirror():
    edges = bin_edges(64)
    assert len(edges) == 63 and (edges.diff() > 0).all()
    assert torch.allclose(edges, -edges.flip(0), atol=1e-6)


@pytest.mark.parametrize("wrong", [{"width": 10, "heads": 3}, {"bins": 5}, {"layers": 0}])
def test_wrong_sizes_are_refused(wrong):
    with pytest.raises(BadInput):
        CellsConfig(**wrong)
