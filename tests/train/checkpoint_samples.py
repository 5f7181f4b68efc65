"""A small model in training, a way to compare states, and what a folder holds."""

from pathlib import Path

import numpy as np
import torch

POOL = {"pool_bytes": 1 << 19, "chunk_bytes": 1 << 17}


def training(optimizer=torch.optim.AdamW, **options):
    """A small model whose tensors are larger than what `save` copies at once, and a function that makes a step."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(200, 300), torch.nn.BatchNorm1d(300), torch.nn.Linear(300, 200))
    optimizer = optimizer(model.parameters(), **options)

    def step():
        model(torch.randn(8, 200)).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    return model, optimizer, step


def same(a, b):
    """Equal values, types and keys, to the last bit."""
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and a.shape == b.shape and torch.equal(a, b)
    if isinstance(a, np.ndarray | np.generic):
        return type(a) is type(b) and a.dtype == b.dtype and a.shape == b.shape and bool(np.all(a == b))
    if isinstance(a, dict):
        return list(a) == list(b) and all(type(x) is type(y) for x, y in zip(a, b, strict=True)) and all_same(a, b)
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return type(a) is type(b) and (a == b or a != a)


def all_same(a, b):
    return all(same(x, y) for x, y in zip(a.values(), b.values(), strict=True))


def files(folder: Path):
    return sorted(p.name for p in folder.iterdir() if p.name != ".lock")
