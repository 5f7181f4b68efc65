"""Updates inside the backward pass equal those after it, whatever the number of micro-batches."""

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.optim.lr_scheduler import LambdaLR  # noqa: E402

from smidgen.kit.errors import BadInput  # noqa: E402
from smidgen.train.galore import GaLoreAdamW, galore_param_groups  # noqa: E402
from smidgen.train.layerwise import attach_layerwise  # noqa: E402


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(10, 16), nn.Tanh(), nn.Linear(16, 4))


def groups(model):
    settings = {"update_proj_gap": 3, "subspace": "randomized", "stagger": True}
    return galore_param_groups(model, ("0", "2"), 3, **settings)


def micro_batches(update, count):
    return torch.randn(count, 8, 10, generator=torch.Generator().manual_seed(update))


def loss_of(model, x, count):
    return (model(x) - x[:, :4]).square().mean() / count


def factor(update):
    return 1 / (1 + update)


@pytest.mark.parametrize("count", [1, 3])
def test_equal_to_the_ordinary_loop(count):
    usual, inside = network(), network()
    optimizer = GaLoreAdamW(groups(usual), lr=0.05)
    schedule = LambdaLR(optimizer, factor)
    handle = attach_layerwise(
        inside,
        lambda group: GaLoreAdamW([group], lr=0.05),
        lambda made: LambdaLR(made, factor),
        count,
        groups=groups(inside),
    )
    for update in range(7):
        for x in micro_batches(update, count):
            loss_of(usual, x, count).backward()
            loss_of(inside, x, count).backward()
        optimizer.step(), optimizer.zero_grad(), schedule.step()
        assert all(p.grad is None for p in inside.parameters())
        assert handle.count == update + 1
    for a, b in zip(usual.parameters(), inside.parameters(), strict=True):
        assert torch.equal(a, b)
    assert {o.param_groups[0]["lr"] for o in handle.optimizers.values()} == {0.05 / 8}


def test_only_one_gradient_is_alive():
    model, alive = nn.Sequential(*(nn.Linear(6, 6, bias=False) for _ in range(5))), []

    class Watched(torch.optim.SGD):
        def step(self, closure=None):
            alive.append(sum(p.grad is not None for p in model.parameters()))
            return super().step(closure)

    attach_layerwise(model, lambda group: Watched([group], lr=0.1))
    model(torch.ones(2, 6)).sum().backward()
    assert alive == [1] * 5


def test_saved_and_loaded_mid_way():
    def start():
        model = network()
        made = attach_layerwise(
            model, lambda g: GaLoreAdamW([g], lr=0.05), lambda o: LambdaLR(o, factor), groups=groups(model)
        )
        return model, made

    def go(model, updates):
        for update in updates:
            loss_of(model, micro_batches(update, 1)[0], 1).backward()

    whole, _ = start()
    go(whole, range(8))
    first, handle = start()
    go(first, range(4))
    second, other = start()
    second.load_state_dict(first.state_dict())
    other.load_state_dict(handle.state_dict())
    go(second, range(4, 8))
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), second.parameters(), strict=True))


def test_parameters_that_a_micro_batch_does_not_use():
    model = nn.ModuleDict({"a": nn.Linear(3, 1, bias=False), "b": nn.Linear(3, 1, bias=False)})
    handle = attach_layerwise(
        model, lambda g: torch.optim.SGD([g], lr=1.0), lambda o: LambdaLR(o, factor), accumulate=2
    )
    x, start = torch.ones(1, 3), [p.detach().clone() for p in model.parameters()]
    model["a"](x).sum().backward()
    (model["a"](x) + model["b"](x)).sum().backward()
    with pytest.raises(BadInput, match="micro-batches"):
        handle.state_dict()
    handle.finish()
    a, b = model.parameters()
    assert torch.allclose(a, start[0] - 2) and torch.allclose(b, start[1] - 1) and b.grad is None
    for _ in range(4):  # two more updates
        model["a"](x).sum().backward()
    handle.finish()
    assert {o.param_groups[0]["lr"] for o in handle.optimizers.values()} == {1 / 4}


def test_removed_and_refused():
    model = network()
    handle = attach_layerwise(model, lambda g: torch.optim.SGD([g], lr=0.1))
    handle.remove()
    before = model[0].weight.detach().clone()
    model(torch.ones(1, 10)).sum().backward()
    assert torch.equal(model[0].weight, before) and model[0].weight.grad is not None
    with pytest.raises(ValueError, match="max_grad_norm"):
        attach_layerwise(model, lambda g: torch.optim.SGD([g], lr=0.1), max_grad_norm=1.0)
    with pytest.raises(ValueError, match="accumulate"):
        attach_layerwise(model, lambda g: torch.optim.SGD([g], lr=0.1), accumulate=0)
