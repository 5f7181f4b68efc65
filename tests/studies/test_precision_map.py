"""The grid of parts and formats: its cells one by one, its budget, and a training under a policy step by step."""

import json
import math
from typing import Any

import pandas as pd
import pytest
import torch
from torch import nn

from smidgen.kit.errors import BadInput, BudgetSpent
from smidgen.kit.seeds import derive_seed
from smidgen.studies import precision_map as pm
from smidgen.train.low_precision.policy import PrecisionPolicy

X = torch.randn(16, 8, generator=torch.Generator().manual_seed(0))
Y = X[:, :2].prod(1, keepdim=True)


def test_rounding_by_chance_is_tried_where_it_says_something():
    grid = pm.PrecisionGrid({("integer", 4): "int4/64"})
    cells = [(c["part"], c["rounding"]) for c in grid.cells]
    assert cells == [
        ("none", "nearest"), ("weights", "nearest"), ("activations", "nearest"), ("gradients", "nearest"),
        ("gradients", "stochastic"), ("optimizer states", "nearest"), ("optimizer states", "stochastic"),
        ("communication", "nearest"), ("together", "nearest"), ("together", "stochastic"),
    ]  # fmt: skip
    assert grid.cells[0] == {"part": "none", "family": "", "bits": 32, "format": "float32", "rounding": "nearest"}
    assert {(c["family"], c["bits"], c["format"]) for c in grid.cells[1:]} == {("integer", 4, "int4/64")}
    fixed = pm.PrecisionGrid({("fixed point", 16): "fixed4.12"}, ("communication", "weights"), together=False)
    assert [c["part"] for c in fixed.cells] == ["none", "weights"]  # no message without a scale
    assert pm.PrecisionGrid().formats is pm.FORMATS
    names = {pm.FORMATS[key] for key in (("floating point", 16), ("integer", 8), ("binary", 1), ("customized", 4))}
    assert names == {"bfloat16", "int8/64", "int1/64", "e2m1/32/e8m0"}
    for wrong in ({"parts": ()}, {"parts": ("weights", "odd")}):
        with pytest.raises(BadInput, match="parts: expected weights, activations, gradients, optimizer states, comm"):
            pm.PrecisionGrid(**wrong)  # type: ignore[arg-type]
    with pytest.raises(BadInput, match=r"formats and roundings: expected at least one each, got \(12, 0\)"):
        pm.PrecisionGrid(roundings=())
    with pytest.raises(AttributeError):
        grid.parts = ()  # type: ignore[misc]


@pytest.mark.parametrize(
    ("part", "name", "changed"),
    [
        ("none", "float32", {}), ("weights", "int4/64", {"weights": "int4/64"}),
        ("activations", "int4/64", {"activations": "int4/64"}),
        ("gradients", "int4/64", {"act_grads": "int4/64", "weight_grads": "int4/64"}),
        ("optimizer states", "int4/64", {"optimizer_states": ("int4/64", "uint4/64")}),
        ("optimizer states", "int1/64", {"optimizer_states": ("int1/64", "dynamic8")}),
        ("optimizer states", "posit16e1", {"optimizer_states": ("posit16e1", "posit16e1")}),
        ("communication", "bfloat16", {"comm": "bfloat16"}), ("communication", "fixed4.12", {}),
        ("together", "e4m3fn/tensor", {
            "weights": "e4m3fn/tensor", "activations": "e4m3fn/tensor", "act_grads": "e4m3fn/tensor",
            "weight_grads": "e4m3fn/tensor", "optimizer_states": ("e4m3fn/tensor",) * 2, "comm": "e4m3fn/tensor",
        }),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore")
def test_a_policy_lowers_the_part_of_its_cell_alone(part, name, changed):
    for base in (None, PrecisionPolicy(skip=("head",))):
        cell = {"part": part, "format": name, "rounding": "stochastic"}
        own = {} if base is None else {"skip": ("head",)}
        assert pm.policy_of(cell, base) == PrecisionPolicy(rounding="stochastic", **changed, **own)


def trainer(policy, seed):
    return {"score": 1.0 - (policy.weights != "float32") * 0.1 * (seed + 1), "steps": 7.0}


GRID = pm.PrecisionGrid({("integer", 4): "int4/64"}, ("weights",), together=False)


def test_it_goes_seed_by_seed_and_stops_within_its_budget(tmp_path):
    told: list[tuple[int, int]] = []
    found = pm.precision_map(trainer, GRID, [3, 5], tmp_path / "m", values=("steps",), max_trials=3,
                             progress=lambda *at: told.append(at))  # fmt: skip
    assert not found.finished and told == [(1, 4), (2, 4), (3, 4)]
    assert found.table[["part", "seed", "score", "steps"]].to_numpy().tolist() == [
        ["none", 3, 1.0, 7.0], ["weights", 3, pytest.approx(0.6), 7.0], ["none", 5, 1.0, 7.0],
    ]  # fmt: skip
    whole = pm.precision_map(trainer, GRID, [3, 5], tmp_path / "m", values=("steps",))
    assert whole.finished and whole.table["seed"].tolist() == [3, 3, 5, 5]
    lost = whole.lost()
    assert lost.columns.tolist() == [*pm.COLUMNS, "lost", "error", "seeds", "broken"] and len(lost) == 1
    assert lost.loc[0, ["lost", "seeds", "broken"]].tolist() == [pytest.approx(0.5), 2, 0]
    assert lost.loc[0, "error"] == pytest.approx(0.1)  # 0.4 and 0.6
    with pytest.raises(BadInput, match="another search space"):
        pm.precision_map(trainer, GRID, [3], tmp_path / "m", name="other", values=("steps",))
    with pytest.raises(BadInput, match="seeds: expected at least one, got none"):
        pm.precision_map(trainer, GRID, [], tmp_path / "m")
    with pytest.raises(BudgetSpent, match="before any cell had a score: allow more, or look at errors in"):
        pm.precision_map(trainer, GRID, [0], tmp_path / "n", max_trials=0)
    with pytest.raises(BudgetSpent):
        pm.precision_map(lambda policy, seed: {}, GRID, [0], tmp_path / "o")
    assert not pm.precision_map(trainer, GRID, [0, 1], tmp_path / "p", max_trials=1, max_seconds=60).finished
    with pytest.raises(BudgetSpent):
        pm.precision_map(trainer, GRID, [0], tmp_path / "q", max_seconds=0)


def test_what_breaks_down_is_counted_and_the_rest_compared(tmp_path):
    def shaky(policy, seed):
        if policy.weights != "float32" and seed == 1:
            raise FloatingPointError("gone")
        return {"score": float(policy.weights == "float32")}

    found = pm.precision_map(shaky, GRID, [0, 1], tmp_path / "m")
    lost = found.lost()
    assert lost.loc[0, ["lost", "seeds", "broken"]].tolist() == [1.0, 1, 1] and math.isnan(lost.loc[0, "error"])
    errors = [json.loads(line).get("error") for line in (tmp_path / "m").read_text().splitlines()[1:]]
    assert errors == [None, None, None, "FloatingPointError: gone"]
    assert pm.PrecisionMap(pd.DataFrame(found.table), True).finished


# -- training --


def network() -> Any:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 1))


