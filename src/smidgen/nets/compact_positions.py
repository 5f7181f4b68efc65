"""Positions of tokens on a grid: the fixed sine table, and carrying a table over to pictures of another size."""

import torch
import torch.nn.functional as F
from torch import Tensor

from smidgen.kit.errors import BadInput, bad

NAME = "positional_embedding"


def sine_table(length: int, dim: int) -> Tensor:
    """Sines in even columns and cosines in odd ones of the place over 10000 ** (2 * (column // 2) / dim), `[length,
    dim]`, float32 (Vaswani et al., 2017, section 3.5)."""
    column = torch.arange(dim, dtype=torch.float64)
    angle = torch.arange(length, dtype=torch.float64)[:, None] / 10000 ** (2 * (column // 2) / dim)
    return torch.where(column % 2 == 0, angle.sin(), angle.cos()).float()


def resize_positional_embedding(
    state_dict: dict[str, Tensor], old_hw: tuple[int, int], new_hw: tuple[int, int]
) -> dict[str, Tensor]:
    """The same state, its positions read off the old grid at the places of the new one (2-D, bicubic).

    A class token's own position, before the grid, stays as it is. Tables `[1, N, D]` under any name that ends in
    `positional_embedding` are resized, sine tables too: a network has learned what its table says of a place.

    Args:
        old_hw, new_hw: rows and columns of *tokens* (`CompactTransformer.grid`), not pixels.

    Raises:
        BadInput: there is no such table; it is of another grid; a grid without a place.
    """
    if min(*old_hw, *new_hw) < 1:
        raise bad("grid", "at least 1 x 1 tokens", f"{old_hw} and {new_hw}")
    names = [name for name in state_dict if name.split(".")[-1] == NAME]
    if not names:
        raise BadInput(f"The state has no {NAME}: a network without positions takes any size as it is.")
    resized = {}
    for name in names:
        table_1ND = state_dict[name]
        before = table_1ND.shape[1] - old_hw[0] * old_hw[1]
        if before not in (0, 1):
            raise bad(name, f"{old_hw[0]} x {old_hw[1]} places, with or without a class token", table_1ND.shape[1])
        first, grid = table_1ND[:, :before], table_1ND[:, before:]
        if tuple(old_hw) != tuple(new_hw):
            picture = grid.unflatten(1, tuple(old_hw)).permute(0, 3, 1, 2).float()
            picture = F.interpolate(picture, tuple(new_hw), mode="bicubic", antialias=True)
            grid = picture.permute(0, 2, 3, 1).flatten(1, 2).to(table_1ND.dtype)
        resized[name] = torch.cat([first, grid], 1)
    return {**state_dict, **resized}
