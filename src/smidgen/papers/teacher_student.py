"""A teacher that knows a manifold of few dimensions, students that learn it from so many points (claim 039).

Dims: N points, M dimensions of the manifold, D of the space that it lies in.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn


@dataclass(frozen=True)
class TeacherStudent:
    """`dimension`: of the manifold, M. space: D. width, depth: of the student. The teacher is a random network of the
    same kind, on the manifold's own coordinates, so that the target is smooth on it."""

    dimension: int
    space: int = 16
    width: int = 128
    depth: int = 2
    steps: int = 1500
    rate: float = 3e-3

    def loss(self, rows: int, seed: int, held: int = 2000) -> float:
        """Mean squared error on held points after training on `rows`, in units of the target's variance."""
        torch.set_num_threads(1)
        rng = np.random.default_rng([seed, self.dimension])
        embed = rng.normal(size=(self.dimension, self.space)) * 1.5 / self.dimension**0.5
        made = torch.Generator().manual_seed(seed * 1000 + self.dimension)
        teacher = _network(self.dimension, 32, 2, made, nn.Tanh)
        z_NM = rng.uniform(-1, 1, (rows + held, self.dimension))
        x_ND = torch.from_numpy(np.sin(z_NM @ embed)).float()
        with torch.no_grad():
            y_N = teacher(torch.from_numpy(z_NM).float() * 2)[:, 0]
        y_N = (y_N - y_N.mean()) / y_N.std()
        student = _network(self.space, self.width, self.depth, made, nn.ReLU)
        optimizer = torch.optim.Adam(student.parameters(), lr=self.rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.steps)
        for _ in range(self.steps):
            optimizer.zero_grad(set_to_none=True)
            ((student(x_ND[:rows])[:, 0] - y_N[:rows]) ** 2).mean().backward()
            optimizer.step()
            schedule.step()
        with torch.no_grad():
            return float(((student(x_ND[rows:])[:, 0] - y_N[rows:]) ** 2).mean())


def _network(inputs: int, width: int, depth: int, made: torch.Generator, unit: type[nn.Module]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for i in range(depth):
        layers += [nn.Linear(inputs if i == 0 else width, width), unit()]
    network = nn.Sequential(*layers, nn.Linear(width, 1))
    with torch.no_grad():
        for layer in network:
            if isinstance(layer, nn.Linear):
                scale = (2 if unit is nn.ReLU else 1) / layer.in_features
                layer.weight.normal_(0, scale**0.5, generator=made)
                layer.bias.normal_(0, 0.1, generator=made)
    return network
