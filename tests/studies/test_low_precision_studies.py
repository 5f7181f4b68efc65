"""The table of what formats do, and the grid of parts and formats: against numbers by hand, stopped and resumed."""

import math
import warnings

import pytest
import torch
from torch import nn

from smidgen.kit.errors import BadInput
from smidgen.studies.format_table import PARTS, effect, format_table, summary, tensors_of_a_step
from smidgen.studies.precision_map import PrecisionGrid, policy_of, precision_map, train_under
from smidgen.train.low_precision.policy import PrecisionPolicy

X = torch.randn(64, 16, generator=torch.Generator().manual_seed(0))
Y = X[:, :2].prod(1, keepdim=True)


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 1))


def loss_of(model, x, y):
    return (model(x) - y).square().sum(), len(y)


def batch(number):
    return X, Y


def test_tensors_are_those_of_the_step():
    net = network()
    found = tensors_of_a_step(net, loss_of, batch, steps=1, lr=1e-3)
    assert set(found) == {(part, n) for part in PARTS for n in ("0", "2")}
    out = net(X)
    assert torch.allclose(found["act_grads", "2"], 2 * (out - Y).detach() / len(Y))
    grad = torch.autograd.grad((out - Y).square().mean(), net[0].weight)[0]
    assert torch.allclose(found["weight_grads", "0"], grad, atol=1e-6)
    assert torch.allclose(found["second moment", "0"], 1e-3 * grad**2, atol=1e-9)
    assert torch.equal(found["activations", "0"], X)


def test_effects_by_hand():
    x = torch.tensor([[1.0, -0.4, 0.1, 0.0]])
    got = effect(x, "ternary/tensor/float32")
    scale = 0.7  # of the nearest codes 1, -1, 0, 0 or 1, 0, 0, 0, whichever loses less
    losses = {0.7: 2 * 0.3**2 + 0.01, 1.0: 0.16 + 0.01}
    scale = min(losses, key=lambda s: losses[s])
    assert got["sqnr"] == pytest.approx(10 * math.log10(1.17 / losses[scale]), abs=1e-3)
    assert got["zeroed"] == pytest.approx((2 if scale == 1.0 else 1) / 3)
    kept = 1.4 if scale == 0.7 else 1.0
    assert got["shrink"] == pytest.approx(1 - kept / 1.5, abs=1e-4)
    assert effect(x, "float16")["bits"] == 16 and effect(x * 1e6, "float16")["sqnr"] != effect(x, "float16")["sqnr"]
    assert effect(x.abs(), "int8/tensor", signed=False)["sqnr"] > effect(x.abs(), "int8/tensor")["sqnr"] + 3


def test_table_and_summary():
    table = format_table(network(), loss_of, batch, ("bfloat16", "int4/64", "dynamic8/256"), steps=3)
    assert len(table) == 6 * 2 * 3 and bool(table["sqnr"].notna().all())
    wide = summary(table)
    assert list(wide.columns) == list(PARTS) and wide.loc["bfloat16"].min() > 40
    assert wide.loc["int4/64", "second moment"] < wide.loc["dynamic8/256", "second moment"]
    both = format_table(network(), loss_of, batch, ("int4/64",), roundings=("nearest", "stochastic"), steps=2)
    assert len(summary(both, "shrink")) == 2
    with pytest.raises(BadInput):
        format_table(nn.Sequential(nn.ReLU()), loss_of, batch)


def test_cells_and_policies():
    grid = PrecisionGrid()
    cells = grid.cells
    assert cells[0]["part"] == "none" and len({tuple(c.values()) for c in cells}) == len(cells)
    for cell in cells:
        policy = policy_of(cell)
        if cell["part"] == "weights":
            assert policy.lowered == ("weights",) and policy.weights == cell["format"]
    assert not [c for c in cells if c["part"] == "communication" and "/" not in c["format"] and c["bits"] == 8]
    whole = policy_of({"part": "together", "format": "int8/64", "rounding": "stochastic"})
    assert len(whole.lowered) == 6 and whole.optimizer_states == ("int8/64", "uint8/64")
    binary = policy_of({"part": "optimizer states", "format": "int1/64", "rounding": "nearest"})
    assert binary.optimizer_states == ("int1/64", "dynamic8")
    with pytest.raises(BadInput):
        PrecisionGrid(parts=("gradient",))


def test_the_grid_stops_and_goes_on(tmp_path):
    grid = PrecisionGrid({("integer", 4): "int4/64", ("floating point", 16): "bfloat16"}, roundings=("nearest",))
    asked = []

    def trainer(policy, seed):
        asked.append(policy)
        net = network(seed)
        train_under(policy, net, torch.optim.Adam(net.parameters(), 1e-2), batch, loss_of, steps=8, workers=2)
        return {"score": -float(loss_of(net, X, Y)[0].detach()) / len(Y)}

    part = precision_map(trainer, grid, [0, 1], tmp_path / "map.jsonl", name="t", max_trials=5)
    assert not part.finished and len(asked) == 5
    whole = precision_map(trainer, grid, [0, 1], tmp_path / "map.jsonl", name="t")
    assert whole.finished and len(asked) == 2 * len(grid.cells) == len(whole.table)
    lost = whole.lost().set_index(["part", "format"])["lost"]
    assert abs(lost["together", "bfloat16"]) < lost["together", "int4/64"]
    with pytest.raises(BadInput):
        precision_map(trainer, grid, [0], tmp_path / "map.jsonl", name="another")


def test_a_policy_of_float32_trains_as_without_one():
    one, two = network(), network()
    train_under(PrecisionPolicy(), one, torch.optim.Adam(one.parameters()), batch, loss_of, steps=5)
    plain = torch.optim.Adam(two.parameters())
    for _ in range(5):
        loss, n = loss_of(two, X, Y)
        plain.zero_grad()
        (loss / n).backward()
        plain.step()
    assert all(torch.allclose(p, q, atol=1e-6) for p, q in zip(one.parameters(), two.parameters(), strict=True))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        half = PrecisionPolicy(act_grads="float16")
    broken = network()
    with torch.no_grad():
        broken[2].weight.fill_(1e30)
    train_under(half, broken, torch.optim.SGD(broken.parameters(), 1e9), batch, loss_of, steps=5)  # ends, quietly
