"""Training in a random subspace: equations, tied weights, buffers, precision, merging, saving."""

import copy

import pytest
import torch
from torch import nn

from smidgen.kit.errors import BadInput
from smidgen.nets.subspace import SubspaceTuner, layer_of


class Tied(nn.Module):
    """Two blocks, a norm with running means, and an output that is the embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(11, 6)
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(6, 6), nn.Tanh()) for _ in range(2))
        self.norm = nn.BatchNorm1d(6)
        self.out = nn.Linear(6, 11, bias=False)
        self.out.weight = self.words.weight

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.words(ids)
        for block in self.blocks:
            x = x + block(x)
        return self.out(self.norm(x))


@pytest.fixture
def base():
    torch.manual_seed(0)
    return Tied()


IDS = torch.tensor([1, 4, 9, 2])


def moved(tuner: SubspaceTuner) -> SubspaceTuner:
    """The tuner with other numbers than it began with."""
    with torch.no_grad():
        tuner.vector.copy_(torch.linspace(-3, 3, len(tuner.vector)))
        if tuner.scales is not None:
            tuner.scales.copy_(torch.linspace(0.5, 1.5, len(tuner.scales)))
    return tuner


def test_it_begins_where_the_base_is(base):
    base.eval()
    assert torch.equal(SubspaceTuner(base, 12)(IDS), base(IDS))


@pytest.mark.parametrize("per", ["layer", "tensor"])
def test_the_equation(base, per):
    """theta_i = theta_0,i + lambda_i P(x)_i, with tied weights counted once."""
    tuner = moved(SubspaceTuner(base, 20, "countsketch", per=per, seed=5))
    shapes = {n: p.shape for n, p in base.named_parameters()}
    assert "out.weight" not in shapes and tuner.size == 66 + 2 * 42 + 12
    assert len(tuner.groups) == (4 if per == "layer" else 7) and len(tuner.vector) == 20 - len(tuner.groups)
    move = tuner.projection(tuner.vector)
    at = 0
    now = dict(tuner.weights())
    for name, start in base.named_parameters():
        scale = tuner.scales[tuner.groups.index(name if per == "tensor" else layer_of(name))]
        expected = start + scale * move[at : at + start.numel()].view(start.shape)
        torch.testing.assert_close(now[name], expected)
        at += start.numel()
    assert sum(p.numel() for p in tuner.parameters()) == 20


def test_gradients_are_those_of_the_weights(base):
    """By the chain rule: x gets P^T (lambda g), lambda gets <g, P x> of its group."""
    base.eval()
    tuner = moved(SubspaceTuner(base, 20, seed=5))
    merged = tuner.merge()
    tuner(IDS).square().sum().backward()
    merged(IDS).square().sum().backward()
    g = torch.cat([p.grad.flatten() for p in merged.parameters()])
    each = torch.tensor([tuner.groups.index(layer_of(n)) for n, p in base.named_parameters() for _ in range(p.numel())])
    x = tuner.vector.detach().requires_grad_()
    move = tuner.projection(x)
    move.backward(g * tuner.scales.detach()[each])
    torch.testing.assert_close(tuner.vector.grad, x.grad, rtol=1e-4, atol=1e-4)
    expected = torch.zeros(4).index_add_(0, each, g * move.detach())
    torch.testing.assert_close(tuner.scales.grad, expected, rtol=1e-4, atol=1e-4)


def test_the_base_never_changes_and_many_share_it(base):
    before = copy.deepcopy(base.state_dict())
    tuners = [SubspaceTuner(base, 12, seed=s, free=lambda n: n.startswith("norm")) for s in (0, 1)]
    for tuner in tuners:
        optimizer = torch.optim.Adam(tuner.optimizer_groups(0.3, weight_decay=0.1))
        first = None
        for _ in range(30):
            loss = nn.functional.cross_entropy(tuner(IDS), IDS.flip(0))
            first = first or float(loss.detach())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        assert float(loss.detach()) < 0.9 * first
    assert all(torch.equal(before[k], v) for k, v in base.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in base.parameters())
    assert tuners[0].get_buffer("buffer_2") == 30  # batches that the norm has seen
    own = tuners[0].merge()
    assert own.out.weight is own.words.weight  # pyright: ignore[reportAttributeAccessIssue]
    for m in (own.eval(), tuners[0].eval()):
        torch.testing.assert_close(m(IDS), tuners[0](IDS))


def test_scales_do_not_decay(base):
    tuner = SubspaceTuner(base, 12)
    groups = tuner.optimizer_groups(0.1, weight_decay=0.1)
    assert [(g["params"][0] is tuner.scales, g["weight_decay"]) for g in groups] == [(False, 0.1), (True, 0.0)]


@pytest.mark.parametrize("projection", ["fastfood", "dense", "countsketch"])
def test_saved_and_loaded(base, tmp_path, projection):
    tuner = SubspaceTuner(base, 12, projection, seed=7, include=lambda n: "1.0" in n or "norm" in n,
                          free=lambda n: n == "norm.bias")  # fmt: skip
    moved(tuner)(IDS)  # the norm's means move
    tuner.save(tmp_path / "task")
    again = SubspaceTuner.load(tmp_path / "task", base)
    assert torch.equal(again.eval()(IDS), tuner.eval()(IDS))
    assert (tmp_path / "task" / "subspace.safetensors").stat().st_size < 1500
    other = copy.deepcopy(base)
    with torch.no_grad():
        other.blocks[1][0].bias[0] += 1e-3
    with pytest.raises(BadInput, match="other weights"):
        SubspaceTuner.load(tmp_path / "task", other)
    with pytest.raises(BadInput, match="no parameter"):
        SubspaceTuner.load(tmp_path / "task", nn.Linear(3, 3))


def test_another_draw_of_the_seed_is_noticed(base, tmp_path, monkeypatch):
    SubspaceTuner(base, 12, seed=7).save(tmp_path / "task")
    monkeypatch.setattr("smidgen.nets.projections.derive_seed", lambda *_: 1)
    with pytest.raises(BadInput, match="draws another projection"):
        SubspaceTuner.load(tmp_path / "task", base)


def test_half_precision_keeps_a_float32_vector(base):
    tuner = moved(SubspaceTuner(base, 20)).to(torch.bfloat16)
    assert base.words.weight.dtype == torch.bfloat16 and tuner.vector.dtype == torch.float32
    assert {w.dtype for _, w in tuner.weights()} == {torch.bfloat16}
    # A sum in float32, rounded once: not a rounded move on a rounded start.
    name, now = next(iter(tuner.weights()))
    move = tuner.projection(tuner.vector)[: now.numel()].view(now.shape) * tuner.scales[0]
    assert torch.equal(now, (base.words.weight.float() + move).bfloat16()) and name == "words.weight"
    tuner(IDS).float().square().sum().backward()
    assert tuner.vector.grad.dtype == torch.float32 and bool(tuner.vector.grad.any())


def test_autocast_leaves_the_weights_alone(base):
    tuner = moved(SubspaceTuner(base, 20))
    expected = dict(tuner.weights())
    with torch.autocast("cpu", torch.bfloat16):
        assert all(torch.equal(w, expected[n]) for n, w in tuner.weights())


def test_what_cannot_be(base):
    with pytest.raises(ValueError, match="above the 4 scales"):
        SubspaceTuner(base, 4)
    with pytest.raises(ValueError, match="dim"):
        SubspaceTuner(base, 163)
    SubspaceTuner(base, 1, structure_aware=False)
    with pytest.raises(ValueError, match="no parameter"):
        SubspaceTuner(base.requires_grad_(False), 12)


def test_names_of_layers():
    names = "encoder.layer.3.attention.self.query.weight", "embeddings.norm.bias", "scale", "0.weight"
    assert [layer_of(n) for n in names] == ["encoder.layer.3", "embeddings.norm", "scale", "0"]
