"""The calibration walk against plain sums over all inputs."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from smidgen.compress import layers
from smidgen.compress.blocks import block_names, walk_blocks
from smidgen.compress.inputs import squared_error
from smidgen.compress.walk import walk
from smidgen.kit.errors import BadInput


def whole(*shape, seed=0):
    """Small whole numbers: sums of their products are exact in float32."""
    return torch.randint(-4, 5, shape, generator=torch.Generator().manual_seed(seed)).float()


def read(model, batch):
    return model(batch)


def test_linear_is_exact():
    model, batches = nn.Sequential(nn.Linear(5, 3)), [whole(4, 7, 5, seed=i) for i in range(3)]
    (seen,) = walk(model, batches, read).values()
    x = torch.cat(batches).reshape(-1, 5)
    assert seen.rows == len(x) == 84
    assert torch.equal(seen.hessian[0], x.T @ x / 84)
    assert torch.equal(seen.magnitude[0], x.abs().mean(0)) and torch.equal(seen.largest[0], x.abs().amax(0))
    assert torch.equal(seen.mean[0], x.sum(0) / 84)


def test_a_wide_layer_is_exact():  # wider than a tile of the product
    model, x = nn.Sequential(nn.Linear(900, 2)), whole(50, 900)
    (seen,) = walk(model, [x], read).values()
    assert torch.equal(seen.hessian[0], x.T @ x / 50)


def test_grouped_convolution_is_exact():
    conv, x = nn.Conv2d(6, 4, 3, stride=2, padding=1, dilation=2, groups=2), whole(3, 6, 9, 8)
    (seen,) = walk(nn.Sequential(conv), [x[:1], x[1:]], read).values()
    for g, part in enumerate(x.chunk(2, 1)):
        rows = F.unfold(part, 3, dilation=2, padding=1, stride=2).transpose(1, 2).reshape(-1, 27)
        assert torch.equal(seen.hessian[g], rows.T @ rows / len(rows))


@pytest.mark.filterwarnings("ignore:Using padding='same':UserWarning")  # one side more than the other
@pytest.mark.parametrize(
    ("conv", "shape"),
    [
        (nn.Conv1d(3, 4, 4, padding="same", dilation=3), (2, 3, 11)),
        (nn.Conv2d(6, 6, (3, 2), groups=6, padding=(1, 0), padding_mode="reflect"), (2, 6, 7, 5)),
        (nn.Conv3d(2, 4, 2, stride=(1, 2, 1), groups=2), (2, 2, 4, 5, 3)),
        (nn.ConvTranspose1d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2), (3, 4, 6)),
        (nn.ConvTranspose2d(3, 2, (2, 3), stride=(3, 1), dilation=2, padding=1), (2, 3, 5, 4)),
    ],
    ids=lambda v: type(v).__name__ if isinstance(v, nn.Module) else "",
)
def test_output_energy_of_any_convolution(conv, shape):
    """What H says of the outputs is what they are: columns and groups are those of the weight."""
    torch.manual_seed(0)
    conv.bias = None
    model, x = nn.Sequential(conv), torch.randn(shape)
    (layer,) = layers.find(model)
    seen = walk(model, [x], read)[layer]
    energy = squared_error(layers.weight_of(model, layer), seen.hessian).sum()
    y = conv(x)
    torch.testing.assert_close(energy, y.square().sum() / (y.numel() / y.shape[1]), rtol=1e-4, atol=1e-5)


class Reader(nn.Module):
    """Words, three layers with one input, a joined output; twice, in a list of blocks."""

    def __init__(self, shared: bool = True) -> None:
        super().__init__()
        self.words = nn.Embedding(20, 6)
        self.blocks = nn.ModuleList([Block() for _ in range(3)])
        self.head = nn.Linear(6, 2)

    def forward(self, ids, cache=None):
        x = self.words(ids)
        for block in self.blocks:
            x = block(x, cache)
        return self.head(x[:, 0])


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.o = nn.Linear(6, 6), nn.Linear(6, 8), nn.Linear(14, 6)
        self.drop = nn.Dropout(0.5)

    def forward(self, x, cache):
        return x + self.drop(self.o(torch.tanh(torch.cat([self.q(x), self.k(x)], -1))))


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Reader()


def texts(pad: int):
    ids = torch.tensor([[3, 4, 5, 6], [7, 8, 0, 0], [9, 3, 3, 0]])
    return F.pad(ids, (0, pad))


def test_padding_is_not_counted(model):
    by = {a.name: s for a, s in walk(model, [texts(0)], read, mask=lambda ids: ids > 0).items()}
    more = {a.name: s for a, s in walk(model, [texts(3)], read, mask=lambda ids: ids > 0).items()}
    assert by["words"].counts.tolist()[:10] == [0, 0, 0, 3, 1, 1, 1, 1, 1, 1]
    assert by["blocks.0.q"].rows == 9 and by["head"].rows == 3  # the head sees one token a text
    x = model.words(texts(0)[texts(0) > 0]).detach()
    torch.testing.assert_close(by["blocks.0.q"].hessian[0], x.T @ x / 9)
    for name, seen in by.items():
        assert seen.rows == more[name].rows
        if seen.hessian is not None:
            torch.testing.assert_close(seen.hessian, more[name].hessian)


def test_portions_and_shared_inputs(model):
    reads = []

    def counted(model, batch):
        reads.append(batch)
        return model(batch)

    once = walk(model, [texts(0), texts(1)], counted)
    assert len(reads) == 2
    few = walk(model, [texts(0), texts(1)], counted, most_bytes=4 * 14**2)
    assert len(reads) > 2 + 4 and list(few) == list(once)
    by = {a.name: s for a, s in once.items()}
    assert by["blocks.0.q"].hessian is by["blocks.0.k"].hessian is not by["blocks.0.o"].hessian
    assert all(torch.equal(few[a].hessian, s.hessian) for a, s in once.items() if s.hessian is not None)


def test_inputs_that_are_shared_only_sometimes():
    class Fork(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(3, 2), nn.Linear(3, 2)

        def forward(self, x):
            return self.a(x) + self.b(x if x.sum() > 0 else x * 2)

    batches = [torch.ones(2, 3), -torch.ones(4, 3)]
    a, b = walk(Fork(), batches, read).values()
    assert torch.equal(a.hessian[0], torch.ones(3, 3)) and torch.equal(b.hessian[0], torch.full((3, 3), 3.0))


def test_nothing_is_left_behind(model):
    def hooks():
        return sum(len(m._forward_pre_hooks) + len(m._forward_hooks) for m in model.modules())

    def breaks(model, batch):
        model(batch)
        raise RuntimeError("no more")

    model.train()
    model.blocks[1].eval()
    modes = [m.training for m in model.modules()]
    for go in (walk, lambda *a: walk_blocks(*a, lambda seen: None)):
        with pytest.raises(RuntimeError, match="no more"):
            go(model, [texts(0)], breaks)
        assert hooks() == 0 and [m.training for m in model.modules()] == modes
    with pytest.raises(BadInput, match="batch"):
        walk(model, [], read)
    with pytest.raises(BadInput, match="inputs of 0 are NaN"):
        walk(nn.Sequential(nn.Linear(2, 2)), [torch.tensor([[float("nan"), 0.0]])], read)


def ruin(model, order):
    def visit(seen):
        order.append([a.name for a in seen])
        for layer, s in seen.items():
            w = layers.weight_of(model, layer)
            layers.set_weight(model, layer, w * 0.5 if s.hessian is None else w + s.hessian.mean())

    return visit


@pytest.mark.parametrize("finer", [False, True])
def test_blocks_see_what_came_before(model, finer):
    assert block_names(model) == ["blocks.0", "blocks.1", "blocks.2"]
    start = {k: v.clone() for k, v in model.state_dict().items()}
    order: list[list[str]] = []
    batches, runs = [texts(0), texts(1)], []

    def counted(model, batch):
        runs.append(1)
        return model(batch)

    walk_blocks(model, batches, counted, ruin(model, order), finer=finer)
    steps = [["q", "k"], ["o"]] if finer else [["q", "k", "o"]]
    assert order == [["words"], *([f"blocks.{i}.{a}" for a in s] for i in range(3) for s in steps), ["head"]]
    assert len(runs) == 2 + 1 + 2 + 2  # words; whether it is a chain; up to the blocks; head: none for a block
    after = {k: v.clone() for k, v in model.state_dict().items()}

    model.load_state_dict(start)  # slowly: all is read again for each step, with the weights as they are then
    visit = ruin(model, [])
    for names in order:
        now = [a for a in layers.find(model) if a.name in names]
        visit(walk(model, batches, read, layers=now))
    for name, weight in model.state_dict().items():
        torch.testing.assert_close(weight, after[name], msg=name)

    model.load_state_dict(start)  # what a call could change is no chain: from the start for each block
    runs.clear()

    def with_cache(model, batch):
        runs.append(1)
        return model(batch, cache=object())

    walk_blocks(model, batches, with_cache, ruin(model, []), finer=finer)
    assert len(runs) == 2 + 1 + 3 * 2 * len(steps) + 2
    for name, weight in model.state_dict().items():
        torch.testing.assert_close(weight, after[name], msg=name)


def test_without_blocks_layer_by_layer():
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)), torch.randn(7, 4)
    seen = {}

    def zero(found):
        for layer, s in found.items():
            seen[layer.name] = s
            layers.set_weight(model, layer, torch.zeros(layer.shape))

    walk_blocks(model, [x], read, zero)
    bias = model[0].bias.tanh()
    torch.testing.assert_close(seen["2"].hessian[0], torch.outer(bias, bias).detach())
