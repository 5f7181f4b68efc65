"""The head that label-free training puts on a backbone and throws away after it (Chen et al., 2020; Zbontar et al.,
2021): what it forgets need not be forgotten by the features."""

from collections.abc import Sequence

import torch
from torch import nn

from smidgen.kit.errors import bad


def projector(feature_dim: int, widths: Sequence[int] = (8192, 8192, 8192), *, seed: int = 0) -> nn.Sequential:
    """Linear, BatchNorm, ReLU for all widths but the last, then a linear layer alone; none has a bias.

    Raises:
        BadInput: no widths, or one below 1.
    """
    if not widths or min(widths) < 1:
        raise bad("projector", "widths of at least 1", list(widths))
    layers: list[nn.Module] = []
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        edges = [feature_dim, *widths]
        for before, width in zip(edges[:-2], edges[1:-1], strict=True):
            layers += [nn.Linear(before, width, bias=False), nn.BatchNorm1d(width), nn.ReLU(inplace=True)]
        layers.append(nn.Linear(edges[-2], edges[-1], bias=False))
    return nn.Sequential(*layers)
