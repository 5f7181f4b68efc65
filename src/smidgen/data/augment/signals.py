"""Signals changed so that they stay recognisable: noise, size, direction, order; whole batches at a time.

Each function takes `x_BTC` (float, B windows of T samples and C channels) and a generator, and draws anew for each
window. Names and strengths follow Um et al. (2017, arXiv 1706.00527) and Saeed et al. (2019, arXiv 1907.11879), whose
task, to tell which of these changes was made, is `TRANSFORMS`.

Dims: G groups of three channels that are one vector, S segments.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Generator, Tensor

from smidgen.kit.errors import bad

Transform = Callable[[Tensor, Generator], Tensor]


def jitter(x_BTC: Tensor, generator: Generator, *, spread: float = 0.05) -> Tensor:
    """White noise of this standard deviation, in units of the signal."""
    return x_BTC + spread * torch.randn(x_BTC.shape, generator=generator, dtype=x_BTC.dtype)


def scale(x_BTC: Tensor, generator: Generator, *, spread: float = 0.1) -> Tensor:
    """Each channel times a normal factor around 1."""
    B, _, C = x_BTC.shape
    return x_BTC * (1 + spread * torch.randn(B, 1, C, generator=generator, dtype=x_BTC.dtype))


def rotation(x_BTC: Tensor, generator: Generator, *, vectors: Sequence[int] | None = None) -> Tensor:
    """Turns vectors of three channels by one random rotation a window.

    Args:
        vectors: the first channel of each vector; None: 0, 3, ... for all. Other channels stay.
    Raises:
        BadInput: channels that are no triples.
    """
    C = x_BTC.shape[2]
    if vectors is None and C % 3:
        raise bad("channels", "a multiple of 3, as vectors of three are turned", C, "Say where vectors begin.")
    firsts = range(0, C, 3) if vectors is None else vectors
    if any(not 0 <= first <= C - 3 for first in firsts):
        raise bad("vectors", f"first channels from 0 to {C - 3}", list(firsts))
    turn_B33 = random_rotations(len(x_BTC), generator, x_BTC.dtype)
    out = x_BTC.clone()
    for first in firsts:
        out[:, :, first : first + 3] = x_BTC[:, :, first : first + 3] @ turn_B33.mT
    return out


def random_rotations(count: int, generator: Generator, dtype: torch.dtype = torch.float32) -> Tensor:
    """`[count, 3, 3]`, uniform over rotations: from normal quaternions."""
    q = torch.randn(count, 4, generator=generator, dtype=torch.float64)
    w, x, y, z = (q / q.norm(dim=1, keepdim=True)).unbind(1)
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)),
        (2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)),
        (2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)),
    )
    return torch.stack([torch.stack(row, 1) for row in rows], 1).to(dtype)


def permutation(x_BTC: Tensor, generator: Generator, *, segments: int = 4) -> Tensor:
    """Cuts each window at the same random places into so many segments and puts them in another order."""
    B, T, _ = x_BTC.shape
    if not 2 <= segments <= T:
        raise bad("segments", f"2 to {T}, the samples of a window", segments)
    order = torch.arange(segments)
    while (order == torch.arange(segments)).all():
        order = torch.randperm(segments, generator=generator)
    inner = torch.randperm(T - 1, generator=generator)[: segments - 1].sort().values + 1
    edges = [0, *inner.tolist(), T]
    return torch.cat([x_BTC[:, edges[i] : edges[i + 1]] for i in order.tolist()], 1)


def negate(x_BTC: Tensor, generator: Generator) -> Tensor:
    """Upside down."""
    return -x_BTC


def time_flip(x_BTC: Tensor, generator: Generator) -> Tensor:
    """Backwards."""
    return x_BTC.flip(1)


def channel_shuffle(x_BTC: Tensor, generator: Generator) -> Tensor:
    """Channels in one other order for the batch; a single channel stays."""
    C = x_BTC.shape[2]
    order = torch.arange(C)
    while C > 1 and (order == torch.arange(C)).all():
        order = torch.randperm(C, generator=generator)
    return x_BTC[:, :, order]


def time_warp(x_BTC: Tensor, generator: Generator, *, spread: float = 0.2, knots: int = 4) -> Tensor:
    """Runs through each window at a speed that changes smoothly around 1; first and last samples stay."""
    B, T, C = x_BTC.shape
    speed_BK = torch.exp(spread * torch.randn(B, 1, knots + 2, generator=generator, dtype=x_BTC.dtype))
    speed_BT = torch.nn.functional.interpolate(speed_BK, T - 1, mode="linear", align_corners=True)[:, 0]
    passed = torch.cat([torch.zeros(B, 1, dtype=x_BTC.dtype), speed_BT.cumsum(1)], 1)
    place_BT = passed / passed[:, -1:] * (T - 1)
    low_BT = place_BT.floor().long().clamp(0, T - 2)
    part = (place_BT - low_BT).unsqueeze(2)
    index = low_BT.unsqueeze(2).expand(B, T, C)
    return x_BTC.gather(1, index) * (1 - part) + x_BTC.gather(1, index + 1) * part


# the eight changes of multi-task transform discrimination; `rotation` needs channels in threes
TRANSFORMS: dict[str, Transform] = {
    "jitter": jitter,
    "scale": scale,
    "rotation": rotation,
    "negate": negate,
    "time_flip": time_flip,
    "permutation": permutation,
    "time_warp": time_warp,
    "channel_shuffle": channel_shuffle,
}
