"""The table of formats: which tensors, in which order, from which steps; and its numbers where they have no limit."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from smidgen.kit.errors import BadInput
from smidgen.studies import format_table as ft

X = torch.randn(32, 8, generator=torch.Generator().manual_seed(0))
Y = X[:, :1] - X[:, 1:2]


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last, self.spare = nn.Linear(8, 6), nn.Linear(6, 1), nn.Linear(3, 3)
        self.drop = nn.Dropout(0.5)

    def forward(self, x):
        return self.last(torch.relu(self.first(x)))


def loss_of(model, x, y):
    return (model(x) - y).square().sum(), len(y)


def batch(number):
    return X[number % 4 * 8 : number % 4 * 8 + 8], Y[number % 4 * 8 : number % 4 * 8 + 8]


def made(formats=("int4/64",), **how):
    return ft.format_table(Net(), loss_of, batch, formats, skip=("spare",), **how)


def test_a_row_for_each_tensor_format_and_rounding_in_their_order():
    table = made(("int4/64", "bfloat16"), roundings=("nearest", "stochastic"), steps=2)
    assert list(table.columns) == ["part", "tensor", "format", "rounding", "bits", "sqnr", "zeroed", "shrink"]
    assert [tuple(r) for r in table[["part", "tensor", "format", "rounding"]].to_numpy()] == [
        (p, n, f, m)
        for p in ("weights", "activations", "act_grads", "weight_grads", "first moment", "second moment")
        for n in ("first", "last")
        for f in ("int4/64", "bfloat16")
        for m in ("nearest", "stochastic")
    ]
    assert made(steps=1).equals(made(steps=1, roundings=("nearest",), lr=1e-3, seed=0))
    chance = [made(steps=2, roundings=("stochastic",), seed=s)["sqnr"].tolist() for s in (0, 0, 1)]
    assert chance[0] == chance[1] != chance[2]
    assert set(made(steps=1)["format"]) == {"int4/64"}
    state = torch.get_rng_state()
    made(steps=1, roundings=("stochastic",))
    assert torch.equal(state, torch.get_rng_state())  # the person's own random numbers go on


@pytest.mark.parametrize(("given", "steps", "lr"), [({}, 20, 1e-3), ({"steps": 3, "lr": 0.1}, 3, 0.1)])
def test_tensors_are_those_of_the_last_of_so_many_steps_of_adam(given, steps, lr, monkeypatch):
    net, asked = Net(), []
    optimizer = torch.optim.Adam(net.parameters(), lr=lr)
    for step in range(steps):
        before = [p.detach().clone() for p in net.parameters()]
        loss, count = loss_of(net, *batch(step))
        optimizer.zero_grad()
        (loss / count).backward()
        optimizer.step()
    empty = dict.fromkeys(ft.MEASURED, 0)
    monkeypatch.setattr(ft, "effect", lambda x, *how, **more: asked.append((x, more)) or empty)
    start = Net()
    kept = [p.detach().clone() for p in start.parameters()]
    ft.format_table(start, loss_of, lambda n: batch(n), ("int4/64",), skip=("spare",), **given)
    assert all(torch.equal(a, b) for a, b in zip(kept, start.parameters(), strict=True))
    state, x = optimizer.state[net.first.weight], batch(steps - 1)[0]
    out = x @ before[0].T + before[1]
    gone = 2 * (torch.relu(out) @ before[2].T + before[3] - batch(steps - 1)[1]) / 8
    expected = [
        net.first.weight, net.last.weight, x, torch.relu(out), (out > 0) * (gone @ before[2]), gone,
        net.first.weight.grad, net.last.weight.grad, state["exp_avg"], optimizer.state[net.last.weight]["exp_avg"],
        state["exp_avg_sq"], optimizer.state[net.last.weight]["exp_avg_sq"],
    ]  # fmt: skip
    assert len(asked) == 12
    for (found, _), own in zip(asked, expected, strict=True):
        torch.testing.assert_close(found, own.detach(), rtol=1e-4, atol=1e-6)
    assert [how["signed"] for _, how in asked] == [True] * 10 + [False] * 2


def test_layers_that_cannot_be_looked_at_are_named():
    with pytest.raises(BadInput, match="Layer spare took no part in the loss: skip it"):
        ft.format_table(Net(), loss_of, batch, ("int4/64",), steps=1)
    with pytest.raises(BadInput, match="steps: expected at least 1, got 0"):
        made(steps=0)
    with pytest.raises(BadInput, match="model: expected at least one linear layer or convolution, got none"):
        ft.format_table(nn.ReLU(), loss_of, batch, steps=1)
    training = []

    def watched(model, x, y):
        training.append(model.training)
        return loss_of(model, x, y)

    ft.tensors_of_a_step(Net().eval(), watched, batch, steps=2, lr=0.1, skip=("spare",))
    assert training == [True, True]


def test_numbers_of_one_tensor_by_hand():
    x = torch.tensor([[4.0, -2.0, 0.25, 0.0]])
    got = ft.effect(x, "ternary/tensor/float32")  # 3, -3 and two zeros, or 4 and three
    assert got["sqnr"] == pytest.approx(10 * math.log10(20.0625 / (1 + 1 + 0.0625)), abs=1e-3)
    assert got["zeroed"] == pytest.approx(1 / 3) and got["shrink"] == pytest.approx(1 - 6 / 6.25, abs=1e-4)
    nothing = ft.effect(torch.zeros(1, 8), "int8/tensor")
    assert (nothing["sqnr"], nothing["zeroed"]) == (math.inf, 0.0)
    half = ft.effect(torch.tensor([[1.0, 2.0**-30, -(2.0**-30), 0.0]]), "float16")
    assert half["zeroed"] == pytest.approx(2 / 3) and half["shrink"] == pytest.approx(2**-29, rel=1e-3)
    assert half["sqnr"] == pytest.approx(10 * math.log10(2.0**59), rel=1e-3)


def test_numbers_that_are_never_below_zero_take_the_unsigned_kind():
    x = torch.rand(4, 64, generator=torch.Generator().manual_seed(0)) + 0.01
    for name, other in (("int8/64", "uint8/64"), ("int4/64", "uint4/64"), ("e4m3fn/tensor", "e4m3fn/tensor"),
                        ("int1/64", "int1/64")):  # fmt: skip
        assert ft.effect(x, name, signed=False) == ft.effect(x, other)
    own = ft.effect(x, "dynamic8/256", signed=False)
    assert own["sqnr"] > ft.effect(x, "dynamic8/256")["sqnr"] and own["bits"] == 8 + 32 / 256
    assert ft.effect(x, "linear8/256", signed=False)["sqnr"] > ft.effect(x, "linear8/256")["sqnr"]


def test_medians_of_a_table_are_of_its_tensors():
    own = (("b", "x", 1.0), ("b", "y", 5.0), ("b", "z", 2.0), ("a", "x", 7.0))
    rows = [("weights", t, f, "nearest", s) for f, t, s in own]
    rows.append(("second moment", "x", "a", "nearest", 3.0))
    table = pd.DataFrame(rows, columns=["part", "tensor", "format", "rounding", "sqnr"])
    wide = ft.summary(table)
    assert list(wide.columns) == ["weights", "second moment"] and list(wide.index) == ["b", "a"]
    assert wide["weights"].tolist() == [2.0, 7.0] and np.isnan(wide.loc["b", "second moment"])
    both = ft.summary(pd.concat([table, table.assign(rounding="stochastic", sqnr=0.0)]))
    assert both.index.names == ["format", "rounding"] and both.loc[("a", "stochastic"), "weights"] == 0.0