def loss_of(model, x, y):
    return (model(x) - y).square().sum(), len(y)


def trained(policy=None, **how):
    net, seen = network(), []

    def batches(number):
        seen.append(number)
        return X, Y

    pm.train_under(policy or PrecisionPolicy(), net, torch.optim.SGD(net.parameters(), 0.1), batches, loss_of, **how)
    return torch.cat([p.detach().flatten() for p in net.parameters()]), seen


def test_training_takes_its_steps_schedule_and_clip():
    def by_hand(steps, schedule=lambda step: 1.0, clip=None):
        net = network()
        for step in range(steps):
            loss, n = loss_of(net, X, Y)
            net.zero_grad()
            (loss / n).backward()
            if clip:
                torch.nn.utils.clip_grad_norm_(net.parameters(), clip)
            with torch.no_grad():
                for p in net.parameters():
                    p -= 0.1 * schedule(step) * p.grad
        return torch.cat([p.detach().flatten() for p in net.parameters()])

    found, seen = trained(steps=4)
    assert torch.allclose(found, by_hand(4), atol=1e-6) and seen == [0, 1, 2, 3]
    fall = lambda step: 1 - step / 4  # noqa: E731
    assert torch.allclose(trained(steps=4, schedule=fall)[0], by_hand(4, fall), atol=1e-6)
    assert torch.allclose(trained(steps=4, clip=0.05)[0], by_hand(4, clip=0.05), atol=1e-6)


@pytest.mark.filterwarnings("ignore")
def test_rounding_by_chance_is_of_the_seed_and_messages_of_the_workers():
    chance = PrecisionPolicy(weight_grads="int4/64", rounding="stochastic")
    one, again, zero, other = (trained(chance, steps=3, **how)[0] for how in ({}, {}, {"seed": 0}, {"seed": 1}))
    assert torch.equal(one, again) and torch.equal(one, zero) and not torch.equal(one, other)
    torch.manual_seed(derive_seed(0, "rounding"))
    after = torch.rand(1)
    trained(steps=1)
    assert torch.equal(torch.rand(1), after)  # what draws by chance begins at the seed
    whole = trained(steps=3)[0]
    sent = PrecisionPolicy(comm="int4/64")
    assert not torch.allclose(trained(sent, steps=3)[0], whole, atol=1e-5)  # one worker's messages are rounded too
    assert torch.allclose(trained(steps=3, workers=2)[0], whole, atol=1e-5)
    bare = PrecisionPolicy(comm="int4/64", error_feedback=False)
    assert not torch.equal(trained(bare, steps=3)[0], trained(sent, steps=3)[0])
    assert not torch.equal(trained(sent, steps=3, workers=2)[0], trained(sent, steps=3)[0])


@pytest.mark.filterwarnings("ignore")
def test_small_moments_stay_whole_and_a_run_that_breaks_down_ends():
    low = PrecisionPolicy(optimizer_states=("int4/64", "uint4/64"))

    def adam(smallest):
        net = network()
        how = {} if smallest is None else {"smallest": smallest}
        adam = torch.optim.Adam(net.parameters(), 0.01)
        assert pm.train_under(low, net, adam, lambda n: (X, Y), loss_of, steps=3, **how) is not None
        return torch.cat([p.detach().flatten() for p in net.parameters()])

    assert torch.equal(adam(None), adam(4096)) and not torch.equal(adam(4096), adam(64))
    seen = []

    def broken(model, x, y):
        seen.append(1)
        return loss_of(model, x, y)[0] * (math.nan if len(seen) > 2 else 1.0), len(y)

    net = network()
    pm.train_under(PrecisionPolicy(), net, torch.optim.SGD(net.parameters(), 0.1), lambda n: (X, Y), broken, steps=9)
    assert len(seen) == 3 and all(torch.isfinite(p).all() for p in net.parameters())
