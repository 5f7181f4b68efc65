"""Muon: torch's own in one step, nearly orthogonal steps, AdamW elsewhere, and resuming to the bit."""

import copy

import torch
from torch import nn

from smidgen.train.muon import MATCH, Muon, orthogonal


def trained(model, optimizer, steps, seed=0):
    random = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        x = torch.randn(8, 12, generator=random)
        model(x).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    return model


def layers():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(12, 20), nn.Tanh(), nn.Linear(20, 12))


def groups(model):
    matrices = [p for p in model.parameters() if p.ndim == 2]
    others = [p for p in model.parameters() if p.ndim == 1]
    return [{"params": matrices, "orthogonal": True}, {"params": others, "weight_decay": 0.0}]


def test_steps_are_those_of_torch(monkeypatch):
    monkeypatch.setattr("smidgen.train.muon.bf16_units", lambda *_: True)  # as theirs, whatever this processor has
    ours, theirs = layers(), layers()
    one = Muon(groups(ours), lr=0.01)
    matrices, others = (g["params"] for g in groups(theirs))
    muon = torch.optim.Muon(matrices, lr=0.01, momentum=0.95, adjust_lr_fn="match_rms_adamw")
    adam = torch.optim.AdamW(others, lr=0.01, betas=(0.9, 0.95), weight_decay=0.0)

    class Both:
        def step(self):
            muon.step(), adam.step()

        def zero_grad(self):
            muon.zero_grad(), adam.zero_grad()

    trained(ours, one, 5), trained(theirs, Both(), 5)
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.allclose(a, b, atol=0.01 * MATCH * 5**0.5 * 0.05)  # theirs computes in bfloat16


def test_singular_values_become_alike():
    x = torch.randn(3, 16, 40) @ torch.diag(torch.logspace(0, -2, 40))
    values = torch.linalg.svdvals(orthogonal(x).float())
    assert values.min() > 0.4 and values.max() < 1.35
    assert torch.linalg.svdvals(x).min() < 0.1 * torch.linalg.svdvals(x).max()


def test_resumes_to_the_bit():
    whole = layers()
    trained(whole, optimizer := Muon(groups(whole)), 3)
    half = copy.deepcopy(whole)
    again = Muon(groups(half))
    again.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    trained(whole, optimizer, 3, seed=1), trained(half, again, 3, seed=1)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), half.parameters(), strict=True))
