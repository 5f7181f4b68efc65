"""A tiny staged model in training."""

import functools

import torch
from torch import nn

from smidgen.train.recovery import StagedModel

SGD = functools.partial(torch.optim.SGD, lr=0.1)
ADAM = functools.partial(torch.optim.Adam, lr=1e-2)


class Residual(nn.Module):
    def __init__(self, width: int = 6):
        super().__init__()
        self.inner = nn.Linear(width, width)
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def forward(self, x):
        self.calls += 1
        return x + torch.tanh(self.inner(x))


def model(n_stages: int = 5, swap_ends: bool = False, seed: int = 0) -> StagedModel:
    torch.manual_seed(seed)
    embed, head = nn.Linear(4, 6), nn.Linear(6, 2)
    return StagedModel(embed, [Residual() for _ in range(n_stages)], head, swap_ends)


def batches(number: int):
    x = torch.randn(2, 8, 4, generator=torch.Generator().manual_seed(number))
    return [(part, part[:, :2].roll(1, 1)) for part in x]


def weights(module: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in module.parameters()])
