"""The hypernetwork against a slow reference in NumPy; sets, masks, units of responses, attention, seeds, errors."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import expit, softmax

from smidgen.kit.errors import BadInput
from smidgen.nets.hypernetwork import PRESETS, HypernetworkConfig, InContextLinearHypernet

E, S, B = 5, 9, 3
SMALL = HypernetworkConfig(embed=E, hidden=8, depth=2, heads=2, ffn=6, registers=3)
PLAIN = replace(SMALL, standardize=False)


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def net(config=SMALL, seed=0):
    """With norms that are not 1 and 0, so that each counts."""
    made, random = InContextLinearHypernet(config, seed), torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in made.parameters():
            p.add_(0.2 * torch.randn(p.shape, generator=random))
    return made.eval().requires_grad_(False)


def pairs(seed=0, n=S):
    random = torch.Generator().manual_seed(seed)
    x = torch.nn.functional.normalize(torch.randn(B, n, E, generator=random), dim=-1)
    return x, torch.randn(B, n, generator=random) * 3 + 1


def reference(model, x, y):
    """Read-out of one unit, and what the first register attends to in each block, written out."""
    w = {k: v.double().numpy() for k, v in model.state_dict().items()}
    c = model.config

    def linear(name, v):
        return v @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def norm(name, v):
        v = (v - v.mean(-1, keepdims=True)) / np.sqrt(v.var(-1, keepdims=True) + 1e-5)
        return v * w[f"{name}.weight"] + w[f"{name}.bias"]

    def leaky(v):
        return np.where(v > 0, v, 0.1 * v)

    def mlp(name, v):
        h = linear(f"{name}.up", leaky(norm(f"{name}.norm_in", v)))
        return linear(f"{name}.bypass", v) + linear(f"{name}.down", leaky(norm(f"{name}.norm_inner", h)))

    tokens = np.concatenate([w["registers"], mlp("enter", np.column_stack([x * np.sqrt(c.embed), y]))])
    factor, paid = np.log(len(tokens)) if c.length_scaling else 1.0, []
    for i in range(c.depth):
        u = norm(f"blocks.{i}.norm_attention", tokens)
        k, v = np.split(linear(f"blocks.{i}.key_value", u), 2, -1)
        q, mixed = linear(f"blocks.{i}.query", factor * u), []
        for h in range(c.heads):
            own = slice(h * 8 // c.heads, (h + 1) * 8 // c.heads)
            share = softmax(q[:, own] @ k[:, own].T / np.sqrt(8 // c.heads), axis=-1)
            mixed.append(share @ v[:, own])
            paid.append(share[0, c.registers :])
        tokens = tokens + linear(f"blocks.{i}.out", np.concatenate(mixed, -1))
        gate, up = np.split(linear(f"blocks.{i}.gate_up", norm(f"blocks.{i}.norm_mlp", tokens)), 2, -1)
        tokens = tokens + linear(f"blocks.{i}.down", gate * expit(gate) * up)
    out = mlp("leave", tokens[0])
    return np.append(out[:-1] * np.sqrt(c.embed), out[-1]), np.array(paid).reshape(c.depth, c.heads, -1)


@pytest.mark.parametrize("scaling", [True, False])
def test_equals_a_slow_reference(scaling):
    model, (x, y) = net(replace(PLAIN, length_scaling=scaling)), pairs()
    w, attention = reference(model, x[1].double().numpy(), y[1].double().numpy())
    predicted, weights = model(x, y, x[:, :4])
    assert np.allclose(weights[1], w, atol=1e-4)
    assert np.allclose(predicted[1], x[1, :4].double().numpy() @ w[:-1] + w[-1], atol=1e-4)
    assert np.allclose(model.attention(x, y)[1], attention, atol=1e-5)


def test_order_of_pairs_says_nothing():
    model, (x, y), order = net(), pairs(), torch.randperm(S, generator=torch.Generator().manual_seed(3))
    whole = model.weights(x, y)
    assert torch.allclose(whole, model.weights(x[:, order], y[:, order]), atol=1e-5)
    assert not torch.allclose(whole, model.weights(x[:, order], y), atol=1e-2)  # but which response is whose does


@pytest.mark.parametrize("config", [SMALL, PLAIN])
def test_unknown_responses_are_as_if_not_there(config):
    model, (x, y) = net(config), pairs()
    mask = torch.ones(B, S, dtype=torch.bool)
    mask[:, 2] = mask[:, 5] = mask[1, 7] = False
    holes = torch.where(mask, y, torch.nan)
    found, attention = model.weights(x, holes, mask), model.attention(x, holes, mask)
    for b in range(B):
        kept = mask[b]
        assert torch.allclose(found[b], model.weights(x[b : b + 1, kept], y[b : b + 1, kept])[0], atol=1e-4)
        assert torch.allclose(
            attention[b][..., kept], model.attention(x[b : b + 1, kept], y[b : b + 1, kept])[0], atol=1e-5
        )
    assert not attention[~mask[:, None, None].expand_as(attention)].any()
    assert ((attention.sum(-1) > 0) & (attention.sum(-1) < 1)).all()  # registers get the rest


def test_responses_have_any_unit():
    model, (x, y) = net(), pairs()
    w = model.weights(x, y)
    moved = model.weights(x, 250 * y - 70)
    assert torch.allclose(moved[:, :-1], 250 * w[:, :-1], rtol=1e-3, atol=1e-2)
    assert torch.allclose(moved[:, -1], 250 * w[:, -1] - 70, rtol=1e-3, atol=0.1)
    flat = model.weights(x, torch.full((B, S), 0.1))
    assert not flat[:, :-1].any() and torch.allclose(flat[:, -1], torch.tensor(0.1))
    assert not torch.allclose(net(PLAIN).weights(x, 2 * y)[:, :-1], 2 * net(PLAIN).weights(x, y)[:, :-1], atol=0.1)


def test_everything_learns_and_holes_leave_gradients_finite():
    model, (x, y) = InContextLinearHypernet(SMALL), pairs()
    mask = torch.ones(B, S, dtype=torch.bool)
    mask[0, 1:] = mask[1, :] = False  # one response, none
    model(x, torch.where(mask, y, torch.nan), x, mask)[0].square().sum().backward()
    grads = {name: p.grad for name, p in model.named_parameters()}
    assert [name for name, g in grads.items() if g is None or not g.any()] == []
    assert all(g.isfinite().all() for g in grads.values())


def test_seeds_decide_first_weights_alone():
    before = torch.get_rng_state()
    a, b, c = InContextLinearHypernet(SMALL, 1), InContextLinearHypernet(SMALL, 1), InContextLinearHypernet(SMALL, 2)
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(a.registers, b.registers) and torch.equal(a.enter.up.weight, b.enter.up.weight)
    assert not torch.equal(a.enter.up.weight, c.enter.up.weight)


def test_dropout_only_while_training():
    model, (x, y) = net(replace(SMALL, dropout=0.5)), pairs()
    assert torch.equal(model.weights(x, y), model.weights(x, y))
    model.train()
    assert not torch.equal(model.weights(x, y), model.weights(x, y))


def test_published_sizes():
    assert {k: (c.embed, c.hidden, c.depth, c.heads, c.ffn) for k, c in PRESETS.items()} == {
        "clip": (512, 560, 20, 10, 2048),
        "dino": (768, 800, 20, 10, 2048),
        "siglip": (1152, 1200, 20, 10, 2048),
    }


@pytest.mark.parametrize("wrong", [{"hidden": 9, "heads": 2}, {"depth": 0}, {"registers": 0}, {"dropout": 1.0}])
def test_wrong_sizes_are_refused(wrong):
    with pytest.raises(BadInput, match=next(iter(wrong))):
        HypernetworkConfig(embed=4, **wrong)


def test_wrong_context_is_refused():
    model, (x, y) = net(), pairs()
    for context, match in (
        ((x[:, :0], y[:, :0]), "at least 1 pair"),
        ((x[..., :3], y), "5 numbers each"),
        ((x, y[:, :4]), "one for each pair"),
        ((x, y, torch.ones(B, S)), "mask"),
    ):
        with pytest.raises(BadInput, match=match):
            model.weights(*context)
